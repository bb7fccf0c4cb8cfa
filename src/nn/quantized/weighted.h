// What quantized modules with a weight share: weight, bias, the output's grid, and their checks.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nn/engine.h"
#include "nn/qtensor.h"
#include "nn/quantized/product.h"
#include "nn/state_dict.h"

namespace octavo::nn::quantized {

class Weighted {
 public:
  // qint8 with zero point 0, per tensor or per output channel.
  const QTensor& weight() const { return weight_; }
  // float32 [out channels], or none.
  const std::optional<Tensor>& bias() const { return bias_; }
  double scale() const { return scale_; }
  std::int64_t zero_point() const { return zero_point_; }
  const Backend& backend() const { return backend_; }
  // Another engine or other kernels: results of the engines differ by one code, seldom.
  void set_backend(const Backend& backend);
  Status set_output(double scale, std::int64_t zero_point);

 protected:
  // channel_axis: of the output channels in the weight. Errors name the module.
  Status set_weight(std::string_view module, QTensor weight, std::optional<Tensor> bias,
                    int channel_axis, std::int64_t out_channels);
  // The packed product for x's grid; `rearranged` makes the weights ([out][segments][length]) and
  // their form when it has to be packed anew.
  template <class Rearranged>
  Result<std::shared_ptr<const Product>> product_for(const QTensor& x, bool relu,
                                                     std::string_view where,
                                                     Rearranged rearranged) const {
    if (product_ == nullptr || product_dtype_ != x.dtype() || product_grid_ != x.grid()) {
      OCTAVO_CHECK_OK(check_output(x.dtype(), where));
      ProductSpec spec = rearranged();
      complete(spec, x, relu);
      product_ = std::make_shared<const Product>(std::move(spec));
      product_dtype_ = x.dtype();
      product_grid_ = x.grid();
    }
    return product_;
  }
  QGrid output_grid() const { return QGrid::per_tensor(scale_, zero_point_); }
  Parameter bias_or_empty() const;

 private:
  Status check_output(ScalarType dtype, std::string_view where) const;
  void complete(ProductSpec& spec, const QTensor& x, bool relu) const;

  QTensor weight_;
  std::optional<Tensor> bias_;
  double scale_ = 1.0;
  std::int64_t zero_point_ = 0;
  Backend backend_;
  // For the grid of x seen last.
  mutable std::shared_ptr<const Product> product_;
  mutable ScalarType product_dtype_ = ScalarType::kQuint8;
  mutable QGrid product_grid_;
};

}  // namespace octavo::nn::quantized
