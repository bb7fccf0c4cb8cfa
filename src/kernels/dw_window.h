// Where a depthwise kernel that knows the whole image reads: the border is not in memory.
//
//   output (y, x), tap (i, j) reads row y * stride_h + i * dilation_h - top,
//                             column x * stride_w + j * dilation_w - left of the image
//
// and, outside of the image, the border's value (a zero point; 0 for floats). Images and outputs
// are dense: [height][width][channels], [out_height][out_width][channels].
//
// Such kernels walk along a row of outputs column by column of the window. Outputs whose columns
// are the same make a phase: with dilation, every phases()-th of a row.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "base/ceil_div.h"

namespace octavo::kernels {

struct DwWindow {
  std::int64_t height = 0, width = 0;  // of the image; 0: not known, so only rows for any taps fit
  std::int64_t out_width = 0;
  std::int64_t kernel_h = 1, kernel_w = 1;
  std::int64_t stride_h = 1, stride_w = 1;
  std::int64_t dilation_h = 1, dilation_w = 1;
  std::int64_t top = 0, left = 0;  // rows and columns of the border before the image

  std::int64_t phases() const { return std::max<std::int64_t>(1, dilation_w / stride_w); }
  // Columns of the window from one output of a phase to the next.
  int column_stride() const { return dilation_w % stride_w == 0 ? 1 : 2; }
  // Elements of the border that stand for a row of the image, or for the columns beside it.
  std::int64_t border_pixels() const { return std::max(width, kernel_w * dilation_w); }
};

// Columns that lie one after the other in memory, dilation_w pixels apart.
struct DwStretch {
  std::int64_t columns = 0;
  const std::byte* row[5] = {};  // the first column, in each row of the window
};

// What one phase of a row of outputs reads, from the left to the right: border, image, border, as
// far as they are there.
struct DwPhase {
  std::int64_t outputs = 0;
  std::array<DwStretch, 3> stretches;
};

// Whether a window of size x size can be walked: both borders of a row are shorter than it.
inline bool can_walk(const DwWindow& w, int size) {
  const std::int64_t reach = (size - 1) * w.dilation_w;
  const std::int64_t right = (w.out_width - 1) * w.stride_w + reach - w.left - (w.width - 1);
  return w.height > 0 && w.width > 0 && w.out_width > 0 && w.kernel_h == size &&
         w.kernel_w == size && w.left >= 0 && w.left <= reach && right <= reach &&
         (w.dilation_w % w.stride_w == 0 || w.stride_w == 2 * w.dilation_w);
}

// The phase of output row `y` that begins with its output `first` < phases(). `border` holds
// border_pixels() pixels.
inline DwPhase phase_of(const DwWindow& w, std::int64_t y, std::int64_t first,
                        const std::byte* image, const std::byte* border, std::int64_t pixel_bytes) {
  DwPhase phase;
  phase.outputs = ceil_div(w.out_width - first, w.phases());
  const std::int64_t columns = (phase.outputs - 1) * w.column_stride() + w.kernel_w;
  const std::int64_t begin = first * w.stride_w - w.left;  // of the image
  const std::int64_t before =
      std::min(columns, begin < 0 ? ceil_div(-begin, w.dilation_w) : std::int64_t{0});
  const std::int64_t entry = begin + before * w.dilation_w;
  const std::int64_t inside =
      std::min(columns - before,
               entry < w.width ? (w.width - 1 - entry) / w.dilation_w + 1 : std::int64_t{0});
  auto stretch = phase.stretches.begin();
  const auto add = [&](std::int64_t count, bool in_image) {
    if (count <= 0) return;
    stretch->columns = count;
    for (std::int64_t i = 0; i < w.kernel_h; ++i) {
      const std::int64_t row = y * w.stride_h + i * w.dilation_h - w.top;
      stretch->row[i] = in_image && row >= 0 && row < w.height
                            ? image + (row * w.width + entry) * pixel_bytes
                            : border;
    }
    ++stretch;
  };
  add(before, false);
  add(inside, true);
  add(columns - before - inside, false);
  return phase;
}

// Walks over the columns of a phase, kSize rows high, with the sums of all outputs that a column is
// under in flight: with kStride 1 it is the last of one output, the second last of the next, and so
// on. A tile of channels has
//
//   Sum start()                     what an output begins with
//   void load(x)                    keeps the codes or floats of a column, x[i] in row i
//   Sum with(Sum, int column)       adds the kept ones as that column of the window
//   void finish(Sum)                writes the next output
//   bool kInPairs                   a column is so little work that walking counts
//
// `at`: bytes from a pixel's begin to the tile's channels; `step`: bytes between columns.
template <int kSize, int kStride, class Tile>
[[gnu::always_inline]] inline void walk(const DwPhase& phase, std::int64_t at, std::int64_t step,
                                        Tile& tile) {
  using Sum = decltype(tile.start());
  constexpr int kInFlight = (kSize - 1) / kStride;
  const DwStretch* stretch = phase.stretches.data();
  const std::byte* x[kSize];
  std::int64_t columns = 0;  // left of the stretch
  // `within`: the stretch has the column.
  const auto next_column = [&](bool within) __attribute__((always_inline)) {
    if (!within && columns-- == 0) {
      for (int r = 0; r < kSize; ++r) x[r] = stretch->row[r] + at;
      columns = stretch->columns - 1;
      ++stretch;
    }
    tile.load(x);
    for (int r = 0; r < kSize; ++r) x[r] += step;
  };
  Sum sums[kInFlight];  // of the outputs whose first columns have passed
  for (Sum& sum : sums) sum = tile.start();
  Sum done = tile.start();
  // The column that is the last one of the first output in flight, and the first one of a new one.
  const auto last_column = [&](bool within) __attribute__((always_inline)) {
    next_column(within);
    done = tile.with(sums[0], kSize - 1);
    for (int j = 0; j + 1 < kInFlight; ++j)
      sums[j] = tile.with(sums[j + 1], kSize - 1 - kStride * (j + 1));
    sums[kInFlight - 1] = tile.with(tile.start(), 0);
  };
  // Stride 2: the column between.
  const auto middle_column = [&](bool within) __attribute__((always_inline)) {
    next_column(within);
    for (int j = 0; j < kInFlight; ++j) sums[j] = tile.with(sums[j], kSize - 2 - kStride * j);
  };
  const auto output = [&](bool within) __attribute__((always_inline)) {
    if constexpr (kStride == 2) middle_column(within);
    last_column(within);
    tile.finish(done);
  };
  for (int column = 0; column + kStride < kSize; ++column)
    kStride == 1 || column % 2 == 0 ? last_column(false) : middle_column(false);
  for (std::int64_t left = phase.outputs; left > 0;) {
    // Two outputs at a time as long as the stretch lasts, without looking for its end.
    if constexpr (Tile::kInPairs) {
      const std::int64_t pairs = std::min(left, columns / kStride) / 2;
      columns -= 2 * pairs * kStride;
      left -= 2 * pairs;
      for (std::int64_t i = 0; i < pairs; ++i) {
        output(true);
        output(true);
      }
      if (left == 0) break;
    }
    output(false);
    --left;
  }
}

}  // namespace octavo::kernels
