// Functions on float tensors, by torch.nn.functional's names: what float modules compute while a
// model is observed or trained. Row-major float32, images [N, C, H, W]; over the kernels that float
// nodes of models run on, so every build gives the same bits (torch's own floats differ from
// machine to machine).
//
// Gradients are those of torch's autograd; sums run in f64 and are rounded once.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "base/result.h"
#include "nn/functional.h"
#include "nn/state_dict.h"
#include "tensor/tensor.h"

namespace octavo::nn::functional {

struct Conv2dOptions {
  std::array<std::int64_t, 2> stride{1, 1};
  std::array<std::int64_t, 2> padding{0, 0};
  std::array<std::int64_t, 2> dilation{1, 1};
  std::int64_t groups = 1;
};

// weight [O, C / groups, kH, kW], bias [O] or none -> [N, O, H', W'],
// H' = (H + 2 padding - dilation (kH - 1) - 1) / stride + 1.
Result<Tensor> conv2d(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias,
                      const Conv2dOptions& options);
// x [..., in], weight [out, in], bias [out] or none -> [..., out].
Result<Tensor> linear(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias);

// The gradients of x, weight and bias.
struct LayerGradients {
  Tensor x, weight, bias;
};
Result<LayerGradients> conv2d_backward(const Tensor& grad_out, const Tensor& x,
                                       const Tensor& weight, const Conv2dOptions& options);
Result<LayerGradients> linear_backward(const Tensor& grad_out, const Tensor& x,
                                       const Tensor& weight);

// x [N, C, ...]; the parameters [C].
//   eval:  (x - mean) * (weight / sqrt(var + eps)) + bias, as kernels/fbatchnorm folds it
//   train: with the batch's own mean and (biased) variance
Result<Tensor> batch_norm(const Tensor& x, const Tensor& mean, const Tensor& var,
                          const Tensor& weight, const Tensor& bias, double eps);
struct BatchStatistics {
  Tensor mean, var;        // [C]; the variance is biased: / n
  std::int64_t count = 0;  // n, values a channel
};
Result<BatchStatistics> batch_statistics(const Tensor& x);
// `from_batch`: mean and var are of x itself and move with it (training), or they are constants.
Result<LayerGradients> batch_norm_backward(const Tensor& grad_out, const Tensor& x,
                                           const Tensor& mean, const Tensor& var,
                                           const Tensor& weight, double eps, bool from_batch);

Result<Tensor> relu(const Tensor& x);
Result<Tensor> relu6(const Tensor& x);
// grad_out where 0 < x (and x < 6 for relu6), else 0.
Result<Tensor> relu_backward(const Tensor& grad_out, const Tensor& x);
Result<Tensor> relu6_backward(const Tensor& grad_out, const Tensor& x);

// x [N, C, H, W]: windows from floor(i H / out) to ceil((i + 1) H / out).
Result<Tensor> adaptive_avg_pool2d(const Tensor& x, std::array<std::int64_t, 2> output_size);
// Padding never wins.
Result<Tensor> max_pool2d(const Tensor& x, const Pool2d& pool);
// Sums in f32, row by row.
Result<Tensor> avg_pool2d(const Tensor& x, const Pool2d& pool);
// All axes from start_dim on as one.
Result<Tensor> flatten(const Tensor& x, std::int64_t start_dim = 1);

// x, and alpha * (e^x - 1) below 0; 1 / (1 + e^-x): in f64, rounded once.
Result<Tensor> elu(const Tensor& x, double alpha);
Result<Tensor> sigmoid(const Tensor& x);
// Along axis `dim` (negative: from the end), as kernels/softmax computes it.
Result<Tensor> softmax(const Tensor& x, std::int64_t dim);

// Shapes broadcast by numpy's rule.
Result<Tensor> add(const Tensor& a, const Tensor& b);
Result<Tensor> mul(const Tensor& a, const Tensor& b);
Result<Tensor> add_scalar(const Tensor& x, double c);
Result<Tensor> mul_scalar(const Tensor& x, double c);
// Along axis `dim` (negative: from the end); the other axes are the same.
Result<Tensor> cat(std::span<const Tensor> parts, std::int64_t dim);

}  // namespace octavo::nn::functional
