#include "passes/passes.h"

namespace octavo::passes {

namespace {
bool hands_on(const Graph& graph, const Node& node) {
  if (!node.domain.empty() || node.input(0) == kNoValue || node.output(0) == kNoValue) return false;
  if (node.op == "Identity") return true;
  // A Cast to the dtype that its input has.
  const Value& in = graph.value(node.input(0));
  return node.op == "Cast" && in.dtype != DType::kUndefined &&
         node.attrs.get_int("to", 0) == static_cast<std::int64_t>(in.dtype);
}
}  // namespace

Result<int> eliminate_identity(Graph& graph, PassContext&) {
  std::vector<bool> dead(graph.nodes.size(), false);
  // By value: what its readers, which all come later, read instead.
  std::vector<ValueId> source(graph.values.size());
  for (std::size_t i = 0; i < source.size(); ++i) source[i] = static_cast<ValueId>(i);
  int removed = 0;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    Node& node = graph.nodes[i];
    for (ValueId& id : node.inputs) {
      if (id != kNoValue) id = source[static_cast<std::size_t>(id)];
    }
    // The name of a graph output is part of the model: the node that makes it stays.
    if (!hands_on(graph, node) || graph.is_output(node.outputs[0])) continue;
    source[static_cast<std::size_t>(node.outputs[0])] = node.inputs[0];
    dead[i] = true;
    ++removed;
  }
  if (removed > 0) {
    graph.remove_nodes([&](std::size_t i) { return dead[i]; });
    graph.compact_values();
  }
  return removed;
}

}  // namespace octavo::passes
