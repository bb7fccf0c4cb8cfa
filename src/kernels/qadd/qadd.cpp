#include "kernels/qadd/qadd.h"

#include <array>
#include <cmath>

#include "kernels/codes.h"

namespace octavo::kernels {

QAddParams make_qadd_params(Grid a, Grid b, Grid out, std::int32_t lo, std::int32_t hi) {
  const float ratio_a = a.scale / out.scale;
  const float ratio_b = b.scale / out.scale;
  const float shift =
      ratio_a * static_cast<float>(a.zero_point) + ratio_b * static_cast<float>(b.zero_point);
  return {static_cast<float>(out.zero_point) - shift, ratio_a, ratio_b, lo, hi};
}

QAddParams make_qsub_params(Grid a, Grid b, Grid out, std::int32_t lo, std::int32_t hi) {
  b.scale = -b.scale;
  return make_qadd_params(a, b, out, lo, hi);
}

namespace {

template <class Code>
Code add_one(Code a, Code b, const QAddParams& p) {
  const float first = p.fixed + static_cast<float>(a) * p.ratio_a;
  const float sum = first + static_cast<float>(b) * p.ratio_b;
  return static_cast<Code>(round_clamped(sum, static_cast<float>(p.lo), static_cast<float>(p.hi)));
}

template <class Code>
void add_scalar(const Code* a, const Code* b, Code* out, std::size_t n, const QAddParams& params) {
  const QAddParams p = params;
  for (std::size_t i = 0; i < n; ++i) out[i] = add_one(a[i], b[i], p);
}

// kBounded: every sum is below 2^22, so it rounds without a clamp and the narrowing saturates.
template <class Code, bool kBounded>
void add_simd(const Code* a, const Code* b, Code* out, std::size_t n, const QAddParams& p) {
  const v128_t fixed = wasm_f32x4_splat(p.fixed);
  const v128_t ratio_a = wasm_f32x4_splat(p.ratio_a);
  const v128_t ratio_b = wasm_f32x4_splat(p.ratio_b);
  const v128_t lo = wasm_f32x4_splat(static_cast<float>(p.lo));
  const v128_t hi = wasm_f32x4_splat(static_cast<float>(p.hi));
  const v128_t lo_code = splat_code<Code>(p.lo);
  const v128_t hi_code = splat_code<Code>(p.hi);
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const Codes16<Code> x = load16(a + i);
    const Codes16<Code> y = load16(b + i);
    v128_t sum[4];
    for (std::size_t j = 0; j < 4; ++j) {
      const v128_t first =
          wasm_f32x4_add(fixed, wasm_f32x4_mul(wasm_f32x4_convert_i32x4(x.part[j]), ratio_a));
      v128_t t =
          wasm_f32x4_add(first, wasm_f32x4_mul(wasm_f32x4_convert_i32x4(y.part[j]), ratio_b));
      if constexpr (!kBounded) t = clamp_lanes(t, lo, hi);
      sum[j] = round_to_int(t);
    }
    const v128_t codes = narrow16<Code>(sum[0], sum[1], sum[2], sum[3]);
    wasm_v128_store(out + i, min_codes<Code>(max_codes<Code>(codes, lo_code), hi_code));
  }
  for (; i < n; ++i) out[i] = add_one(a[i], b[i], p);
}

template <class Code>
void add_simd128(const Code* a, const Code* b, Code* out, std::size_t n, const QAddParams& params) {
  const QAddParams p = params;
  const float largest = std::fabs(p.fixed) + 255.0F * (std::fabs(p.ratio_a) + std::fabs(p.ratio_b));
  if (largest < kRoundMagicLimit / 2) {
    add_simd<Code, true>(a, b, out, n, p);
  } else {
    add_simd<Code, false>(a, b, out, n, p);
  }
}

constexpr auto kKernels = std::to_array<QAddKernel>({
    {"qadd/scalar", simd::Level::kScalar, &add_scalar<std::uint8_t>, &add_scalar<std::int8_t>},
    {"qadd/simd128", simd::Level::kSimd128, &add_simd128<std::uint8_t>, &add_simd128<std::int8_t>},
});

}  // namespace

std::span<const QAddKernel> qadd_kernels() { return kKernels; }

}  // namespace octavo::kernels
