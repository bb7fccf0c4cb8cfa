#include "nn/quantized/linear.h"

#include "base/text.h"
#include "nn/checks.h"

namespace octavo::nn::quantized {

namespace internal {
const LinearBase::Kind kLinear{"Linear", "quantized::linear", false};
const LinearBase::Kind kLinearReLU{"LinearReLU", "quantized::linear_relu", true};
}  // namespace internal

Status LinearBase::set(QTensor weight, std::optional<Tensor> bias) {
  const Shape shape = weight.shape();
  if (shape.rank() != 2 || shape.elements() == 0) {
    return nn_error(Code::kShapeMismatch,
                    text("The weight tensor should be 2-dimensional, got ", shape.to_string(), "."),
                    kind_->module, "Give [out_features, in_features].");
  }
  return set_weight(kind_->module, std::move(weight), std::move(bias), 0, shape[0]);
}

ProductSpec LinearBase::rearranged() const {
  const Tensor codes = weight().int_repr();
  const auto from = codes.span<std::int8_t>();
  ProductSpec spec;
  spec.weights.assign(from.begin(), from.end());
  spec.out_channels = out_features();
  spec.length = static_cast<int>(in_features());
  return spec;
}

Result<QTensor> LinearBase::forward(const QTensor& given) const {
  OCTAVO_CHECK_OK(check_activation(given, kind_->op));
  Shape shape = given.shape();
  if (shape.rank() == 0 || shape[shape.rank() - 1] != in_features()) {
    return nn_error(Code::kShapeMismatch,
                    text("The dimension of weight and input tensor does not match: weight ",
                         weight().shape().to_string(), ", input ", shape.to_string(), "."),
                    kind_->op, text("The last axis has ", in_features(), " features."));
  }
  shape[shape.rank() - 1] = out_features();
  if (!shape.checked_elements()) {
    return nn_error(Code::kLimitExceeded, text("The output would be ", shape.to_string(), "."),
                    kind_->op, text("A tensor has at most ", kMaxElements, " elements."));
  }
  const QTensor x = given.contiguous();
  OCTAVO_TRY(const std::shared_ptr<const Product> product,
             product_for(x, kind_->relu, kind_->op, [this] { return rearranged(); }));
  Tensor codes = Tensor::make(x.storage().dtype(), shape);
  const std::int32_t offset = 0;
  ProductCall call;
  call.x = x.storage().data();
  call.row_stride = in_features();  // a row of one pixel
  call.pixels = x.numel() / in_features();
  call.offsets = &offset;
  call.y = codes.mutable_data();
  product->run(call);
  return QTensor::of_storage(std::move(codes), output_grid(), MemoryFormat::kContiguous);
}

StateDict LinearBase::state_dict() const {
  return {{"scale", Tensor::scalar<double>(scale())},
          {"zero_point", Tensor::scalar<std::int64_t>(zero_point())},
          {"weight", weight()},
          {"bias", bias_or_empty()}};
}

Status LinearBase::load_state_dict(const StateDict& state) {
  StateReader reader(state, std::string(kind_->module));
  OCTAVO_TRY(const double scale, reader.number("scale"));
  OCTAVO_TRY(const std::int64_t zero_point, reader.integer("zero_point"));
  OCTAVO_TRY(QTensor weight, reader.quantized("weight"));
  OCTAVO_TRY(std::optional<Tensor> bias, reader.optional_float("bias"));
  OCTAVO_CHECK_OK(reader.finish());
  LinearBase copy = *this;  // a dict that does not fit leaves the module as it was
  OCTAVO_CHECK_OK(copy.set(std::move(weight), std::move(bias)));
  OCTAVO_CHECK_OK(copy.set_output(scale, zero_point));
  *this = std::move(copy);
  return ok_status();
}

}  // namespace octavo::nn::quantized
