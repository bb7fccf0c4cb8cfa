#include "nn/quantized/batch_norm.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "base/text.h"
#include "kernels/qbatchnorm/qbatchnorm.h"

namespace octavo::nn::quantized {

namespace internal {
const BatchNorm::Kind kBatchNorm1d{"BatchNorm1d", "quantized::batch_norm1d", 2, 3, false};
const BatchNorm::Kind kBatchNorm2d{"BatchNorm2d", "quantized::batch_norm2d", 4, 4, false};
const BatchNorm::Kind kBatchNorm3d{"BatchNorm3d", "quantized::batch_norm3d", 5, 5, false};
const BatchNorm::Kind kBNReLU1d{"BNReLU1d", "quantized::batch_norm1d_relu", 2, 3, true};
const BatchNorm::Kind kBNReLU2d{"BNReLU2d", "quantized::batch_norm2d_relu", 4, 4, true};
const BatchNorm::Kind kBNReLU3d{"BNReLU3d", "quantized::batch_norm3d_relu", 5, 5, true};
}  // namespace internal

// The kernel's constants for one input grid.
struct BatchNorm::Plan {
  ScalarType dtype;
  double x_scale;
  std::int64_t x_zero_point;
  kernels::ChannelOrder order;
  kernels::QBatchNormPlan kernel;
};

namespace {

kernels::QBatchNormSpec spec_of(const kernels::BatchNormParams& params, ScalarType dtype,
                                double x_scale, std::int64_t x_zero_point, double scale,
                                std::int64_t zero_point, bool relu) {
  kernels::FusedBatchNorm fused = kernels::fuse_batch_norm_params(params, x_scale, scale);
  kernels::QBatchNormSpec spec;
  spec.code = dtype == ScalarType::kQint8 ? kernels::CodeType::kInt8 : kernels::CodeType::kUint8;
  spec.alpha = std::move(fused.alpha);
  spec.beta = std::move(fused.beta);
  spec.zero_in = static_cast<std::int32_t>(x_zero_point);
  spec.zero_out = static_cast<std::int32_t>(zero_point);
  spec.relu = relu;
  return spec;
}

float largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  float largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::fabs(a[i] - b[i]));
  return largest;
}

// The affine grid from the smallest to the largest of `values`, which includes 0.
QGrid grid_over(const std::vector<float>& values, ScalarType dtype) {
  double lo = 0;
  double hi = 0;
  for (const float value : values) {
    lo = std::min(lo, static_cast<double>(value));
    hi = std::max(hi, static_cast<double>(value));
  }
  const auto lowest = static_cast<double>(quant_min_of(dtype));
  const auto highest = static_cast<double>(quant_max_of(dtype));
  // A grid that float32 cannot hold (all values 0, or subnormal) is replaced by the coarsest one
  // that can: it is exact for 0.
  double scale = std::max((hi - lo) / (highest - lowest), 0x1p-126);
  const double zero = std::clamp(lowest - std::nearbyint(lo / scale), lowest, highest);
  return QGrid::per_tensor(scale, static_cast<std::int64_t>(zero));
}

Result<QTensor> quantize_parameter(const std::vector<float>& values, ScalarType dtype,
                                   bool per_channel) {
  const Tensor reals = Tensor::of<float>({static_cast<std::int64_t>(values.size())}, values);
  if (!per_channel) return quantize(reals, grid_over(values, dtype), dtype);
  std::vector<double> scales;
  std::vector<std::int64_t> zero_points;
  for (const float value : values) {
    const QGrid grid = grid_over({value}, dtype);
    scales.push_back(grid.scales[0]);
    zero_points.push_back(grid.zero_points[0]);
  }
  return quantize(reals, QGrid::per_channel(std::move(scales), std::move(zero_points), 0), dtype);
}

}  // namespace

Error BatchNorm::error(Code code, std::string what, std::string hint) const {
  return Error{code, std::move(what), std::string(kind_->op), std::move(hint)};
}

Status BatchNorm::set_output(double scale, std::int64_t zero_point) {
  // The dtype is the input's, so the zero point is held against it in forward().
  OCTAVO_CHECK_OK(check_grid(QGrid::per_tensor(scale, zero_point), ScalarType::kQint32, Shape{},
                             kind_->module));
  scale_ = scale;
  zero_point_ = zero_point;
  plan_.reset();
  return ok_status();
}

Status BatchNorm::set_parameters(BatchNormParameters parameters) {
  const Shape& shape = shape_of(parameters.running_mean);
  if (shape.rank() != 1) {
    return error(Code::kShapeMismatch, text("running_mean has shape ", shape.to_string(), "."),
                 "BatchNorm parameters have shape [num_features].");
  }
  const std::int64_t features = shape[0];
  const auto channels = static_cast<std::size_t>(features);
  const auto read = [&](std::string_view name, const std::optional<Parameter>& parameter,
                        float missing) -> Result<std::vector<float>> {
    if (!parameter) return std::vector<float>(channels, missing);
    const Shape& own = shape_of(*parameter);
    if (own != Shape{features}) {
      return error(Code::kShapeMismatch,
                   text("Expect ", name, " size to match C: it has shape ", own.to_string(),
                        ", running_mean ", shape.to_string(), "."),
                   "BatchNorm parameters have shape [num_features].");
    }
    std::vector<float> values = reals_of(*parameter);
    for (std::size_t c = 0; c < channels; ++c) {
      if (std::isfinite(values[c])) continue;
      return error(Code::kNonFiniteWeight, text(name, " of channel ", c, " is ", values[c], "."),
                   "Every parameter of a BatchNorm is a finite number; look at the training run.");
    }
    return values;
  };
  OCTAVO_TRY(std::vector<float> weight, read("weight", parameters.weight, 1));
  OCTAVO_TRY(std::vector<float> bias, read("bias", parameters.bias, 0));
  OCTAVO_TRY(std::vector<float> mean, read("running_mean", parameters.running_mean, 0));
  OCTAVO_TRY(std::vector<float> var, read("running_var", parameters.running_var, 1));
  for (std::size_t c = 0; c < channels; ++c) {
    if (var[c] + static_cast<float>(parameters.eps) > 0) continue;
    return error(Code::kNonFiniteWeight,
                 text("running_var + eps of channel ", c, " is ",
                      var[c] + static_cast<float>(parameters.eps), "."),
                 "A variance is not negative, and eps > 0 keeps it above zero.");
  }
  num_features_ = features;
  parameters_ = std::move(parameters);
  weight_ = std::move(weight);
  bias_ = std::move(bias);
  mean_ = std::move(mean);
  var_ = std::move(var);
  plan_.reset();
  return ok_status();
}

Result<std::shared_ptr<const BatchNorm::Plan>> BatchNorm::plan_for(ScalarType dtype, double x_scale,
                                                                   std::int64_t x_zero_point,
                                                                   MemoryFormat format) const {
  const kernels::ChannelOrder order = format == MemoryFormat::kChannelsLast
                                          ? kernels::ChannelOrder::kChannelsLast
                                          : kernels::ChannelOrder::kPlanes;
  if (plan_ != nullptr && plan_->dtype == dtype && plan_->x_scale == x_scale &&
      plan_->x_zero_point == x_zero_point && plan_->order == order) {
    return plan_;
  }
  OCTAVO_CHECK_OK(check_grid(QGrid::per_tensor(scale_, zero_point_), dtype, Shape{}, kind_->op));
  const kernels::QBatchNormSpec spec =
      spec_of({weight_, bias_, mean_, var_, parameters_.eps}, dtype, x_scale, x_zero_point, scale_,
              zero_point_, kind_->relu);
  plan_ = std::make_shared<const Plan>(
      Plan{dtype, x_scale, x_zero_point, order, kernels::QBatchNormPlan::make(spec, order, {})});
  return plan_;
}

Result<QTensor> BatchNorm::forward(const QTensor& x) const {
  const Shape& shape = x.shape();
  if (shape.rank() < kind_->lowest_rank || shape.rank() > kind_->highest_rank) {
    const std::string ranks = kind_->lowest_rank == kind_->highest_rank
                                  ? text(kind_->lowest_rank)
                                  : text(kind_->lowest_rank, " or ", kind_->highest_rank);
    return error(
        Code::kShapeMismatch,
        text("Expecting the input tensor of rank ", ranks, ", got ", shape.to_string(), "."),
        "BatchNorm1d takes [N, C] or [N, C, L], BatchNorm2d [N, C, H, W], BatchNorm3d "
        "[N, C, D, H, W].");
  }
  if (is_per_channel(x.qscheme())) {
    return error(Code::kInvalidOption,
                 text("The input is ", qscheme_name(x.qscheme()), ", expected per_tensor_affine."),
                 "Activations have one scale: quantize_per_tensor.");
  }
  if (shape[1] != num_features_) {
    return error(Code::kShapeMismatch,
                 text("Expect weight size to match C: the input ", shape.to_string(), " has ",
                      shape[1], " channels, the module ", num_features_, "."),
                 "Channels are axis 1, whatever the memory format.");
  }
  if (x.numel() == 0) return x;
  // [N, C] is both: one pixel an image, channels innermost.
  const MemoryFormat order = shape.rank() == 2 ? MemoryFormat::kChannelsLast : x.order();
  if (x.dtype() == ScalarType::kQint32) return forward_int32(x);
  OCTAVO_TRY(const std::shared_ptr<const Plan> plan,
             plan_for(x.dtype(), x.grid().scales[0], x.grid().zero_points[0], order));
  Tensor codes = Tensor::make(x.storage().dtype(), shape);
  const auto* in = reinterpret_cast<const std::uint8_t*>(x.storage().data());
  auto* out = reinterpret_cast<std::uint8_t*>(codes.mutable_data());
  const auto pixels = static_cast<std::size_t>(x.numel() / num_features_);
  const auto planes = static_cast<std::size_t>(shape[0] * num_features_);
  if (plan->order == kernels::ChannelOrder::kChannelsLast) {
    plan->kernel.run_pixels(in, out, 0, pixels);
  } else {
    plan->kernel.run_planes(in, out, static_cast<std::size_t>(x.numel()) / planes, 0, planes);
  }
  return result_of(x, std::move(codes));
}

// Codes that lie as the input's do. torch makes every output channels_last.
QTensor BatchNorm::result_of(const QTensor& x, Tensor codes) const {
  return QTensor::of_storage(
      std::move(codes), QGrid::per_tensor(scale_, zero_point_), x.order(),
      x.shape().rank() == 2 ? MemoryFormat::kContiguous : MemoryFormat::kChannelsLast);
}

Result<QTensor> BatchNorm::forward_int32(const QTensor& x) const {
  OCTAVO_CHECK_OK(
      check_grid(QGrid::per_tensor(scale_, zero_point_), x.dtype(), Shape{}, kind_->op));
  const kernels::FusedBatchNorm fused = kernels::fuse_batch_norm_params(
      {weight_, bias_, mean_, var_, parameters_.eps}, x.grid().scales[0], scale_);
  const auto zero_in = static_cast<std::int32_t>(x.grid().zero_points[0]);
  const auto zero_out = static_cast<std::int32_t>(zero_point_);
  Tensor codes = Tensor::make(x.storage().dtype(), x.shape());
  const auto* in = reinterpret_cast<const std::int32_t*>(x.storage().data());
  auto* out = reinterpret_cast<std::int32_t*>(codes.mutable_data());
  const auto channels = static_cast<std::size_t>(num_features_);
  const auto total = static_cast<std::size_t>(x.numel());
  const bool innermost = x.shape().rank() == 2 || x.order() == MemoryFormat::kChannelsLast;
  const auto images = static_cast<std::size_t>(x.shape()[0]);
  const std::size_t run = innermost ? 1 : total / (images * channels);  // codes of one channel
  for (std::size_t at = 0, c = 0; at < total; at += run, c = (c + 1) % channels) {
    kernels::qbatchnorm_int32(in + at, out + at, run, fused.alpha[c], fused.beta[c], zero_in,
                              zero_out, kind_->relu);
  }
  return result_of(x, std::move(codes));
}

std::string_view BatchNorm::kernel() const {
  return plan_ == nullptr ? std::string_view{} : plan_->kernel.kernel();
}

StateDict BatchNorm::state_dict() const {
  const auto affine = [this](const std::optional<Parameter>& own,
                             const std::vector<float>& values) {
    return own ? *own : Parameter{Tensor::of<float>({num_features_}, values)};
  };
  return {{"weight", affine(parameters_.weight, weight_)},
          {"bias", affine(parameters_.bias, bias_)},
          {"running_mean", parameters_.running_mean},
          {"running_var", parameters_.running_var},
          {"num_batches_tracked", Tensor::scalar<std::int64_t>(parameters_.num_batches_tracked)},
          {"scale", Tensor::scalar<double>(scale_)},
          {"zero_point", Tensor::scalar<std::int64_t>(zero_point_)}};
}

Status BatchNorm::load_state_dict(const StateDict& state) {
  StateReader reader(state, std::string(kind_->module));
  BatchNormParameters loaded = parameters_;
  OCTAVO_TRY(loaded.weight, reader.get("weight"));
  OCTAVO_TRY(loaded.bias, reader.get("bias"));
  OCTAVO_TRY(loaded.running_mean, reader.get("running_mean"));
  OCTAVO_TRY(loaded.running_var, reader.get("running_var"));
  // Files older than PyTorch 0.4.1 lack it, and torch forgives that.
  if (reader.has("num_batches_tracked")) {
    OCTAVO_TRY(loaded.num_batches_tracked, reader.integer("num_batches_tracked"));
  }
  OCTAVO_TRY(const double scale, reader.number("scale"));
  OCTAVO_TRY(const std::int64_t zero_point, reader.integer("zero_point"));
  OCTAVO_CHECK_OK(reader.finish());
  if (const Shape& shape = shape_of(loaded.running_mean); shape != Shape{num_features_}) {
    return error(Code::kShapeMismatch,
                 text("size mismatch for running_mean: ", shape.to_string(), " instead of [",
                      num_features_, "]."),
                 "Load it into a module of as many features.");
  }
  BatchNorm copy = *this;  // a dict that does not fit leaves the module as it was
  OCTAVO_CHECK_OK(copy.set_parameters(std::move(loaded)));
  OCTAVO_CHECK_OK(copy.set_output(scale, zero_point));
  *this = std::move(copy);
  return ok_status();
}

Result<ParameterError> BatchNorm::compare(const BatchNormParameters& other, const Input& x) const {
  BatchNorm theirs(*kind_);
  OCTAVO_CHECK_OK(theirs.set_parameters(other));
  if (theirs.num_features_ != num_features_) {
    return error(Code::kShapeMismatch,
                 text("The other parameters have ", theirs.num_features_, " channels, the module ",
                      num_features_, "."),
                 "Compare parameters of the same layer.");
  }
  if (x.dtype == ScalarType::kQint32)
    return error(Code::kUnsupportedDtype, "The input is torch.qint32.",
                 "Give torch.quint8 or torch.qint8.");
  OCTAVO_CHECK_OK(
      check_grid(QGrid::per_tensor(x.scale, x.zero_point), x.dtype, Shape{}, kind_->op));
  OCTAVO_CHECK_OK(check_grid(QGrid::per_tensor(scale_, zero_point_), x.dtype, Shape{}, kind_->op));
  const auto tables = [&](const BatchNorm& module) {
    return kernels::qbatchnorm_tables(
        spec_of({module.weight_, module.bias_, module.mean_, module.var_, module.parameters_.eps},
                x.dtype, x.scale, x.zero_point, scale_, zero_point_, kind_->relu));
  };
  const std::vector<std::uint8_t> own = tables(*this);
  const std::vector<std::uint8_t> others = tables(theirs);
  ParameterError result{
      largest_difference(weight_, theirs.weight_), largest_difference(bias_, theirs.bias_),
      largest_difference(mean_, theirs.mean_), largest_difference(var_, theirs.var_)};
  result.codes = static_cast<std::int64_t>(own.size());
  const auto code = [&x](std::uint8_t byte) {
    return x.dtype == ScalarType::kQint8 ? static_cast<std::int8_t>(byte) : int{byte};
  };
  for (std::size_t i = 0; i < own.size(); ++i) {
    const int change = std::abs(code(own[i]) - code(others[i]));
    if (change != 0) ++result.codes_changed;
    result.largest_change = std::max(result.largest_change, change);
  }
  return result;
}

Result<ParameterError> BatchNorm::quantize_parameters(ScalarType dtype, bool per_channel,
                                                      const Input& x) {
  const BatchNormParameters before = parameters_;
  BatchNormParameters after = parameters_;
  OCTAVO_TRY(after.weight, quantize_parameter(weight_, dtype, per_channel));
  OCTAVO_TRY(after.bias, quantize_parameter(bias_, dtype, per_channel));
  OCTAVO_TRY(after.running_mean, quantize_parameter(mean_, dtype, per_channel));
  OCTAVO_TRY(after.running_var, quantize_parameter(var_, dtype, per_channel));
  BatchNorm copy = *this;
  OCTAVO_CHECK_OK(copy.set_parameters(std::move(after)));
  OCTAVO_TRY(const ParameterError cost, copy.compare(before, x));
  *this = std::move(copy);
  return cost;
}

}  // namespace octavo::nn::quantized
