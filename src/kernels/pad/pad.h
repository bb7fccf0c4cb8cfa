// pad: copies rows of an NHWC image into a buffer with a border, for kernels that read a whole
// window at every place, and the windows of an image of few channels into one run of bytes each.
//
//   out[(y - first) * out_width + left + x][c] = image[y][x][c]
//     for first <= y < first + rows, 0 <= y < height, out_width = left + width + right
//   every other byte of out is `fill` (a zero point; 0 for floats)
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

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

// The runs of bytes that lie under each of the windows, one after the other:
//
//   out[(m * offsets.size() + s) * run_bytes + k] = x[pixel(m) + offsets[s] + k]   for k < length
//   pixel(m) = (m / width) * row_stride + (m % width) * pixel_stride
//
// All in bytes, length at most 32; what is between `length` and `run_bytes` is anything. Reads up
// to 15 bytes past a run's end and writes as far past the last one's.
struct WindowRuns {
  std::int64_t pixel_stride, row_stride, width;
  std::span<const std::int32_t> offsets;
  std::int64_t length, run_bytes;  // length <= run_bytes
};
void copy_windows(const WindowRuns& runs, const std::byte* x, std::int64_t pixels, std::byte* out);

}  // namespace octavo::kernels
