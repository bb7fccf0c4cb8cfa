// Float form: separate multiplication and addition in f32 lanes, where they give what the fused
// multiply-add of the definition gives.
#include "kernels/codes.h"
#include "kernels/qbatchnorm/forms.h"

namespace octavo::kernels {

namespace {

struct FloatLanes {
  explicit FloatLanes(const PackedQBatchNorm& p)
      : zero_in(wasm_i32x4_splat(p.zero_in)),
        lo(wasm_f32x4_splat(static_cast<float>(p.lo - p.zero_out))),
        hi(wasm_f32x4_splat(static_cast<float>(p.hi - p.zero_out))),
        magic(wasm_f32x4_splat(kRoundMagic)),
        offset(wasm_i32x4_splat(kRoundMagicBits - p.zero_out)) {}

  v128_t normalize(v128_t codes, v128_t alpha, v128_t beta) const {
    const v128_t q = wasm_f32x4_convert_i32x4(wasm_i32x4_sub(codes, zero_in));
    const v128_t t = clamp_lanes(wasm_f32x4_add(wasm_f32x4_mul(alpha, q), beta), lo, hi);
    return wasm_i32x4_sub(wasm_f32x4_add(t, magic), offset);
  }

  v128_t zero_in, lo, hi, magic, offset;
};

// alpha and beta as four vectors each.
template <class Code>
struct FloatForm {
  const FloatLanes* lanes;
  v128_t alpha[4], beta[4];

  v128_t operator()(v128_t bytes) const {
    const Codes16<Code> codes = split16<Code>(bytes);
    return narrow16<Code>(lanes->normalize(codes.part[0], alpha[0], beta[0]),
                          lanes->normalize(codes.part[1], alpha[1], beta[1]),
                          lanes->normalize(codes.part[2], alpha[2], beta[2]),
                          lanes->normalize(codes.part[3], alpha[3], beta[3]));
  }
};

template <class Code>
void pixels_of(const std::uint8_t* in, std::uint8_t* out, std::size_t pixels,
               const PackedQBatchNorm& p) {
  const FloatLanes lanes(p);
  const float* alpha = p.floats.data();
  const float* beta = alpha + p.channels + 16;
  map_pixels(in, out, pixels, p.channels, [&](std::size_t c) {
    FloatForm<Code> form{&lanes, {}, {}};
    for (std::size_t j = 0; j < 4; ++j) {
      form.alpha[j] = wasm_v128_load(alpha + c + 4 * j);
      form.beta[j] = wasm_v128_load(beta + c + 4 * j);
    }
    return form;
  });
}

template <class Code>
void planes_of(const std::uint8_t* in, std::uint8_t* out, std::size_t planes,
               std::size_t plane_size, std::size_t first_channel, const PackedQBatchNorm& p) {
  const FloatLanes lanes(p);
  const float* beta = p.floats.data() + p.channels + 16;
  map_planes(in, out, planes, plane_size, first_channel, p.channels, [&](std::size_t c) {
    const v128_t a = wasm_f32x4_splat(p.floats[c]);
    const v128_t b = wasm_f32x4_splat(beta[c]);
    return FloatForm<Code>{&lanes, {a, a, a, a}, {b, b, b, b}};
  });
}

}  // namespace

void run_float_pixels(const std::uint8_t* in, std::uint8_t* out, std::size_t pixels, std::size_t,
                      std::size_t, const PackedQBatchNorm& packed) {
  if (packed.code == CodeType::kInt8) {
    pixels_of<std::int8_t>(in, out, pixels, packed);
  } else {
    pixels_of<std::uint8_t>(in, out, pixels, packed);
  }
}

void run_float_planes(const std::uint8_t* in, std::uint8_t* out, std::size_t planes,
                      std::size_t plane_size, std::size_t first_channel,
                      const PackedQBatchNorm& packed) {
  if (packed.code == CodeType::kInt8) {
    planes_of<std::int8_t>(in, out, planes, plane_size, first_channel, packed);
  } else {
    planes_of<std::uint8_t>(in, out, planes, plane_size, first_channel, packed);
  }
}

template <ChannelOrder kOrder>
std::optional<PackedQBatchNorm> pack_float(const QBatchNormSpec& spec,
                                           std::span<const std::uint8_t> tables) {
  PackedQBatchNorm packed = pack_common(spec);
  if (packed.channels == 0) return packed;
  append_cyclic(spec.alpha, packed.floats);
  append_cyclic(spec.beta, packed.floats);
  constexpr QBatchNormFn kRun =
      kOrder == ChannelOrder::kPlanes ? &run_float_planes : &run_float_pixels;
  if (!equals_tables(kRun, kOrder, packed, tables)) return std::nullopt;
  return packed;
}
template std::optional<PackedQBatchNorm> pack_float<ChannelOrder::kPlanes>(
    const QBatchNormSpec&, std::span<const std::uint8_t>);
template std::optional<PackedQBatchNorm> pack_float<ChannelOrder::kChannelsLast>(
    const QBatchNormSpec&, std::span<const std::uint8_t>);

}  // namespace octavo::kernels
