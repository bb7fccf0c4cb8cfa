// Nibble form, for planes: a map of slope up to 1 in 8.8 fixed point is a sum of a function of the
// high nibble and one of the low nibble.
//
//   out = high byte of (high[q >> 4] + low[q & 15]) mod 2^16,   q clamped to [first, last]
//
// Four swizzles fetch the bytes of both summands; the carry out of the low byte is one comparison.
// Codes are taken in ascending order: for int8 that turns the high nibble's top bit.
#include <array>

#include "kernels/codes.h"
#include "kernels/qbatchnorm/forms.h"
#include "simd/relaxed.h"

namespace octavo::kernels {

namespace {

// Where each of a channel's vectors stands in its bytes.
enum Part : std::size_t { kHighHigh, kHighLow, kLowHigh, kLowLow, kFirst, kLast, kMask, kParts };
constexpr std::size_t kBytesOfChannel = kParts * 16;

// high[h] + low[l] within [256 y, 256 y + 255] for every code (h, l) between first and last: a
// system of difference constraints in high[h] and -low[l], solved by relaxing every edge until
// nothing moves (Bellman-Ford), or 32 nodes' worth of rounds show that something always will.
struct Split {
  std::uint8_t first = 0, last = 0;
  std::array<std::int32_t, 32> potential{};  // high[16], then -low[16]
};

// y: 256 results in ascending order of codes, themselves with the lowest code as 0.
std::optional<Split> split(const std::array<std::uint8_t, 256>& y) {
  // Runs of one value at the ends need no arithmetic: the clamped code has it too.
  std::size_t first = 0;
  std::size_t last = 255;
  while (first < last && y[first] == y[first + 1]) ++first;
  while (last > first && y[last] == y[last - 1]) --last;
  Split found{static_cast<std::uint8_t>(first), static_cast<std::uint8_t>(last), {}};
  auto& d = found.potential;
  for (int round = 0; round <= 32; ++round) {
    bool moved = false;
    for (std::size_t q = first; q <= last; ++q) {
      std::int32_t& high = d[q >> 4];
      std::int32_t& negative_low = d[16 + (q & 15)];
      if (high > negative_low + 256 * y[q] + 255) {
        high = negative_low + 256 * y[q] + 255;
        moved = true;
      }
      if (negative_low > high - 256 * y[q]) {
        negative_low = high - 256 * y[q];
        moved = true;
      }
    }
    if (!moved) return found;
  }
  return std::nullopt;
}

// The vectors of one channel in registers.
template <class Code, simd::Level kLevel>
struct NibbleForm {
  v128_t part[kParts];

  v128_t operator()(v128_t bytes) const {
    const v128_t q = max_codes<Code>(min_codes<Code>(bytes, part[kLast]), part[kFirst]);
    const v128_t l = wasm_v128_and(q, part[kMask]);
    const v128_t h = wasm_v128_and(wasm_u16x8_shr(q, 4), part[kMask]);
    const v128_t low = swizzle(part[kLowLow], l);
    const v128_t sum = wasm_i8x16_add(swizzle(part[kHighLow], h), low);
    // -1 where the low bytes carry nothing; high[h]'s high byte is kept one greater.
    const v128_t no_carry = wasm_i8x16_eq(wasm_u8x16_max(sum, low), sum);
    return wasm_i8x16_add(wasm_i8x16_add(swizzle(part[kHighHigh], h), swizzle(part[kLowHigh], l)),
                          no_carry);
  }
  static v128_t swizzle(v128_t table, v128_t index) {
    if constexpr (kLevel == simd::Level::kRelaxed) {
      return simd::relaxed_swizzle(table, index);
    } else {
      return wasm_i8x16_swizzle(table, index);
    }
  }
};

template <class Code, simd::Level kLevel>
void planes_of(const std::uint8_t* in, std::uint8_t* out, std::size_t planes,
               std::size_t plane_size, std::size_t first_channel, const PackedQBatchNorm& p) {
  map_planes(in, out, planes, plane_size, first_channel, p.channels, [&](std::size_t c) {
    // The mask too comes from memory: as a constant it would be built anew for every vector.
    NibbleForm<Code, kLevel> form;
    for (std::size_t j = 0; j < kParts; ++j) {
      form.part[j] = wasm_v128_load(p.bytes.data() + c * kBytesOfChannel + 16 * j);
    }
    return form;
  });
}

}  // namespace

template <simd::Level kLevel>
void run_nibble_planes(const std::uint8_t* in, std::uint8_t* out, std::size_t planes,
                       std::size_t plane_size, std::size_t first_channel,
                       const PackedQBatchNorm& packed) {
  if (packed.code == CodeType::kInt8) {
    planes_of<std::int8_t, kLevel>(in, out, planes, plane_size, first_channel, packed);
  } else {
    planes_of<std::uint8_t, kLevel>(in, out, planes, plane_size, first_channel, packed);
  }
}

template <simd::Level kLevel>
std::optional<PackedQBatchNorm> pack_nibble(const QBatchNormSpec& spec,
                                            std::span<const std::uint8_t> tables) {
  PackedQBatchNorm packed = pack_common(spec);
  packed.bytes.resize(packed.channels * kBytesOfChannel);
  const std::uint8_t turn = spec.code == CodeType::kInt8 ? 128 : 0;
  for (std::size_t c = 0; c < packed.channels; ++c) {
    std::array<std::uint8_t, 256> ascending{};
    for (std::size_t q = 0; q < 256; ++q) ascending[q] = tables[c * 256 + (q ^ turn)] ^ turn;
    const auto found = split(ascending);
    if (!found) return std::nullopt;
    std::uint8_t* to = packed.bytes.data() + c * kBytesOfChannel;
    const auto byte = [&](Part part, std::size_t i) -> std::uint8_t& { return to[part * 16 + i]; };
    for (std::size_t i = 0; i < 16; ++i) {
      const std::int32_t high = found->potential[i ^ (turn >> 4)];
      const std::int32_t low = -found->potential[16 + i];
      byte(kHighHigh, i) = static_cast<std::uint8_t>((high >> 8) + 1 + turn);
      byte(kHighLow, i) = static_cast<std::uint8_t>(high);
      byte(kLowHigh, i) = static_cast<std::uint8_t>(low >> 8);
      byte(kLowLow, i) = static_cast<std::uint8_t>(low);
      byte(kFirst, i) = found->first ^ turn;
      byte(kLast, i) = found->last ^ turn;
      byte(kMask, i) = 15;
    }
  }
  if (!equals_tables(&run_nibble_planes<kLevel>, ChannelOrder::kPlanes, packed, tables))
    return std::nullopt;
  return packed;
}

template std::optional<PackedQBatchNorm> pack_nibble<simd::Level::kSimd128>(
    const QBatchNormSpec&, std::span<const std::uint8_t>);
template std::optional<PackedQBatchNorm> pack_nibble<simd::Level::kRelaxed>(
    const QBatchNormSpec&, std::span<const std::uint8_t>);
template void run_nibble_planes<simd::Level::kSimd128>(const std::uint8_t*, std::uint8_t*,
                                                       std::size_t, std::size_t, std::size_t,
                                                       const PackedQBatchNorm&);
template void run_nibble_planes<simd::Level::kRelaxed>(const std::uint8_t*, std::uint8_t*,
                                                       std::size_t, std::size_t, std::size_t,
                                                       const PackedQBatchNorm&);

}  // namespace octavo::kernels
