// qadd: the sum of two tensors of codes with different grids, as ONNX Runtime's QLinearAdd.
//
//   out = clamp(rint((fixed + a * ratio_a) + b * ratio_b), lo, hi)
//   ratio_a = scale_a / scale_y, ratio_b = scale_b / scale_y
//   fixed = zero_y - (ratio_a * zero_a + ratio_b * zero_b)
//
// or, faster, with both ratios as whole multiples of one unit:
//
//   out = clamp(rint(fixed + f32(a * times_a + b * times_b) * unit), lo, hi)
//
// or, faster still, with one rounding in all:
//
//   out = clamp(fma(m + (a * times_a + b * times_b + shift), unit, fixed) - m, lo, hi)
//
// where m = 1.5 * 2^23, from which on floats are 1 apart, so the fused product is rounded to a
// whole number, ties to even; or as ONNX Runtime's own code for x86 has it:
//
//   out = clamp(rint(fma(b', ratio_b, fma(a', ratio_a, fixed))) + lowest code, lo, hi)
//
// with a', b' and `fixed` counted from the lowest code. a, b are the codes themselves; every step
// is one f32 operation, the sum of products an exact integer. [lo, hi] lies within the code's
// range: narrower for a fused Relu or Clip. Any n >= 0; out may be a or b. Broadcasting:
// felementwise/broadcast.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "kernels/quantize/quantize.h"
#include "kernels/rows.h"

namespace octavo::kernels {

// The formulas above, in their order.
enum class QAddForm : std::uint8_t { kSeparate, kUnits, kOneRounding, kFused };

struct QAddParams {
  float fixed, ratio_a, ratio_b;
  std::int32_t lo, hi;
  QAddForm form = QAddForm::kSeparate;
  // kUnits and kOneRounding.
  float unit = 0;
  std::int16_t times_a = 0, times_b = 0;
  std::int32_t shift = 0;  // kOneRounding
};

QAddParams make_qadd_params(Grid a, Grid b, Grid out, std::int32_t lo, std::int32_t hi);
// a - b: the same with b's ratio negated.
QAddParams make_qsub_params(Grid a, Grid b, Grid out, std::int32_t lo, std::int32_t hi);

// kUnits, the ratios' quotient near that of `params`: it rounds at other places, so a caller who
// needs the first form's codes compares them (ops/binary.cpp). Each `attempt` below kUnitAttempts
// is another pair of multipliers, as good as f32 resolves. Nothing where sums could leave the range
// of the rounding trick.
inline constexpr int kUnitAttempts = 8;
std::optional<QAddParams> in_units(QAddParams params, int attempt = 0);

// Whether rows of relaxed SIMD compute kOneRounding and kFused as the reference does: relaxed_madd
// of this machine rounds once. Elsewhere the last codes of a tensor, which no vector holds, would
// be the reference's and the others not: ask for other forms.
bool rows_compute_fused_forms();

// kOneRounding for codes from `lowest` on, near `params` as in_units() is: `shift` is where
// `fixed`, a float of that size, is the sums' constant part most nearly. A caller compares the
// codes here too, for attempts below kOneRoundingAttempts.
inline constexpr int kOneRoundingAttempts = 3 * kUnitAttempts;
std::optional<QAddParams> with_one_rounding(QAddParams params, std::int32_t lowest,
                                            int attempt = 0);

// kFused, for codes from `lowest` on.
QAddParams make_fused_qadd_params(Grid a, Grid b, Grid out, std::int32_t lo, std::int32_t hi,
                                  std::int32_t lowest);

template <class Code>
using QAddFn = void (*)(const Code* a, const Code* b, Code* out, std::size_t n,
                        const QAddParams& params);

struct QAddKernel {
  std::string_view name;
  simd::Level level;
  QAddFn<std::uint8_t> u8;
  QAddFn<std::int8_t> s8;

  template <class Code>
  QAddFn<Code> run() const;
};
template <>
inline QAddFn<std::uint8_t> QAddKernel::run<std::uint8_t>() const {
  return u8;
}
template <>
inline QAddFn<std::int8_t> QAddKernel::run<std::int8_t>() const {
  return s8;
}

std::span<const QAddKernel> qadd_kernels();  // weakest first: front() is the reference

}  // namespace octavo::kernels
