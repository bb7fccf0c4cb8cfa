// codes: sixteen 8-bit codes as four vectors of four 32-bit lanes and back, for rows that compute
// in f32.
#pragma once

#include <cstdint>
#include <limits>
#include <type_traits>

#include "simd/isa.h"

namespace octavo::kernels {

template <class Code>
inline constexpr std::int32_t kLowest = std::numeric_limits<Code>::min();
template <class Code>
inline constexpr std::int32_t kHighest = std::numeric_limits<Code>::max();

// Adding it to a float of magnitude below 2^22 rounds to an integer, ties to even, kept in the low
// bits of the sum.
inline constexpr float kRoundMagic = 12582912.0F;  // 1.5 * 2^23
inline constexpr std::int32_t kRoundMagicBits = 0x4B400000;
inline constexpr float kRoundMagicLimit = 4194304.0F;  // 2^22

// Four codes at p as i32 lanes are part j of load16().
template <class Code>
struct Codes16 {
  v128_t part[4];
};

template <class Code>
inline v128_t extend8(const Code* p) {  // 8 codes -> 8 i16
  if constexpr (std::is_signed_v<Code>) {
    return wasm_i16x8_load8x8(p);
  } else {
    return wasm_u16x8_load8x8(p);
  }
}

template <class Code>
inline v128_t extend_low8(v128_t codes) {
  if constexpr (std::is_signed_v<Code>) {
    return wasm_i16x8_extend_low_i8x16(codes);
  } else {
    return wasm_u16x8_extend_low_u8x16(codes);
  }
}
template <class Code>
inline v128_t extend_high8(v128_t codes) {
  if constexpr (std::is_signed_v<Code>) {
    return wasm_i16x8_extend_high_i8x16(codes);
  } else {
    return wasm_u16x8_extend_high_u8x16(codes);
  }
}

// Sixteen codes of a vector.
template <class Code>
inline Codes16<Code> split16(v128_t codes) {
  const v128_t low = extend_low8<Code>(codes);
  const v128_t high = extend_high8<Code>(codes);
  return {{wasm_i32x4_extend_low_i16x8(low), wasm_i32x4_extend_high_i16x8(low),
           wasm_i32x4_extend_low_i16x8(high), wasm_i32x4_extend_high_i16x8(high)}};
}

template <class Code>
inline Codes16<Code> load16(const Code* p) {
  const v128_t low = extend8(p);
  const v128_t high = extend8(p + 8);
  return {{wasm_i32x4_extend_low_i16x8(low), wasm_i32x4_extend_high_i16x8(low),
           wasm_i32x4_extend_low_i16x8(high), wasm_i32x4_extend_high_i16x8(high)}};
}

// Saturating: lanes beyond the code's range give its ends.
template <class Code>
inline v128_t narrow16(v128_t a, v128_t b, v128_t c, v128_t d) {
  const v128_t low = wasm_i16x8_narrow_i32x4(a, b);
  const v128_t high = wasm_i16x8_narrow_i32x4(c, d);
  if constexpr (std::is_signed_v<Code>) {
    return wasm_i8x16_narrow_i16x8(low, high);
  } else {
    return wasm_u8x16_narrow_i16x8(low, high);
  }
}

template <class Code>
inline v128_t splat_code(std::int32_t code) {
  return wasm_i8x16_splat(static_cast<std::int8_t>(code));
}
template <class Code>
inline v128_t max_codes(v128_t a, v128_t b) {
  if constexpr (std::is_signed_v<Code>) {
    return wasm_i8x16_max(a, b);
  } else {
    return wasm_u8x16_max(a, b);
  }
}
template <class Code>
inline v128_t min_codes(v128_t a, v128_t b) {
  if constexpr (std::is_signed_v<Code>) {
    return wasm_i8x16_min(a, b);
  } else {
    return wasm_u8x16_min(a, b);
  }
}

// rint(t) as i32 lanes, for |t| < 2^22.
inline v128_t round_to_int(v128_t t) {
  return wasm_i32x4_sub(wasm_f32x4_add(t, wasm_f32x4_splat(kRoundMagic)),
                        wasm_i32x4_splat(kRoundMagicBits));
}
// t within [lo, hi], NaN as lo.
inline v128_t clamp_lanes(v128_t t, v128_t lo, v128_t hi) {
  return wasm_f32x4_pmin(wasm_f32x4_pmax(lo, t), hi);
}

// rint(t) within [lo, hi] (lo, hi integers below 2^22), NaN as lo.
inline std::int32_t round_clamped(float t, float lo, float hi) {
  const float low = lo < t ? t : lo;
  const float both = hi < low ? hi : low;
  // One addition and one subtraction round to an integer, exactly as rint for this range.
  return static_cast<std::int32_t>((both + kRoundMagic) - kRoundMagic);
}

}  // namespace octavo::kernels
