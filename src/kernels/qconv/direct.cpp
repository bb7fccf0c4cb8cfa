// qconv on relaxed SIMD: dot products of 4 codes, read in place through a pointer a pixel.
//
// What the classes allow (simd/engine_class.h):
//   SDOT, USDOT   exact for all weights
//   MADDUBS       u8 x s8 pairs saturate at 16 bits: exact where in every pair of weights the
//                 positive ones sum up to 128 at most, and the negative ones to -128 at least. The
//                 16-bit form of the dot product then takes 3 instructions for 16 products. Where
//                 that even holds for the four weights 2j, 2j + 1, 2j + 4, 2j + 5 of 8 ("quads"),
//                 two groups are added in 16 bits first: 5 instructions for 32 products.
//   WRAP          s8 x s8 pairs wrap at 16 bits: exact for all weights but -128
// Weights beyond are cut; what was cut off is a residual, an own step at the end of the tile.
#include <algorithm>
#include <array>
#include <bit>

#include "kernels/qconv/rows.h"
#include "kernels/qconv/tiles.h"
#include "simd/relaxed.h"

namespace octavo::kernels {

namespace {

using simd::EngineClass;

constexpr int kGroup = 4;
constexpr int kGroupBytes = kGroup * kColumns;
// Above, dot16 is faster: it takes 4 / 3 of the instructions.
constexpr double kMostResiduals = 0.25;

// Classes with the same instruction share their code; natively each has a model of its own.
constexpr EngineClass instruction_of(EngineClass engine) {
  return simd::kHasRelaxed && engine != EngineClass::kMaddubs ? EngineClass::kUsdot : engine;
}

// ---- packing ----

// What the class does not take of eight pairs of weights.
template <EngineClass kClass>
v128_t residuals_of(v128_t weights) {
  if constexpr (kClass == EngineClass::kWrap)
    return wasm_i8x16_sub(weights, wasm_i8x16_max(weights, wasm_i8x16_splat(-127)));
  // Only weights of one sign add up to more than 128: what is beyond is cut off the second.
  const v128_t sum =
      wasm_i16x8_add(wasm_i16x8_shr(wasm_i16x8_shl(weights, 8), 8), wasm_i16x8_shr(weights, 8));
  const v128_t kept =
      wasm_i16x8_max(wasm_i16x8_min(sum, wasm_i16x8_splat(128)), wasm_i16x8_splat(-128));
  return wasm_i16x8_shl(wasm_i16x8_sub(sum, kept), 8);
}

// Whether the quads of `weights`, groups of 32 bytes in pairs, keep within 16 bits.
bool quads_fit(const std::vector<std::int8_t>& tiles) {
  const v128_t zero = wasm_i8x16_splat(0);
  v128_t above = zero;
  v128_t below = zero;
  for (std::size_t at = 0; at < tiles.size(); at += 2 * kGroupBytes) {
    for (std::size_t i = at; i < at + kGroupBytes; i += 16) {
      const v128_t a = wasm_v128_load(tiles.data() + i);
      const v128_t b = wasm_v128_load(tiles.data() + i + kGroupBytes);
      above = wasm_i16x8_max(
          above, wasm_i16x8_add(wasm_i16x8_extadd_pairwise_i8x16(wasm_i8x16_max(a, zero)),
                                wasm_i16x8_extadd_pairwise_i8x16(wasm_i8x16_max(b, zero))));
      below = wasm_i16x8_min(
          below, wasm_i16x8_add(wasm_i16x8_extadd_pairwise_i8x16(wasm_i8x16_min(a, zero)),
                                wasm_i16x8_extadd_pairwise_i8x16(wasm_i8x16_min(b, zero))));
    }
  }
  return !wasm_v128_any_true(wasm_v128_or(wasm_i16x8_gt(above, wasm_i16x8_splat(128)),
                                          wasm_i16x8_lt(below, wasm_i16x8_splat(-128))));
}

// Cuts the packed weights; what is cut off are the residuals.
template <EngineClass kClass>
void cut_residuals(QConvPacked& packed) {
  const int in_tile = packed.spec.segments * packed.groups;
  packed.residual_begin.push_back(0);
  std::int8_t* group = packed.weights.data();
  const std::int8_t* end = group + packed.weights.size();
  while (group != end) {
    for (int g = 0; g < in_tile; ++g, group += kGroupBytes) {
      const v128_t w0 = wasm_v128_load(group);
      const v128_t w1 = wasm_v128_load(group + 16);
      const v128_t rest0 = residuals_of<kClass>(w0);
      const v128_t rest1 = residuals_of<kClass>(w1);
      if (!wasm_v128_any_true(wasm_v128_or(rest0, rest1))) continue;
      wasm_v128_store(group, wasm_i8x16_sub(w0, rest0));
      wasm_v128_store(group + 16, wasm_i8x16_sub(w1, rest1));
      packed.residuals.push_back({g / packed.groups, g % packed.groups * kGroup});
      std::int8_t rest[kGroupBytes];
      wasm_v128_store(rest, rest0);
      wasm_v128_store(rest + 16, rest1);
      packed.residual_weights.insert(packed.residual_weights.end(), rest, rest + kGroupBytes);
    }
    packed.residual_begin.push_back(static_cast<std::int32_t>(packed.residuals.size()));
  }
}

// ---- tiles ----

template <EngineClass kClass>
[[gnu::always_inline]] inline v128_t add_dot(v128_t acc, v128_t w, v128_t codes, v128_t ones) {
  if constexpr (kClass == EngineClass::kMaddubs) {
    return wasm_i32x4_add(acc,
                          wasm_i32x4_dot_i16x8(simd::relaxed_pair_dot<kClass>(w, codes), ones));
  } else {
    return simd::relaxed_dot<kClass>(w, codes, acc);
  }
}

// Inlined before anything else is optimized: later, LLVM has put all dots with w0 before those with
// w1, and the codes of six rows wait in registers that are not there (half the speed).
template <EngineClass kClass, int kRows>
[[gnu::always_inline]] inline void add_group(v128_t (&acc)[kRows][2],
                                             const std::byte* const (&x)[kRows], int at,
                                             const std::int8_t* w, v128_t ones) {
  const v128_t w0 = wasm_v128_load(w);
  const v128_t w1 = wasm_v128_load(w + 16);
  for (int r = 0; r < kRows; ++r) {
    const v128_t codes = wasm_v128_load32_splat(x[r] + at);
    acc[r][0] = add_dot<kClass>(acc[r][0], w0, codes, ones);
    acc[r][1] = add_dot<kClass>(acc[r][1], w1, codes, ones);
  }
}

// Two groups, added in 16 bits.
template <int kRows>
[[gnu::always_inline]] inline void add_quads(v128_t (&acc)[kRows][2],
                                             const std::byte* const (&x)[kRows], int at,
                                             const std::int8_t* w, v128_t ones) {
  for (int half = 0; half < 2; ++half) {
    const v128_t w0 = wasm_v128_load(w + 16 * half);
    const v128_t w1 = wasm_v128_load(w + kGroupBytes + 16 * half);
    for (int r = 0; r < kRows; ++r) {
      const v128_t pairs = wasm_i16x8_add(
          simd::relaxed_pair_dot<EngineClass::kMaddubs>(w0, wasm_v128_load32_splat(x[r] + at)),
          simd::relaxed_pair_dot<EngineClass::kMaddubs>(
              w1, wasm_v128_load32_splat(x[r] + at + kGroup)));
      acc[r][half] = wasm_i32x4_add(acc[r][half], wasm_i32x4_dot_i16x8(pairs, ones));
    }
  }
}

struct Loop {
  const QConvPacked& packed;
  const QConvCall& call;
  Epilogue epilogue;
  std::int64_t tile_bytes;
  v128_t ones;

  Loop(const QConvPacked& p, const QConvCall& c)
      : packed(p),
        call(c),
        epilogue(p, c),
        tile_bytes(static_cast<std::int64_t>(p.spec.segments) * p.groups * kGroupBytes),
        ones(simd::from_memory(wasm_i16x8_splat(1))) {}
  const std::int8_t* weights(int n) const {
    return packed.weights.data() + n / kColumns * tile_bytes;
  }
};

template <int kRows>
[[gnu::always_inline]] inline void start(v128_t (&acc)[kRows][2], const QConvPacked& packed,
                                         int n) {
  const v128_t bias0 = wasm_v128_load(packed.bias.data() + n);
  const v128_t bias1 = wasm_v128_load(packed.bias.data() + n + 4);
  for (int r = 0; r < kRows; ++r) {
    acc[r][0] = bias0;
    acc[r][1] = bias1;
  }
}

template <EngineClass kClass, int kRows>
[[gnu::always_inline]] inline void add_residuals(v128_t (&acc)[kRows][2], const Loop& loop,
                                                 const std::byte* const (&pixel)[kRows], int n) {
  const QConvPacked& packed = loop.packed;
  if (packed.residuals.empty()) return;
  const auto tile = static_cast<std::size_t>(n / kColumns);
  for (auto i = static_cast<std::size_t>(packed.residual_begin[tile]);
       i < static_cast<std::size_t>(packed.residual_begin[tile + 1]); ++i) {
    const QConvResidual& residual = packed.residuals[i];
    const std::int32_t at = loop.call.segment_offset[residual.segment] + residual.k;
    add_group<kClass>(acc, pixel, at, packed.residual_weights.data() + i * kGroupBytes, loop.ones);
  }
}

// kRows pixels from m on by channels n0 .. n1. kOneSegment: where a tile is a few steps (a 1x1
// convolution of few channels), its way in and out counts, so the pointers go back to where they
// were and stay in their registers.
template <EngineClass kClass, int kRows, bool kQuads, bool kOneSegment>
[[gnu::always_inline]] inline void run_rows(const Loop& loop, std::int64_t m, int n0, int n1) {
  const QConvPacked& packed = loop.packed;
  const int segments = packed.groups > 0 ? packed.spec.segments : 0;
  const v128_t ones = loop.ones;
  constexpr int kStep = kQuads ? 2 : 1;  // groups
  const std::byte* pixel[kRows];
  pixels_at(loop.call, m, pixel);
  std::byte* out[kRows];
  out_pixels(loop.call, loop.epilogue, m, out);
  const std::int8_t* w = loop.weights(n0);
  const std::byte* x[kRows];
  if constexpr (kOneSegment) {
    for (int r = 0; r < kRows; ++r) x[r] = pixel[r] + loop.call.segment_offset[0];
  }
  const int walked = (packed.groups / kStep - 1) / 4 * (4 * kStep * kGroup);
  for (int n = n0; n < n1; n += kColumns) {
    v128_t acc[kRows][2];
    start(acc, packed, n);
    const auto step = [&](int at) __attribute__((always_inline)) {
      if constexpr (kQuads) {
        add_quads(acc, x, at * kStep * kGroup, w, ones);
      } else {
        add_group<kClass>(acc, x, at * kStep * kGroup, w, ones);
      }
      w += kStep * kGroupBytes;
    };
    const auto segment = [&]() __attribute__((always_inline)) {
      // A real branch after each step: in one basic block LLVM would hoist the loads and chain the
      // sums of each accumulator, and V8 would spill (measured: 91 against 78 GMAC/s plainly
      // unrolled).
      for (int left = packed.groups / kStep;;) {
        step(0);
        if (--left == 0) break;
        step(1);
        if (--left == 0) break;
        step(2);
        if (--left == 0) break;
        step(3);
        if (--left == 0) break;
        for (int r = 0; r < kRows; ++r) x[r] += 4 * kStep * kGroup;
      }
    };
    if constexpr (kOneSegment) {
      segment();
      for (int r = 0; r < kRows; ++r) x[r] -= walked;
    } else {
      for (int s = 0; s < segments; ++s) {
        for (int r = 0; r < kRows; ++r) x[r] = pixel[r] + loop.call.segment_offset[s];
        segment();
      }
    }
    add_residuals<kClass>(acc, loop, pixel, n);
    store_tile(acc, packed, loop.call, loop.epilogue, out, n);
  }
}

// One pixel (a matrix times a vector) by kTiles tiles at once: as many independent sums as
// registers.
template <EngineClass kClass, int kTiles>
[[gnu::always_inline]] inline void one_pixel(const Loop& loop, const std::byte* pixel,
                                             std::byte* place, int n) {
  const QConvPacked& packed = loop.packed;
  const v128_t ones = loop.ones;
  v128_t acc[kTiles][2];
  const std::int8_t* w[kTiles];
  for (int t = 0; t < kTiles; ++t) {
    acc[t][0] = wasm_v128_load(packed.bias.data() + n + t * kColumns);
    acc[t][1] = wasm_v128_load(packed.bias.data() + n + t * kColumns + 4);
    w[t] = loop.weights(n + t * kColumns);
  }
  for (int s = 0; s < packed.spec.segments; ++s) {
    const std::byte* x = pixel + loop.call.segment_offset[s];
    for (int g = 0; g < packed.groups; ++g, x += kGroup) {
      const v128_t codes = wasm_v128_load32_splat(x);
      for (int t = 0; t < kTiles; ++t) {
        acc[t][0] = add_dot<kClass>(acc[t][0], wasm_v128_load(w[t]), codes, ones);
        acc[t][1] = add_dot<kClass>(acc[t][1], wasm_v128_load(w[t] + 16), codes, ones);
        w[t] += kGroupBytes;
      }
    }
  }
  const std::byte* const pixels[1] = {pixel};
  std::byte* const out[1] = {place};
  for (int t = 0; t < kTiles; ++t) {
    v128_t row[1][2] = {{acc[t][0], acc[t][1]}};
    add_residuals<kClass>(row, loop, pixels, n + t * kColumns);
    store_tile(row, packed, loop.call, loop.epilogue, out, n + t * kColumns);
  }
}

template <EngineClass kClass>
[[gnu::noinline]] void run_one_pixel(const Loop& loop, std::int64_t m, int n0, int n1) {
  constexpr int kTiles = 5;
  const std::byte* pixel = pixel_at(loop.call, m);
  std::byte* out = loop.call.out + m * loop.epilogue.pixel_bytes;
  int n = n0;
  for (; n + kTiles * kColumns <= n1; n += kTiles * kColumns)
    one_pixel<kClass, kTiles>(loop, pixel, out, n);
  for (; n < n1; n += kColumns) one_pixel<kClass, 1>(loop, pixel, out, n);
}

template <EngineClass kClass, int kRows, bool kQuads>
[[gnu::noinline]] void run_all(const QConvPacked& packed, const QConvCall& call) {
  const Loop loop(packed, call);
  const int end = call.end_channel(packed.spec.channels);
  // One pixel reads all weights once: nothing to keep in the cache.
  const int block = call.pixels == 1 ? end : block_channels(packed, loop.tile_bytes);
  constexpr bool kHasOneSegment = kClass == instruction_of(EngineClass::kUsdot);
  const bool one_segment = kHasOneSegment && packed.spec.segments == 1 && packed.groups > 0;
  for (int n0 = call.first_channel; n0 < end; n0 += block) {
    const int n1 = std::min(n0 + block, end);
    for (std::int64_t m = 0; m < call.pixels; m += kRows) {
      if (call.pixels - m == 1) {
        run_one_pixel<kClass>(loop, m, n0, n1);
      } else if (one_segment) {
        run_rows<kClass, kRows, kQuads, kHasOneSegment>(loop, m, n0, n1);
      } else {
        run_rows<kClass, kRows, kQuads, false>(loop, m, n0, n1);
      }
    }
  }
}

template <EngineClass kClass>
constexpr bool kTakesAll = kClass == EngineClass::kSdot || kClass == EngineClass::kUsdot;

template <EngineClass kClass>
QConvPacked pack_direct(const QConvSpec& spec, std::span<const std::int8_t> weights,
                        std::span<const std::int32_t> bias, std::span<const float> scale) {
  QConvPacked packed = pack_common(spec, weights, bias, scale);
  packed.groups = (spec.length + kGroup - 1) / kGroup;
  if constexpr (kTakesAll<kClass>) {
    packed.weights = pack_tiles(spec, weights, kGroup, packed.groups);
    return packed;
  }
  if (kClass == EngineClass::kMaddubs && packed.groups > 1) {
    const int even = (packed.groups + 1) / 2 * 2;
    packed.weights = pack_tiles(spec, weights, kGroup, even);
    packed.quads = quads_fit(packed.weights);
    if (packed.quads) {
      packed.groups = even;
      return packed;
    }
    if (even == packed.groups) {
      cut_residuals<kClass>(packed);
      return packed;
    }
  }
  packed.weights = pack_tiles(spec, weights, kGroup, packed.groups);
  cut_residuals<kClass>(packed);
  return packed;
}

// Whether so few weights are out of range that the residuals cost less than dot16 would.
template <EngineClass kClass>
bool direct_pays(const QConvSpec& spec, std::span<const std::int8_t> weights) {
  if constexpr (kTakesAll<kClass>) return true;
  std::int64_t count = 0;  // groups of a tile that have any
  for (int tile = 0; tile < spec.channels; tile += kColumns) {
    for (int s = 0; s < spec.segments; ++s) {
      for (int k = 0; k < spec.length; k += 16) {
        v128_t any = wasm_i8x16_splat(0);
        for (int n = tile; n < std::min(tile + kColumns, spec.channels); ++n)
          any = wasm_v128_or(any, residuals_of<kClass>(weights16(spec, weights, n, s, k)));
        count += std::popcount(
            static_cast<unsigned>(wasm_i32x4_bitmask(wasm_i32x4_ne(any, wasm_i32x4_splat(0)))));
      }
    }
  }
  const std::int64_t groups = std::int64_t{padded_channels(spec) / kColumns} * spec.segments *
                              ((spec.length + kGroup - 1) / kGroup);
  return static_cast<double>(count) <= kMostResiduals * static_cast<double>(groups);
}

template <EngineClass kClass>
void run_direct(const QConvPacked& packed, const QConvCall& call) {
  if constexpr (kClass == EngineClass::kMaddubs) {
    packed.quads ? run_all<kClass, 4, true>(packed, call) : run_all<kClass, 4, false>(packed, call);
  } else {
    run_all<instruction_of(kClass), 6, false>(packed, call);
  }
}

template <EngineClass kClass>
constexpr QConvKernel row(std::string_view name, bool x_signed) {
  return {name,
          simd::Level::kRelaxed,
          kClass,
          x_signed,
          &pack_direct<kClass>,
          &run_direct<kClass>,
          &direct_pays<kClass>};
}

template <bool kPresent>
std::span<const QConvKernel> relaxed_rows() {
  if constexpr (kPresent) {
    static constexpr std::array kRows{row<EngineClass::kUsdot>("qconv/relaxed-usdot", false),
                                      row<EngineClass::kSdot>("qconv/relaxed-sdot", true),
                                      row<EngineClass::kMaddubs>("qconv/relaxed-maddubs", false),
                                      row<EngineClass::kWrap>("qconv/relaxed-wrap", true)};
    return kRows;
  } else {
    return {};
  }
}

}  // namespace

std::span<const QConvKernel> qconv_direct_rows() { return relaxed_rows<simd::kHasRelaxedRows>(); }

}  // namespace octavo::kernels
