#include "passes/passes.h"

namespace octavo::passes {

Result<int> eliminate_dead(Graph& graph, PassContext&) {
  std::vector<bool> wanted(graph.values.size(), false);
  for (const ValueId id : graph.outputs) wanted[static_cast<std::size_t>(id)] = true;
  std::vector<bool> dead(graph.nodes.size(), false);
  int removed = 0;
  // Backwards: a node is alive when one of its outputs is wanted, and then its inputs are.
  for (std::size_t i = graph.nodes.size(); i-- > 0;) {
    const Node& node = graph.nodes[i];
    bool alive = false;
    for (const ValueId id : node.outputs)
      alive = alive || (id != kNoValue && wanted[static_cast<std::size_t>(id)]);
    if (!alive) {
      dead[i] = true;
      ++removed;
      continue;
    }
    for (const ValueId id : node.inputs) {
      if (id != kNoValue) wanted[static_cast<std::size_t>(id)] = true;
    }
  }
  if (removed > 0) graph.remove_nodes([&](std::size_t i) { return dead[i]; });
  graph.compact_values();
  return removed;
}

}  // namespace octavo::passes
