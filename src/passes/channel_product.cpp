#include "passes/channel_product.h"

#include "passes/qdq.h"

namespace octavo::passes {

std::size_t channels_of(const Value& value) {
  if (value.is_constant() || !value.shape || value.shape->rank() < 2 || (*value.shape)[1] < 1)
    return 0;
  return static_cast<std::size_t>((*value.shape)[1]);
}

const Tensor* float_constant(const Graph& graph, ValueId id) {
  if (id == kNoValue) return nullptr;
  const auto& constant = graph.value(id).constant;
  return constant && constant->dtype() == DType::kFloat32 ? &*constant : nullptr;
}

std::optional<Product> product_of(const Graph& graph, std::size_t i) {
  const Node& node = graph.nodes[i];
  const Tensor* weight = float_constant(graph, node.input(1));
  if (!node.domain.empty() || weight == nullptr) return std::nullopt;
  if (node.input(2) != kNoValue && float_constant(graph, node.input(2)) == nullptr)
    return std::nullopt;
  const Shape& shape = weight->shape();
  Product p{i, 0, 0, 1, 1, false};
  if (node.op == "Conv" && shape.rank() >= 3) {
    p.groups = static_cast<std::size_t>(node.attrs.get_int("group", 1));
    p.outputs = static_cast<std::size_t>(shape[0]);
    p.inputs = static_cast<std::size_t>(shape[1]) * p.groups;
    for (int d = 2; d < shape.rank(); ++d) p.taps *= static_cast<std::size_t>(shape[d]);
  } else if ((node.op == "Gemm" || node.op == "MatMul") && shape.rank() == 2 &&
             graph.value(node.inputs[0]).shape && graph.value(node.inputs[0]).shape->rank() == 2 &&
             node.attrs.get_int("transA", 0) == 0) {
    const int axis = weight_channel_axis(node, 2);
    p.outputs = static_cast<std::size_t>(shape[axis]);
    p.inputs = static_cast<std::size_t>(shape[1 - axis]);
    p.transposed = axis == 1;
  } else {
    return std::nullopt;
  }
  const bool fits = channels_of(graph.value(node.inputs[0])) == p.inputs &&
                    channels_of(graph.value(node.outputs[0])) == p.outputs && p.outputs > 0;
  return fits ? std::optional(p) : std::nullopt;
}

}  // namespace octavo::passes
