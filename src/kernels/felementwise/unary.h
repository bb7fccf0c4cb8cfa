// unary: functions of one float, elementwise.
//
// ONNX's definitions. Transcendental ones use math.h, not libm: every build and row gives the same
// bytes. Any n >= 0; out may be in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "kernels/rows.h"

namespace octavo::kernels {

enum class Unary : std::uint8_t {
  kRelu,         // max(x, 0)
  kClip,         // min(max(x, alpha), beta)
  kLeakyRelu,    // x >= 0 ? x : alpha * x
  kElu,          // x >= 0 ? x : alpha * (exp(x) - 1)
  kSelu,         // beta * (x > 0 ? x : alpha * (exp(x) - 1))
  kSigmoid,      // 1 / (1 + exp(-x))
  kHardSigmoid,  // min(max(alpha * x + beta, 0), 1)
  kHardSwish,    // x * hardsigmoid(x; 1/6, 0.5)
  kTanh,
  kSoftplus,  // log(1 + exp(x))
  kSoftsign,  // x / (1 + |x|)
  kSilu,      // x * sigmoid(x)
  kMish,      // x * tanh(softplus(x))
  kGelu,      // 0.5 * x * (1 + erf(x / sqrt(2)))
  kGeluTanh,  // 0.5 * x * (1 + tanh(sqrt(2/pi) * (x + 0.044715 * x^3)))
  kErf,
  kExp,
  kLog,
  kSqrt,
  kReciprocal,  // 1 / x
  kNeg,
  kAbs,
  kSign,
  kFloor,
  kCeil,
  kRound,  // ties to even
  kSin,
  kCos,
  kTan,
  kAsin,
  kAcos,
  kAtan,
  kSinh,
  kCosh,
  kAsinh,
  kAcosh,
  kAtanh,
  kCelu,             // max(0, x) + min(0, alpha * (exp(x / alpha) - 1))
  kShrink,           // x < -alpha ? x + beta : x > alpha ? x - beta : 0
  kThresholdedRelu,  // x > alpha ? x : 0
};

// What the formulas above call alpha and beta; defaults are the op's in ONNX where it has any, set
// by the caller.
struct UnaryParams {
  float alpha = 0.0F;
  float beta = 0.0F;
};

using UnaryFn = void (*)(const float* in, float* out, std::size_t n, const UnaryParams& params);

struct UnaryKernel {
  std::string_view name;  // "sigmoid/simd128"
  simd::Level level;
  Unary op;
  UnaryFn run;
};

// All rows of all functions; for one function weakest first, the first is the reference and always
// there.
std::span<const UnaryKernel> unary_kernels();
const UnaryKernel& unary_kernel(Unary op, const Policy& policy);
// One value: the reference. For tables of codes (lut/lut.h).
float unary_value(Unary op, float x, const UnaryParams& params);
// The ONNX name ("Relu", "Sigmoid"), "Silu" for kSilu, "GeluTanh" for kGeluTanh.
std::string_view unary_name(Unary op);
std::optional<Unary> find_unary(std::string_view name);

}  // namespace octavo::kernels
