// The functions of one element: Relu, Sigmoid, HardSwish, Sqrt, ... rows of one table.
//
// On codes each is a table of 256: dequantize, the function in f32, quantize (kernels/lut).
#include <array>
#include <cstring>

#include "base/text.h"
#include "kernels/felementwise/unary.h"
#include "ops/activation.h"
#include "ops/element.h"

namespace octavo::ops {

namespace {

using kernels::Unary;

struct Row {
  std::string_view name;
  Unary op;
  float alpha = 0, beta = 0;  // ONNX's defaults
  std::string_view alpha_name = "alpha", beta_name = "beta";
};
constexpr std::array kUnaryRows{
    Row{"Abs", Unary::kAbs},
    Row{"Acos", Unary::kAcos},
    Row{"Acosh", Unary::kAcosh},
    Row{"Asin", Unary::kAsin},
    Row{"Asinh", Unary::kAsinh},
    Row{"Atan", Unary::kAtan},
    Row{"Atanh", Unary::kAtanh},
    Row{"Ceil", Unary::kCeil},
    Row{"Celu", Unary::kCelu, 1.0F},
    Row{"Cos", Unary::kCos},
    Row{"Cosh", Unary::kCosh},
    Row{"Elu", Unary::kElu, 1.0F},
    Row{"Erf", Unary::kErf},
    Row{"Exp", Unary::kExp},
    Row{"Floor", Unary::kFloor},
    Row{"Gelu", Unary::kGelu},
    Row{"HardSigmoid", Unary::kHardSigmoid, 0.2F, 0.5F},
    Row{"HardSwish", Unary::kHardSwish},
    Row{"LeakyRelu", Unary::kLeakyRelu, 0.01F},
    Row{"Log", Unary::kLog},
    Row{"Mish", Unary::kMish},
    Row{"Neg", Unary::kNeg},
    Row{"Reciprocal", Unary::kReciprocal},
    Row{"Relu", Unary::kRelu},
    Row{"Round", Unary::kRound},
    Row{"Selu", Unary::kSelu, 1.67326319217681884765625F, 1.05070102214813232421875F, "alpha",
        "gamma"},
    Row{"Shrink", Unary::kShrink, 0.5F, 0.0F, "lambd", "bias"},
    Row{"Sigmoid", Unary::kSigmoid},
    Row{"Sign", Unary::kSign},
    Row{"Sin", Unary::kSin},
    Row{"Sinh", Unary::kSinh},
    Row{"Softplus", Unary::kSoftplus},
    Row{"Softsign", Unary::kSoftsign},
    Row{"Sqrt", Unary::kSqrt},
    Row{"Tan", Unary::kTan},
    Row{"Tanh", Unary::kTanh},
    Row{"ThresholdedRelu", Unary::kThresholdedRelu, 1.0F},
};

const Row& row_of(const Node& node) {
  for (const Row& row : kUnaryRows) {
    if (row.name == node.op) return row;
  }
  return kUnaryRows.front();  // find_op() led here by one of these names
}

Unary function_of(const Node& node) {
  const Row& row = row_of(node);
  return row.op == Unary::kGelu && node.attrs.get_string("approximate", "none") == "tanh"
             ? Unary::kGeluTanh
             : row.op;
}

kernels::UnaryParams params_of(const Node& node) {
  const Row& row = row_of(node);
  return {node.attrs.get_float(row.alpha_name, row.alpha),
          node.attrs.get_float(row.beta_name, row.beta)};
}

Status infer_unary(InferContext& context) {
  const Value& in = context.input(0);
  if (!in.shape) return ok_status();
  context.set_output(0, in.dtype, *in.shape);
  return ok_status();
}

template <class Code>
kernels::Table256 table_of(Unary op, const kernels::UnaryParams& params, const Value& in,
                           const Value& out) {
  return kernels::build_table<Code>([&](float x) { return kernels::unary_value(op, x, params); },
                                    grid_of(in), grid_of(out));
}

// What there is for plain integers: shape arithmetic, masks. Clip and Relu have bounds, absent ones
// are open.
Result<Step> on_integers(const PrepareContext& context, Unary op) {
  const Value& in = context.input(0);
  if (op != Unary::kAbs && op != Unary::kNeg && op != Unary::kSign && op != Unary::kRelu &&
      op != Unary::kClip)
    return needs_dtype(context, in);
  Step step;
  step.kernel = "unary/integer";
  step.run = [op, load = load_integer(in.dtype), size = dtype_size(in.dtype),
              n = in.shape->elements()](const StepArgs& args, int, int) {
    const auto bound = [&](std::size_t i, std::int64_t open) {
      return i < args.in.size() && args.in[i] != nullptr ? load(args.in[i], 0) : open;
    };
    const std::int64_t lo =
        op == Unary::kRelu ? 0 : bound(1, std::numeric_limits<std::int64_t>::min());
    const std::int64_t hi = bound(2, std::numeric_limits<std::int64_t>::max());
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int64_t x = load(args.in[0], i);
      std::int64_t y = std::min(std::max(x, lo), hi);
      // As unsigned, where the lowest number has a negative too.
      if (op == Unary::kNeg || (op == Unary::kAbs && x < 0))
        y = static_cast<std::int64_t>(0 - static_cast<std::uint64_t>(x));
      if (op == Unary::kSign) y = (x > 0) - (x < 0);
      std::memcpy(args.out[0] + static_cast<std::size_t>(i) * size, &y, size);
    }
  };
  return step;
}

Result<Step> prepare_unary(const PrepareContext& context) {
  const Value& in = context.input(0);
  const Value& out = context.output();
  const Unary op = function_of(context.node());
  const kernels::UnaryParams params = params_of(context.node());
  if (load_integer(in.dtype) != nullptr && !in.quant) return on_integers(context, op);
  if (is_quantized_code(in.dtype) && out.dtype == in.dtype) {
    OCTAVO_CHECK_OK(check_codes(context, in));
    OCTAVO_CHECK_OK(check_codes(context, out));
    return lut_step(context,
                    in.dtype == DType::kInt8 ? table_of<std::int8_t>(op, params, in, out)
                                             : table_of<std::uint8_t>(op, params, in, out),
                    0);
  }
  if (in.dtype != DType::kFloat32) return needs_dtype(context, in);
  const kernels::UnaryKernel& kernel = kernels::unary_kernel(op, context.policy());
  Step step = step_in_pieces(
      kernel.name, in.shape->elements(),
      [run = kernel.run, params](const StepArgs& args, std::int64_t from, std::size_t n) {
        run(reinterpret_cast<const float*>(args.in[0]) + from,
            reinterpret_cast<float*>(args.out[0]) + from, n, params);
      });
  step.in_place = 0;
  return step;
}

constexpr AttrDef kAlpha[] = {{"alpha", AttrType::kFloat}};
constexpr AttrDef kAlphaBeta[] = {{"alpha", AttrType::kFloat}, {"beta", AttrType::kFloat}};
constexpr AttrDef kAlphaGamma[] = {{"alpha", AttrType::kFloat}, {"gamma", AttrType::kFloat}};
constexpr AttrDef kLambdBias[] = {{"bias", AttrType::kFloat}, {"lambd", AttrType::kFloat}};
constexpr AttrDef kApproximate[] = {{"approximate", AttrType::kString}};

constexpr std::string_view kTable = "a table on codes";
// passes/insert_qdq leaves them float: one step of a code is too much for so steep a function.
constexpr std::string_view kSteep =
    "left in float when quantizing; a table on codes in models quantized elsewhere";

constexpr OpDef unary(std::string_view name, int since, std::span<const AttrDef> attrs = {},
                      std::string_view notes = kTable) {
  return {name,
          "",
          since,
          1,
          1,
          1,
          1,
          attrs,
          LayoutRule::kFollow,
          QuantRule::kCompute,
          infer_unary,
          prepare_unary,
          nullptr,
          notes};
}

// ---- Clip ----

Status infer_clip(InferContext& context) {
  // The bounds of codes are real numbers.
  const Value& in = context.input(0);
  for (std::size_t i = 1; i < 3; ++i)
    OCTAVO_CHECK_OK(one_number(context, i, in.quant ? DType::kFloat32 : in.dtype));
  return infer_unary(context);
}

Result<Step> prepare_clip(const PrepareContext& context) {
  const Value& in = context.input(0);
  const Value& out = context.output();
  if (load_integer(in.dtype) != nullptr && !in.quant) return on_integers(context, Unary::kClip);
  if (is_quantized_code(in.dtype) && out.dtype == in.dtype) {
    OCTAVO_CHECK_OK(check_codes(context, in));
    OCTAVO_CHECK_OK(check_codes(context, out));
    const RealBounds open;
    const auto bound = [&](std::size_t i, float none) {
      return context.constant(i) == nullptr ? none : context.constant(i)->span<float>()[0];
    };
    const kernels::UnaryParams params{bound(1, open.lo), bound(2, open.hi)};
    return lut_step(context,
                    in.dtype == DType::kInt8
                        ? table_of<std::int8_t>(Unary::kClip, params, in, out)
                        : table_of<std::uint8_t>(Unary::kClip, params, in, out),
                    0);
  }
  if (in.dtype != DType::kFloat32) return needs_dtype(context, in);
  const kernels::UnaryKernel& kernel = kernels::unary_kernel(Unary::kClip, context.policy());
  Step step =
      step_in_pieces(kernel.name, in.shape->elements(),
                     [run = kernel.run](const StepArgs& args, std::int64_t from, std::size_t n) {
                       const RealBounds open;
                       run(reinterpret_cast<const float*>(args.in[0]) + from,
                           reinterpret_cast<float*>(args.out[0]) + from, n,
                           {number_or(args, 1, open.lo), number_or(args, 2, open.hi)});
                     });
  step.in_place = 0;
  return step;
}

bool clip_int8(const Graph& graph, const Node& node) {
  for (std::size_t i = 1; i < 3; ++i) {
    if (node.input(i) != kNoValue && !graph.value(node.input(i)).is_constant()) return false;
  }
  return true;
}

constexpr std::array kUnaryDefs{
    unary("Abs", 13),
    unary("Acos", 7, {}, kSteep),
    unary("Acosh", 9, {}, kSteep),
    unary("Asin", 7, {}, kSteep),
    unary("Asinh", 9),
    unary("Atan", 7),
    unary("Atanh", 9, {}, kSteep),
    unary("Ceil", 13, {}, kSteep),
    unary("Celu", 12, kAlpha),
    OpDef{"Clip",
          "",
          13,
          1,
          3,
          1,
          1,
          {},
          LayoutRule::kFollow,
          QuantRule::kCompute,
          infer_clip,
          prepare_clip,
          clip_int8,
          "a table on codes where its bounds are constant"},
    unary("Cos", 7, {}, kSteep),
    unary("Cosh", 9, {}, kSteep),
    unary("Elu", 6, kAlpha),
    unary("Erf", 13),
    unary("Exp", 13, {}, kSteep),
    unary("Floor", 13, {}, kSteep),
    unary("Gelu", 20, kApproximate),
    unary("HardSigmoid", 6, kAlphaBeta),
    unary("HardSwish", 14),
    unary("LeakyRelu", 16, kAlpha),
    unary("Log", 13, {}, kSteep),
    unary("Mish", 18),
    unary("Neg", 13),
    unary("Reciprocal", 13, {}, kSteep),
    unary("Relu", 14),
    unary("Round", 11, {}, kSteep),
    unary("Selu", 6, kAlphaGamma),
    unary("Shrink", 9, kLambdBias, kSteep),
    unary("Sigmoid", 13),
    unary("Sign", 13, {}, kSteep),
    unary("Sin", 7, {}, kSteep),
    unary("Sinh", 9, {}, kSteep),
    unary("Softplus", 1),
    unary("Softsign", 1),
    unary("Sqrt", 13, {}, kSteep),
    unary("Tan", 7, {}, kSteep),
    unary("Tanh", 13),
    unary("ThresholdedRelu", 10, kAlpha, kSteep),
};

}  // namespace

extern const std::span<const OpDef> kActivations;
const std::span<const OpDef> kActivations = kUnaryDefs;

}  // namespace octavo::ops
