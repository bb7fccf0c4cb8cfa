// qwinograd on SIMD128: F(4x4, 3x3) over strips of tiles, in 16-bit integers.
//
// With U = G g G^T of a channel's weights and V = B^T d B of the 6 x 6 codes under a tile, both
// taken for every c, and M = sum over c of U * V, element by element, A^T M A is 576 times the
// sums:
//
//        |  6   0   0 |          |  4   0  -5   0   1   0 |          | 1  1  1  1  1  0 |
//        |  4   4   4 |          |  0   4   4  -1  -1   0 |          | 0  1 -1  2 -2  0 |
//   G =  |  4  -4   4 |   B^T =  |  0  -4   4   1  -1   0 |   A^T =  | 0  1  1  4  4  0 |
//        |  1   2   4 |          |  0  -2  -1   2   1   0 |          | 0  1 -1  8 -8  2 |
//        |  1  -2   4 |          |  0   2  -1  -2   1   0 |
//        |  0   0  12 |          |  0   4   0  -5   0   1 |
//
// |U| <= 144 * 128 and -12768 <= V <= 17340 for all weights and codes, so both are 16 bits wide and
// products of pairs fit into 32; everything behind is modulo 2^32. A part's sum is within 2^26
// above the lowest one of its channel (winograd_parts), so the 26 bits that are left of it are the
// sum, once the lowest one is taken off: 576 times that is added to M at the place (1, 1), which
// A^T gives to all outputs.
#include "kernels/qconv/tiles.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/qwinograd/rows.h"

namespace octavo::kernels {

namespace {

constexpr int kSide = 6;                  // of the window of a tile, and of its transform
constexpr int kPlaces = kSide * kSide;    // of a transform
constexpr int kStartPlace = kSide + 1;    // (1, 1)
constexpr int kLanes = 8;                 // of 16 bits
constexpr int kPairBytes = 2 * kColumns;  // weights of a pair of input channels for 8 outputs
constexpr std::uint32_t kScale = 576;
constexpr std::int32_t kInverseOfNine = 0x38E38E39;  // modulo 2^32
constexpr int kShift = 6;

// Input channels are taken in chunks of a line of the cache. Within one, places and tiles are apart
// by constants, which cost loads and stores no instruction, and the transformed weights of a chunk
// stay in the first-level cache: writing them behind it took longer than computing them.
constexpr std::int64_t kChunk = kWinogradDepth;
constexpr std::int64_t kChunkPairs = kChunk / 2;
constexpr std::int64_t kPlaceWeights = kChunkPairs * kPairBytes;  // of 8 channels at one place
constexpr std::int64_t kTileCodes = kPlaces * kChunk;             // of a transformed tile
constexpr std::int64_t kGroup = 4;                                // tiles that are done at a time
constexpr std::int64_t kPlaceSums = kGroup * kColumns;            // of a group at one place
constexpr std::int64_t kGroupSums = kPlaces * kPlaceSums;

// Sizes in elements.
struct Sizes {
  std::int64_t pairs;   // of input channels
  std::int64_t tap;     // weights of 8 channels at one tap
  std::int64_t chunks;  // of input channels
  // kSide where the compiler does not know it: unrolled, the passes over tiles would be three times
  // the bytes to download and hardly faster.
  int side = kSide;
  explicit Sizes(const QWinogradSpec& spec)
      : pairs((spec.depth + 1) / 2),
        tap(pairs * kPairBytes),
        chunks((spec.depth + kChunk - 1) / kChunk) {}
  static std::int64_t sums(std::int64_t tiles) {
    return (tiles + kGroup - 1) / kGroup * kGroupSums;
  }
};

// Where the outputs of a tile lie.
struct Place {
  std::int64_t pixel;
  std::int32_t height, width;
};

// ---- weights: U = G g G^T ----
//
// They take 8 times the bytes of the others, so each call transforms those of 8 channels at a time:
// that costs a ninth of a strip of 16 tiles, and a third of one of 4, where reading them
// transformed from memory took longer (512 channels, 7x7: 45 against 82 GMAC/s; 256, 14x14: 82
// against 117).

[[gnu::always_inline]] inline void transform_weights3(const v128_t (&g)[3], v128_t (&u)[kSide]) {
  const v128_t four = wasm_i16x8_shl(wasm_i16x8_add(g[0], g[2]), 2);
  const v128_t middle4 = wasm_i16x8_shl(g[1], 2);
  const v128_t outer = wasm_i16x8_add(g[0], wasm_i16x8_shl(g[2], 2));
  const v128_t middle2 = wasm_i16x8_add(g[1], g[1]);
  u[0] = wasm_i16x8_mul(g[0], wasm_i16x8_splat(6));
  u[1] = wasm_i16x8_add(four, middle4);
  u[2] = wasm_i16x8_sub(four, middle4);
  u[3] = wasm_i16x8_add(outer, middle2);
  u[4] = wasm_i16x8_sub(outer, middle2);
  u[5] = wasm_i16x8_mul(g[2], wasm_i16x8_splat(12));
}

// [tap][pair][8 channels][2] -> [place][pair][8 channels][2], `count` elements of each tap
[[gnu::noinline]] void transform_weights(const std::int8_t* weights, std::int64_t tap,
                                         std::int64_t count, std::int16_t* out) {
  for (const std::int16_t* end = out + count; out < end; out += kLanes, weights += kLanes) {
    v128_t rows[kSide][3];
    for (int j = 0; j < 3; ++j) {
      v128_t column[3];
      for (int i = 0; i < 3; ++i) column[i] = wasm_i16x8_load8x8(weights + (3 * i + j) * tap);
      v128_t transformed[kSide];
      transform_weights3(column, transformed);
      for (int i = 0; i < kSide; ++i) rows[i][j] = transformed[i];
    }
    for (int i = 0; i < kSide; ++i) {
      v128_t row[kSide];
      transform_weights3(rows[i], row);
      for (int j = 0; j < kSide; ++j)
        wasm_v128_store(out + (kSide * i + j) * kPlaceWeights, row[j]);
    }
  }
}

// ---- tiles: V = B^T d B ----

[[gnu::always_inline]] inline void transform_codes6(const v128_t (&d)[kSide], v128_t (&v)[kSide]) {
  const v128_t d13 = wasm_i16x8_sub(d[1], d[3]);
  const v128_t d42 = wasm_i16x8_sub(d[4], d[2]);
  const v128_t twice13 = wasm_i16x8_add(d13, d13);
  const v128_t even = wasm_i16x8_sub(wasm_i16x8_shl(d[2], 2), d[4]);
  const v128_t odd = wasm_i16x8_sub(wasm_i16x8_shl(d[1], 2), d[3]);
  v[0] = wasm_i16x8_add(wasm_i16x8_shl(wasm_i16x8_sub(d[0], d[2]), 2), d42);
  v[1] = wasm_i16x8_add(even, odd);
  v[2] = wasm_i16x8_sub(even, odd);
  v[3] = wasm_i16x8_sub(d42, twice13);
  v[4] = wasm_i16x8_add(d42, twice13);
  v[5] = wasm_i16x8_add(wasm_i16x8_shl(d13, 2), wasm_i16x8_sub(d[5], d[3]));
}

// The 36 pixels under a tile. Columns and rows behind those that outputs need are any: they meet
// sums that nobody asks for.
void find_pixels(const QWinogradPacked& packed, const std::byte* x, std::int64_t tile,
                 const std::byte* (&pixel)[kPlaces]) {
  const QWinogradSpec& spec = packed.spec;
  const std::int64_t in_image = tile % spec.tiles_of_image();
  const std::byte* image = x + tile / spec.tiles_of_image() * spec.height * spec.width * spec.depth;
  const std::int64_t top = in_image / spec.tile_columns() * kWinogradTile - spec.top;
  const std::int64_t left = in_image % spec.tile_columns() * kWinogradTile - spec.left;
  const auto* border = reinterpret_cast<const std::byte*>(packed.border.data());
  const std::byte** to = pixel;
  for (std::int64_t y = top; y < top + kSide; ++y) {
    for (std::int64_t column = left; column < left + kSide; ++column) {
      const bool inside = y >= 0 && y < spec.height && column >= 0 && column < spec.width;
      *to++ = inside ? image + (y * spec.width + column) * spec.depth : border;
    }
  }
}

// [chunk][tile][place][c]
template <class Code>
[[gnu::noinline]] void transform_tiles(const QWinogradPacked& packed, const QWinogradCall& call,
                                       const Sizes& sizes, std::int16_t* out) {
  // Two vectors at a time share the addresses.
  constexpr int kBoth = 2 * kLanes;
  const int side = sizes.side;
  const int depth = packed.spec.depth;
  const std::int64_t chunk = (call.last_tile - call.first_tile) * kTileCodes;
  for (std::int64_t tile = call.first_tile; tile < call.last_tile; ++tile, out += kTileCodes) {
    const std::byte* pixel[kPlaces];
    find_pixels(packed, call.x, tile, pixel);
    for (int c = 0; c < depth; c += kBoth) {
      v128_t columns[2][kSide][kSide];
      const std::byte* const* from = pixel;
      v128_t* to = columns[0][0];
      for (int j = 0; j < side; ++j, ++from, ++to) {
        v128_t d[2][kSide];
        for (int i = 0; i < kSide; ++i) {
          const auto* codes = reinterpret_cast<const Code*>(from[kSide * i] + c);
          d[0][i] = extend8(codes);
          d[1][i] = extend8(codes + kLanes);
        }
        for (int half = 0; half < 2; ++half) {
          v128_t transformed[kSide];
          transform_codes6(d[half], transformed);
          for (int i = 0; i < kSide; ++i) to[half * kPlaces + i * kSide] = transformed[i];
        }
      }
      const v128_t* row = columns[0][0];
      std::int16_t* v = out + c / kChunk * chunk + c % kChunk;
      for (int i = 0; i < side; ++i, row += kSide, v += kSide * kChunk) {
        for (int half = 0; half < 2; ++half) {
          v128_t d[kSide];
          for (int j = 0; j < kSide; ++j) d[j] = row[half * kPlaces + j];
          v128_t transformed[kSide];
          transform_codes6(d, transformed);
          for (int j = 0; j < kSide; ++j)
            wasm_v128_store(v + j * kChunk + half * kLanes, transformed[j]);
        }
      }
    }
  }
}

// ---- products: M = U * V, summed over c ----

// kTiles tiles of V at one place by 8 channels; start_stride: 0 where all tiles start with the
// same.
template <int kTiles>
[[gnu::always_inline]] inline void multiply(const std::int16_t* v, const std::int16_t* u, int pairs,
                                            const std::int32_t* start, std::int64_t start_stride,
                                            std::int32_t* out) {
  v128_t acc[kTiles][2];
  for (int t = 0; t < kTiles; ++t, start += start_stride) {
    acc[t][0] = wasm_v128_load(start);
    acc[t][1] = wasm_v128_load(start + 4);
  }
  const auto step = [&](int at) __attribute__((always_inline)) {
    const v128_t u0 = wasm_v128_load(u);
    const v128_t u1 = wasm_v128_load(u + kLanes);
    for (int t = 0; t < kTiles; ++t) {
      const v128_t codes = wasm_v128_load32_splat(v + t * kTileCodes + 2 * at);
      acc[t][0] = wasm_i32x4_add(acc[t][0], wasm_i32x4_dot_i16x8(u0, codes));
      acc[t][1] = wasm_i32x4_add(acc[t][1], wasm_i32x4_dot_i16x8(u1, codes));
    }
    u += kPairBytes;
  };
  // A real branch after each step, as in qconv/direct.cpp.
  for (;; v += 8) {
    step(0);
    if (--pairs == 0) break;
    step(1);
    if (--pairs == 0) break;
    step(2);
    if (--pairs == 0) break;
    step(3);
    if (--pairs == 0) break;
  }
  for (int t = 0; t < kTiles; ++t) {
    wasm_v128_store(out + t * kColumns, acc[t][0]);
    wasm_v128_store(out + t * kColumns + 4, acc[t][1]);
  }
}

// [place][tile of the group][8 channels]: products of the pairs of a chunk are added to what is in
// `out` or, where `start` is given, to that.
[[gnu::noinline]] void multiply_group(const std::int16_t* v, std::int64_t tiles,
                                      const std::int16_t* u, int pairs, const std::int32_t* start,
                                      std::int32_t* out) {
  static constexpr std::int32_t kZeros[kColumns] = {};
  for (int place = 0; place < kPlaces;
       ++place, u += kPlaceWeights, v += kChunk, out += kPlaceSums) {
    const std::int32_t* from = start == nullptr ? out : place == kStartPlace ? start : kZeros;
    const std::int64_t stride = start == nullptr ? kColumns : 0;
    if (tiles == kGroup) {
      multiply<kGroup>(v, u, pairs, from, stride, out);
      continue;
    }
    for (std::int64_t t = 0; t < tiles; ++t)
      multiply<1>(v + t * kTileCodes, u, pairs, from + t * stride, 0, out + t * kColumns);
  }
}

// ---- outputs: A^T M A / 576 ----

[[gnu::always_inline]] inline void transform_sums6(const v128_t (&m)[kSide],
                                                   v128_t (&y)[kWinogradTile]) {
  const v128_t sum12 = wasm_i32x4_add(m[1], m[2]);
  const v128_t difference12 = wasm_i32x4_sub(m[1], m[2]);
  const v128_t sum34 = wasm_i32x4_add(m[3], m[4]);
  const v128_t difference34 = wasm_i32x4_sub(m[3], m[4]);
  const v128_t twice5 = wasm_i32x4_add(m[5], m[5]);
  y[0] = wasm_i32x4_add(wasm_i32x4_add(m[0], sum12), sum34);
  y[1] = wasm_i32x4_add(wasm_i32x4_add(difference34, difference34), difference12);
  y[2] = wasm_i32x4_add(wasm_i32x4_shl(sum34, 2), sum12);
  y[3] = wasm_i32x4_add(wasm_i32x4_add(wasm_i32x4_shl(difference34, 3), difference12), twice5);
}

void find_places(const QWinogradSpec& spec, const QWinogradCall& call, Place* places) {
  const std::int64_t of_image = spec.tiles_of_image();
  const std::int64_t columns = spec.tile_columns();
  for (std::int64_t tile = call.first_tile; tile < call.last_tile; ++tile, ++places) {
    const std::int64_t y = tile % of_image / columns * kWinogradTile;
    const std::int64_t x = tile % of_image % columns * kWinogradTile;
    *places = {(tile / of_image * spec.out_height + y) * spec.out_width + x,
               static_cast<std::int32_t>(std::min(kWinogradTile, spec.out_height - y)),
               static_cast<std::int32_t>(std::min(kWinogradTile, spec.out_width - x))};
  }
}

constexpr std::int64_t kRowSums = kWinogradTile * kColumns;  // of a row of outputs of a tile

void add_partial(v128_t (&acc)[kWinogradTile][2], const std::int32_t* partial) {
  for (int j = 0; j < kWinogradTile; ++j) {
    for (int half = 0; half < 2; ++half, partial += 4)
      acc[j][half] = wasm_i32x4_add(acc[j][half], wasm_v128_load(partial));
  }
}
void store_partial(const v128_t (&acc)[kWinogradTile][2], std::int32_t* partial) {
  for (int j = 0; j < kWinogradTile; ++j) {
    for (int half = 0; half < 2; ++half, partial += 4) wasm_v128_store(partial, acc[j][half]);
  }
}

// Of the tiles of a group, from the sums of a part of the input channels: what comes out is added
// to `partial` and waits there for the parts to come.
struct Part {
  bool first, last;
  std::int32_t* partial;  // [tile][row][column][8 channels]
};
[[gnu::noinline]] void transform_sums(const QWinogradPacked& packed, const QConvCall& store,
                                      const Epilogue& epilogue, std::span<const Place> places,
                                      const std::int32_t* sums, int n, const Part& part) {
  const v128_t inverse = simd::from_memory(wasm_i32x4_splat(kInverseOfNine));
  const v128_t zero = wasm_i32x4_splat(0);
  const v128_t bias[2] = {part.last ? wasm_v128_load(packed.direct->bias.data() + n) : zero,
                          part.last ? wasm_v128_load(packed.direct->bias.data() + n + 4) : zero};
  std::int32_t* partial = part.partial;
  const std::int64_t row_bytes = packed.spec.out_width * epilogue.pixel_bytes;
  for (const Place& tile : places) {
    v128_t rows[kWinogradTile][kSide][2];
    for (int j = 0; j < kSide; ++j) {
      for (int half = 0; half < 2; ++half) {
        v128_t column[kSide];
        for (int i = 0; i < kSide; ++i)
          column[i] = wasm_v128_load(sums + (kSide * i + j) * kPlaceSums + 4 * half);
        v128_t transformed[kWinogradTile];
        transform_sums6(column, transformed);
        for (int i = 0; i < kWinogradTile; ++i) rows[i][j][half] = transformed[i];
      }
    }
    sums += kColumns;
    std::byte* out = store.out + tile.pixel * epilogue.pixel_bytes;
    for (int i = 0; i < tile.height; ++i, out += row_bytes, partial += kRowSums) {
      v128_t acc[kWinogradTile][2];
      for (int half = 0; half < 2; ++half) {
        v128_t row[kSide];
        for (int j = 0; j < kSide; ++j) row[j] = rows[i][j][half];
        v128_t scaled[kWinogradTile];
        transform_sums6(row, scaled);
        for (int j = 0; j < kWinogradTile; ++j) {
          acc[j][half] = wasm_i32x4_add(wasm_u32x4_shr(simd::mul_i32x4(scaled[j], inverse), kShift),
                                        bias[half]);
        }
      }
      if (!part.first) add_partial(acc, partial);
      if (!part.last) {
        store_partial(acc, partial);
        continue;
      }
      std::byte* place[kWinogradTile];
      for (int j = 0; j < kWinogradTile; ++j) {
        place[j] = out + std::min(j, tile.width - 1) * epilogue.pixel_bytes;
        // What hangs over writes the last pixel again.
        if (j < tile.width || j == 0) continue;
        acc[j][0] = acc[j - 1][0];
        acc[j][1] = acc[j - 1][1];
      }
      store_tile(acc, *packed.direct, store, epilogue, place, n);
    }
  }
}

// ---- the row ----

QWinogradPacked pack_winograd(const QWinogradSpec& spec, std::span<const std::int8_t> weights,
                              std::span<const std::int32_t> bias, std::span<const float> scale) {
  QWinogradPacked packed;
  packed.spec = spec;
  const QConvSpec direct_spec{spec.channels, 9, spec.depth, spec.x_signed, spec.zero_x};
  QConvPacked direct = pack_common(direct_spec, weights, bias, scale);
  const Sizes sizes(spec);
  direct.weights = pack_tiles(direct_spec, weights, 2, static_cast<int>(sizes.pairs));
  const auto padded = static_cast<std::size_t>(padded_channels(direct_spec));
  packed.start.assign(static_cast<std::size_t>(spec.parts) * padded, 0);
  for (int part = 0; part < spec.parts; ++part) {
    for (int n = 0; n < spec.channels; ++n) {
      const ChannelStart w = winograd_sums(spec, weights, part, n);
      const std::int64_t above = (w.magnitude + w.sum) / 2;
      const std::int64_t below = (w.sum - w.magnitude) / 2;
      const std::int64_t lowest = spec.x_signed
                                      ? kLowest<std::int8_t> * above + kHighest<std::int8_t> * below
                                      : kHighest<std::uint8_t> * below;
      const auto modulo = static_cast<std::uint32_t>(lowest);
      const auto at = static_cast<std::size_t>(n);
      packed.start[static_cast<std::size_t>(part) * padded + at] =
          static_cast<std::int32_t>(0U - kScale * modulo);
      direct.bias[at] =
          static_cast<std::int32_t>(static_cast<std::uint32_t>(direct.bias[at]) + modulo);
    }
  }
  packed.direct = std::make_shared<const QConvPacked>(std::move(direct));
  const std::int64_t tiles = winograd_tiles(spec);
  packed.scratch_bytes = static_cast<std::size_t>(
      2 * (sizes.chunks * tiles * kTileCodes + kPlaces * kPlaceWeights) + 4 * Sizes::sums(tiles) +
      tiles * (static_cast<std::int64_t>(sizeof(Place)) +
               (spec.parts > 1 ? 4 * kWinogradTile * kRowSums : 0)));
  packed.border.assign(static_cast<std::size_t>(sizes.chunks * kChunk),
                       static_cast<std::uint8_t>(spec.zero_x));
  return packed;
}

template <class Code>
void run_winograd(const QWinogradPacked& packed, const QWinogradCall& call) {
  const QWinogradSpec& spec = packed.spec;
  const Sizes sizes(spec);
  const std::int64_t tiles = call.last_tile - call.first_tile;
  auto* v = reinterpret_cast<std::int16_t*>(call.scratch);
  std::int16_t* u = v + sizes.chunks * tiles * kTileCodes;
  auto* sums = reinterpret_cast<std::int32_t*>(u + kPlaces * kPlaceWeights);
  std::int32_t* partial = sums + Sizes::sums(tiles);
  auto* places =
      reinterpret_cast<Place*>(partial + (spec.parts > 1 ? tiles * kWinogradTile * kRowSums : 0));
  QConvCall store;
  store.out = call.out;
  store.out_stride = call.out_stride != 0 ? call.out_stride : spec.channels;
  store.output = call.output;
  store.zero_y = call.zero_y;
  store.lo = call.lo;
  store.hi = call.hi;
  const Epilogue epilogue(*packed.direct, store);
  find_places(spec, call, places);
  transform_tiles<Code>(packed, call, sizes, v);
  for (int n = call.first_channel; n < std::min(call.last_channel, spec.channels); n += kColumns) {
    const std::int8_t* weights = packed.direct->weights.data() + n / kColumns * sizes.tap * 9;
    const std::int16_t* codes = v;
    for (int p = 0; p < spec.parts; ++p) {
      Part part{p == 0, p + 1 == spec.parts, partial};
      const std::int32_t* start =
          packed.start.data() + p * padded_channels(packed.direct->spec) + n;
      const std::int64_t end = (spec.part_begin(p + 1) + 1) / 2;
      for (std::int64_t pair = spec.part_begin(p) / 2; pair < end; pair += kChunkPairs) {
        const std::int64_t pairs = std::min(end - pair, kChunkPairs);
        transform_weights(weights, sizes.tap, pairs * kPairBytes, u);
        weights += pairs * kPairBytes;
        for (std::int64_t t = 0; t < tiles; t += kGroup) {
          const std::int64_t count = std::min(kGroup, tiles - t);
          std::int32_t* group = sums + t / kGroup * kGroupSums;
          multiply_group(codes + t * kTileCodes, count, u, static_cast<int>(pairs), start, group);
          if (pair + kChunkPairs < end) continue;
          part.partial = partial + t * kWinogradTile * kRowSums;
          transform_sums(packed, store, epilogue, {places + t, static_cast<std::size_t>(count)},
                         group, n, part);
        }
        codes += tiles * kTileCodes;
        start = nullptr;
      }
    }
  }
}

constexpr std::array kRows{QWinogradKernel{"qwinograd/simd128-u8", simd::Level::kSimd128, false,
                                           &pack_winograd, &run_winograd<std::uint8_t>},
                           QWinogradKernel{"qwinograd/simd128-s8", simd::Level::kSimd128, true,
                                           &pack_winograd, &run_winograd<std::int8_t>}};

}  // namespace

std::span<const QWinogradKernel> qwinograd_tile_rows() { return kRows; }

}  // namespace octavo::kernels
