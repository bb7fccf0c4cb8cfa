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
  std::span<const LinearTap> rows, columns;
};

struct ResizeKernel {
  std::string_view name;
  simd::Level level;
  // out = ((x11*r0*c0 + x21*r0*c1) + x12*r1*c0) + x22*r1*c1 in f32, where x_ij is the pixel at
  // column i, row j of the four and each product is (weight_column * weight_row) * x.
  void (*linear_f32)(const float* in, float* out, const ResizeGeometry& geometry, int first_row,
                     int last_row);
  void (*linear_u8)(const std::uint8_t* in, std::uint8_t* out, const ResizeGeometry& geometry,
                    int first_row, int last_row);
  void (*linear_s8)(const std::int8_t* in, std::int8_t* out, const ResizeGeometry& geometry,
                    int first_row, int last_row);
};

std::span<const ResizeKernel> resize_kernels();  // weakest first: front() is the reference

}  // namespace octavo::kernels
