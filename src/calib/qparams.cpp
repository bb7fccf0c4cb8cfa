#include "calib/qparams.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace octavo::calib {

CodeRange code_range(DType dtype, bool reduce_range) {
  if (dtype == DType::kInt8) return reduce_range ? CodeRange{-64, 63} : CodeRange{-128, 127};
  return reduce_range ? CodeRange{0, 127} : CodeRange{0, 255};
}

ScaleZero torch_qparams(Range range, DType dtype, Scheme scheme, bool reduce_range) {
  constexpr float kEps = std::numeric_limits<float>::epsilon();
  const CodeRange codes = code_range(dtype, reduce_range);
  const float min = std::min(range.min, 0.0F);
  const float max = std::max(range.max, 0.0F);
  const auto steps = static_cast<float>(codes.max - codes.min);
  if (scheme == Scheme::kSymmetric) {
    const float scale = std::max(std::max(-min, max) / (steps / 2), kEps);
    return {scale, dtype == DType::kUint8 ? 128 : 0};
  }
  const float scale = std::max((max - min) / steps, kEps);
  const float zero = static_cast<float>(codes.min) - std::nearbyint(min / scale);
  return {scale, static_cast<std::int32_t>(std::clamp(zero, static_cast<float>(codes.min),
                                                      static_cast<float>(codes.max)))};
}

ScaleZero ort_qparams(Range range, CodeRange codes, Scheme scheme) {
  float min = std::min(range.min, 0.0F);
  float max = std::max(range.max, 0.0F);
  if (scheme == Scheme::kSymmetric) {
    max = std::max(-min, max);
    min = -max;
  }
  const double steps = static_cast<double>(codes.max) - codes.min;
  const double scale = static_cast<double>(max - min) / steps;
  if (scale < static_cast<double>(std::numeric_limits<float>::min())) return {1, 0};
  const double zero = scheme == Scheme::kSymmetric
                          ? std::nearbyint((static_cast<double>(codes.min) + codes.max) / 2)
                          : std::nearbyint(codes.min - static_cast<double>(min) / scale);
  return {static_cast<float>(scale), static_cast<std::int32_t>(zero)};
}

}  // namespace octavo::calib
