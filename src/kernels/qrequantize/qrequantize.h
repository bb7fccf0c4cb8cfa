// qrequantize: the 32-bit sums of a convolution or matrix product to codes, with a bias that stays
// float.
//
//   out[m][n] = clamp(rint((f32(acc[m][n]) * scale[n] + bias[n]) * inverse + zero), lo, hi)
//
// scale[n] = (f32)(scale_x * scale_w[n]), inverse = 1f / (f32)scale_y; every step is one f32
// operation. oneDNN's output stage as PyTorch's onednn engine sets it up (2.6,
// aten/src/ATen/native/quantized/cpu/qconv.cpp). ONNX and qnnpack round the bias to an int32
// instead: that is qconv's own output. acc and out are dense; NaN becomes lo.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/rows.h"

namespace octavo::kernels {

struct QRequantizeParams {
  const float* scale = nullptr;  // one a channel
  const float* bias = nullptr;   // one a channel
  float inverse = 1.0F;
  std::int32_t zero = 0, lo = 0, hi = 255;  // [lo, hi] within the code's range
};

template <class Code>
using QRequantizeFn = void (*)(const std::int32_t* acc, Code* out, std::size_t pixels,
                               std::size_t channels, const QRequantizeParams& params);

struct QRequantizeKernel {
  std::string_view name;
  simd::Level level;
  QRequantizeFn<std::uint8_t> u8;
  QRequantizeFn<std::int8_t> s8;
};

std::span<const QRequantizeKernel>
qrequantize_kernels();  // weakest first: front() is the reference

}  // namespace octavo::kernels
