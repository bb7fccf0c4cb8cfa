#include "passes/channel_affine.h"

#include <cmath>
#include <utility>

#include "passes/channel_product.h"
#include "passes/qdq.h"

namespace octavo::passes {

namespace {

bool is_batch_norm(const Node& node) { return node.op == "BatchNormalization"; }

// Which input of x * c, x / c, x + c, x - c, c - x is the constant.
std::optional<std::size_t> constant_input(const Graph& graph, const Node& node) {
  const bool known = node.op == "Mul" || node.op == "Div" || node.op == "Add" || node.op == "Sub";
  if (!known || node.inputs.size() != 2) return std::nullopt;
  const std::size_t at = float_constant(graph, node.inputs[1]) != nullptr ? 1 : 0;
  if (float_constant(graph, node.inputs[at]) == nullptr || (node.op == "Div" && at == 0))
    return std::nullopt;
  return at;
}

// One number a channel of a tensor of rank `rank`: a constant with one element, or one whose only
// long axis is the channels'.
std::optional<std::vector<float>> per_channel(const Tensor& constant, int rank,
                                              std::int64_t channels) {
  const std::vector<float> values = to_floats(constant);
  const Shape& shape = constant.shape();
  if (shape.rank() > rank) return std::nullopt;
  if (values.size() == 1)
    return std::vector<float>(static_cast<std::size_t>(channels), values.front());
  for (int d = 0; d < shape.rank(); ++d) {
    const bool is_channel = d + rank - shape.rank() == 1;
    if (shape[d] != (is_channel ? channels : 1)) return std::nullopt;
  }
  return static_cast<std::int64_t>(values.size()) == channels ? std::optional(values)
                                                              : std::nullopt;
}

}  // namespace

ValueId affine_input(const Graph& graph, const Node& node) {
  if (!node.domain.empty()) return kNoValue;
  if (is_batch_norm(node)) return node.input(0);
  const auto constant = constant_input(graph, node);
  return constant ? node.inputs[1 - *constant] : kNoValue;
}

std::optional<ChannelAffine> channel_affine(const Graph& graph, const Node& node,
                                            std::int64_t channels) {
  const ValueId x = affine_input(graph, node);
  if (x == kNoValue || !graph.value(x).shape || graph.value(x).shape->rank() < 2)
    return std::nullopt;
  ChannelAffine affine;
  if (is_batch_norm(node)) {
    auto computed = batch_norm_affine(graph, node);
    if (!computed || static_cast<std::int64_t>(computed->alpha.size()) != channels)
      return std::nullopt;
    affine = {std::move(computed->alpha), std::move(computed->beta)};
  } else {
    const std::size_t constant = *constant_input(graph, node);
    const auto values = per_channel(*float_constant(graph, node.inputs[constant]),
                                    graph.value(x).shape->rank(), channels);
    if (!values) return std::nullopt;
    affine.factor.assign(values->size(), 1.0F);
    affine.shift.assign(values->size(), 0.0F);
    for (std::size_t i = 0; i < values->size(); ++i) {
      const float v = (*values)[i];
      if (node.op == "Mul") affine.factor[i] = v;
      if (node.op == "Div") affine.factor[i] = 1.0F / v;
      if (node.op == "Add") affine.shift[i] = v;
      if (node.op == "Sub") {
        affine.factor[i] = constant == 1 ? 1.0F : -1.0F;
        affine.shift[i] = constant == 1 ? -v : v;
      }
    }
  }
  for (std::size_t i = 0; i < affine.factor.size(); ++i) {
    if (!std::isfinite(affine.factor[i]) || !std::isfinite(affine.shift[i])) return std::nullopt;
  }
  return affine;
}

}  // namespace octavo::passes
