#include "kernels/resize/coordinates.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace octavo::kernels {

float original_coordinate(int index, int in, int out, float scale, Coordinates coordinates) {
  const auto x = static_cast<float>(index);
  const auto length_in = static_cast<float>(in);
  const auto length_out = static_cast<float>(out);
  if (scale == 1.0F) return x;
  switch (coordinates) {
    case Coordinates::kHalfPixel:
      return (x + 0.5F) / scale - 0.5F;
    case Coordinates::kHalfPixelSymmetric: {
      const float adjustment = length_out / (scale * length_in);
      const float offset = length_in / 2.0F * (1.0F - adjustment);
      return static_cast<float>(static_cast<double>(offset) +
                                (static_cast<double>(x) + 0.5) / scale - 0.5);
    }
    case Coordinates::kPytorchHalfPixel:
      return out > 1 ? (x + 0.5F) / scale - 0.5F : 0.0F;
    case Coordinates::kAsymmetric:
      return x / scale;
    case Coordinates::kAlignCorners:
      return out == 1 ? 0.0F : x * (length_in - 1.0F) / (length_out - 1.0F);
    case Coordinates::kTfHalfPixelForNn:
      return (x + 0.5F) / scale;
  }
  return x;
}

// Away from zero on ties, except that round_prefer_floor takes the lower one.
float nearest_whole(float x, NearestMode mode) {
  switch (mode) {
    case NearestMode::kRoundPreferFloor:
      return x == std::trunc(x) + 0.5F ? std::floor(x) : std::round(x);
    case NearestMode::kRoundPreferCeil:
      return std::round(x);
    case NearestMode::kFloor:
      return std::floor(x);
    case NearestMode::kCeil:
      return std::ceil(x);
  }
  return x;
}

std::vector<std::int32_t> nearest_indices(int in, int out, float scale, Coordinates coordinates,
                                          NearestMode mode) {
  std::vector<std::int32_t> indices;
  indices.reserve(static_cast<std::size_t>(out));
  const auto last = static_cast<float>(in - 1);
  for (int i = 0; i < out; ++i) {
    const float x = nearest_whole(original_coordinate(i, in, out, scale, coordinates), mode);
    indices.push_back(
        std::min(in - 1, static_cast<std::int32_t>(std::max(0.0F, std::min(x, last)))));
  }
  return indices;
}

std::vector<LinearTap> linear_taps(int in, int out, float scale, Coordinates coordinates) {
  std::vector<LinearTap> taps;
  taps.reserve(static_cast<std::size_t>(out));
  const auto last = static_cast<float>(in - 1);
  for (int i = 0; i < out; ++i) {
    const float x =
        std::max(0.0F, std::min(original_coordinate(i, in, out, scale, coordinates), last));
    LinearTap tap{};
    tap.lower = std::min(in - 1, static_cast<std::int32_t>(x));
    tap.upper = std::min(in - 1, tap.lower + 1);
    tap.weight_lower = tap.weight_upper = 0.5F;
    if (tap.lower != tap.upper) {
      tap.weight_lower = std::fabs(x - static_cast<float>(tap.upper));
      tap.weight_upper = static_cast<float>(x - static_cast<float>(tap.lower));
    }
    taps.push_back(tap);
  }
  return taps;
}

}  // namespace octavo::kernels
