#include "kernels/fconv/fconv.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "simd/isa.h"
#include "simd/relaxed.h"

namespace octavo::kernels {

namespace {

constexpr int kColumns = 8;
// Pixels of a tile. Five by two vectors of sums leave registers for two weights, a pixel and a
// product (six rows spill: 15 against 27 GMAC/s); a fused row needs none for the product.
template <bool kFused>
constexpr int kRowsOf = kFused ? 6 : 5;
constexpr std::int64_t kWeightBlockBytes = 24 * 1024;

int padded_channels(const FConvSpec& spec) {
  return (spec.channels + kColumns - 1) / kColumns * kColumns;
}

const float* pixel_at(const FConvCall& call, std::int64_t m) {
  if (m < call.width) return call.x + m * call.pixel_stride;  // one row: no divisions
  return call.x + (m / call.width) * call.row_stride + (m % call.width) * call.pixel_stride;
}

std::vector<float> pad_bias(const FConvSpec& spec, std::span<const float> bias) {
  std::vector<float> out(static_cast<std::size_t>(padded_channels(spec)), 0.0F);
  std::copy(bias.begin(), bias.end(), out.begin());
  return out;
}

FConvPacked pack_scalar(const FConvSpec& spec, std::span<const float> weights,
                        std::span<const float> bias) {
  FConvPacked packed;
  packed.spec = spec;
  packed.weights.assign(weights.begin(), weights.end());
  packed.bias = pad_bias(spec, bias);
  return packed;
}

void run_scalar(const FConvPacked& packed, const FConvCall& call) {
  const FConvSpec& spec = packed.spec;
  for (std::int64_t m = 0; m < call.pixels; ++m) {
    const float* pixel = pixel_at(call, m);
    const float* w =
        packed.weights.data() + std::int64_t{call.first_channel} * spec.segments * spec.length;
    for (int n = call.first_channel; n < call.end_channel(spec.channels); ++n) {
      float acc = 0.0F;
      for (int s = 0; s < spec.segments; ++s) {
        const float* x = pixel + call.segment_offset[s];
        for (int k = 0; k < spec.length; ++k, ++w) acc += x[k] * *w;
      }
      acc += packed.bias[static_cast<std::size_t>(n)];
      acc = acc < call.lo ? call.lo : acc;  // a NaN passes, so that it can be reported
      acc = call.hi < acc ? call.hi : acc;
      call.out[static_cast<std::int64_t>(m) * call.out_stride + n] = acc;
    }
  }
}

// [channel tile][segment][k][channel of the tile]
FConvPacked pack_tiles(const FConvSpec& spec, std::span<const float> weights,
                       std::span<const float> bias) {
  FConvPacked packed;
  packed.spec = spec;
  packed.bias = pad_bias(spec, bias);
  const std::size_t depth =
      static_cast<std::size_t>(spec.segments) * static_cast<std::size_t>(spec.length);
  packed.weights.assign(static_cast<std::size_t>(padded_channels(spec)) * depth, 0.0F);
  for (std::size_t n = 0; n < static_cast<std::size_t>(spec.channels); ++n) {
    float* tile = packed.weights.data() + n / kColumns * kColumns * depth + n % kColumns;
    for (std::size_t k = 0; k < depth; ++k) tile[k * kColumns] = weights[n * depth + k];
  }
  return packed;
}

template <bool kFused, int kRows>
[[gnu::always_inline]] inline void group(v128_t (&acc)[kRows][2], const float* const (&x)[kRows],
                                         int at, const float* w) {
  const v128_t w0 = wasm_v128_load(w);
  const v128_t w1 = wasm_v128_load(w + 4);
  for (int r = 0; r < kRows; ++r) {
    const v128_t a = wasm_v128_load32_splat(x[r] + at);
    acc[r][0] = simd::multiply_add<kFused>(a, w0, acc[r][0]);
    acc[r][1] = simd::multiply_add<kFused>(a, w1, acc[r][1]);
  }
}

struct Bounds {
  v128_t lo, hi;

  // pmax(a, b) is a < b ? b : a, pmin(a, b) is b < a ? b : a: a NaN passes.
  v128_t clamp(v128_t y) const { return wasm_f32x4_pmin(wasm_f32x4_pmax(y, lo), hi); }
};

// Pixels m .. m + kRows - 1 and where their output begins, of those beyond the last one the last,
// with one division at most: six take as long as a tile of few input channels.
template <int kRows>
void places_at(const FConvCall& call, std::int64_t m, const float* (&pixel)[kRows],
               float* (&out)[kRows]) {
  std::int64_t column = m < call.width ? m : m % call.width;
  const float* from = pixel_at(call, m);
  float* to = call.out + m * call.out_stride;
  const std::int64_t next_row = call.row_stride - (call.width - 1) * call.pixel_stride;
  for (int r = 0; r < kRows; ++r) {
    pixel[r] = from;
    out[r] = to;
    if (m + r + 1 >= call.pixels) continue;
    const bool ends = ++column == call.width;
    from += ends ? next_row : call.pixel_stride;
    if (ends) column = 0;
    to += call.out_stride;
  }
}

// The sums of one pixel's channels n .. n + 7.
[[gnu::always_inline]] inline void store_pixel(v128_t sum0, v128_t sum1, const FConvPacked& packed,
                                               const Bounds& bounds, float* out, int n) {
  const v128_t y0 = bounds.clamp(wasm_f32x4_add(sum0, wasm_v128_load(packed.bias.data() + n)));
  const v128_t y1 = bounds.clamp(wasm_f32x4_add(sum1, wasm_v128_load(packed.bias.data() + n + 4)));
  const int valid = std::min(kColumns, packed.spec.channels - n);
  if (valid == kColumns) {
    wasm_v128_store(out, y0);
    wasm_v128_store(out + 4, y1);
    return;
  }
  float both[kColumns];
  wasm_v128_store(both, y0);
  wasm_v128_store(both + 4, y1);
  std::memcpy(out, both, static_cast<std::size_t>(valid) * sizeof(float));
}

// One pixel (a matrix times a vector) by kTiles tiles at once: as many independent sums as
// registers, and as many streams of weights, which come from far away.
template <bool kFused, int kTiles>
[[gnu::always_inline]] inline void one_pixel(const FConvPacked& packed, const FConvCall& call,
                                             const Bounds& bounds, std::int64_t m, int n) {
  const FConvSpec& spec = packed.spec;
  const std::int64_t tile_floats =
      static_cast<std::int64_t>(spec.segments) * spec.length * kColumns;
  v128_t acc[kTiles][2];
  for (auto& sums : acc) sums[0] = sums[1] = wasm_f32x4_splat(0.0F);
  const float* w = packed.weights.data() + n / kColumns * tile_floats;
  for (int s = 0; s < spec.segments; ++s) {
    const float* x = pixel_at(call, m) + call.segment_offset[s];
    for (int k = 0; k < spec.length; ++k, w += kColumns) {
      const v128_t a = wasm_v128_load32_splat(x + k);
      for (int t = 0; t < kTiles; ++t) {
        const float* of_tile = w + t * tile_floats;
        acc[t][0] = simd::multiply_add<kFused>(a, wasm_v128_load(of_tile), acc[t][0]);
        acc[t][1] = simd::multiply_add<kFused>(a, wasm_v128_load(of_tile + 4), acc[t][1]);
      }
    }
  }
  float* out = call.out + m * call.out_stride + n;
  for (int t = 0; t < kTiles; ++t)
    store_pixel(acc[t][0], acc[t][1], packed, bounds, out + t * kColumns, n + t * kColumns);
}

template <bool kFused>
[[gnu::noinline]] void run_one_pixel(const FConvPacked& packed, const FConvCall& call,
                                     const Bounds& bounds, std::int64_t m, int n0, int n1) {
  constexpr int kTiles = 5;
  int n = n0;
  for (; n + kTiles * kColumns <= n1; n += kTiles * kColumns)
    one_pixel<kFused, kTiles>(packed, call, bounds, m, n);
  for (; n < n1; n += kColumns) one_pixel<kFused, 1>(packed, call, bounds, m, n);
}

template <bool kFused>
void run_tiles(const FConvPacked& packed, const FConvCall& call) {
  constexpr int kRows = kRowsOf<kFused>;
  const FConvSpec& spec = packed.spec;
  const std::int64_t tile_floats =
      static_cast<std::int64_t>(spec.segments) * spec.length * kColumns;
  const std::int64_t tiles =
      std::max<std::int64_t>(1, kWeightBlockBytes / std::max<std::int64_t>(1, tile_floats * 4));
  const Bounds bounds{wasm_f32x4_splat(call.lo), wasm_f32x4_splat(call.hi)};
  const int end = call.end_channel(spec.channels);
  // One pixel reads all weights once: nothing to keep in the cache.
  const int block =
      call.pixels == 1
          ? end
          : static_cast<int>(std::min<std::int64_t>(tiles * kColumns, padded_channels(spec)));
  for (int n0 = call.first_channel; n0 < end; n0 += block) {
    const int n1 = std::min(n0 + block, end);
    for (std::int64_t m = 0; m < call.pixels; m += kRows) {
      if (call.pixels - m == 1) {
        run_one_pixel<kFused>(packed, call, bounds, m, n0, n1);
        break;
      }
      const float* pixel[kRows];
      float* out[kRows];
      places_at(call, m, pixel, out);
      const float* w = packed.weights.data() + n0 / kColumns * tile_floats;
      for (int n = n0; n < n1; n += kColumns) {
        v128_t acc[kRows][2];
        for (int r = 0; r < kRows; ++r) acc[r][0] = acc[r][1] = wasm_f32x4_splat(0.0F);
        for (int s = 0; s < (spec.length > 0 ? spec.segments : 0); ++s) {
          const float* x[kRows];
          for (int r = 0; r < kRows; ++r) x[r] = pixel[r] + call.segment_offset[s];
          // A branch after each group keeps LLVM from chaining the sums and V8 from spilling (see
          // qconv.cpp).
          for (int g = spec.length;;) {
            group<kFused>(acc, x, 0, w);
            w += kColumns;
            if (--g == 0) break;
            group<kFused>(acc, x, 1, w);
            w += kColumns;
            if (--g == 0) break;
            group<kFused>(acc, x, 2, w);
            w += kColumns;
            if (--g == 0) break;
            group<kFused>(acc, x, 3, w);
            w += kColumns;
            if (--g == 0) break;
            for (int r = 0; r < kRows; ++r) x[r] += 4;
          }
        }
        if (n + kColumns <= spec.channels) {
          const v128_t bias0 = wasm_v128_load(packed.bias.data() + n);
          const v128_t bias1 = wasm_v128_load(packed.bias.data() + n + 4);
          for (int r = 0; r < kRows; ++r) {
            wasm_v128_store(out[r] + n, bounds.clamp(wasm_f32x4_add(acc[r][0], bias0)));
            wasm_v128_store(out[r] + n + 4, bounds.clamp(wasm_f32x4_add(acc[r][1], bias1)));
          }
          continue;
        }
        for (int r = 0; r < kRows; ++r)
          store_pixel(acc[r][0], acc[r][1], packed, bounds, out[r] + n, n);
      }
    }
  }
}

constexpr std::array kTable{
    FConvKernel{"fconv/scalar", simd::Level::kScalar, false, 1, &pack_scalar, &run_scalar},
    FConvKernel{"fconv/simd128-5x8", simd::Level::kSimd128, false, kRowsOf<false>, &pack_tiles,
                &run_tiles<false>},
    FConvKernel{"fconv/relaxed-6x8", simd::Level::kRelaxed, true, kRowsOf<true>, &pack_tiles,
                &run_tiles<simd::kHasRelaxedRows>},
};

}  // namespace

std::span<const FConvKernel> fconv_kernels() {
  return std::span(kTable).first(kTable.size() - (simd::kHasRelaxedRows ? 0 : 1));
}

}  // namespace octavo::kernels
