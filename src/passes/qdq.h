// What the passes around QuantizeLinear and DequantizeLinear share.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "graph/graph.h"

namespace octavo::passes {

inline bool is_quantize(const Node& node) {
  return node.op == "QuantizeLinear" && node.domain.empty();
}
inline bool is_dequantize(const Node& node) {
  return node.op == "DequantizeLinear" && node.domain.empty();
}

// What an input of a node is to a quantizer.
enum class InputRole {
  kData,       // activations (or a constant in their place): codes per tensor
  kWeight,     // int8, per output channel where that helps
  kBias,       // int32 with scale = input scale * weight scale
  kParameter,  // stays as it is
};
InputRole input_role(const Node& node, std::size_t i);
// The axis of a weight of this rank along which the output channels lie.
int weight_channel_axis(const Node& node, int rank);

// Scale and zero point of a Q or DQ node whose parameters are constants: all zero points present,
// axis set when there is more than one scale.
std::optional<QuantParams> params_of(const Graph& graph, const Node& node);

// A node `op` of x, scale and zero point with a fresh name; the caller places it.
Node make_qdq(const Graph& graph, std::string_view op, std::string_view name, ValueId x,
              ValueId scale, ValueId zero_point, ValueId y);

// clamp(rint(real / scale) + zero_point) to the codes of `dtype`: ONNX's QuantizeLinear of one
// number.
std::int32_t quantize_one(float real, float scale, std::int32_t zero_point, DType dtype);

// The bounds of a fused activation, in codes of the output's grid; nothing when the node has none.
// (An activation whose bounds are the dtype's own does nothing that the saturation would not do.)
struct CodeBounds {
  std::int32_t min, max;
};
std::optional<CodeBounds> activation_codes(const Attrs& attrs, const QuantParams& output,
                                           DType dtype);
bool activation_is_redundant(const Attrs& attrs, const QuantParams& output, DType dtype);

// int8 BatchNormalization as what it computes per channel, f32: real(y) = alpha * real(x) + beta,
// inv = 1 / sqrt(var + eps), alpha = inv * gamma, beta = bias - (mean * inv) * gamma.
struct BatchNormAffine {
  std::vector<float> alpha, beta;
};
std::optional<BatchNormAffine> batch_norm_affine(const Graph& graph, const Node& node);

// The same as a 1x1 depthwise convolution on codes: weight (int8), its scale, bias (int32 of scale
// sx * weight_scale).
struct DepthwiseChannel {
  std::int32_t weight;
  float weight_scale;
  std::int32_t bias;
};
DepthwiseChannel depthwise_of(float alpha, float beta, float input_scale);

}  // namespace octavo::passes
