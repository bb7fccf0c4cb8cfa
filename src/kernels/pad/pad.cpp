#include "kernels/pad/pad.h"

#include <cstring>

#include "simd/isa.h"

namespace octavo::kernels {

void copy_padded_rows(const std::byte* image, const PadGeometry& geometry, std::int64_t first,
                      std::int64_t rows, std::uint8_t fill, std::byte* out) {
  const auto size = [](std::int64_t n) { return static_cast<std::size_t>(n); };
  const std::int64_t row_bytes = geometry.row_bytes();
  const std::int64_t image_row = geometry.width * geometry.pixel_bytes;
  for (std::int64_t y = first; y < first + rows; ++y, out += row_bytes) {
    if (y < 0 || y >= geometry.height) {
      std::memset(out, fill, size(row_bytes));
      continue;
    }
    const std::byte* from = image + y * image_row;
    std::byte* to = out + geometry.left * geometry.padded_pixel_bytes;
    if (geometry.padded_pixel_bytes == geometry.pixel_bytes) {
      std::memset(out, fill, size(geometry.left * geometry.pixel_bytes));
      std::memcpy(to, from, size(image_row));
      std::memset(to + image_row, fill, size(geometry.right * geometry.pixel_bytes));
      continue;
    }
    std::memset(out, fill, size(row_bytes));
    if (geometry.pixel_bytes == 3) {  // the first layer's pictures
      for (std::int64_t x = 0; x < geometry.width;
           ++x, from += 3, to += geometry.padded_pixel_bytes) {
        to[0] = from[0];
        to[1] = from[1];
        to[2] = from[2];
      }
      continue;
    }
    for (std::int64_t x = 0; x < geometry.width; ++x) {
      std::memcpy(to + x * geometry.padded_pixel_bytes, from + x * geometry.pixel_bytes,
                  size(geometry.pixel_bytes));
    }
  }
}

void copy_windows(const WindowRuns& runs, const std::byte* x, std::int64_t pixels, std::byte* out) {
  const WindowRuns g = runs;
  std::int64_t left_of_row = g.width;
  const std::byte* pixel = x;
  for (; pixels > 0; --pixels, pixel += g.pixel_stride) {
    if (left_of_row-- == 0) {
      x += g.row_stride;
      pixel = x;
      left_of_row = g.width - 1;
    }
    for (const std::int32_t offset : g.offsets) {
      for (std::int64_t k = 0; k < g.length; k += 16)
        wasm_v128_store(out + k, wasm_v128_load(pixel + offset + k));
      out += g.run_bytes;
    }
  }
}

}  // namespace octavo::kernels
