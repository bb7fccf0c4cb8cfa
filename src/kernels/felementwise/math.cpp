#include "kernels/felementwise/math.h"

namespace octavo::kernels {

namespace {

// erf around 64 centres c = (k + 1/2) / 16 of [0, 4): coefficients of h^0 .. h^5 in erf(c + h), |h|
// <= 1/32.
constexpr int kErfCentres = 64;
constexpr int kErfTerms = 7;

// erf by its series 2/sqrt(pi) e^(-x^2) sum x (2 x^2)^n / (2n+1)!!: all terms positive, nothing
// cancels.
constexpr double erf_series(double x) {
  double term = x;
  double sum = x;
  for (int n = 1; n < 120; ++n) {
    term *= 2.0 * x * x / (2 * n + 1);
    sum += term;
  }
  return 1.1283791670955126 * exp_f64(-x * x) * sum;
}

constexpr auto kErfTable = [] {
  std::array<std::array<double, kErfTerms>, kErfCentres> table{};
  for (int k = 0; k < kErfCentres; ++k) {
    const double c = (k + 0.5) / 16.0;
    auto& row = table[static_cast<std::size_t>(k)];
    row[0] = erf_series(c);
    // erf' = g, and g'' = -2 x g' - 2 g gives every further Taylor coefficient of g.
    std::array<double, kErfTerms> g{};
    g[0] = 1.1283791670955126 * exp_f64(-c * c);
    g[1] = -2.0 * c * g[0];
    for (std::size_t i = 2; i < kErfTerms; ++i) {
      g[i] = -2.0 * (c * g[i - 1] + g[i - 2]) / static_cast<double>(i);
    }
    for (std::size_t i = 1; i < kErfTerms; ++i) row[i] = g[i - 1] / static_cast<double>(i);
  }
  return table;
}();

// sin and cos of r, |r| <= pi / 4.
double sin_series(double r) {
  const double z = r * r;
  double p = 1.0;
  for (int k = 16; k > 0; k -= 2) p = 1.0 - p * z / (k * (k + 1));
  return r * p;
}
double cos_series(double r) {
  const double z = r * r;
  double p = 1.0;
  for (int k = 16; k > 0; k -= 2) p = 1.0 - p * z / (k * (k - 1));
  return p;
}

// sin(x + quarters * pi / 2); x is finite.
double sin_of(float x, int quarters) {
  const double n = std::nearbyint(static_cast<double>(x) * 0.6366197723675814);
  // pi / 2 in three parts of 33, 33 and 53 bits; n of up to 20 bits keeps the products exact.
  const double r = ((x - n * 0x1.921fb544p+0) - n * 0x1.0b4611a6p-34) - n * 0x1.3198a2e037073p-69;
  // Whole multiples of four quarters drop out; std::fmod is exact.
  const int turn = (static_cast<int>(std::fmod(n, 4.0)) + quarters + 8) % 4;
  const double value = turn % 2 == 0 ? sin_series(r) : cos_series(r);
  return turn >= 2 ? -value : value;
}

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr double kHalfPi = 1.5707963267948966;

// Within 1e-12 of the value, relatively; infinities too.
double atan_f64(double x) {
  const double a = std::fabs(x);
  double t = a > 1.0 ? 1.0 / a : a;
  const bool middle = t > 0.4142135623730951;  // tan(pi / 8)
  if (middle) t = (t - 1.0) / (t + 1.0);
  const double z = t * t;
  double p = 0.0;
  for (int k = 29; k > 0; k -= 2) p = 1.0 / k - z * p;
  double value = t * p + (middle ? kHalfPi / 2 : 0.0);
  if (a > 1.0) value = kHalfPi - value;
  return std::copysign(value, x);
}

// An odd function of x near zero, where its closed form cancels: x times a polynomial in x^2.
bool near_zero(float x) { return std::fabs(x) < 0.03125F; }
float odd_series(float x, double a, double b, double c) {
  const double z = static_cast<double>(x) * static_cast<double>(x);
  return static_cast<float>(x * (1.0 + z * (a + z * (b + z * c))));
}

}  // namespace

float erf_f32(float x) {
  const double a = std::fabs(static_cast<double>(x));
  if (x != x) return x;
  if (a >= 4.0) return x < 0 ? -1.0F : 1.0F;
  if (a < 0.03125) {
    // Relative accuracy near zero: two terms of the odd series.
    const double z = a * a;
    return static_cast<float>(x * 1.1283791670955126 *
                              (1.0 - z * (1.0 / 3.0 - z * (0.1 - z / 42.0))));
  }
  const auto k = static_cast<std::size_t>(a * 16.0);
  const double h = a - (static_cast<double>(k) + 0.5) / 16.0;
  const auto& row = kErfTable[k];
  double value = row[kErfTerms - 1];
  for (std::size_t i = kErfTerms - 1; i-- > 0;) value = value * h + row[i];
  return static_cast<float>(x < 0 ? -value : value);
}

float pow_f32(float x, float y) {
  if (y == 0.0F || x == 1.0F) return 1.0F;
  if (x != x || y != y) return x + y;
  if (y == 1.0F) return x;
  if (y == 2.0F) return x * x;
  const bool whole = std::floor(y) == y;
  const bool odd = whole && std::fabs(y) < 0x1p24F && std::fmod(y, 2.0F) != 0.0F;
  const float infinity = std::numeric_limits<float>::infinity();
  const float a = std::fabs(x);
  float result = 0.0F;
  if (a == 0.0F) {
    result = y > 0 ? 0.0F : infinity;
  } else if (std::isinf(x)) {
    result = y > 0 ? infinity : 0.0F;
  } else if (std::isinf(y)) {
    return a == 1.0F ? 1.0F : (a > 1.0F) == (y > 0) ? infinity : 0.0F;
  } else if (x < 0 && !whole) {
    return std::numeric_limits<float>::quiet_NaN();
  } else if (y == 0.5F) {
    result = std::sqrt(a);
  } else {
    result = static_cast<float>(exp_f64(static_cast<double>(y) * log_f64(a)));
  }
  return odd && std::signbit(x) ? -result : result;
}

float sin_f32(float x) {
  if (x == 0.0F) return x;  // with its sign
  return std::isfinite(x) ? static_cast<float>(sin_of(x, 0)) : kNan;
}
float cos_f32(float x) { return std::isfinite(x) ? static_cast<float>(sin_of(x, 1)) : kNan; }
float tan_f32(float x) {
  if (x == 0.0F) return x;
  return std::isfinite(x) ? static_cast<float>(sin_of(x, 0) / sin_of(x, 1)) : kNan;
}

float atan_f32(float x) { return static_cast<float>(atan_f64(x)); }
// The square root is NaN beyond 1, and 0 at 1.
float asin_f32(float x) {
  const double d = x;
  return static_cast<float>(atan_f64(d / std::sqrt((1.0 - d) * (1.0 + d))));
}
float acos_f32(float x) {
  const double d = x;
  return static_cast<float>(kHalfPi - atan_f64(d / std::sqrt((1.0 - d) * (1.0 + d))));
}

float sinh_f32(float x) {
  if (near_zero(x)) return odd_series(x, 1.0 / 6, 1.0 / 120, 1.0 / 5040);
  return static_cast<float>(0.5 * exp_f64(x) - 0.5 * exp_f64(-x));
}
float cosh_f32(float x) { return static_cast<float>(0.5 * exp_f64(x) + 0.5 * exp_f64(-x)); }

float asinh_f32(float x) {
  if (near_zero(x)) return odd_series(x, -1.0 / 6, 3.0 / 40, -15.0 / 336);
  if (!std::isfinite(x)) return x;
  const double a = std::fabs(static_cast<double>(x));
  return static_cast<float>(
      std::copysign(log_f64(a + std::sqrt(a * a + 1.0)), static_cast<double>(x)));
}
float acosh_f32(float x) {
  if (!(x >= 1.0F)) return kNan;
  if (std::isinf(x)) return x;
  const double d = x;
  return static_cast<float>(log_f64(d + std::sqrt((d - 1.0) * (d + 1.0))));
}
float atanh_f32(float x) {
  if (near_zero(x)) return odd_series(x, 1.0 / 3, 1.0 / 5, 1.0 / 7);
  const double a = std::fabs(static_cast<double>(x));
  if (!(a < 1.0)) return a == 1.0 ? std::copysign(std::numeric_limits<float>::infinity(), x) : kNan;
  return static_cast<float>(
      std::copysign(0.5 * log_f64((1.0 + a) / (1.0 - a)), static_cast<double>(x)));
}

}  // namespace octavo::kernels
