// math: exp, log, tanh, sigmoid, erf, pow, trigonometric and hyperbolic functions of our own.
//
// libm differs from one library to the next in the last bit; these use only operations that IEEE
// 754 defines exactly, in a fixed order, so native, wasm, scalar and vector builds return the same
// bits. Largest error against the true value, in units of the last place of the f32 result
// (tests/kernels/felementwise/math_test.cpp measures it):
//
//   exp 1, log 0.9, tanh 1.5, sigmoid 2.2; all others 0.51 (sin, cos and tan for |x| <= 1e6)
//
// The functions over Lanes (lanes.h) are f32; the others compute in double and round once.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/felementwise/lanes.h"

namespace octavo::kernels {

// e^x. Above 88.7228 infinity, below -103.97 zero, NaN stays NaN.
template <class L>
typename L::F exp_f32(typename L::F x) {
  using F = typename L::F;
  // x = n ln 2 + r, |r| <= ln(2) / 2. Adding 1.5 * 2^23 rounds to an integer and leaves it in the
  // low bits.
  const F magic = L::splat(12582912.0F);
  const F clamped = L::max(L::splat(-104.0F), L::min(L::splat(89.0F), x));
  const F shifted = L::add(L::mul(clamped, L::splat(0x1.715476p+0F)), magic);
  const F n = L::sub(shifted, magic);
  F r =
      L::sub(clamped, L::mul(n, L::splat(0x1.62ep-1F)));  // 12 bits of ln 2: n times them is exact
  r = L::sub(r, L::mul(n, L::splat(0x1.0bfbe8p-15F)));
  // Taylor: the first term left out is below 5e-9.
  F p = L::splat(1.0F / 5040.0F);
  p = L::add(L::mul(p, r), L::splat(1.0F / 720.0F));
  p = L::add(L::mul(p, r), L::splat(1.0F / 120.0F));
  p = L::add(L::mul(p, r), L::splat(1.0F / 24.0F));
  p = L::add(L::mul(p, r), L::splat(1.0F / 6.0F));
  p = L::add(L::mul(p, r), L::splat(0.5F));
  p = L::add(L::mul(L::mul(p, r), r), r);
  p = L::add(p, L::splat(1.0F));
  // 2^n in two factors: n reaches from -150 to 129.
  const auto exponent = L::sub_int(L::bits(shifted), L::splat_int(0x4B400000));
  const auto half = L::template sar<1>(exponent);
  const auto bias = L::splat_int(127);
  const F scale1 = L::from_bits(L::template shl<23>(L::add_int(half, bias)));
  const F scale2 = L::from_bits(L::template shl<23>(L::add_int(L::sub_int(exponent, half), bias)));
  const F result = L::mul(L::mul(p, scale1), scale2);
  return L::select(L::eq(x, x), result, x);
}

// Natural logarithm. log(0) = -infinity, NaN below 0.
template <class L>
typename L::F log_f32(typename L::F x) {
  using F = typename L::F;
  const auto tiny = L::lt(x, L::splat(0x1p-126F));
  const F normal = L::select(tiny, L::mul(x, L::splat(0x1p23F)), x);
  // normal = 2^e * m, sqrt(1/2) <= m < sqrt(2).
  const auto sqrt_half = L::splat_int(0x3F3504F3);
  const auto exponent = L::template sar<23>(L::sub_int(L::bits(normal), sqrt_half));
  const F m = L::from_bits(L::sub_int(L::bits(normal), L::template shl<23>(exponent)));
  const F e = L::sub(L::to_float(exponent), L::select(tiny, L::splat(23.0F), L::splat(0.0F)));
  // log(m) = 2 atanh(s), s = (m - 1) / (m + 1); written as f - s * (f - s^2 * series) to keep f = m
  // - 1 exact.
  const F f = L::sub(m, L::splat(1.0F));
  const F s = L::div(f, L::add(f, L::splat(2.0F)));
  const F z = L::mul(s, s);
  F p = L::splat(2.0F / 11.0F);
  p = L::add(L::mul(p, z), L::splat(2.0F / 9.0F));
  p = L::add(L::mul(p, z), L::splat(2.0F / 7.0F));
  p = L::add(L::mul(p, z), L::splat(2.0F / 5.0F));
  p = L::add(L::mul(p, z), L::splat(2.0F / 3.0F));
  p = L::mul(p, z);
  const F low = L::add(L::mul(e, L::splat(0x1.0bfbe8p-15F)), L::mul(s, L::sub(p, f)));
  F result = L::add(L::mul(e, L::splat(0x1.62ep-1F)), L::add(f, low));
  const F infinity = L::splat(std::numeric_limits<float>::infinity());
  result = L::select(L::eq(x, infinity), infinity, result);
  result = L::select(L::eq(x, L::splat(0.0F)), L::neg(infinity), result);
  const auto valid = L::ge(x, L::splat(0.0F));
  return L::select(valid, result, L::splat(std::numeric_limits<float>::quiet_NaN()));
}

template <class L>
typename L::F tanh_f32(typename L::F x) {
  using F = typename L::F;
  const F one = L::splat(1.0F);
  const F a = L::abs(x);
  // Small |x|: Taylor, for 1 - 2 / (e^2x + 1) cancels there.
  const F z = L::mul(x, x);
  F p = L::splat(static_cast<float>(6404582.0 / 10854718875.0));
  p = L::add(L::mul(p, z), L::splat(static_cast<float>(-929569.0 / 638512875.0)));
  p = L::add(L::mul(p, z), L::splat(static_cast<float>(21844.0 / 6081075.0)));
  p = L::add(L::mul(p, z), L::splat(static_cast<float>(-1382.0 / 155925.0)));
  p = L::add(L::mul(p, z), L::splat(static_cast<float>(62.0 / 2835.0)));
  p = L::add(L::mul(p, z), L::splat(static_cast<float>(-17.0 / 315.0)));
  p = L::add(L::mul(p, z), L::splat(static_cast<float>(2.0 / 15.0)));
  p = L::add(L::mul(p, z), L::splat(static_cast<float>(-1.0 / 3.0)));
  const F small = L::add(x, L::mul(x, L::mul(p, z)));
  const F e = exp_f32<L>(L::add(a, a));
  const F large = L::sub(one, L::div(L::splat(2.0F), L::add(e, one)));
  const F signed_large = L::select(L::lt(x, L::splat(0.0F)), L::neg(large), large);
  return L::select(L::lt(a, L::splat(0.55F)), small, signed_large);
}

// 1 / (1 + e^-x), computed as e^x / (1 + e^x) below zero so that small results keep their bits.
template <class L>
typename L::F sigmoid_f32(typename L::F x) {
  using F = typename L::F;
  const F one = L::splat(1.0F);
  const F e = exp_f32<L>(L::neg(L::abs(x)));
  const auto negative = L::lt(x, L::splat(0.0F));
  return L::div(L::select(negative, e, one), L::add(one, e));
}

// log(1 + e^x) = max(x, 0) + log(1 + e^-|x|).
template <class L>
typename L::F softplus_f32(typename L::F x) {
  const auto e = exp_f32<L>(L::neg(L::abs(x)));
  return L::add(L::max(x, L::splat(0.0F)), log_f32<L>(L::add(L::splat(1.0F), e)));
}

// In double, within a few of its last places; the arguments of the formulas below never leave the
// normal range.
constexpr double exp_f64(double x) {
  if (x != x) return x;
  if (x > 709.0) return std::numeric_limits<double>::infinity();
  if (x < -708.0) return 0.0;
  const double scaled = x * 1.4426950408889634;
  const auto n = static_cast<std::int64_t>(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
  const double r = (x - static_cast<double>(n) * 0x1.62e42feep-1) -
                   static_cast<double>(n) * 0x1.a39ef35793c76p-33;
  double p = 1.0;
  for (int k = 14; k > 0; --k) p = 1.0 + p * r / k;
  return p * std::bit_cast<double>(static_cast<std::uint64_t>(n + 1023) << 52);
}
constexpr double log_f64(double x) {  // x > 0, finite, normal
  const auto bits = std::bit_cast<std::uint64_t>(x);
  auto e = static_cast<int>(bits >> 52) - 1023;
  double m = std::bit_cast<double>((bits & 0xFFFFFFFFFFFFFULL) | 0x3FF0000000000000ULL);
  if (m > 1.4142135623730951) {
    m *= 0.5;
    ++e;
  }
  const double s = (m - 1.0) / (m + 1.0);
  const double z = s * s;
  double p = 0.0;
  for (int k = 23; k > 0; k -= 2) p = 1.0 / k + z * p;
  return e * 0x1.62e42feep-1 + (2.0 * s * p + e * 0x1.a39ef35793c76p-33);
}

float erf_f32(float x);
// C's pow: negative bases only with whole exponents (else NaN), pow(x, 0) = pow(1, y) = 1.
float pow_f32(float x, float y);
float sin_f32(float x);
float cos_f32(float x);
float tan_f32(float x);
// NaN where the function has no real value, as C's.
float asin_f32(float x);
float acos_f32(float x);
float atan_f32(float x);
float sinh_f32(float x);
float cosh_f32(float x);
float asinh_f32(float x);
float acosh_f32(float x);
float atanh_f32(float x);

}  // namespace octavo::kernels
