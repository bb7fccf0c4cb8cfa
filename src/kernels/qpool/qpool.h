// qpool: pooling on codes, channels-last.
//
// max:      the largest code in the window; padding never wins; an empty window gives the lowest.
// average:  clamp(rint(mean / scale_out + zero_out), lo, hi)
//           mean = (sum of scale_in * (q - zero_in)) / count, all in f32, the sum row by row
//           count = taps inside the image, or inside image and padding with count_include_pad
//           As ONNX Runtime's QLinearAveragePool: the zero point is added before rounding, so ties
//           depend on it; with `moved`, codes are those of zero_out - moved, moved afterwards.
// global:   clamp(rint(f32(sum(q) - n * zero_in) * scale) + zero_out, lo, hi)
//           scale = scale_in / (scale_out * n), an integer sum, n < 2^23 pixels
//           As ONNX Runtime's QLinearGlobalAveragePool; also ReduceMean over the spatial axes.
//
// Rows [first_row, last_row) of PoolGeometry::rows() are made, so that pieces can run apart.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/qpool/pool_geometry.h"
#include "kernels/quantize/quantize.h"
#include "kernels/rows.h"

namespace octavo::kernels {

struct QAveragePoolParams {
  Grid in, out;
  bool count_include_pad = false;
  std::int32_t lo, hi;  // within the code's range; narrower for a fused Relu or Clip
  std::int32_t moved = 0;
};
struct QGlobalAverageParams {
  std::int32_t zero_in, zero_out;
  float scale;
  std::int32_t lo, hi;
};
QGlobalAverageParams make_qglobal_average_params(Grid in, Grid out, std::size_t pixels,
                                                 std::int32_t lo, std::int32_t hi);

template <class Code>
using QMaxPoolFn = void (*)(const Code* in, Code* out, const PoolGeometry& geometry, int first_row,
                            int last_row);
template <class Code>
using QAveragePoolFn = void (*)(const Code* in, Code* out, const PoolGeometry& geometry,
                                const QAveragePoolParams& params, int first_row, int last_row);
// One image: in [pixels][channels] -> out [channels].
template <class Code>
using QGlobalAverageFn = void (*)(const Code* in, Code* out, std::size_t pixels,
                                  std::size_t channels, const QGlobalAverageParams& params);

template <class Code>
struct QPoolFns {
  QMaxPoolFn<Code> max;
  QAveragePoolFn<Code> average;
  QGlobalAverageFn<Code> global_average;
};

struct QPoolKernel {
  std::string_view name;
  simd::Level level;
  QPoolFns<std::uint8_t> u8;
  QPoolFns<std::int8_t> s8;

  template <class Code>
  const QPoolFns<Code>& fns() const;
};
template <>
inline const QPoolFns<std::uint8_t>& QPoolKernel::fns<std::uint8_t>() const {
  return u8;
}
template <>
inline const QPoolFns<std::int8_t>& QPoolKernel::fns<std::int8_t>() const {
  return s8;
}

std::span<const QPoolKernel> qpool_kernels();  // weakest first: front() is the reference

}  // namespace octavo::kernels
