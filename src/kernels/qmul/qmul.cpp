#include "kernels/qmul/qmul.h"

#include <array>
#include <cmath>

#include "kernels/codes.h"

namespace octavo::kernels {

QMulParams make_qmul_params(Grid a, Grid b, Grid out, std::int32_t lo, std::int32_t hi) {
  return {a.zero_point, b.zero_point, out.zero_point, a.scale * b.scale / out.scale, lo, hi};
}

namespace {

template <class Code>
Code mul_one(Code a, Code b, const QMulParams& p) {
  const std::int32_t product =
      (static_cast<std::int32_t>(a) - p.zero_a) * (static_cast<std::int32_t>(b) - p.zero_b);
  const float scaled =
      static_cast<float>(product) * p.ratio + static_cast<float>(p.zero_out - p.moved);
  return static_cast<Code>(round_clamped(scaled, static_cast<float>(p.lo - p.moved),
                                         static_cast<float>(p.hi - p.moved)) +
                           p.moved);
}

template <class Code>
void mul_scalar(const Code* a, const Code* b, Code* out, std::size_t n, const QMulParams& params) {
  const QMulParams p = params;
  for (std::size_t i = 0; i < n; ++i) out[i] = mul_one(a[i], b[i], p);
}

// kBounded: every result is below 2^22, so it rounds without a clamp and the narrowing saturates.
template <class Code, bool kBounded>
void mul_simd(const Code* a, const Code* b, Code* out, std::size_t n, const QMulParams& p) {
  const v128_t zero_a = wasm_i16x8_splat(static_cast<std::int16_t>(p.zero_a));
  const v128_t zero_b = wasm_i16x8_splat(static_cast<std::int16_t>(p.zero_b));
  const v128_t ratio = wasm_f32x4_splat(p.ratio);
  const v128_t zero_out = wasm_f32x4_splat(static_cast<float>(p.zero_out - p.moved));
  const v128_t lo = wasm_f32x4_splat(static_cast<float>(p.lo - p.moved));
  const v128_t hi = wasm_f32x4_splat(static_cast<float>(p.hi - p.moved));
  const v128_t bits = wasm_i32x4_splat(kRoundMagicBits - p.moved);
  const v128_t lo_code = splat_code<Code>(p.lo);
  const v128_t hi_code = splat_code<Code>(p.hi);
  const auto round = [&](v128_t product) {
    v128_t t = wasm_f32x4_add(wasm_f32x4_mul(wasm_f32x4_convert_i32x4(product), ratio), zero_out);
    if constexpr (!kBounded) t = clamp_lanes(t, lo, hi);
    return wasm_i32x4_sub(wasm_f32x4_add(t, wasm_f32x4_splat(kRoundMagic)), bits);
  };
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const v128_t x0 = wasm_i16x8_sub(extend8(a + i), zero_a);
    const v128_t x1 = wasm_i16x8_sub(extend8(a + i + 8), zero_a);
    const v128_t y0 = wasm_i16x8_sub(extend8(b + i), zero_b);
    const v128_t y1 = wasm_i16x8_sub(extend8(b + i + 8), zero_b);
    const v128_t codes = narrow16<Code>(
        round(wasm_i32x4_extmul_low_i16x8(x0, y0)), round(wasm_i32x4_extmul_high_i16x8(x0, y0)),
        round(wasm_i32x4_extmul_low_i16x8(x1, y1)), round(wasm_i32x4_extmul_high_i16x8(x1, y1)));
    wasm_v128_store(out + i, min_codes<Code>(max_codes<Code>(codes, lo_code), hi_code));
  }
  for (; i < n; ++i) out[i] = mul_one(a[i], b[i], p);
}

template <class Code>
void mul_simd128(const Code* a, const Code* b, Code* out, std::size_t n, const QMulParams& params) {
  const QMulParams p = params;
  if (65025.0F * std::fabs(p.ratio) + 255.0F < kRoundMagicLimit / 2) {
    mul_simd<Code, true>(a, b, out, n, p);
  } else {
    mul_simd<Code, false>(a, b, out, n, p);
  }
}

constexpr auto kKernels = std::to_array<QMulKernel>({
    {"qmul/scalar", simd::Level::kScalar, &mul_scalar<std::uint8_t>, &mul_scalar<std::int8_t>},
    {"qmul/simd128", simd::Level::kSimd128, &mul_simd128<std::uint8_t>, &mul_simd128<std::int8_t>},
});

}  // namespace

std::span<const QMulKernel> qmul_kernels() { return kKernels; }

}  // namespace octavo::kernels
