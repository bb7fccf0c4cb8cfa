// How codes stand for real numbers: real = scale * (code - zero_point).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace octavo {

// One scale and zero point for the whole tensor (axis empty), or one per index of logical axis
// `axis`.
struct QuantParams {
  std::vector<float> scale;
  std::vector<std::int32_t> zero_point;
  std::optional<int> axis;

  static QuantParams per_tensor(float scale, std::int32_t zero_point) {
    return {{scale}, {zero_point}, std::nullopt};
  }
  bool is_per_tensor() const { return scale.size() == 1; }
  friend bool operator==(const QuantParams&, const QuantParams&) = default;
};

}  // namespace octavo
