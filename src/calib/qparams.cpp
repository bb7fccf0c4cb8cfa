#include "calib/qparams.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

namespace octavo::calib {

CodeRange code_range(DType dtype, bool reduce_range) {
  if (dtype == DType::kInt8) return reduce_range ? CodeRange{-64, 63} : CodeRange{-128, 127};
  return reduce_range ? CodeRange{0, 127} : CodeRange{0, 255};
}

ScaleZero torch_qparams(Range range, DType dtype, Scheme scheme, bool reduce_range) {
  const CodeRange codes = code_range(dtype, reduce_range);
  const WideScaleZero grid =
      torch_qparams(range, {codes.min, codes.max, dtype == DType::kUint8 ? 128 : 0}, scheme,
                    std::numeric_limits<float>::epsilon());
  return {grid.scale, static_cast<std::int32_t>(grid.zero_point)};
}

WideScaleZero torch_qparams(Range range, const UniformCodes& codes, Scheme scheme, float eps) {
  const float min = std::min(range.min, 0.0F);
  const float max = std::max(range.max, 0.0F);
  const auto steps = static_cast<float>(codes.max - codes.min);
  if (scheme == Scheme::kSymmetric) {
    return {std::max(std::max(-min, max) / (steps / 2), eps), codes.symmetric_zero};
  }
  const float scale = std::max((max - min) / steps, eps);
  // |min / scale| is at most about `steps`, which an int64 holds.
  const auto below_zero = static_cast<std::int64_t>(std::nearbyint(min / scale));
  return {scale, std::clamp(codes.min - below_zero, codes.min, codes.max)};
}

ChosenQParams choose_quantization_params(Range range, CodeRange codes, bool preserve_sparsity) {
  constexpr float kSmallestScale = 6.1e-5F;  // about the smallest normal float16
  float min = range.min;
  float max = range.max;
  const std::int32_t steps = codes.max - codes.min;
  const bool centered = min < 0 && max > 0 && preserve_sparsity;
  if (centered) {
    const std::int32_t lowest = -(steps / 2 + 1);
    const std::int32_t highest = steps / 2;
    const auto step = static_cast<double>(std::max(std::fabs(min / static_cast<float>(lowest)),
                                                   std::fabs(max / static_cast<float>(highest))));
    min = static_cast<float>(step * lowest);
    max = static_cast<float>(step * highest);
  }
  min = std::min(min, 0.0F);
  max = std::max(max, 0.0F);
  double scale = (static_cast<double>(max) - static_cast<double>(min)) / steps;
  const auto scale_f32 = static_cast<float>(scale);
  if (scale_f32 == 0.0F || std::isinf(1.0F / scale_f32)) scale = 0.1;
  if (scale < static_cast<double>(kSmallestScale)) {
    const auto found = static_cast<float>(scale);
    scale = static_cast<double>(kSmallestScale);
    if (min == 0.0F) {
      max = kSmallestScale * static_cast<float>(steps);
    } else if (max == 0.0F) {
      min = -kSmallestScale * static_cast<float>(steps);
    } else {
      const float amplifier = kSmallestScale / found;
      min *= amplifier;
      max *= amplifier;
    }
  }
  const double codes_of_min = static_cast<double>(min) / scale;
  const double codes_of_max = static_cast<double>(max) / scale;
  // The end with the smaller terms has the smaller rounding error.
  const bool from_min =
      std::abs(codes.min) - std::fabs(codes_of_min) < std::abs(codes.max) - std::fabs(codes_of_max);
  double zero = from_min ? codes.min - codes_of_min : codes.max - codes_of_max;
  if (min < 0 && max > 0 && preserve_sparsity) {
    zero = static_cast<double>(codes.min + codes.max) / 2;
  }
  zero = std::clamp<double>(zero, codes.min, codes.max);
  return {scale, static_cast<std::int32_t>(std::nearbyint(zero))};
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
