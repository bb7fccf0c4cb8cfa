#include "kernels/fbatchnorm/fbatchnorm.h"

#include <array>
#include <cmath>

#include "kernels/felementwise/lanes.h"

namespace octavo::kernels {

ChannelAffine fold_batch_norm(std::span<const float> scale, std::span<const float> bias,
                              std::span<const float> mean, std::span<const float> var, float eps) {
  ChannelAffine affine;
  for (std::size_t c = 0; c < scale.size(); ++c) {
    const float a = scale[c] / std::sqrt(var[c] + eps);
    const float shift = mean[c] * a;
    affine.a.push_back(a);
    affine.b.push_back(bias[c] - shift);
  }
  return affine;
}

namespace {

template <class L>
typename L::F affine(const float* in, typename L::F a, typename L::F b) {
  return L::add(L::mul(L::load(in), a), b);
}

template <class L>
void channels_last(const float* in, float* out, std::size_t pixels, std::size_t channels,
                   const float* a, const float* b) {
  for (std::size_t i = 0; i < pixels; ++i, in += channels, out += channels) {
    std::size_t c = 0;
    for (; c + L::kCount <= channels; c += L::kCount) {
      L::store(out + c, affine<L>(in + c, L::load(a + c), L::load(b + c)));
    }
    for (; c < channels; ++c) out[c] = affine<ScalarLanes>(in + c, a[c], b[c]);
  }
}

template <class L>
void plane(const float* in, float* out, std::size_t plane_size, float a, float b) {
  std::size_t i = 0;
  for (; i + L::kCount <= plane_size; i += L::kCount) {
    L::store(out + i, affine<L>(in + i, L::splat(a), L::splat(b)));
  }
  for (; i < plane_size; ++i) out[i] = affine<ScalarLanes>(in + i, a, b);
}

constexpr auto kKernels = std::to_array<FBatchNormKernel>({
    {"fbatchnorm/scalar", simd::Level::kScalar, &channels_last<ScalarLanes>, &plane<ScalarLanes>},
    {"fbatchnorm/simd128", simd::Level::kSimd128, &channels_last<SimdLanes>, &plane<SimdLanes>},
});

}  // namespace

std::span<const FBatchNormKernel> fbatchnorm_kernels() { return kKernels; }

}  // namespace octavo::kernels
