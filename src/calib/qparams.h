// From an observed range to scale and zero point, the two ways that matter.
//
//   PyTorch (UniformQuantizationObserverBase, 2.6), all steps in f32:
//     mn = min(min, 0), mx = max(max, 0), eps = 2^-23
//     affine:    s = max((mx - mn) / (qmax - qmin), eps)
//                zp = clamp(qmin - rint(mn / s), qmin, qmax)
//     symmetric: s = max(max(-mn, mx) / ((qmax - qmin) / 2), eps)
//                zp = 128 for uint8, 0 for int8
//   PyTorch (quant_utils::ChooseQuantizationParams, 2.6: dynamic quantization and the fused fake
//   quantization), in f64 from f32 ends; with preserve_sparsity and 0 inside:
//                a = max(|mn / -(h + 1)|, |mx / h|), h = (qmax - qmin) div 2; mn = -a (h + 1), mx =
//                a h s = (mx - mn) / (qmax - qmin), 0.1 where 1 / s is not finite, at least 6.1e-5
//                zp from the end whose terms are smaller; preserve_sparsity: rint((qmin + qmax) /
//                2)
//   ONNX Runtime (quant_utils.compute_scale_zp, 1.21), in f64, the scale then rounded to f32:
//     affine:    s = (f32)(mx - mn) / (qmax - qmin),                   zp = rint(qmin - mn / s)
//     symmetric: s = 2 max(-mn, mx) / (qmax - qmin),                   zp = rint((qmin + qmax) / 2)
//     s below the smallest normal f32: s = 1, zp = 0
//
// Zero is always in the range, so it has an exact code.
#pragma once

#include <cstdint>

#include "tensor/dtype.h"

namespace octavo::calib {

struct Range {
  float min = 0;
  float max = 0;
};

enum class Scheme { kAffine, kSymmetric };

struct CodeRange {
  std::int32_t min, max;
};
// uint8: 0..255, int8: -128..127; reduced by a bit: 0..127, -64..63.
CodeRange code_range(DType dtype, bool reduce_range);

struct ScaleZero {
  float scale = 1;
  std::int32_t zero_point = 0;
  friend bool operator==(const ScaleZero&, const ScaleZero&) = default;
};

// dtype is kUint8 or kInt8. PyTorch refuses kUint8 + symmetric + reduce_range; so must the caller.
ScaleZero torch_qparams(Range range, DType dtype, Scheme scheme, bool reduce_range);

// The same for any codes: `symmetric_zero` is the zero point of the symmetric scheme, `eps` the
// smallest scale. The range is finite, codes.min <= 0 <= codes.max, codes.min < codes.max.
struct UniformCodes {
  std::int64_t min = 0, max = 255;
  std::int64_t symmetric_zero = 128;
};
struct WideScaleZero {
  float scale = 1;
  std::int64_t zero_point = 0;
};
WideScaleZero torch_qparams(Range range, const UniformCodes& codes, Scheme scheme, float eps);

// ChooseQuantizationParams; min <= max, both finite. The scale is a double, as PyTorch has it.
struct ChosenQParams {
  double scale = 1;
  std::int32_t zero_point = 0;
};
ChosenQParams choose_quantization_params(Range range, CodeRange codes, bool preserve_sparsity);

// `codes` is free: ONNX Runtime takes -127..127 for symmetric int8 and -64..64 where that is
// reduced.
ScaleZero ort_qparams(Range range, CodeRange codes, Scheme scheme);

}  // namespace octavo::calib
