// Checks that functions and modules on quantized tensors share.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/result.h"
#include "kernels/quantize/quantize.h"
#include "nn/qtensor.h"

namespace octavo::nn {

Error nn_error(Code code, std::string what, std::string_view where, std::string hint = "");

// quint8 or qint8, per tensor.
Status check_activation(const QTensor& x, std::string_view where);
// x [d0, d1, ...] of one rank; `layout` names the axes for the message: "[N, C, H, W]".
Status check_rank(const QTensor& x, int rank, std::string_view layout, std::string_view where);
// A per-tensor grid for results of `dtype`.
Status check_output_grid(double scale, std::int64_t zero_point, ScalarType dtype,
                         std::string_view where);

// numpy's rule; nothing where the shapes do not fit.
std::optional<Shape> broadcast_shape(const Shape& a, const Shape& b);

// The grid of a per-tensor tensor as kernels take it.
inline kernels::Grid kernel_grid(double scale, std::int64_t zero_point) {
  return {static_cast<float>(scale), static_cast<std::int32_t>(zero_point)};
}
inline kernels::Grid kernel_grid(const QTensor& x) {
  return kernel_grid(x.grid().scales[0], x.grid().zero_points[0]);
}

// Calls body(Code{}) with std::uint8_t or std::int8_t, as dtype (quint8, qint8) says.
template <class Body>
auto for_code(ScalarType dtype, Body&& body) {
  return dtype == ScalarType::kQint8 ? body(std::int8_t{}) : body(std::uint8_t{});
}

template <class Code>
const Code* codes_of(const QTensor& tensor) {
  return tensor.storage().span<Code>().data();
}

}  // namespace octavo::nn
