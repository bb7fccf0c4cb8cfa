#include "kernels/resize/resize.h"

#include <array>
#include <cstring>

#include "kernels/felementwise/lanes.h"

namespace octavo::kernels {

namespace {

// A fixed size turns the copy into one load and one store.
template <std::size_t kBytes>
void gather_row(const std::byte* in, std::byte* out, std::span<const std::int32_t> columns) {
  for (const std::int32_t column : columns) {
    std::memcpy(out, in + static_cast<std::size_t>(column) * kBytes, kBytes);
    out += kBytes;
  }
}

void gather_row_of_any(const std::byte* in, std::byte* out, std::size_t pixel_bytes,
                       std::span<const std::int32_t> columns) {
  for (const std::int32_t column : columns) {
    std::memcpy(out, in + static_cast<std::size_t>(column) * pixel_bytes, pixel_bytes);
    out += pixel_bytes;
  }
}

}  // namespace

void resize_nearest(const std::byte* in, std::byte* out, std::size_t pixel_bytes, int in_w,
                    std::span<const std::int32_t> rows, std::span<const std::int32_t> columns,
                    int first_row, int last_row) {
  const std::size_t in_row = static_cast<std::size_t>(in_w) * pixel_bytes;
  const std::size_t out_row = columns.size() * pixel_bytes;
  for (int y = first_row; y < last_row; ++y) {
    const std::int32_t source = rows[static_cast<std::size_t>(y)];
    std::byte* to = out + static_cast<std::size_t>(y) * out_row;
    if (y > first_row && rows[static_cast<std::size_t>(y) - 1] == source) {
      std::memcpy(to, to - out_row, out_row);
      continue;
    }
    const std::byte* from = in + static_cast<std::size_t>(source) * in_row;
    if (pixel_bytes == 1) {
      gather_row<1>(from, to, columns);
    } else if (pixel_bytes == 4) {
      gather_row<4>(from, to, columns);
    } else {
      gather_row_of_any(from, to, pixel_bytes, columns);
    }
  }
}

namespace {

// body(the four pixels, their rows' and columns' taps, output pixel) for each output pixel.
template <class Body>
void for_each_pixel(const float* in, float* out, const ResizeGeometry& g, int first_row,
                    int last_row, Body body) {
  const auto channels = static_cast<std::size_t>(g.channels);
  const std::size_t row_size = static_cast<std::size_t>(g.in_w) * channels;
  for (int y = first_row; y < last_row; ++y) {
    const LinearTap& row = g.rows[static_cast<std::size_t>(y)];
    const float* lower = in + static_cast<std::size_t>(row.lower) * row_size;
    const float* upper = in + static_cast<std::size_t>(row.upper) * row_size;
    float* to = out + static_cast<std::size_t>(y) * g.columns.size() * channels;
    for (const LinearTap& column : g.columns) {
      const std::size_t left = static_cast<std::size_t>(column.lower) * channels;
      const std::size_t right = static_cast<std::size_t>(column.upper) * channels;
      const std::array<const float*, 4> pixels = {lower + left, lower + right, upper + left,
                                                  upper + right};
      body(pixels, row, column, to);
      to += channels;
    }
  }
}

template <class L>
typename L::F blend(const std::array<const float*, 4>& pixels, const std::array<float, 4>& weights,
                    std::size_t c) {
  auto sum = L::mul(L::splat(weights[0]), L::load(pixels[0] + c));
  for (std::size_t k = 1; k < 4; ++k)
    sum = L::add(sum, L::mul(L::splat(weights[k]), L::load(pixels[k] + c)));
  return sum;
}

template <class L>
void linear_floats(const float* in, float* out, const ResizeGeometry& geometry, int first_row,
                   int last_row) {
  const auto channels = static_cast<std::size_t>(geometry.channels);
  for_each_pixel(
      in, out, geometry, first_row, last_row,
      [channels](const auto& pixels, const LinearTap& row, const LinearTap& column, float* to) {
        const std::array<float, 4> weights = {
            column.weight_lower * row.weight_lower, column.weight_upper * row.weight_lower,
            column.weight_lower * row.weight_upper, column.weight_upper * row.weight_upper};
        std::size_t c = 0;
        for (; c + L::kCount <= channels; c += L::kCount) {
          L::store(to + c, blend<L>(pixels, weights, c));
        }
        for (; c < channels; ++c) to[c] = blend<ScalarLanes>(pixels, weights, c);
      });
}

constexpr auto kKernels = std::to_array<ResizeKernel>({
    {"resize/scalar", simd::Level::kScalar, &linear_floats<ScalarLanes>},
    {"resize/simd128", simd::Level::kSimd128, &linear_floats<SimdLanes>},
});

}  // namespace

std::span<const ResizeKernel> resize_kernels() { return kKernels; }

}  // namespace octavo::kernels
