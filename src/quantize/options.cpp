#include "quantize/options.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "base/sort.h"
#include "ops/op.h"
#include "quantize/model.h"

namespace octavo::quantize {

namespace {
constexpr std::string_view kCodeTypes[] = {"quint8", "qint8"};
constexpr std::string_view kWeightSchemes[] = {"per_channel_symmetric", "per_tensor_symmetric"};
constexpr std::string_view kWeightScales[] = {"max", "mse"};
constexpr int kReducedCode = 64;  // ONNX Runtime's reduce_range
constexpr std::string_view kRoundings[] = {"secondMoment", "nearest"};
constexpr std::string_view kDynamicModes[] = {"dynamic", "weightOnly"};
constexpr std::string_view kTargets[] = {"octavo", "onnxruntime"};
constexpr std::string_view kBatchNorms[] = {"auto", "fold", "quantized", "float"};

std::vector<std::string_view> observer_names() {
  std::vector<std::string_view> names;
  for (const calib::ObserverDef& row : calib::all_observers()) names.push_back(row.name);
  return names;
}

Status read_observer_overrides(const OptionReader& options, JobOptions& out) {
  const Json* json = options.find("observerOverrides");
  if (json == nullptr) return ok_status();
  const OptionReader overrides(*json, options.path("observerOverrides"));
  if (!json->is_object()) {
    return invalid_option(options.path("observerOverrides"), "It is not an object.",
                          "Use an object of tensor names with observers, as { logits: 'minmax' }.");
  }
  for (const auto& [name, value] : json->items())
    OCTAVO_CHECK_OK(overrides.read(name, out.observer_overrides[name], observer_names()));
  return ok_status();
}

Status read_activation(const OptionReader& options, JobOptions& out) {
  const Json* json = options.find("activation");
  if (json == nullptr) return ok_status();
  const OptionReader activation(*json, options.path("activation"));
  constexpr std::string_view kKeys[] = {"observer",         "percentile", "averagingConstant",
                                        "numQuantizedBins", "numBins",    "dtype"};
  OCTAVO_CHECK_OK(activation.check(kKeys));
  OCTAVO_CHECK_OK(activation.read("observer", out.observer, observer_names()));
  OCTAVO_CHECK_OK(activation.read("percentile", out.observer_options.percentile, 50, 100));
  OCTAVO_CHECK_OK(
      activation.read("averagingConstant", out.observer_options.averaging_constant, 1e-6, 1));
  calib::ObserverOptions& observer = out.observer_options;
  OCTAVO_CHECK_OK(activation.read("numBins", observer.entropy_bins, 16, 8192));
  observer.quantized_bins = std::min(observer.quantized_bins, observer.entropy_bins);
  OCTAVO_CHECK_OK(
      activation.read("numQuantizedBins", observer.quantized_bins, 16, observer.entropy_bins));
  std::string dtype = "quint8";
  OCTAVO_CHECK_OK(activation.read("dtype", dtype, kCodeTypes));
  out.qdq.activation = dtype == "qint8" ? DType::kInt8 : DType::kUint8;
  return ok_status();
}

Status read_pair_safe(const OptionReader& weight, passes::PairSafe& out) {
  const Json* json = weight.find("pairSafe");
  if (json == nullptr) return ok_status();
  if (*json == "auto") {
    out = passes::PairSafe::kAuto;
  } else if (json->is_boolean()) {
    out = json->get<bool>() ? passes::PairSafe::kYes : passes::PairSafe::kNo;
  } else {
    return invalid_option(weight.path("pairSafe"), text(dump(*json), " is not allowed."),
                          "Use true, false or 'auto'.");
  }
  return ok_status();
}

Json pair_safe_json(passes::PairSafe value) {
  return value == passes::PairSafe::kAuto ? Json("auto") : Json(value == passes::PairSafe::kYes);
}

Status read_weight(const OptionReader& options, std::span<const std::string_view> keys,
                   JobOptions& out) {
  const Json* json = options.find("weight");
  if (json == nullptr) return ok_status();
  const OptionReader weight(*json, options.path("weight"));
  OCTAVO_CHECK_OK(weight.check(keys));
  std::string scheme = "per_channel_symmetric";
  OCTAVO_CHECK_OK(weight.read("scheme", scheme, kWeightSchemes));
  out.qdq.weight.per_channel = scheme == "per_channel_symmetric";
  std::string rounding = "secondMoment";
  OCTAVO_CHECK_OK(weight.read("rounding", rounding, kRoundings));
  out.refine_rounding = rounding == "secondMoment";
  std::string scale = "max";
  OCTAVO_CHECK_OK(weight.read("scale", scale, kWeightScales));
  out.qdq.weight.least_error = scale == "mse";
  bool reduced = false;
  OCTAVO_CHECK_OK(weight.read("reduceRange", reduced));
  if (reduced) out.qdq.weight.largest_code = kReducedCode;
  return read_pair_safe(weight, out.qdq.weight.pair_safe);
}

Status read_exclude(const OptionReader& options, JobOptions& out) {
  const Json* json = options.find("exclude");
  if (json == nullptr) return ok_status();
  const std::string hint =
      "Use an array of node names (* and ? stand for any characters) and { opType: 'Softmax' } "
      "objects.";
  if (!json->is_array())
    return invalid_option(options.path("exclude"), "It is not an array.", hint);
  for (std::size_t i = 0; i < json->size(); ++i) {
    const Json& item = (*json)[i];
    const std::string path = text(options.path("exclude"), "[", i, "]");
    if (item.is_string()) {
      out.qdq.exclude_names.push_back(item.get<std::string>());
    } else if (item.is_object() && item.size() == 1 && item.contains("opType") &&
               item["opType"].is_string()) {
      out.qdq.exclude_ops.push_back(item["opType"].get<std::string>());
    } else {
      return invalid_option(path, text(dump(item), " is not allowed."), hint);
    }
  }
  return ok_status();
}

Status read_ranges(const OptionReader& options, JobOptions& out) {
  const Json* json = options.find("ranges");
  if (json == nullptr) return ok_status();
  const std::string hint =
      "Use an object of tensor names with [lowest, highest], as { image: [0, 1] }.";
  if (!json->is_object())
    return invalid_option(options.path("ranges"), "It is not an object.", hint);
  for (const auto& [name, pair] : json->items()) {
    const bool numbers =
        pair.is_array() && pair.size() == 2 && pair[0].is_number() && pair[1].is_number();
    const calib::Range range =
        numbers ? calib::Range{pair[0].get<float>(), pair[1].get<float>()} : calib::Range{1, 0};
    if (!(range.min <= range.max && std::isfinite(range.min) && std::isfinite(range.max))) {
      return invalid_option(text(options.path("ranges"), ".", name),
                            text(dump(pair), " is no range."), hint);
    }
    out.ranges.emplace(name, range);
  }
  return ok_status();
}
// How many letters to add, drop or change to make `b` of `a` (Levenshtein).
std::size_t edits(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j < row.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j < row.size(); ++j) {
      const std::size_t changed = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({changed, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

// The error of a name that is none of those, with the ones that take the fewest edits in their
// first letters: more letters of 50,000 names would take minutes.
Error no_such_name(std::string what, const std::string& wanted,
                   const std::vector<std::string_view>& names) {
  std::vector<std::size_t> distances;
  constexpr std::size_t kCompared = 64;
  for (const std::string_view name : names)
    distances.push_back(
        edits(std::string_view(wanted).substr(0, kCompared), name.substr(0, kCompared)));
  const auto order = sorted_indices(
      names.size(), [&](std::size_t a, std::size_t b) { return distances[a] < distances[b]; });
  std::string near = "Near names:";
  for (std::size_t i = 0; i < std::min<std::size_t>(order.size(), 3); ++i)
    near += text(i == 0 ? " '" : ", '", names[order[i]], "'");
  return invalid_option("exclude", what + wanted + "'.", near + ".");
}

}  // namespace

Status check_exclude(const Graph& graph, const std::vector<std::string>& patterns,
                     const std::vector<std::string>& op_types) {
  std::vector<std::string_view> names;
  for (const Node& node : graph.nodes) names.push_back(node.name);
  for (const std::string& pattern : patterns) {
    bool found = false;
    for (const std::string_view name : names) found = found || passes::glob_matches(pattern, name);
    if (!found) return no_such_name("No node is named like '", pattern, names);
  }
  // A list of types serves many models, so one may have none of a type; but a type there is.
  names.clear();
  for (const ops::OpDef& op : ops::all_ops()) names.push_back(op.name);
  for (const std::string& type : op_types) {
    bool found = false;
    for (const std::string_view name : names) found = found || name == type;
    if (!found) return no_such_name("There is no operator '", type, names);
  }
  return ok_status();
}

Status check_is_float(const Model& model) {
  if (!model.is_quantized()) return ok_status();
  return Error{Code::kInvalidState,
               "The model is quantized already.",
               "",
               "Quantize the float model that it was made from.",
               {}};
}

Result<JobOptions> parse_job_options(std::string_view json) {
  OCTAVO_TRY(const Json parsed, parse_options(json));
  const OptionReader options(parsed, "");
  constexpr std::string_view kKeys[] = {"target",      "activation",     "weight",
                                        "equalize",    "biasCorrection", "batchNorm",
                                        "exclude",     "inputShapes",    "observerOverrides",
                                        "ranges",      "export",         "evaluateSamples",
                                        "sensitivity", "keep",           "memoryLimit"};
  OCTAVO_CHECK_OK(options.check(kKeys));
  JobOptions out;
  OCTAVO_CHECK_OK(options.read("target", out.target, kTargets));
  OCTAVO_CHECK_OK(read_activation(options, out));
  constexpr std::string_view kWeightKeys[] = {"scheme", "scale", "reduceRange", "pairSafe",
                                              "rounding"};
  OCTAVO_CHECK_OK(read_weight(options, kWeightKeys, out));
  OCTAVO_CHECK_OK(options.read("equalize", out.equalize));
  OCTAVO_CHECK_OK(options.read("biasCorrection", out.correct_bias));
  OCTAVO_CHECK_OK(read_exclude(options, out));
  OCTAVO_CHECK_OK(options.read("batchNorm", out.batch_norm, kBatchNorms));
  OCTAVO_TRY(out.input_shapes, parse_input_shapes(options, "inputShapes"));
  OCTAVO_CHECK_OK(read_observer_overrides(options, out));
  OCTAVO_CHECK_OK(read_ranges(options, out));
  // Only looked at here: who writes the file passes them again.
  if (const Json* exporting = options.find("export"); exporting != nullptr)
    OCTAVO_CHECK_OK(parse_export_options(dump(*exporting)));
  OCTAVO_CHECK_OK(options.read("evaluateSamples", out.evaluate_samples, 0, 100000));
  OCTAVO_CHECK_OK(options.read("sensitivity", out.sensitivity));
  OCTAVO_CHECK_OK(options.read("keep", out.keep));
  double memory_limit = 0;
  OCTAVO_CHECK_OK(options.read("memoryLimit", memory_limit, 0, 0x1p53));
  // More than can be addressed is no limit.
  if (memory_limit < static_cast<double>(std::numeric_limits<std::size_t>::max()))
    out.memory_limit = static_cast<std::size_t>(std::ceil(memory_limit));
  out.qdq.float_head = out.own_structure();
  out.qdq.share_grids = out.own_structure();
  out.qdq.quantize_batch_norm = out.batch_norm == "auto" || out.batch_norm == "quantized";
  return out;
}

Result<passes::DynamicOptions> parse_dynamic_options(std::string_view json) {
  OCTAVO_TRY(const Json parsed, parse_options(json));
  const OptionReader options(parsed, "");
  constexpr std::string_view kKeys[] = {"mode", "weight", "exclude"};
  OCTAVO_CHECK_OK(options.check(kKeys));
  std::string mode = "dynamic";
  OCTAVO_CHECK_OK(options.read("mode", mode, kDynamicModes));
  JobOptions shared;
  constexpr std::string_view kWeightKeys[] = {"scheme", "scale", "reduceRange"};
  OCTAVO_CHECK_OK(read_weight(options, kWeightKeys, shared));
  OCTAVO_CHECK_OK(read_exclude(options, shared));
  return passes::DynamicOptions{mode == "weightOnly", shared.qdq.weight, shared.qdq.exclude_names,
                                shared.qdq.exclude_ops};
}

Json effective_options(const JobOptions& options) {
  const passes::WeightOptions& weight = options.qdq.weight;
  Json exclude = Json::array();
  for (const std::string& name : options.qdq.exclude_names) exclude.push_back(name);
  for (const std::string& op : options.qdq.exclude_ops) exclude.push_back({{"opType", op}});
  Json shapes = Json::object();
  for (const auto& [name, shape] : options.input_shapes.by_name) shapes[name] = shape.dims();
  return {{"target", options.target},
          {"activation",
           {{"observer", options.observer},
            {"percentile", options.observer_options.percentile},
            {"averagingConstant", options.observer_options.averaging_constant},
            {"numBins", options.observer_options.entropy_bins},
            {"numQuantizedBins", options.observer_options.quantized_bins},
            {"dtype", options.qdq.activation == DType::kInt8 ? "qint8" : "quint8"}}},
          {"weight",
           {{"scheme", weight.per_channel ? "per_channel_symmetric" : "per_tensor_symmetric"},
            {"scale", weight.least_error ? "mse" : "max"},
            {"reduceRange", weight.largest_code == kReducedCode},
            {"pairSafe", pair_safe_json(weight.pair_safe)},
            {"rounding", options.refine_rounding ? "secondMoment" : "nearest"}}},
          {"observerOverrides", options.observer_overrides},
          {"equalize", options.equalize},
          {"biasCorrection", options.correct_bias},
          {"batchNorm", options.batch_norm},
          {"exclude", std::move(exclude)},
          {"inputShapes", std::move(shapes)},
          {"evaluateSamples", options.evaluate_samples}};
}

}  // namespace octavo::quantize
