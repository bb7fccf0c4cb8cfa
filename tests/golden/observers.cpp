// observers: torch.ao.quantization's observers, in every dtype, scheme and range.
#include "golden/groups.h"
#include "nn/observer.h"
#include "support/golden_batches.h"

namespace octavo::golden {

namespace {

struct Combo {
  nn::ScalarType dtype;
  bool symmetric;
  bool reduce_range;
};
// The rows of scales, zero_points, quant_min and quant_max: the file's header "combos".
constexpr Combo kCombos[] = {
    {nn::ScalarType::kQuint8, false, false}, {nn::ScalarType::kQuint8, false, true},
    {nn::ScalarType::kQuint8, true, false},  {nn::ScalarType::kQint8, false, false},
    {nn::ScalarType::kQint8, false, true},   {nn::ScalarType::kQint8, true, false},
    {nn::ScalarType::kQint8, true, true},
};

// The case's own batches, or those of the data case that it names.
std::vector<Tensor> batches_of(Case& c) {
  std::vector<Tensor> batches;
  if (!c.has("data")) {
    for (int b = 0; c.has("b" + std::to_string(b)); ++b)
      batches.push_back(c.tensor("b" + std::to_string(b)));
    return batches;
  }
  const test::GoldenCase* data = c.group().find(c.str("data"));
  if (data == nullptr) throw std::runtime_error("there is no case " + c.str("data"));
  for (const std::vector<float>& values : test::batches_of(c.group(), *data)) {
    batches.push_back(Tensor::of(Shape{static_cast<std::int64_t>(values.size())}, values));
  }
  return batches;
}

nn::ObserverArgs args_of(Case& c, const Combo& combo, bool per_channel) {
  nn::ObserverArgs args{.dtype = combo.dtype, .reduce_range = combo.reduce_range};
  if (per_channel) {
    args.qscheme =
        combo.symmetric ? nn::QScheme::kPerChannelSymmetric : nn::QScheme::kPerChannelAffine;
    args.ch_axis = static_cast<int>(c.integer("ch_axis"));
  } else {
    args.qscheme =
        combo.symmetric ? nn::QScheme::kPerTensorSymmetric : nn::QScheme::kPerTensorAffine;
  }
  if (c.has("averaging_constant")) args.averaging_constant = c.number("averaging_constant");
  if (c.has("bins")) args.bins = static_cast<int>(c.integer("bins"));
  return args;
}

// The filled bins and their counts.
void expect_histogram(Case& c, const std::vector<float>& counts) {
  std::vector<std::int32_t> at;
  std::vector<float> filled;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] == 0.0F) continue;
    at.push_back(static_cast<std::int32_t>(i));
    filled.push_back(counts[i]);
  }
  c.expect<std::int32_t>("hist_idx", at);
  c.expect<float>("hist_val", filled);
  // The search's ends, of which every row of scales and zero points is made; the sum of the counts;
  // and torch's default of how finely it splits bins.
  c.ignore({"start_bin", "end_bin", "new_min", "new_max", "hist_total", "upsample_rate"});
}

}  // namespace

void run_observers(Case& c) {
  const std::string kind = c.str("kind");
  if (kind == "data" || kind == "gen") {
    // For the cases that name it: so many batches, and what is generated begins as what is stored.
    const auto batches = test::batches_of(c.group(), *c.group().find(c.name()));
    c.expect_equal("batches", std::to_string(batches.size()), std::to_string(c.integer("batches")));
    return c.ignore(c.keys());
  }
  const bool per_channel = kind.find("PerChannel") != std::string::npos;
  const std::vector<Tensor> batches = batches_of(c);
  c.ignore({"batches"});
  std::vector<double> scales;
  std::vector<std::int32_t> zero_points, quant_mins, quant_maxs;
  for (const Combo& combo : kCombos) {
    const auto observer =
        Case::take(nn::make_observer(kind + "Observer", args_of(c, combo, per_channel)));
    for (const Tensor& batch : batches) Case::take(observer->observe(batch));
    const nn::QParams qparams = Case::take(observer->calculate_qparams());
    for (const float scale : qparams.scale) scales.push_back(static_cast<double>(scale));
    for (const std::int64_t zero : qparams.zero_point)
      zero_points.push_back(static_cast<std::int32_t>(zero));
    quant_mins.push_back(static_cast<std::int32_t>(observer->spec().quant_min));
    quant_maxs.push_back(static_cast<std::int32_t>(observer->spec().quant_max));
    if (&combo != &kCombos[0]) continue;
    c.expect<float>("min_val", observer->min_val());
    c.expect<float>("max_val", observer->max_val());
    if (kind == "Histogram") expect_histogram(c, observer->histogram());
  }
  c.expect<double>("scales", scales);
  c.expect<std::int32_t>("zero_points", zero_points);
  c.expect<std::int32_t>("quant_min", quant_mins);
  c.expect<std::int32_t>("quant_max", quant_maxs);
}

}  // namespace octavo::golden
