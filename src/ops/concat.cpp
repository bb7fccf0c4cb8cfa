// Concat: tensors one after the other along an axis.
//
// On codes each input is brought to the output's grid by a table (ONNX Runtime's QLinearConcat:
// dequantize, then divide by the output's scale); inputs that are on it already are copied.
#include "base/text.h"
#include "ops/move.h"

namespace octavo::ops {

namespace {
constexpr AttrDef kAttrs[] = {{"axis", AttrType::kInt}};

Status infer(InferContext& context) {
  OCTAVO_TRY(Shape out, context.shape(0));
  const auto axis = normalize_axis(context.attrs().get_int("axis", 0), out.rank());
  if (!axis) {
    return context.error(Code::kInvalidModel, text("axis = ", context.attrs().get_int("axis", 0),
                                                   " is out of range for ", out.to_string(), "."));
  }
  for (std::size_t i = 1; i < context.input_count(); ++i) {
    OCTAVO_TRY(const Shape in, context.shape(i));
    if (context.input(i).dtype != context.input(0).dtype) {
      return context.error(Code::kInvalidModel,
                           text("Input 0 is ", dtype_name(context.input(0).dtype), " but input ", i,
                                " is ", dtype_name(context.input(i).dtype), "."));
    }
    bool fits = in.rank() == out.rank();
    for (int d = 0; fits && d < out.rank(); ++d) {
      if (d == *axis) {
        out[d] = out[d] < 0 || in[d] < 0 ? kUnknownDim : out[d] + in[d];
        // Sums of dimensions must not overflow before the product is checked.
        if (out[d] > kMaxElements)
          return context.error(Code::kLimitExceeded, "The result is too large.");
      } else if (out[d] < 0) {
        out[d] = in[d];
      } else {
        fits = in[d] < 0 || in[d] == out[d];
      }
    }
    if (!fits) {
      return context.error(
          Code::kShapeMismatch,
          text("Input 0 of shape ", context.input(0).shape->to_string(), " and input ", i,
               " of shape ", in.to_string(), " cannot be joined along axis ", *axis, "."));
    }
  }
  return set_output_checked(context, 0, context.input(0).dtype, std::move(out));
}

kernels::Table256 table_between(DType dtype, const QuantParams& in, const QuantParams& out) {
  const kernels::Grid from{in.scale[0], in.zero_point[0]};
  const kernels::Grid to{out.scale[0], out.zero_point[0]};
  return dtype == DType::kInt8 ? kernels::requantize_table<std::int8_t>(from, to)
                               : kernels::requantize_table<std::uint8_t>(from, to);
}

Result<Step> prepare(const PrepareContext& context) {
  const Value& out = context.output();
  const auto axis = normalize_axis(context.attrs().get_int("axis", 0), out.shape->rank());
  if (!axis) return context.error(Code::kInvalidModel, "The axis is out of range.");
  const std::vector<std::int64_t> to_strides = strides_of(out);
  std::vector<Move> moves;
  std::int64_t position = 0;
  bool tables = false;
  const bool in_pixels = out.layout == Layout::kChannelsLast && *axis == 1;
  std::vector<std::int64_t> parts;
  for (std::size_t i = 0; i < context.input_count(); ++i) {
    const Value& in = context.input(i);
    Move move;
    move.input = i;
    move.dims = in.shape->dims();
    move.from_strides = strides_of(in);
    move.to_strides = to_strides;
    move.to = position * to_strides[static_cast<std::size_t>(*axis)];
    const bool converts =
        is_quantized_code(in.dtype) && in.quant && out.quant && *in.quant != *out.quant;
    if (in_pixels) {
      const auto size = static_cast<std::int64_t>(dtype_size(in.dtype));
      parts.push_back(converts || in.layout != out.layout ? -1 : position * size);
    }
    position += (*in.shape)[*axis];
    if (converts) {
      if (!in.quant->is_per_tensor() || !out.quant->is_per_tensor()) {
        return context.error(Code::kUnsupportedAttribute,
                             "Scales per channel are not supported here.");
      }
      move.table = table_between(in.dtype, *in.quant, *out.quant);
      move.slope = in.quant->scale[0] / out.quant->scale[0];
      tables = true;
    }
    moves.push_back(std::move(move));
  }
  if (moves.size() == 1 && !tables && context.input(0).layout == out.layout)
    return alias_step(context);
  Step step = move_step(context, tables ? "concat/table" : "concat/copy", dtype_size(out.dtype),
                        std::move(moves));
  step.parts = std::move(parts);
  return step;
}
}  // namespace

extern const OpDef kConcat;
const OpDef kConcat{
    "Concat", "",     13, 1, -1, 1, 1, kAttrs, LayoutRule::kFollow, QuantRule::kCompute,
    infer,    prepare};

}  // namespace octavo::ops
