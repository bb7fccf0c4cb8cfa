#include "kernels/qwindow/qwindow.h"

#include <array>

#include "kernels/codes.h"

namespace octavo::kernels {

namespace {

// body(window's rows, columns, its factor, output pixel) for every window.
template <class Code, class Body>
void for_each_window(Code* out, const QWindowGeometry& g, Body body) {
  const float* factor = g.factors;
  for (const WindowSpan& rows : g.rows) {
    for (const WindowSpan& columns : g.columns) {
      body(rows, columns, *factor++, out);
      out += g.channels;
    }
  }
}

// tap(pixel) for every pixel of a window.
template <class Code, class Tap>
void for_each_tap(const Code* in, const QWindowGeometry& g, WindowSpan rows, WindowSpan columns,
                  Tap tap) {
  for (std::int64_t y = rows.first; y < rows.last; ++y) {
    const Code* row = in + y * g.in_w * g.channels;
    for (std::int64_t x = columns.first; x < columns.last; ++x) tap(row + x * g.channels);
  }
}

std::int32_t start_of(WindowSpan rows, WindowSpan columns, const QWindowParams& p) {
  return -p.offset * ((rows.last - rows.first) * (columns.last - columns.first));
}

template <class Code>
Code mean_one(const Code* in, std::int64_t c, const QWindowGeometry& g, WindowSpan rows,
              WindowSpan columns, float factor, const QWindowParams& p) {
  std::int32_t sum = start_of(rows, columns, p);
  for_each_tap(in, g, rows, columns, [&](const Code* pixel) { sum += pixel[c]; });
  const auto real = static_cast<float>(sum);
  const float t = (p.divide ? real / factor : real * factor) + p.before;
  return static_cast<Code>(
      round_clamped(t, static_cast<float>(p.lo - p.after), static_cast<float>(p.hi - p.after)) +
      p.after);
}

template <class Code>
void run_scalar(const Code* in, Code* out, const QWindowGeometry& g, const QWindowParams& p) {
  for_each_window(out, g, [&](WindowSpan rows, WindowSpan columns, float factor, Code* to) {
    for (std::int64_t c = 0; c < g.channels; ++c)
      to[c] = mean_one(in, c, g, rows, columns, factor, p);
  });
}

template <class Code>
void run_simd128(const Code* in, Code* out, const QWindowGeometry& g, const QWindowParams& p) {
  const v128_t before = wasm_f32x4_splat(p.before);
  const v128_t after = wasm_i32x4_splat(p.after);
  const v128_t lo = wasm_f32x4_splat(static_cast<float>(p.lo - p.after));
  const v128_t hi = wasm_f32x4_splat(static_cast<float>(p.hi - p.after));
  for_each_window(out, g, [&](WindowSpan rows, WindowSpan columns, float factor, Code* to) {
    const v128_t factors = wasm_f32x4_splat(factor);
    std::int64_t c = 0;
    for (; c + 16 <= g.channels; c += 16) {
      const v128_t start = wasm_i32x4_splat(start_of(rows, columns, p));
      v128_t sum[4] = {start, start, start, start};
      for_each_tap(in, g, rows, columns, [&](const Code* pixel) {
        const Codes16<Code> codes = load16(pixel + c);
        for (std::size_t j = 0; j < 4; ++j) sum[j] = wasm_i32x4_add(sum[j], codes.part[j]);
      });
      for (v128_t& s : sum) {
        const v128_t real = wasm_f32x4_convert_i32x4(s);
        const v128_t mean =
            p.divide ? wasm_f32x4_div(real, factors) : wasm_f32x4_mul(real, factors);
        const v128_t t = clamp_lanes(wasm_f32x4_add(mean, before), lo, hi);
        s = wasm_i32x4_add(round_to_int(t), after);
      }
      wasm_v128_store(to + c, narrow16<Code>(sum[0], sum[1], sum[2], sum[3]));
    }
    for (; c < g.channels; ++c) to[c] = mean_one(in, c, g, rows, columns, factor, p);
  });
}

constexpr auto kKernels = std::to_array<QWindowKernel>({
    {"qwindow/scalar", simd::Level::kScalar, &run_scalar<std::uint8_t>, &run_scalar<std::int8_t>},
    {"qwindow/simd128", simd::Level::kSimd128, &run_simd128<std::uint8_t>,
     &run_simd128<std::int8_t>},
});

}  // namespace

std::span<const QWindowKernel> qwindow_kernels() { return kKernels; }

}  // namespace octavo::kernels
