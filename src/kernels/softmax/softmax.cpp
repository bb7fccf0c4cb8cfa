#include "kernels/softmax/softmax.h"

#include <array>

#include "kernels/felementwise/lanes.h"
#include "kernels/felementwise/math.h"

namespace octavo::kernels {

namespace {

// The columns c .. c + kCount of one [n][inner] block, element k at offset k * inner.
template <class L, bool kLog>
void columns(const float* in, float* out, std::size_t n, std::size_t inner) {
  auto max = L::load(in);
  // max(value, max so far): a NaN value stays, as it is the first operand.
  for (std::size_t k = 1; k < n; ++k) max = L::max(L::load(in + k * inner), max);
  auto sum = L::splat(0.0F);
  for (std::size_t k = 0; k < n; ++k) {
    const auto shifted = L::sub(L::load(in + k * inner), max);
    const auto e = exp_f32<L>(shifted);
    sum = L::add(sum, e);
    L::store(out + k * inner, kLog ? shifted : e);
  }
  const auto divisor = kLog ? log_f32<L>(sum) : sum;
  for (std::size_t k = 0; k < n; ++k) {
    const auto value = L::load(out + k * inner);
    L::store(out + k * inner, kLog ? L::sub(value, divisor) : L::div(value, divisor));
  }
}

// One contiguous row of n: exponentials by lanes, the sum in order.
template <class L, bool kLog>
void row(const float* in, float* out, std::size_t n) {
  using S = ScalarLanes;
  float max = in[0];
  for (std::size_t k = 1; k < n; ++k) max = S::max(in[k], max);
  float sum = 0.0F;
  std::array<float, L::kCount> part;
  std::size_t k = 0;
  for (; k + L::kCount <= n; k += L::kCount) {
    const auto shifted = L::sub(L::load(in + k), L::splat(max));
    const auto e = exp_f32<L>(shifted);
    L::store(part.data(), e);
    for (const float value : part) sum += value;
    L::store(out + k, kLog ? shifted : e);
  }
  for (; k < n; ++k) {
    const float shifted = in[k] - max;
    const float e = exp_f32<S>(shifted);
    sum += e;
    out[k] = kLog ? shifted : e;
  }
  const float divisor = kLog ? log_f32<S>(sum) : sum;
  for (k = 0; k + L::kCount <= n; k += L::kCount) {
    const auto value = L::load(out + k);
    L::store(out + k, kLog ? L::sub(value, L::splat(divisor)) : L::div(value, L::splat(divisor)));
  }
  for (; k < n; ++k) out[k] = kLog ? out[k] - divisor : out[k] / divisor;
}

template <class L, bool kLog>
void run(const float* in, float* out, std::size_t outer, std::size_t n, std::size_t inner) {
  if (n == 0) return;
  for (std::size_t o = 0; o < outer; ++o, in += n * inner, out += n * inner) {
    if (inner == 1) {
      row<L, kLog>(in, out, n);
      continue;
    }
    std::size_t c = 0;
    for (; c + L::kCount <= inner; c += L::kCount) columns<L, kLog>(in + c, out + c, n, inner);
    for (; c < inner; ++c) columns<ScalarLanes, kLog>(in + c, out + c, n, inner);
  }
}

constexpr auto kKernels = std::to_array<SoftmaxKernel>({
    {"softmax/scalar", simd::Level::kScalar, &run<ScalarLanes, false>, &run<ScalarLanes, true>},
    {"softmax/simd128", simd::Level::kSimd128, &run<SimdLanes, false>, &run<SimdLanes, true>},
});

}  // namespace

std::span<const SoftmaxKernel> softmax_kernels() { return kKernels; }

}  // namespace octavo::kernels
