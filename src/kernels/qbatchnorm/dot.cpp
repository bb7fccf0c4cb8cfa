// Integer form: clamp((q * M + B) >> shift) with M = M1 + 64 * M2, one dot product of i16 pairs
// (q, q << 6) . (M1, M2) for four codes. The narrowing saturates, so any slope works; the shift is
// a template constant because a shift by a run-time count costs a quarter of the speed in V8.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "kernels/codes.h"
#include "kernels/qbatchnorm/forms.h"

namespace octavo::kernels {

namespace {

// Slopes below 2, 32 and 512; where a steeper one is not saturated at both neighbours' codes, no
// two codes of a channel are inside the range, and 512 does as well.
constexpr std::array kShifts = {20, 16, 12};

// M and B of one channel, proved by `tables` (256 bytes) for all codes in the integers.
struct Affine {
  std::int32_t multiplier, offset;
};

std::optional<Affine> solve(float alpha, int shift, const PackedQBatchNorm& p,
                            std::span<const std::uint8_t> table) {
  constexpr double kLimit = 2097152 - 64;  // 2^21: M2 fits 16 bits, with room to search around it
  const double scaled = std::clamp(std::ldexp(static_cast<double>(alpha), shift), -kLimit, kLimit);
  const std::int64_t nearest =
      std::isnan(scaled) ? 0 : static_cast<std::int64_t>(std::rint(scaled));
  // M plainly rounded does for nearly every channel; its neighbours for the rest.
  for (const std::int64_t step : {0, 1, -1, 2, -2, 3, -3, 4, -4}) {
    const std::int64_t multiplier = nearest + step;
    constexpr std::int64_t kNone = std::numeric_limits<std::int64_t>::max();
    std::int64_t lo = -kNone;
    std::int64_t hi = kNone;
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const std::int64_t q = code_of(static_cast<std::uint8_t>(byte), p.code);
      const std::int64_t y = code_of(table[byte], p.code);
      if (y > p.lo) lo = std::max(lo, y * (std::int64_t{1} << shift) - q * multiplier);
      if (y < p.hi) hi = std::min(hi, (y + 1) * (std::int64_t{1} << shift) - 1 - q * multiplier);
    }
    if (lo > hi) continue;
    const std::int64_t offset = lo == -kNone ? hi : hi == kNone ? lo : lo + (hi - lo) / 2;
    const std::int64_t bound = std::abs(offset) + 256 * std::abs(multiplier);
    if (bound >= std::numeric_limits<std::int32_t>::max()) continue;
    return Affine{static_cast<std::int32_t>(multiplier), static_cast<std::int32_t>(offset)};
  }
  return std::nullopt;
}

// (M1, M2) as the two halves of a lane.
std::int32_t pair_of(std::int32_t multiplier) {
  const std::int32_t low = multiplier & 63;
  const std::int32_t high = (multiplier - low) / 64;
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(low) |
                                   static_cast<std::uint32_t>(high) << 16);
}

template <class Code, int kShift>
struct DotForm {
  v128_t multiplier[4], offset[4], lo;

  v128_t operator()(v128_t bytes) const {
    const v128_t a = extend_low8<Code>(bytes);
    const v128_t b = extend_high8<Code>(bytes);
    const v128_t a64 = wasm_i16x8_shl(a, 6);
    const v128_t b64 = wasm_i16x8_shl(b, 6);
    const v128_t y = narrow16<Code>(
        one(wasm_i16x8_shuffle(a, a64, 0, 8, 1, 9, 2, 10, 3, 11), multiplier[0], offset[0]),
        one(wasm_i16x8_shuffle(a, a64, 4, 12, 5, 13, 6, 14, 7, 15), multiplier[1], offset[1]),
        one(wasm_i16x8_shuffle(b, b64, 0, 8, 1, 9, 2, 10, 3, 11), multiplier[2], offset[2]),
        one(wasm_i16x8_shuffle(b, b64, 4, 12, 5, 13, 6, 14, 7, 15), multiplier[3], offset[3]));
    return max_codes<Code>(y, lo);
  }
  static v128_t one(v128_t pairs, v128_t m, v128_t b) {
    return wasm_i32x4_shr(wasm_i32x4_add(wasm_i32x4_dot_i16x8(pairs, m), b), kShift);
  }
};

// Calls body.template operator()<Code, shift>() for the code and shift of a layer.
template <class Body>
void with_form(const PackedQBatchNorm& p, Body body) {
  const auto with_shift = [&]<class Code>() {
    if (p.shift == kShifts[0]) return body.template operator()<Code, kShifts[0]>();
    if (p.shift == kShifts[1]) return body.template operator()<Code, kShifts[1]>();
    return body.template operator()<Code, kShifts[2]>();
  };
  if (p.code == CodeType::kInt8) {
    with_shift.template operator()<std::int8_t>();
  } else {
    with_shift.template operator()<std::uint8_t>();
  }
}

}  // namespace

void run_dot_pixels(const std::uint8_t* in, std::uint8_t* out, std::size_t pixels, std::size_t,
                    std::size_t, const PackedQBatchNorm& p) {
  with_form(p, [&]<class Code, int kShift>() {
    const std::int32_t* multipliers = p.ints.data();
    const std::int32_t* offsets = multipliers + p.channels + 16;
    const v128_t lo = splat_code<Code>(p.lo);
    map_pixels(in, out, pixels, p.channels, [&](std::size_t c) {
      DotForm<Code, kShift> form{{}, {}, lo};
      for (std::size_t j = 0; j < 4; ++j) {
        form.multiplier[j] = wasm_v128_load(multipliers + c + 4 * j);
        form.offset[j] = wasm_v128_load(offsets + c + 4 * j);
      }
      return form;
    });
  });
}

void run_dot_planes(const std::uint8_t* in, std::uint8_t* out, std::size_t planes,
                    std::size_t plane_size, std::size_t first_channel, const PackedQBatchNorm& p) {
  with_form(p, [&]<class Code, int kShift>() {
    const std::int32_t* offsets = p.ints.data() + p.channels + 16;
    map_planes(in, out, planes, plane_size, first_channel, p.channels, [&](std::size_t c) {
      const v128_t m = wasm_i32x4_splat(p.ints[c]);
      const v128_t b = wasm_i32x4_splat(offsets[c]);
      return DotForm<Code, kShift>{{m, m, m, m}, {b, b, b, b}, splat_code<Code>(p.lo)};
    });
  });
}

template <ChannelOrder kOrder>
std::optional<PackedQBatchNorm> pack_dot(const QBatchNormSpec& spec,
                                         std::span<const std::uint8_t> tables) {
  PackedQBatchNorm packed = pack_common(spec);
  packed.shift = kShifts.front();
  if (packed.channels == 0) return packed;
  for (const int shift : kShifts) {
    std::vector<std::int32_t> multipliers;
    std::vector<std::int32_t> offsets;
    for (std::size_t c = 0; c < packed.channels; ++c) {
      const auto affine = solve(spec.alpha[c], shift, packed, tables.subspan(c * 256, 256));
      if (!affine) break;
      multipliers.push_back(pair_of(affine->multiplier));
      offsets.push_back(affine->offset);
    }
    if (offsets.size() != packed.channels) continue;
    packed.shift = shift;
    append_cyclic(multipliers, packed.ints);
    append_cyclic(offsets, packed.ints);
    constexpr QBatchNormFn kRun =
        kOrder == ChannelOrder::kPlanes ? &run_dot_planes : &run_dot_pixels;
    if (!equals_tables(kRun, kOrder, packed, tables)) return std::nullopt;
    return packed;
  }
  return std::nullopt;
}
template std::optional<PackedQBatchNorm> pack_dot<ChannelOrder::kPlanes>(
    const QBatchNormSpec&, std::span<const std::uint8_t>);
template std::optional<PackedQBatchNorm> pack_dot<ChannelOrder::kChannelsLast>(
    const QBatchNormSpec&, std::span<const std::uint8_t>);

}  // namespace octavo::kernels
