// What a QuantizeJob was asked to do.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "calib/observer.h"
#include "passes/insert_qdq.h"
#include "passes/pipelines.h"
#include "quantize/json.h"

namespace octavo::quantize {

struct JobOptions {
  std::string observer = "percentile";
  calib::ObserverOptions observer_options;
  passes::QdqOptions qdq;
  // What becomes of BatchNormalization:
  //   auto       folded where possible, int8 otherwise        fold    folded where possible, float
  //   otherwise quantized  never folded, int8                           float   never folded, float
  std::string batch_norm = "auto";
  passes::InputShapes input_shapes;
  int evaluate_samples = 8;

  bool folds() const { return batch_norm == "auto" || batch_norm == "fold"; }
};

Result<JobOptions> parse_job_options(std::string_view json);
// With all defaults filled in, in the form that parse_job_options reads.
Json effective_options(const JobOptions& options);

}  // namespace octavo::quantize
