// Where each output index of a Resize along one axis reads the input: ONNX's coordinate
// transformations.
//
// In f32, as ONNX Runtime computes them; scale = output / input as the model states it (the
// `scales` input, or sizes divided):
//
//   half_pixel            (x + 0.5) / scale - 0.5
//   half_pixel_symmetric  in / 2 * (1 - out / (scale * in)) + (x + 0.5) / scale - 0.5
//   pytorch_half_pixel    as half_pixel, 0 when out = 1
//   asymmetric            x / scale
//   align_corners         x * (in - 1) / (out - 1), 0 when out = 1
//   tf_half_pixel_for_nn  (x + 0.5) / scale
//
// (half_pixel_symmetric adds its terms in double.) Where scale is 1 the coordinate is x itself.
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
  kTfHalfPixelForNn,
};
enum class NearestMode : std::uint8_t { kRoundPreferFloor, kRoundPreferCeil, kFloor, kCeil };

// The place in the input that output `index` reads, and the whole number nearest to it.
float original_coordinate(int index, int in, int out, float scale, Coordinates coordinates);
float nearest_whole(float x, NearestMode mode);

// For each of the `out` outputs, the index of its input: 0 <= index < in. in, out >= 1; scale > 0.
std::vector<std::int32_t> nearest_indices(int in, int out, float scale, Coordinates coordinates,
                                          NearestMode mode);

// out[i] = in[lower] * weight_lower + in[upper] * weight_upper; upper is lower + 1, or lower at the
// far edge (then both weights are one half).
struct LinearTap {
  std::int32_t lower, upper;
  float weight_lower, weight_upper;
};
std::vector<LinearTap> linear_taps(int in, int out, float scale, Coordinates coordinates);

}  // namespace octavo::kernels
