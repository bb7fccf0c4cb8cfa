// Quantized tensors out of golden cases.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "golden/golden.h"
#include "nn/qtensor.h"

namespace octavo::golden {

inline nn::ScalarType scalar_type(Case& c) {
  const std::string name = c.str("dtype");
  const auto type = nn::scalar_type_from_name(name);
  if (!type) throw std::runtime_error("dtype " + name + " is not understood");
  return *type;
}

// Tensor `key` on the grid of attributes PREFIX_scale and PREFIX_zp.
inline nn::QTensor quantized(Case& c, const std::string& key, const std::string& prefix) {
  return Case::take(nn::make_quantized_tensor(
      c.tensor(key),
      nn::QGrid::per_tensor(c.number(prefix + "_scale"), c.integer(prefix + "_zp"))));
}

// The codes of `got` are tensor `key`, whatever the memory format.
inline void expect_codes(Case& c, const std::string& key, const nn::QTensor& got) {
  c.expect(key, got.int_repr());
}

// Symmetric qint8 scales of a weight, per output channel or one for all, as torch's MinMaxObserver
// and PerChannelMinMaxObserver find them: max(largest magnitude / 127.5, 2^-23) in f32.
inline std::vector<double> symmetric_scales(const Tensor& weight, bool per_channel) {
  const auto numbers = weight.span<float>();
  const std::size_t channels = per_channel ? static_cast<std::size_t>(weight.shape()[0]) : 1;
  std::vector<double> scales;
  for (std::size_t n = 0; n < channels; ++n) {
    float largest = 0;
    for (const float number :
         numbers.subspan(n * (numbers.size() / channels), numbers.size() / channels))
      largest = std::max(largest, std::fabs(number));
    scales.push_back(static_cast<double>(std::max(largest / 127.5F, 0x1p-23F)));
  }
  return scales;
}
inline Result<nn::QTensor> quantize_weight(const Tensor& weight, const std::vector<double>& scales,
                                           bool per_channel) {
  if (!per_channel) return nn::quantize_per_tensor(weight, scales[0], 0, nn::ScalarType::kQint8);
  return nn::quantize_per_channel(weight, scales, std::vector<std::int64_t>(scales.size()), 0,
                                  nn::ScalarType::kQint8);
}

}  // namespace octavo::golden
