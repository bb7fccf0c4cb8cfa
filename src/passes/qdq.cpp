#include "passes/qdq.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/text.h"

namespace octavo::passes {

namespace {
struct Roles {
  std::string_view op;
  std::array<InputRole, 3> first;  // inputs 0, 1, 2
  bool variadic;                   // every further input is like input 0
};
// Ops that are not here read activations at input 0 alone.
constexpr InputRole kData = InputRole::kData, kWeight = InputRole::kWeight,
                    kBias = InputRole::kBias, kParameter = InputRole::kParameter;
constexpr std::array kRoles{
    Roles{"Conv", {kData, kWeight, kBias}, false},
    Roles{"ConvTranspose", {kData, kWeight, kBias}, false},
    Roles{"Gemm", {kData, kWeight, kBias}, false},
    Roles{"MatMul", {kData, kWeight, kParameter}, false},
    Roles{"Add", {kData, kData, kParameter}, false},
    Roles{"Sub", {kData, kData, kParameter}, false},
    Roles{"Mul", {kData, kData, kParameter}, false},
    Roles{"Div", {kData, kData, kParameter}, false},
    Roles{"Concat", {kData, kData, kData}, true},
    Roles{"Sum", {kData, kData, kData}, true},
    Roles{"Max", {kData, kData, kData}, true},
    Roles{"Min", {kData, kData, kData}, true},
};
}  // namespace

InputRole input_role(const Node& node, std::size_t i) {
  for (const Roles& row : kRoles) {
    if (row.op != node.op || !node.domain.empty()) continue;
    if (i < row.first.size()) return row.first[i];
    return row.variadic ? kData : kParameter;
  }
  return i == 0 ? kData : kParameter;
}

int weight_channel_axis(const Node& node, int rank) {
  if (node.op == "Gemm") return node.attrs.get_int("transB", 0) != 0 ? 0 : 1;
  if (node.op == "MatMul") return rank - 1;
  if (node.op == "ConvTranspose") return 1;
  return 0;
}

std::optional<QuantParams> params_of(const Graph& graph, const Node& node) {
  const ValueId scale_id = node.input(1);
  if (scale_id == kNoValue || !graph.value(scale_id).constant) return std::nullopt;
  const Tensor& scale = *graph.value(scale_id).constant;
  if (scale.dtype() != DType::kFloat32 || scale.elements() < 1) return std::nullopt;
  QuantParams params;
  params.scale = to_floats(scale);
  for (const float s : params.scale) {
    if (!(s > 0) || !std::isfinite(s)) return std::nullopt;
  }
  params.zero_point.assign(params.scale.size(), 0);
  if (const ValueId zero_id = node.input(2); zero_id != kNoValue) {
    if (!graph.value(zero_id).constant) return std::nullopt;
    const std::vector<std::int64_t> zeros = to_int64s(*graph.value(zero_id).constant);
    if (zeros.size() != params.scale.size()) return std::nullopt;
    for (std::size_t i = 0; i < zeros.size(); ++i)
      params.zero_point[i] = static_cast<std::int32_t>(zeros[i]);
  }
  if (params.scale.size() > 1) {
    const std::int64_t axis = node.attrs.get_int("axis", 1);
    const auto& shape = graph.value(node.input(0)).shape;
    if (!shape) return std::nullopt;
    params.axis = normalize_axis(axis, shape->rank());
    if (!params.axis || (*shape)[*params.axis] != static_cast<std::int64_t>(params.scale.size()))
      return std::nullopt;
  }
  return params;
}

Node make_qdq(const Graph& graph, std::string_view op, std::string_view name, ValueId x,
              ValueId scale, ValueId zero_point, ValueId y) {
  Node node;
  node.name = graph.fresh_node_name(name);
  node.op = op;
  node.inputs = {x, scale, zero_point};
  node.outputs = {y};
  return node;
}

std::int32_t quantize_one(float real, float scale, std::int32_t zero_point, DType dtype) {
  const float low = dtype == DType::kInt8 ? -128.0F : 0.0F;
  const float code = std::nearbyint(real / scale) + static_cast<float>(zero_point);
  return static_cast<std::int32_t>(std::clamp(code, low, low + 255.0F));
}

std::optional<CodeBounds> activation_codes(const Attrs& attrs, const QuantParams& output,
                                           DType dtype) {
  const std::string activation = attrs.get_string("octavo_activation", "");
  if (activation.empty() || !output.is_per_tensor()) return std::nullopt;
  constexpr float kMax = std::numeric_limits<float>::max();
  const float min = activation == "Relu" ? 0.0F : attrs.get_float("octavo_min", -kMax);
  const float max = activation == "Relu" ? kMax : attrs.get_float("octavo_max", kMax);
  return CodeBounds{quantize_one(min, output.scale[0], output.zero_point[0], dtype),
                    quantize_one(max, output.scale[0], output.zero_point[0], dtype)};
}

bool activation_is_redundant(const Attrs& attrs, const QuantParams& output, DType dtype) {
  const auto bounds = activation_codes(attrs, output, dtype);
  const std::int32_t low = dtype == DType::kInt8 ? -128 : 0;
  return bounds && bounds->min <= low && bounds->max >= low + 255;
}

std::optional<BatchNormAffine> batch_norm_affine(const Graph& graph, const Node& node) {
  std::vector<std::vector<float>> params;
  for (std::size_t i = 1; i <= 4; ++i) {
    const ValueId id = node.input(i);
    if (id == kNoValue || !graph.value(id).constant ||
        graph.value(id).constant->dtype() != DType::kFloat32)
      return std::nullopt;
    params.push_back(to_floats(*graph.value(id).constant));
    if (params.back().size() != params.front().size()) return std::nullopt;
  }
  const float epsilon = node.attrs.get_float("epsilon", 1e-5F);
  BatchNormAffine out;
  for (std::size_t c = 0; c < params[0].size(); ++c) {
    const float inverse =
        static_cast<float>(1.0 / static_cast<double>(std::sqrt(params[3][c] + epsilon)));
    const float alpha = inverse * params[0][c];
    const float beta = params[1][c] - (params[2][c] * inverse) * params[0][c];
    if (!std::isfinite(alpha) || !std::isfinite(beta)) return std::nullopt;
    out.alpha.push_back(alpha);
    out.beta.push_back(beta);
  }
  return out;
}

DepthwiseChannel depthwise_of(float alpha, float beta, float input_scale) {
  // The scale is |alpha| / 127 unless the bias would then not fit into 2^30 (alpha = 0, for one).
  float scale = std::max(std::fabs(alpha) / 127.0F, std::fabs(beta) / (input_scale * 0x1p30F));
  if (!(scale >= std::numeric_limits<float>::min())) scale = 1;
  DepthwiseChannel out{};
  out.weight_scale = scale;
  out.weight =
      static_cast<std::int32_t>(std::clamp(std::nearbyint(alpha / scale), -127.0F, 127.0F));
  const double unit = static_cast<double>(input_scale * scale);
  out.bias = static_cast<std::int32_t>(
      std::clamp(std::nearbyint(static_cast<double>(beta) / unit), -0x1p30, 0x1p30));
  return out;
}

}  // namespace octavo::passes
