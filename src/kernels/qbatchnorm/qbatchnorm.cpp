#include "kernels/qbatchnorm/qbatchnorm.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "kernels/codes.h"
#include "kernels/qbatchnorm/forms.h"

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

void qbatchnorm_int32(const std::int32_t* in, std::int32_t* out, std::size_t count, float alpha,
                      float beta, std::int32_t zero_in, std::int32_t zero_out, bool relu) {
  // Differences and sums of codes leave the range of int32; double holds them.
  const double lo = relu ? zero_out : std::numeric_limits<std::int32_t>::min();
  const double hi = std::numeric_limits<std::int32_t>::max();
  for (std::size_t i = 0; i < count; ++i) {
    const auto q = static_cast<float>(static_cast<double>(in[i]) - zero_in);
    const double y = zero_out + std::nearbyint(static_cast<double>(std::fma(alpha, q, beta)));
    out[i] = static_cast<std::int32_t>(y > lo ? std::min(y, hi) : lo);  // NaN becomes lo
  }
}

std::int32_t code_of(std::uint8_t byte, CodeType code) {
  return code == CodeType::kInt8 ? static_cast<std::int8_t>(byte) : byte;
}

PackedQBatchNorm pack_common(const QBatchNormSpec& spec) {
  const bool is_signed = spec.code == CodeType::kInt8;
  const std::int32_t lowest = is_signed ? -128 : 0;
  PackedQBatchNorm packed;
  packed.channels = spec.alpha.size();
  packed.code = spec.code;
  packed.zero_in = spec.zero_in;
  packed.zero_out = spec.zero_out;
  packed.lo = spec.relu ? std::max(lowest, spec.zero_out) : lowest;
  packed.hi = is_signed ? 127 : 255;
  return packed;
}

bool equals_tables(QBatchNormFn run, ChannelOrder order, const PackedQBatchNorm& packed,
                   std::span<const std::uint8_t> tables) {
  const std::size_t channels = packed.channels;
  if (order == ChannelOrder::kPlanes) {
    std::array<std::uint8_t, 256> codes{};
    std::array<std::uint8_t, 256> results{};
    for (std::size_t q = 0; q < 256; ++q) codes[q] = static_cast<std::uint8_t>(q);
    for (std::size_t c = 0; c < channels; ++c) {
      run(codes.data(), results.data(), 1, 256, c, packed);
      if (!std::ranges::equal(results, tables.subspan(c * 256, 256))) return false;
    }
    return true;
  }
  std::vector<std::uint8_t> results(channels);
  for (std::size_t q = 0; q < 256; ++q) {
    const std::vector<std::uint8_t> pixel(channels, static_cast<std::uint8_t>(q));
    run(pixel.data(), results.data(), 1, 0, 0, packed);
    for (std::size_t c = 0; c < channels; ++c) {
      if (results[c] != tables[c * 256 + q]) return false;
    }
  }
  return true;
}

namespace {

// zero_out + rint(t) within [lo, hi]: clamped before rounding, which the integer bounds allow.
std::uint8_t normalize(std::uint8_t byte, std::size_t channel, const PackedQBatchNorm& p) {
  const auto q = static_cast<float>(code_of(byte, p.code) - p.zero_in);
  const float t = std::fma(p.floats[channel], q, p.floats[p.channels + channel]);
  const auto zero = static_cast<float>(p.zero_out);
  const std::int32_t rounded =
      round_clamped(t, static_cast<float>(p.lo) - zero, static_cast<float>(p.hi) - zero);
  return static_cast<std::uint8_t>(rounded + p.zero_out);
}

PackedQBatchNorm pack_floats(const QBatchNormSpec& spec) {
  PackedQBatchNorm packed = pack_common(spec);
  packed.floats = spec.alpha;
  packed.floats.insert(packed.floats.end(), spec.beta.begin(), spec.beta.end());
  return packed;
}

// ---- reference: the formula ----

std::optional<PackedQBatchNorm> pack_reference(const QBatchNormSpec& spec,
                                               std::span<const std::uint8_t>) {
  return pack_floats(spec);
}

void run_reference_pixels(const std::uint8_t* in, std::uint8_t* out, std::size_t pixels,
                          std::size_t, std::size_t, const PackedQBatchNorm& p) {
  for (std::size_t i = 0; i < pixels; ++i) {
    for (std::size_t c = 0; c < p.channels; ++c) {
      out[i * p.channels + c] = normalize(in[i * p.channels + c], c, p);
    }
  }
}

void run_reference_planes(const std::uint8_t* in, std::uint8_t* out, std::size_t planes,
                          std::size_t plane_size, std::size_t first_channel,
                          const PackedQBatchNorm& p) {
  for (std::size_t i = 0; i < planes; ++i) {
    const std::size_t channel = (first_channel + i) % p.channels;
    for (std::size_t j = 0; j < plane_size; ++j) {
      out[i * plane_size + j] = normalize(in[i * plane_size + j], channel, p);
    }
  }
}

// ---- table: 256 results a channel ----

std::optional<PackedQBatchNorm> pack_table(const QBatchNormSpec& spec,
                                           std::span<const std::uint8_t> tables) {
  PackedQBatchNorm packed = pack_common(spec);
  packed.bytes.assign(tables.begin(), tables.end());
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
  for (std::size_t i = 0; i < planes; ++i) {
    const std::uint8_t* table = p.bytes.data() + (first_channel + i) % p.channels * 256;
    for (std::size_t j = 0; j < plane_size; ++j) out[j] = table[in[j]];
    in += plane_size;
    out += plane_size;
  }
}

// ---- the table of rows ----

constexpr auto kScalar = simd::Level::kScalar;
constexpr auto kSimd128 = simd::Level::kSimd128;
constexpr auto kRelaxed = simd::Level::kRelaxed;
constexpr auto kChannelsLast = ChannelOrder::kChannelsLast;
constexpr auto kPlanes = ChannelOrder::kPlanes;

constexpr std::array kKernels{
    QBatchNormKernel{"qbatchnorm/scalar-nhwc", kScalar, kChannelsLast, &pack_reference,
                     &run_reference_pixels},
    QBatchNormKernel{"qbatchnorm/table-nhwc", kScalar, kChannelsLast, &pack_table,
                     &run_table_pixels},
    QBatchNormKernel{"qbatchnorm/float-nhwc", kSimd128, kChannelsLast, &pack_float<kChannelsLast>,
                     &run_float_pixels},
    QBatchNormKernel{"qbatchnorm/dot-nhwc", kSimd128, kChannelsLast, &pack_dot<kChannelsLast>,
                     &run_dot_pixels},
    QBatchNormKernel{"qbatchnorm/scalar-nchw", kScalar, kPlanes, &pack_reference,
                     &run_reference_planes},
    QBatchNormKernel{"qbatchnorm/table-nchw", kScalar, kPlanes, &pack_table, &run_table_planes},
    QBatchNormKernel{"qbatchnorm/float-nchw", kSimd128, kPlanes, &pack_float<kPlanes>,
                     &run_float_planes},
    QBatchNormKernel{"qbatchnorm/dot-nchw", kSimd128, kPlanes, &pack_dot<kPlanes>, &run_dot_planes},
    QBatchNormKernel{"qbatchnorm/nibble-nchw", kSimd128, kPlanes, &pack_nibble<kSimd128>,
                     &run_nibble_planes<kSimd128>},
    QBatchNormKernel{"qbatchnorm/relaxed-nibble-nchw", kRelaxed, kPlanes, &pack_nibble<kRelaxed>,
                     &run_nibble_planes<kRelaxed>},
};
constexpr std::size_t kRelaxedRows = 1;  // the last ones

}  // namespace

std::vector<std::uint8_t> qbatchnorm_tables(const QBatchNormSpec& spec) {
  const PackedQBatchNorm packed = pack_floats(spec);
  std::vector<std::uint8_t> tables(packed.channels * 256);
  for (std::size_t c = 0; c < packed.channels; ++c) {
    for (std::size_t q = 0; q < 256; ++q) {
      tables[c * 256 + q] = normalize(static_cast<std::uint8_t>(q), c, packed);
    }
  }
  return tables;
}

std::span<const QBatchNormKernel> qbatchnorm_kernels() {
  return std::span(kKernels).first(kKernels.size() - (simd::kHasRelaxedRows ? 0 : kRelaxedRows));
}

QBatchNormPlan QBatchNormPlan::make(const QBatchNormSpec& spec, ChannelOrder order,
                                    const Policy& policy) {
  return of_tables(spec, qbatchnorm_tables(spec), order, policy);
}

QBatchNormPlan QBatchNormPlan::of_tables(const QBatchNormSpec& spec,
                                         std::span<const std::uint8_t> tables, ChannelOrder order,
                                         const Policy& policy) {
  const auto strongest = [&](const QBatchNormSpec& part, std::span<const std::uint8_t> own) {
    const std::span<const QBatchNormKernel> kernels = qbatchnorm_kernels();
    for (std::size_t i = kernels.size(); i-- > 0;) {
      if (kernels[i].order != order || kernels[i].level > policy.level) continue;
      if (auto packed = kernels[i].pack(part, own)) return Part{&kernels[i], *std::move(packed)};
    }
    return Part{};  // never: the row of tables refuses nothing
  };
  QBatchNormPlan plan;
  plan.channels_ = spec.alpha.size();
  if (order == ChannelOrder::kChannelsLast) {
    plan.parts_.push_back(strongest(spec, tables));
    return plan;
  }
  QBatchNormSpec one = spec;
  for (std::size_t c = 0; c < plan.channels_; ++c) {
    one.alpha = {spec.alpha[c]};
    one.beta = {spec.beta[c]};
    plan.parts_.push_back(strongest(one, tables.subspan(c * 256, 256)));
  }
  return plan;
}

std::string_view QBatchNormPlan::kernel_of(std::size_t channel) const {
  return parts_[parts_.size() == 1 ? 0 : channel].kernel->name;
}

std::string_view QBatchNormPlan::kernel() const {
  std::string_view most = "qbatchnorm/none";  // a layer of no channels
  std::size_t best = 0;
  for (const QBatchNormKernel& kernel : qbatchnorm_kernels()) {
    const auto count = static_cast<std::size_t>(std::ranges::count(parts_, &kernel, &Part::kernel));
    if (count > best) {
      best = count;
      most = kernel.name;
    }
  }
  return most;
}

void QBatchNormPlan::run_pixels(const std::uint8_t* in, std::uint8_t* out, std::size_t first,
                                std::size_t last) const {
  const std::size_t offset = first * channels_;
  parts_.front().kernel->run(in + offset, out + offset, last - first, 0, 0, parts_.front().packed);
}

void QBatchNormPlan::run_planes(const std::uint8_t* in, std::uint8_t* out, std::size_t plane_size,
                                std::size_t first, std::size_t last) const {
  for (std::size_t plane = first; plane < last; ++plane) {
    const Part& part = parts_[plane % channels_];
    part.kernel->run(in + plane * plane_size, out + plane * plane_size, 1, plane_size, 0,
                     part.packed);
  }
}

}  // namespace octavo::kernels
