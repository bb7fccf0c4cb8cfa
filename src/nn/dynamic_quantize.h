// ONNX's DynamicQuantizeLinear: a tensor onto the uint8 grid of its own range.
#pragma once

#include "base/result.h"
#include "nn/qtensor.h"

namespace octavo::nn {

// x float32, any shape; quint8 codes by ONNX's rule, every step f32 (operator specification, opset
// 11, and ONNX Runtime 1.21):
//
//   lo = min(0, min x), hi = max(0, max x)
//   scale = (hi - lo) / 255, or 1 where hi = lo
//   zero_point = rint(clamp(-lo / scale, 0, 255)), code = clamp(rint(x / scale) + zero_point, 0,
//   255)
//
// Unlike torch's quantize_per_tensor it divides. Errors: dtype; a NaN or an infinity in x.
Result<QTensor> dynamic_quantize_linear(const Tensor& x);

}  // namespace octavo::nn
