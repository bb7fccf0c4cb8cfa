// ort_calib: the ranges that ONNX Runtime's calibrators find.
//
// Tensor METHOD_i: i is 0 for the defaults, 1 symmetric, 2 moving average, 3 percentile 99, 4
// entropy with 1024 bins (attribute suffixes).
#include <array>

#include "calib/ort_calibrators.h"
#include "golden/groups.h"
#include "support/golden_batches.h"

namespace octavo::golden {

namespace {

struct Method {
  const char* key;
  calib::OrtRange (*range)(std::span<const std::vector<float>> batches,
                           std::span<const float> values);
};
using Batches = std::span<const std::vector<float>>;
using Values = std::span<const float>;
constexpr std::array kMethods{
    Method{"MinMax_0", [](Batches b, Values) { return calib::ort_min_max(b, false, false); }},
    Method{"MinMax_1", [](Batches b, Values) { return calib::ort_min_max(b, true, false); }},
    Method{"MinMax_2", [](Batches b, Values) { return calib::ort_min_max(b, false, true); }},
    Method{"Entropy_0", [](Batches, Values v) { return calib::ort_entropy(v, 128, 128); }},
    Method{"Entropy_4", [](Batches, Values v) { return calib::ort_entropy(v, 1024, 128); }},
    Method{"Percentile_0",
           [](Batches, Values v) { return calib::ort_percentile(v, 99.999, 2048); }},
    Method{"Percentile_1",
           [](Batches, Values v) { return calib::ort_percentile(v, 99.999, 2048); }},
    Method{"Percentile_3", [](Batches, Values v) { return calib::ort_percentile(v, 99, 2048); }},
    Method{"Distribution_0", [](Batches, Values v) { return calib::ort_distribution(v); }},
};

constexpr const char* kSuffixes =
    "0=default,1=symmetric,2=moving_average_0.01,3=percentile_99,4=entropy_num_bins_1024_qbins_128";

}  // namespace

void run_ort_calib(Case& c) {
  if (c.str("kind") != "ort_calibration")
    throw std::runtime_error("kind " + c.str("kind") + " is not understood");
  c.expect_equal("suffixes", c.str("suffixes"), kSuffixes);
  const auto batches = test::batches_of(c.group(), *c.group().find(c.name()));
  if (c.has("batches"))
    c.expect_equal("batches", static_cast<double>(batches.size()), c.number("batches"));
  // What the batches were read or generated from; their heads were compared.
  c.ignore({"gen", "n", "seeds", "mults"});
  for (std::size_t b = 0; b < batches.size(); ++b)
    c.ignore({"b" + std::to_string(b), "b" + std::to_string(b) + "_head"});
  std::vector<float> values;
  for (const std::vector<float>& batch : batches)
    values.insert(values.end(), batch.begin(), batch.end());
  for (const Method& method : kMethods) {
    if (!c.has(method.key)) continue;
    const calib::OrtRange range = method.range(batches, values);
    c.expect<double>(method.key, std::vector<double>{range.lo, range.hi});
  }
}

}  // namespace octavo::golden
