// moments: sums of products, for what is fitted to data (weights to the inputs that they meet).
//
// Of codes, exact. Two rows at a time lie beside each other, as 16-bit differences from the zero
// point: pairs[p][c][2] are column c of rows 2 p and 2 p + 1.
//
//   pair_codes   out[c] = {a[c] - zero, b[c] - zero}; a row that is null is zero
//   add_columns  sums[c] += sum over p of both
//   add_dense    m[i][j] += sum over p of the products of columns i and j, j >= i at least
//   add_lanes    columns are taps of channels, c = tap * channels + channel:
//                m[s][t][channel] += the same of taps s and t of one channel, t >= s at least
//
// A difference is below 256 in size: 33,000 rows fit the 32 bits of a sum.
//
//   add_scaled   to[i] += factor * from[i], f32
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/rows.h"

namespace octavo::kernels {

struct MomentsKernel {
  std::string_view name;
  simd::Level level;
  void (*pair_codes)(const std::uint8_t* a, const std::uint8_t* b, std::size_t n,
                     bool codes_are_signed, std::int32_t zero, std::int16_t* out);
  void (*add_columns)(const std::int16_t* pairs, std::size_t n, std::size_t columns,
                      std::int32_t* sums);
  // `columns` is a multiple of 8; m has columns * columns elements.
  void (*add_dense)(const std::int16_t* pairs, std::size_t n, std::size_t columns, std::int32_t* m);
  // `channels` is a multiple of 4; m has taps * taps * channels elements.
  void (*add_lanes)(const std::int16_t* pairs, std::size_t n, std::size_t taps,
                    std::size_t channels, std::int32_t* m);
  void (*add_scaled)(float* to, const float* from, float factor, std::size_t n);
};

std::span<const MomentsKernel> moments_kernels();  // weakest first: front() is the reference
// The fastest of this build: all give the same.
const MomentsKernel& moments();

// m[i][j] = sum over t of rows[t][i] * rows[t][j] in f32, each sum in the order of t: n rows of k;
// m is k x k, overwritten.
void second_moments(const float* rows, std::size_t n, std::size_t k, float* m);

}  // namespace octavo::kernels
