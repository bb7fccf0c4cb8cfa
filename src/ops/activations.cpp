// The functions of one element: Relu, Sigmoid, HardSwish, Sqrt, ... rows of one table.
//
// On codes each is a table of 256: dequantize, the function in f32, quantize (kernels/lut).
#include <array>

#include "base/text.h"
#include "kernels/felementwise/unary.h"
#include "kernels/lut/lut.h"
#include "ops/activation.h"

namespace octavo::ops {

namespace {

using kernels::Unary;

struct Row {
  std::string_view name;
  Unary op;
  float alpha = 0, beta = 0;  // ONNX's defaults
};
constexpr std::array kUnaryRows{
    Row{"Abs", Unary::kAbs},
    Row{"Ceil", Unary::kCeil},
    Row{"Cos", Unary::kCos},
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
    Row{"Selu", Unary::kSelu, 1.67326319217681884765625F, 1.05070102214813232421875F},
    Row{"Sigmoid", Unary::kSigmoid},
    Row{"Sign", Unary::kSign},
    Row{"Sin", Unary::kSin},
    Row{"Softplus", Unary::kSoftplus},
    Row{"Softsign", Unary::kSoftsign},
    Row{"Sqrt", Unary::kSqrt},
    Row{"Tanh", Unary::kTanh},
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
  // Selu calls its second parameter gamma.
  return {node.attrs.get_float("alpha", row.alpha),
          node.attrs.get_float(row.op == Unary::kSelu ? "gamma" : "beta", row.beta)};
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

Result<Step> prepare_unary(const PrepareContext& context) {
  const Value& in = context.input(0);
  const Value& out = context.output();
  const Unary op = function_of(context.node());
  const kernels::UnaryParams params = params_of(context.node());
  const auto n = static_cast<std::size_t>(in.shape->elements());
  Step step;
  step.in_place = 0;
  if (is_quantized_code(in.dtype) && out.dtype == in.dtype) {
    OCTAVO_CHECK_OK(check_codes(context, in));
    OCTAVO_CHECK_OK(check_codes(context, out));
    const kernels::LutKernel& kernel = kernels::best_row(kernels::lut_kernels(), context.policy());
    const kernels::Table256 table = in.dtype == DType::kInt8
                                        ? table_of<std::int8_t>(op, params, in, out)
                                        : table_of<std::uint8_t>(op, params, in, out);
    step.kernel = kernel.name;
    step.run = [run = kernel.run, table, n](const StepArgs& args, int, int) {
      run(reinterpret_cast<const std::uint8_t*>(args.in[0]),
          reinterpret_cast<std::uint8_t*>(args.out[0]), n, table.data());
    };
    return step;
  }
  if (in.dtype != DType::kFloat32) return needs_dtype(context, in);
  const kernels::UnaryKernel& kernel = kernels::unary_kernel(op, context.policy());
  step.kernel = kernel.name;
  step.run = [run = kernel.run, params, n](const StepArgs& args, int, int) {
    run(reinterpret_cast<const float*>(args.in[0]), reinterpret_cast<float*>(args.out[0]), n,
        params);
  };
  return step;
}

constexpr AttrDef kAlpha[] = {{"alpha", AttrType::kFloat}};
constexpr AttrDef kAlphaBeta[] = {{"alpha", AttrType::kFloat}, {"beta", AttrType::kFloat}};
constexpr AttrDef kAlphaGamma[] = {{"alpha", AttrType::kFloat}, {"gamma", AttrType::kFloat}};
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

// The bound in input i: absent is open; nothing when it is not a constant.
std::optional<float> bound(const Tensor* constant, bool present, float open) {
  if (!present) return open;
  if (constant == nullptr || constant->elements() != 1) return std::nullopt;
  return to_floats(*constant)[0];
}

Result<Step> prepare_clip(const PrepareContext& context) {
  const Value& in = context.input(0);
  const Value& out = context.output();
  const RealBounds open;
  const auto lo = bound(context.constant(1), context.has_input(1), open.lo);
  const auto hi = bound(context.constant(2), context.has_input(2), open.hi);
  if (!lo || !hi) {
    return context.error(Code::kUnsupportedAttribute, "min or max is computed by the network.",
                         "Use constants for Clip's bounds.");
  }
  const kernels::UnaryParams params{*lo, *hi};
  const auto n = static_cast<std::size_t>(in.shape->elements());
  Step step;
  step.in_place = 0;
  if (is_quantized_code(in.dtype) && out.dtype == in.dtype) {
    OCTAVO_CHECK_OK(check_codes(context, in));
    OCTAVO_CHECK_OK(check_codes(context, out));
    const kernels::LutKernel& kernel = kernels::best_row(kernels::lut_kernels(), context.policy());
    const kernels::Table256 table = in.dtype == DType::kInt8
                                        ? table_of<std::int8_t>(Unary::kClip, params, in, out)
                                        : table_of<std::uint8_t>(Unary::kClip, params, in, out);
    step.kernel = kernel.name;
    step.run = [run = kernel.run, table, n](const StepArgs& args, int, int) {
      run(reinterpret_cast<const std::uint8_t*>(args.in[0]),
          reinterpret_cast<std::uint8_t*>(args.out[0]), n, table.data());
    };
    return step;
  }
  if (in.dtype != DType::kFloat32) return needs_dtype(context, in);
  const kernels::UnaryKernel& kernel = kernels::unary_kernel(Unary::kClip, context.policy());
  step.kernel = kernel.name;
  step.run = [run = kernel.run, params, n](const StepArgs& args, int, int) {
    run(reinterpret_cast<const float*>(args.in[0]), reinterpret_cast<float*>(args.out[0]), n,
        params);
  };
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
    unary("Ceil", 13, {}, kSteep),
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
          infer_unary,
          prepare_clip,
          clip_int8,
          "constant bounds; a table on codes"},
    unary("Cos", 7, {}, kSteep),
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
    unary("Sigmoid", 13),
    unary("Sign", 13, {}, kSteep),
    unary("Sin", 7, {}, kSteep),
    unary("Softplus", 1),
    unary("Softsign", 1),
    unary("Sqrt", 13, {}, kSteep),
    unary("Tanh", 13),
};

}  // namespace

extern const std::span<const OpDef> kActivations;
const std::span<const OpDef> kActivations = kUnaryDefs;

}  // namespace octavo::ops
