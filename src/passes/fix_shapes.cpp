#include <algorithm>

#include "base/text.h"
#include "passes/canonicalize.h"
#include "passes/infer_shapes.h"
#include "passes/pipelines.h"
#include "passes/tail.h"

namespace octavo::passes {

namespace {
// "[1, 3, height, width]": what the file says about an input.
std::string declared(const Value& value) {
  if (!value.shape) return "of any shape";
  std::vector<std::string> parts;
  for (int axis = 0; axis < value.shape->rank(); ++axis) {
    const auto i = static_cast<std::size_t>(axis);
    const bool named = i < value.dim_names.size() && !value.dim_names[i].empty();
    parts.push_back((*value.shape)[axis] >= 0 ? text((*value.shape)[axis])
                    : named                   ? value.dim_names[i]
                                              : "?");
  }
  return text("[", join(parts, ", "), "]");
}

// Takes the given shape; an error where it contradicts what the file fixes.
Status apply(Value& value, const Shape& given) {
  const std::string where = text("input '", value.name, "'");
  if (!given.checked_elements()) {
    return Error{Code::kInvalidOption,
                 text("Shape ", given.to_string(), " is not complete or too large."),
                 where,
                 "Every dimension has to be a number.",
                 {}};
  }
  bool fits = value.shape ? value.shape->rank() == given.rank() : given.rank() <= kMaxRank;
  for (int axis = 0; fits && value.shape && axis < given.rank(); ++axis) {
    fits = (*value.shape)[axis] < 0 || (*value.shape)[axis] == given[axis];
  }
  if (!fits) {
    return Error{
        Code::kShapeMismatch,
        text("Shape ", given.to_string(), " was given, but the model takes ", declared(value), "."),
        where,
        "Only dimensions that the model leaves open can be chosen.",
        {}};
  }
  value.shape = given;
  return ok_status();
}

// A symbolic dimension has one value wherever its name stands.
void apply_by_name(Graph& graph, const std::map<std::string, std::int64_t>& named) {
  for (const ValueId id : graph.inputs) {
    Value& value = graph.value(id);
    if (!value.shape) continue;
    for (int axis = 0; axis < value.shape->rank(); ++axis) {
      const auto i = static_cast<std::size_t>(axis);
      if ((*value.shape)[axis] >= 0 || i >= value.dim_names.size()) continue;
      if (const auto it = named.find(value.dim_names[i]); it != named.end())
        (*value.shape)[axis] = it->second;
    }
  }
}
}  // namespace

Status fix_shapes(Graph& graph, const InputShapes& shapes) {
  std::vector<Error> findings;
  std::map<std::string, std::int64_t> named;
  for (const auto& [name, given] : shapes.by_name) {
    const auto it =
        std::find_if(graph.inputs.begin(), graph.inputs.end(),
                     [&, &wanted = name](ValueId id) { return graph.value(id).name == wanted; });
    if (it == graph.inputs.end()) {
      std::vector<std::string> names;
      for (const ValueId id : graph.inputs) names.push_back(text("'", graph.value(id).name, "'"));
      findings.push_back({Code::kInvalidOption,
                          text("A shape was given for '", name, "', which is no input."),
                          "",
                          text("The inputs are ", join(names, ", "), "."),
                          {}});
      continue;
    }
    Value& value = graph.value(*it);
    const std::optional<Shape> open = value.shape;
    if (Status status = apply(value, given); !status.ok()) {
      findings.push_back(std::move(status).error());
      continue;
    }
    for (int axis = 0; open && axis < open->rank(); ++axis) {
      const auto i = static_cast<std::size_t>(axis);
      if ((*open)[axis] < 0 && i < value.dim_names.size() && !value.dim_names[i].empty()) {
        named.emplace(value.dim_names[i], given[axis]);
      }
    }
  }
  if (!findings.empty()) return combine(std::move(findings));

  apply_by_name(graph, named);
  for (const ValueId id : graph.inputs) {
    Value& value = graph.value(id);
    if (value.shape && value.shape->rank() > 0 && (*value.shape)[0] < 0) (*value.shape)[0] = 1;
  }
  for (const ValueId id : graph.inputs) {
    const Value& value = graph.value(id);
    if (value.shape && value.shape->known()) continue;
    findings.push_back(
        {Code::kDynamicDimension,
         text("The model takes ", declared(value), " and leaves the size open."),
         text("input '", value.name, "'"),
         text("Give the shape, e.g. inputShapes: { \"", value.name, "\": [1, 3, 224, 224] }."),
         {}});
  }
  if (!findings.empty()) return combine(std::move(findings));

  OCTAVO_CHECK_OK(infer_and_fold(graph));
  // The Softmax of old opsets whose rank was not known before.
  OCTAVO_CHECK_OK(resolve_flattened_softmax(graph));
  OCTAVO_CHECK_OK(infer_and_fold(graph));
  return check_open_shapes(graph);
}

}  // namespace octavo::passes
