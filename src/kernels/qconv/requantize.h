// The epilogue of integer kernels: 32-bit sums to codes.
//
//   y = clamp(rint(f32(acc) * scale) + zero, lo, hi), ties to even
//
// Source: ONNX Runtime, MlasRequantizeOutput; FBGEMM's requantization gives the same.
#pragma once

#include <cstdint>

#include "kernels/codes.h"
#include "simd/isa.h"

namespace octavo::kernels {

struct Requantize {
  std::int32_t zero, lo, hi;
};

inline std::int32_t requantize_one(std::int32_t acc, float scale, const Requantize& r) {
  return round_clamped(static_cast<float>(acc) * scale, static_cast<float>(r.lo - r.zero),
                       static_cast<float>(r.hi - r.zero)) +
         r.zero;
}

// Vectors of the constants; in memory, or else LLVM rematerializes constants at every use.
struct RequantizeVectors {
  v128_t magic, magic_minus_zero, low, high, lo_codes, hi_codes;

  template <class Code>
  static RequantizeVectors make(const Requantize& r) {
    return {wasm_f32x4_splat(kRoundMagic),
            wasm_i32x4_splat(kRoundMagicBits - r.zero),
            wasm_f32x4_splat(static_cast<float>(r.lo - r.zero)),
            wasm_f32x4_splat(static_cast<float>(r.hi - r.zero)),
            splat_code<Code>(r.lo),
            splat_code<Code>(r.hi)};
  }
};

// Four sums to four 32-bit codes. kBounded: |acc * scale| < 2^22, and lo / hi are left to the
// narrowing and the clamp of the narrowed codes.
template <bool kBounded>
inline v128_t requantize4(v128_t acc, v128_t scale, const RequantizeVectors& k) {
  v128_t t = wasm_f32x4_mul(wasm_f32x4_convert_i32x4(acc), scale);
  if constexpr (!kBounded) t = clamp_lanes(t, k.low, k.high);
  return wasm_i32x4_sub(wasm_f32x4_add(t, k.magic), k.magic_minus_zero);
}

}  // namespace octavo::kernels
