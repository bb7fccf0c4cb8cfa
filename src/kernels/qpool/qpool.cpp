#include "kernels/qpool/qpool.h"

#include <algorithm>

#include "kernels/codes.h"

namespace octavo::kernels {

QGlobalAverageParams make_qglobal_average_params(Grid in, Grid out, std::size_t pixels,
                                                 std::int32_t lo, std::int32_t hi) {
  const float scale = in.scale / (out.scale * static_cast<float>(pixels));
  return {in.zero_point, out.zero_point, scale, lo, hi};
}

namespace {

// The window of one output pixel: calls tap(input pixel) for each pixel inside the image, row by
// row.
template <class Code>
struct Window {
  const Code* image;
  const PoolGeometry& g;
  Taps rows, columns;
  int top, left;  // input pixel of tap (0, 0)

  template <class Tap>
  void for_each(Tap tap) const {
    for (int i = rows.first; i < rows.last; ++i) {
      const std::ptrdiff_t y = top + i * g.dilation_h;
      for (int j = columns.first; j < columns.last; ++j) {
        const std::ptrdiff_t x = left + j * g.dilation_w;
        tap(image + (y * g.in_w + x) * g.channels);
      }
    }
  }
  int taps() const { return (rows.last - rows.first) * (columns.last - columns.first); }
  int padded_taps() const { return rows.padded * columns.padded; }
};

// body(window, output pixel) for every output pixel of rows [first_row, last_row).
template <class Code, class Body>
void for_each_window(const Code* in, Code* out, const PoolGeometry& g, int first_row, int last_row,
                     Body body) {
  const std::ptrdiff_t image_size = std::ptrdiff_t{g.in_h} * g.in_w * g.channels;
  for (int row = first_row; row < last_row; ++row) {
    const int y = row % g.out_h;
    const Code* image = in + row / g.out_h * image_size;
    const Taps rows =
        taps_along(y, g.stride_h, g.pad_top, g.pad_bottom, g.kernel_h, g.dilation_h, g.in_h);
    Code* to = out + std::ptrdiff_t{row} * g.out_w * g.channels;
    for (int x = 0; x < g.out_w; ++x, to += g.channels) {
      const Taps columns =
          taps_along(x, g.stride_w, g.pad_left, g.pad_right, g.kernel_w, g.dilation_w, g.in_w);
      body(Window<Code>{image, g, rows, columns, y * g.stride_h - g.pad_top,
                        x * g.stride_w - g.pad_left},
           to);
    }
  }
}

template <class Code>
Code max_one(const Window<Code>& window, std::ptrdiff_t c) {
  Code best = std::numeric_limits<Code>::min();
  window.for_each([&](const Code* pixel) { best = std::max(best, pixel[c]); });
  return best;
}

template <class Code>
void max_scalar(const Code* in, Code* out, const PoolGeometry& geometry, int first_row,
                int last_row) {
  for_each_window(in, out, geometry, first_row, last_row,
                  [&](const Window<Code>& window, Code* to) {
                    for (std::ptrdiff_t c = 0; c < geometry.channels; ++c)
                      to[c] = max_one(window, c);
                  });
}

template <class Code>
void max_simd128(const Code* in, Code* out, const PoolGeometry& geometry, int first_row,
                 int last_row) {
  for_each_window(
      in, out, geometry, first_row, last_row, [&](const Window<Code>& window, Code* to) {
        std::ptrdiff_t c = 0;
        // A line of the cache at a time: finding a pixel takes longer than a vector of it.
        for (; c + 64 <= geometry.channels; c += 64) {
          v128_t best[4];
          for (v128_t& b : best) b = splat_code<Code>(kLowest<Code>);
          window.for_each([&](const Code* pixel) {
            for (std::ptrdiff_t i = 0; i < 4; ++i)
              best[i] = max_codes<Code>(best[i], wasm_v128_load(pixel + c + 16 * i));
          });
          for (std::ptrdiff_t i = 0; i < 4; ++i) wasm_v128_store(to + c + 16 * i, best[i]);
        }
        for (; c + 16 <= geometry.channels; c += 16) {
          v128_t best = splat_code<Code>(kLowest<Code>);
          window.for_each(
              [&](const Code* pixel) { best = max_codes<Code>(best, wasm_v128_load(pixel + c)); });
          wasm_v128_store(to + c, best);
        }
        for (; c + 8 <= geometry.channels; c += 8) {
          v128_t best = splat_code<Code>(kLowest<Code>);
          window.for_each([&](const Code* pixel) {
            best = max_codes<Code>(best, wasm_v128_load64_zero(pixel + c));
          });
          wasm_v128_store64_lane(to + c, best, 0);
        }
        for (; c < geometry.channels; ++c) to[c] = max_one(window, c);
      });
}

struct AverageConstants {
  float scale, zero_in, count, scale_out, zero_out, lo, hi;
  std::int32_t moved;
};

template <class Code>
Code average_one(const Window<Code>& window, std::ptrdiff_t c, const AverageConstants& k) {
  float sum = 0.0F;
  window.for_each(
      [&](const Code* pixel) { sum += k.scale * (static_cast<float>(pixel[c]) - k.zero_in); });
  return static_cast<Code>(round_clamped(sum / k.count / k.scale_out + k.zero_out, k.lo, k.hi) +
                           k.moved);
}

template <class Code>
AverageConstants average_constants(const Window<Code>& window, const QAveragePoolParams& p) {
  const int count = p.count_include_pad ? window.padded_taps() : window.taps();
  return {p.in.scale,
          static_cast<float>(p.in.zero_point),
          static_cast<float>(count),
          p.out.scale,
          static_cast<float>(p.out.zero_point - p.moved),
          static_cast<float>(p.lo - p.moved),
          static_cast<float>(p.hi - p.moved),
          p.moved};
}

template <class Code>
void average_scalar(const Code* in, Code* out, const PoolGeometry& geometry,
                    const QAveragePoolParams& params, int first_row, int last_row) {
  for_each_window(in, out, geometry, first_row, last_row,
                  [&](const Window<Code>& window, Code* to) {
                    const AverageConstants k = average_constants(window, params);
                    for (std::ptrdiff_t c = 0; c < geometry.channels; ++c)
                      to[c] = average_one(window, c, k);
                  });
}

template <class Code>
void average_simd128(const Code* in, Code* out, const PoolGeometry& geometry,
                     const QAveragePoolParams& params, int first_row, int last_row) {
  for_each_window(
      in, out, geometry, first_row, last_row, [&](const Window<Code>& window, Code* to) {
        const AverageConstants k = average_constants(window, params);
        const v128_t scale = wasm_f32x4_splat(k.scale);
        const v128_t zero_in = wasm_i32x4_splat(params.in.zero_point);
        const v128_t count = wasm_f32x4_splat(k.count);
        const v128_t scale_out = wasm_f32x4_splat(k.scale_out);
        const v128_t zero_out = wasm_f32x4_splat(k.zero_out);
        const v128_t lo = wasm_f32x4_splat(k.lo);
        const v128_t hi = wasm_f32x4_splat(k.hi);
        const v128_t bits = wasm_i32x4_splat(kRoundMagicBits - k.moved);
        std::ptrdiff_t c = 0;
        for (; c + 16 <= geometry.channels; c += 16) {
          v128_t sum[4] = {wasm_f32x4_splat(0.0F), wasm_f32x4_splat(0.0F), wasm_f32x4_splat(0.0F),
                           wasm_f32x4_splat(0.0F)};
          window.for_each([&](const Code* pixel) {
            const Codes16<Code> codes = load16(pixel + c);
            for (std::size_t j = 0; j < 4; ++j) {
              const v128_t q = wasm_f32x4_convert_i32x4(wasm_i32x4_sub(codes.part[j], zero_in));
              sum[j] = wasm_f32x4_add(sum[j], wasm_f32x4_mul(scale, q));
            }
          });
          for (v128_t& s : sum) {
            const v128_t mean = wasm_f32x4_div(wasm_f32x4_div(s, count), scale_out);
            const v128_t code = clamp_lanes(wasm_f32x4_add(mean, zero_out), lo, hi);
            s = wasm_i32x4_sub(wasm_f32x4_add(code, wasm_f32x4_splat(kRoundMagic)), bits);
          }
          wasm_v128_store(to + c, narrow16<Code>(sum[0], sum[1], sum[2], sum[3]));
        }
        for (; c < geometry.channels; ++c) to[c] = average_one(window, c, k);
      });
}

template <class Code>
Code finish_global(std::int32_t sum, const QGlobalAverageParams& p) {
  const float lo = static_cast<float>(p.lo - p.zero_out);
  const float hi = static_cast<float>(p.hi - p.zero_out);
  return static_cast<Code>(round_clamped(static_cast<float>(sum) * p.scale, lo, hi) + p.zero_out);
}

template <class Code>
Code global_one(const Code* in, std::size_t pixels, std::size_t channels, std::size_t c,
                std::int32_t start, const QGlobalAverageParams& params) {
  std::int32_t sum = start;
  for (std::size_t i = 0; i < pixels; ++i) sum += in[i * channels + c];
  return finish_global<Code>(sum, params);
}

template <class Code>
void global_scalar(const Code* in, Code* out, std::size_t pixels, std::size_t channels,
                   const QGlobalAverageParams& params) {
  const std::int32_t start = -params.zero_in * static_cast<std::int32_t>(pixels);
  for (std::size_t c = 0; c < channels; ++c)
    out[c] = global_one(in, pixels, channels, c, start, params);
}

template <class Code>
void global_simd128(const Code* in, Code* out, std::size_t pixels, std::size_t channels,
                    const QGlobalAverageParams& params) {
  const std::int32_t start = -params.zero_in * static_cast<std::int32_t>(pixels);
  const v128_t scale = wasm_f32x4_splat(params.scale);
  const v128_t lo = wasm_f32x4_splat(static_cast<float>(params.lo - params.zero_out));
  const v128_t hi = wasm_f32x4_splat(static_cast<float>(params.hi - params.zero_out));
  const v128_t zero_out = wasm_i32x4_splat(params.zero_out);
  std::size_t c = 0;
  for (; c + 16 <= channels; c += 16) {
    v128_t sum[4] = {wasm_i32x4_splat(start), wasm_i32x4_splat(start), wasm_i32x4_splat(start),
                     wasm_i32x4_splat(start)};
    // 128 codes of one byte fit a 16-bit sum.
    for (std::size_t first = 0; first < pixels; first += 128) {
      const std::size_t last = std::min(pixels, first + 128);
      v128_t low = wasm_i16x8_splat(0);
      v128_t high = wasm_i16x8_splat(0);
      for (std::size_t i = first; i < last; ++i) {
        low = wasm_i16x8_add(low, extend8(in + i * channels + c));
        high = wasm_i16x8_add(high, extend8(in + i * channels + c + 8));
      }
      sum[0] = wasm_i32x4_add(sum[0], wasm_i32x4_extend_low_i16x8(low));
      sum[1] = wasm_i32x4_add(sum[1], wasm_i32x4_extend_high_i16x8(low));
      sum[2] = wasm_i32x4_add(sum[2], wasm_i32x4_extend_low_i16x8(high));
      sum[3] = wasm_i32x4_add(sum[3], wasm_i32x4_extend_high_i16x8(high));
    }
    for (v128_t& s : sum) {
      const v128_t t = clamp_lanes(wasm_f32x4_mul(wasm_f32x4_convert_i32x4(s), scale), lo, hi);
      s = wasm_i32x4_add(round_to_int(t), zero_out);
    }
    wasm_v128_store(out + c, narrow16<Code>(sum[0], sum[1], sum[2], sum[3]));
  }
  for (; c < channels; ++c) out[c] = global_one(in, pixels, channels, c, start, params);
}

template <class Code>
constexpr QPoolFns<Code> kScalarFns{&max_scalar<Code>, &average_scalar<Code>, &global_scalar<Code>};
template <class Code>
constexpr QPoolFns<Code> kSimdFns{&max_simd128<Code>, &average_simd128<Code>,
                                  &global_simd128<Code>};

constexpr auto kKernels = std::to_array<QPoolKernel>({
    {"qpool/scalar", simd::Level::kScalar, kScalarFns<std::uint8_t>, kScalarFns<std::int8_t>},
    {"qpool/simd128", simd::Level::kSimd128, kSimdFns<std::uint8_t>, kSimdFns<std::int8_t>},
});

}  // namespace

std::span<const QPoolKernel> qpool_kernels() { return kKernels; }

}  // namespace octavo::kernels
