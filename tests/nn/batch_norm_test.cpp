#include "nn/quantized/batch_norm.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <type_traits>

#include "nn/functional.h"
#include "support/buffers.h"
#include "support/take.h"

namespace octavo::nn::quantized {
namespace {

using test::take;

Tensor floats(std::vector<float> values) {
  return Tensor::of<float>({static_cast<std::int64_t>(values.size())}, values);
}

BatchNormParameters random_parameters(std::size_t channels, std::uint32_t seed) {
  BatchNormParameters bn;
  bn.weight = floats(test::random_floats(channels, seed, 0.5F, 1.5F));
  bn.bias = floats(test::random_floats(channels, seed + 1, -1.0F, 1.0F));
  bn.running_mean = floats(test::random_floats(channels, seed + 2, -2.0F, 2.0F));
  bn.running_var = floats(test::random_floats(channels, seed + 3, 0.1F, 3.0F));
  return bn;
}

QTensor random_input(const Shape& shape, ScalarType type = ScalarType::kQuint8) {
  const auto n = static_cast<std::size_t>(shape.elements());
  const Tensor codes = type == ScalarType::kQint8
                           ? Tensor::of(shape, test::random_codes<std::int8_t>(n, 1))
                           : Tensor::of(shape, test::random_codes<std::uint8_t>(n, 1));
  return take(make_quantized_tensor(codes, QGrid::per_tensor(0.05, 3)));
}

std::vector<std::int64_t> codes_of(const QTensor& tensor) { return to_int64s(tensor.int_repr()); }

template <class Value>
bool mentions(const Result<Value>& result, std::string_view part) {
  return !result.ok() && result.error().message().find(part) != std::string::npos;
}

TEST_CASE("batch_norm: int8 results are the float layer's, within half a step and its rounding") {
  const QTensor x = random_input({2, 5, 4, 3});
  const BatchNormParameters bn = random_parameters(5, 4);
  const auto module = take(BatchNorm2d::from_float(bn, 0.05, 130));
  const QTensor y = take(module.forward(x));
  CHECK(*y.q_scale() == 0.05);
  CHECK(*y.q_zero_point() == 130);
  CHECK(y.dtype() == x.dtype());
  const auto in = x.dequantize();
  const auto out = y.dequantize();
  for (std::size_t i = 0; i < 120; ++i) {
    const std::size_t c = i / 12 % 5;
    const auto at = [c](const Parameter& p) { return std::get<Tensor>(p).span<float>()[c]; };
    const float real = (in.span<float>()[i] - at(bn.running_mean)) /
                           std::sqrt(at(bn.running_var) + 1e-5F) * at(*bn.weight) +
                       at(*bn.bias);
    const float held = std::clamp(real, -130 * 0.05F, 125 * 0.05F);
    CHECK(std::fabs(out.span<float>()[i] - held) <= 0.5001F * 0.05F);
  }
}

TEST_CASE("batch_norm: memory format, rank and relu change nothing but what they should") {
  const BatchNormParameters bn = random_parameters(5, 9);
  for (const ScalarType type : {ScalarType::kQuint8, ScalarType::kQint8}) {
    const QTensor x = random_input({2, 5, 4, 3}, type);
    const auto module = take(BatchNorm2d::from_float(bn, 0.03, 17));
    const QTensor y = take(module.forward(x));
    CHECK(module.kernel().find("nchw") != std::string_view::npos);
    const QTensor last = take(module.forward(x.contiguous(MemoryFormat::kChannelsLast)));
    CHECK(last.memory_format() == MemoryFormat::kChannelsLast);
    CHECK(module.kernel().find("nhwc") != std::string_view::npos);
    CHECK(codes_of(last) == codes_of(y));

    const auto as = [&x](Shape shape) {
      return take(make_quantized_tensor(x.int_repr().reshaped(std::move(shape)), x.grid()));
    };
    const auto wide = take(BatchNorm3d::from_float(bn, 0.03, 17));
    CHECK(codes_of(take(wide.forward(as({2, 5, 2, 2, 3})))) == codes_of(y));
    const auto line = take(BatchNorm1d::from_float(bn, 0.03, 17));
    CHECK(codes_of(take(line.forward(as({2, 5, 12})))) == codes_of(y));
    // [N, C]: as C channels of one pixel each.
    const QTensor flat = as({24, 5});
    const QTensor square = as({24, 5, 1, 1});
    CHECK(codes_of(take(line.forward(flat))) == codes_of(take(module.forward(square))));

    std::vector<std::int64_t> clamped = codes_of(y);
    for (std::int64_t& code : clamped) code = std::max<std::int64_t>(code, 17);
    CHECK(codes_of(take(take(BNReLU2d::from_float(bn, 0.03, 17)).forward(x))) == clamped);
    CHECK(codes_of(take(take(BNReLU1d::from_float(bn, 0.03, 17)).forward(as({2, 5, 12})))) ==
          clamped);
    CHECK(
        codes_of(take(take(BNReLU3d::from_reference(bn, 0.03, 17)).forward(as({2, 5, 4, 3, 1})))) ==
        clamped);
  }
}

TEST_CASE(
    "batch_norm: what follows sees a channels_last tensor, as in torch, however the codes lie") {
  const QTensor planes = random_input({2, 5, 6, 6});
  const auto module = take(BatchNorm2d::from_float(random_parameters(5, 9), 0.03, 17));
  const QTensor a = take(module.forward(planes));
  const QTensor b = take(module.forward(planes.contiguous(MemoryFormat::kChannelsLast)));
  CHECK(a.memory_format() == MemoryFormat::kChannelsLast);
  CHECK(a.order() == MemoryFormat::kContiguous);  // nothing was moved
  const functional::Pool2d pool{{2, 2}, {2, 2}};
  const auto after = [&](const QTensor& x) {
    const QTensor y = take(functional::relu(take(functional::add(x, x, 0.1, 3))));
    return codes_of(take(functional::avg_pool2d(y, pool)));
  };
  CHECK(after(a) == after(b));
  CHECK(after(a) != after(a.contiguous()));  // torch's other rounding
  CHECK(codes_of(take(functional::adaptive_avg_pool2d(a, {4, 4}))) ==
        codes_of(take(functional::adaptive_avg_pool2d(b, {4, 4}))));
}

TEST_CASE("batch_norm: refuses what torch refuses, in its words") {
  const auto module = take(BatchNorm2d::from_float(random_parameters(5, 2), 0.1, 200));
  CHECK(mentions(module.forward(random_input({2, 5, 4})), "Expecting the input tensor of rank 4"));
  CHECK(mentions(take(BatchNorm3d::from_float(random_parameters(5, 2), 1, 0))
                     .forward(random_input({2, 5, 4, 1})),
                 "Expecting the input tensor of rank 5"));
  CHECK(mentions(BatchNorm1d(5).forward(random_input({2, 5, 4, 1})), "rank 2 or 3"));
  CHECK(mentions(module.forward(random_input({2, 4, 4, 4})), "Expect weight size to match C"));
  CHECK(mentions(module.forward(random_input({2, 5, 4, 4}, ScalarType::kQint8)),
                 "zero_point 200 is above upper bound."));
  const QTensor per_channel = take(make_quantized_tensor(
      Tensor::make(DType::kUint8, {1, 5, 1, 1}),
      QGrid::per_channel(std::vector<double>(5, 1), std::vector<std::int64_t>(5), 1)));
  CHECK(mentions(module.forward(per_channel), "expected per_tensor_affine"));
  CHECK(mentions(BatchNorm2d::from_float(random_parameters(5, 2), 0.0, 0), "scale"));

  BatchNormParameters bn = random_parameters(5, 2);
  bn.bias = floats({0, 0});
  CHECK(mentions(BatchNorm2d::from_float(bn, 1, 0), "Expect bias size to match C"));
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const char* name : {"weight", "bias", "running_mean", "running_var"}) {
    bn = random_parameters(5, 2);
    const Tensor bad = floats({1, 1, 1, nan, 1});
    (std::string(name) == "weight"         ? *bn.weight
     : std::string(name) == "bias"         ? *bn.bias
     : std::string(name) == "running_mean" ? bn.running_mean
                                           : bn.running_var) = bad;
    CHECK(mentions(BatchNorm2d::from_float(bn, 1, 0), std::string(name) + " of channel 3 is nan"));
  }
  bn = random_parameters(2, 2);
  bn.running_var = floats({1, -1});
  CHECK(mentions(BatchNorm2d::from_float(bn, 1, 0), "running_var + eps of channel 1"));
  bn.running_var = floats({0, 1});
  bn.eps = 0;
  CHECK(mentions(BatchNorm2d::from_float(bn, 1, 0), "running_var + eps of channel 0 is 0"));
}

// The formula of batch_norm.h.
std::int64_t expected_code(std::int64_t q, float alpha, float beta, std::int64_t zero_in,
                           std::int64_t zero_out) {
  const float t = std::fma(alpha, static_cast<float>(q - zero_in), beta);
  if (std::isnan(t)) return 0;
  return std::clamp<std::int64_t>(
      zero_out + static_cast<std::int64_t>(std::nearbyint(std::clamp(t, -1e4F, 1e4F))), 0, 255);
}

TEST_CASE("batch_norm: extreme parameters and scales saturate, and nothing traps") {
  struct Extreme {
    float var;
    double x_scale, scale;
    std::int64_t zero_in, zero_out;
  };
  const Extreme extremes[] = {{0, 0.1, 0.1, 0, 0},        {1e-38F, 0.1, 0.1, 255, 255},
                              {3e38F, 0.1, 0.1, 0, 255},  {1, 1e-38, 1e38, 255, 0},
                              {1, 1e38, 1e-38, 128, 128}, {1, 1e-38, 1e-38, 7, 3},
                              {1, 1e38, 1e38, 0, 0},      {1, 1e-38, 0.1, 3, 250}};
  for (const Extreme& e : extremes) {
    CAPTURE(e.var);
    CAPTURE(e.x_scale);
    CAPTURE(e.scale);
    BatchNormParameters bn = random_parameters(1, 3);
    bn.weight = floats({1.25F});
    bn.bias = floats({0.5F});
    bn.running_mean = floats({-0.25F});
    bn.running_var = floats({e.var});
    const auto module = take(BatchNorm2d::from_float(bn, e.scale, e.zero_out));
    std::vector<std::uint8_t> all(256);
    for (std::size_t i = 0; i < 256; ++i) all[i] = static_cast<std::uint8_t>(i);
    const QTensor x = take(make_quantized_tensor(Tensor::of({1, 1, 16, 16}, all),
                                                 QGrid::per_tensor(e.x_scale, e.zero_in)));
    const auto codes = codes_of(take(module.forward(x)));
    const auto inv = static_cast<float>(1.0 / static_cast<double>(std::sqrt(e.var + 1e-5F)));
    const auto alpha = static_cast<float>(static_cast<double>(inv * 1.25F) * (e.x_scale / e.scale));
    const float mean = -0.25F * inv;
    const auto beta = static_cast<float>(static_cast<double>(0.5F - mean * 1.25F) / e.scale);
    for (std::int64_t q = 0; q < 256; ++q)
      CHECK(codes[static_cast<std::size_t>(q)] ==
            expected_code(q, alpha, beta, e.zero_in, e.zero_out));
  }
}

template <class Module>
void check_int32_is_wider(const QTensor& bytes) {
  CAPTURE(bytes.shape().to_string());
  const auto module = take(Module::from_float(
      random_parameters(static_cast<std::size_t>(bytes.shape()[1]), 4), 0.01, 90));
  const std::vector<std::int64_t> codes = codes_of(bytes);
  const QTensor wide = take(make_quantized_tensor(
      Tensor::of(bytes.shape(), std::vector<std::int32_t>(codes.begin(), codes.end())),
      QGrid::per_tensor(0.05, 3)));
  for (const MemoryFormat format : {MemoryFormat::kContiguous, MemoryFormat::kChannelsLast}) {
    if (bytes.shape().rank() != 4 && format == MemoryFormat::kChannelsLast) continue;
    const QTensor y = take(module.forward(wide.contiguous(format)));
    CHECK(y.dtype() == ScalarType::kQint32);
    std::vector<std::int64_t> narrow = codes_of(y);
    bool leaves_a_byte = false;
    for (std::int64_t& code : narrow) {
      leaves_a_byte |= code < 0 || code > 255;
      code = std::clamp<std::int64_t>(code, 0, 255);
    }
    CHECK(leaves_a_byte);
    CHECK(narrow == codes_of(take(module.forward(bytes.contiguous(format)))));
  }
}

TEST_CASE("batch_norm: a qint32 tensor gives what quint8 gives, without its bounds") {
  check_int32_is_wider<BatchNorm1d>(random_input({6, 5}));
  check_int32_is_wider<BatchNorm1d>(random_input({2, 5, 9}));
  check_int32_is_wider<BatchNorm2d>(random_input({2, 5, 4, 3}));
  check_int32_is_wider<BNReLU2d>(random_input({2, 17, 4, 3}));
  check_int32_is_wider<BatchNorm3d>(random_input({2, 5, 4, 3, 2}));

  // The ends, where zero_out + rint(t) leaves int32.
  const auto module = take(BatchNorm2d::from_float(random_parameters(1, 3), 1e-9, -2147483647 - 1));
  const Tensor ends = Tensor::of<std::int32_t>({1, 1, 1, 2}, {-2147483647 - 1, 2147483647});
  const QTensor x = take(make_quantized_tensor(ends, QGrid::per_tensor(1.0, 2147483647)));
  CHECK(codes_of(take(module.forward(x))).front() == -2147483648);
}

TEST_CASE("batch_norm: one channel, one pixel, odd channels and empty tensors") {
  for (const Shape& shape : {Shape{1, 1, 1, 1}, Shape{3, 1, 7, 5}, Shape{2, 33, 1, 1},
                             Shape{1, 19, 3, 3}, Shape{5, 64, 1, 1}}) {
    CAPTURE(shape.to_string());
    const auto module = take(
        BatchNorm2d::from_float(random_parameters(static_cast<std::size_t>(shape[1]), 8), 0.1, 9));
    const QTensor x = random_input(shape);
    CHECK(codes_of(take(module.forward(x))) ==
          codes_of(take(module.forward(x.contiguous(MemoryFormat::kChannelsLast)))));
  }
  const QTensor empty = random_input({0, 3, 4, 4});
  const QTensor out = take(BatchNorm2d(3).forward(empty));
  CHECK(out.shape() == Shape{0, 3, 4, 4});
  CHECK(*out.q_scale() == 0.05);  // the input's, as in torch
}

TEST_CASE("batch_norm: affine = false is weight 1 and bias 0") {
  BatchNormParameters bn = random_parameters(4, 6);
  bn.weight = floats({1, 1, 1, 1});
  bn.bias = floats({0, 0, 0, 0});
  const QTensor x = random_input({1, 4, 3, 3});
  const auto with = take(take(BatchNorm2d::from_float(bn, 0.1, 5)).forward(x));
  bn.weight.reset();
  bn.bias.reset();
  const auto module = take(BatchNorm2d::from_float(bn, 0.1, 5));
  CHECK(codes_of(take(module.forward(x))) == codes_of(with));
  CHECK(module.state_dict()[0].first == "weight");
}

TEST_CASE("batch_norm: state dicts have torch's keys, come back the same, and are read strictly") {
  const auto module = take(BatchNorm2d::from_float(random_parameters(6, 1), 0.1, 77));
  StateDict state = module.state_dict();
  std::vector<std::string> keys;
  for (const auto& [key, value] : state) keys.push_back(key);
  CHECK(keys == std::vector<std::string>{"weight", "bias", "running_mean", "running_var",
                                         "num_batches_tracked", "scale", "zero_point"});
  BatchNorm2d other(6);
  take(other.load_state_dict(state));
  const QTensor x = random_input({1, 6, 2, 2});
  CHECK(codes_of(take(other.forward(x))) == codes_of(take(module.forward(x))));
  CHECK(other.scale() == 0.1);

  StateDict extra = state;
  extra.emplace_back("gamma", Tensor::scalar(1.0F));
  CHECK(mentions(other.load_state_dict(extra), "Unexpected key(s) in state_dict: \"gamma\""));
  state.erase(state.begin() + 3);
  CHECK(mentions(other.load_state_dict(state), "Missing key(s) in state_dict: \"running_var\""));
  CHECK(other.zero_point() == 77);  // as it was
}

TEST_CASE(
    "batch_norm: quantized parameters act as their dequantized numbers, and cost what is said") {
  const BatchNormParameters bn = random_parameters(16, 12);
  const QTensor x = random_input({1, 16, 16, 16});
  const BatchNorm::Input input{ScalarType::kQuint8, 0.05, 3};
  std::int64_t changed[2] = {0, 0};
  for (const bool per_channel : {false, true}) {
    auto module = take(BatchNorm2d::from_float(bn, 0.02, 100));
    const auto before = codes_of(take(module.forward(x)));
    const ParameterError cost =
        take(module.quantize_parameters(ScalarType::kQint8, per_channel, input));
    changed[per_channel ? 1 : 0] = cost.codes_changed;
    CHECK(cost.codes == 16 * 256);
    CHECK(std::holds_alternative<QTensor>(module.parameters().running_mean));
    CHECK(cost.weight <= 1.5F / 255 / 2 * 1.001F);
    BatchNormParameters reals = module.parameters();
    for (Parameter* p : {&*reals.weight, &*reals.bias, &reals.running_mean, &reals.running_var})
      *p = std::get<QTensor>(*p).dequantize();
    const auto after = codes_of(take(module.forward(x)));
    CHECK(after == codes_of(take(take(BatchNorm2d::from_float(reals, 0.02, 100)).forward(x))));
    std::int64_t largest = 0;
    for (std::size_t i = 0; i < before.size(); ++i)
      largest = std::max(largest, std::abs(before[i] - after[i]));
    CHECK(largest <= cost.largest_change);
    const auto loaded = module.state_dict();
    BatchNorm2d other(16);
    take(other.load_state_dict(loaded));
    CHECK(codes_of(take(other.forward(x))) == after);
  }
  CHECK(changed[0] > changed[1]);  // a grid a number is finer than one for all
  auto exact = take(BatchNorm2d::from_float(bn, 0.02, 100));
  CHECK(take(exact.quantize_parameters(ScalarType::kQint32, true, input)).codes_changed <=
        changed[1]);
}

TEST_CASE("batch_norm: a tensor of 100 MB") {
  const Shape shape{1, 64, 1280, 1280};
  const QTensor x =
      take(make_quantized_tensor(Tensor::make(DType::kUint8, shape), QGrid::per_tensor(0.1, 128)));
  const auto module = take(BatchNorm2d::from_float(random_parameters(64, 3), 0.1, 128));
  const QTensor y = take(module.forward(x));
  const auto small = codes_of(take(module.forward(take(make_quantized_tensor(
      Tensor::make(DType::kUint8, {1, 64, 1, 1}), QGrid::per_tensor(0.1, 128))))));
  const auto codes = y.storage().span<std::uint8_t>();
  constexpr std::size_t kPlane = std::size_t{1280} * 1280;
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < codes.size(); ++i) wrong += codes[i] != small[i / kPlane] ? 1 : 0;
  CHECK(codes.size() == 64 * kPlane);
  CHECK(wrong == 0);
}

}  // namespace
}  // namespace octavo::nn::quantized
