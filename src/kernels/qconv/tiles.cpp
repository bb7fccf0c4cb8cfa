#include "kernels/qconv/tiles.h"

#include <cstring>

namespace octavo::kernels {

namespace {

constexpr std::int64_t kWeightBlockBytes = 24 * 1024;

bool to_codes(const QConvCall& call) {
  return call.output == QConvOutput::kUint8 || call.output == QConvOutput::kInt8;
}

// Weights k .. k + 15 of a channel's segment, zeros beyond channels and length.
v128_t weights16(const QConvSpec& spec, std::span<const std::int8_t> weights, int channel,
                 int segment, int k) {
  if (channel >= spec.channels || k >= spec.length) return wasm_i8x16_splat(0);
  const std::int8_t* from =
      weights.data() + (std::int64_t{channel} * spec.segments + segment) * spec.length + k;
  if (k + 16 <= spec.length) return wasm_v128_load(from);
  std::int8_t part[16]{};
  std::copy_n(from, spec.length - k, part);
  return wasm_v128_load(part);
}

// A 4x4 transpose of rows[0] .. rows[3], in lanes of 4 bytes.
void transpose_fours(v128_t* rows) {
  const v128_t low01 = wasm_i32x4_shuffle(rows[0], rows[1], 0, 4, 1, 5);
  const v128_t low23 = wasm_i32x4_shuffle(rows[2], rows[3], 0, 4, 1, 5);
  const v128_t high01 = wasm_i32x4_shuffle(rows[0], rows[1], 2, 6, 3, 7);
  const v128_t high23 = wasm_i32x4_shuffle(rows[2], rows[3], 2, 6, 3, 7);
  rows[0] = wasm_i64x2_shuffle(low01, low23, 0, 2);
  rows[1] = wasm_i64x2_shuffle(low01, low23, 1, 3);
  rows[2] = wasm_i64x2_shuffle(high01, high23, 0, 2);
  rows[3] = wasm_i64x2_shuffle(high01, high23, 1, 3);
}

// 8 rows of [k] to [k / 4][row][k % 4].
void interleave_fours(v128_t (&rows)[kColumns]) {
  transpose_fours(rows);
  transpose_fours(rows + 4);
  const v128_t column[kColumns] = {rows[0], rows[4], rows[1], rows[5],
                                   rows[2], rows[6], rows[3], rows[7]};
  std::copy_n(column, kColumns, rows);
}

// 8 rows of [k] to [k / 2][row][k % 2].
void interleave_twos(v128_t (&rows)[kColumns]) {
  v128_t low[4];
  v128_t high[4];
  for (int i = 0; i < 4; ++i) {
    const v128_t a = rows[2 * i];
    const v128_t b = rows[2 * i + 1];
    low[i] = wasm_i16x8_shuffle(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
    high[i] = wasm_i16x8_shuffle(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
  }
  transpose_fours(low);
  transpose_fours(high);
  std::copy_n(low, 4, rows);
  std::copy_n(high, 4, rows + 4);
}

}  // namespace

QConvPacked pack_common(const QConvSpec& spec, std::span<const std::int8_t> weights,
                        std::span<const std::int32_t> bias, std::span<const float> scale) {
  QConvPacked packed;
  packed.spec = spec;
  const auto padded = static_cast<std::size_t>(padded_channels(spec));
  packed.bias.assign(padded, 0);
  packed.scale.assign(padded, 0.0F);
  packed.bounded = true;
  const std::size_t taps =
      static_cast<std::size_t>(spec.segments) * static_cast<std::size_t>(spec.length);
  for (std::size_t n = 0; n < static_cast<std::size_t>(spec.channels); ++n) {
    const ChannelStart start = channel_start(weights.subspan(n * taps, taps),
                                             bias.empty() ? 0 : bias[n], spec.zero_x, scale[n]);
    packed.bias[n] = start.bias;
    packed.scale[n] = scale[n];
    packed.bounded = packed.bounded && start.bounded;
  }
  return packed;
}

std::vector<std::int8_t> pack_tiles(const QConvSpec& spec, std::span<const std::int8_t> weights,
                                    int group, int groups) {
  std::vector<std::int8_t> out(static_cast<std::size_t>(padded_channels(spec)) *
                               static_cast<std::size_t>(spec.segments) *
                               static_cast<std::size_t>(groups * group));
  std::int8_t* to = out.data();
  for (int tile = 0; tile < padded_channels(spec); tile += kColumns) {
    for (int s = 0; s < spec.segments; ++s) {
      for (int k = 0; k < groups * group; k += 16) {
        v128_t rows[kColumns];
        for (int n = 0; n < kColumns; ++n) rows[n] = weights16(spec, weights, tile + n, s, k);
        group == 4 ? interleave_fours(rows) : interleave_twos(rows);
        // The last vectors of a row may be beyond its groups.
        const std::size_t bytes =
            static_cast<std::size_t>(std::min(16, groups * group - k)) * kColumns;
        std::memcpy(to, rows, bytes);
        to += bytes;
      }
    }
  }
  return out;
}

int block_channels(const QConvPacked& packed, std::int64_t tile_bytes) {
  const std::int64_t tiles =
      std::max<std::int64_t>(1, kWeightBlockBytes / std::max<std::int64_t>(1, tile_bytes));
  return static_cast<int>(std::min<std::int64_t>(tiles * kColumns, padded_channels(packed.spec)));
}

void store_one(QConvOutput output, std::byte* out, std::int64_t at, std::int32_t sum, float scale,
               const Requantize& requantize) {
  switch (output) {
    case QConvOutput::kUint8:
      reinterpret_cast<std::uint8_t*>(out)[at] =
          static_cast<std::uint8_t>(requantize_one(sum, scale, requantize));
      break;
    case QConvOutput::kInt8:
      reinterpret_cast<std::int8_t*>(out)[at] =
          static_cast<std::int8_t>(requantize_one(sum, scale, requantize));
      break;
    case QConvOutput::kFloat32:
      reinterpret_cast<float*>(out)[at] = static_cast<float>(sum) * scale;
      break;
    case QConvOutput::kInt32:
      reinterpret_cast<std::int32_t*>(out)[at] = sum;
      break;
  }
}

Epilogue::Epilogue(const QConvPacked& packed, const QConvCall& call)
    : vectors(RequantizeVectors::make({call.zero_y, call.lo, call.hi},
                                      call.output == QConvOutput::kInt8)),
      fast(packed.bounded && to_codes(call)),
      pixel_bytes(call.out_stride * (to_codes(call) ? 1 : 4)) {}

void store_any(const v128_t* sums, int rows, const QConvPacked& packed, const QConvCall& call,
               const Epilogue& e, std::byte* const* out, int n) {
  const auto valid = static_cast<std::size_t>(std::min(kColumns, packed.spec.channels - n));
  const v128_t scale0 = wasm_v128_load(packed.scale.data() + n);
  const v128_t scale1 = wasm_v128_load(packed.scale.data() + n + 4);
  for (int r = 0; r < rows; ++r, sums += 2) {
    std::byte both[32];
    if (to_codes(call)) {
      const v128_t half = requantize8<false>(sums[0], sums[1], scale0, scale1, e.vectors);
      wasm_v128_store(both, narrow_codes(half, half, e.vectors));
      std::memcpy(out[r] + n, both, valid);
      continue;
    }
    v128_t words[2] = {sums[0], sums[1]};
    if (call.output == QConvOutput::kFloat32) {
      words[0] = wasm_f32x4_mul(wasm_f32x4_convert_i32x4(words[0]), scale0);
      words[1] = wasm_f32x4_mul(wasm_f32x4_convert_i32x4(words[1]), scale1);
    }
    wasm_v128_store(both, words[0]);
    wasm_v128_store(both + 16, words[1]);
    std::memcpy(out[r] + static_cast<std::ptrdiff_t>(n) * 4, both, valid * 4);
  }
}

}  // namespace octavo::kernels
