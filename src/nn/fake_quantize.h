// Fake quantization by torch.ao.quantization's names (2.6), with its numbers: the functions, and
// the modules that hold an observer. The arithmetic is kernels/fakequant's.
//
//   OCTAVO_TRY(auto fake, make_fake_quantize({.observer = "MovingAverageMinMaxObserver"}));
//   OCTAVO_TRY(Tensor y, fake->forward(x));               // what quantized codes would stand for
//   OCTAVO_TRY(Tensor grad_x, fake->backward(grad_y));    // straight through, 0 where clamped
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "nn/observer.h"

namespace octavo::nn {

struct FakeQuantized {
  Tensor y;     // float32
  Tensor mask;  // bool: the code was within quant_min..quant_max
};

// torch.fake_quantize_per_tensor_affine: float32 of any shape. INVALID_OPTION, in torch's words,
// for quant_min > quant_max, a zero point outside of them and a scale that is not positive and
// finite.
Result<FakeQuantized> fake_quantize_per_tensor_affine(const Tensor& x, double scale,
                                                      std::int64_t zero_point,
                                                      std::int64_t quant_min,
                                                      std::int64_t quant_max);
// torch.fake_quantize_per_channel_affine: a scale and zero point for each index of `axis` (negative
// from the end).
Result<FakeQuantized> fake_quantize_per_channel_affine(const Tensor& x, const QParams& qparams,
                                                       std::int64_t axis, std::int64_t quant_min,
                                                       std::int64_t quant_max);
// grad_out * mask: the gradient of both. SHAPE_MISMATCH where they differ in shape.
Result<Tensor> fake_quantize_backward(const Tensor& grad_out, const Tensor& mask);

// The gradients of _fake_quantize_learnable_per_tensor_affine (axis empty) and _per_channel_affine:
// of x, and of each scale and zero point, summed over the elements in f64 and rounded once (torch
// sums in f32, in an order of its machine). Zero points are floats that learn; the code taken for
// one is floor(zero_point + 0.5), within quant_min..quant_max.
struct LearnableGradients {
  Tensor x;
  std::vector<float> scale, zero_point;
};
Result<LearnableGradients> fake_quantize_learnable_backward(
    const Tensor& grad_out, const Tensor& x, std::span<const float> scale,
    std::span<const float> zero_point, std::optional<std::int64_t> axis, std::int64_t quant_min,
    std::int64_t quant_max, double grad_factor);

// What FakeQuantize, FusedMovingAvgObsFakeQuantize and FixedQParamsFakeQuantize are made from;
// torch's keyword arguments, those of the observer among them.
struct FakeQuantizeArgs {
  std::string observer = "MovingAverageMinMaxObserver";
  ObserverArgs observer_args = {};
};

// torch.ao.quantization.FakeQuantize: forward() shows the values to the observer, takes its scale
// and zero point, and fake-quantizes; each half can be switched off.
class FakeQuantize : public PostProcess {
 public:
  explicit FakeQuantize(std::unique_ptr<Observer> observer);

  std::string_view kind() const override { return "FakeQuantize"; }
  const QSpec& spec() const override { return observer_->spec(); }
  bool observed() const override { return observer_->observed(); }
  Result<Tensor> forward(const Tensor& x) override;
  // The observer's; what forward() used last is scale() and zero_point().
  Result<QParams> calculate_qparams() const override { return observer_->calculate_qparams(); }
  std::vector<std::byte> save() const override;
  Status load(std::span<const std::byte> bytes) override;

  Result<Tensor> gradient(const Tensor& grad_out) const final { return backward(grad_out); }
  // Gradient of the last forward(). INVALID_STATE before one.
  Result<Tensor> backward(const Tensor& grad_out) const;

  void enable_observer(bool enabled = true) { observer_enabled_ = enabled; }
  void disable_observer() { enable_observer(false); }
  void enable_fake_quant(bool enabled = true) { fake_quant_enabled_ = enabled; }
  void disable_fake_quant() { enable_fake_quant(false); }
  bool observer_enabled() const { return observer_enabled_; }
  bool fake_quant_enabled() const { return fake_quant_enabled_; }

  const std::vector<float>& scale() const { return qparams_.scale; }
  const std::vector<std::int64_t>& zero_point() const { return qparams_.zero_point; }
  Observer& activation_post_process() { return *observer_; }
  const Observer& activation_post_process() const { return *observer_; }

 protected:
  // The scale and zero point that forward() shall use after the observer has seen x.
  virtual Result<QParams> qparams_of_range() const { return calculate_qparams(); }
  // Whether they are found whenever forward() fake-quantizes, or whenever it observes.
  virtual bool follows_range() const { return false; }

  std::unique_ptr<Observer> observer_;

 private:
  QParams qparams_{{1.0F}, {0}};
  Tensor mask_;
  bool observer_enabled_ = true;
  bool fake_quant_enabled_ = true;
};

// torch.ao.quantization.FusedMovingAvgObsFakeQuantize, over a moving average of the range:
// forward() takes scale and zero point as torch.fused_moving_avg_obs_fake_quant does, in f64
// (calib::choose_quantization_params), and so they can differ from calculate_qparams() in the last
// bit or by one code; convert() uses calculate_qparams(). Both is torch's behaviour.
class FusedMovingAvgObsFakeQuantize final : public FakeQuantize {
 public:
  using FakeQuantize::FakeQuantize;
  std::string_view kind() const override { return "FusedMovingAvgObsFakeQuantize"; }

 protected:
  Result<QParams> qparams_of_range() const override;
  bool follows_range() const override { return true; }
};

// INVALID_OPTION for what torch refuses: an unknown observer, or for the fused one another observer
// than MovingAverageMinMaxObserver and MovingAveragePerChannelMinMaxObserver.
Result<std::unique_ptr<FakeQuantize>> make_fake_quantize(const FakeQuantizeArgs& args = {});
Result<std::unique_ptr<FakeQuantize>> make_fused_fake_quantize(const FakeQuantizeArgs& args = {});

// torch.ao.quantization._learnable_fake_quantize._LearnableFakeQuantize (LSQ+, arXiv:2004.09576):
// scale and zero point are parameters. At first they follow the observer (static estimate); with
// enable_param_learning() they stay where the training loop puts them, from the gradients that
// backward() returns.
class LearnableFakeQuantize final : public PostProcess {
 public:
  struct Args {
    FakeQuantizeArgs fake_quantize = {};
    float scale = 1.0F;
    float zero_point = 0.0F;
    int channel_len = 0;            // > 0: per channel, so many scales
    bool use_grad_scaling = false;  // gradients * 1 / sqrt(numel * quant_max)
  };
  static Result<std::unique_ptr<LearnableFakeQuantize>> make(const Args& args);

  std::string_view kind() const override { return "_LearnableFakeQuantize"; }
  const QSpec& spec() const override { return observer_->spec(); }
  bool observed() const override { return true; }
  Result<Tensor> forward(const Tensor& x) override;
  // The parameters, the scale at least eps, the zero point rounded and within the codes.
  Result<QParams> calculate_qparams() const override;
  std::vector<std::byte> save() const override;
  Status load(std::span<const std::byte> bytes) override;

  Result<Tensor> gradient(const Tensor& grad_out) const override;
  // Gradients of the last forward(), those of the parameters 0 unless they learn. INVALID_STATE
  // before one.
  Result<LearnableGradients> backward(const Tensor& grad_out) const;

  void enable_param_learning() { set_modes(false, true, true); }
  void enable_static_estimate() { set_modes(true, true, false); }
  void enable_static_observation() { set_modes(true, false, false); }
  void toggle_observer_update(bool enabled = true) { static_enabled_ = enabled; }
  void toggle_fake_quant(bool enabled = true) { fake_quant_enabled_ = enabled; }
  void toggle_qparam_learning(bool enabled = true) { learning_enabled_ = enabled; }

  std::vector<float>& scale() { return scale_; }
  std::vector<float>& zero_point() { return zero_point_; }
  Observer& activation_post_process() { return *observer_; }

 private:
  explicit LearnableFakeQuantize(std::unique_ptr<Observer> observer, const Args& args);
  void set_modes(bool observe, bool fake_quant, bool learn) {
    static_enabled_ = observe;
    fake_quant_enabled_ = fake_quant;
    learning_enabled_ = learn;
  }
  std::optional<std::int64_t> axis() const;

  std::unique_ptr<Observer> observer_;
  std::vector<float> scale_, zero_point_;
  float eps_;
  bool use_grad_scaling_;
  bool static_enabled_ = true;
  bool fake_quant_enabled_ = true;
  bool learning_enabled_ = false;
  std::optional<Tensor> input_;  // of the last forward
};

}  // namespace octavo::nn
