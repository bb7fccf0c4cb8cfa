// Float modules by torch.nn's names: what fuse_modules, prepare and convert (workflow.h) work on.
//
// ReLU, ReLU6, MaxPool2d, AdaptiveAvgPool2d, Flatten and Identity take quantized tensors as well,
// as torch's do. torch's fused classes are states of one class here: a Conv2d with `relu` is a
// ConvReLU2d, with `bn` a ConvBn2d or ConvBnReLU2d; kind() says which.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "nn/functional_float.h"
#include "nn/fuse.h"
#include "nn/module.h"
#include "nn/quantized/batch_norm.h"

namespace octavo::nn {

// A trained value and the gradients that backward() has added up; zero_grad() forgets them.
struct Trained {
  Tensor value, grad;
  void add_grad(const Tensor& more);
  void zero_grad() { grad = Tensor(); }
};

// x [N, C, H, W]; parameters [C].
class BatchNorm2d final : public Module {
 public:
  explicit BatchNorm2d(std::int64_t num_features, double eps = 1e-5, double momentum = 0.1);

  std::string_view kind() const override { return relu ? "BNReLU2d" : "BatchNorm2d"; }
  // training(): with the batch's mean and variance, which also move the running ones by `momentum`
  // (the variance unbiased). eval(): with the running ones.
  Result<Value> forward(const Value& x) override;
  Result<Tensor> gradient(const Tensor& grad_out) override;
  BatchNormParameters parameters() const;  // for nn::quantized::BatchNorm2d::from_float

  Trained weight, bias;
  Tensor running_mean, running_var;
  std::int64_t num_batches_tracked = 0;
  double eps, momentum;
  bool relu = false;

 private:
  Tensor input_, mean_, var_, before_relu_;  // of the last forward
  bool from_batch_ = false;
};

class Conv2d final : public Module {
 public:
  // weight [O, C / groups, kH, kW], bias [O] or none.
  Conv2d(Tensor weight, std::optional<Tensor> bias, functional::Conv2dOptions options = {});

  // "Conv2d", "ConvReLU2d", "ConvBn2d", "ConvBnReLU2d".
  std::string_view kind() const override;
  // With weight_fake_quant (prepare_qat): on fake-quantized weights, those of ConvBn2d scaled by
  // weight / sqrt(running_var + eps) first, as torch's nn.intrinsic.qat.
  Result<Value> forward(const Value& x) override;
  // With bn inside, also of bn's weight and bias.
  Result<Tensor> gradient(const Tensor& grad_out) override;
  // Weight and bias with bn folded in.
  Result<FusedWeights> fused_weights() const;

  Trained weight;
  std::optional<Trained> bias;
  functional::Conv2dOptions options;
  bool relu = false;
  std::unique_ptr<BatchNorm2d> bn;
  std::unique_ptr<PostProcess> weight_fake_quant;

 private:
  Result<Tensor> gradient_with_bn(const Tensor& grad_out);

  // Of the last forward; the last three with bn.
  Tensor input_, used_weight_, before_relu_, product_;
  std::vector<float> factors_, deviations_;
};

class Linear final : public Module {
 public:
  // weight [out, in], bias [out] or none.
  Linear(Tensor weight, std::optional<Tensor> bias);

  std::string_view kind() const override { return relu ? "LinearReLU" : "Linear"; }
  Result<Value> forward(const Value& x) override;
  Result<Tensor> gradient(const Tensor& grad_out) override;

  Trained weight;
  std::optional<Trained> bias;
  bool relu = false;
  std::unique_ptr<PostProcess> weight_fake_quant;

 private:
  Tensor input_, used_weight_, before_relu_;
};

class ReLU final : public Module {
 public:
  std::string_view kind() const override { return "ReLU"; }
  Result<Value> forward(const Value& x) override;
  Result<Tensor> gradient(const Tensor& grad_out) override;

 private:
  Tensor input_;
};

class ReLU6 final : public Module {
 public:
  std::string_view kind() const override { return "ReLU6"; }
  Result<Value> forward(const Value& x) override;
  Result<Tensor> gradient(const Tensor& grad_out) override;

 private:
  Tensor input_;
};

class MaxPool2d final : public Module {
 public:
  explicit MaxPool2d(std::array<std::int64_t, 2> kernel_size,
                     std::array<std::int64_t, 2> stride = {0, 0},
                     std::array<std::int64_t, 2> padding = {0, 0})
      : kernel_size_(kernel_size), stride_(stride), padding_(padding) {}
  std::string_view kind() const override { return "MaxPool2d"; }
  Result<Value> forward(const Value& x) override;

 private:
  std::array<std::int64_t, 2> kernel_size_, stride_, padding_;
};

class AdaptiveAvgPool2d final : public Module {
 public:
  explicit AdaptiveAvgPool2d(std::array<std::int64_t, 2> output_size) : output_size_(output_size) {}
  std::string_view kind() const override { return "AdaptiveAvgPool2d"; }
  Result<Value> forward(const Value& x) override;

 private:
  std::array<std::int64_t, 2> output_size_;
};

class Flatten final : public Module {
 public:
  explicit Flatten(std::int64_t start_dim = 1) : start_dim_(start_dim) {}
  std::string_view kind() const override { return "Flatten"; }
  Result<Value> forward(const Value& x) override;
  Result<Tensor> gradient(const Tensor& grad_out) override { return grad_out.reshaped(shape_); }

 private:
  std::int64_t start_dim_;
  Shape shape_;
};

class Identity final : public Module {
 public:
  std::string_view kind() const override { return "Identity"; }
  Result<Value> forward(const Value& x) override { return x; }
  Result<Tensor> gradient(const Tensor& grad_out) override { return grad_out; }
};

// Where floats become codes, and codes floats, once converted; Identity until then.
class QuantStub final : public Module {
 public:
  std::string_view kind() const override { return "QuantStub"; }
  Result<Value> forward(const Value& x) override { return x; }
  Result<Tensor> gradient(const Tensor& grad_out) override { return grad_out; }
};
class DeQuantStub final : public Module {
 public:
  std::string_view kind() const override { return "DeQuantStub"; }
  Result<Value> forward(const Value& x) override { return x; }
  Result<Tensor> gradient(const Tensor& grad_out) override { return grad_out; }
};

// Operations of a model's own forward whose results need a scale: residual additions and the like.
//
//   OCTAVO_TRY(Functional * skip, functional_of(*this, "skip"));
//   return skip->add(x, y);
class Functional : public Module {
 public:
  Result<Value> forward(const Value& x) final;  // an error, as torch's
  virtual Result<Value> add(const Value& a, const Value& b) = 0;
  virtual Result<Value> add_relu(const Value& a, const Value& b) = 0;
  virtual Result<Value> mul(const Value& a, const Value& b) = 0;
  // Parts one after the other along axis `dim` (negative: from the end).
  virtual Result<Value> cat(std::span<const Value> parts, std::int64_t dim) = 0;
  // Their results find their own grid when quantized, as torch's do.
  virtual Result<Value> add_scalar(const Value& x, double c) = 0;
  virtual Result<Value> mul_scalar(const Value& x, double c) = 0;
};
// The child of that name as one.
Result<Functional*> functional_of(Module& parent, std::string_view name);

class FloatFunctional final : public Functional {
 public:
  std::string_view kind() const override { return "FloatFunctional"; }
  Result<Value> add(const Value& a, const Value& b) override;
  Result<Value> add_relu(const Value& a, const Value& b) override;
  Result<Value> mul(const Value& a, const Value& b) override;
  Result<Value> cat(std::span<const Value> parts, std::int64_t dim) override;
  Result<Value> add_scalar(const Value& x, double c) override;
  Result<Value> mul_scalar(const Value& x, double c) override;
  // Has run with constants: these need no grid of its own.
  bool scalars_used() const { return scalars_used_; }

 private:
  bool scalars_used_ = false;
  Result<Value> observed(Result<Tensor> result);
};

}  // namespace octavo::nn
