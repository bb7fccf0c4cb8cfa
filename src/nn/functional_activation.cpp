// Activations: functions of one code, as tables; and softmax.
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/text.h"
#include "kernels/codes.h"
#include "nn/checks.h"
#include "nn/functional.h"
#include "nn/functional_float.h"
#include "nn/tables.h"

namespace octavo::nn::functional {

namespace {

// entry(code) -> code, for every code of x.
template <class Entry>
QTensor apply_table(const QTensor& x, double scale, std::int64_t zero_point, Entry entry) {
  return remap(x, table_of(x.dtype(), entry), QGrid::per_tensor(scale, zero_point));
}

// quantize(f(x)), f in double: exact to the last bit of f32 but for ties of its own rounding.
template <class Function>
Result<QTensor> apply(const QTensor& x, double scale, std::int64_t zero_point,
                      std::string_view where, Function f) {
  OCTAVO_CHECK_OK(check_activation(x, where));
  OCTAVO_CHECK_OK(check_output_grid(scale, zero_point, x.dtype(), where));
  const kernels::Grid in = kernel_grid(x);
  const kernels::Grid out = kernel_grid(scale, zero_point);
  return apply_table(x, scale, zero_point, [&]<class Code>(Code code) {
    const auto real = static_cast<double>(kernels::dequantize_value<Code>(code, in));
    return kernels::quantize_torch_value<Code>(static_cast<float>(f(real)), out);
  });
}

// Codes between the codes of lo and hi.
Result<QTensor> clamp_codes(const QTensor& x, std::optional<double> lo, std::optional<double> hi,
                            std::string_view where) {
  OCTAVO_CHECK_OK(check_activation(x, where));
  const kernels::Grid grid = kernel_grid(x);
  return apply_table(x, x.grid().scales[0], x.grid().zero_points[0], [&]<class Code>(Code code) {
    const auto bound = [&](double real) {
      return kernels::quantize_torch_value<Code>(static_cast<float>(real), grid);
    };
    // Infinity is no bound; as a number to quantize it would be the lowest code.
    if (lo && std::isfinite(*lo)) code = std::max(code, bound(*lo));
    if (hi && std::isfinite(*hi)) code = std::min(code, bound(*hi));
    return code;
  });
}

std::int64_t lowest_code(const QTensor& x) { return quant_min_of(x.dtype()); }

double sigmoid_of(double real) { return 1.0 / (1.0 + std::exp(-real)); }

}  // namespace

Result<QTensor> relu(const QTensor& x) { return clamp_codes(x, 0.0, std::nullopt, "relu"); }
Result<QTensor> relu6(const QTensor& x) { return clamp_codes(x, 0.0, 6.0, "relu6"); }

Result<QTensor> clamp(const QTensor& x, double min, double max) {
  if (!(min <= max)) {
    return nn_error(Code::kInvalidOption, text("min = ", min, " is not below max = ", max, "."),
                    "clamp", "Give min <= max.");
  }
  return clamp_codes(x, min, max, "clamp");
}

Result<QTensor> hardswish(const QTensor& x, double scale, std::int64_t zero_point) {
  constexpr std::string_view kWhere = "quantized::hardswish";
  OCTAVO_CHECK_OK(check_activation(x, kWhere));
  OCTAVO_CHECK_OK(check_output_grid(scale, zero_point, x.dtype(), kWhere));
  const kernels::Grid in = kernel_grid(x);
  const float offset = -(in.scale * static_cast<float>(in.zero_point));
  const auto inverse = static_cast<float>(1.0 / scale);
  return apply_table(x, scale, zero_point, [&]<class Code>(Code code) {
    const float real = std::fma(in.scale, static_cast<float>(code), offset);
    const float result = real * std::min(std::max(real + 3.0F, 0.0F), 6.0F) / 6.0F;
    const auto zero = static_cast<std::int32_t>(zero_point);
    // quantize, with the reciprocal taken in double.
    return zero + kernels::round_clamped(
                      result * inverse,
                      static_cast<float>(std::int32_t{std::numeric_limits<Code>::min()} - zero),
                      static_cast<float>(std::int32_t{std::numeric_limits<Code>::max()} - zero));
  });
}

Result<QTensor> hardsigmoid(const QTensor& x) {
  return apply(x, 1.0 / 256, lowest_code(x), "hardsigmoid",
               [](double real) { return std::clamp(real + 3.0, 0.0, 6.0) / 6.0; });
}

Result<QTensor> sigmoid(const QTensor& x, double scale, std::int64_t zero_point) {
  return apply(x, scale, zero_point, "quantized::sigmoid", &sigmoid_of);
}
Result<QTensor> sigmoid(const QTensor& x) {
  return apply(x, 1.0 / 256, lowest_code(x), "sigmoid", &sigmoid_of);
}

Result<QTensor> tanh(const QTensor& x) {
  return apply(x, 2.0 / 256, lowest_code(x) + 128, "tanh",
               [](double real) { return std::tanh(real); });
}

Result<QTensor> leaky_relu(const QTensor& x, double negative_slope, double scale,
                           std::int64_t zero_point) {
  return apply(x, scale, zero_point, "quantized::leaky_relu",
               [negative_slope](double real) { return real > 0 ? real : real * negative_slope; });
}

Result<QTensor> elu(const QTensor& x, double alpha, double scale, std::int64_t zero_point) {
  return apply(x, scale, zero_point, "quantized::elu",
               [alpha](double real) { return real > 0 ? real : alpha * std::expm1(real); });
}

Result<QTensor> softmax(const QTensor& x, std::int64_t dim, double scale, std::int64_t zero_point) {
  constexpr std::string_view kWhere = "quantized::softmax";
  OCTAVO_CHECK_OK(check_activation(x, kWhere));
  OCTAVO_CHECK_OK(check_output_grid(scale, zero_point, x.dtype(), kWhere));
  OCTAVO_TRY(const Tensor out, softmax(x.dequantize(), dim));
  OCTAVO_TRY(const QTensor codes, quantize(out, QGrid::per_tensor(scale, zero_point), x.dtype()));
  return codes.contiguous(x.memory_format());
}

}  // namespace octavo::nn::functional
