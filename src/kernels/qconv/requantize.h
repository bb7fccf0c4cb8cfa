// The epilogue of integer kernels: 32-bit sums to codes.
//
//   y = clamp(rint(f32(acc) * scale) + zero, lo, hi), ties to even
//
// Source: ONNX Runtime, MlasRequantizeOutput; FBGEMM's requantization gives the same.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <span>

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

// What the sum over one channel's weights starts with, so that kernels can sum raw codes.
struct ChannelStart {
  std::int32_t bias;            // own - zero_x * sum(w), modulo 2^32 like the sums
  bool bounded;                 // |acc * scale| stays below 2^22 for every input
  std::int64_t sum, magnitude;  // of the weights, and of their magnitudes
};
inline ChannelStart channel_start(std::span<const std::int8_t> weights, std::int64_t own,
                                  std::int32_t zero_x, float scale) {
  std::int64_t sum = 0;
  std::int64_t magnitude = 0;
  // A session reads every weight here: by 16, in pieces whose sums fit into 32 bits.
  constexpr std::size_t kPiece = 1 << 16;
  while (weights.size() >= 16) {
    v128_t sums = wasm_i32x4_splat(0);
    v128_t magnitudes = sums;
    std::size_t i = 0;
    for (; i + 16 <= std::min(kPiece, weights.size()); i += 16) {
      const v128_t w = wasm_v128_load(weights.data() + i);
      sums = wasm_i32x4_add(sums,
                            wasm_i32x4_extadd_pairwise_i16x8(wasm_i16x8_extadd_pairwise_i8x16(w)));
      // |w|, 128 for -128: what stands for the abs instruction natively may not negate that.
      const v128_t sign = wasm_i8x16_shr(w, 7);
      const v128_t size = wasm_i8x16_sub(wasm_v128_xor(w, sign), sign);
      magnitudes = wasm_i32x4_add(
          magnitudes, wasm_u32x4_extadd_pairwise_u16x8(wasm_u16x8_extadd_pairwise_u8x16(size)));
    }
    std::int32_t lanes[8];
    wasm_v128_store(lanes, sums);
    wasm_v128_store(lanes + 4, magnitudes);
    for (int lane = 0; lane < 4; ++lane) {
      sum += lanes[lane];
      magnitude += lanes[4 + lane];
    }
    weights = weights.subspan(i);
  }
  for (const std::int64_t w : weights) {
    sum += w;
    magnitude += std::abs(w);
  }
  const double largest = static_cast<double>(255 * magnitude) + std::abs(static_cast<double>(own));
  return {static_cast<std::int32_t>(static_cast<std::uint64_t>(own - zero_x * sum)),
          largest < 2147483648.0 && largest * std::abs(static_cast<double>(scale)) <
                                        static_cast<double>(kRoundMagicLimit) - 1.0,
          sum, magnitude};
}

// What ends a code: the narrowing's own saturation where [lo, hi] is all of the type, as nearly
// always; else bounds of codes that are made as unsigned ones, 128 higher where they are signed,
// with the top bit flipped after the clamp. So one loop serves both signs.
enum class CodeEnds : std::uint8_t { kUint8, kInt8, kClamped };

struct RoundingVectors {
  v128_t magic, magic_minus_zero;
};

struct RequantizeVectors {
  RoundingVectors rounding;
  v128_t low, high, lo_codes, hi_codes, flip;
  CodeEnds ends;

  // `narrows`: sums stay in range for the narrowing; else they are clamped.
  static RequantizeVectors make(const Requantize& r, bool is_signed, bool narrows = true) {
    const bool whole =
        narrows && (is_signed ? r.lo == kLowest<std::int8_t> && r.hi == kHighest<std::int8_t>
                              : r.lo == kLowest<std::uint8_t> && r.hi == kHighest<std::uint8_t>);
    const std::int32_t shift = is_signed && !whole ? 128 : 0;
    return {{simd::from_memory(wasm_f32x4_splat(kRoundMagic)),
             wasm_i32x4_splat(kRoundMagicBits - r.zero - shift)},
            wasm_f32x4_splat(static_cast<float>(r.lo - r.zero)),
            wasm_f32x4_splat(static_cast<float>(r.hi - r.zero)),
            splat_code<std::uint8_t>(r.lo + shift),
            splat_code<std::uint8_t>(r.hi + shift),
            wasm_i8x16_splat(static_cast<std::int8_t>(-shift)),
            !whole      ? CodeEnds::kClamped
            : is_signed ? CodeEnds::kInt8
                        : CodeEnds::kUint8};
  }
};

// Four sums to four 32-bit codes, |acc * scale| < 2^22; lo / hi are left to the narrowing and the
// clamp of the narrowed codes.
inline v128_t requantize4(v128_t acc, v128_t scale, const RoundingVectors& k) {
  const v128_t t = wasm_f32x4_mul(wasm_f32x4_convert_i32x4(acc), scale);
  return wasm_i32x4_sub(wasm_f32x4_add(t, k.magic), k.magic_minus_zero);
}

// Eight sums to eight 16-bit codes, to be narrowed by narrow_codes(). kBounded: as above.
template <bool kBounded>
inline v128_t requantize8(v128_t acc0, v128_t acc1, v128_t scale0, v128_t scale1,
                          const RequantizeVectors& k) {
  if constexpr (kBounded) {
    return wasm_i16x8_narrow_i32x4(requantize4(acc0, scale0, k.rounding),
                                   requantize4(acc1, scale1, k.rounding));
  }
  const auto clamped4 = [&k](v128_t acc, v128_t scale) {
    const v128_t t =
        clamp_lanes(wasm_f32x4_mul(wasm_f32x4_convert_i32x4(acc), scale), k.low, k.high);
    return wasm_i32x4_sub(wasm_f32x4_add(t, k.rounding.magic), k.rounding.magic_minus_zero);
  };
  return wasm_i16x8_narrow_i32x4(clamped4(acc0, scale0), clamped4(acc1, scale1));
}

// For CodeEnds::kClamped.
inline v128_t clamp_codes(v128_t codes, const RequantizeVectors& k) {
  return wasm_v128_xor(wasm_u8x16_min(wasm_u8x16_max(codes, k.lo_codes), k.hi_codes), k.flip);
}

inline v128_t narrow_codes(v128_t a, v128_t b, const RequantizeVectors& k) {
  if (k.ends == CodeEnds::kUint8) return wasm_u8x16_narrow_i16x8(a, b);
  if (k.ends == CodeEnds::kInt8) return wasm_i8x16_narrow_i16x8(a, b);
  return clamp_codes(wasm_u8x16_narrow_i16x8(a, b), k);
}

}  // namespace octavo::kernels
