#include "kernels/qbatchnorm/qbatchnorm.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/codes.h"

namespace octavo::kernels {

FusedBatchNorm fuse_batch_norm_params(const BatchNormParams& params, double scale_in,
                                      double scale_out) {
  FusedBatchNorm fused;
  const std::size_t channels = params.weight.size();
  fused.alpha.reserve(channels);
  fused.beta.reserve(channels);
  const auto eps = static_cast<float>(params.eps);
  for (std::size_t c = 0; c < channels; ++c) {
    const auto inv = static_cast<float>(1.0 / static_cast<double>(std::sqrt(params.var[c] + eps)));
    const float slope = inv * params.weight[c];
    const float mean = params.mean[c] * inv;
    const float offset = params.bias[c] - mean * params.weight[c];
    fused.alpha.push_back(static_cast<float>(static_cast<double>(slope) * (scale_in / scale_out)));
    fused.beta.push_back(static_cast<float>(static_cast<double>(offset) / scale_out));
  }
  return fused;
}

namespace {

// The range of results: the code's, from zero_out up for relu.
struct Range {
  std::int32_t lowest, lo, hi;
};
Range range_of(CodeType code, std::int32_t zero_out, bool relu) {
  const bool is_signed = code == CodeType::kInt8;
  const std::int32_t lowest = is_signed ? -128 : 0;
  return {lowest, relu ? std::max(lowest, zero_out) : lowest, is_signed ? 127 : 255};
}

std::int32_t code_of(std::uint8_t byte, CodeType code) {
  return code == CodeType::kInt8 ? static_cast<std::int8_t>(byte) : byte;
}

// zero_out + rint(t) within [lo, hi]: clamped before rounding, which the integer bounds allow.
std::uint8_t finish(float t, const PackedQBatchNorm& p) {
  const auto zero = static_cast<float>(p.zero_out);
  const std::int32_t rounded =
      round_clamped(t, static_cast<float>(p.lo) - zero, static_cast<float>(p.hi) - zero);
  return static_cast<std::uint8_t>(rounded + p.zero_out);
}

std::uint8_t normalize_fma(std::uint8_t byte, std::size_t channel, const PackedQBatchNorm& p) {
  const auto q = static_cast<float>(code_of(byte, p.code) - p.zero_in);
  return finish(std::fma(p.floats[channel], q, p.floats[p.channels + channel]), p);
}

std::uint8_t normalize_mul_add(std::uint8_t byte, std::size_t channel, const PackedQBatchNorm& p) {
  const auto q = static_cast<float>(code_of(byte, p.code) - p.zero_in);
  const float product = p.floats[channel] * q;
  return finish(product + p.floats[p.channels + channel], p);
}

PackedQBatchNorm pack_floats(const QBatchNormSpec& spec) {
  const Range range = range_of(spec.code, spec.zero_out, spec.relu);
  PackedQBatchNorm packed;
  packed.channels = spec.alpha.size();
  packed.code = spec.code;
  packed.zero_in = spec.zero_in;
  packed.zero_out = spec.zero_out;
  packed.lo = range.lo;
  packed.hi = range.hi;
  packed.floats = spec.alpha;
  packed.floats.insert(packed.floats.end(), spec.beta.begin(), spec.beta.end());
  return packed;
}

// ---- reference: the formula ----

std::optional<PackedQBatchNorm> pack_reference(const QBatchNormSpec& spec) {
  return pack_floats(spec);
}

void run_reference_pixels(const std::uint8_t* in, std::uint8_t* out, std::size_t pixels,
                          std::size_t, std::size_t, const PackedQBatchNorm& p) {
  for (std::size_t i = 0; i < pixels; ++i) {
    for (std::size_t c = 0; c < p.channels; ++c) {
      out[i * p.channels + c] = normalize_fma(in[i * p.channels + c], c, p);
    }
  }
}

void run_reference_planes(const std::uint8_t* in, std::uint8_t* out, std::size_t planes,
                          std::size_t plane_size, std::size_t first_channel,
                          const PackedQBatchNorm& p) {
  for (std::size_t i = 0; i < planes; ++i) {
    const std::size_t channel = (first_channel + i) % p.channels;
    for (std::size_t j = 0; j < plane_size; ++j) {
      out[i * plane_size + j] = normalize_fma(in[i * plane_size + j], channel, p);
    }
  }
}

// ---- table: 256 results a channel ----

std::optional<PackedQBatchNorm> pack_table(const QBatchNormSpec& spec) {
  PackedQBatchNorm packed = pack_floats(spec);
  packed.bytes = qbatchnorm_tables(spec);
  return packed;
}

void run_table_pixels(const std::uint8_t* in, std::uint8_t* out, std::size_t pixels, std::size_t,
                      std::size_t, const PackedQBatchNorm& p) {
  const std::size_t channels = p.channels;
  for (std::size_t i = 0; i < pixels; ++i) {
    const std::uint8_t* table = p.bytes.data();
    for (std::size_t c = 0; c < channels; ++c, table += 256) out[c] = table[in[c]];
    in += channels;
    out += channels;
  }
}

void run_table_planes(const std::uint8_t* in, std::uint8_t* out, std::size_t planes,
                      std::size_t plane_size, std::size_t first_channel,
                      const PackedQBatchNorm& p) {
  std::size_t channel = first_channel % std::max<std::size_t>(p.channels, 1);
  for (std::size_t i = 0; i < planes; ++i) {
    const std::uint8_t* table = p.bytes.data() + channel * 256;
    for (std::size_t j = 0; j < plane_size; ++j) out[j] = table[in[j]];
    in += plane_size;
    out += plane_size;
    if (++channel == p.channels) channel = 0;
  }
}

// ---- simd128: separate multiplication and addition, where they give the table ----

// alpha and beta repeated cyclically for sixteen more channels, so that a vector may start at any
// channel: floats = alpha, beta as in pack_floats, then the two cyclic copies.
constexpr std::size_t kCycle = 16;

std::optional<PackedQBatchNorm> pack_simd128(const QBatchNormSpec& spec) {
  PackedQBatchNorm packed = pack_floats(spec);
  const std::vector<std::uint8_t> tables = qbatchnorm_tables(spec);
  for (std::size_t c = 0; c < packed.channels; ++c) {
    for (std::size_t q = 0; q < 256; ++q) {
      if (normalize_mul_add(static_cast<std::uint8_t>(q), c, packed) != tables[c * 256 + q])
        return std::nullopt;
    }
  }
  if (packed.channels == 0) return packed;
  for (const std::vector<float>* values : {&spec.alpha, &spec.beta}) {
    for (std::size_t i = 0; i < packed.channels + kCycle; ++i) {
      packed.floats.push_back((*values)[i % packed.channels]);
    }
  }
  return packed;
}

struct BatchNormLanes {
  explicit BatchNormLanes(const PackedQBatchNorm& p)
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

template <class Code>
void normalize16(const std::uint8_t* in, std::uint8_t* out, const BatchNormLanes& lanes,
                 const v128_t* alpha, const v128_t* beta) {
  const Codes16<Code> codes = load16(reinterpret_cast<const Code*>(in));
  wasm_v128_store(out, narrow16<Code>(lanes.normalize(codes.part[0], alpha[0], beta[0]),
                                      lanes.normalize(codes.part[1], alpha[1], beta[1]),
                                      lanes.normalize(codes.part[2], alpha[2], beta[2]),
                                      lanes.normalize(codes.part[3], alpha[3], beta[3])));
}

void load_four(const float* from, v128_t* to) {
  for (std::size_t j = 0; j < 4; ++j) to[j] = wasm_v128_load(from + 4 * j);
}

template <class Code>
void simd_pixels(const std::uint8_t* in, std::uint8_t* out, std::size_t pixels,
                 const PackedQBatchNorm& p) {
  const BatchNormLanes lanes(p);
  const std::size_t channels = p.channels;
  const float* cyclic_alpha = p.floats.data() + 2 * channels;
  const float* cyclic_beta = cyclic_alpha + channels + kCycle;
  v128_t alpha[4];
  v128_t beta[4];
  if (channels % 16 == 0) {
    // Strips of pixels, so that the constants of sixteen channels stay in registers while the strip
    // stays in cache.
    constexpr std::size_t kStrip = 128;
    for (std::size_t first = 0; first < pixels; first += kStrip) {
      const std::size_t count = std::min(kStrip, pixels - first);
      for (std::size_t c = 0; c < channels; c += 16) {
        load_four(cyclic_alpha + c, alpha);
        load_four(cyclic_beta + c, beta);
        for (std::size_t i = first; i < first + count; ++i) {
          normalize16<Code>(in + i * channels + c, out + i * channels + c, lanes, alpha, beta);
        }
      }
    }
    return;
  }
  const std::size_t n = pixels * channels;
  std::size_t c = 0;
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    load_four(cyclic_alpha + c, alpha);
    load_four(cyclic_beta + c, beta);
    normalize16<Code>(in + i, out + i, lanes, alpha, beta);
    c += 16;
    while (c >= channels) c -= channels;
  }
  for (; i < n; ++i) {
    out[i] = normalize_mul_add(in[i], c, p);
    if (++c == channels) c = 0;
  }
}

template <class Code>
void simd_planes(const std::uint8_t* in, std::uint8_t* out, std::size_t planes,
                 std::size_t plane_size, std::size_t first_channel, const PackedQBatchNorm& p) {
  const BatchNormLanes lanes(p);
  for (std::size_t plane = 0; plane < planes; ++plane) {
    const std::size_t channel = (first_channel + plane) % p.channels;
    const v128_t a = wasm_f32x4_splat(p.floats[channel]);
    const v128_t b = wasm_f32x4_splat(p.floats[p.channels + channel]);
    const v128_t alpha[4] = {a, a, a, a};
    const v128_t beta[4] = {b, b, b, b};
    std::size_t i = 0;
    for (; i + 16 <= plane_size; i += 16) normalize16<Code>(in + i, out + i, lanes, alpha, beta);
    for (; i < plane_size; ++i) out[i] = normalize_mul_add(in[i], channel, p);
    in += plane_size;
    out += plane_size;
  }
}

void run_simd_pixels(const std::uint8_t* in, std::uint8_t* out, std::size_t pixels, std::size_t,
                     std::size_t, const PackedQBatchNorm& p) {
  if (p.code == CodeType::kInt8) {
    simd_pixels<std::int8_t>(in, out, pixels, p);
  } else {
    simd_pixels<std::uint8_t>(in, out, pixels, p);
  }
}

void run_simd_planes(const std::uint8_t* in, std::uint8_t* out, std::size_t planes,
                     std::size_t plane_size, std::size_t first_channel, const PackedQBatchNorm& p) {
  if (p.code == CodeType::kInt8) {
    simd_planes<std::int8_t>(in, out, planes, plane_size, first_channel, p);
  } else {
    simd_planes<std::uint8_t>(in, out, planes, plane_size, first_channel, p);
  }
}

constexpr auto kKernels = std::to_array<QBatchNormKernel>({
    {"qbatchnorm/scalar-nhwc", simd::Level::kScalar, ChannelOrder::kChannelsLast, &pack_reference,
     &run_reference_pixels},
    {"qbatchnorm/table-nhwc", simd::Level::kScalar, ChannelOrder::kChannelsLast, &pack_table,
     &run_table_pixels},
    {"qbatchnorm/simd128-nhwc", simd::Level::kSimd128, ChannelOrder::kChannelsLast, &pack_simd128,
     &run_simd_pixels},
    {"qbatchnorm/scalar-nchw", simd::Level::kScalar, ChannelOrder::kPlanes, &pack_reference,
     &run_reference_planes},
    {"qbatchnorm/table-nchw", simd::Level::kScalar, ChannelOrder::kPlanes, &pack_table,
     &run_table_planes},
    {"qbatchnorm/simd128-nchw", simd::Level::kSimd128, ChannelOrder::kPlanes, &pack_simd128,
     &run_simd_planes},
});

}  // namespace

std::vector<std::uint8_t> qbatchnorm_tables(const QBatchNormSpec& spec) {
  const PackedQBatchNorm packed = pack_floats(spec);
  std::vector<std::uint8_t> tables(packed.channels * 256);
  for (std::size_t c = 0; c < packed.channels; ++c) {
    for (std::size_t q = 0; q < 256; ++q) {
      tables[c * 256 + q] = normalize_fma(static_cast<std::uint8_t>(q), c, packed);
    }
  }
  return tables;
}

std::span<const QBatchNormKernel> qbatchnorm_kernels() { return kKernels; }

QBatchNormPlan QBatchNormPlan::make(const QBatchNormSpec& spec, ChannelOrder order,
                                    const Policy& policy) {
  QBatchNormPlan plan;
  for (std::size_t i = kKernels.size(); i-- > 0 && plan.kernel_ == nullptr;) {
    const QBatchNormKernel& kernel = kKernels[i];
    if (kernel.order != order || kernel.level > policy.level) continue;
    if (auto packed = kernel.pack(spec)) {
      plan.kernel_ = &kernel;
      plan.packed_ = *std::move(packed);
    }
  }
  return plan;
}

void QBatchNormPlan::run_pixels(const std::uint8_t* in, std::uint8_t* out, std::size_t first,
                                std::size_t last) const {
  const std::size_t offset = first * packed_.channels;
  kernel_->run(in + offset, out + offset, last - first, 0, 0, packed_);
}

void QBatchNormPlan::run_planes(const std::uint8_t* in, std::uint8_t* out, std::size_t plane_size,
                                std::size_t first, std::size_t last) const {
  if (first == last) return;
  const std::size_t offset = first * plane_size;
  kernel_->run(in + offset, out + offset, last - first, plane_size, first % packed_.channels,
               packed_);
}

}  // namespace octavo::kernels
