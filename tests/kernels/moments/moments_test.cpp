#include "kernels/moments/moments.h"

#include <doctest/doctest.h>

#include <random>
#include <vector>

namespace octavo::kernels {
namespace {

TEST_CASE("second_moments: every pair of columns, for sizes around the block") {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  for (const std::size_t k : {1U, 2U, 7U, 8U, 9U, 16U, 17U, 40U}) {
    for (const std::size_t n : {0U, 1U, 5U, 33U}) {
      CAPTURE(k);
      CAPTURE(n);
      std::vector<float> rows(n * k);
      for (float& x : rows) x = normal(random);
      constexpr float kGuard = 1234;
      std::vector<float> m(k * k + 2, kGuard);
      second_moments(rows.data(), n, k, m.data() + 1);
      CHECK(m.front() == kGuard);
      CHECK(m.back() == kGuard);
      for (std::size_t i = 0; i < k; ++i) {
        for (std::size_t j = 0; j < k; ++j) {
          float sum = 0;  // in the order of the rows, as the contract says
          const std::size_t a = i < j ? i : j;
          const std::size_t b = i < j ? j : i;
          for (std::size_t t = 0; t < n; ++t) sum += rows[t * k + a] * rows[t * k + b];
          CHECK(m[1 + i * k + j] == sum);
        }
      }
    }
  }
}

TEST_CASE("add_scaled adds to n elements and no more") {
  for (const std::size_t n : {0U, 1U, 3U, 4U, 5U, 15U, 16U, 17U}) {
    std::vector<float> to(n + 1, 1.0F);
    const std::vector<float> from(n + 1, 2.0F);
    add_scaled(to.data(), from.data(), 0.5F, n);
    for (std::size_t i = 0; i < n; ++i) CHECK(to[i] == 2.0F);
    CHECK(to[n] == 1.0F);
  }
}

}  // namespace
}  // namespace octavo::kernels
