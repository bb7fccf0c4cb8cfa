#include "nn/calibration_range.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "base/text.h"
#include "nn/checks.h"
#include "nn/observer.h"

namespace octavo::nn {

namespace {

constexpr std::string_view kWhere = "calibration_range";
using Batches = std::span<const std::vector<float>>;
using Values = std::span<const float>;
using Range = calib::OrtRange;

struct Method {
  std::string_view name;
  int bins;  // ONNX Runtime's default; 0 where there are none
  Range (*range)(Batches batches, Values all, const CalibrationOptions& options);
};
constexpr std::array kMethods{
    Method{"MinMax", 0,
           [](Batches batches, Values, const CalibrationOptions& o) {
             return calib::ort_min_max(batches, o.symmetric, o.moving_average);
           }},
    Method{"Entropy", 128,
           [](Batches, Values all, const CalibrationOptions& o) {
             return calib::ort_entropy(all, o.bins, o.quantized_bins);
           }},
    Method{"Percentile", 2048,
           [](Batches, Values all, const CalibrationOptions& o) {
             return calib::ort_percentile(all, o.percentile, o.bins);
           }},
    Method{"Distribution", 0,
           [](Batches, Values all, const CalibrationOptions&) {
             return calib::ort_distribution(all);
           }},
};

Status check_options(const Method& method, const CalibrationOptions& o) {
  const auto refuse = [](std::string what, std::string hint) {
    return nn_error(Code::kInvalidOption, std::move(what), kWhere, std::move(hint));
  };
  if (!(o.percentile > 0 && o.percentile <= 100)) {
    return refuse(text("percentile = ", o.percentile, " is outside (0, 100]."),
                  "ONNX Runtime's default is 99.999.");
  }
  if (method.bins == 0) return ok_status();
  if (o.bins < 2 || o.bins > 1 << 20)
    return refuse(text("num_bins = ", o.bins, " is outside 2..1048576."),
                  text("ONNX Runtime's default is ", method.bins, "."));
  if (o.quantized_bins < 2 || (method.name == "Entropy" && o.quantized_bins > o.bins))
    return refuse(text("num_quantized_bins = ", o.quantized_bins, " is outside 2..", o.bins, "."),
                  "ONNX Runtime's default is 128.");
  return ok_status();
}

}  // namespace

Result<Range> calibration_range(std::string_view method, std::span<const Tensor> batches,
                                const CalibrationOptions& options) {
  const auto row = std::ranges::find(kMethods, method, &Method::name);
  if (row == kMethods.end()) {
    std::vector<std::string_view> names;
    for (const Method& known : kMethods) names.push_back(known.name);
    return nn_error(Code::kInvalidOption, text("method = '", method, "' is not known."), kWhere,
                    text("Use ", join(names, ", "), "."));
  }
  CalibrationOptions own = options;
  if (own.bins == 0) own.bins = row->bins;
  OCTAVO_CHECK_OK(check_options(*row, own));
  std::vector<std::vector<float>> parts;
  std::vector<float> all;
  for (const Tensor& batch : batches) {
    OCTAVO_CHECK_OK(check_float(batch, kWhere));
    const Values values = batch.span<float>();
    const auto wrong =
        std::ranges::find_if(values, [](float value) { return !std::isfinite(value); });
    if (wrong != values.end()) {
      return nn_error(Code::kNonFiniteSample, text("A batch holds ", *wrong, "."), kWhere,
                      "A range has to be finite.");
    }
    if (values.empty()) continue;
    parts.emplace_back(values.begin(), values.end());
    all.insert(all.end(), values.begin(), values.end());
  }
  if (all.empty()) {
    return nn_error(Code::kNoSamples, "There are no values.", kWhere,
                    "Give one batch with values, or more.");
  }
  return row->range(parts, all, own);
}

}  // namespace octavo::nn
