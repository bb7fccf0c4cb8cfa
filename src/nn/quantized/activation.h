// nn::quantized activations, QFunctional, Quantize and DeQuantize: torch.ao.nn.quantized's modules
// that hold no weights. functional.h has the formulas.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "nn/functional.h"
#include "nn/qtensor.h"
#include "nn/state_dict.h"

namespace octavo::nn::quantized {

// What a module keeps that has an output grid and nothing else. State dict: scale, zero_point.
class OutputGrid {
 public:
  double scale() const { return scale_; }
  std::int64_t zero_point() const { return zero_point_; }
  StateDict state_dict() const;
  Status load_state_dict(const StateDict& state);

 protected:
  OutputGrid(std::string module, double scale, std::int64_t zero_point)
      : module_(std::move(module)), scale_(scale), zero_point_(zero_point) {}

 private:
  std::string module_;
  double scale_;
  std::int64_t zero_point_;
};

class ReLU6 {
 public:
  Result<QTensor> forward(const QTensor& x) const { return functional::relu6(x); }
};

class Hardswish : public OutputGrid {
 public:
  Hardswish(double scale, std::int64_t zero_point) : OutputGrid("Hardswish", scale, zero_point) {}
  Result<QTensor> forward(const QTensor& x) const {
    return functional::hardswish(x, scale(), zero_point());
  }
};

class ELU : public OutputGrid {
 public:
  ELU(double scale, std::int64_t zero_point, double alpha = 1.0)
      : OutputGrid("ELU", scale, zero_point), alpha_(alpha) {}
  double alpha() const { return alpha_; }
  Result<QTensor> forward(const QTensor& x) const {
    return functional::elu(x, alpha_, scale(), zero_point());
  }

 private:
  double alpha_;
};

class LeakyReLU : public OutputGrid {
 public:
  LeakyReLU(double scale, std::int64_t zero_point, double negative_slope = 0.01)
      : OutputGrid("LeakyReLU", scale, zero_point), negative_slope_(negative_slope) {}
  double negative_slope() const { return negative_slope_; }
  Result<QTensor> forward(const QTensor& x) const {
    return functional::leaky_relu(x, negative_slope_, scale(), zero_point());
  }

 private:
  double negative_slope_;
};

class Sigmoid : public OutputGrid {
 public:
  Sigmoid(double output_scale, std::int64_t output_zero_point)
      : OutputGrid("Sigmoid", output_scale, output_zero_point) {}
  Result<QTensor> forward(const QTensor& x) const {
    return functional::sigmoid(x, scale(), zero_point());
  }
};

class Softmax : public OutputGrid {
 public:
  explicit Softmax(std::int64_t dim, double scale = 1.0, std::int64_t zero_point = 0)
      : OutputGrid("Softmax", scale, zero_point), dim_(dim) {}
  std::int64_t dim() const { return dim_; }
  Result<QTensor> forward(const QTensor& x) const {
    return functional::softmax(x, dim_, scale(), zero_point());
  }

 private:
  std::int64_t dim_;
};

// Operations of a network's own forward(), with one output grid.
class QFunctional : public OutputGrid {
 public:
  explicit QFunctional(double scale = 1.0, std::int64_t zero_point = 0)
      : OutputGrid("QFunctional", scale, zero_point) {}
  Result<QTensor> add(const QTensor& a, const QTensor& b) const {
    return functional::add(a, b, scale(), zero_point());
  }
  Result<QTensor> add_relu(const QTensor& a, const QTensor& b) const {
    return functional::add_relu(a, b, scale(), zero_point());
  }
  Result<QTensor> mul(const QTensor& a, const QTensor& b) const {
    return functional::mul(a, b, scale(), zero_point());
  }
  Result<QTensor> cat(std::span<const QTensor> parts, std::int64_t dim = 0) const {
    return functional::cat(parts, dim, scale(), zero_point());
  }
  // These find their own grid, as torch's do.
  Result<QTensor> add_scalar(const QTensor& x, double c) const {
    return functional::add_scalar(x, c);
  }
  Result<QTensor> mul_scalar(const QTensor& x, double c) const {
    return functional::mul_scalar(x, c);
  }
};

// float32 to codes. An input that is quantized already is not this module's.
class Quantize : public OutputGrid {
 public:
  Quantize(double scale, std::int64_t zero_point, ScalarType dtype)
      : OutputGrid("Quantize", scale, zero_point), dtype_(dtype) {}
  ScalarType dtype() const { return dtype_; }
  Result<QTensor> forward(const Tensor& x) const {
    return quantize_per_tensor(x, scale(), zero_point(), dtype_);
  }

 private:
  ScalarType dtype_;
};

class DeQuantize {
 public:
  Tensor forward(const QTensor& x) const { return x.dequantize(); }
};

}  // namespace octavo::nn::quantized
