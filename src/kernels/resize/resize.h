// resize: nearest and bilinear interpolation of channels-last images [h][w][channels]. Row-major
// NCHW planes are images with channels = 1.
//
// The tables come from coordinates.h: one entry for each output row and column. One image at a
// time, output rows [first_row, last_row); in and out point at the image, not at the row.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/resize/coordinates.h"
#include "kernels/rows.h"

namespace octavo::kernels {

// out[y][x] = in[rows[y]][columns[x]], pixels of `pixel_bytes` bytes, input rows of in_w pixels.
void resize_nearest(const std::byte* in, std::byte* out, std::size_t pixel_bytes, int in_w,
                    std::span<const std::int32_t> rows, std::span<const std::int32_t> columns,
                    int first_row, int last_row);

struct ResizeGeometry {
  int in_h, in_w, channels;
  std::span<const LinearTap> rows, columns;  // one entry an output row, an output column
};

// With x_rc the four pixels (r, c = l or u, for lower and upper) and w_r, w_c their weights:
//
//   ((w_l w_l x_ll + w_l w_u x_lu) + w_u w_l x_ul) + w_u w_u x_uu
//
// in f32, the weights multiplied first.
struct ResizeKernel {
  std::string_view name;
  simd::Level level;
  void (*linear_f32)(const float* in, float* out, const ResizeGeometry& geometry, int first_row,
                     int last_row);
};

std::span<const ResizeKernel> resize_kernels();  // weakest first: front() is the reference

}  // namespace octavo::kernels
