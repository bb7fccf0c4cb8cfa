#include "quantize/options.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "ops/op.h"
#include "quantize/model.h"

namespace octavo::quantize {

namespace {
constexpr std::string_view kCodeTypes[] = {"quint8", "qint8"};
constexpr std::string_view kWeightSchemes[] = {"per_channel_symmetric", "per_tensor_symmetric"};
constexpr std::string_view kRoundings[] = {"secondMoment", "nearest"};
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

Status read_weight(const OptionReader& options, JobOptions& out) {
  const Json* json = options.find("weight");
  if (json == nullptr) return ok_status();
  const OptionReader weight(*json, options.path("weight"));
  constexpr std::string_view kKeys[] = {"scheme", "reduceRange", "rounding"};
  OCTAVO_CHECK_OK(weight.check(kKeys));
  std::string scheme = "per_channel_symmetric";
  OCTAVO_CHECK_OK(weight.read("scheme", scheme, kWeightSchemes));
  out.qdq.per_channel = scheme == "per_channel_symmetric";
  std::string rounding = "secondMoment";
  OCTAVO_CHECK_OK(weight.read("rounding", rounding, kRoundings));
  out.refine_rounding = rounding == "secondMoment";
  return weight.read("reduceRange", out.qdq.reduce_range);
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
}  // namespace

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
  OCTAVO_CHECK_OK(read_weight(options, out));
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

Json effective_options(const JobOptions& options) {
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
           {{"scheme", options.qdq.per_channel ? "per_channel_symmetric" : "per_tensor_symmetric"},
            {"reduceRange", options.qdq.reduce_range},
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
