// The activation that a pass fused into a node: attributes octavo_activation ("Relu" or "Clip"),
// octavo_min, octavo_max.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string_view>

#include "kernels/quantize/quantize.h"
#include "ops/op.h"

namespace octavo::ops {

inline constexpr AttrDef kActivationAttrs[] = {{"octavo_activation", AttrType::kString},
                                               {"octavo_min", AttrType::kFloat},
                                               {"octavo_max", AttrType::kFloat}};

// Whether it can be fused into the node.
inline bool reads_activation(const Node& node) {
  const OpDef* def = find_op(node);
  return def != nullptr &&
         std::any_of(def->attrs.begin(), def->attrs.end(),
                     [](const AttrDef& attr) { return attr.name == "octavo_activation"; });
}

// What a session's byte form has added to the codes of a node's result (128 or -128). Operators
// that round with the zero point inside ask for it: their ties fall where the file's own codes put
// them. No row declares it, so a file that names it is refused.
inline constexpr std::string_view kFormShift = "octavo_form_shift";
inline std::int32_t form_shift(const Attrs& attrs) {
  return static_cast<std::int32_t>(attrs.get_int(std::string(kFormShift), 0));
}

struct RealBounds {
  float lo = -std::numeric_limits<float>::infinity();
  float hi = std::numeric_limits<float>::infinity();
};
inline RealBounds real_bounds(const Attrs& attrs) {
  const std::string kind = attrs.get_string("octavo_activation", "");
  if (kind == "Relu") return {0.0F, std::numeric_limits<float>::infinity()};
  if (kind == "Clip") {
    const RealBounds open;
    return {attrs.get_float("octavo_min", open.lo), attrs.get_float("octavo_max", open.hi)};
  }
  return {};
}

struct CodeBounds {
  std::int32_t lo, hi;
};
inline CodeBounds code_range(DType dtype) {
  return dtype == DType::kInt8 ? CodeBounds{-128, 127} : CodeBounds{0, 255};
}

// The grid of a value of codes with one scale.
inline kernels::Grid grid_of(const Value& value) {
  return {value.quant->scale[0], value.quant->zero_point[0]};
}

// The codes that the fused activation leaves: its bounds quantized on the output's grid.
inline CodeBounds code_bounds(const Attrs& attrs, const Value& out) {
  const CodeBounds range = code_range(out.dtype);
  const RealBounds real = real_bounds(attrs);
  const kernels::Grid grid = grid_of(out);
  const auto code = [&](float bound) -> std::int32_t {
    return out.dtype == DType::kInt8 ? kernels::quantize_value<std::int8_t>(bound, grid)
                                     : kernels::quantize_value<std::uint8_t>(bound, grid);
  };
  return {std::isinf(real.lo) ? range.lo : code(real.lo),
          std::isinf(real.hi) ? range.hi : code(real.hi)};
}

// Codes per tensor, ready for an integer kernel; otherwise an error that says what is missing.
inline Status check_codes(const PrepareContext& context, const Value& value) {
  if (is_quantized_code(value.dtype) && value.quant && value.quant->is_per_tensor())
    return ok_status();
  return context.error(Code::kUnsupportedDtype,
                       std::string(dtype_name(value.dtype)) + " codes of tensor '" + value.name +
                           "' have no scale and zero point for the whole tensor.");
}

inline Error needs_dtype(const PrepareContext& context, const Value& value) {
  return context.error(
      Code::kUnsupportedDtype,
      "Tensor '" + value.name + "' is " + std::string(dtype_name(value.dtype)) + ".",
      "float32 and, after quantization, uint8 and int8 are supported.");
}

}  // namespace octavo::ops
