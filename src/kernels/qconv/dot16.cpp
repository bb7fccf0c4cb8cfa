// qconv on SIMD128: i32x4.dot_i16x8 on a panel of widened pixels. Exact for all weights.
#include <array>

#include "kernels/qconv/rows.h"
#include "kernels/qconv/tiles.h"

namespace octavo::kernels {

namespace {

constexpr int kPanelRows = 4;
// Pixels whose panels are made together, so that weights are widened once for all of them: as many
// as fit into a part of the second-level cache, between these.
constexpr std::int64_t kPanelBytes = 96 * 1024;
constexpr std::int64_t kFewestPixels = 48;
constexpr std::int64_t kMostPixels = 204;
// Groups of widened weights of 8 channels that stay in the first-level cache, and a panel with
// them.
constexpr int kMostGroups = 512;
constexpr int kGroupWeights = 2 * kColumns;

std::int64_t pixels_of_piece(std::int64_t groups) {
  return std::clamp(kPanelBytes / std::max<std::int64_t>(1, groups * 4) / kPanelRows * kPanelRows,
                    kFewestPixels, kMostPixels);
}

QConvPacked pack_dot16(const QConvSpec& spec, std::span<const std::int8_t> weights,
                       std::span<const std::int32_t> bias, std::span<const float> scale) {
  QConvPacked packed = pack_common(spec, weights, bias, scale);
  packed.groups = (spec.length + 1) / 2;
  packed.weights = pack_tiles(spec, weights, 2, packed.groups);
  const std::int64_t groups = std::int64_t{spec.segments} * packed.groups;
  packed.scratch_bytes = static_cast<std::size_t>(
      pixels_of_piece(groups) * (groups * 4 + kColumns * 4) + kMostGroups * kGroupWeights * 2 + 64);
  return packed;
}

// panel[group][row] = two 16-bit codes: [segment][k / 2][row][2].
template <class Code>
void widen_panel(const QConvPacked& packed, const QConvCall& call, std::int64_t m0,
                 std::int16_t* panel) {
  const QConvSpec& spec = packed.spec;
  const int length = packed.groups * 2;
  const std::byte* pixel[kPanelRows];
  pixels_at(call, m0, pixel);
  for (int s = 0; s < spec.segments; ++s) {
    const Code* row[kPanelRows];
    for (int r = 0; r < kPanelRows; ++r)
      row[r] = reinterpret_cast<const Code*>(pixel[r] + call.segment_offset[s]);
    int k = 0;
    for (; k + 8 <= length; k += 8, panel += 8 * kPanelRows) {
      const v128_t a = extend8(row[0] + k);
      const v128_t b = extend8(row[1] + k);
      const v128_t c = extend8(row[2] + k);
      const v128_t d = extend8(row[3] + k);
      const v128_t ab_low = wasm_i32x4_shuffle(a, b, 0, 4, 1, 5);
      const v128_t cd_low = wasm_i32x4_shuffle(c, d, 0, 4, 1, 5);
      const v128_t ab_high = wasm_i32x4_shuffle(a, b, 2, 6, 3, 7);
      const v128_t cd_high = wasm_i32x4_shuffle(c, d, 2, 6, 3, 7);
      wasm_v128_store(panel, wasm_i64x2_shuffle(ab_low, cd_low, 0, 2));
      wasm_v128_store(panel + 8, wasm_i64x2_shuffle(ab_low, cd_low, 1, 3));
      wasm_v128_store(panel + 16, wasm_i64x2_shuffle(ab_high, cd_high, 0, 2));
      wasm_v128_store(panel + 24, wasm_i64x2_shuffle(ab_high, cd_high, 1, 3));
    }
    for (; k < length; k += 2, panel += 2 * kPanelRows) {
      for (int r = 0; r < kPanelRows; ++r) {
        panel[2 * r] = row[r][k];
        // The byte past an odd segment meets a zero weight; it is not read.
        panel[2 * r + 1] =
            k + 1 < spec.length ? static_cast<std::int16_t>(row[r][k + 1]) : std::int16_t{0};
      }
    }
  }
}

// Widened where they are used, weights would take the port that sums need too: 30 GMAC/s of 34.
void widen_weights(const std::int8_t* weights, std::int64_t count, std::int16_t* out) {
  for (const std::int8_t* end = weights + count; weights < end; weights += 16, out += 16) {
    wasm_v128_store(out, wasm_i16x8_load8x8(weights));
    wasm_v128_store(out + 8, wasm_i16x8_load8x8(weights + 8));
  }
}

// One more group for the rows of a panel: their pairs of codes lie one after the other at `a`.
[[gnu::always_inline]] inline void add_pairs(v128_t (&acc)[kPanelRows][2], const std::int16_t* a,
                                             const std::int16_t* w) {
  const v128_t w0 = wasm_v128_load(w);
  const v128_t w1 = wasm_v128_load(w + kColumns);
  for (int r = 0; r < kPanelRows; ++r) {
    const v128_t x = wasm_v128_load32_splat(a + 2 * r);
    acc[r][0] = wasm_i32x4_add(acc[r][0], wasm_i32x4_dot_i16x8(w0, x));
    acc[r][1] = wasm_i32x4_add(acc[r][1], wasm_i32x4_dot_i16x8(w1, x));
  }
}

// One pixel (a matrix times a vector), widened at `row`, by kTiles tiles at once.
template <int kTiles>
[[gnu::always_inline]] inline void one_pixel(const QConvPacked& packed, const QConvCall& call,
                                             const Epilogue& epilogue, const std::int16_t* row,
                                             std::byte* place, int groups, int n) {
  v128_t acc[kTiles][2];
  for (int t = 0; t < kTiles; ++t) {
    acc[t][0] = wasm_v128_load(packed.bias.data() + n + t * kColumns);
    acc[t][1] = wasm_v128_load(packed.bias.data() + n + t * kColumns + 4);
  }
  const std::int64_t tile_bytes = std::int64_t{groups} * 2 * kColumns;
  const std::int8_t* w = packed.weights.data() + n / kColumns * tile_bytes;
  for (int g = 0; g < groups; ++g, w += 2 * kColumns) {
    const v128_t x = wasm_v128_load32_splat(row + 2 * g);
    for (int t = 0; t < kTiles; ++t) {
      const std::int8_t* of_tile = w + t * tile_bytes;
      acc[t][0] = wasm_i32x4_add(acc[t][0], wasm_i32x4_dot_i16x8(wasm_i16x8_load8x8(of_tile), x));
      acc[t][1] = wasm_i32x4_add(acc[t][1],
                                 wasm_i32x4_dot_i16x8(wasm_i16x8_load8x8(of_tile + kColumns), x));
    }
  }
  std::byte* const out[1] = {place};
  for (int t = 0; t < kTiles; ++t) {
    const v128_t sums[1][2] = {{acc[t][0], acc[t][1]}};
    store_tile(sums, packed, call, epilogue, out, n + t * kColumns);
  }
}

template <class Code>
[[gnu::noinline]] void run_one_pixel(const QConvPacked& packed, const QConvCall& call,
                                     const Epilogue& epilogue, std::int64_t m, int n0, int n1) {
  auto* row = reinterpret_cast<std::int16_t*>(call.scratch);
  const std::byte* pixel = pixel_at(call, m);
  for (int s = 0; s < packed.spec.segments; ++s, row += 2 * packed.groups) {
    const auto* codes = reinterpret_cast<const Code*>(pixel + call.segment_offset[s]);
    int k = 0;
    for (; k + 8 <= packed.spec.length; k += 8) wasm_v128_store(row + k, extend8(codes + k));
    for (; k < 2 * packed.groups; ++k) row[k] = k < packed.spec.length ? codes[k] : Code{0};
  }
  row = reinterpret_cast<std::int16_t*>(call.scratch);
  const int groups = packed.spec.segments * packed.groups;
  std::byte* place = call.out + m * epilogue.pixel_bytes;
  constexpr int kTiles = 5;
  int n = n0;
  for (; n + kTiles * kColumns <= n1; n += kTiles * kColumns)
    one_pixel<kTiles>(packed, call, epilogue, row, place, groups, n);
  for (; n < n1; n += kColumns) one_pixel<1>(packed, call, epilogue, row, place, groups, n);
}

// `groups` of a panel by 8 channels.
[[gnu::always_inline]] inline void add_groups(v128_t (&acc)[kPanelRows][2], const std::int16_t* a,
                                              const std::int16_t* w, int groups) {
  constexpr int kPairs = 2 * kPanelRows;
  // A real branch after each step, as in direct.cpp.
  for (int left = groups; left > 0; a += 4 * kPairs, w += 4 * kGroupWeights) {
    add_pairs(acc, a, w);
    if (--left == 0) break;
    add_pairs(acc, a + kPairs, w + kGroupWeights);
    if (--left == 0) break;
    add_pairs(acc, a + 2 * kPairs, w + 2 * kGroupWeights);
    if (--left == 0) break;
    add_pairs(acc, a + 3 * kPairs, w + 3 * kGroupWeights);
    --left;
  }
}

struct Piece {
  std::int64_t first, last;  // pixels
  std::int16_t* panels;      // one after the other
  std::int16_t* weights;     // kMostGroups * kGroupWeights
  std::int32_t* sums;        // [panel][row][8 channels]
};

// Channels n0 .. n1 - 1, groups g0 .. g1 - 1 of all: a few tiles with all groups, or one tile with
// some, whose sums wait for the rest.
[[gnu::noinline]] void run_piece(const QConvPacked& packed, const QConvCall& call,
                                 const Epilogue& epilogue, const Piece& piece, int n0, int n1,
                                 int g0, int g1) {
  const int groups = packed.spec.segments * packed.groups;
  const int count = g1 - g0;
  widen_weights(packed.weights.data() + (std::int64_t{n0 / kColumns} * groups + g0) * kGroupWeights,
                std::int64_t{(n1 - n0 + kColumns - 1) / kColumns} * count * kGroupWeights,
                piece.weights);
  const std::int16_t* a = piece.panels + g0 * 2 * kPanelRows;
  std::int32_t* sums = piece.sums;
  for (std::int64_t m = piece.first; m < piece.last; m += kPanelRows) {
    std::byte* out[kPanelRows];
    out_pixels(call, epilogue, m, out);
    const std::int16_t* w = piece.weights;
    for (int n = n0; n < n1; n += kColumns, w += count * kGroupWeights) {
      const bool begins = g0 == 0;
      const std::int32_t* start = begins ? packed.bias.data() + n : sums;
      v128_t acc[kPanelRows][2];
      for (int r = 0; r < kPanelRows; ++r, start += begins ? 0 : kColumns) {
        acc[r][0] = wasm_v128_load(start);
        acc[r][1] = wasm_v128_load(start + 4);
      }
      add_groups(acc, a, w, count);
      if (g1 == groups) {
        store_tile(acc, packed, call, epilogue, out, n);
        continue;
      }
      for (int r = 0; r < kPanelRows; ++r) {
        wasm_v128_store(sums + r * kColumns, acc[r][0]);
        wasm_v128_store(sums + r * kColumns + 4, acc[r][1]);
      }
    }
    a += std::int64_t{groups} * 2 * kPanelRows;
    sums += kPanelRows * kColumns;
  }
}

template <class Code>
void run_dot16(const QConvPacked& packed, const QConvCall& call) {
  const Epilogue epilogue(packed, call);
  const int groups = packed.spec.segments * packed.groups;
  const int end = call.end_channel(packed.spec.channels);
  const int of_chunk = std::min(std::max(groups, 1), kMostGroups);
  const int block = kMostGroups / of_chunk * kColumns;
  // One pixel reads all weights once, a panel with three rows for nothing.
  const bool one_left = call.pixels % kPanelRows == 1;
  const std::int64_t pixels = call.pixels - (one_left ? 1 : 0);
  const std::int64_t of_piece = pixels_of_piece(groups);
  const std::int64_t pieces = (pixels + of_piece - 1) / of_piece;
  Piece piece{};
  piece.sums = reinterpret_cast<std::int32_t*>(call.scratch);
  piece.weights = reinterpret_cast<std::int16_t*>(piece.sums + of_piece * kColumns);
  piece.panels = piece.weights + kMostGroups * kGroupWeights;
  for (std::int64_t i = 0; i < pieces; ++i) {
    const auto begin = [&](std::int64_t at) {
      return std::min(pixels, (at * pixels / pieces + kPanelRows - 1) / kPanelRows * kPanelRows);
    };
    piece.first = begin(i);
    piece.last = begin(i + 1);
    std::int16_t* panel = piece.panels;
    for (std::int64_t m = piece.first; m < piece.last; m += kPanelRows) {
      widen_panel<Code>(packed, call, m, panel);
      panel += std::int64_t{groups} * 2 * kPanelRows;
    }
    for (int n0 = call.first_channel; n0 < end; n0 += block) {
      int g0 = 0;
      do {
        const int g1 = std::min(g0 + of_chunk, groups);
        run_piece(packed, call, epilogue, piece, n0, std::min(n0 + block, end), g0, g1);
        g0 = g1;
      } while (g0 < groups);
    }
  }
  if (one_left) run_one_pixel<Code>(packed, call, epilogue, pixels, call.first_channel, end);
}

constexpr QConvKernel row(std::string_view name, bool x_signed,
                          void (*run)(const QConvPacked&, const QConvCall&)) {
  return {name,   simd::Level::kSimd128, simd::EngineClass::kNone, x_signed, &pack_dot16, run,
          nullptr};
}

constexpr std::array kRows{row("qconv/simd128-dot16-u8", false, &run_dot16<std::uint8_t>),
                           row("qconv/simd128-dot16-s8", true, &run_dot16<std::int8_t>)};

}  // namespace

std::span<const QConvKernel> qconv_dot16_rows() { return kRows; }

}  // namespace octavo::kernels
