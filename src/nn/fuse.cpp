#include "nn/fuse.h"

#include <cmath>

#include "base/text.h"

namespace octavo::nn {

Result<FusedWeights> fuse_conv_bn_weights(const Tensor& weight, const std::optional<Tensor>& bias,
                                          const BatchNormToFuse& bn, bool transposed) {
  const auto error = [](std::string what) {
    return Error{Code::kShapeMismatch, std::move(what), "fuse_conv_bn_weights",
                 "Give the parameters of a layer and of the BatchNorm behind it, all float32."};
  };
  const int axis = transposed ? 1 : 0;
  if (weight.dtype() != DType::kFloat32 || weight.shape().rank() <= axis)
    return error(
        text("The weight is ", dtype_name(weight.dtype()), " ", weight.shape().to_string(), "."));
  const std::int64_t channels = weight.shape()[axis];
  const auto count = static_cast<std::size_t>(channels);
  const auto read = [&](const std::optional<Tensor>& tensor, float missing) {
    return tensor ? to_floats(*tensor) : std::vector<float>(count, missing);
  };
  const std::vector<float> b = read(bias, 0);
  const std::vector<float> gamma = read(bn.gamma, 1);
  const std::vector<float> beta = read(bn.beta, 0);
  const std::vector<float> mean = to_floats(bn.mean);
  const std::vector<float> var = to_floats(bn.var);
  for (const std::vector<float>* each : {&b, &gamma, &beta, &mean, &var}) {
    if (each->size() != count)
      return error(text("A parameter has ", each->size(), " numbers, the layer ", channels,
                        " output channels."));
  }
  std::vector<float> factor(count), shifted(count);
  for (std::size_t c = 0; c < count; ++c) {
    const float r = 1.0F / std::sqrt(var[c] + static_cast<float>(bn.eps));
    factor[c] = gamma[c] * r;
    shifted[c] = (b[c] - mean[c]) * r * gamma[c] + beta[c];
  }
  Tensor fused = Tensor::make(DType::kFloat32, weight.shape());
  std::size_t inner = 1;
  for (int d = axis + 1; d < weight.shape().rank(); ++d)
    inner *= static_cast<std::size_t>(weight.shape()[d]);
  const auto from = weight.span<float>();
  const auto to = fused.mutable_span<float>();
  for (std::size_t i = 0; i < from.size(); ++i) to[i] = from[i] * factor[i / inner % count];
  return FusedWeights{std::move(fused), Tensor::of<float>({channels}, shifted)};
}

}  // namespace octavo::nn
