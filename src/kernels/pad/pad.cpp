#include "kernels/pad/pad.h"

#include <algorithm>
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
  const std::int32_t* offsets = runs.offsets.data();
  const std::int32_t* end = offsets + runs.offsets.size();
  const std::int64_t run_bytes = runs.run_bytes;
  const std::int64_t pixel_stride = runs.pixel_stride;
  const bool wide = runs.length > 16;
  for (; pixels > 0; pixels -= runs.width, x += runs.row_stride) {
    const std::byte* pixel = x;
    for (std::int64_t left = std::min(runs.width, pixels); left > 0; --left) {
      for (const std::int32_t* offset = offsets; offset != end; ++offset, out += run_bytes) {
        const std::byte* from = pixel + *offset;
        wasm_v128_store(out, wasm_v128_load(from));
        if (wide) wasm_v128_store(out + 16, wasm_v128_load(from + 16));
      }
      pixel += pixel_stride;
    }
  }
}

}  // namespace octavo::kernels
