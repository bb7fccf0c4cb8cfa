#include "ops/matrix.h"

#include <algorithm>

#include "base/text.h"
#include "ops/activation.h"

namespace octavo::ops {

Result<IntegerWeights> integer_weights(const PrepareContext& context, std::size_t i, std::int64_t channels) {
  const Value& value = context.input(i);
  const Tensor* tensor = context.constant(i);
  if (tensor == nullptr || !value.quant || !is_quantized_code(value.dtype)) {
    return context.error(Code::kUnsupportedDtype, text("Codes meet a weight of ", dtype_name(value.dtype), "."), "Its weight has to be a constant of int8 or uint8 with a scale.");
  }
  const QuantParams& quant = *value.quant;
  const auto count = static_cast<std::size_t>(channels);
  if (quant.scale.size() != 1 && quant.scale.size() != count) {
    return context.error(Code::kShapeMismatch, text("Its weight has ", quant.scale.size(), " scales for ", channels, " output channels."));
  }
  const std::int32_t zero = value.dtype == DType::kUint8 ? 128 : 0;
  if (std::any_of(quant.zero_point.begin(), quant.zero_point.end(), [zero](std::int32_t z) { return z != zero; })) {
    return context.error(Code::kUnsupportedAttribute, "The zero points of its weight are not the middle of the range.", "Quantize weights symmetrically.");
  }
  IntegerWeights weights;
  weights.scale = quant.scale;
  weights.codes.reserve(static_cast<std::size_t>(tensor->elements()));
  for (const std::byte code : std::span(tensor->data(), tensor->bytes())) {
    weights.codes.push_back(static_cast<std::int8_t>(static_cast<std::uint8_t>(code) - static_cast<std::uint8_t>(zero)));
  }
  return weights;
}

Result<std::vector<std::int32_t>> integer_bias(const PrepareContext& context, std::size_t i, std::int64_t channels) {
  if (!context.has_input(i)) return std::vector<std::int32_t>{};
  const Tensor* tensor = context.constant(i);
  if (tensor == nullptr || tensor->dtype() != DType::kInt32 || tensor->elements() != channels) {
    return context.error(Code::kUnsupportedDtype, text("Its bias is not a constant of ", channels, " int32 numbers."));
  }
  const auto values = tensor->span<std::int32_t>();
  return std::vector<std::int32_t>(values.begin(), values.end());
}

Result<std::vector<float>> output_scales(const PrepareContext& context, const IntegerWeights& weights, std::int64_t channels) {
  const Value& out = context.output();
  const bool to_codes = is_quantized_code(out.dtype);
  if (to_codes) OCTAVO_CHECK_OK(check_codes(context, out));
  const float x = context.input(0).quant->scale[0];
  std::vector<float> scales;
  for (std::int64_t n = 0; n < channels; ++n) {
    const float product = x * weights.scale[weights.scale.size() == 1 ? 0 : static_cast<std::size_t>(n)];
    scales.push_back(to_codes ? product / out.quant->scale[0] : product);
  }
  return scales;
}

OutputForm output_form(const PrepareContext& context) {
  const Value& out = context.output();
  if (!is_quantized_code(out.dtype)) {
    const bool integer = out.dtype == DType::kInt32;
    return {integer ? kernels::QConvOutput::kInt32 : kernels::QConvOutput::kFloat32, 0, 0, 0, 4};
  }
  const CodeBounds bounds = code_bounds(context.attrs(), out);
  const auto output = out.dtype == DType::kInt8 ? kernels::QConvOutput::kInt8 : kernels::QConvOutput::kUint8;
  return {output, out.quant->zero_point[0], bounds.lo, bounds.hi, 1};
}

}  // namespace octavo::ops
