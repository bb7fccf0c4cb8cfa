// qbatchnorm: BatchNorm2d on codes, equal to PyTorch's quantized::batch_norm2d (and _relu, 1d, 3d)
// code for code.
//
//   inv   = (f32)(1.0 / (double)sqrtf(var + (float)eps))
//   alpha = (f32)((double)(inv * weight) * (scale_in / scale_out))          scales are doubles
//   beta  = (f32)((double)(bias - (mean * inv) * weight) / scale_out)       inner part f32, no FMA
//   out   = clamp(zero_out + rint(fma(alpha, (f32)(q - zero_in), beta)), lo, hi)
//
// lo and hi are the code's range; with relu, lo = zero_out. (PyTorch 2.6, builds with FMA:
// aten/src/ATen/native/quantized/cpu/Normalization.cpp and kernels/QuantizedOpKernels.cpp.) A
// result that is NaN becomes lo; one beyond the range saturates.
//
// A channel is a function of one byte, so its table of 256 results is the definition: a row of the
// table below may compute in any form that `pack` has proved equal to it for every code of every
// channel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "kernels/rows.h"

namespace octavo::kernels {

// What a BatchNormalization layer holds, one entry a channel.
struct BatchNormParams {
  std::span<const float> weight, bias, mean, var;
  double eps = 1e-5;
};

// real BatchNorm: y = x * alpha + beta in units of codes of the output grid.
struct FusedBatchNorm {
  std::vector<float> alpha, beta;
};
FusedBatchNorm fuse_batch_norm_params(const BatchNormParams& params, double scale_in,
                                      double scale_out);

enum class CodeType : std::uint8_t { kUint8, kInt8 };

// One quantized BatchNorm. alpha and beta have one entry a channel.
struct QBatchNormSpec {
  CodeType code = CodeType::kUint8;
  std::vector<float> alpha, beta;
  std::int32_t zero_in = 0, zero_out = 0;
  bool relu = false;
};

// The definition: 256 result bytes for each channel, index = (uint8_t)q.
std::vector<std::uint8_t> qbatchnorm_tables(const QBatchNormSpec& spec);

enum class ChannelOrder : std::uint8_t {
  kChannelsLast,  // [pixels][channels]
  kPlanes,        // [planes][plane_size], channel = plane index % channels
};

// Constants of one layer in the form that a row reads; made once.
struct PackedQBatchNorm {
  std::size_t channels = 0;
  CodeType code = CodeType::kUint8;
  std::int32_t zero_in = 0, zero_out = 0;
  std::vector<std::uint8_t> bytes;  // tables, 256 a channel
  std::vector<float> floats;        // alpha, beta, then what else a row wants
  std::int32_t lo = 0, hi = 0;
};

struct QBatchNormKernel {
  std::string_view name;  // "qbatchnorm/scalar-table"
  simd::Level level;
  ChannelOrder order;
  // Nothing when this row cannot equal the definition for all codes of all channels.
  std::optional<PackedQBatchNorm> (*pack)(const QBatchNormSpec& spec);
  // kChannelsLast: `count` pixels (inner unused). kPlanes: `count` planes of `inner` codes, the
  // first of which belongs to channel `first_channel`. out may be in.
  void (*run)(const std::uint8_t* in, std::uint8_t* out, std::size_t count, std::size_t inner,
              std::size_t first_channel, const PackedQBatchNorm& packed);
};

// Weakest first within each order; the first row of an order computes the formula itself and is the
// reference.
std::span<const QBatchNormKernel> qbatchnorm_kernels();

// The strongest row that the policy allows and that can be proved equal, with its constants.
class QBatchNormPlan {
 public:
  static QBatchNormPlan make(const QBatchNormSpec& spec, ChannelOrder order, const Policy& policy);

  std::string_view kernel() const { return kernel_->name; }
  // Pixels [first, last) of a channels-last tensor whose first byte is *in.
  void run_pixels(const std::uint8_t* in, std::uint8_t* out, std::size_t first,
                  std::size_t last) const;
  // Planes [first, last) (plane = image * channels + channel) of plane_size codes each.
  void run_planes(const std::uint8_t* in, std::uint8_t* out, std::size_t plane_size,
                  std::size_t first, std::size_t last) const;

 private:
  const QBatchNormKernel* kernel_ = nullptr;
  PackedQBatchNorm packed_;
};

}  // namespace octavo::kernels
