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
// table below may compute in any form that `pack` has proved equal to it, by running it on every
// code of every channel.
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

// The same formula on PyTorch's third code type, qint32: `count` codes of one channel, alpha and
// beta as above. 2^32 codes have no table, so there is one form only. out may be in.
void qbatchnorm_int32(const std::int32_t* in, std::int32_t* out, std::size_t count, float alpha,
                      float beta, std::int32_t zero_in, std::int32_t zero_out, bool relu);

enum class ChannelOrder : std::uint8_t {
  kChannelsLast,  // [pixels][channels]
  kPlanes,        // [planes][plane_size], channel = plane index % channels
};

// Constants of one layer in the form that a row reads; made once.
struct PackedQBatchNorm {
  std::size_t channels = 0;
  CodeType code = CodeType::kUint8;
  std::int32_t zero_in = 0, zero_out = 0;
  std::int32_t lo = 0, hi = 0;
  // What a row wants besides: tables, or alpha and beta, or integer multipliers and their shift.
  std::vector<std::uint8_t> bytes;
  std::vector<float> floats;
  std::vector<std::int32_t> ints;
  int shift = 0;
};

// kChannelsLast: `count` pixels (inner unused). kPlanes: `count` planes of `inner` codes, the first
// of which belongs to channel `first_channel`. out may be in.
using QBatchNormFn = void (*)(const std::uint8_t* in, std::uint8_t* out, std::size_t count,
                              std::size_t inner, std::size_t first_channel,
                              const PackedQBatchNorm& packed);

struct QBatchNormKernel {
  std::string_view name;  // "qbatchnorm/table-nchw"
  simd::Level level;
  ChannelOrder order;
  // tables = qbatchnorm_tables(spec). Nothing when this row cannot equal them.
  std::optional<PackedQBatchNorm> (*pack)(const QBatchNormSpec& spec,
                                          std::span<const std::uint8_t> tables);
  QBatchNormFn run;
};

// Weakest first within each order; the first row of an order computes the formula itself and is the
// reference.
std::span<const QBatchNormKernel> qbatchnorm_kernels();

// The strongest rows that the policy allows and that are proved equal, with their constants: one
// row for each channel of planes, one for all channels of a channels-last tensor.
class QBatchNormPlan {
 public:
  static QBatchNormPlan make(const QBatchNormSpec& spec, ChannelOrder order, const Policy& policy);
  // Of functions that are defined by `tables` (256 results a channel, as of qbatchnorm_tables())
  // and may be something else than a BatchNorm: alpha and beta only say where to look for a faster
  // form, and may be 0.
  static QBatchNormPlan of_tables(const QBatchNormSpec& spec, std::span<const std::uint8_t> tables,
                                  ChannelOrder order, const Policy& policy);

  // The row of most channels.
  std::string_view kernel() const;
  std::string_view kernel_of(std::size_t channel) const;
  // Pixels [first, last) of a channels-last tensor whose first byte is *in.
  void run_pixels(const std::uint8_t* in, std::uint8_t* out, std::size_t first,
                  std::size_t last) const;
  // Planes [first, last) (plane = image * channels + channel) of plane_size codes each.
  void run_planes(const std::uint8_t* in, std::uint8_t* out, std::size_t plane_size,
                  std::size_t first, std::size_t last) const;

 private:
  struct Part {
    const QBatchNormKernel* kernel = nullptr;
    PackedQBatchNorm packed;
  };
  std::size_t channels_ = 0;
  std::vector<Part> parts_;  // one a channel of planes, else one
};

}  // namespace octavo::kernels
