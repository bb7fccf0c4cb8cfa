// qwindow: means of codes over windows, from exact integer sums, channels-last; PyTorch's
// avg_pool2d, adaptive_avg_pool2d and mean on quantized tensors, whose output has the input's grid.
//
//   sum  = sum over the window of (q - offset)
//   out  = clamp(rint(f32(sum) * factor + before) + after, lo, hi)
//   or   = clamp(rint(f32(sum) / factor + before) + after, lo, hi)      with `divide`
//
// With zero point z and n pixels in the window (PyTorch 2.6, kernels/QuantizedOpKernels.cpp,
// AveragePool2d.cpp, AdaptiveAveragePooling.cpp, ReduceOps.cpp):
//
//   channels-last avg and adaptive avg   offset z, factor 1 / n, after z
//   contiguous avg                       offset z, factor 1 / n, before z
//   contiguous adaptive avg              offset 0, factor (1 / kH) / kW
//   mean over the last axes              offset 0, divide by n
//
// Every step is one f32 operation; windows are not empty and have less than 2^23 pixels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/rows.h"

namespace octavo::kernels {

// Pixels [first, last) along one axis.
struct WindowSpan {
  std::int32_t first, last;
};

struct QWindowParams {
  std::int32_t offset = 0;
  float before = 0;
  std::int32_t after = 0;
  bool divide = false;
  std::int32_t lo = 0, hi = 255;  // within the code's range
};

// One image [in_h][in_w][channels] to [rows][columns][channels]; factors has one entry a window.
struct QWindowGeometry {
  std::int64_t in_w = 1, channels = 1;
  std::span<const WindowSpan> rows, columns;
  const float* factors = nullptr;
};

template <class Code>
using QWindowFn = void (*)(const Code* in, Code* out, const QWindowGeometry& geometry,
                           const QWindowParams& params);

struct QWindowKernel {
  std::string_view name;
  simd::Level level;
  QWindowFn<std::uint8_t> u8;
  QWindowFn<std::int8_t> s8;
};

std::span<const QWindowKernel> qwindow_kernels();  // weakest first: front() is the reference

}  // namespace octavo::kernels
