// What the vector rows of qconv share: tiles of 8 output channels, the order of their weights, and
// the way of their sums into the output.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/qconv/qconv.h"
#include "kernels/qconv/requantize.h"

namespace octavo::kernels {

inline constexpr int kColumns = 8;  // output channels of a tile: two vectors of 32-bit lanes

inline int padded_channels(const QConvSpec& spec) {
  return (spec.channels + kColumns - 1) / kColumns * kColumns;
}

// Everything but the weights.
QConvPacked pack_common(const QConvSpec& spec, std::span<const std::int8_t> weights,
                        std::span<const std::int32_t> bias, std::span<const float> scale);

// [channel tile][segment][group][channel of the tile][k of the group], zeros beyond channels and
// length; `groups` a segment, of 2 or 4 weights.
std::vector<std::int8_t> pack_tiles(const QConvSpec& spec, std::span<const std::int8_t> weights,
                                    int group, int groups);

// Channels whose weights stay in the first-level cache while all pixels pass.
int block_channels(const QConvPacked& packed, std::int64_t tile_bytes);

inline const std::byte* pixel_at(const QConvCall& call, std::int64_t m) {
  return call.x + (m / call.width) * call.row_stride + (m % call.width) * call.pixel_stride;
}

// Pixels m .. m + kRows - 1, of those beyond the last one the last, with one division at most: six
// of them take as long as a tile of 16 input channels.
template <int kRows>
inline void pixels_at(const QConvCall& call, std::int64_t m, const std::byte* (&pixel)[kRows]) {
  const std::int64_t row = m < call.width ? 0 : m / call.width;
  std::int64_t left_in_row = (row + 1) * call.width - m;
  const std::int64_t next_row = call.row_stride - (call.width - 1) * call.pixel_stride;
  const std::byte* at =
      call.x + row * call.row_stride + (call.width - left_in_row) * call.pixel_stride;
  for (int r = 0; r < kRows; ++r) {
    pixel[r] = at;
    if (m + r + 1 >= call.pixels) continue;
    const bool ends = --left_in_row == 0;
    at += ends ? next_row : call.pixel_stride;
    if (ends) left_in_row = call.width;
  }
}

// One sum as element `at` of the output.
void store_one(QConvOutput output, std::byte* out, std::int64_t at, std::int32_t sum, float scale,
               const Requantize& requantize);

// How the sums of a call become its output.
struct Epilogue {
  RequantizeVectors vectors;
  bool fast;  // codes, and no product leaves the range of the rounding trick
  std::int64_t pixel_bytes;

  Epilogue(const QConvPacked& packed, const QConvCall& call);
};

// Where the output of pixels m .. m + kRows - 1 begins; a tile that hangs over the last pixel
// writes that one several times.
template <int kRows>
inline void out_pixels(const QConvCall& call, const Epilogue& e, std::int64_t m,
                       std::byte* (&out)[kRows]) {
  for (int r = 0; r < kRows; ++r)
    out[r] = call.out + std::min(m + r, call.pixels - 1) * e.pixel_bytes;
}

// Any output, any number of channels left; `sums` are rows of 8.
void store_any(const v128_t* sums, int rows, const QConvPacked& packed, const QConvCall& call,
               const Epilogue& e, std::byte* const* out, int n);

// acc[r] are the sums of pixel r, channels n .. n + 7.
template <int kRows>
[[gnu::always_inline]] inline void store_tile(const v128_t (&acc)[kRows][2],
                                              const QConvPacked& packed, const QConvCall& call,
                                              const Epilogue& e, std::byte* const (&out)[kRows],
                                              int n) {
  if (e.fast && n + kColumns <= packed.spec.channels) {
    const RequantizeVectors k = e.vectors;
    const v128_t scale0 = wasm_v128_load(packed.scale.data() + n);
    const v128_t scale1 = wasm_v128_load(packed.scale.data() + n + 4);
    for (int r = 0; r < kRows; r += 2) {
      const int other = r + 1 < kRows ? r + 1 : r;
      const v128_t codes =
          narrow_codes(requantize8<true>(acc[r][0], acc[r][1], scale0, scale1, k),
                       requantize8<true>(acc[other][0], acc[other][1], scale0, scale1, k), k);
      wasm_v128_store64_lane(out[r] + n, codes, 0);
      if (r + 1 < kRows) wasm_v128_store64_lane(out[r + 1] + n, codes, 1);
    }
    return;
  }
  // A copy: with its address taken by the call, LLVM would store each accumulator after every dot
  // (62 GMAC/s, not 120).
  v128_t sums[2 * kRows];
  for (int r = 0; r < kRows; ++r) {
    sums[2 * r] = acc[r][0];
    sums[2 * r + 1] = acc[r][1];
  }
  store_any(sums, kRows, packed, call, e, out, n);
}

}  // namespace octavo::kernels
