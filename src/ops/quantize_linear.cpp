// QuantizeLinear and DequantizeLinear: real numbers to codes and back, per tensor or per channel.
//
// Where the value of codes carries Value::quant (a lowered graph, whose byte form may differ from
// the file's), that is what counts; otherwise the node's own scale and zero point.
#include <array>
#include <cmath>

#include "base/text.h"
#include "kernels/quantize/quantize.h"
#include "ops/activation.h"
#include "ops/element.h"

namespace octavo::ops {

namespace {

constexpr AttrDef kAttrs[] = {{"axis", AttrType::kInt}};

bool quantizes(const Node& node) { return node.op == "QuantizeLinear"; }

Status infer_quantize(InferContext& context) {
  const Value& x = context.input(0);
  DType dtype = DType::kFloat32;
  if (quantizes(context.node())) {
    dtype = context.has_input(2) ? context.input(2).dtype : DType::kUint8;
    if (!is_quantized_code(dtype)) {
      return context.error(Code::kUnsupportedDtype,
                           text("It quantizes to ", dtype_name(dtype), "."),
                           "uint8 and int8 are supported.");
    }
  } else if (!is_quantized_code(x.dtype) && x.dtype != DType::kInt32) {
    return context.error(Code::kUnsupportedDtype, text("It dequantizes ", dtype_name(x.dtype), "."),
                         "uint8, int8 and int32 are supported.");
  }
  if (x.shape) context.set_output(0, dtype, *x.shape);
  return ok_status();
}

Result<QuantParams> params_of(const PrepareContext& context) {
  const Value& codes = quantizes(context.node()) ? context.output() : context.input(0);
  if (codes.quant) return *codes.quant;
  const Tensor* scale = context.constant(1);
  const Tensor* zero = context.has_input(2) ? context.constant(2) : nullptr;
  if (scale == nullptr || scale->dtype() != DType::kFloat32 ||
      (context.has_input(2) && zero == nullptr)) {
    return context.error(Code::kUnsupportedAttribute,
                         "Its scale or zero point is computed by the network.", "Use constants.");
  }
  QuantParams params;
  params.scale.assign(scale->span<float>().begin(), scale->span<float>().end());
  params.zero_point.assign(params.scale.size(), 0);
  if (zero != nullptr) {
    const std::vector<std::int64_t> points = to_int64s(*zero);
    if (points.size() != params.scale.size())
      return context.error(
          Code::kShapeMismatch,
          text("It has ", params.scale.size(), " scales and ", points.size(), " zero points."));
    for (std::size_t i = 0; i < points.size(); ++i)
      params.zero_point[i] = static_cast<std::int32_t>(points[i]);
  }
  if (params.scale.size() != 1) params.axis = static_cast<int>(context.attrs().get_int("axis", 1));
  return params;
}

// The tensor as [outer][channels][inner] in memory order.
struct Split {
  std::size_t outer = 1, channels = 1, inner = 1;
};

template <class Code>
Step quantize_step(const kernels::QuantizeKernel& kernel, const QuantParams& params,
                   const Split& split) {
  if (params.is_per_tensor()) {
    const kernels::Grid grid{params.scale[0], params.zero_point[0]};
    return step_in_pieces(kernel.name, static_cast<std::int64_t>(split.inner),
                          [run = kernel.quantize<Code>(), grid](const StepArgs& args,
                                                                std::int64_t from, std::size_t n) {
                            run(reinterpret_cast<const float*>(args.in[0]) + from,
                                reinterpret_cast<Code*>(args.out[0]) + from, n, grid);
                          });
  }
  Step step;
  step.kernel = kernel.name;
  step.run = [&kernel, params, split](const StepArgs& args, int, int) {
    kernels::quantize_per_channel<Code>(
        kernel, reinterpret_cast<const float*>(args.in[0]), reinterpret_cast<Code*>(args.out[0]),
        split.outer, split.channels, split.inner, params.scale, params.zero_point);
  };
  return step;
}

template <class Code>
Step dequantize_step(const kernels::QuantizeKernel& kernel, const QuantParams& params,
                     const Split& split) {
  if (params.is_per_tensor()) {
    const kernels::Grid grid{params.scale[0], params.zero_point[0]};
    return step_in_pieces(kernel.name, static_cast<std::int64_t>(split.inner),
                          [run = kernel.dequantize<Code>(), grid](
                              const StepArgs& args, std::int64_t from, std::size_t n) {
                            run(reinterpret_cast<const Code*>(args.in[0]) + from,
                                reinterpret_cast<float*>(args.out[0]) + from, n, grid);
                          });
  }
  Step step;
  step.kernel = kernel.name;
  step.run = [&kernel, params, split](const StepArgs& args, int, int) {
    kernels::dequantize_per_channel<Code>(
        kernel, reinterpret_cast<const Code*>(args.in[0]), reinterpret_cast<float*>(args.out[0]),
        split.outer, split.channels, split.inner, params.scale, params.zero_point);
  };
  return step;
}

Result<Step> prepare_quantize(const PrepareContext& context) {
  const Value& x = context.input(0);
  OCTAVO_TRY(const QuantParams params, params_of(context));
  for (const float scale : params.scale) {
    if (!(scale > 0) || !std::isfinite(scale))
      return context.error(Code::kInvalidModel, text("A scale is ", scale, "."),
                           "Scales are positive and finite.");
  }
  const std::vector<std::int64_t> dims = physical_dims(*x.shape, x.layout);
  Split split;
  if (params.is_per_tensor()) {
    split.inner = static_cast<std::size_t>(x.shape->elements());
  } else {
    const auto axis = normalize_axis(params.axis.value_or(1), x.shape->rank());
    if (!axis || (*x.shape)[*axis] != static_cast<std::int64_t>(params.scale.size())) {
      return context.error(Code::kShapeMismatch,
                           text("It has ", params.scale.size(), " scales for a tensor of shape ",
                                x.shape->to_string(), "."));
    }
    const int physical = physical_axis(*axis, x.shape->rank(), x.layout);
    for (int i = 0; i < x.shape->rank(); ++i) {
      const auto dim = static_cast<std::size_t>(dims[static_cast<std::size_t>(i)]);
      (i < physical ? split.outer : i == physical ? split.channels : split.inner) *= dim;
    }
  }
  const kernels::QuantizeKernel& kernel =
      kernels::best_row(kernels::quantize_kernels(), context.policy());
  if (quantizes(context.node())) {
    if (x.dtype != DType::kFloat32) return needs_dtype(context, x);
    return context.output().dtype == DType::kInt8
               ? quantize_step<std::int8_t>(kernel, params, split)
               : quantize_step<std::uint8_t>(kernel, params, split);
  }
  if (x.dtype == DType::kInt8) return dequantize_step<std::int8_t>(kernel, params, split);
  if (x.dtype == DType::kUint8) return dequantize_step<std::uint8_t>(kernel, params, split);
  return dequantize_step<std::int32_t>(kernel, params, split);
}

constexpr std::array kDefs{
    OpDef{"DequantizeLinear", "", 13, 2, 3, 1, 1, kAttrs, LayoutRule::kFollow, QuantRule::kFloat,
          infer_quantize, prepare_quantize, nullptr,
          "uint8, int8, int32; per tensor and per channel"},
    OpDef{"QuantizeLinear", "", 13, 2, 3, 1, 1, kAttrs, LayoutRule::kFollow, QuantRule::kFloat,
          infer_quantize, prepare_quantize, nullptr, "uint8, int8; per tensor and per channel"},
};

}  // namespace

extern const std::span<const OpDef> kQuantizers;
const std::span<const OpDef> kQuantizers = kDefs;

}  // namespace octavo::ops
