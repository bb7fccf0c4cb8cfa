// nn::quantized::Linear (torch.ao.nn.quantized) and LinearReLU (torch.ao.nn.intrinsic.quantized).
// product.h has the arithmetic of both engines.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "nn/quantized/weighted.h"

namespace octavo::nn::quantized {

// The common part; take one of the classes below.
class LinearBase : public Weighted {
 public:
  struct Kind {
    std::string_view module, op;
    bool relu;
  };

  std::int64_t in_features() const { return weight().shape()[1]; }
  std::int64_t out_features() const { return weight().shape()[0]; }

  // x [..., in_features] quint8 or qint8, per tensor, to [..., out_features].
  Result<QTensor> forward(const QTensor& x) const;

  // scale, zero_point, weight, bias (empty for none). torch keeps the latter two in one entry,
  // _packed_params._packed_params, which is a pair.
  StateDict state_dict() const;
  Status load_state_dict(const StateDict& state);

 protected:
  explicit LinearBase(const Kind& kind) : kind_(&kind) {}
  Status set(QTensor weight, std::optional<Tensor> bias);

 private:
  ProductSpec rearranged() const;

  const Kind* kind_;
};

namespace internal {
extern const LinearBase::Kind kLinear, kLinearReLU;
}

template <const LinearBase::Kind& kKind>
class LinearOf : public LinearBase {
 public:
  // weight: qint8 [out_features, in_features], per tensor or per channel along axis 0. bias:
  // float32 [out_features].
  static Result<LinearOf> from_weights(QTensor weight, std::optional<Tensor> bias, double scale,
                                       std::int64_t zero_point, const Backend& backend = {}) {
    LinearOf module;
    OCTAVO_CHECK_OK(module.set(std::move(weight), std::move(bias)));
    OCTAVO_CHECK_OK(module.set_output(scale, zero_point));
    module.set_backend(backend);
    return module;
  }

 private:
  LinearOf() : LinearBase(kKind) {}
};

using Linear = LinearOf<internal::kLinear>;
using LinearReLU = LinearOf<internal::kLinearReLU>;

}  // namespace octavo::nn::quantized
