// Pools on floats and on codes against plain loops over ONNX's definition.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/window.h"
#include "support/buffers.h"
#include "support/op_runner.h"

namespace octavo::test {
namespace {

using Ints = std::vector<std::int64_t>;

struct Case {
  std::string name;
  Shape x;
  Ints kernel, strides = {}, pads = {}, dilations = {};
  std::string auto_pad = "";
  bool ceil = false;
  Shape out;
};

const std::vector<Case> kCases = {
    {"2x2 by 2", {1, 5, 6, 8}, {2, 2}, {2, 2}, {}, {}, "", false, {1, 5, 3, 4}},
    {"3x3 by 2, padded, batch 2",
     {2, 9, 7, 8},
     {3, 3},
     {2, 2},
     {1, 1, 1, 1},
     {},
     "",
     false,
     {2, 9, 4, 4}},
    {"asymmetric", {1, 17, 9, 10}, {3, 2}, {2, 3}, {0, 1, 2, 0}, {}, "", false, {1, 17, 5, 4}},
    {"dilated", {1, 3, 9, 10}, {3, 2}, {1, 1}, {1, 1, 1, 1}, {2, 3}, "", false, {1, 3, 7, 9}},
    {"ceil_mode, last windows hang over",
     {1, 4, 6, 7},
     {3, 3},
     {2, 2},
     {},
     {},
     "",
     true,
     {1, 4, 3, 3}},
    {"ceil_mode, padded, last windows hang over",
     {1, 4, 6, 8},
     {3, 3},
     {2, 2},
     {1, 1, 1, 1},
     {},
     "",
     true,
     {1, 4, 4, 5}},
    {"ceil_mode, no window begins behind the image",
     {1, 2, 3, 3},
     {1, 1},
     {3, 3},
     {0, 0, 1, 1},
     {},
     "",
     true,
     {1, 2, 1, 1}},
    {"SAME_UPPER", {1, 4, 7, 8}, {2, 3}, {2, 2}, {}, {}, "SAME_UPPER", false, {1, 4, 4, 4}},
    {"SAME_LOWER", {1, 4, 7, 8}, {2, 3}, {2, 2}, {}, {}, "SAME_LOWER", false, {1, 4, 4, 4}},
    {"VALID", {1, 4, 7, 8}, {2, 3}, {2, 2}, {}, {}, "VALID", false, {1, 4, 3, 3}},
    {"1-d", {2, 3, 11}, {3}, {2}, {1, 1}, {}, "", false, {2, 3, 6}},
    {"1-d, ceil_mode", {1, 3, 10}, {3}, {2}, {}, {}, "", true, {1, 3, 5}},
};

Node node_of(const std::string& op, const Case& c) {
  Node node = make_node(op, {{"kernel_shape", c.kernel}});
  if (!c.strides.empty()) node.attrs.set("strides", c.strides);
  if (!c.pads.empty()) node.attrs.set("pads", c.pads);
  if (!c.dilations.empty()) node.attrs.set("dilations", c.dilations);
  if (!c.auto_pad.empty()) node.attrs.set("auto_pad", c.auto_pad);
  if (c.ceil) node.attrs.set("ceil_mode", std::int64_t{1});
  return node;
}

// The first tap's place on axis i, before the image where it is negative.
std::int64_t begin_of(const Case& c, std::size_t i) {
  if (!c.pads.empty()) return c.pads[i];
  if (!c.auto_pad.starts_with("SAME")) return 0;
  const int axis = static_cast<int>(i) + 2;
  const std::int64_t total =
      std::max<std::int64_t>(0, (c.out[axis] - 1) * c.strides[i] + c.kernel[i] - c.x[axis]);
  return c.auto_pad == "SAME_LOWER" ? (total + 1) / 2 : total / 2;
}
std::int64_t end_of(const Case& c, std::size_t i) {  // of the padding
  const int axis = static_cast<int>(i) + 2;
  if (!c.pads.empty()) return c.x[axis] + c.pads[i + c.kernel.size()];
  if (!c.auto_pad.starts_with("SAME")) return c.x[axis];
  return c.x[axis] +
         std::max<std::int64_t>(0, (c.out[axis] - 1) * c.strides[i] + c.kernel[i] - c.x[axis]) -
         begin_of(c, i);
}

// For each output element: the row-major indices of the taps inside the image, how many taps lie
// inside image and padding.
template <class Body>
void each_window(const Case& c, Body body) {
  const std::size_t spatial = c.kernel.size();
  std::size_t at = 0;
  each_index(c.out, [&](const Ints& index) {
    std::vector<std::size_t> taps;
    std::int64_t padded = 0;
    each_index(Shape(c.kernel), [&](const Ints& tap) {
      Ints place = index;
      bool inside = true;
      bool in_padding = true;
      for (std::size_t i = 0; i < spatial; ++i) {
        place[i + 2] = index[i + 2] * c.strides[i] - begin_of(c, i) +
                       tap[i] * (c.dilations.empty() ? 1 : c.dilations[i]);
        inside = inside && place[i + 2] >= 0 && place[i + 2] < c.x[static_cast<int>(i) + 2];
        in_padding = in_padding && place[i + 2] < end_of(c, i);
      }
      padded += in_padding ? 1 : 0;
      if (inside) taps.push_back(offset_of(c.x, place, Layout::kRowMajor));
    });
    body(at++, taps, padded);
  });
}

std::vector<kernels::Policy> policies() {
  return {{simd::EngineClass::kNone, simd::Level::kScalar},
          {simd::EngineClass::kNone, simd::Level::kBest}};
}

Tensor run_one(const Node& node, const Operand& x, const std::optional<QuantParams>& quant,
               const kernels::Policy& policy) {
  const auto out =
      run_op(node, {x}, {.layout = Layout::kChannelsLast, .out_quant = quant, .policy = policy});
  REQUIRE_MESSAGE(out.ok(), (out.ok() ? "" : out.error().message()));
  return (*out)[0];
}

TEST_CASE("MaxPool takes the largest value of each window, on floats and codes") {
  const QuantParams grid = QuantParams::per_tensor(0.1F, 7);
  for (const Case& c : kCases) {
    CAPTURE(c.name);
    const auto n = static_cast<std::size_t>(c.x.elements());
    const Tensor floats =
        Tensor::of(c.x, random_floats(n, 1, -2.0F, -1.0F));  // all below padding's zeros
    const Tensor u8 = Tensor::of(c.x, random_codes<std::uint8_t>(n, 2));
    const Tensor s8 = Tensor::of(c.x, random_codes<std::int8_t>(n, 3));
    std::vector<float> float_max;
    std::vector<std::uint8_t> u8_max;
    std::vector<std::int8_t> s8_max;
    each_window(c, [&](std::size_t, const std::vector<std::size_t>& taps, std::int64_t) {
      float_max.push_back(std::numeric_limits<float>::lowest());
      u8_max.push_back(0);
      s8_max.push_back(-128);
      for (const std::size_t tap : taps) {
        float_max.back() = std::max(float_max.back(), floats.span<float>()[tap]);
        u8_max.back() = std::max(u8_max.back(), u8.span<std::uint8_t>()[tap]);
        s8_max.back() = std::max(s8_max.back(), s8.span<std::int8_t>()[tap]);
      }
    });
    for (const kernels::Policy& policy : policies()) {
      const Node node = node_of("MaxPool", c);
      CHECK(same(run_one(node, {floats}, std::nullopt, policy), Tensor::of(c.out, float_max)));
      CHECK(same(run_one(node, {u8, false, grid}, grid, policy), Tensor::of(c.out, u8_max)));
      CHECK(same(run_one(node, {s8, false, grid}, grid, policy), Tensor::of(c.out, s8_max)));
    }
  }
}

enum class Divisor { kInside, kAllTaps, kPadded };

template <class Code>
void check_average(const Case& c, Divisor divisor) {
  const QuantParams in_grid = QuantParams::per_tensor(0.05F, std::is_signed_v<Code> ? -3 : 100);
  const QuantParams out_grid = QuantParams::per_tensor(0.03F, std::is_signed_v<Code> ? 9 : 90);
  Node node = node_of("AveragePool", c);
  if (divisor != Divisor::kInside) node.attrs.set("count_include_pad", std::int64_t{1});
  if (divisor == Divisor::kPadded)
    node.attrs.set(std::string(ops::kClippedWindow), std::int64_t{1});
  const Tensor x = Tensor::of(c.x, random_codes<Code>(static_cast<std::size_t>(c.x.elements()), 4));
  std::vector<float> reals;
  for (const Code code : x.span<Code>())
    reals.push_back(in_grid.scale[0] * static_cast<float>(code - in_grid.zero_point[0]));
  std::vector<double> means;
  each_window(c, [&](std::size_t, const std::vector<std::size_t>& taps, std::int64_t padded) {
    double sum = 0;
    for (const std::size_t tap : taps) sum += static_cast<double>(reals[tap]);
    const auto all = static_cast<std::int64_t>(Shape(c.kernel).elements());
    means.push_back(sum / static_cast<double>(divisor == Divisor::kInside    ? std::ssize(taps)
                                              : divisor == Divisor::kAllTaps ? all
                                                                             : padded));
  });
  for (const kernels::Policy& policy : policies()) {
    const Tensor floats = run_one(node, {Tensor::of(c.x, reals)}, std::nullopt, policy);
    const Tensor codes = run_one(node, {x, false, in_grid}, out_grid, policy);
    CHECK(floats.shape() == c.out);
    int wrong = 0;
    for (std::size_t i = 0; i < means.size(); ++i) {
      if (std::abs(static_cast<double>(floats.span<float>()[i]) - means[i]) > 1e-5) ++wrong;
      const double exact =
          means[i] / static_cast<double>(out_grid.scale[0]) + out_grid.zero_point[0];
      const double clamped =
          std::clamp(exact, static_cast<double>(std::numeric_limits<Code>::min()),
                     static_cast<double>(std::numeric_limits<Code>::max()));
      if (std::abs(codes.span<Code>()[i] - clamped) > 0.501) ++wrong;
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("AveragePool is the mean of each window, by every rule of what counts") {
  for (const Case& c : kCases) {
    CAPTURE(c.name);
    for (const Divisor divisor : {Divisor::kInside, Divisor::kAllTaps, Divisor::kPadded}) {
      CAPTURE(divisor);
      check_average<std::uint8_t>(c, divisor);
      check_average<std::int8_t>(c, divisor);
    }
  }
}

TEST_CASE(
    "AveragePool: before opset 19 a window that hangs over counts its taps behind the padding") {
  Node node = make_node("AveragePool", {{"kernel_shape", Ints{2}},
                                        {"strides", Ints{2}},
                                        {"ceil_mode", std::int64_t{1}},
                                        {"count_include_pad", std::int64_t{1}}});
  const Operand x{Tensor::of<float>(Shape{1, 1, 3}, {1, 3, 8})};
  CHECK(same(run_one(node, x, std::nullopt, {}), Tensor::of<float>(Shape{1, 1, 2}, {2, 4})));
  node.attrs.set(std::string(ops::kClippedWindow), std::int64_t{1});
  CHECK(same(run_one(node, x, std::nullopt, {}), Tensor::of<float>(Shape{1, 1, 2}, {2, 8})));
}

TEST_CASE("global pools see the whole image in one, two and three axes") {
  for (const Shape& shape : {Shape{2, 5, 12}, Shape{2, 5, 3, 4}, Shape{2, 5, 3, 2, 2}}) {
    CAPTURE(shape.to_string());
    const auto n = static_cast<std::size_t>(shape.elements());
    const Tensor x = Tensor::of(shape, random_floats(n, 5, -2.0F, 2.0F));
    const Tensor codes = Tensor::of(shape, random_codes<std::uint8_t>(n, 6));
    Shape out{2, 5};
    out.dims().resize(shape.dims().size(), 1);
    const QuantParams grid = QuantParams::per_tensor(0.02F, 30);
    for (const kernels::Policy& policy : policies()) {
      const Tensor mean = run_one(make_node("GlobalAveragePool"), {x}, std::nullopt, policy);
      const Tensor max = run_one(make_node("GlobalMaxPool"), {x}, std::nullopt, policy);
      const Tensor code_mean =
          run_one(make_node("GlobalAveragePool"), {codes, false, grid}, grid, policy);
      const Tensor code_max =
          run_one(make_node("GlobalMaxPool"), {codes, false, grid}, grid, policy);
      CHECK(mean.shape() == out);
      for (std::size_t i = 0; i < 10; ++i) {
        const auto of_channel = x.span<float>().subspan(i * 12, 12);
        const auto of_codes = codes.span<std::uint8_t>().subspan(i * 12, 12);
        double sum = 0;
        int code_sum = 0;
        for (const float value : of_channel) sum += static_cast<double>(value);
        for (const std::uint8_t code : of_codes) code_sum += code - 30;
        CHECK(static_cast<double>(mean.span<float>()[i]) ==
              doctest::Approx(sum / 12).epsilon(1e-5));
        CHECK(max.span<float>()[i] == *std::max_element(of_channel.begin(), of_channel.end()));
        CHECK(code_mean.span<std::uint8_t>()[i] ==
              static_cast<int>(std::nearbyint(code_sum / 12.0)) + 30);
        CHECK(code_max.span<std::uint8_t>()[i] ==
              *std::max_element(of_codes.begin(), of_codes.end()));
      }
    }
  }
}

TEST_CASE("pools of an empty batch give an empty batch") {
  for (const char* op : {"MaxPool", "AveragePool"}) {
    const Tensor out = run_one(make_node(op, {{"kernel_shape", Ints{2, 2}}}),
                               {Tensor::make(DType::kFloat32, {0, 3, 4, 4})}, std::nullopt, {});
    CHECK(out.shape() == Shape{0, 3, 3, 3});
  }
  CHECK(run_one(make_node("GlobalAveragePool"), {Tensor::make(DType::kFloat32, {0, 3, 4, 4})},
                std::nullopt, {})
            .shape() == Shape{0, 3, 1, 1});
}

TEST_CASE("pools refuse what makes no sense, and what they cannot do") {
  const auto code_of = [](const std::string& op, std::vector<std::pair<std::string, Attr>> attrs,
                          Shape x = {1, 2, 8, 8}, std::size_t outputs = 1) {
    const auto out = run_op(make_node(op, std::move(attrs)),
                            {Operand{Tensor::make(DType::kFloat32, std::move(x))}},
                            {.layout = Layout::kChannelsLast, .outputs = outputs});
    REQUIRE_FALSE(out.ok());
    return out.error().code;
  };
  CHECK(code_of("MaxPool", {}) == Code::kShapeMismatch);  // no kernel_shape
  CHECK(code_of("MaxPool", {{"kernel_shape", Ints{0, 2}}}) == Code::kUnsupportedAttribute);
  CHECK(code_of("MaxPool", {{"kernel_shape", Ints{2, 2}}, {"strides", Ints{0, 1}}}) ==
        Code::kUnsupportedAttribute);
  CHECK(code_of("AveragePool",
                {{"kernel_shape", Ints{2, 2}}, {"dilations", Ints{std::int64_t{1} << 40, 1}}}) ==
        Code::kLimitExceeded);
  CHECK(code_of("AveragePool", {{"kernel_shape", Ints{9, 9}}}) == Code::kShapeMismatch);
  CHECK(code_of("AveragePool", {{"kernel_shape", Ints{2, 2}},
                                {"pads", Ints(4, std::int64_t{1} << 23)}}) == Code::kLimitExceeded);
  CHECK(code_of("MaxPool", {{"kernel_shape", Ints{2, 2, 2, 2}}}, {1, 2, 4, 4, 4}) ==
        Code::kShapeMismatch);
  CHECK(code_of("GlobalAveragePool", {}, {1, 2}) == Code::kShapeMismatch);
}

TEST_CASE("MaxPool on codes keeps their grid") {
  const Operand x{Tensor::make(DType::kUint8, {1, 2, 4, 4}), false,
                  QuantParams::per_tensor(0.1F, 3)};
  const auto out =
      run_op(make_node("MaxPool", {{"kernel_shape", Ints{2, 2}}}), {x},
             {.layout = Layout::kChannelsLast, .out_quant = QuantParams::per_tensor(0.2F, 3)});
  REQUIRE_FALSE(out.ok());
}

}  // namespace
}  // namespace octavo::test
