#include "kernels/felementwise/unary.h"

#include <array>

#include "kernels/felementwise/lanes.h"
#include "kernels/felementwise/math.h"

namespace octavo::kernels {

namespace {

using P = UnaryParams;

// Each function once, over one lane or four.
struct Relu {
  template <class L>
  static auto apply(typename L::F x, const P&) {
    return L::max(x, L::splat(0.0F));
  }
};
struct Clip {
  template <class L>
  static auto apply(typename L::F x, const P& p) {
    return L::min(L::max(x, L::splat(p.alpha)), L::splat(p.beta));
  }
};
struct LeakyRelu {
  template <class L>
  static auto apply(typename L::F x, const P& p) {
    return L::select(L::lt(x, L::splat(0.0F)), L::mul(x, L::splat(p.alpha)), x);
  }
};
struct Elu {
  template <class L>
  static auto apply(typename L::F x, const P& p) {
    const auto below = L::mul(L::splat(p.alpha), L::sub(exp_f32<L>(x), L::splat(1.0F)));
    return L::select(L::lt(x, L::splat(0.0F)), below, x);
  }
};
struct Selu {
  template <class L>
  static auto apply(typename L::F x, const P& p) {
    return L::mul(L::splat(p.beta), Elu::apply<L>(x, p));
  }
};
struct Sigmoid {
  template <class L>
  static auto apply(typename L::F x, const P&) {
    return sigmoid_f32<L>(x);
  }
};
struct HardSigmoid {
  template <class L>
  static auto apply(typename L::F x, const P& p) {
    const auto y = L::add(L::mul(L::splat(p.alpha), x), L::splat(p.beta));
    return L::min(L::max(y, L::splat(0.0F)), L::splat(1.0F));
  }
};
struct HardSwish {
  template <class L>
  static auto apply(typename L::F x, const P&) {
    return L::mul(x, HardSigmoid::apply<L>(x, {1.0F / 6.0F, 0.5F}));
  }
};
struct Tanh {
  template <class L>
  static auto apply(typename L::F x, const P&) {
    return tanh_f32<L>(x);
  }
};
struct Softplus {
  template <class L>
  static auto apply(typename L::F x, const P&) {
    return softplus_f32<L>(x);
  }
};
struct Softsign {
  template <class L>
  static auto apply(typename L::F x, const P&) {
    return L::div(x, L::add(L::splat(1.0F), L::abs(x)));
  }
};
struct Silu {
  template <class L>
  static auto apply(typename L::F x, const P&) {
    return L::mul(x, sigmoid_f32<L>(x));
  }
};
struct Mish {
  template <class L>
  static auto apply(typename L::F x, const P&) {
    return L::mul(x, tanh_f32<L>(softplus_f32<L>(x)));
  }
};
struct GeluTanh {
  template <class L>
  static auto apply(typename L::F x, const P&) {
    const auto cube = L::mul(L::mul(x, x), x);
    const auto inner =
        L::mul(L::splat(0.7978845608F), L::add(x, L::mul(L::splat(0.044715F), cube)));
    return L::mul(L::mul(L::splat(0.5F), x), L::add(L::splat(1.0F), tanh_f32<L>(inner)));
  }
};
struct Exp {
  template <class L>
  static auto apply(typename L::F x, const P&) {
    return exp_f32<L>(x);
  }
};
struct Log {
  template <class L>
  static auto apply(typename L::F x, const P&) {
    return log_f32<L>(x);
  }
};
struct Sqrt {
  template <class L>
  static auto apply(typename L::F x, const P&) {
    return L::sqrt(x);
  }
};
struct Reciprocal {
  template <class L>
  static auto apply(typename L::F x, const P&) {
    return L::div(L::splat(1.0F), x);
  }
};
struct Neg {
  template <class L>
  static auto apply(typename L::F x, const P&) {
    return L::neg(x);
  }
};
struct Abs {
  template <class L>
  static auto apply(typename L::F x, const P&) {
    return L::abs(x);
  }
};
struct Sign {
  template <class L>
  static auto apply(typename L::F x, const P&) {
    const auto zero = L::splat(0.0F);
    const auto positive = L::select(L::lt(zero, x), L::splat(1.0F), x);
    return L::select(L::lt(x, zero), L::splat(-1.0F), positive);
  }
};
struct Floor {
  template <class L>
  static auto apply(typename L::F x, const P&) {
    return L::floor(x);
  }
};
struct Ceil {
  template <class L>
  static auto apply(typename L::F x, const P&) {
    return L::ceil(x);
  }
};
struct Round {
  template <class L>
  static auto apply(typename L::F x, const P&) {
    return L::nearest(x);
  }
};
// In double: no vector form.
struct Gelu {
  template <class L>
  static float apply(float x, const P&) {
    return 0.5F * x * (1.0F + erf_f32(x * 0.70710678F));
  }
};
template <float (*kFunction)(float)>
struct Of {
  template <class L>
  static float apply(float x, const P&) {
    return kFunction(x);
  }
};
// Rarely met: one lane is enough.
struct Celu {
  template <class L>
  static float apply(float x, const P& p) {
    const float below = p.alpha * (exp_f32<L>(x / p.alpha) - 1.0F);
    return L::max(x, 0.0F) + L::min(below, 0.0F);
  }
};
struct Shrink {
  template <class L>
  static float apply(float x, const P& p) {
    return x < -p.alpha ? x + p.beta : x > p.alpha ? x - p.beta : 0.0F;
  }
};
struct ThresholdedRelu {
  template <class L>
  static float apply(float x, const P& p) {
    return x > p.alpha ? x : 0.0F;
  }
};

template <class Function, class L>
void map(const float* in, float* out, std::size_t n, const UnaryParams& params) {
  const UnaryParams p = params;  // a copy that no store can change
  std::size_t i = 0;
  for (; i + L::kCount <= n; i += L::kCount) {
    L::store(out + i, Function::template apply<L>(L::load(in + i), p));
  }
  for (; i < n; ++i) out[i] = Function::template apply<ScalarLanes>(in[i], p);
}

template <class Function>
constexpr UnaryKernel scalar(std::string_view name, Unary op) {
  return {name, simd::Level::kScalar, op, &map<Function, ScalarLanes>};
}
template <class Function>
constexpr UnaryKernel vector(std::string_view name, Unary op) {
  return {name, simd::Level::kSimd128, op, &map<Function, SimdLanes>};
}

constexpr auto kKernels = std::to_array<UnaryKernel>({
    scalar<Relu>("relu/scalar", Unary::kRelu),
    vector<Relu>("relu/simd128", Unary::kRelu),
    scalar<Clip>("clip/scalar", Unary::kClip),
    vector<Clip>("clip/simd128", Unary::kClip),
    scalar<LeakyRelu>("leaky_relu/scalar", Unary::kLeakyRelu),
    vector<LeakyRelu>("leaky_relu/simd128", Unary::kLeakyRelu),
    scalar<Elu>("elu/scalar", Unary::kElu),
    vector<Elu>("elu/simd128", Unary::kElu),
    scalar<Selu>("selu/scalar", Unary::kSelu),
    vector<Selu>("selu/simd128", Unary::kSelu),
    scalar<Sigmoid>("sigmoid/scalar", Unary::kSigmoid),
    vector<Sigmoid>("sigmoid/simd128", Unary::kSigmoid),
    scalar<HardSigmoid>("hard_sigmoid/scalar", Unary::kHardSigmoid),
    vector<HardSigmoid>("hard_sigmoid/simd128", Unary::kHardSigmoid),
    scalar<HardSwish>("hard_swish/scalar", Unary::kHardSwish),
    vector<HardSwish>("hard_swish/simd128", Unary::kHardSwish),
    scalar<Tanh>("tanh/scalar", Unary::kTanh),
    vector<Tanh>("tanh/simd128", Unary::kTanh),
    scalar<Softplus>("softplus/scalar", Unary::kSoftplus),
    vector<Softplus>("softplus/simd128", Unary::kSoftplus),
    scalar<Softsign>("softsign/scalar", Unary::kSoftsign),
    vector<Softsign>("softsign/simd128", Unary::kSoftsign),
    scalar<Silu>("silu/scalar", Unary::kSilu),
    vector<Silu>("silu/simd128", Unary::kSilu),
    scalar<Mish>("mish/scalar", Unary::kMish),
    vector<Mish>("mish/simd128", Unary::kMish),
    scalar<Gelu>("gelu/scalar", Unary::kGelu),
    scalar<GeluTanh>("gelu_tanh/scalar", Unary::kGeluTanh),
    vector<GeluTanh>("gelu_tanh/simd128", Unary::kGeluTanh),
    scalar<Of<erf_f32>>("erf/scalar", Unary::kErf),
    scalar<Exp>("exp/scalar", Unary::kExp),
    vector<Exp>("exp/simd128", Unary::kExp),
    scalar<Log>("log/scalar", Unary::kLog),
    vector<Log>("log/simd128", Unary::kLog),
    scalar<Sqrt>("sqrt/scalar", Unary::kSqrt),
    vector<Sqrt>("sqrt/simd128", Unary::kSqrt),
    scalar<Reciprocal>("reciprocal/scalar", Unary::kReciprocal),
    vector<Reciprocal>("reciprocal/simd128", Unary::kReciprocal),
    scalar<Neg>("neg/scalar", Unary::kNeg),
    vector<Neg>("neg/simd128", Unary::kNeg),
    scalar<Abs>("abs/scalar", Unary::kAbs),
    vector<Abs>("abs/simd128", Unary::kAbs),
    scalar<Sign>("sign/scalar", Unary::kSign),
    vector<Sign>("sign/simd128", Unary::kSign),
    scalar<Floor>("floor/scalar", Unary::kFloor),
    vector<Floor>("floor/simd128", Unary::kFloor),
    scalar<Ceil>("ceil/scalar", Unary::kCeil),
    vector<Ceil>("ceil/simd128", Unary::kCeil),
    scalar<Round>("round/scalar", Unary::kRound),
    vector<Round>("round/simd128", Unary::kRound),
    scalar<Of<sin_f32>>("sin/scalar", Unary::kSin),
    scalar<Of<cos_f32>>("cos/scalar", Unary::kCos),
    scalar<Of<tan_f32>>("tan/scalar", Unary::kTan),
    scalar<Of<asin_f32>>("asin/scalar", Unary::kAsin),
    scalar<Of<acos_f32>>("acos/scalar", Unary::kAcos),
    scalar<Of<atan_f32>>("atan/scalar", Unary::kAtan),
    scalar<Of<sinh_f32>>("sinh/scalar", Unary::kSinh),
    scalar<Of<cosh_f32>>("cosh/scalar", Unary::kCosh),
    scalar<Of<asinh_f32>>("asinh/scalar", Unary::kAsinh),
    scalar<Of<acosh_f32>>("acosh/scalar", Unary::kAcosh),
    scalar<Of<atanh_f32>>("atanh/scalar", Unary::kAtanh),
    scalar<Celu>("celu/scalar", Unary::kCelu),
    scalar<Shrink>("shrink/scalar", Unary::kShrink),
    scalar<ThresholdedRelu>("thresholded_relu/scalar", Unary::kThresholdedRelu),
});

struct UnaryName {
  Unary op;
  std::string_view name;
};
constexpr auto kNames = std::to_array<UnaryName>({
    {Unary::kRelu, "Relu"},
    {Unary::kClip, "Clip"},
    {Unary::kLeakyRelu, "LeakyRelu"},
    {Unary::kElu, "Elu"},
    {Unary::kSelu, "Selu"},
    {Unary::kSigmoid, "Sigmoid"},
    {Unary::kHardSigmoid, "HardSigmoid"},
    {Unary::kHardSwish, "HardSwish"},
    {Unary::kTanh, "Tanh"},
    {Unary::kSoftplus, "Softplus"},
    {Unary::kSoftsign, "Softsign"},
    {Unary::kSilu, "Silu"},
    {Unary::kMish, "Mish"},
    {Unary::kGelu, "Gelu"},
    {Unary::kGeluTanh, "GeluTanh"},
    {Unary::kErf, "Erf"},
    {Unary::kExp, "Exp"},
    {Unary::kLog, "Log"},
    {Unary::kSqrt, "Sqrt"},
    {Unary::kReciprocal, "Reciprocal"},
    {Unary::kNeg, "Neg"},
    {Unary::kAbs, "Abs"},
    {Unary::kSign, "Sign"},
    {Unary::kFloor, "Floor"},
    {Unary::kCeil, "Ceil"},
    {Unary::kRound, "Round"},
    {Unary::kSin, "Sin"},
    {Unary::kCos, "Cos"},
    {Unary::kTan, "Tan"},
    {Unary::kAsin, "Asin"},
    {Unary::kAcos, "Acos"},
    {Unary::kAtan, "Atan"},
    {Unary::kSinh, "Sinh"},
    {Unary::kCosh, "Cosh"},
    {Unary::kAsinh, "Asinh"},
    {Unary::kAcosh, "Acosh"},
    {Unary::kAtanh, "Atanh"},
    {Unary::kCelu, "Celu"},
    {Unary::kShrink, "Shrink"},
    {Unary::kThresholdedRelu, "ThresholdedRelu"},
});

}  // namespace

std::span<const UnaryKernel> unary_kernels() { return kKernels; }

const UnaryKernel& unary_kernel(Unary op, const Policy& policy) {
  const UnaryKernel* best = nullptr;
  for (const UnaryKernel& kernel : kKernels) {
    if (kernel.op == op && (best == nullptr || kernel.level <= policy.level)) best = &kernel;
  }
  return *best;
}

float unary_value(Unary op, float x, const UnaryParams& params) {
  unary_kernel(op, {.level = simd::Level::kScalar}).run(&x, &x, 1, params);
  return x;
}

std::string_view unary_name(Unary op) {
  for (const UnaryName& row : kNames) {
    if (row.op == op) return row.name;
  }
  return {};
}

std::optional<Unary> find_unary(std::string_view name) {
  for (const UnaryName& row : kNames) {
    if (row.name == name) return row.op;
  }
  return std::nullopt;
}

}  // namespace octavo::kernels
