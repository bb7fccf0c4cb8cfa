#include "kernels/qdwconv/qdwconv.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/qconv/requantize.h"
#include "kernels/qdwconv/rows.h"
#include "simd/isa.h"

namespace octavo::kernels {

QDwConvPacked pack_dw_common(const QDwConvSpec& spec, std::span<const std::int8_t> weights,
                             std::span<const std::int32_t> bias, std::span<const float> scale) {
  QDwConvPacked packed;
  packed.spec = spec;
  packed.bias.assign(static_cast<std::size_t>(padded_dw_channels(spec)), 0);
  packed.scale.assign(static_cast<std::size_t>(padded_dw_channels(spec)), 0.0F);
  packed.bounded = true;
  const auto taps = static_cast<std::size_t>(spec.taps);
  for (std::size_t c = 0; c < static_cast<std::size_t>(spec.channels); ++c) {
    const ChannelStart start = channel_start(weights.subspan(c * taps, taps),
                                             bias.empty() ? 0 : bias[c], spec.zero_x, scale[c]);
    packed.bias[c] = start.bias;
    packed.scale[c] = scale[c];
    packed.bounded = packed.bounded && start.bounded;
  }
  return packed;
}

namespace {

const std::byte* pixel_at(const QDwConvCall& call, std::int64_t m) {
  return call.x + (m / call.width) * call.row_stride + (m % call.width) * call.pixel_stride;
}

// ---- scalar: the specification ----

QDwConvPacked pack_scalar(const QDwConvSpec& spec, std::span<const std::int8_t> weights,
                          std::span<const std::int32_t> bias, std::span<const float> scale) {
  QDwConvPacked packed = pack_dw_common(spec, weights, bias, scale);
  packed.weights.assign(weights.begin(), weights.end());
  return packed;
}

template <class Code>
void scalar_rows(const QDwConvPacked& packed, const QDwConvCall& call) {
  const QDwConvSpec& spec = packed.spec;
  const Requantize requantize{call.zero_y, call.lo, call.hi};
  for (std::int64_t m = 0; m < call.pixels; ++m) {
    const std::byte* pixel = pixel_at(call, m);
    auto* out = reinterpret_cast<Code*>(call.out) + static_cast<std::int64_t>(m) * call.out_stride;
    const std::int16_t* w = packed.weights.data();
    for (int c = 0; c < spec.channels; ++c) {
      auto acc = static_cast<std::uint32_t>(packed.bias[static_cast<std::size_t>(c)]);
      for (int t = 0; t < spec.taps; ++t, ++w) {
        acc += static_cast<std::uint32_t>(
            reinterpret_cast<const Code*>(pixel + call.tap_offset[t])[c] * *w);
      }
      out[c] = static_cast<Code>(requantize_one(
          static_cast<std::int32_t>(acc), packed.scale[static_cast<std::size_t>(c)], requantize));
    }
  }
}

// ---- SIMD128: two taps at a time, interleaved, by i32x4.dot_i16x8; 8 channels by 2 pixels ----

template <class Code>
void simd_rows(const QDwConvPacked& packed, const QDwConvCall& call) {
  const QDwConvSpec& spec = packed.spec;
  const RequantizeVectors k =
      RequantizeVectors::make({call.zero_y, call.lo, call.hi}, spec.x_signed);
  const int pairs = (spec.taps + 1) / 2;
  constexpr int kPixels = 2;
  for (std::int64_t m = 0; m < call.pixels; m += kPixels) {
    const std::byte* pixel[kPixels];
    Code* out[kPixels];
    for (int r = 0; r < kPixels; ++r) {
      const std::int64_t place =
          std::min(m + r, call.pixels - 1);  // the last pixel may be done twice
      pixel[r] = pixel_at(call, place);
      out[r] =
          reinterpret_cast<Code*>(call.out) + static_cast<std::int64_t>(place) * call.out_stride;
    }
    const std::int16_t* w = packed.weights.data();
    for (int c = 0; c < spec.channels; c += kLanes) {
      v128_t acc[kPixels][2];
      for (int r = 0; r < kPixels; ++r) {
        acc[r][0] = wasm_v128_load(packed.bias.data() + c);
        acc[r][1] = wasm_v128_load(packed.bias.data() + c + 4);
      }
      for (int p = 0; p < pairs; ++p, w += 2 * kLanes) {
        const v128_t w0 = wasm_v128_load(w);
        const v128_t w1 = wasm_v128_load(w + kLanes);
        const std::int32_t first = call.tap_offset[2 * p];
        const std::int32_t second = call.tap_offset[std::min(2 * p + 1, spec.taps - 1)];
        for (int r = 0; r < kPixels; ++r) {
          const v128_t a = extend8(reinterpret_cast<const Code*>(pixel[r] + first) + c);
          const v128_t b = extend8(reinterpret_cast<const Code*>(pixel[r] + second) + c);
          const v128_t low = wasm_i16x8_shuffle(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
          const v128_t high = wasm_i16x8_shuffle(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
          acc[r][0] = wasm_i32x4_add(acc[r][0], wasm_i32x4_dot_i16x8(low, w0));
          acc[r][1] = wasm_i32x4_add(acc[r][1], wasm_i32x4_dot_i16x8(high, w1));
        }
      }
      const v128_t scale0 = wasm_v128_load(packed.scale.data() + c);
      const v128_t scale1 = wasm_v128_load(packed.scale.data() + c + 4);
      v128_t halves[kPixels];
      for (int r = 0; r < kPixels; ++r) {
        halves[r] = packed.bounded ? requantize8<true>(acc[r][0], acc[r][1], scale0, scale1, k)
                                   : requantize8<false>(acc[r][0], acc[r][1], scale0, scale1, k);
      }
      const v128_t codes = narrow_codes(halves[0], halves[1], k);
      if (const int valid = spec.channels - c; valid >= kLanes) {
        wasm_v128_store64_lane(out[0] + c, codes, 0);
        wasm_v128_store64_lane(out[1] + c, codes, 1);
      } else {
        Code both[16];
        wasm_v128_store(both, codes);
        std::memcpy(out[0] + c, both, static_cast<std::size_t>(valid));
        std::memcpy(out[1] + c, both + 8, static_cast<std::size_t>(valid));
      }
    }
  }
}

void run_scalar(const QDwConvPacked& packed, const QDwConvCall& call) {
  packed.spec.x_signed ? scalar_rows<std::int8_t>(packed, call)
                       : scalar_rows<std::uint8_t>(packed, call);
}

// [channel tile][pair of taps][channel][2]; an odd last tap pairs with a zero weight.
QDwConvPacked pack_pairs(const QDwConvSpec& spec, std::span<const std::int8_t> weights,
                         std::span<const std::int32_t> bias, std::span<const float> scale) {
  QDwConvPacked packed = pack_dw_common(spec, weights, bias, scale);
  const int pairs = (spec.taps + 1) / 2;
  packed.weights.assign(
      static_cast<std::size_t>(padded_dw_channels(spec)) * static_cast<std::size_t>(pairs) * 2, 0);
  for (int c = 0; c < spec.channels; ++c) {
    for (int t = 0; t < spec.taps; ++t) {
      const std::size_t at =
          ((static_cast<std::size_t>(c / kLanes) * static_cast<std::size_t>(pairs) +
            static_cast<std::size_t>(t / 2)) *
               kLanes +
           static_cast<std::size_t>(c % kLanes)) *
              2 +
          static_cast<std::size_t>(t % 2);
      packed.weights[at] =
          weights[static_cast<std::size_t>(c) * static_cast<std::size_t>(spec.taps) +
                  static_cast<std::size_t>(t)];
    }
  }
  return packed;
}

void run_pairs(const QDwConvPacked& packed, const QDwConvCall& call) {
  packed.spec.x_signed ? simd_rows<std::int8_t>(packed, call)
                       : simd_rows<std::uint8_t>(packed, call);
}

bool fits_all(const QDwConvSpec&) { return true; }

constexpr std::array kAnyWindow{
    QDwConvKernel{"qdwconv/scalar", simd::Level::kScalar, simd::EngineClass::kNone, &fits_all,
                  &pack_scalar, &run_scalar},
    QDwConvKernel{"qdwconv/simd128-pairs", simd::Level::kSimd128, simd::EngineClass::kNone,
                  &fits_all, &pack_pairs, &run_pairs},
};

}  // namespace

std::span<const QDwConvKernel> qdwconv_kernels() {
  static const std::vector<QDwConvKernel> table = [] {
    std::vector<QDwConvKernel> rows(kAnyWindow.begin(), kAnyWindow.end());
    for (const auto more : {qdwconv_column_rows(), qdwconv_relaxed_rows()})
      rows.insert(rows.end(), more.begin(), more.end());
    return rows;
  }();
  return table;
}

const QDwConvKernel& choose_qdwconv(const Policy& policy, const QDwConvSpec& spec) {
  const QDwConvKernel* best = nullptr;
  for (const QDwConvKernel& row : qdwconv_kernels()) {
    const bool exact = row.engine == simd::EngineClass::kNone || row.engine == policy.engine;
    if (exact && row.level <= policy.level && row.fits(spec)) best = &row;
  }
  return *best;
}

}  // namespace octavo::kernels
