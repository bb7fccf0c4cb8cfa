// lanes: the same f32 arithmetic on one float and on four.
//
// A formula written once over a Lanes type gives the same bits in every row: both types offer only
// operations that IEEE 754 defines exactly (no fused multiply-add, no approximations), and a tail
// runs the scalar type.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "simd/isa.h"

namespace octavo::kernels {

struct ScalarLanes {
  static constexpr std::size_t kCount = 1;
  using F = float;
  using I = std::int32_t;
  using Mask = bool;

  static F load(const float* p) { return *p; }
  static void store(float* p, F v) { *p = v; }
  static F splat(float v) { return v; }
  static I splat_int(std::int32_t v) { return v; }

  static F add(F a, F b) { return a + b; }
  static F sub(F a, F b) { return a - b; }
  static F mul(F a, F b) { return a * b; }
  static F div(F a, F b) { return a / b; }
  static F sqrt(F a) { return std::sqrt(a); }
  static F neg(F a) { return -a; }
  static F abs(F a) { return std::fabs(a); }
  // b < a ? b : a and a < b ? b : a: the first operand where one is NaN.
  static F min(F a, F b) { return b < a ? b : a; }
  static F max(F a, F b) { return a < b ? b : a; }
  static F floor(F a) { return std::floor(a); }
  static F ceil(F a) { return std::ceil(a); }
  static F nearest(F a) { return std::nearbyint(a); }

  static Mask lt(F a, F b) { return a < b; }
  static Mask ge(F a, F b) { return a >= b; }
  static Mask eq(F a, F b) { return a == b; }
  static Mask either(Mask a, Mask b) { return a || b; }
  static F select(Mask mask, F yes, F no) { return mask ? yes : no; }

  static I bits(F a) { return std::bit_cast<std::int32_t>(a); }
  static F from_bits(I a) { return std::bit_cast<float>(a); }
  static F to_float(I a) { return static_cast<float>(a); }
  // Modulo 2^32, as the vector operations are.
  static I add_int(I a, I b) {
    return static_cast<I>(static_cast<std::uint32_t>(a) + static_cast<std::uint32_t>(b));
  }
  static I sub_int(I a, I b) {
    return static_cast<I>(static_cast<std::uint32_t>(a) - static_cast<std::uint32_t>(b));
  }
  template <int kBits>
  static I shl(I a) {
    return static_cast<I>(static_cast<std::uint32_t>(a) << kBits);
  }
  template <int kBits>
  static I sar(I a) {
    return a >> kBits;
  }
};

struct SimdLanes {
  static constexpr std::size_t kCount = 4;
  using F = v128_t;
  using I = v128_t;
  using Mask = v128_t;

  static F load(const float* p) { return wasm_v128_load(p); }
  static void store(float* p, F v) { wasm_v128_store(p, v); }
  static F splat(float v) { return wasm_f32x4_splat(v); }
  static I splat_int(std::int32_t v) { return wasm_i32x4_splat(v); }

  static F add(F a, F b) { return wasm_f32x4_add(a, b); }
  static F sub(F a, F b) { return wasm_f32x4_sub(a, b); }
  static F mul(F a, F b) { return wasm_f32x4_mul(a, b); }
  static F div(F a, F b) { return wasm_f32x4_div(a, b); }
  static F sqrt(F a) { return wasm_f32x4_sqrt(a); }
  static F neg(F a) { return wasm_f32x4_neg(a); }
  static F abs(F a) { return wasm_f32x4_abs(a); }
  static F min(F a, F b) { return wasm_f32x4_pmin(a, b); }
  static F max(F a, F b) { return wasm_f32x4_pmax(a, b); }
  static F floor(F a) { return wasm_f32x4_floor(a); }
  static F ceil(F a) { return wasm_f32x4_ceil(a); }
  static F nearest(F a) { return wasm_f32x4_nearest(a); }

  static Mask lt(F a, F b) { return wasm_f32x4_lt(a, b); }
  static Mask ge(F a, F b) { return wasm_f32x4_ge(a, b); }
  static Mask eq(F a, F b) { return wasm_f32x4_eq(a, b); }
  static Mask either(Mask a, Mask b) { return wasm_v128_or(a, b); }
  static F select(Mask mask, F yes, F no) { return wasm_v128_bitselect(yes, no, mask); }

  static I bits(F a) { return a; }
  static F from_bits(I a) { return a; }
  static F to_float(I a) { return wasm_f32x4_convert_i32x4(a); }
  static I add_int(I a, I b) { return wasm_i32x4_add(a, b); }
  static I sub_int(I a, I b) { return wasm_i32x4_sub(a, b); }
  template <int kBits>
  static I shl(I a) {
    return wasm_i32x4_shl(a, kBits);
  }
  template <int kBits>
  static I sar(I a) {
    return wasm_i32x4_shr(a, kBits);
  }
};

}  // namespace octavo::kernels
