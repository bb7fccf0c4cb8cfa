// qconv: the integer matrix product behind Conv, Gemm and MatMul, reading NHWC bytes in place (no
// im2col). For output pixels m < pixels and channels n < channels:
//
//   pixel(m)  = x + (m / width) * row_stride + (m % width) * pixel_stride
//   acc(m, n) = bias[n] + sum over s < segments, k < length of
//                         (x[pixel(m) + offset[s] + k] - zero_x) * w[n][s][k]
//
//   codes:   y(m, n) = clamp(rint(f32(acc) * scale[n]) + zero_y, lo, hi)
//   float32: y(m, n) = f32(acc) * scale[n]
//   int32:   y(m, n) = acc
//
// Codes are ONNX Runtime's QLinearConv with scale[n] = f32(scale_x * scale_w[n] / scale_y); float32
// takes scale[n] = scale_x * scale_w[n].
//
// A segment is a run of bytes that lies contiguous under one output pixel: a kernel row of a
// convolution without dilation (kw * C bytes), one tap with dilation, the whole row of a matrix.
// The zero point of x is taken out of the loop: pack() adds -zero_x * sum(w) to the bias, so the
// loops sum raw codes. Accumulation is modulo 2^32.
//
// Rows may read up to 16 bytes past the end of a segment (times zero): the caller's buffers have
// that slack.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "kernels/policy.h"

namespace octavo::kernels {

struct QConvSpec {
  int channels = 0;       // n
  int segments = 1;       // s
  int length = 0;         // k, bytes of a segment
  bool x_signed = false;  // int8 codes, or uint8
  std::int32_t zero_x = 0;

  bool operator==(const QConvSpec&) const = default;
};

// Four weights k .. k + 3 of a segment, any k, for 4 channels, to be added to their sums.
struct QConvResidual {
  std::int32_t segment, k;

  bool operator==(const QConvResidual&) const = default;
};

// Weights in the order its kernel reads them; made when a session is made.
struct QConvPacked {
  QConvSpec spec;
  std::vector<std::int8_t> weights;
  std::vector<std::int32_t> bias;  // with -zero_x * sum(w), padded with zeros to the tile
  std::vector<float> scale;        // padded with zeros to the tile
  // |acc * scale| stays below 2^22 for every input, so rounding by the magic number needs no clamp
  // before it.
  bool bounded = false;
  std::size_t scratch_bytes = 0;  // per call, 16-byte aligned
  int groups = 0;                 // of k, in a segment
  // Rows that cannot take all weights: what was cut off. Channels 4i .. 4i + 3 have the residuals
  // from residual_begin[i] on; each has 16 weights, [channel][k].
  std::vector<std::int32_t> residual_begin;
  std::vector<QConvResidual> residuals;
  std::vector<std::int8_t> residual_weights;
  bool quads = false;  // sums of two groups' pairs stay within 16 bits

  bool operator==(const QConvPacked&) const = default;
  std::size_t bytes() const {
    return weights.size() + residual_weights.size() + residuals.size() * sizeof(QConvResidual) +
           (bias.size() + residual_begin.size()) * sizeof(std::int32_t) +
           scale.size() * sizeof(float);
  }
};

enum class QConvOutput : std::uint8_t { kUint8, kInt8, kFloat32, kInt32 };

struct QConvCall {
  const std::byte* x = nullptr;
  std::int64_t pixel_stride = 0;  // bytes
  std::int64_t row_stride = 0;    // bytes
  std::int64_t width = 1;         // pixels in a row, > 0
  std::int64_t pixels = 0;
  const std::int32_t* segment_offset = nullptr;  // bytes, one a segment
  std::byte* out = nullptr;
  std::int64_t out_stride = 0;  // elements between output pixels, >= channels
  // The channels to compute, cut at multiples of 8; `out` is channel 0's. 0: all from the first on.
  int first_channel = 0, last_channel = 0;
  QConvOutput output = QConvOutput::kUint8;
  std::int32_t zero_y = 0, lo = 0, hi = 255;
  std::byte* scratch = nullptr;  // QConvPacked::scratch_bytes

  int end_channel(int channels) const { return last_channel != 0 ? last_channel : channels; }
};

struct QConvKernel {
  std::string_view name;
  simd::Level level;
  simd::EngineClass engine;  // kNone: right on every machine
  bool x_signed;             // the byte form of x it takes
  // weights[n][s][k] row-major; scale has spec.channels elements, bias too or none (zeros).
  QConvPacked (*pack)(const QConvSpec& spec, std::span<const std::int8_t> weights,
                      std::span<const std::int32_t> bias, std::span<const float> scale);
  void (*run)(const QConvPacked& packed, const QConvCall& call);
  // Whether it is the fastest of its engine for these weights; null: always. It is exact anyway.
  bool (*pays)(const QConvSpec& spec, std::span<const std::int8_t> weights);
};

// Weakest first; the first two (uint8 x, int8 x) are the reference.
std::span<const QConvKernel> qconv_kernels();
// The strongest row that the policy allows, that is exact on its engine and pays for these weights.
const QConvKernel& choose_qconv(const Policy& policy, const QConvSpec& spec,
                                std::span<const std::int8_t> weights);

}  // namespace octavo::kernels
