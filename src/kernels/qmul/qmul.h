// qmul: the product of two tensors of codes, as ONNX Runtime's QLinearMul.
//
//   out = clamp(rint((a - zero_a) * (b - zero_b) * ratio + zero_y), lo, hi)
//   ratio = scale_a * scale_b / scale_y
//
// The product of codes is exact; the multiplication by ratio and the addition are one f32 operation
// each. [lo, hi] lies within the code's range. Ties depend on zero_y; with `moved`, the codes are
// those of zero_y - moved, moved afterwards. Any n >= 0; out may be a or b. Broadcasting:
// felementwise/broadcast.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/quantize/quantize.h"
#include "kernels/rows.h"

namespace octavo::kernels {

struct QMulParams {
  std::int32_t zero_a, zero_b, zero_out;
  float ratio;
  std::int32_t lo, hi;
  std::int32_t moved = 0;
};

QMulParams make_qmul_params(Grid a, Grid b, Grid out, std::int32_t lo, std::int32_t hi);

template <class Code>
using QMulFn = void (*)(const Code* a, const Code* b, Code* out, std::size_t n,
                        const QMulParams& params);

struct QMulKernel {
  std::string_view name;
  simd::Level level;
  QMulFn<std::uint8_t> u8;
  QMulFn<std::int8_t> s8;

  template <class Code>
  QMulFn<Code> run() const;
};
template <>
inline QMulFn<std::uint8_t> QMulKernel::run<std::uint8_t>() const {
  return u8;
}
template <>
inline QMulFn<std::int8_t> QMulKernel::run<std::int8_t>() const {
  return s8;
}

std::span<const QMulKernel> qmul_kernels();  // weakest first: front() is the reference

}  // namespace octavo::kernels
