// qbinary: sums and products of two tensors of codes with different grids, as PyTorch's
// quantized::add, add_relu, mul and mul_relu.
//
//   add:  out = clamp(zero_y + rint((scale_a * (a - zero_a) + scale_b * (b - zero_b)) * inverse),
//                     lo, hi)                                   inverse = 1f / scale_y
//   mul:  out = clamp(zero_y + rint((a - zero_a) * (b - zero_b) * multiplier), lo, hi)
//                                        multiplier = (scale_a * scale_b) * (1f / scale_y)
//
// Differences and products of codes are exact; everything else is one f32 operation a step. With
// relu, lo = zero_y. NaN (infinite scales) becomes lo. (PyTorch 2.6,
// aten/src/ATen/native/quantized/cpu/kernels/QuantizedOpKernels.cpp. qadd and qmul are ONNX
// Runtime's forms, which round elsewhere.) Any n >= 0; out may be a or b.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/quantize/quantize.h"
#include "kernels/rows.h"

namespace octavo::kernels {

struct QBinaryParams {
  Grid a, b;
  float factor = 1.0F;  // inverse, or multiplier
  std::int32_t zero_out = 0, lo = 0, hi = 255;
};
QBinaryParams make_torch_add_params(Grid a, Grid b, Grid out, std::int32_t lo, std::int32_t hi);
QBinaryParams make_torch_mul_params(Grid a, Grid b, Grid out, std::int32_t lo, std::int32_t hi);

template <class Code>
using QBinaryFn = void (*)(const Code* a, const Code* b, Code* out, std::size_t n,
                           const QBinaryParams& params);

struct QBinaryKernel {
  std::string_view name;
  simd::Level level;
  QBinaryFn<std::uint8_t> add_u8;
  QBinaryFn<std::int8_t> add_s8;
  QBinaryFn<std::uint8_t> mul_u8;
  QBinaryFn<std::int8_t> mul_s8;
};

std::span<const QBinaryKernel> qbinary_kernels();  // weakest first: front() is the reference

}  // namespace octavo::kernels
