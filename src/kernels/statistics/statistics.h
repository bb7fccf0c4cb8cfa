// statistics: what calibration asks of the floats of a tensor.
//
//   extremes   min and max of x[0 .. n), NaN passed over; finite: no NaN and no infinity among them
//   count      counts[b] += the number of values whose bin is b,
//              bin(x) = clamp(floor((x - offset) * factor) - first, 0, bins - 1), in f32
//   channels   of rows x[p][0 .. channels): low[c] = min(low[c], x[p][c]), high[c] alike, and
//              square[c] += (f64)x[p][c]^2
//   sum_rows   sums[c] += sum over t < n of (f64)x[place[t] + c]
//   errors     signal += sum a^2, noise += sum (a - b)^2, largest = max |a - b|, in f64; element i
//              goes to partial sum i % 4, and these are added as (0 + 1) + (2 + 3)
//
// Sums run in the order of p, t and i, so all rows give the same bits. Any n >= 0, no alignment.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/rows.h"

namespace octavo::kernels {

struct Extremes {
  float min, max;  // min > max where there is no value
  bool finite;
};

// `whole`: x is rounded down before it is scaled, which changes nothing where `factor` is 2^-e, e
// >= 0, but for results that are too small for f32. `first` and `bins` are below 2^22 in size.
struct BinRule {
  float offset = 0, factor = 1;
  std::int32_t first = 0;
  std::size_t bins = 0;
  bool whole = false;
};

struct Errors {
  double signal, noise, largest;
};

struct StatisticsKernel {
  std::string_view name;
  simd::Level level;
  Extremes (*extremes)(const float* x, std::size_t n);
  // Values are finite; `scratch` has 4 * bins elements.
  void (*count)(const float* x, std::size_t n, const BinRule& rule, std::uint16_t* scratch,
                std::uint64_t* counts);
  // Rows are `stride` elements apart. NaN leaves low and high as they are.
  void (*channels)(const float* x, std::size_t rows, std::size_t stride, std::size_t channels,
                   float* low, float* high, double* square);
  void (*sum_rows)(const float* x, std::span<const std::ptrdiff_t> places, std::size_t channels,
                   double* sums);
  Errors (*errors)(const float* a, const float* b, std::size_t n);
};

std::span<const StatisticsKernel> statistics_kernels();  // weakest first: front() is the reference
// The fastest of this build: all give the same.
const StatisticsKernel& statistics();

}  // namespace octavo::kernels
