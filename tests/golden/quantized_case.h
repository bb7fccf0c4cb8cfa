// Quantized tensors out of golden cases.
#pragma once

#include <string>

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

}  // namespace octavo::golden
