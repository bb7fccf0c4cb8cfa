#include "kernels/softmax/softmax.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "support/buffers.h"

namespace octavo::kernels {
namespace {

struct Case {
  std::size_t outer, n, inner;
};
const std::vector<Case> kCases = {{1, 1, 1}, {3, 10, 1}, {2, 17, 1}, {1, 1000, 1},
                                  {2, 5, 3}, {1, 4, 16}, {2, 7, 21}};

TEST_CASE("softmax: every row gives probabilities, within 1e-6 of a computation in double") {
  for (const Case& c : kCases) {
    const std::vector<float> in = test::random_floats(c.outer * c.n * c.inner, 5, -12.0F, 12.0F);
    for (const SoftmaxKernel& kernel : softmax_kernels()) {
      CAPTURE(kernel.name);
      test::Guarded<float> out(in.size());
      test::Guarded<float> logs(in.size());
      kernel.softmax(in.data(), out.data(), c.outer, c.n, c.inner);
      kernel.log_softmax(in.data(), logs.data(), c.outer, c.n, c.inner);
      CHECK(out.intact());
      const std::vector<float> got = out.values();
      const std::vector<float> got_logs = logs.values();
      for (std::size_t o = 0; o < c.outer; ++o) {
        for (std::size_t i = 0; i < c.inner; ++i) {
          const auto at = [&](std::size_t k) { return (o * c.n + k) * c.inner + i; };
          double sum = 0;
          for (std::size_t k = 0; k < c.n; ++k) sum += std::exp(static_cast<double>(in[at(k)]));
          for (std::size_t k = 0; k < c.n; ++k) {
            const double expected = std::exp(static_cast<double>(in[at(k)])) / sum;
            CHECK(std::fabs(got[at(k)] - expected) < 1e-6);
            CHECK(std::fabs(got_logs[at(k)] - std::log(expected)) < 1e-5);
          }
        }
      }
    }
  }
}

TEST_CASE(
    "softmax: every row equals the reference, also in place and for values beyond the range of "
    "exp") {
  for (const Case& c : kCases) {
    std::vector<float> in = test::random_floats(c.outer * c.n * c.inner, 9, -300.0F, 300.0F);
    in[in.size() / 2] = std::numeric_limits<float>::max();
    in[in.size() / 3] = -std::numeric_limits<float>::infinity();
    std::vector<float> expected(in.size());
    std::vector<float> expected_logs(in.size());
    softmax_kernels().front().softmax(in.data(), expected.data(), c.outer, c.n, c.inner);
    softmax_kernels().front().log_softmax(in.data(), expected_logs.data(), c.outer, c.n, c.inner);
    for (const SoftmaxKernel& kernel : softmax_kernels()) {
      CAPTURE(kernel.name);
      std::vector<float> same = in;
      kernel.softmax(same.data(), same.data(), c.outer, c.n, c.inner);
      CHECK(test::same_bits(same, expected));
      same = in;
      kernel.log_softmax(same.data(), same.data(), c.outer, c.n, c.inner);
      CHECK(test::same_bits(same, expected_logs));
    }
  }
}

TEST_CASE("softmax: a NaN makes its whole row NaN") {
  for (const SoftmaxKernel& kernel : softmax_kernels()) {
    std::vector<float> values = {1, 2, std::numeric_limits<float>::quiet_NaN(), 3, 4, 5, 1, 1, 1, 1,
                                 1, 1};
    kernel.softmax(values.data(), values.data(), 2, 6, 1);
    for (std::size_t i = 0; i < 6; ++i) CHECK(std::isnan(values[i]));
    CHECK(values[6] == doctest::Approx(1.0 / 6));
  }
}

}  // namespace
}  // namespace octavo::kernels
