// fpool: pooling of floats, channels-last.
//
// max:      the largest value in the window; padding never wins; NaN is passed over; an empty
//           window gives the lowest finite float.
// average:  (sum over the window, row by row) / count, in f32
//           count = taps inside the image, or inside image and padding with count_include_pad
// global:   (sum over the pixels in order) / n, in f32
//
// Rows give identical bytes: each does the same f32 operations in the same order for every element.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "kernels/qpool/pool_geometry.h"
#include "kernels/rows.h"

namespace octavo::kernels {

struct FPoolKernel {
  std::string_view name;
  simd::Level level;
  // Rows [first_row, last_row) of PoolGeometry::rows().
  void (*max)(const float* in, float* out, const PoolGeometry& geometry, int first_row,
              int last_row);
  void (*average)(const float* in, float* out, const PoolGeometry& geometry, bool count_include_pad,
                  int first_row, int last_row);
  // One image: in [pixels][channels] -> out [channels].
  void (*global_average)(const float* in, float* out, std::size_t pixels, std::size_t channels);
};

std::span<const FPoolKernel> fpool_kernels();  // weakest first: front() is the reference

}  // namespace octavo::kernels
