#include "kernels/qrequantize/qrequantize.h"

#include <array>

#include "kernels/codes.h"

namespace octavo::kernels {

namespace {

template <class Code>
Code requantize_one(std::int32_t acc, std::size_t n, const QRequantizeParams& p) {
  const float real = static_cast<float>(acc) * p.scale[n] + p.bias[n];
  const float t = real * p.inverse + static_cast<float>(p.zero);
  return static_cast<Code>(round_clamped(t, static_cast<float>(p.lo), static_cast<float>(p.hi)));
}

template <class Code>
void run_scalar(const std::int32_t* acc, Code* out, std::size_t pixels, std::size_t channels,
                const QRequantizeParams& params) {
  for (std::size_t m = 0; m < pixels; ++m) {
    for (std::size_t n = 0; n < channels; ++n) *out++ = requantize_one<Code>(*acc++, n, params);
  }
}

template <class Code>
void run_simd128(const std::int32_t* acc, Code* out, std::size_t pixels, std::size_t channels,
                 const QRequantizeParams& params) {
  const v128_t inverse = wasm_f32x4_splat(params.inverse);
  const v128_t zero = wasm_f32x4_splat(static_cast<float>(params.zero));
  const v128_t lo = wasm_f32x4_splat(static_cast<float>(params.lo));
  const v128_t hi = wasm_f32x4_splat(static_cast<float>(params.hi));
  for (std::size_t m = 0; m < pixels; ++m, acc += channels, out += channels) {
    std::size_t n = 0;
    for (; n + 16 <= channels; n += 16) {
      v128_t part[4];
      for (std::size_t j = 0; j < 4; ++j) {
        const std::size_t at = n + 4 * j;
        const v128_t sum = wasm_f32x4_convert_i32x4(wasm_v128_load(acc + at));
        const v128_t real = wasm_f32x4_add(wasm_f32x4_mul(sum, wasm_v128_load(params.scale + at)),
                                           wasm_v128_load(params.bias + at));
        const v128_t t = wasm_f32x4_add(wasm_f32x4_mul(real, inverse), zero);
        part[j] = round_to_int(clamp_lanes(t, lo, hi));
      }
      wasm_v128_store(out + n, narrow16<Code>(part[0], part[1], part[2], part[3]));
    }
    for (; n < channels; ++n) out[n] = requantize_one<Code>(acc[n], n, params);
  }
}

constexpr auto kKernels = std::to_array<QRequantizeKernel>({
    {"qrequantize/scalar", simd::Level::kScalar, &run_scalar<std::uint8_t>,
     &run_scalar<std::int8_t>},
    {"qrequantize/simd128", simd::Level::kSimd128, &run_simd128<std::uint8_t>,
     &run_simd128<std::int8_t>},
});

}  // namespace

std::span<const QRequantizeKernel> qrequantize_kernels() { return kKernels; }

}  // namespace octavo::kernels
