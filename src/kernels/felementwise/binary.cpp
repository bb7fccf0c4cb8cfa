#include "kernels/felementwise/binary.h"

#include <array>
#include <cmath>

#include "kernels/felementwise/lanes.h"
#include "kernels/felementwise/math.h"

namespace octavo::kernels {

namespace {

struct Add {
  template <class L>
  static auto apply(typename L::F a, typename L::F b) {
    return L::add(a, b);
  }
};
struct Sub {
  template <class L>
  static auto apply(typename L::F a, typename L::F b) {
    return L::sub(a, b);
  }
};
struct Mul {
  template <class L>
  static auto apply(typename L::F a, typename L::F b) {
    return L::mul(a, b);
  }
};
struct Div {
  template <class L>
  static auto apply(typename L::F a, typename L::F b) {
    return L::div(a, b);
  }
};
struct Pow {
  template <class L>
  static float apply(float a, float b) {
    return pow_f32(a, b);
  }
};
struct Mod {
  template <class L>
  static float apply(float a, float b) {
    return std::fmod(a, b);
  }
};
// The lanes' min and max keep the first operand where one is NaN; a NaN second operand is put back.
struct Min {
  template <class L>
  static auto apply(typename L::F a, typename L::F b) {
    return L::select(L::eq(b, b), L::min(a, b), b);
  }
};
struct Max {
  template <class L>
  static auto apply(typename L::F a, typename L::F b) {
    return L::select(L::eq(b, b), L::max(a, b), b);
  }
};
struct Prelu {
  template <class L>
  static auto apply(typename L::F a, typename L::F b) {
    return L::select(L::lt(a, L::splat(0.0F)), L::mul(b, a), a);
  }
};

template <class Function, class L>
void map(const float* a, const float* b, float* out, std::size_t n) {
  std::size_t i = 0;
  for (; i + L::kCount <= n; i += L::kCount) {
    L::store(out + i, Function::template apply<L>(L::load(a + i), L::load(b + i)));
  }
  for (; i < n; ++i) out[i] = Function::template apply<ScalarLanes>(a[i], b[i]);
}

template <class Function>
constexpr BinaryKernel scalar(std::string_view name, Binary op) {
  return {name, simd::Level::kScalar, op, &map<Function, ScalarLanes>};
}
template <class Function>
constexpr BinaryKernel vector(std::string_view name, Binary op) {
  return {name, simd::Level::kSimd128, op, &map<Function, SimdLanes>};
}

constexpr auto kKernels = std::to_array<BinaryKernel>({
    scalar<Add>("add/scalar", Binary::kAdd),
    vector<Add>("add/simd128", Binary::kAdd),
    scalar<Sub>("sub/scalar", Binary::kSub),
    vector<Sub>("sub/simd128", Binary::kSub),
    scalar<Mul>("mul/scalar", Binary::kMul),
    vector<Mul>("mul/simd128", Binary::kMul),
    scalar<Div>("div/scalar", Binary::kDiv),
    vector<Div>("div/simd128", Binary::kDiv),
    scalar<Pow>("pow/scalar", Binary::kPow),
    scalar<Mod>("mod/scalar", Binary::kMod),
    scalar<Min>("min/scalar", Binary::kMin),
    vector<Min>("min/simd128", Binary::kMin),
    scalar<Max>("max/scalar", Binary::kMax),
    vector<Max>("max/simd128", Binary::kMax),
    scalar<Prelu>("prelu/scalar", Binary::kPrelu),
    vector<Prelu>("prelu/simd128", Binary::kPrelu),
});

struct BinaryName {
  Binary op;
  std::string_view name;
};
constexpr auto kNames = std::to_array<BinaryName>({
    {Binary::kAdd, "Add"},
    {Binary::kSub, "Sub"},
    {Binary::kMul, "Mul"},
    {Binary::kDiv, "Div"},
    {Binary::kPow, "Pow"},
    {Binary::kMin, "Min"},
    {Binary::kMax, "Max"},
    {Binary::kPrelu, "PRelu"},
    {Binary::kMod, "Mod"},
});

}  // namespace

std::span<const BinaryKernel> binary_kernels() { return kKernels; }

const BinaryKernel& binary_kernel(Binary op, const Policy& policy) {
  const BinaryKernel* best = nullptr;
  for (const BinaryKernel& kernel : kKernels) {
    if (kernel.op == op && (best == nullptr || kernel.level <= policy.level)) best = &kernel;
  }
  return *best;
}

std::string_view binary_name(Binary op) {
  for (const BinaryName& row : kNames) {
    if (row.op == op) return row.name;
  }
  return {};
}

std::optional<Binary> find_binary(std::string_view name) {
  for (const BinaryName& row : kNames) {
    if (row.name == name) return row.op;
  }
  return std::nullopt;
}

}  // namespace octavo::kernels
