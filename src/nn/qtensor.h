// QTensor: a tensor of 8-bit or 32-bit codes with the grid that they stand on, as PyTorch's
// quantized tensors.
//
//   real = scale * (code - zero_point)      one scale for all, or one per index of `axis`
//
// Names, formulas and messages are torch's (2.6): torch.quantize_per_tensor,
// torch.quantize_per_channel, Tensor.dequantize(), Tensor.int_repr(), ... Scales are doubles, as
// torch keeps them. Float tensors are octavo::Tensor, always row-major.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tensor/tensor.h"

namespace octavo::nn {

enum class ScalarType : std::uint8_t { kQuint8, kQint8, kQint32 };
std::string_view scalar_type_name(ScalarType type);  // "quint8", "qint8", "qint32"
std::optional<ScalarType> scalar_type_from_name(std::string_view name);
DType code_dtype(ScalarType type);           // what int_repr() has: uint8, int8, int32
std::int64_t quant_min_of(ScalarType type);  // 0, -128, -2^31
std::int64_t quant_max_of(ScalarType type);  // 255, 127, 2^31 - 1
// "torch.qint8" for messages and printing.
std::string torch_name(ScalarType type);

// The symmetric schemes are grids whose zero point stands for the middle of the range: 0, or 128
// for quint8.
enum class QScheme : std::uint8_t {
  kPerTensorAffine,
  kPerChannelAffine,
  kPerTensorSymmetric,
  kPerChannelSymmetric,
};
std::string_view qscheme_name(QScheme scheme);  // "per_tensor_affine", ...
std::optional<QScheme> qscheme_from_name(std::string_view name);
inline bool is_per_channel(QScheme scheme) {
  return scheme == QScheme::kPerChannelAffine || scheme == QScheme::kPerChannelSymmetric;
}
inline bool is_symmetric(QScheme scheme) {
  return scheme == QScheme::kPerTensorSymmetric || scheme == QScheme::kPerChannelSymmetric;
}

// How the elements lie: torch.contiguous_format (row-major, NCHW), or torch.channels_last and
// channels_last_3d (NHWC, NDHWC; rank 3 and up).
enum class MemoryFormat : std::uint8_t { kContiguous, kChannelsLast };
std::string_view memory_format_name(MemoryFormat format);  // "contiguous_format", "channels_last"

// One scale and zero point for the whole tensor, or one per index of logical axis `axis`.
struct QGrid {
  std::vector<double> scales;
  std::vector<std::int64_t> zero_points;
  std::optional<int> axis;
  QScheme scheme = QScheme::kPerTensorAffine;

  static QGrid per_tensor(double scale, std::int64_t zero_point);
  static QGrid per_channel(std::vector<double> scales, std::vector<std::int64_t> zero_points,
                           int axis);
  friend bool operator==(const QGrid&, const QGrid&) = default;
};

// Copies share the codes; they are immutable once made.
class QTensor {
 public:
  QTensor() = default;

  ScalarType dtype() const { return dtype_; }
  const Shape& shape() const { return storage_.shape(); }
  std::int64_t numel() const { return storage_.elements(); }
  QScheme qscheme() const { return grid_.scheme; }
  // What torch's is_contiguous(memory_format=...) says, which the rounding of pools depends on.
  MemoryFormat memory_format() const { return format_; }
  // How the codes lie here: a BatchNorm of planes gives planes, while torch's is channels_last.
  MemoryFormat order() const { return order_; }
  const QGrid& grid() const { return grid_; }

  // Of a per-tensor scheme; an error as torch's for a per-channel one, and the other way round.
  Result<double> q_scale() const;
  Result<std::int64_t> q_zero_point() const;
  Result<std::vector<double>> q_per_channel_scales() const;
  Result<std::vector<std::int64_t>> q_per_channel_zero_points() const;
  Result<std::int64_t> q_per_channel_axis() const;

  // The codes in row-major order (uint8, int8 or int32).
  Tensor int_repr() const;
  // The real numbers, float32, row-major.
  //   per tensor:  (f32)scale * (f32)(code - zero_point)
  //   per channel: (f32)((double)(code - zero_point) * scale)
  Tensor dequantize() const;
  // The same tensor with its elements in another order of memory.
  QTensor contiguous(MemoryFormat format = MemoryFormat::kContiguous) const;
  // As torch prints it: values, size, dtype, scheme, scale and zero point; the middle of a big
  // tensor as "...".
  std::string to_string() const;

  // The codes as they lie: shape() is the logical shape, the order is order(). For kernels.
  const Tensor& storage() const { return storage_; }

  // For makers of tensors (modules, kernels): codes as they lie in `order`, whose dtype is
  // code_dtype(dtype); the grid is taken as it is. `make_quantized_tensor` is the checked way.
  static QTensor of_storage(Tensor codes, QGrid grid, MemoryFormat order, MemoryFormat format);
  static QTensor of_storage(Tensor codes, QGrid grid, MemoryFormat order) {
    return of_storage(std::move(codes), std::move(grid), order, order);
  }
  // Other codes, or another grid, of a tensor of this shape: they lie as this one's.
  QTensor with(Tensor codes, QGrid grid) const {
    return of_storage(std::move(codes), std::move(grid), order_, format_);
  }

 private:
  Tensor storage_;
  QGrid grid_;
  ScalarType dtype_ = ScalarType::kQuint8;
  MemoryFormat order_ = MemoryFormat::kContiguous;
  MemoryFormat format_ = MemoryFormat::kContiguous;
};

// What torch says of a wrong grid: zero points within the dtype's range, scales positive (and,
// which torch leaves to the user, finite in float32), as many as the axis is long. `where` names
// the function or tensor in the error.
Status check_grid(const QGrid& grid, ScalarType dtype, const Shape& shape, std::string_view where);

// torch.quantize_per_tensor(x, scale, zero_point, dtype): x float32.
//   code = clamp(zero_point + rint(x * (1f / (f32)scale)), quant_min, quant_max), ties to even;
// NaN, infinities and |x / scale| >= 2^63 give quant_min (kernels/quantize/quantize.h).
Result<QTensor> quantize_per_tensor(const Tensor& x, double scale, std::int64_t zero_point,
                                    ScalarType dtype);
// torch.quantize_per_channel(x, scales, zero_points, axis, dtype); a negative axis counts from the
// end.
Result<QTensor> quantize_per_channel(const Tensor& x, const std::vector<double>& scales,
                                     const std::vector<std::int64_t>& zero_points,
                                     std::int64_t axis, ScalarType dtype);
// Any grid: the two above, and the symmetric schemes.
Result<QTensor> quantize(const Tensor& x, const QGrid& grid, ScalarType dtype);

// Row-major codes (uint8, int8, int32) with a grid: torch._make_per_tensor_quantized_tensor and
// torch._make_per_channel_quantized_tensor.
Result<QTensor> make_quantized_tensor(const Tensor& codes, const QGrid& grid);

// Row-major float32 or codes in another order of memory, and back; `from == to` shares the bytes.
Tensor reorder(const Tensor& tensor, MemoryFormat from, MemoryFormat to);

}  // namespace octavo::nn
