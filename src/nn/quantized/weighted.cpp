#include "nn/quantized/weighted.h"

#include <cmath>

#include "base/text.h"
#include "nn/checks.h"

namespace octavo::nn::quantized {

void Weighted::set_backend(const Backend& backend) {
  backend_ = backend;
  product_.reset();
}

Status Weighted::set_output(double scale, std::int64_t zero_point) {
  // The dtype is the input's, so the zero point is held against it in forward().
  OCTAVO_CHECK_OK(check_output_grid(scale, zero_point, ScalarType::kQint32, "scale, zero_point"));
  scale_ = scale;
  zero_point_ = zero_point;
  product_.reset();
  return ok_status();
}

Status Weighted::set_weight(std::string_view module, QTensor weight, std::optional<Tensor> bias,
                            int channel_axis, std::int64_t out_channels) {
  if (weight.dtype() != ScalarType::kQint8) {
    return nn_error(Code::kUnsupportedDtype,
                    text("The weight is ", torch_name(weight.dtype()), "."), module,
                    "Weights are torch.qint8.");
  }
  const QGrid& grid = weight.grid();
  if (grid.axis && *grid.axis != channel_axis) {
    return nn_error(Code::kInvalidOption,
                    text("The weight is quantized per channel along axis ", *grid.axis, "."),
                    module, text("Output channels are axis ", channel_axis, " of this weight."));
  }
  for (std::size_t i = 0; i < grid.zero_points.size(); ++i) {
    if (grid.zero_points[i] == 0) continue;
    return nn_error(Code::kInvalidOption,
                    text("quantized weight zero points should be 0, channel ", i, " has ",
                         grid.zero_points[i], "."),
                    module, "Quantize weights symmetrically.");
  }
  if (bias) {
    if (bias->dtype() != DType::kFloat32 || bias->shape() != Shape{out_channels}) {
      return nn_error(Code::kShapeMismatch,
                      text("bias should be a vector of ", out_channels, " float32 numbers, got ",
                           dtype_name(bias->dtype()), " ", bias->shape().to_string(), "."),
                      module);
    }
    const auto values = bias->span<float>();
    for (std::size_t c = 0; c < values.size(); ++c) {
      if (std::isfinite(values[c])) continue;
      return nn_error(Code::kNonFiniteWeight, text("bias of channel ", c, " is ", values[c], "."),
                      module, "A bias is a finite number; look at the training run.");
    }
  }
  weight_ = std::move(weight);
  bias_ = std::move(bias);
  product_.reset();
  return ok_status();
}

Status Weighted::check_output(ScalarType dtype, std::string_view where) const {
  return check_output_grid(scale_, zero_point_, dtype, where);
}

void Weighted::complete(ProductSpec& spec, const QTensor& x, bool relu) const {
  spec.weight_scales = weight_.grid().scales;
  if (bias_) spec.bias.assign(bias_->span<float>().begin(), bias_->span<float>().end());
  spec.dtype = x.dtype();
  spec.x_scale = x.grid().scales[0];
  spec.x_zero_point = x.grid().zero_points[0];
  spec.y_scale = scale_;
  spec.y_zero_point = zero_point_;
  spec.relu = relu;
  spec.backend = backend_;
}

Parameter Weighted::bias_or_empty() const {
  return bias_ ? Parameter{*bias_} : Parameter{Tensor::make(DType::kFloat32, {0})};
}

}  // namespace octavo::nn::quantized
