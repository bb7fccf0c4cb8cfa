// Conv1d, Conv2d, ConvTranspose2d and Linear against sums written out.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "nn/quantized/conv.h"
#include "nn/quantized/linear.h"
#include "support/buffers.h"
#include "support/take.h"

namespace octavo::nn::quantized {
namespace {

using test::take;

constexpr double kScaleX = 0.05, kScaleY = 0.4;
constexpr std::int64_t kZeroX = 3, kZeroY = 30;

template <class Value>
bool mentions(const Result<Value>& result, std::string_view part) {
  return !result.ok() && result.error().message().find(part) != std::string::npos;
}

QTensor random_input(const Shape& shape, ScalarType type) {
  const auto n = static_cast<std::size_t>(shape.elements());
  const Tensor codes = type == ScalarType::kQint8
                           ? Tensor::of(shape, test::random_codes<std::int8_t>(n, 1))
                           : Tensor::of(shape, test::random_codes<std::uint8_t>(n, 1));
  return take(make_quantized_tensor(codes, QGrid::per_tensor(kScaleX, kZeroX)));
}

QTensor random_weight(const Shape& shape, bool per_channel, int axis = 0) {
  const Tensor codes = Tensor::of(
      shape, test::random_codes<std::int8_t>(static_cast<std::size_t>(shape.elements()), 2));
  if (!per_channel) return take(make_quantized_tensor(codes, QGrid::per_tensor(0.01, 0)));
  const auto channels = static_cast<std::size_t>(shape[axis]);
  std::vector<double> scales;
  for (const float scale : test::random_floats(channels, 3, 0.002F, 0.02F)) scales.push_back(scale);
  return take(make_quantized_tensor(
      codes, QGrid::per_channel(scales, std::vector<std::int64_t>(channels), axis)));
}

Tensor random_bias(std::int64_t channels) {
  return Tensor::of<float>({channels},
                           test::random_floats(static_cast<std::size_t>(channels), 4, -5, 5));
}

// The real number behind an output, from real numbers in double, is met within half a step (and a
// little for the rounding of f32).
void check_real(std::int64_t code, double real, std::int64_t lowest, ScalarType type) {
  const double exact = static_cast<double>(kZeroY) + real / kScaleY;
  const double held =
      std::clamp(exact, static_cast<double>(lowest), static_cast<double>(quant_max_of(type)));
  CHECK(std::fabs(static_cast<double>(code) - held) <= 0.5 + 1e-3);
}

struct ConvCase {
  Shape x, w;  // w: as the module takes it
  ConvOptions options;
};

// y[n][m][oh][ow] from its definition; transposed: by scattering.
std::vector<double> convolve(const ConvCase& c, const QTensor& x, const QTensor& w,
                             const std::vector<float>& bias, bool transposed, const Shape& out) {
  const Tensor xs = x.dequantize();
  const Tensor ws = w.dequantize();
  std::vector<double> sums(static_cast<std::size_t>(out.elements()));
  const std::int64_t groups = c.options.groups;
  const std::int64_t in_of_group = c.x[1] / groups;
  const std::int64_t out_of_group = out[1] / groups;
  for (std::int64_t i = 0; i < out.elements(); ++i)
    sums[static_cast<std::size_t>(i)] =
        static_cast<double>(bias[static_cast<std::size_t>(i / (out[2] * out[3]) % out[1])]);
  // Every pair of an input pixel (or, transposed, output pixel) and a tap.
  for (std::int64_t n = 0; n < out[0]; ++n)
    for (std::int64_t m = 0; m < out[1]; ++m)
      for (std::int64_t k = 0; k < in_of_group; ++k)
        for (std::int64_t i = 0; i < c.w[2]; ++i)
          for (std::int64_t j = 0; j < c.w[3]; ++j)
            for (std::int64_t a = 0; a < (transposed ? c.x[2] : out[2]); ++a)
              for (std::int64_t b = 0; b < (transposed ? c.x[3] : out[3]); ++b) {
                const std::int64_t y =
                    a * c.options.stride[0] - c.options.padding[0] + i * c.options.dilation[0];
                const std::int64_t z =
                    b * c.options.stride[1] - c.options.padding[1] + j * c.options.dilation[1];
                const Shape& far = transposed ? out : c.x;
                if (y < 0 || z < 0 || y >= far[2] || z >= far[3]) continue;
                const std::int64_t group = m / out_of_group;
                const std::int64_t channel = group * in_of_group + k;
                const std::int64_t from = transposed
                                              ? ((n * c.x[1] + channel) * c.x[2] + a) * c.x[3] + b
                                              : ((n * c.x[1] + channel) * c.x[2] + y) * c.x[3] + z;
                const std::int64_t to = transposed ? ((n * out[1] + m) * out[2] + y) * out[3] + z
                                                   : ((n * out[1] + m) * out[2] + a) * out[3] + b;
                const std::int64_t tap = ((transposed ? channel * out_of_group + m % out_of_group
                                                      : m * in_of_group + k) *
                                              c.w[2] +
                                          i) *
                                             c.w[3] +
                                         j;
                sums[static_cast<std::size_t>(to)] +=
                    static_cast<double>(xs.span<float>()[static_cast<std::size_t>(from)]) *
                    static_cast<double>(ws.span<float>()[static_cast<std::size_t>(tap)]);
              }
  return sums;
}

template <class Module>
void check_conv(const ConvCase& c, bool per_channel, bool relu, bool transposed) {
  CAPTURE(c.x.to_string());
  CAPTURE(c.w.to_string());
  for (const ScalarType type : {ScalarType::kQuint8, ScalarType::kQint8}) {
    const QTensor x = random_input(c.x, type);
    const QTensor w = random_weight(c.w, per_channel, transposed ? 1 : 0);
    const std::int64_t channels = transposed ? c.w[1] * c.options.groups : c.w[0];
    const Tensor bias = random_bias(channels);
    std::vector<std::int64_t> first;
    for (const QEngine engine : {QEngine::kOnednn, QEngine::kQnnpack}) {
      const auto module =
          take(Module::from_weights(w, bias, c.options, kScaleY, kZeroY, {engine, {}}));
      const QTensor y = take(module.forward(x));
      const auto codes = to_int64s(y.int_repr());
      CHECK(to_int64s(take(module.forward(x.contiguous(MemoryFormat::kChannelsLast))).int_repr()) ==
            codes);
      const auto reals = convolve(c, x, w, to_floats(bias), transposed, y.shape());
      REQUIRE(codes.size() == reals.size());
      for (std::size_t i = 0; i < codes.size(); ++i)
        check_real(codes[i], reals[i], relu ? kZeroY : quant_min_of(type), type);
      // Every kernel row gives the same codes.
      Module slow = module;
      slow.set_backend({engine, {.level = simd::Level::kScalar}});
      CHECK(to_int64s(take(slow.forward(x)).int_repr()) == codes);
      if (first.empty()) first = codes;
      for (std::size_t i = 0; i < codes.size(); ++i) CHECK(std::abs(codes[i] - first[i]) <= 1);
    }
  }
}

TEST_CASE("Conv2d: the sum of its definition within half a step, in both engines") {
  const ConvCase cases[] = {
      {{1, 3, 7, 6}, {5, 3, 3, 3}, {{1, 1}, {1, 1}, {1, 1}, {0, 0}, 1}},
      {{2, 4, 5, 5}, {6, 4, 1, 1}, {}},
      {{1, 4, 9, 8}, {6, 2, 3, 2}, {{2, 1}, {1, 0}, {2, 3}, {0, 0}, 2}},
      {{1, 9, 6, 7}, {9, 1, 3, 3}, {{2, 2}, {1, 1}, {1, 1}, {0, 0}, 9}},  // depthwise
      {{1, 3, 6, 7}, {6, 1, 3, 3}, {{1, 1}, {1, 1}, {1, 1}, {0, 0}, 3}},  // two for each channel
      {{1, 1, 1, 1}, {1, 1, 1, 1}, {}},
      {{1, 17, 3, 3}, {33, 17, 3, 3}, {{1, 1}, {2, 2}, {1, 1}, {0, 0}, 1}},
      {{1, 2, 8, 8},
       {3, 2, 2, 2},
       {{3, 3}, {0, 0}, {1, 1}, {0, 0}, 1}},  // pixels that nobody reads
      {{0, 2, 8, 8}, {3, 2, 2, 2}, {}},
  };
  for (const ConvCase& c : cases) {
    for (const bool per_channel : {false, true}) {
      check_conv<Conv2d>(c, per_channel, false, false);
      check_conv<ConvReLU2d>(c, per_channel, true, false);
    }
  }
}

TEST_CASE("ConvTranspose2d: the scattered sum of its definition within half a step") {
  const ConvCase cases[] = {
      {{1, 3, 4, 5}, {3, 5, 3, 3}, {{2, 2}, {1, 1}, {1, 1}, {1, 1}, 1}},
      {{2, 2, 3, 3}, {2, 4, 2, 2}, {{1, 1}, {0, 0}, {1, 1}, {0, 0}, 1}},
      {{1, 4, 3, 4}, {4, 3, 2, 3}, {{3, 2}, {2, 0}, {2, 1}, {1, 0}, 2}},
      {{1, 2, 4, 4}, {2, 3, 1, 1}, {{2, 2}, {0, 0}, {1, 1}, {0, 0}, 1}},
      {{1, 2, 4, 4}, {2, 3, 1, 1}, {{2, 2}, {1, 1}, {1, 1}, {1, 1}, 1}},  // crops
  };
  for (const ConvCase& c : cases) {
    check_conv<ConvTranspose2d>(c, false, false, true);
    if (c.options.groups == 1) check_conv<ConvTranspose2d>(c, true, false, true);
  }
}

TEST_CASE("Conv1d: an image of one row") {
  const QTensor x = random_input({2, 3, 11}, ScalarType::kQuint8);
  const QTensor w = random_weight({4, 3, 3}, true);
  ConvOptions options;
  options.stride = {7, 2};  // the first numbers are not looked at
  options.padding = {5, 1};
  const auto line = take(Conv1d::from_weights(w, random_bias(4), options, kScaleY, kZeroY));
  options.stride[0] = 1;
  options.padding[0] = 0;
  const auto image = take(Conv2d::from_weights(
      take(make_quantized_tensor(w.int_repr().reshaped({4, 3, 1, 3}), w.grid())), random_bias(4),
      options, kScaleY, kZeroY));
  const QTensor y = take(line.forward(x));
  CHECK(y.shape() == Shape{2, 4, 6});
  const QTensor wide = take(make_quantized_tensor(x.int_repr().reshaped({2, 3, 1, 11}), x.grid()));
  CHECK(to_int64s(y.int_repr()) == to_int64s(take(image.forward(wide)).int_repr()));
  CHECK(
      take(ConvReLU1d::from_weights(w, random_bias(4), options, kScaleY, kZeroY)).forward(x).ok());
}

TEST_CASE("Linear: the sum of its definition within half a step, for any leading axes") {
  for (const ScalarType type : {ScalarType::kQuint8, ScalarType::kQint8}) {
    for (const std::int64_t features : {1, 7, 16, 33, 129}) {
      for (const bool relu : {false, true}) {
        const QTensor x = random_input({2, 3, features}, type);
        const QTensor w = random_weight({5, features}, relu);
        const Tensor bias = random_bias(5);
        const Tensor xs = x.dequantize();
        const Tensor ws = w.dequantize();
        for (const QEngine engine : {QEngine::kOnednn, QEngine::kQnnpack}) {
          const auto run = [&](auto module) { return take(take(std::move(module)).forward(x)); };
          const Backend backend{engine, {}};
          const QTensor y = relu ? run(LinearReLU::from_weights(w, bias, kScaleY, kZeroY, backend))
                                 : run(Linear::from_weights(w, bias, kScaleY, kZeroY, backend));
          CHECK(y.shape() == Shape{2, 3, 5});
          const auto codes = to_int64s(y.int_repr());
          for (std::size_t i = 0; i < codes.size(); ++i) {
            double sum = static_cast<double>(bias.span<float>()[i % 5]);
            for (std::size_t k = 0; k < static_cast<std::size_t>(features); ++k) {
              const auto n = static_cast<std::size_t>(features);
              sum += static_cast<double>(xs.span<float>()[i / 5 * n + k]) *
                     static_cast<double>(ws.span<float>()[i % 5 * n + k]);
            }
            check_real(codes[i], sum, relu ? kZeroY : quant_min_of(type), type);
          }
        }
      }
    }
  }
}

TEST_CASE("modules with weights: state dicts come back the same") {
  const QTensor x = random_input({1, 3, 5, 5}, ScalarType::kQuint8);
  const auto conv = take(
      Conv2d::from_weights(random_weight({4, 3, 3, 3}, true), random_bias(4), {}, kScaleY, kZeroY));
  auto other =
      take(Conv2d::from_weights(random_weight({4, 3, 3, 3}, false), std::nullopt, {}, 1, 0));
  CHECK(!other.bias());
  CHECK(other.state_dict()[1].first == "bias");
  take(other.load_state_dict(conv.state_dict()));
  CHECK(to_int64s(take(other.forward(x)).int_repr()) ==
        to_int64s(take(conv.forward(x)).int_repr()));
  const QTensor row = random_input({1, 6}, ScalarType::kQuint8);
  const auto linear =
      take(Linear::from_weights(random_weight({4, 6}, true), random_bias(4), kScaleY, kZeroY));
  auto second = take(Linear::from_weights(random_weight({2, 6}, false), std::nullopt, 1, 0));
  take(second.load_state_dict(linear.state_dict()));
  CHECK(to_int64s(take(second.forward(row)).int_repr()) ==
        to_int64s(take(linear.forward(row)).int_repr()));
  StateDict bad = conv.state_dict();
  bad[0].second = Tensor::make(DType::kFloat32, {4, 3, 3, 3});
  CHECK(mentions(other.load_state_dict(bad), "\"weight\" is not a quantized tensor"));
  CHECK(mentions(other.load_state_dict(linear.state_dict()), "The weight has shape [4, 6]"));
}

TEST_CASE("modules with weights: refuse what does not fit, in torch's words") {
  const QTensor w = random_weight({4, 3, 3, 3}, false);
  const auto make = [&](const QTensor& weight, const ConvOptions& options = {}) {
    return Conv2d::from_weights(weight, std::nullopt, options, 1, 0);
  };
  CHECK(mentions(make(random_weight({4, 3, 3}, false)), "The weight has shape"));
  ConvOptions options;
  options.groups = 3;
  CHECK(mentions(make(w, options), "groups = 3 does not divide"));
  options.groups = 1;
  options.stride = {0, 1};
  CHECK(mentions(make(w, options), "stride 0"));
  options.stride = {1, 1};
  options.output_padding = {1, 1};
  CHECK(mentions(make(w, options), "output padding"));
  CHECK(mentions(make(random_weight({4, 3, 3, 3}, true, 1)), "along axis 1"));
  CHECK(mentions(make(take(make_quantized_tensor(Tensor::make(DType::kInt8, {4, 3, 3, 3}),
                                                 QGrid::per_tensor(1, 5)))),
                 "zero points should be 0"));
  CHECK(mentions(make(take(make_quantized_tensor(Tensor::make(DType::kUint8, {4, 3, 3, 3}),
                                                 QGrid::per_tensor(1, 0)))),
                 "torch.quint8"));
  CHECK(mentions(Conv2d::from_weights(w, random_bias(5), {}, 1, 0), "vector of 4"));
  CHECK(
      mentions(Conv2d::from_weights(w, Tensor::of<float>({4}, {0, 0, std::nanf(""), 0}), {}, 1, 0),
               "bias of channel 2 is nan"));
  CHECK(mentions(Conv2d::from_weights(w, std::nullopt, {}, -1, 0), "scale -1"));

  const auto conv = take(make(w));
  CHECK(mentions(conv.forward(random_input({1, 3, 5}, ScalarType::kQuint8)), "of rank 4"));
  CHECK(mentions(conv.forward(random_input({1, 2, 5, 5}, ScalarType::kQuint8)),
                 "to have 3 channels, but got 2 channels instead"));
  CHECK(mentions(conv.forward(random_input({1, 3, 2, 2}, ScalarType::kQuint8)), "too small"));
  CHECK(mentions(conv.forward(random_weight({1, 3, 5, 5}, true, 1)), "per_channel_affine"));
  CHECK(mentions(conv.forward(take(make_quantized_tensor(Tensor::make(DType::kInt32, {1, 3, 5, 5}),
                                                         QGrid::per_tensor(1, 0)))),
                 "qint32"));
  const auto linear =
      take(Linear::from_weights(random_weight({4, 6}, false), std::nullopt, 1, 200));
  CHECK(mentions(linear.forward(random_input({2, 5}, ScalarType::kQuint8)), "does not match"));
  CHECK(mentions(linear.forward(random_input({2, 6}, ScalarType::kQint8)), "above upper bound"));
  CHECK(mentions(Linear::from_weights(w, std::nullopt, 1, 0), "2-dimensional"));
}

TEST_CASE("modules with weights: scales at the ends of float32 saturate") {
  for (const auto& [x_scale, y_scale] :
       {std::pair{1e-38, 1e38}, std::pair{1e38, 1e-38}, std::pair{1e38, 1e38}}) {
    const QTensor x = take(make_quantized_tensor(Tensor::of<std::uint8_t>({1, 2}, {255, 255}),
                                                 QGrid::per_tensor(x_scale, 0)));
    const QTensor w = take(make_quantized_tensor(Tensor::of<std::int8_t>({2, 2}, {1, 1, -1, -1}),
                                                 QGrid::per_tensor(1, 0)));
    for (const QEngine engine : {QEngine::kOnednn, QEngine::kQnnpack}) {
      const auto linear = take(Linear::from_weights(w, std::nullopt, y_scale, 100, {engine, {}}));
      const auto codes = to_int64s(take(linear.forward(x)).int_repr());
      const bool tiny = x_scale < y_scale;
      CHECK(codes[0] == (tiny ? 100 : 255));
      CHECK(codes[1] == (tiny ? 100 : 0));
    }
  }
}

}  // namespace
}  // namespace octavo::nn::quantized
