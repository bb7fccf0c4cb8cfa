#include "passes/pipelines.h"

#include "graph/verify.h"
#include "passes/activation_form.h"
#include "passes/passes.h"

namespace octavo::passes {

namespace {
// Stops at the first error.
template <std::size_t N>
Status run_all(Graph& graph, PassContext& context,
               Result<int> (*const (&passes)[N])(Graph&, PassContext&)) {
  for (const auto pass : passes) {
    if (Result<int> changes = pass(graph, context); !changes.ok())
      return std::move(changes).error();
  }
  return verify(graph);
}
}  // namespace

Status optimize_float(Graph& graph, PassContext& context) {
  return run_all(graph, context,
                 {&fold_batch_norm, &fold_scale, &fold_transpose, &clip_codes, &fold_into_codes,
                  &fuse_activation, &eliminate_dead});
}

Status prepare_for_session(Graph& graph, const LoweringOptions& options, PassContext& context) {
  OCTAVO_CHECK_OK(run_all(graph, context,
                          {&fuse_activation, &lower_to_int8, &eliminate_dead, &fold_dequantize}));
  if (Result<int> shifted = set_activation_form(graph, options.activation); !shifted.ok())
    return std::move(shifted).error();
  return run_all(graph, context, {&eliminate_dead, &assign_layouts});
}

}  // namespace octavo::passes
