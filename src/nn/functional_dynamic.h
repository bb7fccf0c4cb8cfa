// Dynamic quantization: int8 weights, float inputs that are quantized as they come, float outputs.
//
// linear_dynamic follows torch.ops.quantized.linear_dynamic: the grid of x by
// ChooseQuantizationParams (calib/qparams.h) over its smallest and largest value, quint8, with
// reduce_range (torch's module always asks for it) of 7 bits;
// conv2d_dynamic follows ONNX: DynamicQuantizeLinear, ConvInteger, Cast, Mul (torch has a dynamic
// Conv2d, but leaves it out of its defaults).
//
//   torch:  code = clamp(zp + rint(x * (1f / (f32)s)))
//   ONNX:   s = (max(x, 0) - min(x, 0)) / 255,  zp = rint(clamp(-min / s)),  code = rint(x / s) +
//   zp y = f32(sum (code - zp) * w) * (f32)(s * s_w[n]) + bias[n]
#pragma once

#include <cstdint>
#include <optional>

#include "base/result.h"
#include "nn/functional_float.h"
#include "nn/qtensor.h"

namespace octavo::nn::functional {

// x float32 [..., in], weight qint8 [out, in] with zero point 0, per tensor or per channel along
// axis 0. NaN and infinities are an error (NON_FINITE_SAMPLE).
Result<Tensor> linear_dynamic(const Tensor& x, const QTensor& weight,
                              const std::optional<Tensor>& bias, bool reduce_range = true);
// x float32 [N, C, H, W], weight qint8 [O, C / groups, kH, kW].
Result<Tensor> conv2d_dynamic(const Tensor& x, const QTensor& weight,
                              const std::optional<Tensor>& bias, const Conv2dOptions& options);

// The grid that linear_dynamic takes for x.
struct DynamicGrid {
  float scale = 1;
  std::int32_t zero_point = 0;
};
Result<DynamicGrid> choose_qparams_dynamic(const Tensor& x, bool reduce_range);

}  // namespace octavo::nn::functional
