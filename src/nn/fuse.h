// Folding a BatchNorm into the layer before it: torch.nn.utils.fusion.fuse_conv_bn_weights and
// fuse_linear_bn_weights.
//
//   w' = w * (gamma * r),  b' = (b - mean) * r * gamma + beta,  r = 1 / sqrt(var + eps), all f32
#pragma once

#include <optional>

#include "base/result.h"
#include "tensor/tensor.h"

namespace octavo::nn {

struct FusedWeights {
  Tensor weight, bias;
};

// weight [out, ...] float32 (transposed: [in, out, ...]); bias, gamma and beta [out] or none (0, 1
// and 0); mean and var [out].
struct BatchNormToFuse {
  Tensor mean, var;
  std::optional<Tensor> gamma, beta;
  double eps = 1e-5;
};
Result<FusedWeights> fuse_conv_bn_weights(const Tensor& weight, const std::optional<Tensor>& bias,
                                          const BatchNormToFuse& bn, bool transposed = false);

}  // namespace octavo::nn
