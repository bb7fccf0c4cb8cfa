// nn::quantized::BatchNorm2d and its kin: torch.ao.nn.quantized.BatchNorm2d, BatchNorm3d,
// quantized::batch_norm1d, and torch.ao.nn.intrinsic.quantized.BNReLU2d, BNReLU3d, code for code.
//
//   y = clamp(zero_point + rint(fma(alpha[c], x - x_zero_point, beta[c])), quant_min, quant_max)
//
// alpha and beta come from the parameters and both scales (kernels/qbatchnorm/qbatchnorm.h has
// every step); BNReLU takes zero_point as the lower end. Where torch itself differs between
// machines (fused multiply-add or not), Octavo follows its AVX2 and AVX-512 builds, which fuse.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "nn/engine.h"
#include "nn/qtensor.h"
#include "nn/state_dict.h"

namespace octavo::nn {

// What a float BatchNorm layer holds; each parameter [num_features], float32 or quantized (per
// tensor, or per channel along axis 0).
struct BatchNormParameters {
  // None for affine = false: then weight is 1 and bias 0.
  std::optional<Parameter> weight, bias;
  Parameter running_mean, running_var;
  std::int64_t num_batches_tracked = 0;
  double eps = 1e-5;
  double momentum = 0.1;  // kept for the record; inference does not use it
};

namespace quantized {

// What quantizing the parameters of a BatchNorm changes, measured over all 256 input codes of every
// channel.
struct ParameterError {
  float weight = 0, bias = 0, running_mean = 0, running_var = 0;  // largest absolute differences
  std::int64_t codes = 0;                                         // 256 * channels
  std::int64_t codes_changed = 0;                                 // outputs that differ
  int largest_change = 0;                                         // in output codes
};

// The common part; take one of the classes below.
class BatchNorm {
 public:
  // torch's names in messages: "BatchNorm2d", "quantized::batch_norm2d".
  struct Kind {
    std::string_view module, op;
    int lowest_rank, highest_rank;
    bool relu;
  };

  std::int64_t num_features() const { return num_features_; }
  double eps() const { return parameters_.eps; }
  double scale() const { return scale_; }
  std::int64_t zero_point() const { return zero_point_; }
  const BatchNormParameters& parameters() const { return parameters_; }
  Status set_output(double scale, std::int64_t zero_point);

  // x [N, C, ...] quint8, qint8 or qint32, per tensor; y has its shape, dtype and memory format
  // (torch always answers in channels_last, which is the same tensor in another order) and the
  // module's scale and zero point. An empty x comes back as it is, with its own scale and zero
  // point, as in torch. Errors: rank, dtype, channels, a per-channel x, an output zero point
  // outside the dtype.
  Result<QTensor> forward(const QTensor& x) const;
  // The row of the kernel table that ran last: "qbatchnorm/nibble-nchw"; "" before the first run.
  std::string_view kernel() const;

  // weight, bias, running_mean, running_var, num_batches_tracked, scale, zero_point.
  StateDict state_dict() const;
  // The same keys, strictly; running statistics are checked as in from_float.
  Status load_state_dict(const StateDict& state);

  // Replaces the parameters by quantized ones, each over its own smallest and largest value (and
  // 0): affine `dtype`, per tensor, or with per_channel each number on a grid of its own. Reports
  // what that costs for inputs on the grid `x`.
  struct Input {
    ScalarType dtype;  // quint8 or qint8
    double scale;
    std::int64_t zero_point;
  };
  Result<ParameterError> quantize_parameters(ScalarType dtype, bool per_channel, const Input& x);
  // How this module's outputs differ from those with other parameters, for inputs on the grid `x`.
  Result<ParameterError> compare(const BatchNormParameters& other, const Input& x) const;

 protected:
  explicit BatchNorm(const Kind& kind) : kind_(&kind) {}
  Status set_parameters(BatchNormParameters parameters);

 private:
  struct Plan;

  Result<std::shared_ptr<const Plan>> plan_for(ScalarType dtype, double x_scale,
                                               std::int64_t x_zero_point,
                                               MemoryFormat format) const;
  Result<QTensor> forward_int32(const QTensor& x) const;
  QTensor result_of(const QTensor& x, Tensor codes) const;
  Error error(Code code, std::string what, std::string hint) const;

  const Kind* kind_;
  std::int64_t num_features_ = 0;
  BatchNormParameters parameters_;
  std::vector<float> weight_, bias_, mean_, var_;  // the real numbers, once
  double scale_ = 1.0;
  std::int64_t zero_point_ = 0;
  // For the input grid seen last: alpha, beta and the constants of the kernel row.
  mutable std::shared_ptr<const Plan> plan_;
};

namespace internal {
extern const BatchNorm::Kind kBatchNorm1d, kBatchNorm2d, kBatchNorm3d, kBNReLU1d, kBNReLU2d,
    kBNReLU3d;
}

// One class a rank, as torch has them.
template <const BatchNorm::Kind& kKind>
class BatchNormOf : public BatchNorm {
 public:
  // A fresh module as torch makes it: weight 1, bias 0, mean 0, variance 1, scale 1, zero point 0.
  explicit BatchNormOf(std::int64_t num_features, double eps = 1e-5, double momentum = 0.1)
      : BatchNorm(kKind) {
    BatchNormParameters fresh;
    const auto filled = [num_features](float value) {
      return Tensor::of<float>({num_features},
                               std::vector<float>(static_cast<std::size_t>(num_features), value));
    };
    fresh.weight = filled(1);
    fresh.bias = filled(0);
    fresh.running_mean = filled(0);
    fresh.running_var = filled(1);
    fresh.eps = eps;
    fresh.momentum = momentum;
    static_cast<void>(set_parameters(std::move(fresh)));  // these always fit
  }
  // From a trained float layer and the grid that an observer found for its output. affine = false
  // (no weight, no bias) is taken as weight 1 and bias 0; torch's op refuses None there. Errors:
  // sizes that differ; NaN or infinite parameters and running_var + eps <= 0, with the channel.
  static Result<BatchNormOf> from_float(BatchNormParameters bn, double scale,
                                        std::int64_t zero_point) {
    BatchNormOf module(0);
    OCTAVO_CHECK_OK(module.set_parameters(std::move(bn)));
    OCTAVO_CHECK_OK(module.set_output(scale, zero_point));
    return module;
  }
  // torch's from_reference(bn, output_scale, output_zero_point).
  static Result<BatchNormOf> from_reference(BatchNormParameters bn, double output_scale,
                                            std::int64_t output_zero_point) {
    return from_float(std::move(bn), output_scale, output_zero_point);
  }
};

// torch has quantized::batch_norm1d (rank 2 or 3) but no module over it; this one is ours.
using BatchNorm1d = BatchNormOf<internal::kBatchNorm1d>;
using BatchNorm2d = BatchNormOf<internal::kBatchNorm2d>;
using BatchNorm3d = BatchNormOf<internal::kBatchNorm3d>;
using BNReLU2d = BatchNormOf<internal::kBNReLU2d>;
using BNReLU1d = BatchNormOf<internal::kBNReLU1d>;  // the op; torch has no module over it
using BNReLU3d = BatchNormOf<internal::kBNReLU3d>;

}  // namespace quantized
}  // namespace octavo::nn
