#include "nn/float_modules.h"

#include <cmath>
#include <utility>

#include "base/text.h"
#include "nn/functional.h"
#include "nn/runs.h"

namespace octavo::nn {

namespace F = functional;

namespace {

Tensor filled(std::int64_t n, float value) {
  return Tensor::of(Shape{n}, std::vector<float>(static_cast<std::size_t>(n), value));
}

std::optional<Tensor> value_of(const std::optional<Trained>& parameter) {
  return parameter ? std::optional<Tensor>(parameter->value) : std::nullopt;
}

Error no_forward(std::string_view kind) {
  return Error{Code::kInvalidState, "There was no forward pass to take the gradient of.",
               std::string(kind), "Call the module on floats first."};
}

// The weight as the forward pass shall use it.
Result<Tensor> fake_quantized(const std::unique_ptr<PostProcess>& fake, const Tensor& weight) {
  if (!fake) return weight;
  return fake->forward(weight);
}
Result<Tensor> gradient_through(const std::unique_ptr<PostProcess>& fake, const Tensor& grad) {
  if (!fake) return grad;
  return fake->gradient(grad);
}

// ReLU where `relu`; `before` keeps its input for the gradient.
Result<Value> with_relu(Tensor y, bool relu, Tensor& before) {
  before = y;
  if (!relu) return Value(std::move(y));
  OCTAVO_TRY(Tensor clamped, F::relu(y));
  return Value(std::move(clamped));
}
Result<Tensor> without_relu(const Tensor& grad_out, bool relu, const Tensor& before) {
  if (!relu) return grad_out;
  return F::relu_backward(grad_out, before);
}

// f(Tensor) or q(QTensor), whichever flows.
template <class OnFloat, class OnQuantized>
Result<Value> either(const Value& x, OnFloat on_float, OnQuantized on_quantized) {
  if (const auto* tensor = std::get_if<Tensor>(&x)) {
    OCTAVO_TRY(Tensor y, on_float(*tensor));
    return Value(std::move(y));
  }
  OCTAVO_TRY(QTensor y, on_quantized(std::get<QTensor>(x)));
  return Value(std::move(y));
}

// values[c][...] * factors[c] along `axis`.
Tensor scaled(const Tensor& values, const std::vector<float>& factors, int axis) {
  Tensor out = Tensor::make(DType::kFloat32, values.shape());
  const Runs runs = runs_along(values.shape(), axis);
  for_each_run(runs, [&](std::size_t c, std::size_t at) {
    for (std::size_t i = at; i < at + runs.inner; ++i)
      out.mutable_span<float>()[i] = values.span<float>()[i] * factors[c];
  });
  return out;
}

std::vector<float> inverses(std::vector<float> values) {
  for (float& value : values) value = 1.0F / value;
  return values;
}

Tensor product_of(const Tensor& a, const Tensor& b) {
  Tensor out = Tensor::make(DType::kFloat32, a.shape());
  for (std::size_t i = 0; i < a.span<float>().size(); ++i)
    out.mutable_span<float>()[i] = a.span<float>()[i] * b.span<float>()[i];
  return out;
}

// Sums over all axes but one.
std::vector<double> channel_sums(const Tensor& values, int axis) {
  const Runs runs = runs_along(values.shape(), axis);
  std::vector<double> sums(runs.channels);
  for_each_run(runs, [&](std::size_t c, std::size_t at) {
    for (std::size_t i = at; i < at + runs.inner; ++i)
      sums[c] += static_cast<double>(values.span<float>()[i]);
  });
  return sums;
}

Tensor rounded(const std::vector<double>& values) {
  return Tensor::of(Shape{static_cast<std::int64_t>(values.size())},
                    std::vector<float>(values.begin(), values.end()));
}

}  // namespace

void Trained::add_grad(const Tensor& more) {
  if (grad.dtype() == DType::kUndefined) {
    grad = more;
    return;
  }
  Tensor sum = Tensor::make(DType::kFloat32, more.shape());
  for (std::size_t i = 0; i < sum.span<float>().size(); ++i)
    sum.mutable_span<float>()[i] = grad.span<float>()[i] + more.span<float>()[i];
  grad = sum;
}

BatchNorm2d::BatchNorm2d(std::int64_t num_features, double epsilon, double of_batch)
    : weight{filled(num_features, 1), {}},
      bias{filled(num_features, 0), {}},
      running_mean(filled(num_features, 0)),
      running_var(filled(num_features, 1)),
      eps(epsilon),
      momentum(of_batch) {}

Result<Value> BatchNorm2d::forward(const Value& value) {
  OCTAVO_TRY(const Tensor x, float_value(value, kind()));
  if (x.shape().rank() != 4) {
    return Error{Code::kShapeMismatch,
                 text("expected 4D input (got ", x.shape().rank(), "D input)"), std::string(kind()),
                 "Give [N, C, H, W]."};
  }
  mean_ = running_mean;
  var_ = running_var;
  from_batch_ = training();
  if (from_batch_) {
    OCTAVO_TRY(const F::BatchStatistics batch, F::batch_statistics(x));
    mean_ = batch.mean;
    var_ = batch.var;
  }
  OCTAVO_TRY(Tensor y, F::batch_norm(x, mean_, var_, weight.value, bias.value, eps));
  if (from_batch_) {
    const auto count = static_cast<double>(x.elements() / x.shape()[1]);
    const auto moved = [this](const Tensor& running, const Tensor& batch, double factor) {
      Tensor out = Tensor::make(DType::kFloat32, running.shape());
      for (std::size_t c = 0; c < running.span<float>().size(); ++c)
        out.mutable_span<float>()[c] =
            static_cast<float>((1 - momentum) * static_cast<double>(running.span<float>()[c]) +
                               momentum * factor * static_cast<double>(batch.span<float>()[c]));
      return out;
    };
    running_mean = moved(running_mean, mean_, 1);
    running_var = moved(running_var, var_, count / (count - 1));
    ++num_batches_tracked;
  }
  input_ = x;
  return with_relu(std::move(y), relu, before_relu_);
}

Result<Tensor> BatchNorm2d::gradient(const Tensor& grad_out) {
  if (input_.dtype() == DType::kUndefined) return no_forward(kind());
  OCTAVO_TRY(const Tensor grad, without_relu(grad_out, relu, before_relu_));
  OCTAVO_TRY(const F::LayerGradients all,
             F::batch_norm_backward(grad, input_, mean_, var_, weight.value, eps, from_batch_));
  weight.add_grad(all.weight);
  bias.add_grad(all.bias);
  return all.x;
}

BatchNormParameters BatchNorm2d::parameters() const {
  BatchNormParameters out;
  out.weight = weight.value;
  out.bias = bias.value;
  out.running_mean = running_mean;
  out.running_var = running_var;
  out.num_batches_tracked = num_batches_tracked;
  out.eps = eps;
  out.momentum = momentum;
  return out;
}

Conv2d::Conv2d(Tensor of_weight, std::optional<Tensor> of_bias, F::Conv2dOptions of_options)
    : weight{std::move(of_weight), {}}, options(of_options) {
  if (of_bias) bias = Trained{std::move(*of_bias), {}};
}

std::string_view Conv2d::kind() const {
  if (bn) return relu ? "ConvBnReLU2d" : "ConvBn2d";
  return relu ? "ConvReLU2d" : "Conv2d";
}

Result<Value> Conv2d::forward(const Value& value) {
  OCTAVO_TRY(const Tensor x, float_value(value, kind()));
  input_ = x;
  if (!bn) {
    OCTAVO_TRY(used_weight_, fake_quantized(weight_fake_quant, weight.value));
    OCTAVO_TRY(Tensor y, F::conv2d(x, used_weight_, value_of(bias), options));
    return with_relu(std::move(y), relu, before_relu_);
  }
  // The weight is fake-quantized as it will be quantized, with bn folded in; the result is scaled
  // back, so that bn sees what it would have seen.
  factors_.clear();
  deviations_.clear();
  for (const float variance : bn->running_var.span<float>()) {
    deviations_.push_back(std::sqrt(variance + static_cast<float>(bn->eps)));
    factors_.push_back(bn->weight.value.span<float>()[factors_.size()] / deviations_.back());
  }
  if (weight.value.shape()[0] != static_cast<std::int64_t>(factors_.size())) {
    return Error{Code::kShapeMismatch,
                 text("The convolution has ", weight.value.shape()[0],
                      " output channels, its BatchNorm2d ", factors_.size(), "."),
                 std::string(kind()), "Fuse modules of one width."};
  }
  OCTAVO_TRY(used_weight_, fake_quantized(weight_fake_quant, scaled(weight.value, factors_, 0)));
  OCTAVO_TRY(product_, F::conv2d(x, used_weight_, std::nullopt, options));
  Tensor original = scaled(product_, inverses(factors_), 1);
  if (bias) {
    const Runs runs = runs_along(original.shape(), 1);
    for_each_run(runs, [&](std::size_t c, std::size_t at) {
      for (std::size_t i = at; i < at + runs.inner; ++i)
        original.mutable_span<float>()[i] += bias->value.span<float>()[c];
    });
  }
  bn->train(training());
  OCTAVO_TRY(const Value normalized, (*bn)(original));
  return with_relu(std::get<Tensor>(normalized), relu, before_relu_);
}

Result<Tensor> Conv2d::gradient(const Tensor& grad_out) {
  if (input_.dtype() == DType::kUndefined) return no_forward(kind());
  OCTAVO_TRY(const Tensor grad, without_relu(grad_out, relu, before_relu_));
  if (bn) return gradient_with_bn(grad);
  OCTAVO_TRY(const F::LayerGradients all, F::conv2d_backward(grad, input_, used_weight_, options));
  OCTAVO_TRY(const Tensor of_weight, gradient_through(weight_fake_quant, all.weight));
  weight.add_grad(of_weight);
  if (bias) bias->add_grad(all.bias);
  return all.x;
}

// With f = gamma / sqrt(running_var + eps), p = conv(x, fake(w f)), y = bn(p / f + bias): f is a
// function of gamma alone, since the running variance is a buffer, in torch too.
Result<Tensor> Conv2d::gradient_with_bn(const Tensor& grad_out) {
  OCTAVO_TRY(const Tensor grad, bn->backward(grad_out));
  OCTAVO_TRY(const F::LayerGradients all, F::conv2d_backward(scaled(grad, inverses(factors_), 1),
                                                             input_, used_weight_, options));
  OCTAVO_TRY(const Tensor of_scaled, gradient_through(weight_fake_quant, all.weight));
  weight.add_grad(scaled(of_scaled, factors_, 0));
  if (bias) bias->add_grad(rounded(channel_sums(grad, 1)));
  const std::vector<double> of_weight = channel_sums(product_of(of_scaled, weight.value), 0);
  const std::vector<double> of_output = channel_sums(product_of(grad, product_), 1);
  std::vector<double> of_gamma;
  for (std::size_t c = 0; c < factors_.size(); ++c) {
    const auto factor = static_cast<double>(factors_[c]);
    of_gamma.push_back((of_weight[c] - of_output[c] / (factor * factor)) /
                       static_cast<double>(deviations_[c]));
  }
  bn->weight.add_grad(rounded(of_gamma));
  return all.x;
}

Result<FusedWeights> Conv2d::fused_weights() const {
  if (!bn) {
    return FusedWeights{weight.value, bias ? bias->value : filled(weight.value.shape()[0], 0)};
  }
  return fuse_conv_bn_weights(
      weight.value, value_of(bias),
      {bn->running_mean, bn->running_var, bn->weight.value, bn->bias.value, bn->eps});
}

Linear::Linear(Tensor of_weight, std::optional<Tensor> of_bias) : weight{std::move(of_weight), {}} {
  if (of_bias) bias = Trained{std::move(*of_bias), {}};
}

Result<Value> Linear::forward(const Value& value) {
  OCTAVO_TRY(const Tensor x, float_value(value, kind()));
  input_ = x;
  OCTAVO_TRY(used_weight_, fake_quantized(weight_fake_quant, weight.value));
  OCTAVO_TRY(Tensor y, F::linear(x, used_weight_, value_of(bias)));
  return with_relu(std::move(y), relu, before_relu_);
}

Result<Tensor> Linear::gradient(const Tensor& grad_out) {
  if (input_.dtype() == DType::kUndefined) return no_forward(kind());
  OCTAVO_TRY(const Tensor grad, without_relu(grad_out, relu, before_relu_));
  OCTAVO_TRY(const F::LayerGradients all, F::linear_backward(grad, input_, used_weight_));
  OCTAVO_TRY(const Tensor of_weight, gradient_through(weight_fake_quant, all.weight));
  weight.add_grad(of_weight);
  if (bias) bias->add_grad(all.bias);
  return all.x;
}

Result<Value> ReLU::forward(const Value& x) {
  return either(
      x,
      [this](const Tensor& t) {
        input_ = t;
        return F::relu(t);
      },
      [](const QTensor& q) { return F::relu(q); });
}
Result<Tensor> ReLU::gradient(const Tensor& grad_out) {
  if (input_.dtype() == DType::kUndefined) return no_forward(kind());
  return F::relu_backward(grad_out, input_);
}

Result<Value> ReLU6::forward(const Value& x) {
  return either(
      x,
      [this](const Tensor& t) {
        input_ = t;
        return F::relu6(t);
      },
      [](const QTensor& q) { return F::relu6(q); });
}
Result<Tensor> ReLU6::gradient(const Tensor& grad_out) {
  if (input_.dtype() == DType::kUndefined) return no_forward(kind());
  return F::relu6_backward(grad_out, input_);
}

Result<Value> MaxPool2d::forward(const Value& x) {
  return either(
      x,
      [this](const Tensor& t) {
        return F::max_pool2d(t, {kernel_size_, stride_, padding_});
      },
      [this](const QTensor& q) {
        F::Pool2d pool;
        pool.kernel_size = kernel_size_;
        pool.stride = stride_;
        pool.padding = padding_;
        return F::max_pool2d(q, pool);
      });
}

Result<Value> AdaptiveAvgPool2d::forward(const Value& x) {
  return either(
      x, [this](const Tensor& t) { return F::adaptive_avg_pool2d(t, output_size_); },
      [this](const QTensor& q) { return F::adaptive_avg_pool2d(q, output_size_); });
}

Result<Value> Flatten::forward(const Value& x) {
  return either(
      x,
      [this](const Tensor& t) {
        shape_ = t.shape();
        return F::flatten(t, start_dim_);
      },
      [this](const QTensor& q) { return F::flatten(q, start_dim_); });
}

Result<Value> Functional::forward(const Value&) {
  return Error{Code::kInvalidState,
               text(kind(),
                    " is not intended to use the forward. Please use the corresponding "
                    "operation"),
               std::string(kind()), "Call add, add_relu or mul."};
}

Result<Functional*> functional_of(Module& parent, std::string_view name) {
  OCTAVO_TRY(Module * child, parent.child(name));
  if (auto* functional = dynamic_cast<Functional*>(child)) return functional;
  return Error{Code::kInvalidOption,
               text("Child '", name, "' is a ", child->kind(), ", not a FloatFunctional."),
               std::string(parent.kind()), "Name a FloatFunctional."};
}

Result<Value> FloatFunctional::observed(Result<Tensor> result) {
  if (!result.ok()) return result.error();
  if (!activation_post_process) return Value(*result);
  OCTAVO_TRY(Tensor seen, activation_post_process->forward(*result));
  return Value(std::move(seen));
}

Result<Value> FloatFunctional::add(const Value& a, const Value& b) {
  OCTAVO_TRY(const Tensor left, float_value(a, kind()));
  OCTAVO_TRY(const Tensor right, float_value(b, kind()));
  return observed(F::add(left, right));
}
Result<Value> FloatFunctional::add_relu(const Value& a, const Value& b) {
  OCTAVO_TRY(const Tensor left, float_value(a, kind()));
  OCTAVO_TRY(const Tensor right, float_value(b, kind()));
  OCTAVO_TRY(const Tensor sum, F::add(left, right));
  return observed(F::relu(sum));
}
Result<Value> FloatFunctional::mul(const Value& a, const Value& b) {
  OCTAVO_TRY(const Tensor left, float_value(a, kind()));
  OCTAVO_TRY(const Tensor right, float_value(b, kind()));
  return observed(F::mul(left, right));
}

Result<Value> FloatFunctional::cat(std::span<const Value> parts, std::int64_t dim) {
  std::vector<Tensor> tensors;
  for (const Value& part : parts) {
    OCTAVO_TRY(Tensor tensor, float_value(part, kind()));
    tensors.push_back(std::move(tensor));
  }
  return observed(F::cat(tensors, dim));
}
// Their results are not observed, as in torch.
Result<Value> FloatFunctional::add_scalar(const Value& x, double c) {
  OCTAVO_TRY(const Tensor tensor, float_value(x, kind()));
  OCTAVO_TRY(Tensor y, F::add_scalar(tensor, c));
  scalars_used_ = true;
  return Value(std::move(y));
}
Result<Value> FloatFunctional::mul_scalar(const Value& x, double c) {
  OCTAVO_TRY(const Tensor tensor, float_value(x, kind()));
  OCTAVO_TRY(Tensor y, F::mul_scalar(tensor, c));
  scalars_used_ = true;
  return Value(std::move(y));
}

}  // namespace octavo::nn
