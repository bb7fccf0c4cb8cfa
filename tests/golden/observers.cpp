// observers: torch.ao.quantization's observers, in every dtype, scheme and range.
#include <algorithm>
#include <limits>
#include <sstream>

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
// The rows of scales, zero_points, quant_min and quant_max: the file's header "combos", a list of
// quoted "dtype,scheme,range".
std::vector<Combo> combos_of(const test::GoldenGroup& group) {
  std::vector<Combo> combos;
  const auto header = group.header.find("combos");
  if (header == group.header.end()) throw std::runtime_error("there is no header combos");
  std::string list = header->second;
  for (char& letter : list) {
    if (std::string_view("[]'\" ").find(letter) != std::string_view::npos) letter = '\n';
  }
  std::istringstream words(list);
  for (std::string word; std::getline(words, word);) {
    if (word.find_first_not_of(",_") == std::string::npos) continue;
    std::istringstream parts(word);
    std::string dtype, scheme, range;
    std::getline(std::getline(std::getline(parts, dtype, ','), scheme, ','), range);
    const auto type = nn::scalar_type_from_name(dtype);
    if (!type || (scheme != "affine" && scheme != "symmetric") ||
        (range != "full" && range != "reduce"))
      throw std::runtime_error("combo " + word + " is not understood");
    combos.push_back({*type, scheme == "symmetric", range == "reduce"});
  }
  return combos;
}

// The case's own batches, or those of the data case that it names.
std::vector<Tensor> batches_of(Case& c) {
  const test::GoldenCase* data = c.group().find(c.has("data") ? c.str("data") : c.name());
  if (data == nullptr) throw std::runtime_error("there is no case " + c.str("data"));
  // What they were read or generated from; the heads were compared.
  c.ignore({"batches", "gen", "n", "seeds", "mults"});
  std::vector<Tensor> batches;
  for (const std::vector<float>& values : test::batches_of(c.group(), *data)) {
    const std::string key = "b" + std::to_string(batches.size());
    c.ignore({key, key + "_head"});
    batches.push_back(Tensor::of(data->has(key) ? Shape(data->tensors.at(key).shape)
                                                : Shape{static_cast<std::int64_t>(values.size())},
                                 values));
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
  // The search's ends, of which every row of scales and zero points is made; the sum of the counts.
  c.ignore({"start_bin", "end_bin", "new_min", "new_max", "hist_total"});
  // torch's default of how finely it splits bins, which is no option of ours.
  if (c.has("upsample_rate") && c.integer("upsample_rate") != 16)
    throw std::runtime_error("upsample_rate " + c.str("upsample_rate") + " is not understood");
}

// torch's buffers of one value for all channels begin as an infinity, ours as nothing.
std::vector<float> bounds_of(Case& c, const std::string& key, std::vector<float> seen, float none) {
  if (seen.empty() && c.shape(key).elements() == 1) seen.push_back(none);
  return seen;
}

}  // namespace

void run_observers(Case& c) {
  const std::string kind = c.str("kind");
  if (kind == "data" || kind == "gen") {
    // For the cases that name it: so many batches, and what is generated begins as what is stored.
    const auto batches = test::batches_of(c.group(), *c.group().find(c.name()));
    const auto count = static_cast<double>(batches.size());
    c.expect_equal("batches", count, c.has("batches") ? c.number("batches") : count);
    return c.ignore(c.keys());
  }
  const bool per_channel = kind.find("PerChannel") != std::string::npos;
  const std::vector<Tensor> batches = batches_of(c);
  const std::vector<Combo> combos = combos_of(c.group());
  std::vector<double> scales;
  std::vector<std::int32_t> zero_points, quant_mins, quant_maxs;
  for (const Combo& combo : combos) {
    const auto observer =
        Case::take(nn::make_observer(kind + "Observer", args_of(c, combo, per_channel)));
    for (const Tensor& batch : batches) Case::take(observer->observe(batch));
    const nn::QParams qparams = Case::take(observer->calculate_qparams());
    for (const float scale : qparams.scale) scales.push_back(static_cast<double>(scale));
    for (const std::int64_t zero : qparams.zero_point)
      zero_points.push_back(static_cast<std::int32_t>(zero));
    quant_mins.push_back(static_cast<std::int32_t>(observer->spec().quant_min));
    quant_maxs.push_back(static_cast<std::int32_t>(observer->spec().quant_max));
    if (&combo != combos.data()) continue;
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    c.expect<float>("min_val", bounds_of(c, "min_val", observer->min_val(), kInfinity));
    c.expect<float>("max_val", bounds_of(c, "max_val", observer->max_val(), -kInfinity));
    if (kind == "Histogram") expect_histogram(c, observer->histogram());
  }
  const auto rows = static_cast<std::int64_t>(combos.size());
  const Shape shape{rows,
                    static_cast<std::int64_t>(scales.size()) / std::max<std::int64_t>(rows, 1)};
  c.expect("scales", Tensor::of(shape, scales));
  c.expect("zero_points", Tensor::of(shape, zero_points));
  c.expect<std::int32_t>("quant_min", quant_mins);
  c.expect<std::int32_t>("quant_max", quant_maxs);
}

}  // namespace octavo::golden
