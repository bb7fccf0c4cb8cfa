// fold_transpose: the Transpose of a dequantized matrix becomes part of the Gemm or MatMul that
// reads it.
//
// A linear layer is exported as x * transpose(w); where w is trained with fake quantization, its
// codes are before the Transpose, and the product would not see them.
#include <vector>

#include "base/text.h"
#include "passes/passes.h"
#include "passes/qdq.h"

namespace octavo::passes {

namespace {

bool is_matrix(const Graph& graph, ValueId id) {
  return id != kNoValue && graph.value(id).shape && graph.value(id).shape->rank() == 2;
}

// The matrix whose transpose the node multiplies by; kNoValue where there is none.
ValueId transposed(const Graph& graph, const Uses& uses, const Node& node) {
  const bool product =
      node.op == "Gemm" || (node.op == "MatMul" && is_matrix(graph, node.input(0)));
  if (!product || !node.domain.empty() || !is_matrix(graph, node.input(1))) return kNoValue;
  const auto producer = uses.producer_of(node.inputs[1]);
  if (!producer) return kNoValue;
  const Node& transpose = graph.node(*producer);
  if (transpose.op != "Transpose" || !transpose.domain.empty() ||
      transpose.attrs.get_ints("perm", {1, 0}) != std::vector<std::int64_t>{1, 0})
    return kNoValue;
  const auto maker = uses.producer_of(transpose.inputs[0]);
  return maker && is_dequantize(graph.node(*maker)) ? transpose.inputs[0] : kNoValue;
}

}  // namespace

Result<int> fold_transpose(Graph& graph, PassContext& context) {
  const Uses uses(graph);
  int changes = 0;
  for (Node& node : graph.nodes) {
    const ValueId matrix = transposed(graph, uses, node);
    if (matrix == kNoValue) continue;
    node.op = "Gemm";
    node.inputs[1] = matrix;
    node.attrs.set("transB", std::int64_t{1} - node.attrs.get_int("transB", 0));
    context.notes.push_back({"fold_transpose", node.name, node.op, "reads its weight as it is"});
    ++changes;
  }
  return changes;
}

}  // namespace octavo::passes
