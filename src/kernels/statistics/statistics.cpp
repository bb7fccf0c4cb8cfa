#include "kernels/statistics/statistics.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "simd/isa.h"

namespace octavo::kernels {

namespace {

constexpr std::size_t kLanes = 16;  // of the extremes: which zero is the least depends on them
constexpr float kInfinity = std::numeric_limits<float>::infinity();

bool is_finite(float x) {
  constexpr std::uint32_t kExponent = 0x7F800000U;
  return (std::bit_cast<std::uint32_t>(x) & kExponent) != kExponent;
}

// Lanes that have seen whole groups of kLanes, and the rest.
Extremes finish_extremes(float (&low)[kLanes], float (&high)[kLanes], bool finite, const float* x,
                         std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    low[0] = x[i] < low[0] ? x[i] : low[0];
    high[0] = x[i] > high[0] ? x[i] : high[0];
    finite = finite && is_finite(x[i]);
  }
  return {*std::min_element(low, low + kLanes), *std::max_element(high, high + kLanes), finite};
}

Extremes extremes_scalar(const float* x, std::size_t n) {
  float low[kLanes];
  float high[kLanes];
  std::fill(low, low + kLanes, kInfinity);
  std::fill(high, high + kLanes, -kInfinity);
  bool finite = true;
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const float value = x[i + lane];
      low[lane] = value < low[lane] ? value : low[lane];
      high[lane] = value > high[lane] ? value : high[lane];
      finite = finite && is_finite(value);
    }
  }
  return finish_extremes(low, high, finite, x + i, n - i);
}

Extremes extremes_simd128(const float* x, std::size_t n) {
  constexpr std::size_t kVectors = kLanes / 4;
  v128_t lows[kVectors];
  v128_t highs[kVectors];
  for (v128_t& v : lows) v = wasm_f32x4_splat(kInfinity);
  for (v128_t& v : highs) v = wasm_f32x4_splat(-kInfinity);
  v128_t odd = wasm_i32x4_splat(0);
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (std::size_t k = 0; k < kVectors; ++k) {
      const v128_t value = wasm_v128_load(x + i + 4 * k);
      lows[k] = wasm_f32x4_pmin(lows[k], value);
      highs[k] = wasm_f32x4_pmax(highs[k], value);
      odd = wasm_v128_or(odd, wasm_f32x4_sub(value, value));  // +0, or NaN
    }
  }
  float low[kLanes];
  float high[kLanes];
  for (std::size_t k = 0; k < kVectors; ++k) {
    wasm_v128_store(low + 4 * k, lows[k]);
    wasm_v128_store(high + 4 * k, highs[k]);
  }
  return finish_extremes(low, high, !wasm_v128_any_true(odd), x + i, n - i);
}

std::size_t bin_of(float x, const BinRule& rule) {
  const float shifted = x - rule.offset;
  const float place = std::floor((rule.whole ? std::floor(shifted) : shifted) * rule.factor);
  const float bin = place - static_cast<float>(rule.first);
  return static_cast<std::size_t>(std::clamp(bin, 0.0F, static_cast<float>(rule.bins - 1)));
}

void count_scalar(const float* x, std::size_t n, const BinRule& rule, std::uint16_t*,
                  std::uint64_t* counts) {
  for (std::size_t i = 0; i < n; ++i) ++counts[bin_of(x[i], rule)];
}

// Four counters a bin, so that equal neighbours (half of what a ReLU makes is zero) need not wait
// for each other; of 16 bits, so that they leave room in the cache.
void count_simd128(const float* x, std::size_t n, const BinRule& rule, std::uint16_t* scratch,
                   std::uint64_t* counts) {
  constexpr std::size_t kMost = 4 * std::size_t{65535};
  for (; n > kMost; x += kMost, n -= kMost) count_simd128(x, kMost, rule, scratch, counts);
  // Few values: clearing and adding up the counters would take longer.
  if (n < rule.bins) return count_scalar(x, n, rule, scratch, counts);
  std::fill(scratch, scratch + 4 * rule.bins, std::uint16_t{0});
  const v128_t offset = wasm_f32x4_splat(rule.offset);
  const v128_t factor = wasm_f32x4_splat(rule.factor);
  const v128_t first = wasm_f32x4_splat(static_cast<float>(rule.first));
  const v128_t zero = wasm_f32x4_splat(0);
  const v128_t last = wasm_f32x4_splat(static_cast<float>(rule.bins - 1));
  // Added to 2^23 an integer is in the lowest bits.
  const v128_t magic = wasm_f32x4_splat(0x1p23F);
  auto* bytes = reinterpret_cast<std::byte*>(scratch);
  const auto add = [bytes](std::int32_t at, std::size_t lane) {
    ++*reinterpret_cast<std::uint16_t*>(bytes + static_cast<std::uint32_t>(at) +
                                        lane * sizeof(std::uint16_t));
  };
  const auto run = [&](auto whole) {
    std::size_t i = 0;
    for (; i + 4 <= n; i += 4) {
      v128_t place = wasm_f32x4_sub(wasm_v128_load(x + i), offset);
      if constexpr (decltype(whole)::value) place = wasm_f32x4_floor(place);
      place = wasm_f32x4_sub(wasm_f32x4_floor(wasm_f32x4_mul(place, factor)), first);
      place = wasm_f32x4_pmin(wasm_f32x4_pmax(place, zero), last);
      const v128_t bin = wasm_i32x4_sub(wasm_f32x4_add(place, magic), magic);
      const v128_t at = wasm_i32x4_shl(bin, 3);
      add(wasm_i32x4_extract_lane(at, 0), 0);
      add(wasm_i32x4_extract_lane(at, 1), 1);
      add(wasm_i32x4_extract_lane(at, 2), 2);
      add(wasm_i32x4_extract_lane(at, 3), 3);
    }
    for (; i < n; ++i) ++counts[bin_of(x[i], rule)];
  };
  rule.whole ? run(std::true_type{}) : run(std::false_type{});
  for (std::size_t b = 0; b < rule.bins; ++b) {
    const std::uint16_t* four = scratch + 4 * b;
    counts[b] += std::uint64_t{four[0]} + four[1] + four[2] + four[3];
  }
}

void channels_from(const float* x, std::size_t rows, std::size_t stride, std::size_t from,
                   std::size_t to, float* low, float* high, double* square) {
  for (std::size_t c = from; c < to; ++c) {
    for (std::size_t p = 0; p < rows; ++p) {
      const float value = x[p * stride + c];
      low[c] = value < low[c] ? value : low[c];
      high[c] = value > high[c] ? value : high[c];
      square[c] += static_cast<double>(value) * static_cast<double>(value);
    }
  }
}

void channels_scalar(const float* x, std::size_t rows, std::size_t stride, std::size_t channels,
                     float* low, float* high, double* square) {
  channels_from(x, rows, stride, 0, channels, low, high, square);
}

// Elements 2 and 3 as doubles.
v128_t promote_high(v128_t x) {
  return wasm_f64x2_promote_low_f32x4(wasm_i64x2_shuffle(x, x, 1, 1));
}

// Rows of all channels at a time that stay in the cache from four channels to the next.
constexpr std::size_t kRowsAtOnce = 64;

void channels_simd128(const float* x, std::size_t rows, std::size_t stride, std::size_t channels,
                      float* low, float* high, double* square) {
  for (; rows > kRowsAtOnce; rows -= kRowsAtOnce, x += kRowsAtOnce * stride)
    channels_simd128(x, kRowsAtOnce, stride, channels, low, high, square);
  std::size_t c = 0;
  for (; c + 4 <= channels; c += 4) {
    v128_t lows = wasm_v128_load(low + c);
    v128_t highs = wasm_v128_load(high + c);
    v128_t sums[2] = {wasm_v128_load(square + c), wasm_v128_load(square + c + 2)};
    for (std::size_t p = 0; p < rows; ++p) {
      const v128_t value = wasm_v128_load(x + p * stride + c);
      lows = wasm_f32x4_pmin(lows, value);
      highs = wasm_f32x4_pmax(highs, value);
      const v128_t first = wasm_f64x2_promote_low_f32x4(value);
      const v128_t second = promote_high(value);
      sums[0] = wasm_f64x2_add(sums[0], wasm_f64x2_mul(first, first));
      sums[1] = wasm_f64x2_add(sums[1], wasm_f64x2_mul(second, second));
    }
    wasm_v128_store(low + c, lows);
    wasm_v128_store(high + c, highs);
    wasm_v128_store(square + c, sums[0]);
    wasm_v128_store(square + c + 2, sums[1]);
  }
  channels_from(x, rows, stride, c, channels, low, high, square);
}

void sum_rows_from(const float* x, std::span<const std::ptrdiff_t> places, std::size_t from,
                   std::size_t to, double* sums) {
  for (std::size_t c = from; c < to; ++c) {
    for (const std::ptrdiff_t place : places)
      sums[c] += static_cast<double>(x[place + static_cast<std::ptrdiff_t>(c)]);
  }
}

void sum_rows_scalar(const float* x, std::span<const std::ptrdiff_t> places, std::size_t channels,
                     double* sums) {
  sum_rows_from(x, places, 0, channels, sums);
}

void sum_rows_simd128(const float* x, std::span<const std::ptrdiff_t> places, std::size_t channels,
                      double* sums) {
  std::size_t c = 0;
  for (; c + 8 <= channels; c += 8) {
    v128_t sum[4];
    for (std::size_t k = 0; k < 4; ++k) sum[k] = wasm_v128_load(sums + c + 2 * k);
    for (const std::ptrdiff_t place : places) {
      const float* row = x + place + c;
      const v128_t first = wasm_v128_load(row);
      const v128_t second = wasm_v128_load(row + 4);
      sum[0] = wasm_f64x2_add(sum[0], wasm_f64x2_promote_low_f32x4(first));
      sum[1] = wasm_f64x2_add(sum[1], promote_high(first));
      sum[2] = wasm_f64x2_add(sum[2], wasm_f64x2_promote_low_f32x4(second));
      sum[3] = wasm_f64x2_add(sum[3], promote_high(second));
    }
    for (std::size_t k = 0; k < 4; ++k) wasm_v128_store(sums + c + 2 * k, sum[k]);
  }
  sum_rows_from(x, places, c, channels, sums);
}

// Partial sums after whole groups of four, and the rest.
Errors finish_errors(double (&signal)[4], double (&noise)[4], double (&largest)[4], const float* a,
                     const float* b, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    const auto real = static_cast<double>(a[i]);
    const double difference = real - static_cast<double>(b[i]);
    signal[i % 4] += real * real;
    noise[i % 4] += difference * difference;
    largest[i % 4] = std::max(largest[i % 4], std::fabs(difference));
  }
  return {(signal[0] + signal[1]) + (signal[2] + signal[3]),
          (noise[0] + noise[1]) + (noise[2] + noise[3]),
          std::max(std::max(largest[0], largest[1]), std::max(largest[2], largest[3]))};
}

Errors errors_scalar(const float* a, const float* b, std::size_t n) {
  double signal[4] = {};
  double noise[4] = {};
  double largest[4] = {};
  return finish_errors(signal, noise, largest, a, b, n);
}

Errors errors_simd128(const float* a, const float* b, std::size_t n) {
  v128_t signals[2];
  v128_t noises[2];
  v128_t most[2];
  for (int k = 0; k < 2; ++k) signals[k] = noises[k] = most[k] = wasm_f64x2_splat(0);
  std::size_t i = 0;
  for (; i + 4 <= n; i += 4) {
    const v128_t x = wasm_v128_load(a + i);
    const v128_t y = wasm_v128_load(b + i);
    const v128_t real[2] = {wasm_f64x2_promote_low_f32x4(x), promote_high(x)};
    const v128_t other[2] = {wasm_f64x2_promote_low_f32x4(y), promote_high(y)};
    for (int k = 0; k < 2; ++k) {
      const v128_t difference = wasm_f64x2_sub(real[k], other[k]);
      signals[k] = wasm_f64x2_add(signals[k], wasm_f64x2_mul(real[k], real[k]));
      noises[k] = wasm_f64x2_add(noises[k], wasm_f64x2_mul(difference, difference));
      most[k] = wasm_f64x2_pmax(most[k], wasm_f64x2_abs(difference));
    }
  }
  double signal[4];
  double noise[4];
  double largest[4];
  for (int k = 0; k < 2; ++k) {
    wasm_v128_store(signal + 2 * k, signals[k]);
    wasm_v128_store(noise + 2 * k, noises[k]);
    wasm_v128_store(largest + 2 * k, most[k]);
  }
  return finish_errors(signal, noise, largest, a + i, b + i, n - i);
}

constexpr std::array kTable{
    StatisticsKernel{"statistics/scalar", simd::Level::kScalar, &extremes_scalar, &count_scalar,
                     &channels_scalar, &sum_rows_scalar, &errors_scalar},
    StatisticsKernel{"statistics/simd128", simd::Level::kSimd128, &extremes_simd128, &count_simd128,
                     &channels_simd128, &sum_rows_simd128, &errors_simd128},
};

}  // namespace

std::span<const StatisticsKernel> statistics_kernels() { return kTable; }
const StatisticsKernel& statistics() { return best_row(statistics_kernels(), Policy{}); }

}  // namespace octavo::kernels
