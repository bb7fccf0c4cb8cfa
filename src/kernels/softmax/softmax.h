// softmax along one axis of floats.
//
//   m = max over the axis, e = exp(x - m)
//   softmax = e / sum(e),  log_softmax = (x - m) - log(sum(e))
//
// exp and log are those of felementwise/math.h, so every build gives the same bytes. The tensor is
// [outer][n][inner]; the axis is the middle one. Sums run in order of the index. A row with a NaN
// gives NaNs.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "kernels/rows.h"

namespace octavo::kernels {

struct SoftmaxKernel {
  std::string_view name;
  simd::Level level;
  // out may be in.
  void (*softmax)(const float* in, float* out, std::size_t outer, std::size_t n, std::size_t inner);
  void (*log_softmax)(const float* in, float* out, std::size_t outer, std::size_t n,
                      std::size_t inner);
};

std::span<const SoftmaxKernel> softmax_kernels();  // weakest first: front() is the reference

}  // namespace octavo::kernels
