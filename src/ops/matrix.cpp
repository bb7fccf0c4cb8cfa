#include "ops/matrix.h"

#include <algorithm>
#include <cstdlib>

#include "base/text.h"
#include "ops/activation.h"

namespace octavo::ops {

void IntegerWeights::add(std::vector<std::int8_t> part) {
  owned_.push_back(std::move(part));
  parts.emplace_back(owned_.back());
}

void IntegerWeights::replace(std::size_t i, std::vector<std::int8_t> part) {
  owned_.resize(std::max(owned_.size(), parts.size()));
  owned_[i] = std::move(part);
  parts[i] = owned_[i];
}

std::span<const std::int8_t> IntegerWeights::joined_rows(std::int64_t row) {
  if (parts.size() == 1) return parts.front();
  std::vector<std::int8_t> joined;
  for (std::ptrdiff_t at = 0; at < std::ssize(parts.front());
       at += static_cast<std::ptrdiff_t>(row)) {
    for (const std::span<const std::int8_t> part : parts) {
      joined.insert(joined.end(), part.begin() + at,
                    part.begin() + at + static_cast<std::ptrdiff_t>(row));
    }
  }
  owned_.push_back(std::move(joined));
  return owned_.back();
}

Result<IntegerWeights> integer_weights(const PrepareContext& context, std::size_t i,
                                       std::int64_t channels) {
  const Value& value = context.input(i);
  const Tensor* tensor = context.constant(i);
  if (tensor == nullptr || !value.quant || !is_quantized_code(value.dtype)) {
    return context.error(Code::kUnsupportedDtype,
                         text("Codes meet a weight of ", dtype_name(value.dtype), "."),
                         "Its weight has to be a constant of int8 or uint8 with a scale.");
  }
  const QuantParams& quant = *value.quant;
  const auto count = static_cast<std::size_t>(channels);
  if (quant.scale.size() != 1 && quant.scale.size() != count) {
    return context.error(Code::kShapeMismatch, text("Its weight has ", quant.scale.size(),
                                                    " scales for ", channels, " output channels."));
  }
  if (quant.zero_point.size() != quant.scale.size()) {
    return context.error(Code::kShapeMismatch,
                         text("Its weight has ", quant.scale.size(), " scales and ",
                              quant.zero_point.size(), " zero points."));
  }
  // Element i lies at i / inner % channels along the quantized axis.
  const int axis = quant.axis.value_or(0);
  std::size_t inner = 1;
  if (quant.zero_point.size() > 1) {
    if (axis < 0 || axis >= tensor->shape().rank() || tensor->shape()[axis] != channels) {
      return context.error(Code::kShapeMismatch,
                           text("The scales of its weight lie along axis ", axis, " of ",
                                tensor->shape().to_string(), "."));
    }
    for (int d = axis + 1; d < tensor->shape().rank(); ++d)
      inner *= static_cast<std::size_t>(tensor->shape()[d]);
  }
  IntegerWeights weights;
  weights.scale = quant.scale;
  const auto elements = static_cast<std::size_t>(tensor->elements());
  if (value.dtype == DType::kInt8 && std::all_of(quant.zero_point.begin(), quant.zero_point.end(),
                                                 [](std::int32_t zero) { return zero == 0; })) {
    weights.parts.push_back(tensor->span<std::int8_t>());
    return weights;
  }
  std::vector<std::vector<std::int8_t>> parts(1, std::vector<std::int8_t>(elements));
  for (std::size_t at = 0; at < elements; ++at) {
    const std::byte byte = tensor->data()[at];
    const std::int32_t code = value.dtype == DType::kInt8 ? static_cast<std::int8_t>(byte)
                                                          : static_cast<std::uint8_t>(byte);
    std::int32_t left =
        code - quant.zero_point[quant.zero_point.size() == 1 ? 0 : at / inner % count];
    if (std::abs(left) > 255)
      return context.error(Code::kInvalidModel,
                           "A zero point of its weight is not one of its codes.");
    for (std::size_t part = 0; part == 0 || left != 0; ++part) {
      if (part == parts.size()) parts.emplace_back(elements);
      const std::int32_t here = std::clamp(left, -128, 127);
      parts[part][at] = static_cast<std::int8_t>(here);
      left -= here;
    }
  }
  for (std::vector<std::int8_t>& part : parts) weights.add(std::move(part));
  return weights;
}

Result<std::vector<std::int32_t>> integer_bias(const PrepareContext& context, std::size_t i,
                                               std::int64_t channels) {
  if (!context.has_input(i)) return std::vector<std::int32_t>{};
  const Tensor* tensor = context.constant(i);
  if (tensor == nullptr || tensor->dtype() != DType::kInt32 || tensor->elements() != channels) {
    return context.error(Code::kUnsupportedDtype,
                         text("Its bias is not a constant of ", channels, " int32 numbers."));
  }
  const auto values = tensor->span<std::int32_t>();
  return std::vector<std::int32_t>(values.begin(), values.end());
}

Result<std::vector<float>> output_scales(const PrepareContext& context,
                                         const IntegerWeights& weights, std::int64_t channels,
                                         float alpha) {
  const Value& out = context.output();
  const bool to_codes = is_quantized_code(out.dtype);
  if (to_codes) OCTAVO_CHECK_OK(check_codes(context, out));
  const float x = alpha * context.input(0).quant->scale[0];
  std::vector<float> scales;
  for (std::int64_t n = 0; n < channels; ++n) {
    const float product =
        x * weights.scale[weights.scale.size() == 1 ? 0 : static_cast<std::size_t>(n)];
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
  const auto output =
      out.dtype == DType::kInt8 ? kernels::QConvOutput::kInt8 : kernels::QConvOutput::kUint8;
  return {output, out.quant->zero_point[0], bounds.lo, bounds.hi, 1};
}

}  // namespace octavo::ops
