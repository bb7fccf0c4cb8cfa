#include "kernels/moments/moments.h"

#include <doctest/doctest.h>

#include <random>
#include <vector>

#include "support/buffers.h"

namespace octavo::kernels {
namespace {

std::vector<std::int16_t> random_pairs(std::size_t n, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<std::int16_t> out(n);
  for (std::int16_t& x : out) x = static_cast<std::int16_t>(static_cast<int>(random() % 511) - 255);
  return out;
}

TEST_CASE("pair_codes: every row puts two rows beside each other, less the zero point") {
  std::mt19937 random(3);
  for (const std::size_t n : {0U, 1U, 7U, 15U, 16U, 17U, 40U}) {
    std::vector<std::uint8_t> a(n + 16);
    std::vector<std::uint8_t> b(n + 16);
    for (std::size_t i = 0; i < n; ++i) {
      a[i] = static_cast<std::uint8_t>(random());
      b[i] = static_cast<std::uint8_t>(random());
    }
    struct Rows {
      const std::uint8_t *a, *b;
    };
    for (const Rows rows : {Rows{a.data(), b.data()}, Rows{nullptr, b.data()},
                            Rows{a.data(), nullptr}, Rows{nullptr, nullptr}}) {
      for (const bool codes_are_signed : {false, true}) {
        const int lowest = codes_are_signed ? -128 : 0;
        for (const int zero : {lowest, lowest + 100, lowest + 255}) {
          for (const MomentsKernel& kernel : moments_kernels()) {
            CAPTURE(kernel.name);
            CAPTURE(n);
            test::Guarded<std::int16_t> out(2 * n);
            kernel.pair_codes(rows.a, rows.b, n, codes_are_signed, zero, out.data());
            CHECK(out.intact());
            const auto real = [&](const std::uint8_t* row, std::size_t i) {
              if (row == nullptr) return 0;
              return (codes_are_signed ? static_cast<std::int8_t>(row[i]) : int{row[i]}) - zero;
            };
            for (std::size_t i = 0; i < n; ++i) {
              CHECK(out.data()[2 * i] == real(rows.a, i));
              CHECK(out.data()[2 * i + 1] == real(rows.b, i));
            }
          }
        }
      }
    }
  }
}

TEST_CASE("add_columns: every row sums both rows of all pairs") {
  for (const std::size_t columns : {1U, 4U, 7U, 8U, 20U}) {
    for (const std::size_t n : {0U, 1U, 5U}) {
      const auto pairs = random_pairs(2 * n * columns, 5);
      for (const MomentsKernel& kernel : moments_kernels()) {
        CAPTURE(kernel.name);
        test::Guarded<std::int32_t> sums(columns);
        for (std::size_t c = 0; c < columns; ++c) sums.data()[c] = 3;
        kernel.add_columns(pairs.data(), n, columns, sums.data());
        CHECK(sums.intact());
        for (std::size_t c = 0; c < columns; ++c) {
          int sum = 3;
          for (std::size_t p = 0; p < n; ++p)
            sum += pairs[2 * (p * columns + c)] + pairs[2 * (p * columns + c) + 1];
          CHECK(sums.data()[c] == sum);
        }
      }
    }
  }
}

std::int32_t product(const std::vector<std::int16_t>& pairs, std::size_t n, std::size_t columns,
                     std::size_t i, std::size_t j) {
  std::int32_t sum = 0;
  for (std::size_t p = 0; p < n; ++p) {
    for (std::size_t k = 0; k < 2; ++k)
      sum += pairs[2 * (p * columns + i) + k] * pairs[2 * (p * columns + j) + k];
  }
  return sum;
}

TEST_CASE("add_dense: every row adds the products of every pair of columns") {
  for (const std::size_t columns : {8U, 16U, 24U, 40U}) {
    for (const std::size_t n : {0U, 1U, 2U, 9U}) {
      const auto pairs = random_pairs(2 * n * columns, 6);
      for (const MomentsKernel& kernel : moments_kernels()) {
        CAPTURE(kernel.name);
        CAPTURE(columns);
        test::Guarded<std::int32_t> m(columns * columns);
        for (std::size_t i = 0; i < columns * columns; ++i) m.data()[i] = 11;
        kernel.add_dense(pairs.data(), n, columns, m.data());
        CHECK(m.intact());
        for (std::size_t i = 0; i < columns; ++i) {
          for (std::size_t j = i; j < columns; ++j)
            CHECK(m.data()[i * columns + j] == 11 + product(pairs, n, columns, i, j));
        }
      }
    }
  }
}

TEST_CASE("add_lanes: every row adds the products of every pair of taps of a channel") {
  for (const std::size_t taps : {1U, 2U, 3U, 4U, 7U, 9U, 25U}) {
    for (const std::size_t channels : {4U, 8U, 12U}) {
      for (const std::size_t n : {0U, 1U, 5U}) {
        const std::size_t columns = taps * channels;
        const auto pairs = random_pairs(2 * n * columns, 8);
        for (const MomentsKernel& kernel : moments_kernels()) {
          CAPTURE(kernel.name);
          CAPTURE(taps);
          CAPTURE(channels);
          test::Guarded<std::int32_t> m(taps * columns);
          for (std::size_t i = 0; i < taps * columns; ++i) m.data()[i] = -2;
          kernel.add_lanes(pairs.data(), n, taps, channels, m.data());
          CHECK(m.intact());
          for (std::size_t s = 0; s < taps; ++s) {
            for (std::size_t t = s; t < taps; ++t) {
              for (std::size_t c = 0; c < channels; ++c)
                CHECK(m.data()[(s * taps + t) * channels + c] ==
                      -2 + product(pairs, n, columns, s * channels + c, t * channels + c));
            }
          }
        }
      }
    }
  }
}

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

TEST_CASE("add_scaled: every row adds to n elements and no more") {
  for (const std::size_t n : {0U, 1U, 3U, 4U, 5U, 15U, 16U, 17U}) {
    for (const MomentsKernel& kernel : moments_kernels()) {
      CAPTURE(kernel.name);
      std::vector<float> to(n + 1, 1.0F);
      const std::vector<float> from(n + 1, 2.0F);
      kernel.add_scaled(to.data(), from.data(), 0.5F, n);
      for (std::size_t i = 0; i < n; ++i) CHECK(to[i] == 2.0F);
      CHECK(to[n] == 1.0F);
    }
  }
}

}  // namespace
}  // namespace octavo::kernels
