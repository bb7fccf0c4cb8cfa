#include "kernels/moments/moments.h"

#include <algorithm>

namespace octavo::kernels {

void add_scaled(float* to, const float* from, float factor, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) to[i] += factor * from[i];
}

void second_moments(const float* rows, std::size_t n, std::size_t k, float* m) {
  std::fill(m, m + k * k, 0.0F);
  // A few rows of m stay in the cache while all rows of data pass by.
  constexpr std::size_t kBlock = 8;
  for (std::size_t first = 0; first < k; first += kBlock) {
    const std::size_t last = std::min(k, first + kBlock);
    for (std::size_t t = 0; t < n; ++t) {
      const float* row = rows + t * k;
      for (std::size_t i = first; i < last; ++i) {
        if (row[i] != 0) add_scaled(m + i * k + first, row + first, row[i], k - first);
      }
    }
  }
  for (std::size_t i = 0; i < k; ++i) {
    for (std::size_t j = 0; j < i; ++j) m[i * k + j] = m[j * k + i];
  }
}

}  // namespace octavo::kernels
