// A model that runs at more than one input shape: a session for each of the last few.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "base/result.h"
#include "passes/pipelines.h"
#include "passes/pixels.h"
#include "quantize/model.h"
#include "runtime/session.h"

namespace octavo::quantize {

class Plans {
 public:
  // The first plan, as create_session makes it. A model that leaves no input's size open is not
  // kept, and neither is one with `pixels` or that is `fixed`: they have this plan alone. Where a
  // kept one leaves more open than the batch and `shapes` do not say it, plan_for() makes the
  // first.
  static Result<Plans> create(const Model& model, const passes::InputShapes& shapes,
                              const runtime::SessionOptions& options,
                              const passes::PixelMapping* pixels = nullptr, bool fixed = false);

  // The session's, or the model's while there is none.
  const Graph& graph() const { return sessions_.empty() ? model_->graph() : session().graph(); }
  // The session for the shapes asked for last, if any; valid until the next plan_for().
  runtime::Session& session() { return sessions_.front(); }
  const runtime::Session& session() const { return sessions_.front(); }
  std::size_t count() const { return sessions_.size(); }

  // Makes session() one for these shapes of all inputs, unless it is; packed weights are held once
  // by all. `memory_limit` is the new plan's, and together with it the others': those that were not
  // used for longest go. SHAPE_MISMATCH, DYNAMIC_DIMENSION, LIMIT_EXCEEDED, ...: session() stays
  // what it was.
  Status plan_for(const passes::InputShapes& shapes);

 private:
  Plans(std::optional<Model> model, runtime::SessionOptions options);
  void drop_old();

  std::optional<Model> model_;
  runtime::SessionOptions options_;
  std::vector<runtime::Session> sessions_;  // used last first
};

}  // namespace octavo::quantize
