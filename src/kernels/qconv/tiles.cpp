#include "kernels/qconv/tiles.h"

#include <cstring>

namespace octavo::kernels {

namespace {

constexpr std::int64_t kWeightBlockBytes = 24 * 1024;

bool to_codes(const QConvCall& call) {
  return call.output == QConvOutput::kUint8 || call.output == QConvOutput::kInt8;
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
  const auto length = static_cast<std::size_t>(spec.length);
  const auto segments = static_cast<std::size_t>(spec.segments);
  const auto size = static_cast<std::size_t>(group);
  std::int8_t* to = out.data();
  for (int tile = 0; tile < padded_channels(spec); tile += kColumns) {
    const int channels = std::min(kColumns, spec.channels - tile);
    for (int s = 0; s < spec.segments; ++s) {
      for (std::size_t k = 0; k < static_cast<std::size_t>(groups) * size; k += size) {
        std::size_t from =
            (static_cast<std::size_t>(tile) * segments + static_cast<std::size_t>(s)) * length + k;
        for (int n = 0; n < channels && k < length; ++n, from += segments * length) {
          // All but the last group of a row are whole: a copy of fixed size is one load.
          if (group == 4 && k + 4 <= length) {
            std::memcpy(to + 4 * n, weights.data() + from, 4);
            continue;
          }
          for (std::size_t i = 0; i < std::min(size, length - k); ++i)
            to[static_cast<std::size_t>(n) * size + i] = weights[from + i];
        }
        to += group * kColumns;
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
