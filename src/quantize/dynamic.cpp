#include "quantize/dynamic.h"

#include "passes/passes.h"
#include "passes/quantize_dynamic.h"
#include "quantize/json.h"
#include "quantize/options.h"

namespace octavo::quantize {

Result<Model> quantize_dynamic(const Model& model, std::string_view options_json) {
  OCTAVO_TRY(const passes::DynamicOptions options, parse_dynamic_options(options_json));
  OCTAVO_CHECK_OK(check_is_float(model));
  OCTAVO_CHECK_OK(check_exclude(model.graph(), options.exclude_names, options.exclude_ops));
  Graph graph = model.graph();
  passes::PassContext context;
  for (const auto pass : {&passes::fold_batch_norm, &passes::fold_scale, &passes::eliminate_dead}) {
    if (Result<int> changed = pass(graph, context); !changed.ok())
      return std::move(changed).error();
  }
  if (Result<int> changed = passes::quantize_dynamic(graph, options, context); !changed.ok())
    return std::move(changed).error();
  graph.metadata["octavo.quantization"] = std::string(options_json);
  return Model::from_graph(std::move(graph), std::move(context.notes));
}

}  // namespace octavo::quantize
