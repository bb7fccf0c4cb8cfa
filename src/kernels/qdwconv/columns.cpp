// qdwconv for windows of 3x3 and 5x5: a column of the window (its codes one above the other,
// interleaved into groups for the dot product) is loaded once and used for all outputs it is under.
//
// A tile of 8 channels walks along a row of outputs with its sums in flight: with stride 1 a column
// is the last of one output, the second last of the next, and so on. Dilation along a row splits it
// into interleaved rows without.
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
// bits for most filters. 5x5 gains nothing over pairs of taps in any order (qdwconv.cpp).
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

// Words (r0 r1) (r2 .), unsigned codes: for the other filters.
struct Dot16 {
  template <int kSize>
  static constexpr int kGroups = 2;
  static v128_t add(v128_t acc, v128_t w, v128_t x, v128_t) {
    return wasm_i32x4_add(acc, wasm_i32x4_dot_i16x8(x, w));
  }
  [[gnu::always_inline]] static void load(const std::byte* const (&r)[3], std::int64_t at,
                                          v128_t (&v)[2][2]) {
    interleave_words(words(r[0] + at), words(r[1] + at), v[0]);
    extend_words(words(r[2] + at), v[1]);
  }
};

// ---- one row of outputs of one tile ----

struct TileRow {
  const std::byte* x[5];  // the rows of the window under the first output
  std::int64_t column_step, count;
  std::byte* out;
  std::int64_t out_step;
  const std::byte* weights;
  const std::int32_t* bias;
  const float* scale;
  const RequantizeVectors* requantize;
  v128_t ones;
};
using TileRowFn = void (*)(const TileRow&);

// Weights are [column][group][half] of 16 bytes.
template <class Form, int kSize, int kStride>
void run_tile_row(const TileRow& t) {
  constexpr int kGroups = Form::template kGroups<kSize>;
  constexpr int kInFlight = (kSize - 1) / kStride;
  constexpr bool kResident = kSize * kGroups <= 3;  // else the weights are read where they are used
  const std::byte* x[kSize];
  for (int r = 0; r < kSize; ++r) x[r] = t.x[r];
  v128_t w[kSize][kGroups][2];
  if constexpr (kResident) {
    for (int i = 0; i < kSize * kGroups * 2; ++i)
      w[i / (kGroups * 2)][i / 2 % kGroups][i % 2] = wasm_v128_load(t.weights + 16 * i);
  }
  const v128_t ones = t.ones;
  const v128_t bias[2] = {wasm_v128_load(t.bias), wasm_v128_load(t.bias + 4)};
  const v128_t scale0 = wasm_v128_load(t.scale);
  const v128_t scale1 = wasm_v128_load(t.scale + 4);
  const RequantizeVectors k = *t.requantize;
  const std::byte* const weights = t.weights;
  v128_t sums[kInFlight][2];  // of the outputs whose first columns have passed
  for (auto& sum : sums) {
    sum[0] = bias[0];
    sum[1] = bias[1];
  }
  v128_t v[kGroups][2];
  const auto next_column = [&]() __attribute__((always_inline)) {
    Form::load(x, 0, v);
    for (int r = 0; r < kSize; ++r) x[r] += t.column_step;
  };
  const auto with = [&](v128_t acc, int column, int half) __attribute__((always_inline)) {
    for (int g = 0; g < kGroups; ++g) {
      const v128_t weight =
          kResident ? w[column][g][half]
                    : wasm_v128_load(weights + 16 * ((column * kGroups + g) * 2 + half));
      acc = Form::add(acc, weight, v[g][half], ones);
    }
    return acc;
  };
  v128_t done[2];
  // The column that is the last one of the first output in flight, and the first one of a new one.
  const auto last_column = [&]() __attribute__((always_inline)) {
    next_column();
    for (int half = 0; half < 2; ++half) {
      done[half] = with(sums[0][half], kSize - 1, half);
      for (int j = 0; j + 1 < kInFlight; ++j)
        sums[j][half] = with(sums[j + 1][half], kSize - 1 - kStride * (j + 1), half);
      sums[kInFlight - 1][half] = with(bias[half], 0, half);
    }
  };
  // Stride 2: the column between.
  const auto middle_column = [&]() __attribute__((always_inline)) {
    next_column();
    for (int half = 0; half < 2; ++half) {
      for (int j = 0; j < kInFlight; ++j)
        sums[j][half] = with(sums[j][half], kSize - 2 - kStride * j, half);
    }
  };
  for (int column = 0; column + kStride < kSize; ++column)
    kStride == 1 || column % 2 == 0 ? last_column() : middle_column();
  std::byte* out = t.out;
  for (std::int64_t left = t.count; left > 0; --left, out += t.out_step) {
    if constexpr (kStride == 2) middle_column();
    last_column();
    const v128_t half = requantize8<true>(done[0], done[1], scale0, scale1, k);
    wasm_v128_store64_lane(out, narrow_codes(half, half, k), 0);
  }
}

// ---- windows ----

// For a square window.
bool by_columns(const QDwConvSpec& spec) {
  return spec.taps == spec.kernel_w * spec.kernel_w && spec.channels >= kLanes &&
         (spec.dilation % spec.stride == 0 || spec.stride == 2 * spec.dilation);
}

int tiles_of(const QDwConvSpec& spec) { return padded_dw_channels(spec) / kLanes; }

// The last tile may do channels of the one before once more: it writes nothing beyond the pixel.
int first_channel(const QDwConvSpec& spec, int tile) {
  return std::min(tile * kLanes, spec.channels - kLanes);
}

template <class Form, int kSize>
TileRowFn tile_row(const QDwConvSpec& spec) {
  return spec.dilation % spec.stride == 0 ? &run_tile_row<Form, kSize, 1>
                                          : &run_tile_row<Form, kSize, 2>;
}

std::size_t tile_bytes(const QDwConvSpec& spec, int groups) {
  return static_cast<std::size_t>(spec.kernel_w) * static_cast<std::size_t>(groups) * 32;
}

void run_columns(const QDwConvPacked& packed, const QDwConvCall& call, TileRowFn narrow,
                 TileRowFn wide, std::size_t bytes_of_tile) {
  if (!packed.bounded) return run_dw_pairs(packed, call);
  const QDwConvSpec& spec = packed.spec;
  const RequantizeVectors requantize =
      RequantizeVectors::make({call.zero_y, call.lo, call.hi}, spec.x_signed);
  // Outputs whose columns are the same: every phases-th of a row.
  const std::int64_t phases = std::max(1, spec.dilation / spec.stride);
  TileRow t{};
  t.column_step = call.pixel_stride / spec.stride * spec.dilation;
  t.out_step = phases * call.out_stride;
  t.requantize = &requantize;
  t.ones = simd::from_memory(wasm_i16x8_splat(1));
  for (std::int64_t m = 0; m < call.pixels; m += call.width) {
    const std::int64_t in_row = std::min(call.width, call.pixels - m);
    const std::byte* row = call.x + m / call.width * call.row_stride;
    t.weights = reinterpret_cast<const std::byte*>(packed.weights.data());
    for (int tile = 0; tile < tiles_of(spec); ++tile, t.weights += bytes_of_tile) {
      const int c = first_channel(spec, tile);
      t.bias = packed.bias.data() + c;
      t.scale = packed.scale.data() + c;
      const bool is_wide =
          !packed.wide_tiles.empty() && packed.wide_tiles[static_cast<std::size_t>(tile)] != 0;
      for (std::int64_t phase = 0; phase < std::min(phases, in_row); ++phase) {
        for (int r = 0; r < spec.kernel_w; ++r) {
          t.x[r] = row + phase * call.pixel_stride + call.tap_offset[r * spec.kernel_w] + c;
        }
        t.count = (in_row - phase + phases - 1) / phases;
        t.out = call.out + (m + phase) * call.out_stride + c;
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
  const int size = spec.kernel_w;
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
  return packed;
}

std::int8_t* column_at(QDwConvPacked& packed, int tile, int column, std::size_t bytes_of_tile,
                       int groups) {
  return reinterpret_cast<std::int8_t*>(packed.weights.data()) +
         static_cast<std::size_t>(tile) * bytes_of_tile +
         static_cast<std::size_t>(column * groups) * 32;
}

// ---- rows ----
//
// Products out of the range of the rounding trick are so rare that the loops have no form for it:
// such weights run as any window.

// A module without relaxed SIMD has no row for these two; Clang warns of what only a discarded
// branch names.
[[maybe_unused]] QDwConvPacked pack_maddubs(const QDwConvSpec& spec,
                                            std::span<const std::int8_t> weights,
                                            std::span<const std::int32_t> bias,
                                            std::span<const float> scale) {
  constexpr int kWide = Dot16::kGroups<3>;
  QDwConvPacked packed = pack_empty(spec, weights, bias, scale, kWide);
  if (!packed.bounded) return pack_dw_pairs(spec, weights, bias, scale);
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
[[maybe_unused]] void run_maddubs(const QDwConvPacked& packed, const QDwConvCall& call) {
  run_columns(packed, call, tile_row<Maddubs, 3>(packed.spec), tile_row<Dot16, 3>(packed.spec),
              tile_bytes(packed.spec, Dot16::kGroups<3>));
}

template <EngineClass kClass, int kSize>
QDwConvPacked pack_dot(const QDwConvSpec& spec, std::span<const std::int8_t> weights,
                       std::span<const std::int32_t> bias, std::span<const float> scale) {
  constexpr int kGroups = Dot<kClass>::template kGroups<kSize>;
  QDwConvPacked packed = pack_empty(spec, weights, bias, scale, kGroups);
  if (!packed.bounded) return pack_dw_pairs(spec, weights, bias, scale);
  for (int tile = 0; tile < tiles_of(spec); ++tile) {
    each_column(spec, weights, tile, [&](const ColumnWeights& w, int column, int channel) {
      fill_bytes(column_at(packed, tile, column, tile_bytes(spec, kGroups), kGroups), channel,
                 std::span(w).first(kSize));
    });
  }
  return packed;
}
template <EngineClass kClass, int kSize>
void run_dot(const QDwConvPacked& packed, const QDwConvCall& call) {
  // The exact classes have one instruction in a wasm module; natively each has a model.
  using Form = Dot<simd::kHasRelaxed ? EngineClass::kUsdot : kClass>;
  const TileRowFn run = tile_row<Form, kSize>(packed.spec);
  run_columns(packed, call, run, run, tile_bytes(packed.spec, Form::template kGroups<kSize>));
}

template <bool kSigned, int kSize>
bool fits(const QDwConvSpec& spec) {
  return spec.x_signed == kSigned && spec.kernel_w == kSize && by_columns(spec);
}

template <EngineClass kClass, int kSize>
constexpr QDwConvKernel dot_row(std::string_view name) {
  return {name,
          simd::Level::kRelaxed,
          kClass,
          &fits<kClass == EngineClass::kSdot, kSize>,
          &pack_dot<kClass, kSize>,
          &run_dot<kClass, kSize>};
}

template <bool kPresent>
std::span<const QDwConvKernel> relaxed_rows() {
  if constexpr (kPresent) {
    static constexpr std::array kRows{
        dot_row<EngineClass::kUsdot, 3>("qdwconv/relaxed-usdot-3x3"),
        dot_row<EngineClass::kUsdot, 5>("qdwconv/relaxed-usdot-5x5"),
        dot_row<EngineClass::kSdot, 3>("qdwconv/relaxed-sdot-3x3"),
        dot_row<EngineClass::kSdot, 5>("qdwconv/relaxed-sdot-5x5"),
        QDwConvKernel{"qdwconv/relaxed-maddubs-3x3", simd::Level::kRelaxed, EngineClass::kMaddubs,
                      &fits<false, 3>, &pack_maddubs, &run_maddubs}};
    return kRows;
  } else {
    return {};
  }
}

}  // namespace

std::span<const QDwConvKernel> qdwconv_column_rows() {
  return relaxed_rows<simd::kHasRelaxedRows>();
}

}  // namespace octavo::kernels
