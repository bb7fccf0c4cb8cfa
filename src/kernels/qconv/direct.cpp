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
// Weights beyond are cut; what was cut off are residuals, own steps at the end of the tile. One is
// four weights of four channels, and begins wherever in the segment it takes most that is left.
#include <algorithm>
#include <array>
#include <bit>
#include <numeric>

#include "kernels/qconv/race.h"
#include "kernels/qconv/rows.h"
#include "kernels/qconv/tiles.h"
#include "simd/relaxed.h"

namespace octavo::kernels {

namespace {

using simd::EngineClass;

constexpr int kGroup = 4;
constexpr int kGroupBytes = kGroup * kColumns;
// Steps of residuals in a step of all weights. Above, dot16 is faster: it takes 4 / 3 of the
// instructions, but its steps all lie in one loop.
constexpr double kMostResiduals = 0.17;

// Classes with the same instruction share their code; natively each has a model of its own.
constexpr EngineClass instruction_of(EngineClass engine) {
  return simd::kHasRelaxed && engine != EngineClass::kMaddubs ? EngineClass::kUsdot : engine;
}

// ---- packing ----

constexpr int kHalf = 4;  // channels of a vector of sums
constexpr int kResidualBytes = kGroup * kHalf;

// The sums of products of two codes that do not fit into 16 bits, by how much their weights are too
// large: positive ones beyond 128, negative ones beyond -128. 0: they fit.
int pair_excess(int a, int b) {
  if (a > 0 && b > 128 - a) return a + b - 128;
  if (a < 0 && b < -128 - a) return a + b + 128;
  return 0;
}
bool pair_fits(int a, int b) { return pair_excess(a, b) == 0; }

// Cuts the weights of up to four channels, one segment each, to what the class takes, and finds the
// steps that add the rest.
template <EngineClass kClass>
class Cutter {
 public:
  // w: the first channel's segment; the others' are `stride` apart.
  Cutter(std::int8_t* w, int channels, std::size_t stride, int length)
      : w_(w), channels_(channels), stride_(stride), length_(length) {}

  // Appends the steps to the residuals of `packed`.
  void cut(std::int32_t segment_number, QConvPacked& packed) {
    for (int begin = 0; begin < length_; begin += kPiece) {
      // A pair that does not fit is a step's: its second weight comes first there, so the step has
      // two more pairs, which fit when their turn comes.
      for (std::uint32_t left = misfits(begin); left != 0; left &= left - 1) {
        const int k = begin + std::countr_zero(left) * kUnit;
        if (fits(k)) continue;
        std::array<std::int8_t, kResidualBytes> rest{};
        for (int c = 0; c < channels_; ++c) take(segment(c), k, rest.data() + kGroup * c);
        packed.residuals.push_back({segment_number, k + kUnit - 1});
        packed.residual_weights.insert(packed.residual_weights.end(), rest.begin(), rest.end());
      }
    }
  }

 private:
  static constexpr int kPiece = 16;
  static constexpr int kUnit = kClass == EngineClass::kMaddubs ? 2 : 1;  // weights that fit or not

  std::int8_t* segment(int channel) const {
    return w_ + static_cast<std::size_t>(channel) * stride_;
  }
  // A bit for each unit from `begin` on that does not fit in some channel; all where the segment
  // ends before the piece does.
  std::uint32_t misfits(int begin) const {
    const int count = std::min(kPiece, length_ - begin);
    if (count < kPiece) return (1U << ((count + kUnit - 1) / kUnit)) - 1;
    const v128_t zero = wasm_i32x4_splat(0);
    v128_t found = zero;
    for (int c = 0; c < channels_; ++c) {
      const v128_t w = wasm_v128_load(segment(c) + begin);
      if constexpr (kClass == EngineClass::kWrap) {
        found = wasm_v128_or(found, wasm_i8x16_eq(w, wasm_i8x16_splat(-128)));
        continue;
      }
      const v128_t above = wasm_i16x8_extadd_pairwise_i8x16(wasm_i8x16_max(w, zero));
      const v128_t below = wasm_i16x8_extadd_pairwise_i8x16(wasm_i8x16_min(w, zero));
      found = wasm_v128_or(found, wasm_v128_or(wasm_i16x8_gt(above, wasm_i16x8_splat(128)),
                                               wasm_i16x8_lt(below, wasm_i16x8_splat(-128))));
    }
    return kClass == EngineClass::kWrap ? wasm_i8x16_bitmask(found) : wasm_i16x8_bitmask(found);
  }
  bool fits(int k) const {
    for (int c = 0; c < channels_; ++c) {
      const std::int8_t* w = segment(c) + k;
      if (kClass == EngineClass::kWrap ? w[0] == -128 : k + 1 < length_ && !pair_fits(w[0], w[1]))
        return false;
    }
    return true;
  }
  // Moves what is too much from the segment's weights into those of the step for weights k .. k + 3
  // (WRAP) or k + 1 .. k + 4 (MADDUBS), where it fits there.
  void take(std::int8_t* w, int k, std::int8_t* rest) const {
    const auto move = [&](std::int8_t& from, std::int8_t& to, int excess) {
      from = static_cast<std::int8_t>(from - excess);
      to = static_cast<std::int8_t>(excess);
    };
    if constexpr (kClass == EngineClass::kWrap) {
      for (int i = 0; i < std::min(kGroup, length_ - k); ++i) {
        if (w[k + i] == -128) move(w[k + i], rest[i], -1);
      }
      return;
    }
    const auto excess = [&](int at) {
      return at + 1 < length_ ? pair_excess(w[at], w[at + 1]) : 0;
    };
    if (const int e = excess(k); e != 0) move(w[k + 1], rest[0], e);
    if (const int e = excess(k + 2); e != 0) {
      const bool beside = pair_fits(rest[0], e);
      move(w[beside ? k + 2 : k + 3], rest[beside ? 1 : 2], e);
    }
    if (const int e = excess(k + 4); e != 0 && pair_fits(rest[2], e)) move(w[k + 4], rest[3], e);
  }

  std::int8_t* w_;
  int channels_;
  std::size_t stride_;
  int length_;
};

// Cuts `weights` of spec.channels channels; `packed` gets the residuals. Not inlined: rarely run.
template <EngineClass kClass>
[[gnu::noinline]] void cut_all(const QConvSpec& spec, std::vector<std::int8_t>& weights,
                               QConvPacked& packed) {
  const auto length = static_cast<std::size_t>(spec.length);
  const std::size_t row = static_cast<std::size_t>(spec.segments) * length;
  const auto mark = [&packed] {
    packed.residual_begin.push_back(static_cast<std::int32_t>(packed.residuals.size()));
  };
  mark();
  for (int n = 0; n < padded_channels(spec); n += kHalf) {
    const int channels = std::clamp(spec.channels - n, 0, kHalf);
    for (int s = 0; s < spec.segments && channels > 0; ++s) {
      Cutter<kClass> cutter(
          weights.data() + static_cast<std::size_t>(n) * row + static_cast<std::size_t>(s) * length,
          channels, row, spec.length);
      cutter.cut(s, packed);
    }
    mark();
  }
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
  const std::int32_t* begin = packed.residual_begin.data() + n / kHalf;
  for (int half = 0; half < 2; ++half) {
    for (auto i = static_cast<std::size_t>(begin[half]);
         i < static_cast<std::size_t>(begin[half + 1]); ++i) {
      const QConvResidual& residual = packed.residuals[i];
      const std::int32_t at = loop.call.segment_offset[residual.segment] + residual.k;
      const v128_t w = wasm_v128_load(packed.residual_weights.data() + i * kResidualBytes);
      for (int r = 0; r < kRows; ++r) {
        acc[r][half] =
            add_dot<kClass>(acc[r][half], w, wasm_v128_load32_splat(pixel[r] + at), loop.ones);
      }
    }
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

// One pixel (a matrix times a vector): each weight is read once, so the weights are walked in one
// stream, which the caches are ahead of, and the independent sums that hide a product's latency are
// of kAtOnce groups.
template <EngineClass kClass>
[[gnu::noinline]] void run_one_pixel(const Loop& loop, std::int64_t m, int n0, int n1) {
  constexpr int kAtOnce = 4;
  const QConvPacked& packed = loop.packed;
  const v128_t ones = loop.ones;
  const std::byte* const pixels[1] = {pixel_at(loop.call, m)};
  std::byte* const out[1] = {loop.call.out + m * loop.epilogue.pixel_bytes};
  const std::int8_t* w = loop.weights(n0);
  for (int n = n0; n < n1; n += kColumns) {
    v128_t acc[kAtOnce][2] = {};
    for (int s = 0; s < packed.spec.segments; ++s) {
      const std::byte* x = pixels[0] + loop.call.segment_offset[s];
      const auto add = [&](int g) __attribute__((always_inline)) {
        const v128_t codes = wasm_v128_load32_splat(x + g * kGroup);
        for (int half = 0; half < 2; ++half) {
          acc[g][half] = add_dot<kClass>(
              acc[g][half], wasm_v128_load(w + g * kGroupBytes + 16 * half), codes, ones);
        }
      };
      int left = packed.groups;
      for (; left >= kAtOnce; left -= kAtOnce, x += kAtOnce * kGroup, w += kAtOnce * kGroupBytes)
        for (int g = 0; g < kAtOnce; ++g) add(g);
      for (; left > 0; --left, x += kGroup, w += kGroupBytes) add(0);
    }
    v128_t sums[1][2];
    start(sums, packed, n);
    for (int g = 0; g < kAtOnce; ++g) {
      for (int half = 0; half < 2; ++half)
        sums[0][half] = wasm_i32x4_add(sums[0][half], acc[g][half]);
    }
    add_residuals<kClass>(sums, loop, pixels, n);
    store_tile(sums, packed, loop.call, loop.epilogue, out, n);
  }
}

// Pixels first .. last of a call, kRows at a time.
template <EngineClass kClass, int kRows, bool kQuads>
[[gnu::noinline]] void run_pixels(const Loop& loop, std::int64_t first, std::int64_t last) {
  const QConvPacked& packed = loop.packed;
  const QConvCall& call = loop.call;
  const int end = call.end_channel(packed.spec.channels);
  // One pixel reads all weights once: nothing to keep in the cache.
  const int block = call.pixels == 1 ? end : block_channels(packed, loop.tile_bytes);
  constexpr bool kHasOneSegment = kRows == 6;  // where it gains; code is downloaded
  const bool one_segment = kHasOneSegment && packed.spec.segments == 1 && packed.groups > 0;
  for (int n0 = call.first_channel; n0 < end; n0 += block) {
    const int n1 = std::min(n0 + block, end);
    for (std::int64_t m = first; m < last; m += kRows) {
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

// Both shapes' pixels in a tile. Of registers V8 gives 15 on x86, where the first ones were the
// fastest or near them on all processors that were measured, and 30 on ARM.
template <EngineClass kClass, bool kQuads>
struct Shapes {
  static constexpr bool kPairs = kClass == EngineClass::kMaddubs;
  static constexpr int kFirst = !kPairs ? 6 : kQuads ? 3 : 5;
  // Fours, which few layers have, do not race: 3 and 4 pixels are the same within 3 %.
  static constexpr int kSecond = !kPairs ? 8 : kQuads ? kFirst : 4;
};

template <EngineClass kClass, bool kQuads>
void run_raced(const QConvPacked& packed, const QConvCall& call) {
  using Of = Shapes<kClass, kQuads>;
  const Loop loop(packed, call);
  if constexpr (Of::kFirst == Of::kSecond) {
    run_pixels<kClass, Of::kFirst, kQuads>(loop, 0, call.pixels);
    return;
  }
  static constinit ShapeRace race;
  const std::int64_t products = call.pixels *
                                (call.end_channel(packed.spec.channels) - call.first_channel) *
                                packed.spec.segments * packed.spec.length;
  race.run(call.pixels, std::lcm(Of::kFirst, Of::kSecond), products,
           [&loop](ShapeRace::Shape shape, std::int64_t first, std::int64_t last) {
             if (shape == ShapeRace::Shape::kFirst) {
               run_pixels<kClass, Of::kFirst, kQuads>(loop, first, last);
             } else {
               run_pixels<kClass, Of::kSecond, kQuads>(loop, first, last);
             }
           });
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
  }
  std::vector<std::int8_t> kept(weights.begin(), weights.end());
  cut_all<kClass>(spec, kept, packed);
  packed.weights = pack_tiles(spec, kept, kGroup, packed.groups);
  return packed;
}

// Whether so few weights are out of range that the residuals cost less than dot16 would: asked of
// vectors of channels spread over the layer.
template <EngineClass kClass>
bool direct_pays(const QConvSpec& spec, std::span<const std::int8_t> weights) {
  if constexpr (kTakesAll<kClass>) return true;
  constexpr int kMostAsked = 16;
  const std::size_t row =
      static_cast<std::size_t>(spec.segments) * static_cast<std::size_t>(spec.length);
  const int vectors = (spec.channels + kHalf - 1) / kHalf;
  const int asked = std::min(vectors, kMostAsked);
  const double most =
      kMostResiduals * asked * spec.segments * ((spec.length + kGroup - 1) / kGroup);
  QConvPacked found;  // residuals only
  const auto few = [&] { return static_cast<double>(found.residuals.size()) <= most; };
  for (int i = 0; i < asked && few(); ++i) {
    const int from = static_cast<int>(std::int64_t{i} * vectors / asked) * kHalf;
    QConvSpec vector = spec;
    vector.channels = std::min(kHalf, spec.channels - from);
    const auto own = weights.subspan(static_cast<std::size_t>(from) * row,
                                     static_cast<std::size_t>(vector.channels) * row);
    std::vector<std::int8_t> kept(own.begin(), own.end());
    cut_all<kClass>(vector, kept, found);
  }
  return few();
}

template <EngineClass kClass>
void run_direct(const QConvPacked& packed, const QConvCall& call) {
  constexpr EngineClass kSame = instruction_of(kClass);
  if constexpr (kClass == EngineClass::kMaddubs) {
    packed.quads ? run_raced<kSame, true>(packed, call) : run_raced<kSame, false>(packed, call);
  } else {
    run_raced<kSame, false>(packed, call);
  }
}

// One shape for all calls, which only tests and benchmarks ask for: the row behind it races.
template <EngineClass kClass, bool kSecond>
void run_shape(const QConvPacked& packed, const QConvCall& call) {
  constexpr EngineClass kSame = instruction_of(kClass);
  const auto run = [&]<bool kQuads>() {
    using Of = Shapes<kSame, kQuads>;
    run_pixels<kSame, kSecond ? Of::kSecond : Of::kFirst, kQuads>(Loop(packed, call), 0,
                                                                  call.pixels);
  };
  if constexpr (kClass == EngineClass::kMaddubs) {
    packed.quads ? run.template operator()<true>() : run.template operator()<false>();
  } else {
    run.template operator()<false>();
  }
}

template <EngineClass kClass>
constexpr std::array<QConvKernel, 3> rows(std::string_view first, std::string_view second,
                                          std::string_view raced, bool x_signed) {
  const QConvKernel row{raced,
                        simd::Level::kRelaxed,
                        kClass,
                        x_signed,
                        &pack_direct<kClass>,
                        &run_direct<kClass>,
                        &direct_pays<kClass>};
  std::array<QConvKernel, 3> all{row, row, row};
  all[0].name = first;
  all[0].run = &run_shape<kClass, false>;
  all[1].name = second;
  all[1].run = &run_shape<kClass, true>;
  return all;
}

template <bool kPresent>
std::span<const QConvKernel> relaxed_rows() {
  if constexpr (kPresent) {
    static constexpr std::array kRows{
        rows<EngineClass::kUsdot>("qconv/relaxed-usdot-6", "qconv/relaxed-usdot-8",
                                  "qconv/relaxed-usdot", false),
        rows<EngineClass::kSdot>("qconv/relaxed-sdot-6", "qconv/relaxed-sdot-8",
                                 "qconv/relaxed-sdot", true),
        rows<EngineClass::kMaddubs>("qconv/relaxed-maddubs-5", "qconv/relaxed-maddubs-4",
                                    "qconv/relaxed-maddubs", false),
        rows<EngineClass::kWrap>("qconv/relaxed-wrap-6", "qconv/relaxed-wrap-8",
                                 "qconv/relaxed-wrap", true)};
    return {kRows.front().data(), kRows.size() * kRows.front().size()};
  } else {
    return {};
  }
}

}  // namespace

std::span<const QConvKernel> qconv_direct_rows() { return relaxed_rows<simd::kHasRelaxedRows>(); }

}  // namespace octavo::kernels
