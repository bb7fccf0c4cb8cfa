#include "kernels/felementwise/math.h"

#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "support/buffers.h"

namespace octavo::kernels {
namespace {

// |got - exact| in units of the last place of a float of exact's size.
double ulps(float got, double exact) {
  const auto rounded = static_cast<float>(exact);
  if (std::isinf(rounded) || std::isinf(got)) return got == rounded ? 0 : 1e9;
  int exponent = 0;
  std::frexp(exact, &exponent);
  const double unit = std::ldexp(1.0, std::max(exponent - 24, -149));
  return std::fabs(static_cast<double>(got) - exact) / unit;
}

// The largest error over a dense walk of [lo, hi] and over random floats of every size in it.
double worst(float lo, float hi, const std::function<float(float)>& f,
             const std::function<double(double)>& exact) {
  double error = 0;
  const auto look = [&](float x) {
    error = std::max(error, ulps(f(x), exact(static_cast<double>(x))));
  };
  constexpr int kSteps = 400000;
  for (int i = 0; i <= kSteps; ++i) look(lo + (hi - lo) * (static_cast<float>(i) / kSteps));
  test::Random random(17);
  for (int i = 0; i < 400000; ++i) {
    const float x = std::bit_cast<float>(random.bits());
    if (x >= lo && x <= hi) look(x);
  }
  return error;
}

TEST_CASE("math: errors stay below what math.h states") {
  using S = ScalarLanes;
  CHECK(worst(-104, 89, &exp_f32<S>, [](double x) { return std::exp(x); }) < 1.0);
  CHECK(worst(0, std::numeric_limits<float>::max(), &log_f32<S>,
              [](double x) { return std::log(x); }) < 0.9);
  CHECK(worst(0, 3, &log_f32<S>, [](double x) { return std::log(x); }) < 0.9);
  CHECK(worst(-12, 12, &tanh_f32<S>, [](double x) { return std::tanh(x); }) < 1.5);
  CHECK(worst(-100, 90, &sigmoid_f32<S>, [](double x) { return 1 / (1 + std::exp(-x)); }) < 2.2);
  CHECK(worst(-5, 5, &erf_f32, [](double x) { return std::erf(x); }) < 0.51);
  CHECK(worst(-1e6F, 1e6F, &sin_f32, [](double x) { return std::sin(x); }) < 0.51);
  CHECK(worst(-1e6F, 1e6F, &cos_f32, [](double x) { return std::cos(x); }) < 0.51);
  CHECK(worst(-1e6F, 1e6F, &tan_f32, [](double x) { return std::tan(x); }) < 0.51);
  CHECK(worst(-1, 1, &asin_f32, [](double x) { return std::asin(x); }) < 0.51);
  CHECK(worst(-1, 1, &acos_f32, [](double x) { return std::acos(x); }) < 0.51);
  CHECK(worst(-30, 30, &atan_f32, [](double x) { return std::atan(x); }) < 0.51);
  CHECK(worst(-89, 89, &sinh_f32, [](double x) { return std::sinh(x); }) < 0.51);
  CHECK(worst(-1, 1, &sinh_f32, [](double x) { return std::sinh(x); }) < 0.51);
  CHECK(worst(-89, 89, &cosh_f32, [](double x) { return std::cosh(x); }) < 0.51);
  CHECK(worst(-1e30F, 1e30F, &asinh_f32, [](double x) { return std::asinh(x); }) < 0.51);
  CHECK(worst(-2, 2, &asinh_f32, [](double x) { return std::asinh(x); }) < 0.51);
  CHECK(worst(1, 1e30F, &acosh_f32, [](double x) { return std::acosh(x); }) < 0.51);
  CHECK(worst(1, 2, &acosh_f32, [](double x) { return std::acosh(x); }) < 0.51);
  CHECK(worst(-1, 1, &atanh_f32, [](double x) { return std::atanh(x); }) < 0.51);
  for (const float y : {-3.7F, -1.0F, 0.5F, 0.3333F, 1.5F, 3.0F, 7.0F, 20.0F}) {
    CAPTURE(y);
    CHECK(worst(
              0, 1000, [y](float x) { return pow_f32(x, y); },
              [y](double x) { return std::pow(x, static_cast<double>(y)); }) < 0.51);
  }
}

TEST_CASE("math: edges of exp and log") {
  using S = ScalarLanes;
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(exp_f32<S>(0.0F) == 1.0F);
  CHECK(exp_f32<S>(-infinity) == 0.0F);
  CHECK(exp_f32<S>(infinity) == infinity);
  CHECK(std::isnan(exp_f32<S>(nan)));
  CHECK(log_f32<S>(1.0F) == 0.0F);
  CHECK(log_f32<S>(0.0F) == -infinity);
  CHECK(log_f32<S>(infinity) == infinity);
  CHECK(std::isnan(log_f32<S>(-1.0F)));
  CHECK(std::isnan(log_f32<S>(nan)));
  CHECK(tanh_f32<S>(infinity) == 1.0F);
  CHECK(tanh_f32<S>(-infinity) == -1.0F);
  CHECK(std::isnan(tanh_f32<S>(nan)));
  CHECK(sigmoid_f32<S>(-infinity) == 0.0F);
  CHECK(sigmoid_f32<S>(infinity) == 1.0F);
}

TEST_CASE("math: trigonometric and hyperbolic functions at their edges, as C's") {
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  struct Pair {
    float (*ours)(float);
    double (*exact)(double);
  };
  const Pair pairs[] = {{tan_f32, std::tan},     {asin_f32, std::asin},   {acos_f32, std::acos},
                        {atan_f32, std::atan},   {sinh_f32, std::sinh},   {cosh_f32, std::cosh},
                        {asinh_f32, std::asinh}, {acosh_f32, std::acosh}, {atanh_f32, std::atanh}};
  for (const auto& [ours, exact] : pairs) {
    for (const float x : {0.0F, -0.0F, 1.0F, -1.0F, 1.5F, -1.5F, 100.0F, -100.0F, 3e38F, -3e38F,
                          1e-40F, infinity, -infinity, nan}) {
      if (std::fabs(x) > 1e6F && std::isfinite(x) && ours == tan_f32) continue;
      CAPTURE(x);
      const auto expected = static_cast<float>(exact(static_cast<double>(x)));
      const float got = ours(x);
      if (std::isnan(expected)) {
        CHECK(std::isnan(got));
      } else {
        CHECK(got == expected);
        CHECK(std::signbit(got) == std::signbit(expected));
      }
    }
  }
}

TEST_CASE("math: pow treats signs, zeros and infinities as C does") {
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> bases = {0.0F, -0.0F, 1.0F,     -1.0F,     2.0F,   -2.0F,
                                    0.5F, -0.5F, infinity, -infinity, 1e-40F, 3e38F};
  const std::vector<float> exponents = {0.0F, 1.0F,  -1.0F, 2.0F,     -2.0F,     3.0F, -3.0F,
                                        0.5F, -0.5F, 1.5F,  infinity, -infinity, 1e30F};
  for (const float x : bases) {
    for (const float y : exponents) {
      CAPTURE(x);
      CAPTURE(y);
      const auto expected =
          static_cast<float>(std::pow(static_cast<double>(x), static_cast<double>(y)));
      const float got = pow_f32(x, y);
      if (std::isnan(expected)) {
        CHECK(std::isnan(got));
      } else {
        CHECK(ulps(got, static_cast<double>(expected)) <= 1.0);
        CHECK(std::signbit(got) == std::signbit(expected));
      }
    }
  }
}

}  // namespace
}  // namespace octavo::kernels
