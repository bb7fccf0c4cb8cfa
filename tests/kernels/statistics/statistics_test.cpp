#include "kernels/statistics/statistics.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "support/buffers.h"

namespace octavo::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr std::size_t kSizes[] = {0, 1, 3, 4, 5, 15, 16, 17, 31, 33, 100, 1000};

TEST_CASE("extremes: every row finds the least and the largest, and what is not finite") {
  for (const StatisticsKernel& kernel : statistics_kernels()) {
    CAPTURE(kernel.name);
    for (const std::size_t n : kSizes) {
      CAPTURE(n);
      std::vector<float> x = test::random_floats(n, static_cast<std::uint32_t>(n), -3, 3);
      const auto extremes = [&] { return kernel.extremes(x.data(), n); };
      if (n == 0) {
        CHECK(extremes().min > extremes().max);
        CHECK(extremes().finite);
        continue;
      }
      float least = kInfinity;
      float largest = -kInfinity;
      for (const float value : x) {
        least = std::min(least, value);
        largest = std::max(largest, value);
      }
      CHECK(extremes().min == least);
      CHECK(extremes().max == largest);
      CHECK(extremes().finite);
      // At every place: what is odd is seen, and a NaN changes nothing else.
      for (std::size_t at = 0; at < n; at += 1 + n / 40) {
        const float kept = x[at];
        x[at] = std::nanf("");
        CHECK_FALSE(extremes().finite);
        CHECK(extremes().max <= largest);
        x[at] = kInfinity;
        CHECK_FALSE(extremes().finite);
        CHECK(extremes().max == kInfinity);
        x[at] = -5;
        CHECK(extremes().min == -5);
        x[at] = kept;
      }
    }
  }
}

TEST_CASE("extremes: of zeros every row gives the same one") {
  for (std::uint32_t seed = 0; seed < 20; ++seed) {
    std::vector<float> x = test::random_floats(70, seed, -1, 1);
    for (float& value : x) value = value < 0 ? -0.0F : 0.0F;
    const Extremes first = statistics_kernels().front().extremes(x.data(), x.size());
    for (const StatisticsKernel& kernel : statistics_kernels()) {
      const Extremes found = kernel.extremes(x.data(), x.size());
      CHECK(std::signbit(found.min) == std::signbit(first.min));
      CHECK(std::signbit(found.max) == std::signbit(first.max));
    }
  }
}

std::vector<std::uint64_t> counted(const StatisticsKernel& kernel, const std::vector<float>& x,
                                   const BinRule& rule) {
  test::Guarded<std::uint64_t> counts(rule.bins);
  std::fill(counts.data(), counts.data() + rule.bins, 7U);
  std::vector<std::uint16_t> scratch(4 * rule.bins, 99);
  kernel.count(x.data(), x.size(), rule, scratch.data(), counts.data());
  CHECK(counts.intact());
  return {counts.data(), counts.data() + rule.bins};
}

TEST_CASE("count: every row puts every value into the bin of the formula") {
  const BinRule rules[] = {
      {.offset = 0, .factor = 16, .first = -40, .bins = 80},
      {.offset = -2.5F, .factor = 12.8F, .first = 0, .bins = 64},
      {.offset = 0, .factor = 0.25F, .first = -3, .bins = 5, .whole = true},
      {.offset = 0, .factor = 0x1p100F, .first = 0, .bins = 3},
      {.offset = 0, .factor = 1, .first = 0, .bins = 1},
  };
  for (const BinRule& rule : rules) {
    for (const std::size_t n : kSizes) {
      CAPTURE(rule.factor);
      CAPTURE(n);
      std::vector<float> x = test::random_floats(n, static_cast<std::uint32_t>(n) + 1, -3, 3);
      for (std::size_t i = 0; i < n; i += 3) x[i] = i % 2 == 0 ? 0.0F : -0.0F;
      if (n > 4) x[4] = 1e30F;
      std::vector<std::uint64_t> wanted(rule.bins, 7);
      for (const float value : x) {
        const double shifted = static_cast<double>(value - rule.offset);
        const double place =
            std::floor(static_cast<double>(static_cast<float>(shifted) * rule.factor));
        const double bin =
            std::min(std::max(place - rule.first, 0.0), static_cast<double>(rule.bins - 1));
        ++wanted[static_cast<std::size_t>(bin)];
      }
      for (const StatisticsKernel& kernel : statistics_kernels()) {
        CAPTURE(kernel.name);
        if (rule.first == 0 || n <= 4) CHECK(counted(kernel, x, rule) == wanted);
      }
      if (n > 4) x[4] = 1;  // where bins do not begin at 0, places are small
      const auto first = counted(statistics_kernels().front(), x, rule);
      for (const StatisticsKernel& kernel : statistics_kernels())
        CHECK(counted(kernel, x, rule) == first);
    }
  }
}

TEST_CASE("count: more equal values than a counter of 16 bits has") {
  const BinRule rule{.offset = 0, .factor = 4, .first = 0, .bins = 8};
  const std::vector<float> x(300'003, 0.8F);
  for (const StatisticsKernel& kernel : statistics_kernels())
    CHECK(counted(kernel, x, rule) == std::vector<std::uint64_t>{7, 7, 7, 300'010, 7, 7, 7, 7});
}

TEST_CASE("count: a negative value too small for its place in f32 is below zero") {
  const BinRule rule{.offset = 0, .factor = 0x1p-20F, .first = -1, .bins = 2, .whole = true};
  const std::vector<float> x(40, -0x1p-140F);
  for (const StatisticsKernel& kernel : statistics_kernels())
    CHECK(counted(kernel, x, rule) == std::vector<std::uint64_t>{47, 7});
}

TEST_CASE("channels: every row equals the reference, and NaN is passed over") {
  for (const std::size_t channels : {1U, 3U, 4U, 5U, 8U, 19U}) {
    for (const std::size_t rows : {0U, 1U, 2U, 9U, 64U, 65U, 130U}) {
      CAPTURE(channels);
      CAPTURE(rows);
      const std::size_t stride = channels + 3;
      std::vector<float> x = test::random_floats(rows * stride + 1, 5, -2, 2);
      const auto run = [&](const StatisticsKernel& kernel) {
        test::Guarded<float> low(channels);
        test::Guarded<float> high(channels);
        test::Guarded<double> square(channels);
        for (std::size_t c = 0; c < channels; ++c) {
          low.data()[c] = 0.5F;
          high.data()[c] = 0.25F;
          square.data()[c] = 1;
        }
        kernel.channels(x.data(), rows, stride, channels, low.data(), high.data(), square.data());
        CHECK(low.intact());
        CHECK(high.intact());
        CHECK(square.intact());
        std::vector<double> all;
        for (std::size_t c = 0; c < channels; ++c) {
          all.push_back(static_cast<double>(low.data()[c]));
          all.push_back(static_cast<double>(high.data()[c]));
          all.push_back(square.data()[c]);
        }
        return all;
      };
      const auto first = run(statistics_kernels().front());
      for (const StatisticsKernel& kernel : statistics_kernels()) CHECK(run(kernel) == first);
      for (std::size_t c = 0; c < channels; ++c) {
        double square = 1;
        float low = 0.5F;
        for (std::size_t p = 0; p < rows; ++p) {
          const float value = x[p * stride + c];
          square += static_cast<double>(value) * static_cast<double>(value);
          low = std::min(low, value);
        }
        CHECK(first[3 * c] == static_cast<double>(low));
        CHECK(first[3 * c + 2] == square);
      }
      for (std::size_t p = 0; p < rows; ++p) x[p * stride] = std::nanf("");
      for (const StatisticsKernel& kernel : statistics_kernels()) {
        const auto with = run(kernel);
        CHECK(with[0] == 0.5);
        CHECK(with[1] == 0.25);
      }
    }
  }
}

TEST_CASE("sum_rows: every row adds what lies at the places, in their order") {
  const std::vector<float> x = test::random_floats(600, 11, -2, 2);
  for (const std::size_t channels : {1U, 3U, 7U, 8U, 9U, 16U, 21U}) {
    for (const std::size_t n : {0U, 1U, 2U, 13U}) {
      CAPTURE(channels);
      CAPTURE(n);
      std::vector<std::ptrdiff_t> places;
      for (std::size_t i = 0; i < n; ++i)
        places.push_back(static_cast<std::ptrdiff_t>((i * 37 + 5) % 570));
      for (const StatisticsKernel& kernel : statistics_kernels()) {
        CAPTURE(kernel.name);
        test::Guarded<double> sums(channels);
        for (std::size_t c = 0; c < channels; ++c) sums.data()[c] = 0.1;
        kernel.sum_rows(x.data(), places, channels, sums.data());
        CHECK(sums.intact());
        for (std::size_t c = 0; c < channels; ++c) {
          double sum = 0.1;
          for (const std::ptrdiff_t place : places)
            sum += static_cast<double>(x[static_cast<std::size_t>(place) + c]);
          CHECK(sums.data()[c] == sum);
        }
      }
    }
  }
}

TEST_CASE("errors: every row gives the reference's bits, which are near the plain sums") {
  for (const std::size_t n : kSizes) {
    CAPTURE(n);
    const std::vector<float> a = test::random_floats(n, 21, -2, 2);
    const std::vector<float> b = test::random_floats(n, 22, -2, 2);
    double signal = 0;
    double noise = 0;
    double largest = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const double difference = static_cast<double>(a[i]) - static_cast<double>(b[i]);
      signal += static_cast<double>(a[i]) * static_cast<double>(a[i]);
      noise += difference * difference;
      largest = std::max(largest, std::fabs(difference));
    }
    const Errors first = statistics_kernels().front().errors(a.data(), b.data(), n);
    CHECK(first.signal == doctest::Approx(signal));
    CHECK(first.noise == doctest::Approx(noise));
    CHECK(first.largest == largest);
    for (const StatisticsKernel& kernel : statistics_kernels()) {
      CAPTURE(kernel.name);
      const Errors found = kernel.errors(a.data(), b.data(), n);
      CHECK(found.signal == first.signal);
      CHECK(found.noise == first.noise);
      CHECK(found.largest == first.largest);
    }
  }
}

}  // namespace
}  // namespace octavo::kernels
