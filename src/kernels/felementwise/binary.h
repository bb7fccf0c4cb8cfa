// binary: functions of two floats, elementwise, on equal shapes. Broadcasting: broadcast.h.
//
//   min(a, b) = b < a ? b : a,  max(a, b) = a < b ? b : a,  NaN where either operand is NaN
//   prelu(x, slope) = x < 0 ? slope * x : x
//   mod(a, b) = C's fmod
//
// pow is math.h's: the same bytes in every build. Any n >= 0; out may be a or b.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "kernels/rows.h"

namespace octavo::kernels {

enum class Binary : std::uint8_t { kAdd, kSub, kMul, kDiv, kPow, kMin, kMax, kPrelu, kMod };

using BinaryFn = void (*)(const float* a, const float* b, float* out, std::size_t n);

struct BinaryKernel {
  std::string_view name;
  simd::Level level;
  Binary op;
  BinaryFn run;
};

// All rows of all functions; for one function weakest first, the first is the reference.
std::span<const BinaryKernel> binary_kernels();
const BinaryKernel& binary_kernel(Binary op, const Policy& policy);
std::string_view binary_name(Binary op);  // the ONNX name; kPrelu: "PRelu"
std::optional<Binary> find_binary(std::string_view name);

}  // namespace octavo::kernels
