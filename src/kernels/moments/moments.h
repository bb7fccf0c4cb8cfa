// moments: sums of products, for what is fitted to data (weights to the inputs that they meet).
//
//   second_moments   m[i][j] = sum_t rows[t][i] * rows[t][j]      symmetric, k x k
//   add_scaled       to[i] += factor * from[i]
//
// f32, each sum in the order of t, so the same bits everywhere.
#pragma once

#include <cstddef>

namespace octavo::kernels {

// rows: n rows of k; m: k * k, overwritten.
void second_moments(const float* rows, std::size_t n, std::size_t k, float* m);

void add_scaled(float* to, const float* from, float factor, std::size_t n);

}  // namespace octavo::kernels
