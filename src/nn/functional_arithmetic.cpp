// Sums, products and concatenations.
#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "kernels/copy/copy.h"
#include "kernels/felementwise/broadcast.h"
#include "kernels/qbinary/qbinary.h"
#include "nn/checks.h"
#include "nn/functional.h"
#include "nn/tables.h"

namespace octavo::nn::functional {

namespace {

enum class Operation : std::uint8_t { kAdd, kMul };

template <class Code>
kernels::QBinaryFn<Code> function_of(Operation operation) {
  const kernels::QBinaryKernel& kernel = kernels::best_row(kernels::qbinary_kernels(), {});
  if constexpr (std::is_signed_v<Code>) {
    return operation == Operation::kAdd ? kernel.add_s8 : kernel.mul_s8;
  } else {
    return operation == Operation::kAdd ? kernel.add_u8 : kernel.mul_u8;
  }
}

Result<QTensor> binary(const QTensor& a, const QTensor& b, double scale, std::int64_t zero_point,
                       Operation operation, bool relu, std::string_view where) {
  OCTAVO_CHECK_OK(check_activation(a, where));
  OCTAVO_CHECK_OK(check_activation(b, where));
  OCTAVO_CHECK_OK(check_output_grid(scale, zero_point, a.dtype(), where));
  if (a.dtype() != b.dtype()) {
    return nn_error(Code::kUnsupportedDtype,
                    text("Both inputs should have the same scalar type: ", torch_name(a.dtype()),
                         " and ", torch_name(b.dtype()), "."),
                    where, "Requantize one of them.");
  }
  const auto shape = broadcast_shape(a.shape(), b.shape());
  if (!shape || !shape->checked_elements()) {
    return nn_error(Code::kShapeMismatch,
                    text("The shapes ", a.shape().to_string(), " and ", b.shape().to_string(),
                         " cannot be broadcast to each other."),
                    where, "Aligned at the end, axes are equal or 1.");
  }
  const bool same = a.shape() == b.shape();
  const MemoryFormat order = same ? a.order() : MemoryFormat::kContiguous;
  const QTensor left = a.contiguous(order);
  const QTensor right = b.contiguous(order);
  Tensor codes = Tensor::make(code_dtype(a.dtype()), *shape);
  const auto lowest = static_cast<std::int32_t>(relu ? zero_point : quant_min_of(a.dtype()));
  const auto highest = static_cast<std::int32_t>(quant_max_of(a.dtype()));
  const auto make = operation == Operation::kAdd ? &kernels::make_torch_add_params
                                                 : &kernels::make_torch_mul_params;
  const kernels::QBinaryParams params =
      make(kernel_grid(a), kernel_grid(b), kernel_grid(scale, zero_point), lowest, highest);
  for_code(a.dtype(), [&]<class Code>(Code) {
    const auto run = function_of<Code>(operation);
    Code* out = codes.mutable_span<Code>().data();
    if (same) {
      run(codes_of<Code>(left), codes_of<Code>(right), out,
          static_cast<std::size_t>(codes.elements()), params);
      return;
    }
    const kernels::BroadcastPlan plan =
        kernels::make_broadcast_of_shapes(shape->dims(), left.shape().dims(), right.shape().dims());
    kernels::run_broadcast(
        plan, codes_of<Code>(left), codes_of<Code>(right), out, 0, plan.outer,
        [&](const Code* x, const Code* y, Code* z, std::size_t n) { run(x, y, z, n, params); });
  });
  QGrid grid = QGrid::per_tensor(scale, zero_point);
  if (same) return a.with(std::move(codes), std::move(grid));
  const QTensor result = QTensor::of_storage(std::move(codes), std::move(grid), order);
  return shape->rank() == a.shape().rank() ? result.contiguous(a.memory_format()) : result;
}

Status check_number(double c, std::string_view where) {
  if (std::isfinite(c)) return ok_status();
  return nn_error(Code::kInvalidOption, text("The number is ", c, "."), where,
                  "Give a finite number.");
}

}  // namespace

Result<QTensor> add(const QTensor& a, const QTensor& b, double scale, std::int64_t zero_point) {
  return binary(a, b, scale, zero_point, Operation::kAdd, false, "quantized::add");
}
Result<QTensor> add_relu(const QTensor& a, const QTensor& b, double scale,
                         std::int64_t zero_point) {
  return binary(a, b, scale, zero_point, Operation::kAdd, true, "quantized::add_relu");
}
Result<QTensor> mul(const QTensor& a, const QTensor& b, double scale, std::int64_t zero_point) {
  return binary(a, b, scale, zero_point, Operation::kMul, false, "quantized::mul");
}
Result<QTensor> mul_relu(const QTensor& a, const QTensor& b, double scale,
                         std::int64_t zero_point) {
  return binary(a, b, scale, zero_point, Operation::kMul, true, "quantized::mul_relu");
}

// c is c_q = rint(c / scale) codes. The zero point moves down by c_q; where it would leave the
// range, the grid is stretched until zero has an end code (torch 2.6, qadd.cpp, _add_scalar_out).
Result<QTensor> add_scalar(const QTensor& x, double c) {
  constexpr std::string_view kWhere = "quantized::add_scalar";
  OCTAVO_CHECK_OK(check_activation(x, kWhere));
  OCTAVO_CHECK_OK(check_number(c, kWhere));
  const double scale = x.grid().scales[0];
  const std::int64_t zero = x.grid().zero_points[0];
  const std::int64_t lowest = quant_min_of(x.dtype());
  const std::int64_t highest = quant_max_of(x.dtype());
  const double steps = std::nearbyint(c / scale);
  if (!(std::fabs(steps) < 0x1p30)) {
    return nn_error(Code::kInvalidOption, text(c, " is ", steps, " steps of scale ", scale, "."),
                    kWhere, "The number lies within 2^30 steps of the tensor's scale.");
  }
  const std::int64_t moved = zero - static_cast<std::int64_t>(steps);
  if (moved >= lowest && moved <= highest) {
    return x.with(x.storage(), QGrid::per_tensor(scale, moved));
  }
  const std::int64_t end = moved < lowest ? lowest : highest;
  const double span = static_cast<double>(moved < lowest ? highest - moved : moved - lowest);
  const double stretched = span / static_cast<double>(highest - lowest) * scale;
  OCTAVO_CHECK_OK(check_output_grid(stretched, end, x.dtype(), kWhere));
  const float inverse = 1.0F / static_cast<float>(stretched);
  const auto multiplier = static_cast<float>(scale * static_cast<double>(inverse));
  const kernels::Table256 table = table_of(x.dtype(), [&](auto code) {
    const auto sum = static_cast<float>(std::int64_t{code} - moved);
    const auto result = end + static_cast<std::int64_t>(std::nearbyint(sum * multiplier));
    return std::clamp(result, lowest, highest);
  });
  return remap(x, table, QGrid::per_tensor(stretched, end));
}

// A positive c scales the scale; a negative one mirrors codes and zero point as well; 0 gives codes
// of 0 on the grid (1, 0) (torch 2.6, qmul.cpp, _mul_scalar_out).
Result<QTensor> mul_scalar(const QTensor& x, double c) {
  constexpr std::string_view kWhere = "quantized::mul_scalar";
  OCTAVO_CHECK_OK(check_activation(x, kWhere));
  OCTAVO_CHECK_OK(check_number(c, kWhere));
  const std::int64_t zero = x.grid().zero_points[0];
  const std::int64_t ends = quant_min_of(x.dtype()) + quant_max_of(x.dtype());
  if (c == 0) {
    return x.with(Tensor::make(x.storage().dtype(), x.shape()), QGrid::per_tensor(1.0, 0));
  }
  const double scale = std::fabs(c) * x.grid().scales[0];
  const std::int64_t moved = c > 0 ? zero : ends - zero;
  OCTAVO_CHECK_OK(check_output_grid(scale, moved, x.dtype(), kWhere));
  const QGrid grid = QGrid::per_tensor(scale, moved);
  if (c > 0) return x.with(x.storage(), grid);
  return remap(x, table_of(x.dtype(), [&](auto code) { return ends - std::int64_t{code}; }), grid);
}

Result<QTensor> cat(std::span<const QTensor> parts, std::int64_t dim, double scale,
                    std::int64_t zero_point) {
  constexpr std::string_view kWhere = "quantized::cat";
  if (parts.empty()) {
    return nn_error(Code::kInvalidOption, "expected a non-empty list of Tensors.", kWhere,
                    "Give at least one tensor.");
  }
  const QTensor& front = parts.front();
  OCTAVO_CHECK_OK(check_output_grid(scale, zero_point, front.dtype(), kWhere));
  const auto axis = normalize_axis(dim, front.shape().rank());
  if (!axis) {
    return nn_error(
        Code::kShapeMismatch,
        text("Dimension out of range: dim = ", dim, " of ", front.shape().to_string(), "."), kWhere,
        "Give an axis of the tensors.");
  }
  Shape shape = front.shape();
  shape[*axis] = 0;
  for (const QTensor& part : parts) {
    OCTAVO_CHECK_OK(check_activation(part, kWhere));
    if (part.dtype() != front.dtype()) {
      return nn_error(Code::kUnsupportedDtype,
                      text("All dtypes must be the same: ", torch_name(front.dtype()), " and ",
                           torch_name(part.dtype()), "."),
                      kWhere, "Requantize one of them.");
    }
    Shape other = part.shape();
    if (other.rank() == shape.rank()) other[*axis] = front.shape()[*axis];
    if (other != front.shape()) {
      return nn_error(Code::kShapeMismatch,
                      text("Sizes of tensors must match except in dimension ", *axis, ": ",
                           front.shape().to_string(), " and ", part.shape().to_string(), "."),
                      kWhere, "");
    }
    shape[*axis] += part.shape()[*axis];
  }
  if (!shape.checked_elements()) {
    return nn_error(Code::kLimitExceeded, text("The result would be ", shape.to_string(), "."),
                    kWhere, text("A tensor has at most ", kMaxElements, " elements."));
  }
  Tensor codes = Tensor::make(code_dtype(front.dtype()), shape);
  const std::vector<std::int64_t> strides = strides_of(shape, Layout::kRowMajor);
  std::int64_t offset = 0;
  for (const QTensor& part : parts) {
    const kernels::Grid in = kernel_grid(part);
    const kernels::Grid out = kernel_grid(scale, zero_point);
    const kernels::Table256 table = table_of(part.dtype(), [&]<class Code>(Code code) {
      return kernels::quantize_torch_value<Code>(kernels::dequantize_value<Code>(code, in), out);
    });
    const QTensor own = remap(part.contiguous(), table, QGrid::per_tensor(scale, zero_point));
    if (own.numel() != 0) {
      kernels::copy_strided(own.storage().data(), codes.mutable_data() + offset, own.shape().dims(),
                            strides_of(own.shape(), Layout::kRowMajor), strides, 1);
    }
    offset += part.shape()[*axis] * strides[static_cast<std::size_t>(*axis)];
  }
  return QTensor::of_storage(std::move(codes), QGrid::per_tensor(scale, zero_point),
                             MemoryFormat::kContiguous)
      .contiguous(front.memory_format());
}

}  // namespace octavo::nn::functional
