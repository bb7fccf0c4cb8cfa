#include "kernels/qconv/qconv.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "kernels/qconv/requantize.h"
#include "simd/isa.h"
#include "simd/relaxed.h"

namespace octavo::kernels {

namespace {

constexpr int kColumns = 8;  // output channels of a tile: two vectors of 32-bit lanes
// Weights of a block of tiles stay in the first-level cache while all pixels pass.
constexpr std::int64_t kWeightBlockBytes = 24 * 1024;

int padded_channels(const QConvSpec& spec) {
  return (spec.channels + kColumns - 1) / kColumns * kColumns;
}
int groups_of(const QConvSpec& spec, int group) { return (spec.length + group - 1) / group; }

// Everything but the order of the weights.
QConvPacked pack_common(const QConvSpec& spec, std::span<const std::int8_t> weights,
                        std::span<const std::int32_t> bias, std::span<const float> scale) {
  QConvPacked packed;
  packed.spec = spec;
  const auto padded = static_cast<std::size_t>(padded_channels(spec));
  packed.bias.assign(padded, 0);
  packed.scale.assign(padded, 0.0F);
  packed.bounded = true;
  const std::int64_t taps = static_cast<std::int64_t>(spec.segments) * spec.length;
  for (int n = 0; n < spec.channels; ++n) {
    std::int64_t sum = 0;
    std::int64_t magnitude = 0;
    for (std::int64_t k = 0; k < taps; ++k) {
      const std::int64_t w = weights[static_cast<std::size_t>(n * taps + k)];
      sum += w;
      magnitude += std::abs(w);
    }
    const auto i = static_cast<std::size_t>(n);
    const std::int64_t own = bias.empty() ? 0 : bias[i];
    const std::int64_t shifted = own - static_cast<std::int64_t>(spec.zero_x) * sum;
    packed.bias[i] = static_cast<std::int32_t>(
        static_cast<std::uint64_t>(shifted));  // modulo 2^32, like the sums
    packed.scale[i] = scale[i];
    const double largest =
        static_cast<double>(255 * magnitude) + std::abs(static_cast<double>(own));
    packed.bounded = packed.bounded && largest < 2147483648.0 &&
                     largest * std::abs(static_cast<double>(scale[i])) <
                         static_cast<double>(kRoundMagicLimit) - 1.0;
  }
  return packed;
}

// [channel tile][segment][group][channel of the tile][k of the group], zeros beyond channels and
// length.
std::vector<std::int8_t> pack_tiles(const QConvSpec& spec, std::span<const std::int8_t> weights,
                                    int group) {
  const int groups = groups_of(spec, group);
  std::vector<std::int8_t> out(static_cast<std::size_t>(padded_channels(spec)) *
                               static_cast<std::size_t>(spec.segments) *
                               static_cast<std::size_t>(groups * group));
  std::size_t at = 0;
  for (int tile = 0; tile < padded_channels(spec); tile += kColumns) {
    for (int s = 0; s < spec.segments; ++s) {
      for (int g = 0; g < groups; ++g) {
        for (int n = tile; n < tile + kColumns; ++n) {
          for (int k = g * group; k < (g + 1) * group; ++k, ++at) {
            if (n < spec.channels && k < spec.length) {
              out[at] =
                  weights[(static_cast<std::size_t>(n) * static_cast<std::size_t>(spec.segments) +
                           static_cast<std::size_t>(s)) *
                              static_cast<std::size_t>(spec.length) +
                          static_cast<std::size_t>(k)];
            }
          }
        }
      }
    }
  }
  return out;
}

const std::byte* pixel_at(const QConvCall& call, std::int64_t m) {
  return call.x + (m / call.width) * call.row_stride + (m % call.width) * call.pixel_stride;
}

// ---- scalar: the specification ----

QConvPacked pack_scalar(const QConvSpec& spec, std::span<const std::int8_t> weights,
                        std::span<const std::int32_t> bias, std::span<const float> scale) {
  QConvPacked packed = pack_common(spec, weights, bias, scale);
  packed.weights.assign(weights.begin(), weights.end());
  return packed;
}

template <class Code>
void run_scalar(const QConvPacked& packed, const QConvCall& call) {
  const QConvSpec& spec = packed.spec;
  const Requantize requantize{call.zero_y, call.lo, call.hi};
  for (std::int64_t m = 0; m < call.pixels; ++m) {
    const std::byte* pixel = pixel_at(call, m);
    const std::int8_t* w = packed.weights.data();
    for (int n = 0; n < spec.channels; ++n) {
      auto acc = static_cast<std::uint32_t>(packed.bias[static_cast<std::size_t>(n)]);
      for (int s = 0; s < spec.segments; ++s) {
        const auto* x = reinterpret_cast<const Code*>(pixel + call.segment_offset[s]);
        for (int k = 0; k < spec.length; ++k, ++w) acc += static_cast<std::uint32_t>(x[k] * *w);
      }
      const auto sum = static_cast<std::int32_t>(acc);
      const float scale = packed.scale[static_cast<std::size_t>(n)];
      const std::int64_t at = static_cast<std::int64_t>(m) * call.out_stride + n;
      switch (call.output) {
        case QConvOutput::kUint8:
          reinterpret_cast<std::uint8_t*>(call.out)[at] =
              static_cast<std::uint8_t>(requantize_one(sum, scale, requantize));
          break;
        case QConvOutput::kInt8:
          reinterpret_cast<std::int8_t*>(call.out)[at] =
              static_cast<std::int8_t>(requantize_one(sum, scale, requantize));
          break;
        case QConvOutput::kFloat32:
          reinterpret_cast<float*>(call.out)[at] = static_cast<float>(sum) * scale;
          break;
        case QConvOutput::kInt32:
          reinterpret_cast<std::int32_t*>(call.out)[at] = sum;
          break;
      }
    }
  }
}

// ---- the epilogue of a tile of kRows pixels by 8 channels ----

// A row of 8 results goes to out[r]; only `valid` of them where the tile hangs over the last
// channel.
template <int kRows, class Code, bool kBounded>
inline void store_codes(const v128_t (&acc)[kRows][2], const float* scale,
                        const RequantizeVectors& k, Code* const (&out)[kRows], int valid) {
  const v128_t scale0 = wasm_v128_load(scale);
  const v128_t scale1 = wasm_v128_load(scale + 4);
  v128_t halves[kRows];
  for (int r = 0; r < kRows; ++r) {
    halves[r] = wasm_i16x8_narrow_i32x4(requantize4<kBounded>(acc[r][0], scale0, k),
                                        requantize4<kBounded>(acc[r][1], scale1, k));
  }
  for (int r = 0; r < kRows; r += 2) {
    const v128_t other = halves[r + 1 < kRows ? r + 1 : r];
    v128_t codes;
    if constexpr (std::is_signed_v<Code>) {
      codes = wasm_i8x16_narrow_i16x8(halves[r], other);
    } else {
      codes = wasm_u8x16_narrow_i16x8(halves[r], other);
    }
    codes = min_codes<Code>(max_codes<Code>(codes, k.lo_codes), k.hi_codes);
    if (valid == kColumns) {
      wasm_v128_store64_lane(out[r], codes, 0);
      if (r + 1 < kRows) wasm_v128_store64_lane(out[r + 1], codes, 1);
    } else {
      Code both[16];
      wasm_v128_store(both, codes);
      std::memcpy(out[r], both, static_cast<std::size_t>(valid));
      if (r + 1 < kRows) std::memcpy(out[r + 1], both + 8, static_cast<std::size_t>(valid));
    }
  }
}

template <int kRows>
inline void store_words(const v128_t (&acc)[kRows][2], const float* scale, bool to_float,
                        std::byte* const (&out)[kRows], int valid) {
  for (int r = 0; r < kRows; ++r) {
    v128_t words[2] = {acc[r][0], acc[r][1]};
    if (to_float) {
      words[0] = wasm_f32x4_mul(wasm_f32x4_convert_i32x4(words[0]), wasm_v128_load(scale));
      words[1] = wasm_f32x4_mul(wasm_f32x4_convert_i32x4(words[1]), wasm_v128_load(scale + 4));
    }
    if (valid == kColumns) {
      wasm_v128_store(out[r], words[0]);
      wasm_v128_store(out[r] + 16, words[1]);
    } else {
      std::byte both[32];
      wasm_v128_store(both, words[0]);
      wasm_v128_store(both + 16, words[1]);
      std::memcpy(out[r], both, static_cast<std::size_t>(valid) * 4);
    }
  }
}

template <int kRows>
inline void store_tile(const v128_t (&acc)[kRows][2], const QConvPacked& packed,
                       const QConvCall& call, const RequantizeVectors& k, std::int64_t m0, int n) {
  const int valid = std::min(kColumns, packed.spec.channels - n);
  const float* scale = packed.scale.data() + n;
  std::int64_t place[kRows];  // a tile that hangs over the last pixel writes that one several times
  for (int r = 0; r < kRows; ++r) {
    place[r] = static_cast<std::int64_t>(std::min(m0 + r, call.pixels - 1)) * call.out_stride + n;
  }
  const auto codes = [&]<class Code>(Code* base) {
    Code* out[kRows];
    for (int r = 0; r < kRows; ++r) out[r] = base + place[r];
    if (packed.bounded) {
      store_codes<kRows, Code, true>(acc, scale, k, out, valid);
    } else {
      store_codes<kRows, Code, false>(acc, scale, k, out, valid);
    }
  };
  switch (call.output) {
    case QConvOutput::kUint8:
      codes(reinterpret_cast<std::uint8_t*>(call.out));
      break;
    case QConvOutput::kInt8:
      codes(reinterpret_cast<std::int8_t*>(call.out));
      break;
    case QConvOutput::kFloat32:
    case QConvOutput::kInt32: {
      std::byte* out[kRows];
      for (int r = 0; r < kRows; ++r) out[r] = call.out + place[r] * 4;
      store_words<kRows>(acc, scale, call.output == QConvOutput::kFloat32, out, valid);
      break;
    }
  }
}

RequantizeVectors vectors_of(const QConvCall& call) {
  const Requantize requantize{call.zero_y, call.lo, call.hi};
  return call.output == QConvOutput::kInt8 ? RequantizeVectors::make<std::int8_t>(requantize)
                                           : RequantizeVectors::make<std::uint8_t>(requantize);
}

int block_channels(const QConvPacked& packed, std::int64_t tile_bytes) {
  const std::int64_t tiles =
      std::max<std::int64_t>(1, kWeightBlockBytes / std::max<std::int64_t>(1, tile_bytes));
  return static_cast<int>(std::min<std::int64_t>(tiles * kColumns, padded_channels(packed.spec)));
}

// ---- SIMD128: i32x4.dot_i16x8 on a panel of widened pixels ----

constexpr int kPanelRows = 4;

QConvPacked pack_dot16(const QConvSpec& spec, std::span<const std::int8_t> weights,
                       std::span<const std::int32_t> bias, std::span<const float> scale) {
  QConvPacked packed = pack_common(spec, weights, bias, scale);
  packed.weights = pack_tiles(spec, weights, 2);
  packed.scratch_bytes = static_cast<std::size_t>(spec.segments) *
                             static_cast<std::size_t>(groups_of(spec, 2)) * kPanelRows * 4 +
                         64;
  return packed;
}

// panel[group][row] = two 16-bit codes: [segment][k / 2][row][2].
template <class Code>
void widen_panel(const QConvPacked& packed, const QConvCall& call, std::int64_t m0,
                 std::int16_t* panel) {
  const QConvSpec& spec = packed.spec;
  const int length = groups_of(spec, 2) * 2;
  for (int s = 0; s < spec.segments; ++s) {
    const Code* row[kPanelRows];
    for (int r = 0; r < kPanelRows; ++r) {
      row[r] = reinterpret_cast<const Code*>(pixel_at(call, std::min(m0 + r, call.pixels - 1)) +
                                             call.segment_offset[s]);
    }
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

template <class Code>
void run_dot16(const QConvPacked& packed, const QConvCall& call) {
  const RequantizeVectors vectors = vectors_of(call);
  const int groups = packed.spec.segments * groups_of(packed.spec, 2);
  const std::int64_t tile_bytes = static_cast<std::int64_t>(groups) * 2 * kColumns;
  const int block = block_channels(packed, tile_bytes);
  auto* panel = reinterpret_cast<std::int16_t*>(call.scratch);
  for (int n0 = 0; n0 < packed.spec.channels; n0 += block) {
    const int n1 = std::min(n0 + block, padded_channels(packed.spec));
    for (std::int64_t m = 0; m < call.pixels; m += kPanelRows) {
      widen_panel<Code>(packed, call, m, panel);
      const std::int8_t* w = packed.weights.data() + n0 / kColumns * tile_bytes;
      for (int n = n0; n < n1; n += kColumns) {
        v128_t acc[kPanelRows][2];
        const v128_t bias0 = wasm_v128_load(packed.bias.data() + n);
        const v128_t bias1 = wasm_v128_load(packed.bias.data() + n + 4);
        for (int r = 0; r < kPanelRows; ++r) {
          acc[r][0] = bias0;
          acc[r][1] = bias1;
        }
        const std::int16_t* a = panel;
        for (int g = 0; g < groups; ++g, a += 2 * kPanelRows, w += 2 * kColumns) {
          const v128_t w0 = wasm_i16x8_load8x8(w);
          const v128_t w1 = wasm_i16x8_load8x8(w + 8);
          for (int r = 0; r < kPanelRows; ++r) {
            const v128_t x = wasm_v128_load32_splat(a + 2 * r);
            acc[r][0] = wasm_i32x4_add(acc[r][0], wasm_i32x4_dot_i16x8(w0, x));
            acc[r][1] = wasm_i32x4_add(acc[r][1], wasm_i32x4_dot_i16x8(w1, x));
          }
        }
        v128_t sums[kPanelRows][2];  // a copy, as in run_dot4
        for (int r = 0; r < kPanelRows; ++r) {
          sums[r][0] = acc[r][0];
          sums[r][1] = acc[r][1];
        }
        store_tile<kPanelRows>(sums, packed, call, vectors, m, n);
      }
    }
  }
}

// ---- relaxed dot product: 6 pixels by 8 channels, read through six pointers ----

constexpr int kDirectRows = 6;

QConvPacked pack_dot4(const QConvSpec& spec, std::span<const std::int8_t> weights,
                      std::span<const std::int32_t> bias, std::span<const float> scale) {
  QConvPacked packed = pack_common(spec, weights, bias, scale);
  packed.weights = pack_tiles(spec, weights, 4);
  return packed;
}

// Inlined before anything else is optimized: later, LLVM has put all dots with w0 before those with
// w1, and the codes of six rows wait in registers that are not there (half the speed).
template <simd::EngineClass kClass>
[[gnu::always_inline]] inline void dot4_group(v128_t (&acc)[kDirectRows][2],
                                              const std::byte* const (&x)[kDirectRows], int at,
                                              const std::int8_t* w) {
  const v128_t w0 = wasm_v128_load(w);
  const v128_t w1 = wasm_v128_load(w + 16);
  for (int r = 0; r < kDirectRows; ++r) {
    const v128_t codes = wasm_v128_load32_splat(x[r] + at);
    acc[r][0] = simd::relaxed_dot<kClass>(w0, codes, acc[r][0]);
    acc[r][1] = simd::relaxed_dot<kClass>(w1, codes, acc[r][1]);
  }
}

template <simd::EngineClass kClass>
void run_dot4(const QConvPacked& packed, const QConvCall& call) {
  const RequantizeVectors vectors = vectors_of(call);
  const int segments = packed.spec.segments;
  const int groups = groups_of(packed.spec, 4);
  constexpr std::int64_t kGroupBytes = 4 * kColumns;
  const std::int64_t tile_bytes = static_cast<std::int64_t>(segments) * groups * kGroupBytes;
  const int block = block_channels(packed, tile_bytes);
  for (int n0 = 0; n0 < packed.spec.channels; n0 += block) {
    const int n1 = std::min(n0 + block, padded_channels(packed.spec));
    for (std::int64_t m = 0; m < call.pixels; m += kDirectRows) {
      const std::byte* pixel[kDirectRows];
      for (int r = 0; r < kDirectRows; ++r)
        pixel[r] = pixel_at(call, std::min(m + r, call.pixels - 1));
      const std::int8_t* w = packed.weights.data() + n0 / kColumns * tile_bytes;
      for (int n = n0; n < n1; n += kColumns) {
        v128_t acc[kDirectRows][2];
        const v128_t bias0 = wasm_v128_load(packed.bias.data() + n);
        const v128_t bias1 = wasm_v128_load(packed.bias.data() + n + 4);
        for (int r = 0; r < kDirectRows; ++r) {
          acc[r][0] = bias0;
          acc[r][1] = bias1;
        }
        for (int s = 0; s < (groups > 0 ? segments : 0); ++s) {
          const std::byte* x[kDirectRows];
          for (int r = 0; r < kDirectRows; ++r) x[r] = pixel[r] + call.segment_offset[s];
          // A real branch after each group: in one basic block LLVM would hoist the loads and chain
          // the sums of each accumulator, and V8 would spill (measured: 91 against 78 GMAC/s
          // plainly unrolled).
          for (int g = groups;;) {
            dot4_group<kClass>(acc, x, 0, w);
            w += kGroupBytes;
            if (--g == 0) break;
            dot4_group<kClass>(acc, x, 4, w);
            w += kGroupBytes;
            if (--g == 0) break;
            dot4_group<kClass>(acc, x, 8, w);
            w += kGroupBytes;
            if (--g == 0) break;
            dot4_group<kClass>(acc, x, 12, w);
            w += kGroupBytes;
            if (--g == 0) break;
            for (int r = 0; r < kDirectRows; ++r) x[r] += 16;
          }
        }
        // A copy: with its address taken by the call, LLVM would store each accumulator after every
        // dot (62 GMAC/s, not 120).
        v128_t sums[kDirectRows][2];
        for (int r = 0; r < kDirectRows; ++r) {
          sums[r][0] = acc[r][0];
          sums[r][1] = acc[r][1];
        }
        store_tile<kDirectRows>(sums, packed, call, vectors, m, n);
      }
    }
  }
}

using simd::EngineClass;
using simd::Level;

constexpr std::array kTable{
    QConvKernel{"qconv/scalar-u8", Level::kScalar, EngineClass::kNone, false, &pack_scalar,
                &run_scalar<std::uint8_t>},
    QConvKernel{"qconv/scalar-s8", Level::kScalar, EngineClass::kNone, true, &pack_scalar,
                &run_scalar<std::int8_t>},
    QConvKernel{"qconv/simd128-dot16-u8", Level::kSimd128, EngineClass::kNone, false, &pack_dot16,
                &run_dot16<std::uint8_t>},
    QConvKernel{"qconv/simd128-dot16-s8", Level::kSimd128, EngineClass::kNone, true, &pack_dot16,
                &run_dot16<std::int8_t>},
    // Reads weights as signed and codes as unsigned bytes: exact for all weights.
    QConvKernel{"qconv/relaxed-usdot-6x8", Level::kRelaxed, EngineClass::kUsdot, false, &pack_dot4,
                &run_dot4<EngineClass::kUsdot>},
    QConvKernel{"qconv/relaxed-sdot-6x8", Level::kRelaxed, EngineClass::kSdot, true, &pack_dot4,
                &run_dot4<EngineClass::kSdot>},
};
constexpr std::size_t kRelaxedRows = 2;  // the last ones

}  // namespace

std::span<const QConvKernel> qconv_kernels() {
  return std::span(kTable).first(kTable.size() - (simd::kHasRelaxedRows ? 0 : kRelaxedRows));
}

const QConvKernel& choose_qconv(const Policy& policy, bool x_signed) {
  const QConvKernel* best = nullptr;
  for (const QConvKernel& row : qconv_kernels()) {
    const bool exact = row.engine == EngineClass::kNone || row.engine == policy.engine;
    if (exact && row.x_signed == x_signed && row.level <= policy.level) best = &row;
  }
  return *best;
}

}  // namespace octavo::kernels
