// fakequant: floats rounded to a grid and back, as quantization will do, and the gradients of it.
//
//   PyTorch (fake_quantize_per_tensor_affine, 2.6, CPU):
//     q    = zero_point + rint(x * (1f / scale))                  rint: ties to even
//     y    = (clamp(q, code_min, code_max) - zero_point) * scale
//     mask = code_min <= q <= code_max                            1 or 0
//     grad_in = grad_out * mask                                   straight-through estimator
//
//   learnable scale and zero point (_fake_quantize_learnable_per_tensor_affine_backward; LSQ+,
//   Bhalgat et al. 2020, arXiv:2004.09576), here with q = rint(zero_point + x * (1f / scale)):
//     inside:    d_scale = grad_out * (y - x) / scale,            d_zero_point = 0
//     outside:   d_scale = grad_out * (code_end - zero_point),    d_zero_point = -grad_out * scale
//     each times grad_factor in f32, then summed in f64
//
// Every step is f32. NaN, infinities and |x / scale| >= 2^63 are below code_min, as PyTorch's
// conversion to int64 on x86-64 has it. Any n >= 0, no alignment needed; y and grad_in may be their
// inputs. scale > 0 and finite; code_min <= zero_point <= code_max.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/rows.h"

namespace octavo::kernels {

struct FakeQuantGrid {
  float scale = 1.0F;
  std::int32_t zero_point = 0;
  std::int32_t code_min = 0;
  std::int32_t code_max = 255;
};

struct FakeQuantKernel {
  std::string_view name;  // "fakequant/simd128"
  simd::Level level;
  void (*forward)(const float* x, float* y, std::uint8_t* mask, std::size_t n,
                  const FakeQuantGrid& grid);
  void (*backward)(const float* grad_out, const std::uint8_t* mask, float* grad_in, std::size_t n);
};

std::span<const FakeQuantKernel> fakequant_kernels();  // weakest first: front() is the reference

struct FakeQuantGradients {
  double scale = 0.0;
  double zero_point = 0.0;
};
// Writes grad_in and returns the sums over n. One loop for every build: it serves training.
FakeQuantGradients fakequant_learnable_backward(const float* x, const float* grad_out,
                                                float* grad_in, std::size_t n,
                                                const FakeQuantGrid& grid, float grad_factor);

}  // namespace octavo::kernels
