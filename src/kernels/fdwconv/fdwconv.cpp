#include "kernels/fdwconv/fdwconv.h"

#include <algorithm>
#include <array>

#include "simd/isa.h"

namespace octavo::kernels {

FDwConvPacked pack_fdwconv(int channels, int taps, std::span<const float> weights,
                           std::span<const float> bias) {
  FDwConvPacked packed;
  packed.channels = channels;
  packed.taps = taps;
  packed.bias.assign(static_cast<std::size_t>(channels), 0.0F);
  std::copy(bias.begin(), bias.end(), packed.bias.begin());
  packed.weights.resize(static_cast<std::size_t>(channels) * static_cast<std::size_t>(taps));
  for (std::size_t c = 0; c < static_cast<std::size_t>(channels); ++c) {
    for (std::size_t t = 0; t < static_cast<std::size_t>(taps); ++t) {
      packed.weights[t * static_cast<std::size_t>(channels) + c] =
          weights[c * static_cast<std::size_t>(taps) + t];
    }
  }
  return packed;
}

namespace {

const float* pixel_at(const FDwConvCall& call, std::int64_t m) {
  return call.x + (m / call.width) * call.row_stride + (m % call.width) * call.pixel_stride;
}

void channels_scalar(const FDwConvPacked& packed, const FDwConvCall& call, const float* pixel,
                     float* out, int first) {
  for (int c = first; c < packed.channels; ++c) {
    float acc = packed.bias[static_cast<std::size_t>(c)];
    const float* w = packed.weights.data() + c;
    for (int t = 0; t < packed.taps; ++t, w += packed.channels)
      acc += pixel[call.tap_offset[t] + c] * *w;
    acc = acc < call.lo ? call.lo : acc;  // a NaN passes, so that it can be reported
    out[c] = call.hi < acc ? call.hi : acc;
  }
}

void run_scalar(const FDwConvPacked& packed, const FDwConvCall& call) {
  for (std::int64_t m = 0; m < call.pixels; ++m) {
    channels_scalar(packed, call, pixel_at(call, m),
                    call.out + static_cast<std::int64_t>(m) * call.out_stride, 0);
  }
}

void run_simd128(const FDwConvPacked& packed, const FDwConvCall& call) {
  const v128_t lo = wasm_f32x4_splat(call.lo);
  const v128_t hi = wasm_f32x4_splat(call.hi);
  for (std::int64_t m = 0; m < call.pixels; ++m) {
    const float* pixel = pixel_at(call, m);
    float* out = call.out + static_cast<std::int64_t>(m) * call.out_stride;
    int c = 0;
    for (; c + 8 <= packed.channels; c += 8) {
      v128_t acc0 = wasm_v128_load(packed.bias.data() + c);
      v128_t acc1 = wasm_v128_load(packed.bias.data() + c + 4);
      const float* w = packed.weights.data() + c;
      for (int t = 0; t < packed.taps; ++t, w += packed.channels) {
        const float* x = pixel + call.tap_offset[t] + c;
        acc0 = wasm_f32x4_add(acc0, wasm_f32x4_mul(wasm_v128_load(x), wasm_v128_load(w)));
        acc1 = wasm_f32x4_add(acc1, wasm_f32x4_mul(wasm_v128_load(x + 4), wasm_v128_load(w + 4)));
      }
      wasm_v128_store(out + c, wasm_f32x4_pmin(wasm_f32x4_pmax(acc0, lo), hi));
      wasm_v128_store(out + c + 4, wasm_f32x4_pmin(wasm_f32x4_pmax(acc1, lo), hi));
    }
    channels_scalar(packed, call, pixel, out, c);
  }
}

constexpr std::array kRows{
    FDwConvKernel{"fdwconv/scalar", simd::Level::kScalar, &run_scalar},
    FDwConvKernel{"fdwconv/simd128", simd::Level::kSimd128, &run_simd128},
};

}  // namespace

std::span<const FDwConvKernel> fdwconv_kernels() { return kRows; }

}  // namespace octavo::kernels
