#include "nn/workflow.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "nn/dynamic_quantize.h"
#include "nn/float_modules.h"
#include "nn/functional.h"
#include "nn/functional_dynamic.h"
#include "nn/quantized/activation.h"
#include "nn/quantized/batch_norm.h"
#include "nn/quantized/conv.h"
#include "nn/quantized/linear.h"
#include "support/buffers.h"

namespace octavo::nn {
namespace {

namespace F = functional;

Tensor random_tensor(const Shape& shape, std::uint32_t seed, float lo = -1, float hi = 1) {
  return Tensor::of(shape,
                    test::random_floats(static_cast<std::size_t>(shape.elements()), seed, lo, hi));
}

std::vector<float> floats(const Tensor& tensor) {
  const auto span = tensor.span<float>();
  return {span.begin(), span.end()};
}
std::vector<float> floats(const Value& value) { return floats(std::get<Tensor>(value)); }

template <class T>
T take(Result<T> result) {
  if (!result.ok()) FAIL(result.error().message());
  return std::move(result).value();
}
void ok(const Status& status) {
  if (!status.ok()) FAIL(status.error().message());
}

QConfig qconfig(std::string_view backend) { return from_spec(take(get_default_qconfig(backend))); }

void randomize(BatchNorm2d& bn, std::uint32_t seed) {
  const Shape shape = bn.running_mean.shape();
  bn.weight.value = random_tensor(shape, seed, 0.5F, 2);
  bn.bias.value = random_tensor(shape, seed + 1);
  bn.running_mean = random_tensor(shape, seed + 2);
  bn.running_var = random_tensor(shape, seed + 3, 0.5F, 2);
}

// conv, bn, relu; a second conv added to the first's output; pooled into a classifier.
class Net final : public Module {
 public:
  Net() {
    add_module("quant", std::make_unique<QuantStub>());
    F::Conv2dOptions padded;
    padded.padding = {1, 1};
    add_module("conv1", std::make_unique<Conv2d>(random_tensor({8, 3, 3, 3}, 1),
                                                 random_tensor({8}, 2), padded));
    randomize(add_module("bn1", std::make_unique<BatchNorm2d>(8)), 3);
    add_module("relu1", std::make_unique<ReLU>());
    add_module("conv2", std::make_unique<Conv2d>(random_tensor({8, 8, 1, 1}, 7), std::nullopt));
    randomize(add_module("bn2", std::make_unique<BatchNorm2d>(8)), 8);
    add_module("skip", std::make_unique<FloatFunctional>());
    add_module("pool", std::make_unique<AdaptiveAvgPool2d>(std::array<std::int64_t, 2>{1, 1}));
    add_module("flatten", std::make_unique<Flatten>());
    add_module("fc", std::make_unique<Linear>(random_tensor({5, 8}, 12), random_tensor({5}, 13)));
    add_module("dequant", std::make_unique<DeQuantStub>());
  }
  std::string_view kind() const override { return "Net"; }
  Result<Value> forward(const Value& image) override {
    OCTAVO_TRY(Value x, call("quant", image));
    OCTAVO_TRY(x, call("conv1", x));
    OCTAVO_TRY(x, call("bn1", x));
    OCTAVO_TRY(x, call("relu1", x));
    OCTAVO_TRY(Value y, call("conv2", x));
    OCTAVO_TRY(y, call("bn2", y));
    OCTAVO_TRY(Functional * skip, functional_of(*this, "skip"));
    OCTAVO_TRY(x, skip->add_relu(x, y));
    for (const char* name : {"pool", "flatten", "fc", "dequant"}) {
      OCTAVO_TRY(x, call(name, x));
    }
    return x;
  }
};

const Shape kImage{2, 3, 6, 5};

TEST_CASE("post-training: prepare, calibrate, convert equals quantized layers made by hand") {
  for (const std::string_view backend : {"x86", "qnnpack"}) {
    CAPTURE(backend);
    const Backend engine{*qengine_from_name(backend), {}};
    Net net;
    net.eval();
    ok(fuse_modules(net, {{"conv1", "bn1", "relu1"}}));
    CHECK(take(net.child("conv1"))->kind() == "ConvReLU2d");
    CHECK(take(net.child("relu1"))->kind() == "Identity");
    net.set_qconfig(qconfig(backend));
    ok(prepare(net));
    const std::vector<Tensor> batches = {random_tensor(kImage, 20), random_tensor(kImage, 21)};
    for (const Tensor& batch : batches) take(net(batch));

    const Tensor image = random_tensor(kImage, 22);
    const std::vector<float> in_float = floats(take(net(image)));  // observed as well
    // What convert shall find: each observer's grid, each weight on its observer's grid.
    const auto grid = [&](std::string_view name) {
      const QParams found =
          take(take(net.child(name))->activation_post_process->calculate_qparams());
      return std::pair{static_cast<double>(found.scale[0]), found.zero_point[0]};
    };
    const auto weight = [&](const Tensor& values) {
      const auto observer = take(net.qconfig()->weight());
      return take(quantize_weight(values, *observer));
    };
    auto& conv1 = dynamic_cast<Conv2d&>(*take(net.child("conv1")));
    auto& conv2 = dynamic_cast<Conv2d&>(*take(net.child("conv2")));
    auto& bn2 = dynamic_cast<BatchNorm2d&>(*take(net.child("bn2")));
    auto& fc = dynamic_cast<Linear&>(*take(net.child("fc")));
    quantized::ConvOptions padded;
    padded.padding = {1, 1};
    const auto [s0, z0] = grid("quant");
    const auto [s1, z1] = grid("conv1");
    const auto [s2, z2] = grid("conv2");
    const auto [s3, z3] = grid("bn2");
    const auto [s4, z4] = grid("skip");
    const auto [s5, z5] = grid("fc");
    const auto q_conv1 = take(quantized::ConvReLU2d::from_weights(
        weight(conv1.weight.value), conv1.bias->value, padded, s1, z1, engine));
    const auto q_conv2 = take(quantized::Conv2d::from_weights(weight(conv2.weight.value),
                                                              std::nullopt, {}, s2, z2, engine));
    const auto q_bn2 = take(quantized::BatchNorm2d::from_float(bn2.parameters(), s3, z3));
    const auto q_fc = take(
        quantized::Linear::from_weights(weight(fc.weight.value), fc.bias->value, s5, z5, engine));
    const QTensor x0 = take(quantize_per_tensor(image, s0, z0, ScalarType::kQuint8));
    const QTensor x1 = take(q_conv1.forward(x0));
    const QTensor x2 = take(q_bn2.forward(take(q_conv2.forward(x1))));
    const QTensor x3 = take(F::add_relu(x1, x2, s4, z4));
    const QTensor x4 = take(F::flatten(take(F::adaptive_avg_pool2d(x3, {1, 1}))));
    const Tensor expected = take(q_fc.forward(x4)).dequantize();

    ok(convert(net, engine));
    const std::vector<float> in_codes = floats(take(net(image)));
    CHECK(test::same_bits(in_codes, floats(expected)));
    CHECK(in_codes != in_float);
    for (std::size_t i = 0; i < in_codes.size(); ++i)
      CHECK(std::abs(in_codes[i] - in_float[i]) < 12 * static_cast<float>(s5));
    CHECK(take(net.child("conv1"))->kind() == "QuantizedConvReLU2d");
    CHECK(take(net.child("skip"))->kind() == "QFunctional");
    CHECK_FALSE(net.qconfig_set());

    // A quantized layer picked out and called by itself.
    auto* picked = layer_of<quantized::BatchNorm2d>(*take(net.child("bn2")));
    REQUIRE(picked != nullptr);
    CHECK(picked->scale() == s3);
    CHECK(layer_of<quantized::Conv2d>(*take(net.child("bn2"))) == nullptr);
    CHECK(take(picked->forward(x1)).q_zero_point().value() == z3);
  }
}

TEST_CASE("fusing a BatchNorm2d in evaluation changes no result but the last bits") {
  Net plain;
  Net fused;
  plain.eval();
  fused.eval();
  ok(fuse_modules(fused, {{"conv1", "bn1", "relu1"}, {"conv2", "bn2"}}));
  const Tensor image = random_tensor(kImage, 30);
  const std::vector<float> a = floats(take(plain(image)));
  const std::vector<float> b = floats(take(fused(image)));
  for (std::size_t i = 0; i < a.size(); ++i) CHECK(b[i] == doctest::Approx(a[i]).epsilon(1e-4));
}

TEST_CASE("every row of the tables: fused, prepared and converted") {
  const auto module_of = [](std::string_view kind) -> std::unique_ptr<Module> {
    if (kind == "Conv2d")
      return std::make_unique<Conv2d>(random_tensor({4, 4, 1, 1}, 40), random_tensor({4}, 41));
    if (kind == "Linear") return std::make_unique<Linear>(random_tensor({4, 4}, 42), std::nullopt);
    if (kind == "BatchNorm2d") {
      auto bn = std::make_unique<BatchNorm2d>(4);
      randomize(*bn, 43);
      return bn;
    }
    if (kind == "QuantStub") return std::make_unique<QuantStub>();
    if (kind == "DeQuantStub") return std::make_unique<DeQuantStub>();
    return std::make_unique<ReLU>();
  };
  std::vector<std::string_view> seen = {"QuantStub", "DeQuantStub", "FloatFunctional"};
  const auto run = [&](const std::vector<std::string_view>& kinds, std::string_view fused,
                       bool qat) {
    CAPTURE(fused);
    Sequential net;
    net.append(std::make_unique<QuantStub>());
    ModulePaths paths;
    for (const std::string_view kind : kinds) {
      paths.push_back(std::to_string(net.children().size()));
      net.append(module_of(kind));
    }
    net.append(std::make_unique<DeQuantStub>());
    net.train(qat);
    if (kinds.size() > 1) ok(qat ? fuse_modules_qat(net, {paths}) : fuse_modules(net, {paths}));
    const std::string_view kind = take(net.child("1"))->kind();
    if (!qat) CHECK(kind == fused);
    seen.push_back(kind);
    net.set_qconfig(qat ? from_spec(take(get_default_qat_qconfig("qnnpack"))) : qconfig("qnnpack"));
    ok(qat ? prepare_qat(net) : prepare(net));
    const bool flat = kinds[0] == "Linear";
    net.eval();
    const Tensor x = flat ? random_tensor({6, 4}, 44) : random_tensor({2, 4, 3, 3}, 44);
    const std::vector<float> before = floats(take(net(x)));
    ok(convert(net));
    const auto row = std::ranges::find(quantization_rows(), kind, &QuantizationRow::kind);
    REQUIRE(row != quantization_rows().end());
    CHECK(take(net.child("1"))->kind() == row->quantized);
    const std::vector<float> after = floats(take(net(x)));
    for (std::size_t i = 0; i < after.size(); ++i) CHECK(std::abs(after[i] - before[i]) < 0.15F);
  };
  for (const bool qat : {false, true}) {
    for (const FusionRow& row : fusion_rows()) run(row.kinds, row.fused, qat);
    for (const std::string_view kind : {"Conv2d", "Linear", "BatchNorm2d"}) run({kind}, kind, qat);
  }
  for (const QuantizationRow& row : quantization_rows()) {
    CAPTURE(row.kind);
    CHECK(std::ranges::find(seen, row.kind) != seen.end());
  }
}

TEST_CASE(
    "aware training: a loop on fake-quantized values lowers the loss, convert keeps the grid") {
  Sequential net;
  net.append(std::make_unique<QuantStub>());
  auto& bn = net.append(std::make_unique<BatchNorm2d>(4));
  net.append(std::make_unique<DeQuantStub>());
  net.set_qconfig(from_spec(take(get_default_qat_qconfig("fbgemm"))));
  ok(prepare_qat(net));
  const Tensor x = random_tensor({4, 4, 5, 5}, 50);
  std::vector<float> losses;
  for (int step = 0; step < 30; ++step) {
    // The target: 0.5 x + 0.25 for every channel.
    const Tensor y = std::get<Tensor>(take(net(x)));
    Tensor grad = Tensor::make(DType::kFloat32, y.shape());
    float loss = 0;
    for (std::size_t i = 0; i < y.span<float>().size(); ++i) {
      const float off = y.span<float>()[i] - (0.5F * x.span<float>()[i] + 0.25F);
      loss += off * off;
      grad.mutable_span<float>()[i] = 2 * off / 100;
    }
    losses.push_back(loss);
    take(net.backward(grad));
    for (Trained* parameter : {&bn.weight, &bn.bias}) {
      Tensor next = Tensor::make(DType::kFloat32, parameter->value.shape());
      for (std::size_t c = 0; c < 4; ++c)
        next.mutable_span<float>()[c] =
            parameter->value.span<float>()[c] - 0.1F * parameter->grad.span<float>()[c];
      parameter->value = next;
      parameter->zero_grad();
    }
  }
  CHECK(losses.back() < losses.front() / 20);
  CHECK(bn.num_batches_tracked == 30);
  net.eval();
  const QParams grid = take(bn.activation_post_process->calculate_qparams());
  const auto expected = take(quantized::BatchNorm2d::from_float(
      bn.parameters(), static_cast<double>(grid.scale[0]), grid.zero_point[0]));
  const QParams input =
      take(net.children()[0].module->activation_post_process->calculate_qparams());
  CHECK(input.scale[0] > 0.0F);
  ok(convert(net));
  const QTensor codes = take(quantize_per_tensor(x, static_cast<double>(input.scale[0]),
                                                 input.zero_point[0], ScalarType::kQuint8));
  CHECK(test::same_bits(floats(take(net(x))), floats(take(expected.forward(codes)).dequantize())));
}

// Every `every`-th gradient against the central difference of `loss`, which reads `value`.
template <class Loss>
void check_slopes(Tensor& value, const Tensor& gradient, float step, std::size_t every, Loss loss) {
  for (std::size_t i = 0; i < value.span<float>().size(); i += every) {
    const Tensor kept = value;
    const auto at = [&](float by) {
      Tensor moved = Tensor::of(kept.shape(), floats(kept));
      moved.mutable_span<float>()[i] += by;
      value = moved;
      return loss();
    };
    const double slope = (at(step) - at(-step)) / (2 * static_cast<double>(step));
    value = kept;
    CHECK(static_cast<double>(gradient.span<float>()[i]) ==
          doctest::Approx(slope).epsilon(0.03).scale(1));
  }
}

// Central differences against every gradient, without fake quantization (its gradient is no slope).
TEST_CASE("gradients equal slopes") {
  F::Conv2dOptions options;
  options.padding = {1, 0};
  options.stride = {2, 1};
  options.groups = 2;
  Sequential net;
  auto& conv = net.append(
      std::make_unique<Conv2d>(random_tensor({4, 2, 3, 2}, 60), random_tensor({4}, 61), options));
  auto& bn = net.append(std::make_unique<BatchNorm2d>(4));
  randomize(bn, 62);
  net.append(std::make_unique<ReLU6>());
  net.append(std::make_unique<Flatten>());
  auto& fc = net.append(
      std::make_unique<Linear>(random_tensor({3, 4 * 3 * 4}, 66), random_tensor({3}, 67)));
  Tensor x = random_tensor({2, 4, 5, 5}, 68);
  const auto loss = [&] {
    const std::vector<float> y = floats(take(net(x)));
    double sum = 0;
    for (std::size_t i = 0; i < y.size(); ++i)
      sum += static_cast<double>(y[i]) * (0.1 + 0.2 * static_cast<double>(i));
    return sum;
  };
  for (const bool training : {true, false}) {
    CAPTURE(training);
    net.train(training);
    loss();
    Tensor grad = Tensor::make(DType::kFloat32, Shape{2, 3});
    for (std::size_t i = 0; i < 6; ++i)
      grad.mutable_span<float>()[i] = 0.1F + 0.2F * static_cast<float>(i);
    for (Trained* parameter :
         {&conv.weight, &*conv.bias, &bn.weight, &bn.bias, &fc.weight, &*fc.bias})
      parameter->zero_grad();
    const Tensor dx = take(net.backward(grad));
    const auto compare = [&](Tensor& value, const Tensor& gradient) {
      check_slopes(value, gradient, 1e-2F, 7, loss);
    };
    const Tensor mean = bn.running_mean;
    const Tensor var = bn.running_var;
    compare(x, dx);
    for (Trained* parameter :
         {&conv.weight, &*conv.bias, &bn.weight, &bn.bias, &fc.weight, &*fc.bias})
      compare(parameter->value, parameter->grad);
    bn.running_mean = mean;
    bn.running_var = var;
  }
}

// In training the scaling by the running variance cancels out before bn normalizes the batch, so
// there gamma's slope is bn's own; in evaluation it does not, and bias matters.
TEST_CASE("the gradients of a BatchNorm2d inside a convolution equal slopes") {
  for (const bool training : {true, false}) {
    CAPTURE(training);
    Conv2d conv(random_tensor({3, 2, 3, 3}, 80), random_tensor({3}, 81));
    conv.bn = std::make_unique<BatchNorm2d>(3);
    randomize(*conv.bn, 82);
    conv.train(training);
    Tensor x = random_tensor({2, 2, 5, 5}, 83);
    const Tensor mean = conv.bn->running_mean;
    const Tensor var = conv.bn->running_var;
    const auto loss = [&] {
      conv.bn->running_mean = mean;  // which the forward pass moves
      conv.bn->running_var = var;
      const std::vector<float> y = floats(take(conv(x)));
      double sum = 0;
      for (std::size_t i = 0; i < y.size(); ++i)
        sum += static_cast<double>(y[i]) * (0.1 + 0.02 * static_cast<double>(i));
      return sum;
    };
    loss();
    Tensor grad = Tensor::make(DType::kFloat32, Shape{2, 3, 3, 3});
    for (std::size_t i = 0; i < grad.span<float>().size(); ++i)
      grad.mutable_span<float>()[i] = 0.1F + 0.02F * static_cast<float>(i);
    const Tensor dx = take(conv.backward(grad));
    const auto compare = [&](Tensor& value, const Tensor& gradient) {
      check_slopes(value, gradient, 4e-3F, 1, loss);
    };
    compare(x, dx);
    for (Trained* parameter : {&conv.weight, &*conv.bias, &conv.bn->weight, &conv.bn->bias})
      compare(parameter->value, parameter->grad);
  }
}

TEST_CASE("quantize_dynamic: int8 weights, inputs as they come") {
  Sequential net;
  const Tensor weight = random_tensor({5, 40}, 70);
  const Tensor bias = random_tensor({5}, 71);
  net.append(std::make_unique<Linear>(weight, bias));
  net.append(std::make_unique<ReLU>());
  const Tensor x = random_tensor({3, 40}, 72);
  const std::vector<float> before = floats(take(net(x)));
  ok(quantize_dynamic(net));
  CHECK(take(net.child("0"))->kind() == "DynamicQuantizedLinear");
  const std::vector<float> after = floats(take(net(x)));
  CHECK(after != before);
  for (std::size_t i = 0; i < after.size(); ++i) CHECK(std::abs(after[i] - before[i]) < 0.2F);

  Sequential images;
  F::Conv2dOptions options;
  options.padding = {1, 1};
  options.groups = 2;
  options.dilation = {2, 1};
  images.append(
      std::make_unique<Conv2d>(random_tensor({6, 2, 3, 3}, 73), random_tensor({6}, 74), options));
  images.append(std::make_unique<ReLU>());
  images.eval();
  ok(fuse_modules(images, {{"0", "1"}}));
  const Tensor image = random_tensor({2, 4, 7, 6}, 75, -0.3F, 2);
  const std::vector<float> in_float = floats(take(images(image)));
  ok(quantize_dynamic(images, {"Linear", "ConvReLU2d"}));
  CHECK(take(images.child("0"))->kind() == "DynamicQuantizedConvReLU2d");
  const std::vector<float> in_codes = floats(take(images(image)));
  CHECK(in_codes != in_float);
  for (std::size_t i = 0; i < in_codes.size(); ++i)
    CHECK(std::abs(in_codes[i] - in_float[i]) < 0.1F);
}

// The formulas of functional_dynamic.h, number by number.
TEST_CASE("dynamic functions equal their formulas") {
  const Tensor x = random_tensor({2, 9}, 76, -0.7F, 1.5F);
  const QTensor weight = take(quantize_per_channel(random_tensor({3, 9}, 77), {0.01, 0.02, 0.005},
                                                   {0, 0, 0}, 0, ScalarType::kQint8));
  const Tensor bias = random_tensor({3}, 78);
  for (const bool reduce_range : {true, false}) {
    const F::DynamicGrid grid = take(F::choose_qparams_dynamic(x, reduce_range));
    const std::vector<float> y = floats(take(F::linear_dynamic(x, weight, bias, reduce_range)));
    const QTensor codes = take(quantize_per_tensor(x, static_cast<double>(grid.scale),
                                                   grid.zero_point, ScalarType::kQuint8));
    int largest = 0;
    for (std::size_t row = 0; row < 2; ++row) {
      for (std::size_t n = 0; n < 3; ++n) {
        std::int32_t sum = 0;
        for (std::size_t k = 0; k < 9; ++k) {
          const int code = codes.storage().span<std::uint8_t>()[row * 9 + k];
          largest = std::max(largest, code);
          sum += (code - grid.zero_point) * weight.storage().span<std::int8_t>()[n * 9 + k];
        }
        const auto scale =
            static_cast<float>(static_cast<double>(grid.scale) * weight.grid().scales[n]);
        CHECK(y[row * 3 + n] == static_cast<float>(sum) * scale + bias.span<float>()[n]);
      }
    }
    CHECK(largest == (reduce_range ? 127 : 255));
  }
  // A convolution over one pixel is a linear layer on ONNX's grid.
  const Tensor pixels = x.reshaped({2, 9, 1, 1});
  const QTensor filters =
      take(quantize_per_tensor(random_tensor({3, 9, 1, 1}, 79), 0.01, 0, ScalarType::kQint8));
  const QTensor codes = take(dynamic_quantize_linear(pixels));
  const std::vector<float> y = floats(take(F::conv2d_dynamic(pixels, filters, std::nullopt, {})));
  for (std::size_t n = 0; n < 3; ++n) {
    std::int32_t sum = 0;
    for (std::size_t k = 0; k < 9; ++k) {
      const int code = codes.storage().span<std::uint8_t>()[k];
      sum += (code - static_cast<std::int32_t>(codes.grid().zero_points[0])) *
             filters.storage().span<std::int8_t>()[n * 9 + k];
    }
    CHECK(y[n] == static_cast<float>(sum) * static_cast<float>(codes.grid().scales[0] * 0.01));
  }
  const auto nan = F::linear_dynamic(Tensor::of(Shape{1, 9}, std::vector<float>(9, std::nanf(""))),
                                     weight, bias);
  CHECK(nan.error().code == Code::kNonFiniteSample);
  CHECK(F::linear_dynamic(random_tensor({2, 8}, 1), weight, bias).error().code ==
        Code::kShapeMismatch);
}

TEST_CASE("what cannot be: said with the module's path, and nothing changes") {
  Net net;
  CHECK(fuse_modules(net, {{"conv1", "bn1"}}).error().what ==
        "fuse_modules only works on models in evaluation mode");
  net.eval();
  CHECK(fuse_modules_qat(net, {{"conv1", "bn1"}}).error().code == Code::kInvalidState);
  const auto order = fuse_modules(net, {{"bn1", "conv1"}});
  CHECK(order.error().what == "Cannot fuse modules: (BatchNorm2d, Conv2d)");
  CHECK(order.error().hint.find("Conv2d + BatchNorm2d + ReLU") != std::string::npos);
  const auto missing = fuse_modules(net, {{"conv1", "bn9"}});
  CHECK(missing.error().what == "There is no child 'bn9'.");
  CHECK(prepare(net).error().what == "None of the submodules got a qconfig.");
  CHECK(prepare_qat(net).error().what == "prepare_qat only works on models in training mode");
  CHECK(convert(net).error().what == "No module was prepared.");
  CHECK(quantize_dynamic(net, {"BatchNorm2d"}).error().code == Code::kInvalidOption);
  CHECK(take(net.child("conv1"))->kind() == "Conv2d");

  Net unseen;
  unseen.eval();
  unseen.set_qconfig(qconfig("x86"));
  ok(prepare(unseen));
  const auto early = convert(unseen);
  REQUIRE_FALSE(early.ok());
  CHECK(early.error().what == "must run observer before calling calculate_qparams.");
  CHECK(early.error().where == "module 'quant' (QuantStub)");
  CHECK(early.error().all.size() == 7);  // every module but those without an observer
  CHECK(take(unseen.child("quant"))->kind() == "QuantStub");
  take(unseen(random_tensor(kImage, 80)));  // still prepared
  ok(convert(unseen));

  // A float tensor where codes are wanted, and the other way round.
  CHECK((*take(unseen.child("bn2")))(random_tensor(kImage, 81)).error().what ==
        "expected a quantized tensor, got a float one.");

  Net quint8_weights;
  quint8_weights.eval();
  QConfigSpec wrong = default_qconfig();
  wrong.weight = wrong.activation;
  quint8_weights.set_qconfig(from_spec(wrong));
  ok(prepare(quint8_weights));
  take(quint8_weights(random_tensor(kImage, 82)));
  const auto refused = convert(quint8_weights);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().what == "Weight observer must have a dtype of torch.qint8");

  Net per_channel_activation;
  per_channel_activation.eval();
  QConfigSpec channels = default_qconfig();
  channels.activation = {PostProcessSpec::Kind::kObserver, "PerChannelMinMaxObserver", {}};
  per_channel_activation.set_qconfig(from_spec(channels));
  ok(prepare(per_channel_activation));
  take(per_channel_activation(random_tensor(kImage, 83)));
  CHECK(convert(per_channel_activation).error().code == Code::kInvalidOption);

  FloatFunctional functional;
  CHECK(functional.forward(random_tensor({1}, 1)).error().what.find("not intended to use") !=
        std::string::npos);
  CHECK(functional_of(net, "conv1").error().code == Code::kInvalidOption);
}

// x and 2 (x + 1), one after the other.
class Branches final : public Module {
 public:
  Branches() {
    add_module("quant", std::make_unique<QuantStub>());
    add_module("scalars", std::make_unique<FloatFunctional>());
    add_module("join", std::make_unique<FloatFunctional>());
    add_module("product", std::make_unique<FloatFunctional>());
    add_module("sum", std::make_unique<FloatFunctional>());
    add_module("dequant", std::make_unique<DeQuantStub>());
  }
  std::string_view kind() const override { return "Branches"; }
  Result<Value> forward(const Value& input) override {
    OCTAVO_TRY(const Value x, call("quant", input));
    OCTAVO_TRY(Functional * scalars, functional_of(*this, "scalars"));
    OCTAVO_TRY(const Value more, scalars->add_scalar(x, 1));
    OCTAVO_TRY(const Value twice, scalars->mul_scalar(more, 2));
    OCTAVO_TRY(Functional * join, functional_of(*this, "join"));
    OCTAVO_TRY(const Value both, join->cat(std::vector<Value>{x, twice}, 1));
    OCTAVO_TRY(Functional * product, functional_of(*this, "product"));
    OCTAVO_TRY(const Value square, product->mul(both, both));
    OCTAVO_TRY(Functional * sum, functional_of(*this, "sum"));
    OCTAVO_TRY(const Value y, sum->add(both, square));
    return call("dequant", y);
  }
};

TEST_CASE("FloatFunctional becomes QFunctional: cat, mul, add and scalars go on as written") {
  Branches net;
  net.eval();
  net.set_qconfig(from_spec(default_qconfig()));
  ok(prepare(net));
  const Tensor x = random_tensor({2, 3, 4, 4}, 95);
  const std::vector<float> before = floats(take(net(x)));
  CHECK(convert(net).ok());
  CHECK(take(net.child("scalars"))->kind() == "QFunctional");
  const std::vector<float> after = floats(take(net(x)));
  REQUIRE(after.size() == before.size());
  // Up to 20 in codes of 0..127.
  for (std::size_t i = 0; i < after.size(); ++i) CHECK(std::abs(after[i] - before[i]) < 0.5F);
  const auto floats_only = (*take(net.child("quant")))(Value(QTensor()));
  CHECK(floats_only.error().what.find("expected a float tensor") != std::string::npos);
}

TEST_CASE("no_qconfig keeps a module float, a qconfig of its own comes before an inherited one") {
  Net net;
  net.eval();
  net.set_qconfig(qconfig("x86"));
  take(net.child("fc"))->no_qconfig();
  take(net.child("bn2"))->set_qconfig(from_spec(default_qconfig()));
  ok(prepare(net));
  CHECK(take(net.child("fc"))->activation_post_process == nullptr);
  CHECK(take(net.child("bn2"))->activation_post_process->kind() == "MinMaxObserver");
  CHECK(take(net.child("conv2"))->activation_post_process->kind() == "HistogramObserver");
}

// A scheme of the user's own: codes that are powers of two apart from each other in scale, from an
// observer of the user's own, through the low-level functions and through the workflow.
class PowerOfTwoObserver final : public Observer {
 public:
  std::string_view kind() const override { return "PowerOfTwoObserver"; }
  const QSpec& spec() const override { return spec_; }
  bool observed() const override { return largest_ > 0; }
  Status observe(const Tensor& x) override {
    OCTAVO_CHECK_OK(check_float(x, kind()));
    for (const float value : x.span<float>()) largest_ = std::max(largest_, std::abs(value));
    return ok_status();
  }
  Result<QParams> calculate_qparams() const override {
    float scale = 1;
    while (scale * 127 < largest_) scale *= 2;
    while (scale * 63.5F >= largest_ && scale > 1e-30F) scale /= 2;
    return QParams{{scale}, {0}};
  }
  Status merge(const Observer& other) override {
    largest_ = std::max(largest_, dynamic_cast<const PowerOfTwoObserver&>(other).largest_);
    return ok_status();
  }
  void reset() override { largest_ = 0; }
  std::vector<std::byte> save() const override { return {}; }
  Status load(std::span<const std::byte>) override { return ok_status(); }

 private:
  QSpec spec_{ScalarType::kQint8, QScheme::kPerTensorSymmetric, -128, 127, 0};
  float largest_ = 0;
};

TEST_CASE("custom quantization: an observer and a scheme of one's own") {
  PowerOfTwoObserver observer;
  const Tensor x = Tensor::of(Shape{4}, std::vector<float>{-3, 0.1F, 1, 2.5F});
  ok(observer.observe(x));
  const QParams grid = take(observer.calculate_qparams());
  CHECK(grid.scale[0] == 1.0F / 32);
  const QTensor codes =
      take(quantize_per_tensor(x, static_cast<double>(grid.scale[0]), 0, ScalarType::kQint8));
  CHECK(floats(codes.dequantize()) == std::vector<float>{-3, 0.09375F, 1, 2.5F});
  const FakeQuantized fake =
      take(fake_quantize_per_tensor_affine(x, static_cast<double>(grid.scale[0]), 0, -128, 127));
  CHECK(floats(fake.y) == floats(codes.dequantize()));

  const PostProcessFactory power_of_two = []() -> Result<std::unique_ptr<PostProcess>> {
    return std::unique_ptr<PostProcess>(std::make_unique<PowerOfTwoObserver>());
  };
  Sequential net;
  net.append(std::make_unique<QuantStub>());
  net.append(std::make_unique<Linear>(random_tensor({3, 4}, 90), std::nullopt));
  net.append(std::make_unique<DeQuantStub>());
  net.eval();
  net.set_qconfig({power_of_two, power_of_two});
  ok(prepare(net));
  const Tensor batch = random_tensor({5, 4}, 91);
  take(net(batch));
  ok(convert(net));
  const auto* linear = layer_of<quantized::Linear>(*take(net.child("1")));
  REQUIRE(linear != nullptr);
  int exponent = 0;
  CHECK(std::frexp(linear->scale(), &exponent) == 0.5);
  CHECK(std::frexp(linear->weight().grid().scales[0], &exponent) == 0.5);
  take(net(batch));
}

TEST_CASE("default qconfigs by torch's names") {
  struct Default {
    std::string_view backend;
    bool reduce_range, per_channel;
  };
  for (const Default& row : {Default{"fbgemm", true, true}, Default{"x86", true, true},
                             Default{"onednn", false, true}, Default{"qnnpack", false, false}}) {
    CAPTURE(row.backend);
    const QConfig post = from_spec(take(get_default_qconfig(row.backend)));
    const auto activation = take(post.activation());
    CHECK(activation->kind() == "HistogramObserver");
    CHECK(activation->spec().quant_max == (row.reduce_range ? 127 : 255));
    const auto weight = take(post.weight());
    CHECK(weight->kind() == (row.per_channel ? "PerChannelMinMaxObserver" : "MinMaxObserver"));
    CHECK(weight->spec().dtype == ScalarType::kQint8);
    CHECK(is_symmetric(weight->spec().qscheme));
    for (const int version : {0, 1}) {
      const QConfig aware = from_spec(take(get_default_qat_qconfig(row.backend, version)));
      const auto fake = take(aware.activation());
      CHECK(fake->kind() == (version == 0 ? "FakeQuantize" : "FusedMovingAvgObsFakeQuantize"));
      CHECK(fake->spec().quant_max == (row.reduce_range ? 127 : 255));
      CHECK(is_per_channel(take(aware.weight())->spec().qscheme) == row.per_channel);
    }
  }
  CHECK(get_default_qconfig("cuda").error().what == "backend: cuda not supported.");
  CHECK(get_default_qat_qconfig("x86", 2).error().hint == "Version number must be 0 or 1.");
  CHECK(take(from_spec(default_dynamic_qconfig()).activation())->kind() == "PlaceholderObserver");
  CHECK(take(from_spec(per_channel_dynamic_qconfig()).weight())->kind() ==
        "PerChannelMinMaxObserver");
}

}  // namespace
}  // namespace octavo::nn
