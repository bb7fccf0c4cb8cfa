#include "kernels/fdwconv/fdwconv.h"

#include <algorithm>
#include <array>

#include "simd/isa.h"
#include "simd/relaxed.h"

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

void run_scalar(const FDwConvPacked& packed, const FDwConvCall& call) {
  for (std::int64_t m = 0; m < call.pixels; ++m) {
    const float* pixel = pixel_at(call, m);
    float* out = call.out + static_cast<std::int64_t>(m) * call.out_stride;
    for (int c = 0; c < packed.channels; ++c) {
      float acc = packed.bias[static_cast<std::size_t>(c)];
      const float* w = packed.weights.data() + c;
      for (int t = 0; t < packed.taps; ++t, w += packed.channels)
        acc += pixel[call.tap_offset[t] + c] * *w;
      acc = acc < call.lo ? call.lo : acc;  // a NaN passes, so that it can be reported
      out[c] = call.hi < acc ? call.hi : acc;
    }
  }
}

// kPixels pixels by 8 channels: weights are loaded once for all of them.
constexpr int kPixels = 4;

template <bool kFused>
void run_tiles(const FDwConvPacked& packed, const FDwConvCall& call) {
  if (packed.channels < 8) return run_scalar(packed, call);
  const v128_t lo = wasm_f32x4_splat(call.lo);
  const v128_t hi = wasm_f32x4_splat(call.hi);
  for (std::int64_t m = 0; m < call.pixels; m += kPixels) {
    const float* pixel[kPixels];
    float* out[kPixels];
    for (int r = 0; r < kPixels; ++r) {
      const std::int64_t place = std::min(m + r, call.pixels - 1);
      pixel[r] = pixel_at(call, place);
      out[r] = call.out + place * call.out_stride;
    }
    for (int tile = 0; tile < packed.channels; tile += 8) {
      // The last tile may do channels of the one before once more.
      const int c = std::min(tile, packed.channels - 8);
      v128_t acc[kPixels][2];
      for (int r = 0; r < kPixels; ++r) {
        acc[r][0] = wasm_v128_load(packed.bias.data() + c);
        acc[r][1] = wasm_v128_load(packed.bias.data() + c + 4);
      }
      const float* w = packed.weights.data() + c;
      for (int t = 0; t < packed.taps; ++t, w += packed.channels) {
        const v128_t w0 = wasm_v128_load(w);
        const v128_t w1 = wasm_v128_load(w + 4);
        const std::int64_t at = call.tap_offset[t] + c;
        for (int r = 0; r < kPixels; ++r) {
          const float* x = pixel[r] + at;
          acc[r][0] = simd::multiply_add<kFused>(wasm_v128_load(x), w0, acc[r][0]);
          acc[r][1] = simd::multiply_add<kFused>(wasm_v128_load(x + 4), w1, acc[r][1]);
        }
      }
      for (int r = 0; r < kPixels; ++r) {
        wasm_v128_store(out[r] + c, wasm_f32x4_pmin(wasm_f32x4_pmax(acc[r][0], lo), hi));
        wasm_v128_store(out[r] + c + 4, wasm_f32x4_pmin(wasm_f32x4_pmax(acc[r][1], lo), hi));
      }
    }
  }
}

constexpr std::array kTable{
    FDwConvKernel{"fdwconv/scalar", simd::Level::kScalar, false, &run_scalar},
    FDwConvKernel{"fdwconv/simd128-4x8", simd::Level::kSimd128, false, &run_tiles<false>},
    FDwConvKernel{"fdwconv/relaxed-4x8", simd::Level::kRelaxed, true,
                  &run_tiles<simd::kHasRelaxedRows>},
};

}  // namespace

std::span<const FDwConvKernel> fdwconv_kernels() {
  return std::span(kTable).first(kTable.size() - (simd::kHasRelaxedRows ? 0 : 1));
}

}  // namespace octavo::kernels
