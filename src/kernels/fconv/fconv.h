// fconv: the float matrix product behind Conv, Gemm and MatMul, reading NHWC floats in place.
// For output pixels m < pixels and channels n < channels:
//
//   pixel(m)  = x + (m / width) * row_stride + (m % width) * pixel_stride
//   acc(m, n) = (sum over s < segments, k < length of x[pixel(m) + offset[s] + k] * w[n][s][k])
//               + bias[n]
//   y(m, n)   = min(max(acc, lo), hi), NaN stays NaN
//
// Every product is rounded, then every sum, in the order s, k, bias: all rows of the table but
// fused ones give the same bits, so a quantized model's float nodes do too on every machine. Fused
// rows round a product and its sum once where the machine's relaxed_madd does. Segments and strides
// as in qconv.h, counted in floats.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "kernels/policy.h"

namespace octavo::kernels {

struct FConvSpec {
  int channels = 0;
  int segments = 1;
  int length = 0;  // floats of a segment

  bool operator==(const FConvSpec&) const = default;
};

struct FConvPacked {
  FConvSpec spec;
  std::vector<float> weights;
  std::vector<float> bias;  // padded with zeros to the tile

  bool operator==(const FConvPacked&) const = default;
  std::size_t bytes() const { return (weights.size() + bias.size()) * sizeof(float); }
};

struct FConvCall {
  const float* x = nullptr;
  std::int64_t pixel_stride = 0, row_stride = 0;  // floats
  std::int64_t width = 1;
  std::int64_t pixels = 0;
  const std::int32_t* segment_offset = nullptr;  // floats
  float* out = nullptr;
  std::int64_t out_stride = 0;  // floats between output pixels
  // The channels to compute, cut at multiples of 8; `out` is channel 0's. 0: all from the first on.
  int first_channel = 0, last_channel = 0;
  float lo = 0, hi = 0;  // -infinity, infinity: no clamp

  int end_channel(int channels) const { return last_channel != 0 ? last_channel : channels; }
};

struct FConvKernel {
  std::string_view name;
  simd::Level level;
  bool fused;
  int pixels;  // that it computes at once: calls of a multiple of them waste nothing
  // weights[n][s][k] row-major; bias may be empty: zeros.
  FConvPacked (*pack)(const FConvSpec& spec, std::span<const float> weights,
                      std::span<const float> bias);
  void (*run)(const FConvPacked& packed, const FConvCall& call);
};

std::span<const FConvKernel> fconv_kernels();  // weakest first: front() is the reference

}  // namespace octavo::kernels
