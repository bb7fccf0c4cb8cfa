// pad: copies rows of an NHWC image into a buffer with a border, for kernels that read a whole
// window at every place.
//
//   out[(y - first) * out_width + left + x][c] = image[y][x][c]
//     for first <= y < first + rows, 0 <= y < height, out_width = left + width + right
//   every other byte of out is `fill` (a zero point; 0 for floats)
#pragma once

#include <cstddef>
#include <cstdint>

namespace octavo::kernels {

struct PadGeometry {
  std::int64_t height, width;       // of the image
  std::int64_t left, right;         // pixels added at both ends of a row
  std::int64_t pixel_bytes;         // of the image
  std::int64_t padded_pixel_bytes;  // of out, >= pixel_bytes: the rest of a pixel is `fill`
  std::int64_t row_bytes() const { return (left + width + right) * padded_pixel_bytes; }
};

// Rows first .. first + rows - 1 of the image; those above or below it are all `fill`.
void copy_padded_rows(const std::byte* image, const PadGeometry& geometry, std::int64_t first,
                      std::int64_t rows, std::uint8_t fill, std::byte* out);

}  // namespace octavo::kernels
