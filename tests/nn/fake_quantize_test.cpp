#include "nn/fake_quantize.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

namespace octavo::nn {
namespace {

template <class T>
std::vector<T> values_of(const Tensor& tensor) {
  const auto span = tensor.span<T>();
  return {span.begin(), span.end()};
}

Tensor tensor(const std::vector<float>& values) {
  return Tensor::of(Shape{static_cast<std::int64_t>(values.size())}, values);
}

template <class T>
std::unique_ptr<T> take(Result<std::unique_ptr<T>> made) {
  REQUIRE(made.ok());
  return std::move(made).value();
}

TEST_CASE("FakeQuantize observes, then fake-quantizes with what was observed") {
  const auto fake = take(make_fake_quantize({.observer = "MinMaxObserver"}));
  const Tensor x = tensor({-1, 0.3F, 2});
  const Tensor y = *fake->forward(x);
  const QParams qparams = *fake->calculate_qparams();
  CHECK(fake->scale() == qparams.scale);
  CHECK(fake->zero_point() == qparams.zero_point);
  const auto expected = fake_quantize_per_tensor_affine(x, static_cast<double>(qparams.scale[0]),
                                                        qparams.zero_point[0], 0, 255);
  CHECK(values_of<float>(y) == values_of<float>(expected->y));

  fake->disable_observer();
  const Tensor clamped = *fake->forward(tensor({5, 0, -5}));
  CHECK(fake->scale() == qparams.scale);
  CHECK(values_of<float>(*fake->backward(tensor({1, 2, 3}))) == std::vector<float>{0, 2, 0});
  CHECK(values_of<float>(clamped)[0] < 2.01F);

  fake->disable_fake_quant();
  fake->enable_observer();
  CHECK(values_of<float>(*fake->forward(tensor({5, 0, -5}))) == std::vector<float>{5, 0, -5});
  CHECK(fake->scale()[0] == 10.0F / 255.0F);
  CHECK(values_of<float>(*fake->backward(tensor({1, 2, 3}))) == std::vector<float>{1, 2, 3});
}

TEST_CASE("FakeQuantize with reduce_range clamps to the reduced codes") {
  const auto fake = take(make_fake_quantize(
      {"MinMaxObserver", {.reduce_range = true, .quant_min = 0, .quant_max = 255}}));
  CHECK(fake->spec().quant_max == 127);
  REQUIRE(fake->forward(tensor({0, 127})).ok());
  CHECK(fake->scale()[0] == 1.0F);
  fake->disable_observer();
  CHECK(values_of<float>(*fake->forward(tensor({200}))) == std::vector<float>{127});
}

TEST_CASE("FakeQuantize per channel") {
  const auto fake = take(make_fake_quantize(
      {"PerChannelMinMaxObserver",
       {.dtype = ScalarType::kQint8, .qscheme = QScheme::kPerChannelSymmetric, .ch_axis = 0}}));
  const Tensor weight = Tensor::of(Shape{2, 2}, std::vector<float>{-1, 0.1F, 100, 3});
  const Tensor y = *fake->forward(weight);
  CHECK(fake->scale() == std::vector<float>{1.0F / 127.5F, 100.0F / 127.5F});
  CHECK(fake->zero_point() == std::vector<std::int64_t>{0, 0});
  CHECK(values_of<float>(y)[1] == 13.0F * (1.0F / 127.5F));
}

// Range [-1, 2]: f64 gives 3 / 255 rounded to f32 and 255 - 170 = 85; a lower end that is rarely
// seen moves by a hundredth.
TEST_CASE("FusedMovingAvgObsFakeQuantize: the moving average, and torch's other formula") {
  const auto fake = take(make_fused_fake_quantize());
  REQUIRE(fake->forward(tensor({-1, 2})).ok());
  CHECK(fake->scale()[0] == static_cast<float>(3.0 / 255.0));
  CHECK(fake->zero_point()[0] == 85);
  REQUIRE(fake->forward(tensor({-2, 2})).ok());
  CHECK(fake->activation_post_process().min_val()[0] == -1.0F + 0.01F * -1.0F);
  // The observer is off: the scale stays that of the range.
  fake->disable_observer();
  REQUIRE(fake->forward(tensor({-200, 2})).ok());
  CHECK(fake->activation_post_process().min_val()[0] == -1.0F + 0.01F * -1.0F);

  // A range of zeros: the scale 0.1 of ChooseQuantizationParams, where an observer has eps.
  const auto zeros = take(make_fused_fake_quantize());
  REQUIRE(zeros->forward(tensor({0, 0})).ok());
  CHECK(zeros->scale()[0] == 0.1F);
  CHECK(zeros->calculate_qparams()->scale[0] == std::numeric_limits<float>::epsilon());
  // Small scales end at 6.1e-5.
  const auto tiny = take(make_fused_fake_quantize());
  REQUIRE(tiny->forward(tensor({-1e-4F, 1e-4F})).ok());
  CHECK(tiny->scale()[0] == 6.1e-5F);
  CHECK(tiny->zero_point()[0] == 128);

  // Symmetric int8 is centered between -128 and 127, rint(-0.5) = 0, with steps of max / 127.
  const auto weight = take(make_fused_fake_quantize({"MovingAveragePerChannelMinMaxObserver",
                                                     {.dtype = ScalarType::kQint8,
                                                      .qscheme = QScheme::kPerChannelSymmetric,
                                                      .quant_min = -128,
                                                      .quant_max = 127}}));
  REQUIRE(weight->forward(Tensor::of(Shape{2, 2}, std::vector<float>{-1, 1, -0.5F, 3})).ok());
  CHECK(weight->scale()[0] == doctest::Approx(1.0 / 127.0).epsilon(1e-6));
  CHECK(weight->scale()[1] == doctest::Approx(3.0 / 127.0).epsilon(1e-6));
  CHECK(weight->zero_point() == std::vector<std::int64_t>{0, 0});
  CHECK(weight->calculate_qparams()->scale[1] == 3.0F / 127.5F);
}

TEST_CASE("fake quantization: a saved state goes on") {
  const auto a = take(make_fused_fake_quantize());
  REQUIRE(a->forward(tensor({-1, 2})).ok());
  a->disable_observer();
  const std::vector<std::byte> state = a->save();
  const auto b = take(make_fused_fake_quantize());
  REQUIRE(b->load(state).ok());
  CHECK_FALSE(b->observer_enabled());
  CHECK(values_of<float>(*b->forward(tensor({0.7F, 9}))) ==
        values_of<float>(*a->forward(tensor({0.7F, 9}))));
  for (std::size_t size = 0; size < state.size(); ++size)
    CHECK_FALSE(b->load(std::span(state).first(size)).ok());
  CHECK_FALSE(take(make_fake_quantize())->load(state).ok());
}

TEST_CASE("LearnableFakeQuantize: static estimate, then learning") {
  const auto fake = take(LearnableFakeQuantize::make({}));
  const Tensor x = tensor({-1, 0.3F, 2});
  REQUIRE(fake->forward(x).ok());
  CHECK(fake->scale()[0] == 3.0F / 255.0F);
  CHECK(fake->zero_point()[0] == 85.0F);
  CHECK(fake->backward(tensor({1, 1, 1}))->scale[0] == 0.0F);

  fake->enable_param_learning();
  REQUIRE(fake->forward(tensor({-5, 0.31F, 5})).ok());
  CHECK(fake->scale()[0] == 3.0F / 255.0F);  // no longer the observer's
  const LearnableGradients grads = *fake->backward(tensor({1, 1, 1}));
  CHECK(values_of<float>(grads.x) == std::vector<float>{0, 1, 0});
  CHECK(grads.zero_point[0] == -2.0F * (3.0F / 255.0F));
  // -85 and 170 from the ends, and the rounding error of 0.31 in steps
  const float error = (26.0F * (3.0F / 255.0F) - 0.31F) * (1.0F / (3.0F / 255.0F));
  CHECK(grads.scale[0] == static_cast<float>(-85.0 + 170.0 + static_cast<double>(error)));

  fake->scale()[0] = -1.0F;  // a step too far
  REQUIRE(fake->forward(x).ok());
  CHECK(fake->scale()[0] == std::numeric_limits<float>::epsilon());

  LearnableFakeQuantize::Args scaled;
  scaled.use_grad_scaling = true;
  scaled.scale = 3.0F / 255.0F;
  scaled.zero_point = 85.0F;
  const auto with_factor = take(LearnableFakeQuantize::make(scaled));
  with_factor->enable_param_learning();
  REQUIRE(with_factor->forward(tensor({-5, 0.31F, 5})).ok());
  CHECK(with_factor->backward(tensor({1, 1, 1}))->scale[0] ==
        doctest::Approx(grads.scale[0] / std::sqrt(3.0 * 255.0)).epsilon(1e-6));

  const auto restored = take(LearnableFakeQuantize::make({}));
  REQUIRE(restored->load(with_factor->save()).ok());
  CHECK(restored->zero_point()[0] == 85.0F);
}

TEST_CASE("LearnableFakeQuantize per channel") {
  LearnableFakeQuantize::Args args;
  args.fake_quantize = {"PerChannelMinMaxObserver", {.dtype = ScalarType::kQint8}};
  CHECK(LearnableFakeQuantize::make(args).error().what ==
        "Channel size must be a positive integer.");
  args.channel_len = 2;
  args.scale = 0.5F;
  const auto fake = take(LearnableFakeQuantize::make(args));
  fake->enable_param_learning();
  fake->scale()[1] = 2.0F;
  const Tensor x = Tensor::of(Shape{2, 2}, std::vector<float>{1, 100, 1000, -1000});
  CHECK(values_of<float>(*fake->forward(x)) == std::vector<float>{1, 63.5F, 254, -256});
  const LearnableGradients grads =
      *fake->backward(Tensor::of(Shape{2, 2}, std::vector<float>{1, 1, 1, 1}));
  CHECK(grads.scale == std::vector<float>{127, 127 - 128});
  CHECK(grads.zero_point == std::vector<float>{-0.5F, -4});
}

TEST_CASE("fake quantization: errors in torch's words") {
  const Tensor x = tensor({1, 2});
  CHECK(fake_quantize_per_tensor_affine(x, 1, 0, 5, 4).error().what ==
        "`quant_min` should be less than or equal to `quant_max`.");
  CHECK(fake_quantize_per_tensor_affine(x, 1, 300, 0, 255).error().what ==
        "`zero_point` must be between `quant_min` and `quant_max`.");
  CHECK(fake_quantize_per_tensor_affine(x, 0, 0, 0, 255).error().what ==
        "scale = 0 is not a positive finite float32.");
  CHECK(fake_quantize_per_tensor_affine(x, 1, 0, -(std::int64_t{1} << 40), 0).error().code ==
        Code::kInvalidOption);
  CHECK(fake_quantize_per_channel_affine(x, {{1, 1, 1}, {0, 0, 0}}, 0, 0, 255).error().what ==
        "dimensions of scale (3) and zero-point (3) are not consistent with input tensor: 2 "
        "expected.");
  CHECK(fake_quantize_per_channel_affine(x, {{1, 1}, {0, 0}}, 1, 0, 255).error().what ==
        "`axis` must be between 0 and number of dimensions of input");
  CHECK(fake_quantize_backward(tensor({1}), fake_quantize_per_tensor_affine(x, 1, 0, 0, 9)->mask)
            .error()
            .code == Code::kShapeMismatch);
  CHECK(fake_quantize_backward(x, x).error().code == Code::kUnsupportedDtype);
  CHECK(make_fused_fake_quantize({.observer = "HistogramObserver"}).error().what ==
        "Fused observer+fake_quant module only works with MovingAverageMinMaxObserver");
  CHECK(take(make_fake_quantize())->backward(x).error().code == Code::kInvalidState);
  CHECK(fake_quantize_learnable_backward(x, x, std::vector<float>{1}, std::vector<float>{0},
                                         std::nullopt, 1, 4, 1)
            .error()
            .code == Code::kInvalidOption);
}

}  // namespace
}  // namespace octavo::nn
