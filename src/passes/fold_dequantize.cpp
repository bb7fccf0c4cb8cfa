// fold_dequantize: a constant behind a DequantizeLinear becomes a float constant, for nodes that
// stay float.
//
// After lowering only: before it the pair says that a node has integer weights.
#include <utility>
#include <vector>

#include "base/text.h"
#include "ops/op.h"
#include "passes/passes.h"
#include "passes/qdq.h"

namespace octavo::passes {

Result<int> fold_dequantize(Graph& graph, PassContext&) {
  std::vector<bool> folded(graph.nodes.size(), false);
  int changes = 0;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node node = graph.nodes[i];
    if (!is_dequantize(node) || !graph.value(node.inputs[0]).is_constant()) continue;
    if (!params_of(graph, node)) continue;
    OCTAVO_TRY(std::vector<Tensor> result, ops::evaluate(graph, node));
    Value& value = graph.value(node.outputs[0]);
    value.dtype = result[0].dtype();
    value.shape = result[0].shape();
    value.constant = std::move(result[0]);
    folded[i] = true;
    ++changes;
  }
  graph.remove_nodes([&](std::size_t i) { return folded[i]; });
  return changes;
}

}  // namespace octavo::passes
