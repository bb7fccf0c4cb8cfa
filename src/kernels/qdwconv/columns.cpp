// qdwconv for windows of 3x3 and 5x5: a column of the window (its codes one above the other,
// interleaved into groups for the dot product) is loaded once and used for all outputs it is under.
//
// A tile of 8 channels walks along a row of outputs with its sums in flight (dw_window.h). Where
// the window hangs over the image, the walk goes on over a border that lies elsewhere: nothing is
// copied.
#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/qconv/requantize.h"
#include "kernels/qdwconv/rows.h"
#include "simd/relaxed.h"

namespace octavo::kernels {

namespace {

using simd::EngineClass;

// ---- forms: how rows are grouped for the machine's dot product ----
//
// kGroups<kSize> dot products take the kSize codes of a column, for channels 0 .. 3 and 4 .. 7 of a
// tile. In () the rows r0 .. of a group; a dot meets weight 0.

v128_t low_bytes(const std::byte* p) { return wasm_v128_load64_zero(p); }
v128_t words(const std::byte* p) { return wasm_u16x8_load8x8(p); }
v128_t interleave_bytes(v128_t a, v128_t b) {
  return wasm_i8x16_shuffle(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
void interleave_words(v128_t a, v128_t b, v128_t (&v)[2]) {
  v[0] = wasm_i16x8_shuffle(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
  v[1] = wasm_i16x8_shuffle(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
}
void extend_words(v128_t a, v128_t (&v)[2]) {  // each beside a zero
  v[0] = wasm_u32x4_extend_low_u16x8(a);
  v[1] = wasm_u32x4_extend_high_u16x8(a);
}

// (r0 r1 r2 .) or (r0 r1 r2 r3) (r4 . . .)
template <EngineClass kClass>
struct Dot {
  template <int kSize>
  static constexpr int kGroups = kSize == 3 ? 1 : 2;
  static v128_t add(v128_t acc, v128_t w, v128_t x, v128_t) {
    return simd::relaxed_dot<kClass>(w, x, acc);
  }
  template <int kSize>
  [[gnu::always_inline]] static void load(const std::byte* const (&r)[kSize], std::int64_t at,
                                          v128_t (&v)[kGroups<kSize>][2]) {
    const v128_t top = interleave_bytes(low_bytes(r[0] + at), low_bytes(r[1] + at));
    if constexpr (kSize == 3) {
      interleave_words(top, words(r[2] + at), v[0]);
    } else {
      interleave_words(top, interleave_bytes(low_bytes(r[2] + at), low_bytes(r[3] + at)), v[0]);
      extend_words(words(r[4] + at), v[1]);
    }
  }
};

// (r0 r1 r1 r2): the middle weight is split over two pairs, so that sums of pairs stay within 16
// bits for most filters. 5x5 gains nothing over pairs of 16-bit words.
struct Maddubs {
  template <int kSize>
  static constexpr int kGroups = 1;
  static v128_t add(v128_t acc, v128_t w, v128_t x, v128_t ones) {
    return wasm_i32x4_add(
        acc, wasm_i32x4_dot_i16x8(simd::relaxed_pair_dot<EngineClass::kMaddubs>(w, x), ones));
  }
  [[gnu::always_inline]] static void load(const std::byte* const (&r)[3], std::int64_t at,
                                          v128_t (&v)[1][2]) {
    const v128_t middle = low_bytes(r[1] + at);
    interleave_words(interleave_bytes(low_bytes(r[0] + at), middle),
                     interleave_bytes(middle, low_bytes(r[2] + at)), v[0]);
  }
};

// Words (r0 r1) (r2 .) or (r0 r1) (r2 r3) (r4 .): for the other filters, and where there are no
// products of bytes.
template <bool kSigned>
struct Dot16 {
  template <int kSize>
  static constexpr int kGroups = (kSize + 1) / 2;
  static v128_t add(v128_t acc, v128_t w, v128_t x, v128_t) {
    return wasm_i32x4_add(acc, wasm_i32x4_dot_i16x8(x, w));
  }
  template <int kSize>
  [[gnu::always_inline]] static void load(const std::byte* const (&r)[kSize], std::int64_t at,
                                          v128_t (&v)[kGroups<kSize>][2]) {
    const auto row = [&](int i) {
      return kSigned ? wasm_i16x8_load8x8(r[i] + at) : words(r[i] + at);
    };
    for (int i = 0; i + 1 < kSize; i += 2) interleave_words(row(i), row(i + 1), v[i / 2]);
    extend_words(row(kSize - 1), v[kSize / 2]);
  }
};

// ---- a few rows of outputs of one tile ----

// Rows for which a tile loads its weights and bounds once.
constexpr std::int64_t kMostRows = 8;

struct TileRows {
  const DwPhase* phases;  // one a row
  std::int64_t rows;
  std::int64_t first_channel, column_step;
  std::byte* out;
  std::int64_t out_step, out_row;
  const std::byte* weights;
  const std::int32_t* bias;
  const float* scale;
  const RequantizeVectors* requantize;
  v128_t ones;
};
using TileRowsFn = void (*)(const TileRows&);

// Weights are [column][group][half] of 16 bytes.
template <class Form, int kSize>
struct Tile {
  static constexpr int kGroups = Form::template kGroups<kSize>;
  static constexpr bool kResident = kSize * kGroups <= 3;  // else read where they are used
  static constexpr bool kInPairs = kResident;
  struct Sum {
    v128_t half[2];
  };

  const TileRows& t;
  const v128_t ones, bias0, bias1, scale0, scale1;
  // Only these two: the bounds, which are hardly ever needed, would push sums out of registers.
  const RoundingVectors rounding;
  const CodeEnds ends;
  const std::byte* const weights;
  std::byte* out;
  v128_t w[kSize][kGroups][2];
  v128_t v[kGroups][2];

  [[gnu::always_inline]] explicit Tile(const TileRows& row)
      : t(row),
        ones(row.ones),
        bias0(wasm_v128_load(row.bias)),
        bias1(wasm_v128_load(row.bias + 4)),
        scale0(wasm_v128_load(row.scale)),
        scale1(wasm_v128_load(row.scale + 4)),
        rounding(row.requantize->rounding),
        ends(row.requantize->ends),
        weights(row.weights),
        out(row.out) {
    if constexpr (kResident) {
      for (int i = 0; i < kSize * kGroups * 2; ++i)
        w[i / (kGroups * 2)][i / 2 % kGroups][i % 2] = wasm_v128_load(weights + 16 * i);
    }
  }
  [[gnu::always_inline]] Sum start() const { return {{bias0, bias1}}; }
  [[gnu::always_inline]] void load(const std::byte* const (&x)[kSize]) { Form::load(x, 0, v); }
  [[gnu::always_inline]] Sum with(Sum sum, int column) const {
    for (int half = 0; half < 2; ++half) {
      for (int g = 0; g < kGroups; ++g) {
        const v128_t weight =
            kResident ? w[column][g][half]
                      : wasm_v128_load(weights + 16 * ((column * kGroups + g) * 2 + half));
        sum.half[half] = Form::add(sum.half[half], weight, v[g][half], ones);
      }
    }
    return sum;
  }
  [[gnu::always_inline]] void finish(Sum sum) {
    v128_t codes;
    if (ends == CodeEnds::kClamped) [[unlikely]] {
      const RequantizeVectors& all = *t.requantize;
      const v128_t half = requantize8<false>(sum.half[0], sum.half[1], scale0, scale1, all);
      codes = clamp_codes(wasm_u8x16_narrow_i16x8(half, half), all);
    } else {
      const v128_t half = wasm_i16x8_narrow_i32x4(requantize4(sum.half[0], scale0, rounding),
                                                  requantize4(sum.half[1], scale1, rounding));
      codes = ends == CodeEnds::kUint8 ? wasm_u8x16_narrow_i16x8(half, half)
                                       : wasm_i8x16_narrow_i16x8(half, half);
    }
    wasm_v128_store64_lane(out, codes, 0);
    out += t.out_step;
  }
};

template <class Form, int kSize, int kStride>
void run_tile_rows(const TileRows& t) {
  Tile<Form, kSize> tile(t);
  for (std::int64_t row = 0; row < t.rows; ++row) {
    tile.out = t.out + row * t.out_row;
    walk<kSize, kStride>(t.phases[row], t.first_channel, t.column_step, tile);
  }
}

// ---- windows ----

int tiles_of(const QDwConvSpec& spec) { return padded_dw_channels(spec) / kLanes; }

// The last tile may do channels of the one before once more: it writes nothing beyond the pixel.
int first_channel(const QDwConvSpec& spec, int tile) {
  return std::min(tile * kLanes, spec.channels - kLanes);
}

template <class Form, int kSize>
TileRowsFn tile_rows(const QDwConvSpec& spec) {
  return spec.window.column_stride() == 1 ? &run_tile_rows<Form, kSize, 1>
                                          : &run_tile_rows<Form, kSize, 2>;
}

std::size_t tile_bytes(const QDwConvSpec& spec, int groups) {
  return static_cast<std::size_t>(spec.window.kernel_w) * static_cast<std::size_t>(groups) * 32;
}

// Rows of outputs that a tile does before the next one: few enough that the lines of the cache
// which eight tiles share, one a pixel, are still there for the next tile.
std::int64_t rows_together(const DwWindow& window) {
  constexpr std::int64_t kMostPixels = 128;
  const std::int64_t of_row = window.stride_h * window.width + window.out_width;
  return std::clamp(kMostPixels / of_row, std::int64_t{1}, kMostRows);
}

void run_columns(const QDwConvPacked& packed, const QDwConvImage& call, TileRowsFn narrow,
                 TileRowsFn wide, std::size_t bytes_of_tile) {
  const QDwConvSpec& spec = packed.spec;
  const DwWindow& window = spec.window;
  const RequantizeVectors requantize =
      RequantizeVectors::make({call.zero_y, call.lo, call.hi}, spec.x_signed, packed.bounded);
  const auto* border = reinterpret_cast<const std::byte*>(packed.border.data());
  TileRows t{};
  t.column_step = window.dilation_w * spec.channels;
  t.out_step = window.phases() * spec.channels;
  t.out_row = window.out_width * spec.channels;
  t.requantize = &requantize;
  t.ones = simd::from_memory(wasm_i16x8_splat(1));
  const std::int64_t most = rows_together(window);
  std::array<DwPhase, kMostRows> phases;
  t.phases = phases.data();
  for (std::int64_t y = call.first_row; y < call.last_row; y += t.rows) {
    t.rows = std::min(most, call.last_row - y);
    for (std::int64_t first = 0; first < std::min(window.phases(), window.out_width); ++first) {
      for (std::int64_t row = 0; row < t.rows; ++row) {
        phases[static_cast<std::size_t>(row)] =
            phase_of(window, y + row, first, call.x, border, spec.channels);
      }
      t.weights = reinterpret_cast<const std::byte*>(packed.weights.data());
      for (int tile = 0; tile < tiles_of(spec); ++tile, t.weights += bytes_of_tile) {
        t.first_channel = first_channel(spec, tile);
        t.bias = packed.bias.data() + t.first_channel;
        t.scale = packed.scale.data() + t.first_channel;
        t.out = call.out + (y * window.out_width + first) * spec.channels + t.first_channel;
        const bool is_wide =
            !packed.wide_tiles.empty() && packed.wide_tiles[static_cast<std::size_t>(tile)] != 0;
        (is_wide ? wide : narrow)(t);
      }
    }
  }
}

// ---- packing ----

// The weights of one channel's column, w[i] of row i, zeros behind.
using ColumnWeights = std::array<int, 5>;

// Writes them into the groups of the column, 4 bytes or 2 words a group.

void fill_bytes(std::int8_t* groups, int channel, std::span<const int> slots) {
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const auto group = static_cast<std::ptrdiff_t>(i / 4);
    groups[group * 32 + channel * 4 + static_cast<std::ptrdiff_t>(i % 4)] =
        static_cast<std::int8_t>(slots[i]);
  }
}

void fill_words(std::int8_t* groups, int channel, std::span<const int> slots) {
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const auto group = static_cast<std::ptrdiff_t>(i / 2);
    const auto word = static_cast<std::int16_t>(slots[i]);
    std::memcpy(groups + group * 32 + channel * 4 + static_cast<std::ptrdiff_t>(i % 2) * 2, &word,
                2);
  }
}

// Pairs (w0, part of w1) (rest of w1, w2) whose positive weights sum up to 128 at most and negative
// ones to -128 at least; false where there are none.
bool split(const ColumnWeights& w, std::array<int, 4>& slots) {
  int carried = w[0];
  for (std::size_t i = 1; i < 3; ++i) {
    const int most = carried > 0 ? 128 - carried : 127;
    const int least = carried < 0 ? -128 - carried : -128;
    const int here = std::clamp(w[i], least, std::min(most, 127));
    slots[2 * i - 2] = carried;
    slots[2 * i - 1] = here;
    carried = w[i] - here;
  }
  return carried == 0;
}

// Calls body(column's weights, tile, column, channel of the tile) for all channels.
template <class Body>
void each_column(const QDwConvSpec& spec, std::span<const std::int8_t> weights, int tile,
                 Body body) {
  const auto size = static_cast<int>(spec.window.kernel_w);
  const int first = first_channel(spec, tile);
  for (int channel = 0; channel < kLanes; ++channel) {
    for (int column = 0; column < size; ++column) {
      ColumnWeights w{};
      for (int i = 0; i < size; ++i) {
        w[static_cast<std::size_t>(i)] =
            weights[static_cast<std::size_t>((first + channel) * spec.taps + i * size + column)];
      }
      body(w, column, channel);
    }
  }
}

// Everything but the weights, which are made zero: `groups` a column.
QDwConvPacked pack_empty(const QDwConvSpec& spec, std::span<const std::int8_t> weights,
                         std::span<const std::int32_t> bias, std::span<const float> scale,
                         int groups) {
  QDwConvPacked packed = pack_dw_common(spec, weights, bias, scale);
  packed.weights.assign(static_cast<std::size_t>(tiles_of(spec)) * tile_bytes(spec, groups) / 2, 0);
  packed.border.assign(
      static_cast<std::size_t>(spec.window.border_pixels() * spec.channels + kReadAhead),
      static_cast<std::uint8_t>(spec.zero_x));
  return packed;
}

std::int8_t* column_at(QDwConvPacked& packed, int tile, int column, std::size_t bytes_of_tile,
                       int groups) {
  return reinterpret_cast<std::int8_t*>(packed.weights.data()) +
         static_cast<std::size_t>(tile) * bytes_of_tile +
         static_cast<std::size_t>(column * groups) * 32;
}

// ---- rows ----

// A module without relaxed SIMD has no row for these two; Clang warns of what only a discarded
// branch names.
[[maybe_unused]] QDwConvPacked pack_maddubs(const QDwConvSpec& spec,
                                            std::span<const std::int8_t> weights,
                                            std::span<const std::int32_t> bias,
                                            std::span<const float> scale) {
  constexpr int kWide = Dot16<false>::kGroups<3>;
  QDwConvPacked packed = pack_empty(spec, weights, bias, scale, kWide);
  const std::size_t bytes = tile_bytes(spec, kWide);
  for (int tile = 0; tile < tiles_of(spec); ++tile) {
    std::array<int, 4> slots{};
    bool wide = false;
    each_column(spec, weights, tile, [&](const ColumnWeights& w, int column, int channel) {
      wide = !split(w, slots) || wide;
      fill_bytes(column_at(packed, tile, column, bytes, 1), channel, slots);
    });
    packed.wide_tiles.push_back(wide ? 1 : 0);
    if (!wide) continue;
    each_column(spec, weights, tile, [&](const ColumnWeights& w, int column, int channel) {
      fill_words(column_at(packed, tile, column, bytes, kWide), channel, std::span(w).first(4));
    });
  }
  return packed;
}
[[maybe_unused]] void run_maddubs(const QDwConvPacked& packed, const QDwConvImage& call) {
  run_columns(packed, call, tile_rows<Maddubs, 3>(packed.spec),
              tile_rows<Dot16<false>, 3>(packed.spec),
              tile_bytes(packed.spec, Dot16<false>::kGroups<3>));
}

template <int kSize>
QDwConvPacked pack_dot16(const QDwConvSpec& spec, std::span<const std::int8_t> weights,
                         std::span<const std::int32_t> bias, std::span<const float> scale) {
  constexpr int kGroups = Dot16<false>::kGroups<kSize>;
  QDwConvPacked packed = pack_empty(spec, weights, bias, scale, kGroups);
  for (int tile = 0; tile < tiles_of(spec); ++tile) {
    each_column(spec, weights, tile, [&](const ColumnWeights& w, int column, int channel) {
      fill_words(column_at(packed, tile, column, tile_bytes(spec, kGroups), kGroups), channel,
                 std::span(w).first(kSize));
    });
  }
  return packed;
}
template <bool kSigned, int kSize>
void run_dot16(const QDwConvPacked& packed, const QDwConvImage& call) {
  const TileRowsFn run = tile_rows<Dot16<kSigned>, kSize>(packed.spec);
  run_columns(packed, call, run, run,
              tile_bytes(packed.spec, Dot16<kSigned>::template kGroups<kSize>));
}

template <EngineClass kClass, int kSize>
QDwConvPacked pack_dot(const QDwConvSpec& spec, std::span<const std::int8_t> weights,
                       std::span<const std::int32_t> bias, std::span<const float> scale) {
  constexpr int kGroups = Dot<kClass>::template kGroups<kSize>;
  QDwConvPacked packed = pack_empty(spec, weights, bias, scale, kGroups);
  for (int tile = 0; tile < tiles_of(spec); ++tile) {
    each_column(spec, weights, tile, [&](const ColumnWeights& w, int column, int channel) {
      fill_bytes(column_at(packed, tile, column, tile_bytes(spec, kGroups), kGroups), channel,
                 std::span(w).first(kSize));
    });
  }
  return packed;
}
template <EngineClass kClass, int kSize>
void run_dot(const QDwConvPacked& packed, const QDwConvImage& call) {
  // The exact classes have one instruction in a wasm module; natively each has a model.
  using Form = Dot<simd::kHasRelaxed ? EngineClass::kUsdot : kClass>;
  const TileRowsFn run = tile_rows<Form, kSize>(packed.spec);
  run_columns(packed, call, run, run, tile_bytes(packed.spec, Form::template kGroups<kSize>));
}

template <bool kSigned, int kSize>
bool fits(const QDwConvSpec& spec) {
  return spec.x_signed == kSigned && spec.channels >= kLanes && spec.taps == kSize * kSize &&
         can_walk(spec.window, kSize);
}

template <EngineClass kClass, int kSize>
constexpr QDwConvKernel dot_row(std::string_view name) {
  return {name,
          simd::Level::kRelaxed,
          kClass,
          &fits<kClass == EngineClass::kSdot, kSize>,
          &pack_dot<kClass, kSize>,
          nullptr,
          &run_dot<kClass, kSize>};
}

template <bool kSigned, int kSize>
constexpr QDwConvKernel dot16_row(std::string_view name) {
  return {name,
          simd::Level::kSimd128,
          EngineClass::kNone,
          &fits<kSigned, kSize>,
          &pack_dot16<kSize>,
          nullptr,
          &run_dot16<kSigned, kSize>};
}

// Signed codes are for two classes, of which SDOT has a row of its own for 5x5.
constexpr std::array kPlainRows{dot16_row<false, 3>("qdwconv/simd128-3x3-u8"),
                                dot16_row<true, 3>("qdwconv/simd128-3x3-s8"),
                                dot16_row<false, 5>("qdwconv/simd128-5x5-u8")};

template <bool kPresent>
std::span<const QDwConvKernel> relaxed_rows() {
  if constexpr (kPresent) {
    static constexpr std::array kRows{
        dot_row<EngineClass::kUsdot, 3>("qdwconv/relaxed-usdot-3x3"),
        dot_row<EngineClass::kUsdot, 5>("qdwconv/relaxed-usdot-5x5"),
        dot_row<EngineClass::kSdot, 3>("qdwconv/relaxed-sdot-3x3"),
        dot_row<EngineClass::kSdot, 5>("qdwconv/relaxed-sdot-5x5"),
        QDwConvKernel{"qdwconv/relaxed-maddubs-3x3", simd::Level::kRelaxed, EngineClass::kMaddubs,
                      &fits<false, 3>, &pack_maddubs, nullptr, &run_maddubs}};
    return kRows;
  } else {
    return {};
  }
}

}  // namespace

std::span<const QDwConvKernel> qdwconv_column_rows() { return kPlainRows; }
std::span<const QDwConvKernel> qdwconv_relaxed_rows() {
  return relaxed_rows<simd::kHasRelaxedRows>();
}

}  // namespace octavo::kernels
