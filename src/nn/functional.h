// Functions on quantized tensors: torch.nn.quantized.functional and torch.ops.quantized, code for
// code as PyTorch 2.6.
//
// Inputs are quint8 or qint8 and per tensor; the result has the first input's dtype and memory
// format. Functions without `scale` and `zero_point` keep the input's grid, or have the fixed one
// that torch gives them. x below stands for (f32)scale * (code - zero_point) in f32, and quantize
// for torch's clamp(zero_point + rint(y * (1f / scale))), ties to even. Functions of one code are
// tables of 256 entries. Errors name the function: dtype, scheme, shape, grid.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "nn/engine.h"
#include "nn/qtensor.h"

namespace octavo::nn::functional {

// ---- activations ----

Result<QTensor> relu(const QTensor& x);   // max(code, zero_point)
Result<QTensor> relu6(const QTensor& x);  // clamp(x, 0, 6)
// Codes clamped to the codes of min and max.
Result<QTensor> clamp(const QTensor& x, double min, double max);
// quantize(x * clamp(x + 3, 0, 6) / 6), x = fma(scale, code, -(scale * zero_point)) in f32.
Result<QTensor> hardswish(const QTensor& x, double scale, std::int64_t zero_point);
// clamp(x + 3, 0, 6) / 6. Fixed grid: 1/256 from the lowest code.
Result<QTensor> hardsigmoid(const QTensor& x);
Result<QTensor> sigmoid(const QTensor& x, double scale, std::int64_t zero_point);
Result<QTensor> sigmoid(const QTensor& x);  // 1/256 from the lowest code
Result<QTensor> tanh(const QTensor& x);     // 2/256 around the middle code
Result<QTensor> leaky_relu(const QTensor& x, double negative_slope, double scale,
                           std::int64_t zero_point);
Result<QTensor> elu(const QTensor& x, double alpha, double scale, std::int64_t zero_point);
// Along axis `dim` (negative: from the end), in f32, then quantized. exp is ours
// (kernels/softmax): it may be one bit off torch's, which shows only where a result lies on a tie.
Result<QTensor> softmax(const QTensor& x, std::int64_t dim, double scale, std::int64_t zero_point);

// ---- arithmetic: a and b broadcast to each other; one dtype ----

Result<QTensor> add(const QTensor& a, const QTensor& b, double scale, std::int64_t zero_point);
Result<QTensor> add_relu(const QTensor& a, const QTensor& b, double scale, std::int64_t zero_point);
Result<QTensor> mul(const QTensor& a, const QTensor& b, double scale, std::int64_t zero_point);
Result<QTensor> mul_relu(const QTensor& a, const QTensor& b, double scale, std::int64_t zero_point);
// x + c and x * c move the grid rather than the codes, where it has room (torch's
// quantized::add_scalar, mul_scalar; qadd.cpp and qmul.cpp have the cases).
Result<QTensor> add_scalar(const QTensor& x, double c);
Result<QTensor> mul_scalar(const QTensor& x, double c);
// Along axis `dim`, each part requantized: quantize(x).
Result<QTensor> cat(std::span<const QTensor> parts, std::int64_t dim, double scale,
                    std::int64_t zero_point);

// ---- windows: x [N, C, H, W] (max_pool1d: [N, C, L]); the grid is the input's ----
// The pools take one [C, H, W] ([C, L]) too, which is contiguous whatever its memory format.

struct Pool2d {
  std::array<std::int64_t, 2> kernel_size{1, 1};
  std::array<std::int64_t, 2> stride{0, 0};  // 0: the kernel's size
  std::array<std::int64_t, 2> padding{0, 0};
  std::array<std::int64_t, 2> dilation{1, 1};  // max_pool only
  bool ceil_mode = false;
  bool count_include_pad = true;                                // avg_pool only
  std::optional<std::int64_t> divisor_override = std::nullopt;  // avg_pool only
};
Result<QTensor> max_pool1d(const QTensor& x, const Pool2d& pool);  // its second numbers
Result<QTensor> max_pool2d(const QTensor& x, const Pool2d& pool);
// torch rounds a channels_last input (what every quantized convolution answers) and a contiguous
// one differently on ties: before or after the zero point is added. So does this, by x's memory
// format; qnnpack rounds both as channels_last.
Result<QTensor> avg_pool2d(const QTensor& x, const Pool2d& pool, const Backend& backend = {});
Result<QTensor> adaptive_avg_pool2d(const QTensor& x, std::array<std::int64_t, 2> output_size);
// torch.mean(x, dim=[2, 3]), [N, C] or with keepdim [N, C, 1, 1].
Result<QTensor> mean_hw(const QTensor& x, bool keepdim = false);

// torch.nn.functional.interpolate: mode "nearest" or "bilinear" to out_h, out_w. Bilinear sums in
// f32 with the four weights multiplied first (kernels/resize), torch row by row: they may differ
// where a result lies on a tie.
enum class InterpolateMode : std::uint8_t { kNearest, kBilinear };
Result<QTensor> interpolate(const QTensor& x, std::array<std::int64_t, 2> size,
                            InterpolateMode mode, bool align_corners = false);

// torch.flatten(x, start_dim): row-major order, whatever the memory format.
Result<QTensor> flatten(const QTensor& x, std::int64_t start_dim = 1);

}  // namespace octavo::nn::functional
