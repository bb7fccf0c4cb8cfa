#include "kernels/fpool/fpool.h"

#include <array>
#include <limits>

#include "kernels/felementwise/lanes.h"

namespace octavo::kernels {

namespace {

// Runs body.operator()<Lanes>(c) for channels c, c + kCount, ... and the rest one by one.
template <class L, class Body>
void for_each_channel(std::ptrdiff_t channels, Body body) {
  std::ptrdiff_t c = 0;
  constexpr auto kStep = static_cast<std::ptrdiff_t>(L::kCount);
  for (; c + kStep <= channels; c += kStep) body.template operator()<L>(c);
  for (; c < channels; ++c) body.template operator()<ScalarLanes>(c);
}

// The window of one output pixel: tap(offset) for each pixel inside the image, row by row. Offsets
// count from tap (0, 0), which may lie outside the image, so a pointer is only made of the sum.
struct Window {
  std::ptrdiff_t start, row_step, column_step;
  Taps rows, columns;

  template <class Tap>
  void for_each(Tap tap) const {
    for (int i = rows.first; i < rows.last; ++i) {
      for (int j = columns.first; j < columns.last; ++j)
        tap(start + i * row_step + j * column_step);
    }
  }
};

template <class Body>
void for_each_window(const float* in, float* out, const PoolGeometry& g, int first_row,
                     int last_row, Body body) {
  const std::ptrdiff_t channels = g.channels;
  const std::ptrdiff_t row_size = g.in_w * channels;
  for (int row = first_row; row < last_row; ++row) {
    const int y = row % g.out_h;
    const float* image = in + row / g.out_h * (g.in_h * row_size);
    const Taps rows =
        taps_along(y, g.stride_h, g.pad_top, g.pad_bottom, g.kernel_h, g.dilation_h, g.in_h);
    float* to = out + std::ptrdiff_t{row} * g.out_w * channels;
    for (int x = 0; x < g.out_w; ++x, to += channels) {
      const Taps columns =
          taps_along(x, g.stride_w, g.pad_left, g.pad_right, g.kernel_w, g.dilation_w, g.in_w);
      const std::ptrdiff_t start =
          (y * g.stride_h - g.pad_top) * row_size + (x * g.stride_w - g.pad_left) * channels;
      body(image, Window{start, g.dilation_h * row_size, g.dilation_w * channels, rows, columns},
           to);
    }
  }
}

template <class L>
void max_pool(const float* in, float* out, const PoolGeometry& geometry, int first_row,
              int last_row) {
  for_each_window(in, out, geometry, first_row, last_row,
                  [&](const float* image, const Window& window, float* to) {
                    for_each_channel<L>(geometry.channels, [&]<class Lanes>(std::ptrdiff_t c) {
                      auto best = Lanes::splat(std::numeric_limits<float>::lowest());
                      window.for_each([&](std::ptrdiff_t tap) {
                        best = Lanes::max(best, Lanes::load(image + (tap + c)));
                      });
                      Lanes::store(to + c, best);
                    });
                  });
}

template <class L>
void average_pool(const float* in, float* out, const PoolGeometry& geometry, bool count_include_pad,
                  int first_row, int last_row) {
  for_each_window(
      in, out, geometry, first_row, last_row,
      [&](const float* image, const Window& window, float* to) {
        const Taps& rows = window.rows;
        const Taps& columns = window.columns;
        const int count = count_include_pad
                              ? rows.padded * columns.padded
                              : (rows.last - rows.first) * (columns.last - columns.first);
        for_each_channel<L>(geometry.channels, [&]<class Lanes>(std::ptrdiff_t c) {
          auto sum = Lanes::splat(0.0F);
          window.for_each(
              [&](std::ptrdiff_t tap) { sum = Lanes::add(sum, Lanes::load(image + (tap + c))); });
          Lanes::store(to + c, Lanes::div(sum, Lanes::splat(static_cast<float>(count))));
        });
      });
}

template <class L>
void global_average(const float* in, float* out, std::size_t pixels, std::size_t channels) {
  for_each_channel<L>(static_cast<std::ptrdiff_t>(channels), [&]<class Lanes>(std::ptrdiff_t c) {
    auto sum = Lanes::splat(0.0F);
    for (std::size_t i = 0; i < pixels; ++i)
      sum = Lanes::add(sum, Lanes::load(in + i * channels + c));
    Lanes::store(out + c, Lanes::div(sum, Lanes::splat(static_cast<float>(pixels))));
  });
}

constexpr auto kKernels = std::to_array<FPoolKernel>({
    {"fpool/scalar", simd::Level::kScalar, &max_pool<ScalarLanes>, &average_pool<ScalarLanes>,
     &global_average<ScalarLanes>},
    {"fpool/simd128", simd::Level::kSimd128, &max_pool<SimdLanes>, &average_pool<SimdLanes>,
     &global_average<SimdLanes>},
});

}  // namespace

std::span<const FPoolKernel> fpool_kernels() { return kKernels; }

}  // namespace octavo::kernels
