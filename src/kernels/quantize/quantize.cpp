#include "kernels/quantize/quantize.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/codes.h"

namespace octavo::kernels {

template <class Code>
Code quantize_value(float x, Grid grid) {
  const auto zero = static_cast<float>(grid.zero_point);
  const float lo = static_cast<float>(kLowest<Code>) - zero;
  const float hi = static_cast<float>(kHighest<Code>) - zero;
  return static_cast<Code>(round_clamped(x / grid.scale, lo, hi) + grid.zero_point);
}
template std::uint8_t quantize_value<std::uint8_t>(float, Grid);
template std::int8_t quantize_value<std::int8_t>(float, Grid);

template <class Code>
Code quantize_torch_value(float x, Grid grid) {
  const auto zero = static_cast<float>(grid.zero_point);
  const float lo = static_cast<float>(kLowest<Code>) - zero;
  const float hi = static_cast<float>(kHighest<Code>) - zero;
  const float t = x * (1.0F / grid.scale);
  // What overflows the int64 that PyTorch converts to comes out as its lowest value.
  const float in_range = std::fabs(t) < 0x1p63F ? t : lo;
  return static_cast<Code>(round_clamped(in_range, lo, hi) + grid.zero_point);
}
template std::uint8_t quantize_torch_value<std::uint8_t>(float, Grid);
template std::int8_t quantize_torch_value<std::int8_t>(float, Grid);

template <>
std::int32_t quantize_torch_value<std::int32_t>(float x, Grid grid) {
  const float t = std::nearbyint(x * (1.0F / grid.scale));
  if (!(std::fabs(t) < 0x1p63F)) return kLowest<std::int32_t>;
  // A float below 2^63 is at most 2^63 - 2^39: the sum cannot overflow.
  const std::int64_t q = static_cast<std::int64_t>(t) + grid.zero_point;
  return static_cast<std::int32_t>(
      std::clamp<std::int64_t>(q, kLowest<std::int32_t>, kHighest<std::int32_t>));
}

namespace {

template <class Code>
void quantize_scalar(const float* in, Code* out, std::size_t n, Grid grid) {
  for (std::size_t i = 0; i < n; ++i) out[i] = quantize_value<Code>(in[i], grid);
}
template <class Code>
void quantize_torch_scalar(const float* in, Code* out, std::size_t n, Grid grid) {
  for (std::size_t i = 0; i < n; ++i) out[i] = quantize_torch_value<Code>(in[i], grid);
}
template <class Code>
void dequantize_scalar(const Code* in, float* out, std::size_t n, Grid grid) {
  for (std::size_t i = 0; i < n; ++i) out[i] = dequantize_value<Code>(in[i], grid);
}

// Sixteen floats at a time through `grid_units` (x -> multiples of the scale), the rest through
// `one`.
template <class Code, class GridUnits, class One>
void quantize_simd(const float* in, Code* out, std::size_t n, Grid grid, GridUnits grid_units,
                   One one) {
  const auto zero = static_cast<float>(grid.zero_point);
  const v128_t lo = wasm_f32x4_splat(static_cast<float>(kLowest<Code>) - zero);
  const v128_t hi = wasm_f32x4_splat(static_cast<float>(kHighest<Code>) - zero);
  const v128_t magic = wasm_f32x4_splat(kRoundMagic);
  const v128_t offset = wasm_i32x4_splat(kRoundMagicBits - grid.zero_point);
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    v128_t part[4];
    for (std::size_t j = 0; j < 4; ++j) {
      const v128_t t = clamp_lanes(grid_units(wasm_v128_load(in + i + 4 * j), lo), lo, hi);
      part[j] = wasm_i32x4_sub(wasm_f32x4_add(t, magic), offset);
    }
    wasm_v128_store(out + i, narrow16<Code>(part[0], part[1], part[2], part[3]));
  }
  for (; i < n; ++i) out[i] = one(in[i], grid);
}

template <class Code>
void quantize_simd128(const float* in, Code* out, std::size_t n, Grid grid) {
  const v128_t scale = wasm_f32x4_splat(grid.scale);
  quantize_simd(
      in, out, n, grid, [scale](v128_t x, v128_t) { return wasm_f32x4_div(x, scale); },
      &quantize_value<Code>);
}

template <class Code>
void quantize_torch_simd128(const float* in, Code* out, std::size_t n, Grid grid) {
  const v128_t inverse = wasm_f32x4_splat(1.0F / grid.scale);
  const v128_t limit = wasm_f32x4_splat(0x1p63F);
  quantize_simd(
      in, out, n, grid,
      [inverse, limit](v128_t x, v128_t lo) {
        const v128_t t = wasm_f32x4_mul(x, inverse);
        return wasm_v128_bitselect(t, lo, wasm_f32x4_lt(wasm_f32x4_abs(t), limit));
      },
      &quantize_torch_value<Code>);
}

template <class Code>
void dequantize_simd128(const Code* in, float* out, std::size_t n, Grid grid) {
  const v128_t scale = wasm_f32x4_splat(grid.scale);
  const v128_t zero = wasm_i32x4_splat(grid.zero_point);
  std::size_t i = 0;
  const auto store = [&](std::size_t at, v128_t codes) {
    wasm_v128_store(out + at,
                    wasm_f32x4_mul(scale, wasm_f32x4_convert_i32x4(wasm_i32x4_sub(codes, zero))));
  };
  if constexpr (sizeof(Code) == 1) {
    for (; i + 16 <= n; i += 16) {
      const Codes16<Code> codes = load16(in + i);
      for (std::size_t j = 0; j < 4; ++j) store(i + 4 * j, codes.part[j]);
    }
  } else {
    for (; i + 4 <= n; i += 4) store(i, wasm_v128_load(in + i));
  }
  for (; i < n; ++i) out[i] = dequantize_value<Code>(in[i], grid);
}

constexpr auto kKernels = std::to_array<QuantizeKernel>({
    {"quantize/scalar", simd::Level::kScalar, &quantize_scalar<std::uint8_t>,
     &quantize_scalar<std::int8_t>, &quantize_torch_scalar<std::uint8_t>,
     &quantize_torch_scalar<std::int8_t>, &dequantize_scalar<std::uint8_t>,
     &dequantize_scalar<std::int8_t>, &dequantize_scalar<std::int32_t>},
    {"quantize/simd128", simd::Level::kSimd128, &quantize_simd128<std::uint8_t>,
     &quantize_simd128<std::int8_t>, &quantize_torch_simd128<std::uint8_t>,
     &quantize_torch_simd128<std::int8_t>, &dequantize_simd128<std::uint8_t>,
     &dequantize_simd128<std::int8_t>, &dequantize_simd128<std::int32_t>},
});

std::int32_t zero_at(std::span<const std::int32_t> zero_points, std::size_t channel) {
  return zero_points.empty() ? 0 : zero_points[channel];
}

// body(offset of a run of `inner` elements, its grid) for every channel of every outer index.
template <class Body>
void for_each_channel(std::size_t outer, std::size_t channels, std::size_t inner,
                      std::span<const float> scales, std::span<const std::int32_t> zero_points,
                      Body body) {
  for (std::size_t o = 0; o < outer; ++o) {
    for (std::size_t c = 0; c < channels; ++c) {
      body((o * channels + c) * inner, Grid{scales[c], zero_at(zero_points, c)});
    }
  }
}

}  // namespace

std::span<const QuantizeKernel> quantize_kernels() { return kKernels; }

template <class Code>
void quantize_per_channel(const QuantizeKernel& kernel, const float* in, Code* out,
                          std::size_t outer, std::size_t channels, std::size_t inner,
                          std::span<const float> scales,
                          std::span<const std::int32_t> zero_points) {
  for_each_channel(outer, channels, inner, scales, zero_points, [&](std::size_t at, Grid grid) {
    if (inner == 1) {
      out[at] = quantize_value<Code>(in[at], grid);
    } else {
      kernel.quantize<Code>()(in + at, out + at, inner, grid);
    }
  });
}
template void quantize_per_channel<std::uint8_t>(const QuantizeKernel&, const float*, std::uint8_t*,
                                                 std::size_t, std::size_t, std::size_t,
                                                 std::span<const float>,
                                                 std::span<const std::int32_t>);
template void quantize_per_channel<std::int8_t>(const QuantizeKernel&, const float*, std::int8_t*,
                                                std::size_t, std::size_t, std::size_t,
                                                std::span<const float>,
                                                std::span<const std::int32_t>);

template <class Code>
void dequantize_per_channel(const QuantizeKernel& kernel, const Code* in, float* out,
                            std::size_t outer, std::size_t channels, std::size_t inner,
                            std::span<const float> scales,
                            std::span<const std::int32_t> zero_points) {
  for_each_channel(outer, channels, inner, scales, zero_points, [&](std::size_t at, Grid grid) {
    if (inner == 1) {
      out[at] = dequantize_value<Code>(in[at], grid);
    } else {
      kernel.dequantize<Code>()(in + at, out + at, inner, grid);
    }
  });
}
template void dequantize_per_channel<std::uint8_t>(const QuantizeKernel&, const std::uint8_t*,
                                                   float*, std::size_t, std::size_t, std::size_t,
                                                   std::span<const float>,
                                                   std::span<const std::int32_t>);
template void dequantize_per_channel<std::int8_t>(const QuantizeKernel&, const std::int8_t*, float*,
                                                  std::size_t, std::size_t, std::size_t,
                                                  std::span<const float>,
                                                  std::span<const std::int32_t>);
template void dequantize_per_channel<std::int32_t>(const QuantizeKernel&, const std::int32_t*,
                                                   float*, std::size_t, std::size_t, std::size_t,
                                                   std::span<const float>,
                                                   std::span<const std::int32_t>);

template <class Code>
void quantize_torch_per_channel(const QuantizeKernel& kernel, const float* in, Code* out,
                                std::size_t outer, std::size_t channels, std::size_t inner,
                                std::span<const float> scales,
                                std::span<const std::int32_t> zero_points) {
  for_each_channel(outer, channels, inner, scales, zero_points, [&](std::size_t at, Grid grid) {
    if constexpr (std::is_signed_v<Code>) {
      kernel.quantize_torch_s8(in + at, out + at, inner, grid);
    } else {
      kernel.quantize_torch_u8(in + at, out + at, inner, grid);
    }
  });
}
template void quantize_torch_per_channel<std::uint8_t>(const QuantizeKernel&, const float*,
                                                       std::uint8_t*, std::size_t, std::size_t,
                                                       std::size_t, std::span<const float>,
                                                       std::span<const std::int32_t>);
template void quantize_torch_per_channel<std::int8_t>(const QuantizeKernel&, const float*,
                                                      std::int8_t*, std::size_t, std::size_t,
                                                      std::size_t, std::span<const float>,
                                                      std::span<const std::int32_t>);

template <class Code>
void dequantize_torch_per_channel(const Code* in, float* out, std::size_t outer,
                                  std::size_t channels, std::size_t inner,
                                  std::span<const double> scales,
                                  std::span<const std::int32_t> zero_points) {
  for (std::size_t o = 0; o < outer; ++o) {
    for (std::size_t c = 0; c < channels; ++c) {
      const std::int32_t zero = zero_at(zero_points, c);
      for (std::size_t i = 0; i < inner; ++i) {
        const std::size_t at = (o * channels + c) * inner + i;
        out[at] = static_cast<float>(static_cast<double>(static_cast<std::int32_t>(in[at]) - zero) *
                                     scales[c]);
      }
    }
  }
}
template void dequantize_torch_per_channel<std::uint8_t>(const std::uint8_t*, float*, std::size_t,
                                                         std::size_t, std::size_t,
                                                         std::span<const double>,
                                                         std::span<const std::int32_t>);
template void dequantize_torch_per_channel<std::int8_t>(const std::int8_t*, float*, std::size_t,
                                                        std::size_t, std::size_t,
                                                        std::span<const double>,
                                                        std::span<const std::int32_t>);

}  // namespace octavo::kernels
