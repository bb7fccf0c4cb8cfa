#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <set>

#include "kernels/felementwise/binary.h"
#include "kernels/felementwise/broadcast.h"
#include "kernels/felementwise/unary.h"
#include "support/buffers.h"

namespace octavo::kernels {
namespace {

std::vector<float> hard_floats(std::size_t n, std::uint32_t seed) {
  std::vector<float> values = test::random_floats(n, seed, -8.0F, 8.0F);
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> special = {
      0.0F,   -0.0F,   infinity, -infinity, std::numeric_limits<float>::quiet_NaN(),
      1e-40F, -1e-40F, 3e38F,    -3e38F,    0.5F,
      2.5F,   -1.5F,   88.8F,    -104.0F};
  for (std::size_t i = seed % 3; i < n; i += 3) values[i] = special[i / 3 % special.size()];
  return values;
}

TEST_CASE("unary: every row equals the reference byte for byte, also in place") {
  const UnaryParams params{0.3F, 2.0F};
  for (const UnaryKernel& kernel : unary_kernels()) {
    CAPTURE(kernel.name);
    const UnaryKernel& reference = unary_kernel(kernel.op, {.level = simd::Level::kScalar});
    CHECK(reference.level == simd::Level::kScalar);
    for (const std::size_t n : test::kAwkwardSizes) {
      const std::vector<float> in = hard_floats(n, 5);
      std::vector<float> expected(n);
      reference.run(in.data(), expected.data(), n, params);
      test::Guarded<float> out(n);
      kernel.run(in.data(), out.data(), n, params);
      CHECK(test::same_bits(out.values(), expected));
      CHECK(out.intact());
      std::vector<float> same = in;
      kernel.run(same.data(), same.data(), n, params);
      CHECK(test::same_bits(same, expected));
    }
  }
}

// FNV-1a over the bits, with one bit pattern for every NaN.
void mix(std::uint64_t& hash, const std::vector<float>& values) {
  for (const float value : values) {
    const std::uint32_t bits =
        std::isnan(value) ? 0x7FC00000U : std::bit_cast<std::uint32_t>(value);
    hash = (hash ^ bits) * 0x100000001B3ULL;
  }
}

TEST_CASE("felementwise: every build gives the same bits, native and wasm") {
  std::vector<float> in = hard_floats(3000, 7);
  test::Random random(23);
  for (int i = 0; i < 3000; ++i) in.push_back(std::bit_cast<float>(random.bits()));
  const std::vector<float> other(in.rbegin(), in.rend());
  std::vector<float> out(in.size());
  std::uint64_t hash = 0xCBF29CE484222325ULL;
  for (const UnaryKernel& kernel : unary_kernels()) {
    kernel.run(in.data(), out.data(), in.size(), {0.3F, 2.0F});
    mix(hash, out);
  }
  for (const BinaryKernel& kernel : binary_kernels()) {
    kernel.run(in.data(), other.data(), out.data(), in.size());
    mix(hash, out);
  }
  CHECK(hash == 8320594665997192672ULL);  // changes only when a formula, a row or the inputs do
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

struct Formula {
  Unary op;
  std::function<double(double)> f;  // alpha = 0.3, beta = 2
};
const std::vector<Formula> kFormulas = {
    {Unary::kRelu, [](double x) { return std::max(x, 0.0); }},
    {Unary::kClip, [](double x) { return std::min(std::max(x, 0.3), 2.0); }},
    {Unary::kLeakyRelu, [](double x) { return x < 0 ? 0.3 * x : x; }},
    {Unary::kElu, [](double x) { return x < 0 ? 0.3 * std::expm1(x) : x; }},
    {Unary::kSelu, [](double x) { return 2 * (x < 0 ? 0.3 * std::expm1(x) : x); }},
    {Unary::kSigmoid, sigmoid},
    {Unary::kHardSigmoid, [](double x) { return std::min(std::max(0.3 * x + 2, 0.0), 1.0); }},
    {Unary::kHardSwish, [](double x) { return x * std::min(std::max(x / 6 + 0.5, 0.0), 1.0); }},
    {Unary::kTanh, [](double x) { return std::tanh(x); }},
    {Unary::kSoftplus, [](double x) { return std::log1p(std::exp(x)); }},
    {Unary::kSoftsign, [](double x) { return x / (1 + std::fabs(x)); }},
    {Unary::kSilu, [](double x) { return x * sigmoid(x); }},
    {Unary::kMish, [](double x) { return x * std::tanh(std::log1p(std::exp(x))); }},
    {Unary::kGelu, [](double x) { return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))); }},
    {Unary::kGeluTanh,
     [](double x) {
       return 0.5 * x *
              (1 + std::tanh(std::sqrt(2 / 3.14159265358979) * (x + 0.044715 * x * x * x)));
     }},
    {Unary::kErf, [](double x) { return std::erf(x); }},
    {Unary::kExp, [](double x) { return std::exp(x); }},
    {Unary::kLog, [](double x) { return std::log(x); }},
    {Unary::kSqrt, [](double x) { return std::sqrt(x); }},
    {Unary::kReciprocal, [](double x) { return 1 / x; }},
    {Unary::kNeg, [](double x) { return -x; }},
    {Unary::kAbs, [](double x) { return std::fabs(x); }},
    {Unary::kSign, [](double x) { return x > 0   ? 1.0
                                         : x < 0 ? -1.0
                                                 : 0.0; }},
    {Unary::kFloor, [](double x) { return std::floor(x); }},
    {Unary::kCeil, [](double x) { return std::ceil(x); }},
    {Unary::kRound, [](double x) { return std::nearbyint(x); }},
    {Unary::kSin, [](double x) { return std::sin(x); }},
    {Unary::kCos, [](double x) { return std::cos(x); }},
    {Unary::kTan, [](double x) { return std::tan(x); }},
    {Unary::kAsin, [](double x) { return std::asin(x); }},
    {Unary::kAcos, [](double x) { return std::acos(x); }},
    {Unary::kAtan, [](double x) { return std::atan(x); }},
    {Unary::kSinh, [](double x) { return std::sinh(x); }},
    {Unary::kCosh, [](double x) { return std::cosh(x); }},
    {Unary::kAsinh, [](double x) { return std::asinh(x); }},
    {Unary::kAcosh, [](double x) { return std::acosh(x); }},
    {Unary::kAtanh, [](double x) { return std::atanh(x); }},
    {Unary::kCelu,
     [](double x) { return std::max(x, 0.0) + std::min(0.0, 0.3 * std::expm1(x / 0.3)); }},
    {Unary::kShrink, [](double x) { return x < -0.3F  ? x + 2
                                           : x > 0.3F ? x - 2
                                                      : 0.0; }},
    {Unary::kThresholdedRelu, [](double x) { return x > 0.3F ? x : 0.0; }},
};

TEST_CASE("unary: every function of the table is its formula") {
  std::set<Unary> tested;
  for (const Formula& formula : kFormulas) {
    CAPTURE(unary_name(formula.op));
    tested.insert(formula.op);
    CHECK(find_unary(unary_name(formula.op)) == formula.op);
    for (int i = -600; i <= 600; ++i) {
      const float x = static_cast<float>(i) * 0.0125F;
      const double expected = formula.f(static_cast<double>(x));
      const double got = static_cast<double>(unary_value(formula.op, x, {0.3F, 2.0F}));
      if (std::isnan(expected)) {
        CHECK(std::isnan(got));
      } else if (std::isinf(expected)) {
        CHECK(got == expected);
      } else {
        CHECK(std::fabs(got - expected) <= 1e-6 * std::max(1.0, std::fabs(expected)));
      }
    }
  }
  for (const UnaryKernel& kernel : unary_kernels()) CHECK(tested.count(kernel.op) == 1);
  CHECK(!find_unary("NoSuchOp"));
}

TEST_CASE("binary: every row equals the reference byte for byte, also in place") {
  for (const BinaryKernel& kernel : binary_kernels()) {
    CAPTURE(kernel.name);
    CHECK(find_binary(binary_name(kernel.op)) == kernel.op);
    const BinaryKernel& reference = binary_kernel(kernel.op, {.level = simd::Level::kScalar});
    for (const std::size_t n : test::kAwkwardSizes) {
      const std::vector<float> a = hard_floats(n, 3);
      const std::vector<float> b = hard_floats(n, 4);
      std::vector<float> expected(n);
      reference.run(a.data(), b.data(), expected.data(), n);
      test::Guarded<float> out(n);
      kernel.run(a.data(), b.data(), out.data(), n);
      CHECK(test::same_bits(out.values(), expected));
      CHECK(out.intact());
      std::vector<float> same = b;
      kernel.run(a.data(), same.data(), same.data(), n);
      CHECK(test::same_bits(same, expected));
    }
  }
}

TEST_CASE("binary: values and NaNs") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto value = [](Binary op, float a, float b) {
    float out = 0;
    binary_kernel(op, {}).run(&a, &b, &out, 1);
    return out;
  };
  CHECK(value(Binary::kAdd, 2, 3) == 5);
  CHECK(value(Binary::kSub, 2, 3) == -1);
  CHECK(value(Binary::kMul, 2, 3) == 6);
  CHECK(value(Binary::kDiv, 3, 2) == 1.5F);
  CHECK(value(Binary::kPow, 2, 10) == 1024);
  CHECK(value(Binary::kMin, 2, 3) == 2);
  CHECK(value(Binary::kMax, 2, 3) == 3);
  CHECK(value(Binary::kPrelu, -2, 0.25F) == -0.5F);
  CHECK(value(Binary::kPrelu, 2, 0.25F) == 2);
  CHECK(value(Binary::kMod, 5.5F, -2) == 1.5F);
  CHECK(value(Binary::kMod, -5.5F, 2) == -1.5F);
  CHECK(std::isnan(value(Binary::kMod, 1, 0)));
  for (const Binary op : {Binary::kMin, Binary::kMax}) {
    CHECK(std::isnan(value(op, nan, 1)));
    CHECK(std::isnan(value(op, 1, nan)));
  }
}

// out[i] = 100 * a + b by the definition of numpy's broadcasting.
void check_broadcast(const std::vector<std::int64_t>& out_dims,
                     const std::vector<std::int64_t>& a_dims,
                     const std::vector<std::int64_t>& b_dims) {
  const auto size = [](const std::vector<std::int64_t>& dims) {
    std::int64_t n = 1;
    for (const std::int64_t dim : dims) n *= dim;
    return static_cast<std::size_t>(n);
  };
  const std::vector<float> a = test::random_floats(size(a_dims), 1, -1, 1);
  const std::vector<float> b = test::random_floats(size(b_dims), 2, -1, 1);
  std::vector<float> expected(size(out_dims));
  for (std::size_t flat = 0; flat < expected.size(); ++flat) {
    const auto offset = [&](const std::vector<std::int64_t>& dims) {
      std::int64_t rest = static_cast<std::int64_t>(flat);
      std::int64_t at = 0;
      std::int64_t step = 1;
      for (std::size_t d = 0; d < out_dims.size(); ++d) {
        const std::int64_t i = rest % out_dims[out_dims.size() - 1 - d];
        rest /= out_dims[out_dims.size() - 1 - d];
        if (d >= dims.size()) continue;
        const std::int64_t dim = dims[dims.size() - 1 - d];
        if (dim != 1) at += i * step;
        step *= dim;
      }
      return static_cast<std::size_t>(at);
    };
    expected[flat] = a[offset(a_dims)] - b[offset(b_dims)];
  }
  const BroadcastPlan plan = make_broadcast_of_shapes(out_dims, a_dims, b_dims);
  CHECK(plan.outer * plan.inner == static_cast<std::int64_t>(expected.size()));
  test::Guarded<float> out(expected.size());
  const BinaryFn sub = binary_kernel(Binary::kSub, {}).run;
  const std::int64_t half = plan.outer / 2;
  run_broadcast(plan, a.data(), b.data(), out.data(), 0, half, sub);
  run_broadcast(plan, a.data(), b.data(), out.data(), half, plan.outer, sub);
  CHECK(out.values() == expected);
  CHECK(out.intact());
}

TEST_CASE("broadcast: numpy's rules for any rank") {
  check_broadcast({2, 3, 4, 5}, {2, 3, 4, 5}, {2, 3, 4, 5});
  check_broadcast({2, 3, 4, 5}, {2, 3, 4, 5}, {});
  check_broadcast({2, 3, 4, 5}, {1}, {2, 3, 4, 5});
  check_broadcast({2, 3, 4, 5}, {2, 3, 4, 5}, {5});
  check_broadcast({2, 3, 4, 5}, {2, 3, 4, 5}, {3, 1, 1});
  check_broadcast({2, 3, 4, 5}, {2, 3, 1, 1}, {2, 3, 4, 5});
  check_broadcast({2, 3, 4, 5}, {2, 1, 4, 1}, {1, 3, 1, 5});
  check_broadcast({2, 3, 2, 3, 2, 1, 2, 3}, {2, 1, 2, 1, 2, 1, 2, 1}, {3, 2, 1, 2, 3});
  check_broadcast({1500}, {1500}, {1});
  check_broadcast({3, 1500}, {3, 1}, {1, 1500});
  check_broadcast({}, {}, {});
  check_broadcast({1, 1}, {1, 1}, {1});
  CHECK(make_broadcast_of_shapes(std::vector<std::int64_t>{2, 0, 3},
                                 std::vector<std::int64_t>{2, 0, 3}, std::vector<std::int64_t>{3})
            .outer == 0);
}

TEST_CASE("broadcast: strides may jump or go backwards") {
  // a is read transposed, b backwards.
  const std::vector<std::int64_t> dims = {3, 700};
  std::vector<float> a(2100);
  std::vector<float> b(2100);
  for (std::size_t i = 0; i < a.size(); ++i) a[i] = b[i] = static_cast<float>(i);
  const BroadcastPlan plan =
      make_broadcast(dims, std::vector<std::int64_t>{1, 3}, std::vector<std::int64_t>{-700, -1});
  std::vector<float> out(2100);
  run_broadcast(plan, a.data(), b.data() + 2099, out.data(), 0, plan.outer,
                binary_kernel(Binary::kSub, {}).run);
  for (std::size_t r = 0; r < 3; ++r) {
    for (std::size_t c = 0; c < 700; ++c) {
      CHECK(out[r * 700 + c] ==
            static_cast<float>(c * 3 + r) - static_cast<float>(2099 - (r * 700 + c)));
    }
  }
}

}  // namespace
}  // namespace octavo::kernels
