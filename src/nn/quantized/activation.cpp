#include "nn/quantized/activation.h"

#include "nn/checks.h"

namespace octavo::nn::quantized {

StateDict OutputGrid::state_dict() const {
  return {{"scale", Tensor::scalar<double>(scale_)},
          {"zero_point", Tensor::scalar<std::int64_t>(zero_point_)}};
}

Status OutputGrid::load_state_dict(const StateDict& state) {
  StateReader reader(state, module_);
  OCTAVO_TRY(const double scale, reader.number("scale"));
  OCTAVO_TRY(const std::int64_t zero_point, reader.integer("zero_point"));
  OCTAVO_CHECK_OK(reader.finish());
  OCTAVO_CHECK_OK(check_output_grid(scale, zero_point, ScalarType::kQint32, module_));
  scale_ = scale;
  zero_point_ = zero_point;
  return ok_status();
}

}  // namespace octavo::nn::quantized
