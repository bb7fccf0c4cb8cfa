#include "nn/functional_float.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "support/buffers.h"

namespace octavo::nn::functional {
namespace {

Tensor random_tensor(const Shape& shape, std::uint32_t seed) {
  return Tensor::of(shape,
                    test::random_floats(static_cast<std::size_t>(shape.elements()), seed, -1, 1));
}
std::vector<float> floats(const Result<Tensor>& tensor) {
  REQUIRE(tensor.ok());
  const auto span = tensor->span<float>();
  return {span.begin(), span.end()};
}

TEST_CASE("conv2d is the sum over its window, for every group, stride, dilation and padding") {
  Conv2dOptions options;
  options.stride = {2, 1};
  options.padding = {1, 2};
  options.dilation = {1, 2};
  options.groups = 2;
  const Tensor x = random_tensor({2, 4, 5, 6}, 1);
  const Tensor weight = random_tensor({6, 2, 3, 2}, 2);
  const Tensor bias = random_tensor({6}, 3);
  const auto y = conv2d(x, weight, bias, options);
  REQUIRE(y.ok());
  REQUIRE(y->shape() == Shape{2, 6, 3, 8});
  const auto at = [](const Tensor& t, std::int64_t a, std::int64_t b, std::int64_t c,
                     std::int64_t d) {
    const Shape& s = t.shape();
    return static_cast<double>(
        t.span<float>()[static_cast<std::size_t>(((a * s[1] + b) * s[2] + c) * s[3] + d)]);
  };
  for (std::int64_t n = 0; n < 2; ++n)
    for (std::int64_t o = 0; o < 6; ++o)
      for (std::int64_t oy = 0; oy < 3; ++oy)
        for (std::int64_t ox = 0; ox < 8; ++ox) {
          double sum = static_cast<double>(bias.span<float>()[static_cast<std::size_t>(o)]);
          for (std::int64_t i = 0; i < 2; ++i)
            for (std::int64_t ky = 0; ky < 3; ++ky)
              for (std::int64_t kx = 0; kx < 2; ++kx) {
                const std::int64_t iy = oy * 2 - 1 + ky;
                const std::int64_t ix = ox - 2 + kx * 2;
                if (iy < 0 || iy >= 5 || ix < 0 || ix >= 6) continue;
                sum += at(x, n, o / 3 * 2 + i, iy, ix) * at(weight, o, i, ky, kx);
              }
          CHECK(at(*y, n, o, oy, ox) == doctest::Approx(sum).epsilon(1e-5).scale(1));
        }
}

TEST_CASE("linear, pools, flatten and elementwise functions by hand") {
  const Tensor x = Tensor::of(Shape{2, 3}, std::vector<float>{1, 2, 3, -1, 0, 4});
  const Tensor weight = Tensor::of(Shape{2, 3}, std::vector<float>{1, 0, -1, 2, 2, 2});
  const Tensor bias = Tensor::of(Shape{2}, std::vector<float>{0.5F, -1});
  CHECK(floats(linear(x, weight, bias)) == std::vector<float>{-1.5F, 11, -4.5F, 5});
  CHECK(floats(linear(x, weight, std::nullopt)) == std::vector<float>{-2, 12, -5, 6});

  const Tensor image =
      Tensor::of(Shape{1, 1, 3, 4}, std::vector<float>{1, -2, 3, 4, 5, 6, -7, 8, 9, 10, 11, -12});
  CHECK(floats(max_pool2d(image, {{2, 2}, {1, 2}, {0, 0}})) == std::vector<float>{6, 8, 10, 11});
  CHECK(floats(max_pool2d(image, {{3, 3}, {2, 2}, {1, 1}})) == std::vector<float>{6, 8, 10, 11});
  // Rows 0..1 and 1..2, columns 0..1 and 2..3.
  CHECK(floats(adaptive_avg_pool2d(image, {2, 2})) == std::vector<float>{2.5F, 2, 7.5F, 0});
  CHECK(floats(adaptive_avg_pool2d(image, {1, 1})) == std::vector<float>{3});
  CHECK(flatten(image)->shape() == Shape{1, 12});
  CHECK(flatten(image, -2)->shape() == Shape{1, 1, 12});

  const Tensor values = Tensor::of(Shape{4}, std::vector<float>{-1, 0, 3, 7});
  const Tensor grads = Tensor::of(Shape{4}, std::vector<float>{1, 2, 3, 4});
  CHECK(floats(relu(values)) == std::vector<float>{0, 0, 3, 7});
  CHECK(floats(relu6(values)) == std::vector<float>{0, 0, 3, 6});
  CHECK(floats(relu_backward(grads, values)) == std::vector<float>{0, 0, 3, 4});
  CHECK(floats(relu6_backward(grads, values)) == std::vector<float>{0, 0, 3, 0});
  CHECK(floats(add(values, grads)) == std::vector<float>{0, 2, 6, 11});
  CHECK(floats(mul(values, grads)) == std::vector<float>{-1, 0, 9, 28});
  CHECK(floats(add_scalar(values, 0.5)) == std::vector<float>{-0.5F, 0.5F, 3.5F, 7.5F});
  CHECK(floats(mul_scalar(values, -2)) == std::vector<float>{2, 0, -6, -14});
  const Tensor column = Tensor::of(Shape{2, 1}, std::vector<float>{8, 9});
  CHECK(floats(cat(std::vector<Tensor>{x, column}, -1)) ==
        std::vector<float>{1, 2, 3, 8, -1, 0, 4, 9});
  CHECK(cat(std::vector<Tensor>{x, column}, 0).error().what ==
        "Sizes of tensors must match except in dimension 0. Expected [2, 3] but got [2, 1]");
  CHECK(cat({}, 0).error().code == Code::kShapeMismatch);
}

TEST_CASE("avg_pool2d: windows written out, with padding, ceil_mode and a divisor") {
  const Tensor image =
      Tensor::of(Shape{1, 1, 3, 4}, std::vector<float>{1, -2, 3, 4, 5, 6, -7, 8, 9, 10, 11, -12});
  CHECK(floats(avg_pool2d(image, {{2, 2}, {1, 2}})) == std::vector<float>{2.5F, 2, 7.5F, 0});
  Pool2d pool{{2, 2}, {2, 2}, {1, 1}};
  CHECK(floats(avg_pool2d(image, pool)) == std::vector<float>{0.25F, 0.25F, 1, 3.5F, 5, -1});
  pool.count_include_pad = false;
  CHECK(floats(avg_pool2d(image, pool)) == std::vector<float>{1, 0.5F, 4, 7, 5, -2});
  pool.divisor_override = 2;
  CHECK(floats(avg_pool2d(image, pool)) == std::vector<float>{0.5F, 0.5F, 2, 7, 10, -2});
  Pool2d up{{2, 2}, {2, 3}};
  up.ceil_mode = true;  // the last row hangs over, and counts what is inside
  CHECK(floats(avg_pool2d(image, up)) == std::vector<float>{2.5F, 6, 9.5F, -12});
  CHECK(floats(max_pool2d(image, up)) == std::vector<float>{6, 8, 10, -12});
  Pool2d wide{{2, 2}, {1, 1}};
  wide.dilation = {2, 3};
  CHECK(floats(max_pool2d(image, wide)) == std::vector<float>{9});
  pool.divisor_override = 0;
  CHECK(avg_pool2d(image, pool).error().code == Code::kInvalidOption);
}

TEST_CASE("elu, sigmoid and softmax follow their formulas to the last place or so") {
  const std::vector<float> numbers{-90, -7, -0.25F, -0.0F, 0.5F, 2, 6.5F, 90};
  const Tensor x = Tensor::of(Shape{2, 4}, numbers);
  const std::vector<float> elu_y = floats(elu(x, 0.5));
  const std::vector<float> sigmoid_y = floats(sigmoid(x));
  const std::vector<float> softmax_y = floats(softmax(x, -1));
  const std::vector<float> across = floats(softmax(x, 0));
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const auto v = static_cast<double>(numbers[i]);
    CHECK(elu_y[i] == static_cast<float>(v > 0 ? v : 0.5 * std::expm1(v)));
    CHECK(sigmoid_y[i] == static_cast<float>(1 / (1 + std::exp(-v))));
    double sum = 0;
    for (std::size_t k = i / 4 * 4; k < i / 4 * 4 + 4; ++k)
      sum += std::exp(static_cast<double>(numbers[k]) - v);
    CHECK(static_cast<double>(softmax_y[i]) == doctest::Approx(1 / sum).epsilon(1e-6));
    const auto other = static_cast<double>(numbers[(i + 4) % 8]);
    CHECK(static_cast<double>(across[i]) ==
          doctest::Approx(1 / (1 + std::exp(other - v))).epsilon(1e-6));
  }
  CHECK(softmax(x, 2).error().code == Code::kInvalidOption);
}

TEST_CASE("batch_statistics and batch_norm: mean 0 and variance 1 come out") {
  const Tensor x = random_tensor({3, 2, 4, 5}, 10);
  const auto batch = batch_statistics(x);
  REQUIRE(batch.ok());
  CHECK(batch->count == 60);
  const Tensor ones = Tensor::of(Shape{2}, std::vector<float>{1, 1});
  const Tensor zeros = Tensor::of(Shape{2}, std::vector<float>{0, 0});
  const auto y = batch_norm(x, batch->mean, batch->var, ones, zeros, 0);
  const auto again = batch_statistics(*y);
  for (std::size_t c = 0; c < 2; ++c) {
    CHECK(again->mean.span<float>()[c] == doctest::Approx(0).scale(1).epsilon(1e-5));
    CHECK(again->var.span<float>()[c] == doctest::Approx(1).epsilon(1e-5));
  }
  CHECK(batch_statistics(random_tensor({1, 2, 1, 1}, 1)).error().what ==
        "Expected more than 1 value per channel when training, got input size [1, 2, 1, 1]");
}

TEST_CASE("float functions: shapes that do not fit are said in torch's words") {
  const Tensor x = random_tensor({1, 4, 5, 5}, 20);
  const Tensor weight = random_tensor({6, 3, 3, 3}, 21);
  CHECK(conv2d(x, weight, std::nullopt, {}).error().what ==
        "Given groups=1, weight of size [6, 3, 3, 3], expected input[1, 4, 5, 5] to have 3 "
        "channels, but got 4 channels instead");
  CHECK(conv2d(random_tensor({4, 5}, 1), weight, std::nullopt, {}).error().what ==
        "expected 4D input (got 2D input)");
  CHECK(conv2d(random_tensor({1, 3, 2, 2}, 1), weight, std::nullopt, {}).error().code ==
        Code::kShapeMismatch);
  CHECK(conv2d(random_tensor({1, 3, 5, 5}, 1), weight, random_tensor({5}, 1), {}).error().what ==
        "bias should contain 6 elements not [5]");
  Conv2dOptions still;
  still.stride = {0, 1};
  CHECK(conv2d(random_tensor({1, 3, 5, 5}, 1), weight, std::nullopt, still).error().code ==
        Code::kInvalidOption);
  Conv2dOptions vast;
  vast.padding = {1 << 20, 1 << 20};
  CHECK(conv2d(random_tensor({1, 3, 5, 5}, 1), weight, std::nullopt, vast).error().code ==
        Code::kLimitExceeded);
  CHECK(linear(x, random_tensor({2, 4}, 1), std::nullopt).error().code == Code::kShapeMismatch);
  CHECK(add(x, weight).error().code == Code::kShapeMismatch);
  CHECK(batch_norm(x, random_tensor({3}, 1), random_tensor({4}, 1), random_tensor({4}, 1),
                   random_tensor({4}, 1), 1e-5)
            .error()
            .code == Code::kShapeMismatch);
  CHECK(max_pool2d(x, {{2, 2}, {0, 0}, {2, 2}}).error().code == Code::kInvalidOption);
  CHECK(adaptive_avg_pool2d(x, {0, 1}).error().code == Code::kInvalidOption);
  CHECK(flatten(x, 4).error().code == Code::kShapeMismatch);
  const Tensor none = random_tensor({0, 4, 5, 5}, 22);
  CHECK(conv2d(none, random_tensor({6, 4, 3, 3}, 1), std::nullopt, {})->shape() ==
        Shape{0, 6, 3, 3});
}

}  // namespace
}  // namespace octavo::nn::functional
