#include "nn/fake_quantize.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/text.h"
#include "calib/qparams.h"
#include "calib/state.h"
#include "kernels/fakequant/fakequant.h"
#include "nn/runs.h"

namespace octavo::nn {

namespace {

const kernels::FakeQuantKernel& fakequant_kernel() {
  return kernels::best_row(kernels::fakequant_kernels(), {});
}

Error invalid_option(std::string what, std::string_view where, std::string hint) {
  return Error{Code::kInvalidOption, std::move(what), std::string(where), std::move(hint)};
}

Error no_forward(std::string_view where) {
  return Error{Code::kInvalidState, "There was no forward pass to take the gradient of.",
               std::string(where), "Call forward() with fake quantization enabled first."};
}

Status check_same_shape(const Tensor& a, const Tensor& b, std::string_view names,
                        std::string_view where) {
  if (a.shape() == b.shape()) return ok_status();
  return Error{Code::kShapeMismatch,
               text(names, " are not the same size: ", a.shape().to_string(), " and ",
                    b.shape().to_string(), "."),
               std::string(where), "Give the gradient of the last forward pass's output."};
}

Status check_codes(std::int64_t quant_min, std::int64_t quant_max, std::string_view where) {
  if (quant_min > quant_max) {
    return invalid_option("`quant_min` should be less than or equal to `quant_max`.", where,
                          text("Got quant_min = ", quant_min, ", quant_max = ", quant_max, "."));
  }
  if (quant_min < quant_min_of(ScalarType::kQint32) ||
      quant_max > quant_max_of(ScalarType::kQint32)) {
    return invalid_option(
        text("quant_min = ", quant_min, ", quant_max = ", quant_max, " do not fit 32 bits."), where,
        "Use the codes of quint8, qint8 or qint32.");
  }
  return ok_status();
}

// The grid of one channel, checked.
Result<kernels::FakeQuantGrid> grid_of(float scale, std::int64_t zero_point, std::int64_t quant_min,
                                       std::int64_t quant_max, std::string_view where) {
  if (!(scale > 0) || !std::isfinite(scale)) {
    return invalid_option(text("scale = ", scale, " is not a positive finite float32."), where,
                          "Give the step between neighbouring codes.");
  }
  if (zero_point < quant_min || zero_point > quant_max) {
    return invalid_option("`zero_point` must be between `quant_min` and `quant_max`.", where,
                          text("Got zero_point = ", zero_point, ", quant_min = ", quant_min,
                               ", quant_max = ", quant_max, "."));
  }
  return kernels::FakeQuantGrid{scale, static_cast<std::int32_t>(zero_point),
                                static_cast<std::int32_t>(quant_min),
                                static_cast<std::int32_t>(quant_max)};
}

// The tensor's runs along `axis`, or one run without one, for so many scales and zero points.
Result<Runs> runs_for(const Tensor& x, std::optional<std::int64_t> axis, std::size_t scales,
                      std::size_t zero_points, std::string_view where) {
  Runs runs{1, 1, static_cast<std::size_t>(x.elements())};
  if (axis) {
    const std::optional<int> found = normalize_axis(*axis, x.shape().rank());
    if (!found) {
      return invalid_option("`axis` must be between 0 and number of dimensions of input", where,
                            text("Got axis = ", *axis, " for shape ", x.shape().to_string(), "."));
    }
    runs = runs_along(x.shape(), *found);
  }
  if (scales != zero_points || scales != runs.channels) {
    return Error{Code::kShapeMismatch,
                 text("dimensions of scale (", scales, ") and zero-point (", zero_points,
                      ") are not consistent with input tensor: ", runs.channels, " expected."),
                 std::string(where), "Give one scale and zero point for each channel."};
  }
  return runs;
}

Result<FakeQuantized> fake_quantize(const Tensor& x, const QParams& qparams,
                                    std::optional<std::int64_t> axis, std::int64_t quant_min,
                                    std::int64_t quant_max, std::string_view where) {
  OCTAVO_CHECK_OK(check_float(x, where));
  OCTAVO_CHECK_OK(check_codes(quant_min, quant_max, where));
  OCTAVO_TRY(const Runs runs,
             runs_for(x, axis, qparams.scale.size(), qparams.zero_point.size(), where));
  std::vector<kernels::FakeQuantGrid> grids;
  for (std::size_t c = 0; c < runs.channels; ++c) {
    OCTAVO_TRY(const kernels::FakeQuantGrid grid,
               grid_of(qparams.scale[c], qparams.zero_point[c], quant_min, quant_max, where));
    grids.push_back(grid);
  }
  FakeQuantized out{Tensor::make(DType::kFloat32, x.shape()),
                    Tensor::make(DType::kBool, x.shape())};
  const float* in = x.span<float>().data();
  float* y = out.y.mutable_span<float>().data();
  std::uint8_t* mask = out.mask.mutable_span<std::uint8_t>().data();
  for_each_run(runs, [&](std::size_t c, std::size_t at) {
    fakequant_kernel().forward(in + at, y + at, mask + at, runs.inner, grids[c]);
  });
  return out;
}

}  // namespace

Result<FakeQuantized> fake_quantize_per_tensor_affine(const Tensor& x, double scale,
                                                      std::int64_t zero_point,
                                                      std::int64_t quant_min,
                                                      std::int64_t quant_max) {
  return fake_quantize(x, {{static_cast<float>(scale)}, {zero_point}}, std::nullopt, quant_min,
                       quant_max, "fake_quantize_per_tensor_affine");
}

Result<FakeQuantized> fake_quantize_per_channel_affine(const Tensor& x, const QParams& qparams,
                                                       std::int64_t axis, std::int64_t quant_min,
                                                       std::int64_t quant_max) {
  return fake_quantize(x, qparams, axis, quant_min, quant_max, "fake_quantize_per_channel_affine");
}

Result<Tensor> fake_quantize_backward(const Tensor& grad_out, const Tensor& mask) {
  constexpr std::string_view kWhere = "fake_quantize_backward";
  OCTAVO_CHECK_OK(check_float(grad_out, kWhere));
  OCTAVO_CHECK_OK(check_same_shape(grad_out, mask, "`grad_out` and `mask`", kWhere));
  if (mask.dtype() != DType::kBool) {
    return Error{Code::kUnsupportedDtype,
                 text("The mask has dtype ", dtype_name(mask.dtype()), "."), std::string(kWhere),
                 "Give the bool mask of the forward function."};
  }
  Tensor grad_in = Tensor::make(DType::kFloat32, grad_out.shape());
  fakequant_kernel().backward(grad_out.span<float>().data(), mask.span<std::uint8_t>().data(),
                              grad_in.mutable_span<float>().data(),
                              static_cast<std::size_t>(grad_out.elements()));
  return grad_in;
}

Result<LearnableGradients> fake_quantize_learnable_backward(
    const Tensor& grad_out, const Tensor& x, std::span<const float> scale,
    std::span<const float> zero_point, std::optional<std::int64_t> axis, std::int64_t quant_min,
    std::int64_t quant_max, double grad_factor) {
  constexpr std::string_view kWhere = "fake_quantize_learnable_backward";
  OCTAVO_CHECK_OK(check_float(x, kWhere));
  OCTAVO_CHECK_OK(check_float(grad_out, kWhere));
  OCTAVO_CHECK_OK(check_same_shape(grad_out, x, "`X` and `dY`", kWhere));
  OCTAVO_CHECK_OK(check_codes(quant_min, quant_max, kWhere));
  if (quant_min > 0 || quant_max < 0) {
    return invalid_option(
        "`quant_min` should be less than or equal to `quant_max`, and the quantization range "
        "should include 0.",
        kWhere, text("Got quant_min = ", quant_min, ", quant_max = ", quant_max, "."));
  }
  OCTAVO_TRY(const Runs runs, runs_for(x, axis, scale.size(), zero_point.size(), kWhere));
  std::vector<kernels::FakeQuantGrid> grids;
  for (std::size_t c = 0; c < runs.channels; ++c) {
    const float nearest = std::clamp(std::floor(zero_point[c] + 0.5F),
                                     static_cast<float>(quant_min), static_cast<float>(quant_max));
    if (std::isnan(nearest)) {
      return invalid_option("zero_point is NaN.", kWhere, "Give finite zero points.");
    }
    const std::int64_t code = std::clamp(static_cast<std::int64_t>(nearest), quant_min, quant_max);
    OCTAVO_TRY(const kernels::FakeQuantGrid grid,
               grid_of(scale[c], code, quant_min, quant_max, kWhere));
    grids.push_back(grid);
  }
  LearnableGradients out{Tensor::make(DType::kFloat32, x.shape()), {}, {}};
  std::vector<kernels::FakeQuantGradients> sums(runs.channels);
  float* grad_in = out.x.mutable_span<float>().data();
  for_each_run(runs, [&](std::size_t c, std::size_t at) {
    const kernels::FakeQuantGradients run = kernels::fakequant_learnable_backward(
        x.span<float>().data() + at, grad_out.span<float>().data() + at, grad_in + at, runs.inner,
        grids[c], static_cast<float>(grad_factor));
    sums[c].scale += run.scale;
    sums[c].zero_point += run.zero_point;
  });
  for (const kernels::FakeQuantGradients& sum : sums) {
    out.scale.push_back(static_cast<float>(sum.scale));
    out.zero_point.push_back(static_cast<float>(sum.zero_point));
  }
  return out;
}

FakeQuantize::FakeQuantize(std::unique_ptr<Observer> observer) : observer_(std::move(observer)) {}

Result<Tensor> FakeQuantize::forward(const Tensor& x) {
  OCTAVO_CHECK_OK(check_float(x, kind()));
  if (observer_enabled_) OCTAVO_CHECK_OK(observer_->observe(x));
  if (observer_->observed() && (follows_range() ? fake_quant_enabled_ : observer_enabled_)) {
    OCTAVO_TRY(qparams_, qparams_of_range());
  }
  if (!fake_quant_enabled_) {
    mask_ = Tensor();
    return x;
  }
  const QSpec& codes = spec();
  const std::optional<std::int64_t> axis =
      is_per_channel(codes.qscheme) ? std::optional<std::int64_t>(codes.ch_axis) : std::nullopt;
  OCTAVO_TRY(FakeQuantized out,
             fake_quantize(x, qparams_, axis, codes.quant_min, codes.quant_max, kind()));
  mask_ = out.mask;
  return out.y;
}

Result<Tensor> FakeQuantize::backward(const Tensor& grad_out) const {
  if (!fake_quant_enabled_) return grad_out;
  if (mask_.dtype() == DType::kUndefined) return no_forward(kind());
  return fake_quantize_backward(grad_out, mask_);
}

std::vector<std::byte> FakeQuantize::save() const {
  calib::StateWriter out(kind());
  out.put<std::uint8_t>(fake_quant_enabled_ ? 1 : 0);
  out.put<std::uint8_t>(observer_enabled_ ? 1 : 0);
  out.put(static_cast<std::uint32_t>(qparams_.scale.size()));
  out.put_all(qparams_.scale);
  out.put_all(qparams_.zero_point);
  const std::vector<std::byte> observer = observer_->save();
  out.put(static_cast<std::uint32_t>(observer.size()));
  out.put_all(observer);
  return out.take();
}

Status FakeQuantize::load(std::span<const std::byte> bytes) {
  calib::StateReader in(bytes);
  std::uint8_t fake_quant = 0;
  std::uint8_t observe = 0;
  std::uint32_t channels = 0;
  std::uint32_t size = 0;
  QParams qparams;
  std::vector<std::byte> observer;
  const auto sane = [&] {
    for (std::size_t c = 0; c < channels; ++c) {
      if (!grid_of(qparams.scale[c], qparams.zero_point[c], spec().quant_min, spec().quant_max, "")
               .ok())
        return false;
    }
    return true;
  };
  if (!in.name(kind()) || !in.get(fake_quant) || fake_quant > 1 || !in.get(observe) ||
      observe > 1 || !in.get(channels) || !in.get_all(qparams.scale, channels) ||
      !in.get_all(qparams.zero_point, channels) || !in.get(size) || !in.get_all(observer, size) ||
      !in.at_end() || !sane()) {
    return calib::foreign_state(kind());
  }
  OCTAVO_CHECK_OK(observer_->load(observer));
  fake_quant_enabled_ = fake_quant == 1;
  observer_enabled_ = observe == 1;
  qparams_ = std::move(qparams);
  mask_ = Tensor();
  return ok_status();
}

Result<QParams> FusedMovingAvgObsFakeQuantize::qparams_of_range() const {
  const std::vector<float> mins = observer_->min_val();
  const std::vector<float> maxs = observer_->max_val();
  const QSpec& codes = spec();
  const calib::CodeRange range{static_cast<std::int32_t>(codes.quant_min),
                               static_cast<std::int32_t>(codes.quant_max)};
  QParams out;
  for (std::size_t c = 0; c < mins.size(); ++c) {
    if (!std::isfinite(mins[c]) || !std::isfinite(maxs[c])) return calculate_qparams().error();
    const calib::ChosenQParams chosen =
        calib::choose_quantization_params({mins[c], maxs[c]}, range, is_symmetric(codes.qscheme));
    out.scale.push_back(static_cast<float>(chosen.scale));
    out.zero_point.push_back(chosen.zero_point);
  }
  return out;
}

Result<std::unique_ptr<FakeQuantize>> make_fake_quantize(const FakeQuantizeArgs& args) {
  OCTAVO_TRY(std::unique_ptr<Observer> observer, make_observer(args.observer, args.observer_args));
  return std::make_unique<FakeQuantize>(std::move(observer));
}

Result<std::unique_ptr<FakeQuantize>> make_fused_fake_quantize(const FakeQuantizeArgs& args) {
  if (args.observer != "MovingAverageMinMaxObserver" &&
      args.observer != "MovingAveragePerChannelMinMaxObserver") {
    return invalid_option(
        "Fused observer+fake_quant module only works with MovingAverageMinMaxObserver",
        args.observer,
        "Use MovingAverageMinMaxObserver, MovingAveragePerChannelMinMaxObserver, or FakeQuantize.");
  }
  if (args.observer_args.dtype == ScalarType::kQint32) {
    return invalid_option("Fused observer+fake_quant module is for 8-bit codes.", args.observer,
                          "Use FakeQuantize for qint32.");
  }
  OCTAVO_TRY(std::unique_ptr<Observer> observer, make_observer(args.observer, args.observer_args));
  return std::unique_ptr<FakeQuantize>(
      std::make_unique<FusedMovingAvgObsFakeQuantize>(std::move(observer)));
}

LearnableFakeQuantize::LearnableFakeQuantize(std::unique_ptr<Observer> observer, const Args& args)
    : observer_(std::move(observer)),
      scale_(static_cast<std::size_t>(std::max(1, args.channel_len)), args.scale),
      zero_point_(scale_.size(), args.zero_point),
      eps_(args.fake_quantize.observer_args.eps),
      use_grad_scaling_(args.use_grad_scaling) {}

Result<std::unique_ptr<LearnableFakeQuantize>> LearnableFakeQuantize::make(const Args& args) {
  OCTAVO_TRY(std::unique_ptr<Observer> observer,
             make_observer(args.fake_quantize.observer, args.fake_quantize.observer_args));
  if (is_per_channel(observer->spec().qscheme) && args.channel_len < 1) {
    return invalid_option("Channel size must be a positive integer.", "_LearnableFakeQuantize",
                          text("Got channel_len = ", args.channel_len, "."));
  }
  return std::unique_ptr<LearnableFakeQuantize>(
      new LearnableFakeQuantize(std::move(observer), args));
}

std::optional<std::int64_t> LearnableFakeQuantize::axis() const {
  if (!is_per_channel(spec().qscheme)) return std::nullopt;
  return spec().ch_axis;
}

Result<Tensor> LearnableFakeQuantize::forward(const Tensor& x) {
  OCTAVO_CHECK_OK(check_float(x, kind()));
  if (static_enabled_) {
    OCTAVO_CHECK_OK(observer_->observe(x));
    OCTAVO_TRY(const QParams found, observer_->calculate_qparams());
    scale_ = found.scale;
    zero_point_.assign(found.zero_point.begin(), found.zero_point.end());
  } else {
    for (float& scale : scale_) scale = std::max(scale, eps_);
  }
  input_.reset();
  if (!fake_quant_enabled_) return x;
  if (is_symmetric(spec().qscheme)) std::ranges::fill(zero_point_, 0.0F);
  OCTAVO_TRY(const QParams qparams, calculate_qparams());
  OCTAVO_TRY(FakeQuantized out,
             fake_quantize(x, qparams, axis(), spec().quant_min, spec().quant_max, kind()));
  input_ = x;
  return out.y;
}

Result<QParams> LearnableFakeQuantize::calculate_qparams() const {
  QParams out;
  for (std::size_t c = 0; c < scale_.size(); ++c) {
    out.scale.push_back(std::max(scale_[c], eps_));
    const float nearest = std::nearbyint(zero_point_[c]);
    const float code =
        std::clamp(std::isnan(nearest) ? 0.0F : nearest, static_cast<float>(spec().quant_min),
                   static_cast<float>(spec().quant_max));
    out.zero_point.push_back(
        std::clamp(static_cast<std::int64_t>(code), spec().quant_min, spec().quant_max));
  }
  return out;
}

Result<LearnableGradients> LearnableFakeQuantize::backward(const Tensor& grad_out) const {
  if (!fake_quant_enabled_) {
    return LearnableGradients{grad_out, std::vector<float>(scale_.size()),
                              std::vector<float>(scale_.size())};
  }
  if (!input_) return no_forward(kind());
  const double factor = use_grad_scaling_
                            ? 1.0 / std::sqrt(static_cast<double>(input_->elements()) *
                                              static_cast<double>(spec().quant_max))
                            : 1.0;
  OCTAVO_TRY(LearnableGradients out,
             fake_quantize_learnable_backward(grad_out, *input_, scale_, zero_point_, axis(),
                                              spec().quant_min, spec().quant_max, factor));
  if (!learning_enabled_) {
    std::ranges::fill(out.scale, 0.0F);
    std::ranges::fill(out.zero_point, 0.0F);
  }
  return out;
}

Result<Tensor> LearnableFakeQuantize::gradient(const Tensor& grad_out) const {
  OCTAVO_TRY(LearnableGradients all, backward(grad_out));
  return all.x;
}

std::vector<std::byte> LearnableFakeQuantize::save() const {
  calib::StateWriter out(kind());
  out.put(static_cast<std::uint32_t>(scale_.size()));
  out.put_all(scale_);
  out.put_all(zero_point_);
  return out.take();
}

Status LearnableFakeQuantize::load(std::span<const std::byte> bytes) {
  calib::StateReader in(bytes);
  std::uint32_t channels = 0;
  std::vector<float> scale;
  std::vector<float> zero_point;
  if (!in.name(kind()) || !in.get(channels) || channels != scale_.size() ||
      !in.get_all(scale, channels) || !in.get_all(zero_point, channels) || !in.at_end()) {
    return calib::foreign_state(kind());
  }
  scale_ = std::move(scale);
  zero_point_ = std::move(zero_point);
  input_.reset();
  return ok_status();
}

}  // namespace octavo::nn
