// What a QuantizeJob was asked to do.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "calib/observer.h"
#include "passes/insert_qdq.h"
#include "passes/pipelines.h"
#include "passes/quantize_dynamic.h"
#include "quantize/json.h"
#include "quantize/model.h"

namespace octavo::quantize {

// Fewer samples do not show the means and moments that biases and weights are fitted to.
inline constexpr std::int64_t kCorrectionSamples = 32;

struct JobOptions {
  // Where the integers are meant to run:
  //   octavo       what keeps most of the network: a float head, BatchNormalizations behind a
  //   Concat
  //                on their parts' own grids
  //   onnxruntime  Q and DQ exactly where its own quantizer puts them
  std::string target = "octavo";
  std::string observer = "mse";
  calib::ObserverOptions observer_options;
  std::map<std::string, std::string> observer_overrides;  // tensor -> observer
  passes::QdqOptions qdq;
  bool equalize = true;         // where that promises much, from kCorrectionSamples samples on
  bool refine_rounding = true;  // weights are rounded to what the network's inputs vary by
  bool correct_bias = true;     // from kCorrectionSamples samples on
  // What becomes of BatchNormalization:
  //   auto       folded where possible, int8 otherwise        fold    folded where possible, float
  //   otherwise quantized  never folded, int8                           float   never folded, float
  std::string batch_norm = "auto";
  passes::InputShapes input_shapes;
  // Ranges that are known already, by tensor: these are not searched for.
  std::map<std::string, calib::Range> ranges;
  int evaluate_samples = 8;
  // Neither changes the result, so effective_options has neither.
  bool sensitivity = false;  // measure what each layer costs by itself
  bool keep = false;         // what QuantizeJob::change needs
  // Upper bound in bytes for sessions, kept samples and what is fitted on them; 0: none.
  std::size_t memory_limit = 0;

  const std::string& observer_of(const std::string& tensor) const {
    const auto found = observer_overrides.find(tensor);
    return found == observer_overrides.end() ? observer : found->second;
  }
  bool own_structure() const { return target == "octavo"; }
  bool pair_safe() const { return qdq.weight.pair_safe != passes::PairSafe::kNo; }
  // Whether the first kCorrectionSamples samples change more than ranges.
  bool fits() const { return refine_rounding || correct_bias || equalize || pair_safe(); }
  bool folds() const { return batch_norm == "auto" || batch_norm == "fold"; }
};

Result<JobOptions> parse_job_options(std::string_view json);
// See dynamic.h.
Result<passes::DynamicOptions> parse_dynamic_options(std::string_view json);
// INVALID_OPTION where a pattern of `exclude` names no node, or an op type is none that there is:
// it would silently do nothing.
Status check_exclude(const Graph& graph, const std::vector<std::string>& patterns,
                     const std::vector<std::string>& op_types);
// INVALID_STATE where the model is quantized already.
Status check_is_float(const Model& model);
// With all defaults filled in, in the form that parse_job_options reads.
Json effective_options(const JobOptions& options);

}  // namespace octavo::quantize
