// Where each output index of a Resize along one axis reads the input: ONNX's coordinate
// transformations.
//
// In f32, as ONNX Runtime computes them; scale = output / input as the model states it (the
// `scales` input, or sizes divided). half_pixel (x + 0.5) / scale - 0.5; asymmetric x / scale;
// align_corners x * (in - 1) / (out - 1); pytorch_half_pixel as half_pixel but 0 when out = 1.
// half_pixel_symmetric shifts by the rounding of out (ONNX 19).
#pragma once

#include <cstdint>
#include <vector>

namespace octavo::kernels {

enum class Coordinates : std::uint8_t {
  kHalfPixel,
  kHalfPixelSymmetric,
  kPytorchHalfPixel,
  kAsymmetric,
  kAlignCorners,
};
enum class NearestMode : std::uint8_t { kRoundPreferFloor, kRoundPreferCeil, kFloor, kCeil };

// For each of the `out` outputs, the index of its input: 0 <= index < in. in, out >= 1; scale > 0.
std::vector<std::int32_t> nearest_indices(int in, int out, float scale, Coordinates coordinates,
                                          NearestMode mode);

// out[i] = in[lower] * weight_lower + in[upper] * weight_upper; the weights sum to 1 (or are 0.5
// each where lower == upper).
struct LinearTap {
  std::int32_t lower, upper;
  float weight_lower, weight_upper;
};
std::vector<LinearTap> linear_taps(int in, int out, float scale, Coordinates coordinates);

}  // namespace octavo::kernels
