// quantize: real numbers to codes and back.
//
//   ONNX (QuantizeLinear; what models follow):      q = saturate(rint(x / scale) + zero_point)
//   PyTorch (quantize_per_tensor; the nn modules):  q = clamp(zero_point + rint(x * (1f / scale)))
//   dequantize:                                     x = scale * (q - zero_point)
//
// rint rounds ties to even; every step is f32. ONNX: NaN gives the lowest code, infinities saturate
// (ONNX Runtime 1.21). PyTorch: NaN, infinities and |x / scale| >= 2^63 give the lowest code, as
// its x86-64 build without FBGEMM does. Any n >= 0, no alignment needed. zero_point is a code;
// scale > 0 and finite.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>

#include "kernels/rows.h"

namespace octavo::kernels {

// The grid of one tensor (or one channel): real = scale * (code - zero_point).
struct Grid {
  float scale = 1.0F;
  std::int32_t zero_point = 0;
};

template <class Code>
using QuantizeFn = void (*)(const float* in, Code* out, std::size_t n, Grid grid);
template <class Code>
using DequantizeFn = void (*)(const Code* in, float* out, std::size_t n, Grid grid);

struct QuantizeKernel {
  std::string_view name;  // "quantize/simd128"
  simd::Level level;
  QuantizeFn<std::uint8_t> quantize_u8;  // ONNX
  QuantizeFn<std::int8_t> quantize_s8;
  QuantizeFn<std::uint8_t> quantize_torch_u8;
  QuantizeFn<std::int8_t> quantize_torch_s8;
  DequantizeFn<std::uint8_t> dequantize_u8;
  DequantizeFn<std::int8_t> dequantize_s8;
  DequantizeFn<std::int32_t> dequantize_s32;  // q - zero_point must not overflow

  template <class Code>
  QuantizeFn<Code> quantize() const;
  template <class Code>
  DequantizeFn<Code> dequantize() const;
};

std::span<const QuantizeKernel> quantize_kernels();  // weakest first: front() is the reference

// One value, ONNX's way and PyTorch's way: the specification of the above.
template <class Code>
Code quantize_value(float x, Grid grid);
// uint8_t, int8_t, and int32_t for PyTorch's qint32 (biases).
template <class Code>
Code quantize_torch_value(float x, Grid grid);
template <>
std::int32_t quantize_torch_value<std::int32_t>(float x, Grid grid);
template <class Code>
float dequantize_value(Code code, Grid grid) {
  return grid.scale * static_cast<float>(static_cast<std::int32_t>(code) - grid.zero_point);
}

// Per channel: the tensor is [outer][channels][inner]; NCHW has inner = H * W, channels-last inner
// = 1, weights (axis 0) outer = 1. scales and zero_points have `channels` entries; zero_points may
// be empty (all 0). ONNX's formulas. Code: uint8_t, int8_t; dequantize also int32_t.
template <class Code>
void quantize_per_channel(const QuantizeKernel& kernel, const float* in, Code* out,
                          std::size_t outer, std::size_t channels, std::size_t inner,
                          std::span<const float> scales, std::span<const std::int32_t> zero_points);
template <class Code>
void dequantize_per_channel(const QuantizeKernel& kernel, const Code* in, float* out,
                            std::size_t outer, std::size_t channels, std::size_t inner,
                            std::span<const float> scales,
                            std::span<const std::int32_t> zero_points);
// PyTorch's per-channel forms: quantize as its per-tensor one; x = (f32)((double)(q - zero_point) *
// (double)scale).
template <class Code>
void quantize_torch_per_channel(const QuantizeKernel& kernel, const float* in, Code* out,
                                std::size_t outer, std::size_t channels, std::size_t inner,
                                std::span<const float> scales,
                                std::span<const std::int32_t> zero_points);
template <class Code>
void dequantize_torch_per_channel(const Code* in, float* out, std::size_t outer,
                                  std::size_t channels, std::size_t inner,
                                  std::span<const double> scales,
                                  std::span<const std::int32_t> zero_points);

template <>
inline QuantizeFn<std::uint8_t> QuantizeKernel::quantize<std::uint8_t>() const {
  return quantize_u8;
}
template <>
inline QuantizeFn<std::int8_t> QuantizeKernel::quantize<std::int8_t>() const {
  return quantize_s8;
}
template <>
inline DequantizeFn<std::uint8_t> QuantizeKernel::dequantize<std::uint8_t>() const {
  return dequantize_u8;
}
template <>
inline DequantizeFn<std::int8_t> QuantizeKernel::dequantize<std::int8_t>() const {
  return dequantize_s8;
}
template <>
inline DequantizeFn<std::int32_t> QuantizeKernel::dequantize<std::int32_t>() const {
  return dequantize_s32;
}

}  // namespace octavo::kernels
