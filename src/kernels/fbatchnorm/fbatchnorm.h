// fbatchnorm: BatchNormalization of floats, one multiplication and one addition for each element.
//
//   a = scale / sqrt(var + eps), b = bias - mean * a       (fold_batch_norm; f32)
//   out = x * a + b                                        (two f32 operations, no FMA)
//
// Channels-last: [pixels][channels]. Planes: [plane_size] with one a, b. out may be in.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "kernels/rows.h"

namespace octavo::kernels {

struct ChannelAffine {
  std::vector<float> a, b;
};
ChannelAffine fold_batch_norm(std::span<const float> scale, std::span<const float> bias,
                              std::span<const float> mean, std::span<const float> var, float eps);

struct FBatchNormKernel {
  std::string_view name;
  simd::Level level;
  void (*channels_last)(const float* in, float* out, std::size_t pixels, std::size_t channels,
                        const float* a, const float* b);
  void (*plane)(const float* in, float* out, std::size_t plane_size, float a, float b);
};

std::span<const FBatchNormKernel> fbatchnorm_kernels();  // weakest first: front() is the reference

}  // namespace octavo::kernels
