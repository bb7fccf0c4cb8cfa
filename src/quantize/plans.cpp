#include "quantize/plans.h"

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "ops/shared_weights.h"

namespace octavo::quantize {

namespace {
// Whole batches and the last one of a data set, pictures upright and lying.
constexpr std::size_t kMostPlans = 4;

bool leaves_sizes_open(const Graph& graph) {
  return std::any_of(graph.inputs.begin(), graph.inputs.end(), [&](ValueId id) {
    const std::optional<Shape>& shape = graph.value(id).shape;
    return !shape || !shape->known();
  });
}

// Whether more than a batch has no number yet.
bool needs_shapes(const Graph& graph, const passes::InputShapes& given) {
  return std::any_of(graph.inputs.begin(), graph.inputs.end(), [&](ValueId id) {
    const Value& value = graph.value(id);
    if (given.by_name.contains(value.name)) return false;
    return !value.shape ||
           (value.shape->rank() > 0 && std::any_of(value.shape->begin() + 1, value.shape->end(),
                                                   [](auto dim) { return dim < 0; }));
  });
}

bool takes(const runtime::Session& session, const passes::InputShapes& shapes) {
  const Graph& graph = session.graph();
  return std::all_of(graph.inputs.begin(), graph.inputs.end(), [&](ValueId id) {
    const auto it = shapes.by_name.find(graph.value(id).name);
    return it != shapes.by_name.end() && it->second == *graph.value(id).shape;
  });
}
}  // namespace

Plans::Plans(std::optional<Model> model, runtime::SessionOptions options)
    : model_(std::move(model)), options_(std::move(options)) {}

Result<Plans> Plans::create(const Model& model, const passes::InputShapes& shapes,
                            const runtime::SessionOptions& options,
                            const passes::PixelMapping* pixels, bool fixed) {
  const bool kept = !fixed && pixels == nullptr && leaves_sizes_open(model.graph());
  runtime::SessionOptions own = options;
  if (kept) own.weights = std::make_shared<ops::SharedWeights>();
  Result<runtime::Session> first = create_session(model, shapes, own, nullptr, pixels);
  Plans plans(kept ? std::optional(model) : std::nullopt, std::move(own));
  if (first.ok()) {
    plans.sessions_.push_back(std::move(first).value());
  } else if (!kept || first.error().code != Code::kDynamicDimension ||
             !needs_shapes(model.graph(), shapes)) {
    return std::move(first).error();
  }
  return plans;
}

Status Plans::plan_for(const passes::InputShapes& shapes) {
  const auto known =
      std::find_if(sessions_.begin(), sessions_.end(),
                   [&](const runtime::Session& session) { return takes(session, shapes); });
  if (known != sessions_.end()) {
    std::rotate(sessions_.begin(), known, known + 1);
    return ok_status();
  }
  if (!model_) {
    const Graph& graph = session().graph();
    std::vector<std::string> wanted;
    for (const ValueId id : graph.inputs) wanted.push_back(describe(graph.value(id)));
    return Error{Code::kShapeMismatch,
                 "The session takes the shapes alone that it was made for.",
                 "",
                 text("Give ", join(wanted, ", "), "."),
                 {}};
  }
  OCTAVO_TRY(runtime::Session made, create_session(*model_, shapes, options_));
  sessions_.insert(sessions_.begin(), std::move(made));
  drop_old();
  return ok_status();
}

void Plans::drop_old() {
  const auto too_much = [&] {
    if (options_.memory_limit == 0) return false;
    std::size_t bytes = options_.weights->bytes();
    for (const runtime::Session& session : sessions_) bytes += session.own_bytes();
    return bytes > options_.memory_limit;
  };
  while (sessions_.size() > kMostPlans || (sessions_.size() > 1 && too_much()))
    sessions_.pop_back();
}

}  // namespace octavo::quantize
