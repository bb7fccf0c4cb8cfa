// The relaxed instructions, per engine class.
//
//   relaxed_dot<C>(w, x, acc)[i]  = acc[i] + sum over j < 4 of w[4i + j] * x[4i + j]
//   relaxed_pair_dot<C>(w, x)[i]  = sum over j < 2 of w[2i + j] * x[2i + j], 16-bit lanes
//   relaxed_madd(a, b, c)[i]      = a[i] * b[i] + c[i] in f32, rounded once or twice
//   relaxed_fma(a, b, c)[i]       = the same, for machines that round once
//
// w holds signed bytes. x holds signed bytes for the classes SDOT and WRAP, unsigned ones for USDOT
// and MADDUBS. In a relaxed module it is one instruction, and C only says what the caller knows
// about the machine. Natively it is a model: MADDUBS saturates each sum of two products to 16 bits,
// WRAP wraps it (KERNELS: relaxed-simd proposal, Overview). relaxed_madd is modelled as two
// roundings.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "simd/isa.h"

namespace octavo::simd {

template <EngineClass kClass>
inline v128_t relaxed_dot(v128_t w, v128_t x, v128_t acc) {
#if defined(__wasm_relaxed_simd__)
  return wasm_i32x4_relaxed_dot_i8x16_i7x16_add(w, x, acc);
#else
  std::int8_t signed_w[16];
  std::uint8_t bytes_x[16];
  std::int32_t sums[4];
  std::memcpy(signed_w, &w, 16);
  std::memcpy(bytes_x, &x, 16);
  std::memcpy(sums, &acc, 16);
  constexpr bool kUnsigned = kClass == EngineClass::kUsdot || kClass == EngineClass::kMaddubs;
  const auto product = [&](int i) {
    const int value = kUnsigned ? bytes_x[i] : static_cast<std::int8_t>(bytes_x[i]);
    return signed_w[i] * value;
  };
  for (int lane = 0; lane < 4; ++lane) {
    std::int32_t sum = 0;
    for (int pair = 0; pair < 2; ++pair) {
      std::int32_t two = product(4 * lane + 2 * pair) + product(4 * lane + 2 * pair + 1);
      if constexpr (kClass == EngineClass::kMaddubs) two = std::clamp(two, -32768, 32767);
      if constexpr (kClass == EngineClass::kWrap) two = static_cast<std::int16_t>(two);
      sum += two;
    }
    sums[lane] = static_cast<std::int32_t>(static_cast<std::uint32_t>(sums[lane]) +
                                           static_cast<std::uint32_t>(sum));
  }
  v128_t out;
  std::memcpy(&out, sums, 16);
  return out;
#endif
}

template <EngineClass kClass>
inline v128_t relaxed_pair_dot(v128_t w, v128_t x) {
  static_assert(kClass == EngineClass::kMaddubs);  // the only class whose rows use it
#if defined(__wasm_relaxed_simd__)
  return wasm_i16x8_relaxed_dot_i8x16_i7x16(w, x);
#else
  std::int8_t signed_w[16];
  std::uint8_t bytes_x[16];
  std::int16_t sums[8];
  std::memcpy(signed_w, &w, 16);
  std::memcpy(bytes_x, &x, 16);
  for (int i = 0; i < 8; ++i) {
    const int sum = signed_w[2 * i] * bytes_x[2 * i] + signed_w[2 * i + 1] * bytes_x[2 * i + 1];
    sums[i] = static_cast<std::int16_t>(std::clamp(sum, -32768, 32767));
  }
  v128_t out;
  std::memcpy(&out, sums, 16);
  return out;
#endif
}

inline v128_t relaxed_madd(v128_t a, v128_t b, v128_t c) {
#if defined(__wasm_relaxed_simd__)
  return wasm_f32x4_relaxed_madd(a, b, c);
#else
  return wasm_f32x4_add(wasm_f32x4_mul(a, b), c);
#endif
}

// relaxed_madd where it rounds once; natively always so, as machines with fused products are
// modelled.
inline v128_t relaxed_fma(v128_t a, v128_t b, v128_t c) {
#if defined(__wasm_relaxed_simd__)
  return wasm_f32x4_relaxed_madd(a, b, c);
#else
  float x[4];
  float y[4];
  float z[4];
  wasm_v128_store(x, a);
  wasm_v128_store(y, b);
  wasm_v128_store(z, c);
  for (int i = 0; i < 4; ++i) z[i] = std::fma(x[i], y[i], z[i]);
  return wasm_v128_load(z);
#endif
}

// Whether relaxed_fma rounds once here: (1 + 2^-12)^2 - (1 + 2^-11) is 2^-24, or 0.
inline bool rounds_products_once() {
  volatile float factor = 1.000244140625F;  // volatile: for the machine to answer
  volatile float less = -1.00048828125F;
  const v128_t product =
      relaxed_fma(wasm_f32x4_splat(factor), wasm_f32x4_splat(factor), wasm_f32x4_splat(less));
  return wasm_f32x4_extract_lane(product, 0) != 0;
}

// a * b + c in f32: rounded twice, or as relaxed_madd does.
template <bool kFused>
inline v128_t multiply_add(v128_t a, v128_t b, v128_t c) {
  if constexpr (kFused) return relaxed_madd(a, b, c);
  return wasm_f32x4_add(c, wasm_f32x4_mul(a, b));
}

// table[index[i]] for index lanes below 16 or of 128 and more (these give 0): there every engine
// gives the same, so no class is asked. Other indexes are the caller's error.
inline v128_t relaxed_swizzle(v128_t table, v128_t index) {
#if defined(__wasm_relaxed_simd__)
  return wasm_i8x16_relaxed_swizzle(table, index);
#else
  return wasm_i8x16_swizzle(table, index);
#endif
}

}  // namespace octavo::simd
