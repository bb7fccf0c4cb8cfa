#include "nn/functional.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "nn/dynamic_quantize.h"
#include "nn/fuse.h"
#include "nn/quantized/activation.h"
#include "support/buffers.h"
#include "support/take.h"

namespace octavo::nn::functional {
namespace {

using test::take;

template <class Value>
bool mentions(const Result<Value>& result, std::string_view part) {
  return !result.ok() && result.error().message().find(part) != std::string::npos;
}

QTensor codes(Shape shape, std::vector<std::uint8_t> values, double scale = 0.5,
              std::int64_t zero_point = 10) {
  return take(make_quantized_tensor(Tensor::of(std::move(shape), values),
                                    QGrid::per_tensor(scale, zero_point)));
}
QTensor random(const Shape& shape, double scale = 0.05, std::int64_t zero_point = 100,
               std::uint32_t seed = 1) {
  return codes(shape,
               test::random_codes<std::uint8_t>(static_cast<std::size_t>(shape.elements()), seed),
               scale, zero_point);
}
std::vector<std::int64_t> list(const QTensor& tensor) { return to_int64s(tensor.int_repr()); }
QTensor last(const QTensor& x) { return x.contiguous(MemoryFormat::kChannelsLast); }

TEST_CASE("functional: add_scalar and mul_scalar move the grid and keep the numbers") {
  const QTensor x = codes({4}, {0, 10, 100, 255});
  for (const double c : {0.0, 1.0, -3.5, 4.9, 20.0, -100.0, 1000.0, -1000.0, 0.2}) {
    CAPTURE(c);
    const QTensor y = take(add_scalar(x, c));
    for (std::size_t i = 0; i < 4; ++i) {
      const double real =
          static_cast<double>(x.dequantize().span<float>()[i]) + 0.5 * std::nearbyint(c / 0.5);
      CHECK(std::fabs(static_cast<double>(y.dequantize().span<float>()[i]) - real) <=
            *y.q_scale() / 2 * 1.001);
    }
    CHECK(*y.q_zero_point() >= 0);
    CHECK(*y.q_zero_point() <= 255);
  }
  const QTensor moved = take(add_scalar(x, 2.0));  // room: codes stay
  CHECK(list(moved) == list(x));
  CHECK(*moved.q_zero_point() == 6);
  const QTensor stretched = take(add_scalar(x, 20.0));  // 10 - 40 < 0: from 0 to 285 steps
  CHECK(*stretched.q_zero_point() == 0);
  CHECK(*stretched.q_scale() == 285.0 / 255.0 * 0.5);
  CHECK(list(stretched) == std::vector<std::int64_t>{27, 36, 116, 255});

  CHECK(*take(mul_scalar(x, 3.0)).q_scale() == 1.5);
  const QTensor mirrored = take(mul_scalar(x, -2.0));
  CHECK(list(mirrored) == std::vector<std::int64_t>{255, 245, 155, 0});
  CHECK(*mirrored.q_zero_point() == 245);
  CHECK(mirrored.dequantize().span<float>()[3] == -245.0F);
  const QTensor zero = take(mul_scalar(x, 0.0));
  CHECK(list(zero) == std::vector<std::int64_t>{0, 0, 0, 0});
  CHECK(*zero.q_scale() == 1.0);
  CHECK(mentions(add_scalar(x, std::nan("")), "The number is nan"));
  CHECK(mentions(add_scalar(x, 1e300), "steps of scale"));
  CHECK(mentions(mul_scalar(x, 1e300), "is not a positive float32 number"));
}

TEST_CASE("functional: operands broadcast, in any memory format") {
  const QTensor a = random({2, 3, 4, 5});
  const QTensor b = random({3, 1, 5}, 0.02, 7, 2);
  std::vector<std::uint8_t> spread;
  const auto small = list(b);
  for (std::size_t i = 0; i < 120; ++i)
    spread.push_back(static_cast<std::uint8_t>(small[i / 20 % 3 * 5 + i % 5]));
  const QTensor full = codes({2, 3, 4, 5}, spread, 0.02, 7);
  for (const auto f : {&add, &mul, &add_relu, &mul_relu}) {
    const auto want = list(take(f(a, full, 0.1, 50)));
    CHECK(list(take(f(a, b, 0.1, 50))) == want);
    const QTensor y = take(f(last(a), b, 0.1, 50));
    CHECK(list(y) == want);
    CHECK(y.memory_format() == MemoryFormat::kChannelsLast);
    CHECK(list(take(f(last(a), full, 0.1, 50))) == want);
  }
  CHECK(take(add(b, a, 0.1, 50)).shape() == Shape{2, 3, 4, 5});
  CHECK(mentions(add(a, random({3, 2, 5}), 1, 0), "cannot be broadcast"));
  const QTensor s8 = take(
      make_quantized_tensor(Tensor::make(DType::kInt8, {2, 3, 4, 5}), QGrid::per_tensor(1, 0)));
  CHECK(mentions(add(a, s8, 1, 0), "same scalar type"));
  CHECK(mentions(add(a, a, 1, 256), "above upper bound"));
  const QTensor none = random({0, 3});
  CHECK(take(add(none, none, 1, 0)).numel() == 0);
}

TEST_CASE("functional: cat requantizes and lays side by side, along any axis") {
  const QTensor a = codes({1, 2, 2}, {10, 12, 14, 16});
  const QTensor b = codes({1, 2, 1}, {20, 30}, 1.0, 20);
  const QTensor parts[] = {a, b};
  // 0, 1, 2, 3 and 0, 10 on the grid (1, 5).
  CHECK(list(take(cat(parts, 2, 1.0, 5))) == std::vector<std::int64_t>{5, 6, 5, 7, 8, 15});
  CHECK(list(take(cat(parts, -1, 1.0, 5))) == list(take(cat(parts, 2, 1.0, 5))));
  CHECK(mentions(cat(parts, 1, 1.0, 5), "Sizes of tensors must match except in dimension 1"));
  CHECK(mentions(cat(parts, 3, 1.0, 5), "out of range"));
  CHECK(mentions(cat({}, 0, 1.0, 5), "non-empty list"));
}

TEST_CASE("functional: softmax sums to one within its grid") {
  const QTensor x = random({3, 10});
  const QTensor y = take(softmax(x, -1, 1.0 / 256, 0));
  const Tensor reals = y.dequantize();
  for (std::size_t row = 0; row < 3; ++row) {
    float sum = 0;
    for (std::size_t i = 0; i < 10; ++i) sum += reals.span<float>()[row * 10 + i];
    CHECK(std::fabs(sum - 1) <= 10 * 0.5F / 256 + 1e-6F);
  }
  CHECK(mentions(softmax(x, 2, 1, 0), "out of range"));
}

TEST_CASE("functional: pools agree with windows written out") {
  const QTensor x = random({1, 2, 5, 6});
  Pool2d pool{{3, 2}, {2, 1}, {1, 1}};
  const auto in = list(x);
  const QTensor most = take(max_pool2d(x, pool));
  const QTensor mean = take(avg_pool2d(last(x), pool));
  REQUIRE(most.shape() == Shape{1, 2, 3, 7});
  for (std::int64_t c = 0; c < 2; ++c) {
    for (std::int64_t y = 0; y < 3; ++y) {
      for (std::int64_t z = 0; z < 7; ++z) {
        std::int64_t largest = 0;
        double sum = 0;
        for (std::int64_t i = std::max<std::int64_t>(0, 2 * y - 1);
             i < std::min<std::int64_t>(5, 2 * y + 2); ++i) {
          for (std::int64_t j = std::max<std::int64_t>(0, z - 1);
               j < std::min<std::int64_t>(6, z + 1); ++j) {
            const std::int64_t q = in[static_cast<std::size_t>((c * 5 + i) * 6 + j)];
            largest = std::max(largest, q);
            sum += static_cast<double>(q - 100);
          }
        }
        const auto at = static_cast<std::size_t>((c * 3 + y) * 7 + z);
        CHECK(list(most)[at] == largest);
        CHECK(std::fabs(static_cast<double>(list(mean)[at] - 100) - sum / 6) <= 0.5001);
      }
    }
  }
  CHECK(list(take(adaptive_avg_pool2d(x, {5, 6}))) == in);
  CHECK(list(take(mean_hw(x, true))) == list(take(adaptive_avg_pool2d(x, {1, 1}))));
  const QTensor line = codes({1, 1, 4}, {3, 9, 4, 200});
  CHECK(list(take(max_pool1d(line, {{1, 2}, {0, 0}}))) == std::vector<std::int64_t>{9, 200});
  // One image or line without its batch.
  const QTensor image = random({2, 5, 6});
  REQUIRE(list(image) == in);
  for (const MemoryFormat format : {MemoryFormat::kContiguous, MemoryFormat::kChannelsLast}) {
    const QTensor alone = image.contiguous(format);
    const QTensor most_alone = take(max_pool2d(alone, pool));
    CHECK(most_alone.shape() == Shape{2, 3, 7});
    CHECK(list(most_alone) == list(most));
    CHECK(list(take(avg_pool2d(alone, pool))) == list(take(avg_pool2d(x, pool))));
    CHECK(list(take(adaptive_avg_pool2d(alone, {5, 6}))) == in);
  }
  const QTensor line_alone = take(max_pool1d(codes({1, 4}, {3, 9, 4, 200}), {{1, 2}, {0, 0}}));
  CHECK(line_alone.shape() == Shape{1, 2});
  CHECK(list(line_alone) == std::vector<std::int64_t>{9, 200});
  // A tie on an odd zero point: torch has [C, H, W] as contiguous even where it has one channel.
  const QTensor tie = codes({1, 1, 2}, {6, 7}, 1.0, 5);
  CHECK(list(take(avg_pool2d(tie, {{1, 2}}))) == std::vector<std::int64_t>{6});
  Pool2d odd = pool;
  odd.padding = {2, 1};
  CHECK(mentions(max_pool2d(x, odd), "at most half of effective kernel size"));
  CHECK(mentions(avg_pool2d(codes({1, 4}, {3, 9, 4, 200}), pool), "of rank 4"));
  odd = pool;
  odd.divisor_override = 0;
  CHECK(mentions(avg_pool2d(x, odd), "divisor must be not zero"));
  CHECK(mentions(adaptive_avg_pool2d(x, {0, 1}), "output_size is 0 x 1"));
  CHECK(mentions(mean_hw(codes({1, 1, 0, 3}, {})), "non-zero spatial"));
  CHECK(take(max_pool2d(codes({0, 1, 3, 3}, {}), Pool2d{{2, 2}})).shape() == Shape{0, 1, 1, 1});
}

TEST_CASE(
    "functional: pools round a tensor of one channel or one pixel as channels_last, as torch") {
  const Pool2d pool{{2, 2}, {2, 2}};
  // Sums of a half with an odd zero point: the two forms of torch differ on each.
  const QTensor one = codes({1, 1, 2, 2}, {3, 4, 4, 3}, 0.5, 1);
  CHECK(list(take(avg_pool2d(one, pool))) == list(take(avg_pool2d(last(one), pool))));
  CHECK(list(take(avg_pool2d(codes({1, 2, 2, 2}, {3, 4, 4, 3, 3, 4, 4, 3}, 0.5, 1), pool))) !=
        list(take(avg_pool2d(last(codes({1, 2, 2, 2}, {3, 4, 4, 3, 3, 4, 4, 3}, 0.5, 1)), pool))));
  const QTensor large = random({1, 1, 14, 14});
  CHECK(list(take(adaptive_avg_pool2d(large, {3, 3}))) ==
        list(take(adaptive_avg_pool2d(last(large), {3, 3}))));
}

TEST_CASE("functional: a bound of clamp that is infinite is none") {
  const float all = std::numeric_limits<float>::infinity();
  const QTensor x = codes({4}, {0, 9, 11, 255});
  CHECK(list(take(clamp(x, 0, all))) == std::vector<std::int64_t>{10, 10, 11, 255});
  CHECK(list(take(clamp(x, -all, 0))) == std::vector<std::int64_t>{0, 9, 10, 10});
}

TEST_CASE("functional: interpolation repeats pixels, or blends them") {
  const QTensor x = codes({1, 1, 2, 2}, {10, 20, 30, 40});
  CHECK(list(take(interpolate(x, {4, 2}, InterpolateMode::kNearest))) ==
        std::vector<std::int64_t>{10, 20, 10, 20, 30, 40, 30, 40});
  CHECK(list(take(interpolate(x, {3, 3}, InterpolateMode::kBilinear, true))) ==
        std::vector<std::int64_t>{10, 15, 20, 20, 25, 30, 30, 35, 40});
  CHECK(list(take(interpolate(last(x), {1, 1}, InterpolateMode::kBilinear))) ==
        std::vector<std::int64_t>{25});
  CHECK(mentions(interpolate(x, {0, 1}, InterpolateMode::kNearest), "size is 0 x 1"));
  CHECK(mentions(interpolate(x, {1, 1}, InterpolateMode::kNearest, true), "align_corners"));
}

TEST_CASE("functional: activations at the ends of float32 saturate and never trap") {
  std::vector<std::uint8_t> all(256);
  for (std::size_t i = 0; i < 256; ++i) all[i] = static_cast<std::uint8_t>(i);
  for (const double scale : {1e-38, 1.0, 1e38}) {
    for (const std::int64_t zero : {0, 255}) {
      const QTensor x = codes({256}, all, scale, zero);
      for (const double out : {1e-38, 1e38}) {
        CHECK(hardswish(x, out, 128).ok());
        CHECK(elu(x, 1.0, out, 128).ok());
        CHECK(leaky_relu(x, 0.1, out, 128).ok());
        CHECK(sigmoid(x, out, 128).ok());
        CHECK(softmax(x, 0, out, 128).ok());
      }
      CHECK(list(take(relu(x)))[0] == zero);
      CHECK(take(relu6(x)).numel() == 256);
      CHECK(hardsigmoid(x).ok());
      CHECK(*take(tanh(x)).q_zero_point() == 128);
      CHECK(clamp(x, -1, 1).ok());
    }
  }
  CHECK(mentions(clamp(codes({1}, {3}), 1, -1), "is not below"));
  const QTensor wide =
      take(make_quantized_tensor(Tensor::make(DType::kInt32, {3}), QGrid::per_tensor(1, 0)));
  CHECK(mentions(relu(wide), "got torch.qint32"));
  CHECK(mentions(tanh(wide), "got torch.qint32"));
}

TEST_CASE("functional: flatten is row-major whatever the memory format") {
  const QTensor x = random({2, 3, 2, 2});
  CHECK(take(flatten(last(x))).shape() == Shape{2, 12});
  CHECK(list(take(flatten(last(x)))) == list(x));
  CHECK(take(flatten(x, 0)).shape() == Shape{24});
  CHECK(mentions(flatten(x, 4), "out of range"));
}

TEST_CASE("modules without weights keep scale and zero point in their state") {
  quantized::QFunctional f(0.5, 3);
  take(f.load_state_dict(quantized::Sigmoid(0.25, 7).state_dict()));
  CHECK(f.scale() == 0.25);
  CHECK(f.zero_point() == 7);
  CHECK(mentions(f.load_state_dict({{"scale", Tensor::scalar(1.0)}}), "\"zero_point\""));
  CHECK(mentions(f.load_state_dict({{"scale", Tensor::scalar(-1.0)},
                                    {"zero_point", Tensor::scalar<std::int64_t>(0)}}),
                 "scale -1"));
  const quantized::Quantize quantize(0.5, 10, ScalarType::kQuint8);
  const QTensor q = take(quantize.forward(Tensor::of<float>({2}, {0.0F, 1.0F})));
  CHECK(list(q) == std::vector<std::int64_t>{10, 12});
  CHECK(quantized::DeQuantize().forward(q).span<float>()[1] == 1.0F);
  CHECK(list(take(f.add(q, q))) == list(take(add(q, q, 0.25, 7))));
}

TEST_CASE("fuse_conv_bn_weights: a BatchNorm behind a layer is the layer with other numbers") {
  const Tensor w = Tensor::of<float>({2, 1, 1, 2}, {1, 2, 3, 4});
  const BatchNormToFuse bn{Tensor::of<float>({2}, {1, 2}), Tensor::of<float>({2}, {0.25F, 4}),
                           Tensor::of<float>({2}, {2, 3}), Tensor::of<float>({2}, {5, 6}), 0};
  const FusedWeights fused = take(fuse_conv_bn_weights(w, Tensor::of<float>({2}, {3, 3}), bn));
  CHECK(to_floats(fused.weight) == std::vector<float>{4, 8, 4.5F, 6});
  CHECK(to_floats(fused.bias) == std::vector<float>{13, 7.5F});
  const FusedWeights turned = take(fuse_conv_bn_weights(w.reshaped({1, 2, 1, 2}), {}, bn, true));
  CHECK(to_floats(turned.weight) == std::vector<float>{4, 8, 4.5F, 6});
  CHECK(mentions(fuse_conv_bn_weights(w.reshaped({4, 1, 1, 1}), {}, bn), "4"));
}

TEST_CASE("dynamic_quantize_linear: the range of the tensor, zero included") {
  const QTensor q = take(dynamic_quantize_linear(Tensor::of<float>({3}, {-1.0F, 0.0F, 1.55F})));
  CHECK(*q.q_zero_point() == 100);
  CHECK(list(q) == std::vector<std::int64_t>{0, 100, 255});
  CHECK(*take(dynamic_quantize_linear(Tensor::make(DType::kFloat32, {3}))).q_scale() == 1.0);
  CHECK(take(dynamic_quantize_linear(Tensor::of<float>({2}, {-3e38F, 3e38F}))).numel() == 2);
  CHECK(take(dynamic_quantize_linear(Tensor::of<float>({1}, {1e-44F}))).numel() == 1);
  CHECK(mentions(
      dynamic_quantize_linear(Tensor::of<float>({1}, {std::numeric_limits<float>::infinity()})),
      "inf"));
}

}  // namespace
}  // namespace octavo::nn::functional
