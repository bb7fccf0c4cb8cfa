#include "graph/verify.h"
#include "passes/canonicalize.h"
#include "passes/infer_shapes.h"
#include "passes/passes.h"
#include "passes/pipelines.h"

namespace octavo::passes {

namespace {
Status run_pass(Result<int> (*pass)(Graph&, PassContext&), Graph& graph, PassContext& context) {
  if (Result<int> changes = pass(graph, context); !changes.ok()) return std::move(changes).error();
  return ok_status();
}
}  // namespace

Status normalize(Graph& graph, PassContext& context) {
  OCTAVO_CHECK_OK(canonicalize(graph));
  OCTAVO_CHECK_OK(run_pass(&eliminate_identity, graph, context));
  OCTAVO_CHECK_OK(infer_and_fold(graph));
  OCTAVO_CHECK_OK(resolve_flattened_softmax(graph));
  OCTAVO_CHECK_OK(infer_and_fold(graph));
  // Again: the types that a Cast stands between are known now.
  OCTAVO_CHECK_OK(run_pass(&eliminate_identity, graph, context));
  OCTAVO_CHECK_OK(run_pass(&eliminate_dead, graph, context));
  graph.opset = 17;
  return verify(graph);
}

}  // namespace octavo::passes
