// Conv on floats and on codes against plain loops over ONNX's definition, and against ONNX
// Runtime's QLinearConv.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "kernels/qconv/qconv.h"
#include "support/buffers.h"
#include "support/golden.h"
#include "support/op_runner.h"

namespace octavo::test {
namespace {

using Ints = std::vector<std::int64_t>;

struct Case {
  std::string name;
  Shape x, w;
  std::int64_t group = 1;
  Ints strides = {}, dilations = {}, pads = {};
  std::string auto_pad = "";
  bool bias = true;
};

const std::vector<Case> kCases = {
    {"1x1", {1, 5, 7, 9}, {6, 5, 1, 1}},
    {"1x1, many pixels, batch 2", {2, 3, 17, 19}, {9, 3, 1, 1}},
    {"1x1, stride 2", {1, 5, 7, 9}, {6, 5, 1, 1}, 1, {2, 2}},
    {"3x3", {1, 4, 8, 7}, {5, 4, 3, 3}},
    {"3x3, padded", {1, 3, 8, 7}, {8, 3, 3, 3}, 1, {}, {}, {1, 1, 1, 1}},
    {"3x3, padded, several blocks, batch 2", {2, 3, 21, 20}, {9, 3, 3, 3}, 1, {}, {}, {1, 1, 1, 1}},
    {"3x3, no padding, several blocks, batch 2", {2, 3, 31, 20}, {9, 3, 3, 3}},
    {"7x7 on a picture, stride 2", {1, 3, 23, 26}, {10, 3, 7, 7}, 1, {2, 2}, {}, {3, 3, 3, 3}},
    {"5x5 on one channel, batch 2", {2, 1, 14, 13}, {9, 1, 5, 5}, 1, {}, {}, {2, 2, 2, 2}},
    {"rows wider than a block", {1, 2, 3, 250}, {3, 2, 3, 3}, 1, {}, {}, {1, 1, 1, 1}},
    {"asymmetric pads and strides", {1, 3, 9, 10}, {4, 3, 3, 2}, 1, {2, 3}, {}, {0, 2, 1, 0}},
    {"dilated", {1, 3, 11, 12}, {4, 3, 3, 3}, 1, {1, 1}, {2, 3}, {2, 3, 2, 3}},
    {"dilated along the height only",
     {1, 3, 11, 12},
     {4, 3, 3, 3},
     1,
     {1, 1},
     {2, 1},
     {1, 0, 2, 1}},
    {"dilated and strided", {1, 3, 13, 14}, {4, 3, 2, 3}, 1, {2, 3}, {3, 2}, {1, 2, 0, 1}},
    {"kernel as large as the padded image", {1, 2, 3, 3}, {3, 2, 5, 5}, 1, {}, {}, {1, 1, 1, 1}},
    {"pads wider than the image", {1, 2, 2, 2}, {3, 2, 3, 3}, 1, {}, {}, {4, 5, 3, 6}},
    {"groups of 2 and 3 channels", {1, 6, 6, 7}, {9, 2, 3, 3}, 3, {}, {}, {1, 1, 1, 1}},
    {"groups, no padding, 1x1", {2, 8, 6, 7}, {4, 4, 1, 1}, 2},
    {"depthwise", {1, 11, 8, 9}, {11, 1, 3, 3}, 11, {}, {}, {1, 1, 1, 1}},
    {"depthwise, stride 2, batch 2", {2, 16, 9, 8}, {16, 1, 3, 3}, 16, {2, 2}, {}, {1, 1, 1, 1}},
    {"depthwise, no padding, dilated", {1, 9, 9, 8}, {9, 1, 3, 2}, 9, {1, 2}, {2, 3}},
    {"depthwise, many pixels", {1, 3, 20, 21}, {3, 1, 5, 5}, 3, {}, {}, {2, 2, 2, 2}},
    {"depthwise 1x1", {2, 7, 15, 15}, {7, 1, 1, 1}, 7},
    {"depthwise with multiplier 2", {1, 5, 6, 7}, {10, 1, 3, 3}, 5, {}, {}, {1, 1, 1, 1}},
    {"one channel in, one out", {1, 1, 6, 7}, {1, 1, 3, 3}, 1, {}, {}, {1, 1, 1, 1}},
    {"SAME_UPPER, even kernel", {1, 3, 7, 8}, {4, 3, 2, 4}, 1, {2, 3}, {}, {}, "SAME_UPPER"},
    {"SAME_LOWER, even kernel", {1, 3, 7, 8}, {4, 3, 2, 4}, 1, {2, 3}, {}, {}, "SAME_LOWER"},
    {"SAME_UPPER, dilated", {1, 3, 7, 8}, {4, 3, 3, 3}, 1, {1, 2}, {2, 2}, {}, "SAME_UPPER"},
    {"SAME_UPPER, stride beyond kernel",
     {1, 3, 8, 8},
     {4, 3, 1, 1},
     1,
     {3, 3},
     {},
     {},
     "SAME_UPPER"},
    {"VALID", {1, 3, 7, 8}, {4, 3, 2, 4}, 1, {2, 3}, {}, {}, "VALID"},
    {"without bias", {1, 3, 7, 8}, {4, 3, 3, 3}, 1, {}, {}, {1, 1, 1, 1}, "", false},
    {"1-d", {2, 3, 20}, {4, 3, 5}, 1, {2}, {}, {2, 1}},
    {"1-d, dilated, groups", {1, 4, 20}, {6, 2, 3}, 2, {1}, {3}, {3, 3}},
    {"1-d, depthwise", {1, 9, 300}, {9, 1, 3}, 9, {1}, {}, {1, 1}},
    {"depthwise 1x1, vectors across pixels", {1, 37, 17, 13}, {37, 1, 1, 1}, 37},
    {"3x3, enough channels for tiles of 4x4",
     {1, 16, 14, 14},
     {32, 16, 3, 3},
     1,
     {},
     {},
     {1, 1, 1, 1}},
    {"3x3, tiles of 4x4 of three images, no padding", {3, 24, 15, 22}, {17, 24, 3, 3}},
    {"3x3, tiles of 4x4, far beyond the image",
     {1, 20, 3, 5},
     {24, 20, 3, 3},
     1,
     {},
     {},
     {9, 0, 2, 6}},
    {"3x3, many strips of tiles",
     {1, 9, 47, 45},
     {20, 9, 3, 3},
     1,
     {},
     {},
     {1, 1, 1, 1},
     "",
     false},
    {"depthwise 1x1, padded", {1, 9, 5, 6}, {9, 1, 1, 1}, 9, {}, {}, {1, 0, 0, 1}},
    {"3x3, many channels", {1, 32, 15, 13}, {40, 32, 3, 3}, 1, {}, {}, {1, 1, 1, 1}},
    {"3x3, many channels, other borders, batch 2",
     {2, 37, 14, 14},
     {35, 37, 3, 3},
     1,
     {},
     {},
     {0, 2, 1, 0}},
};

// One spatial axis as ONNX defines it; 1-d has a first axis of size 1.
struct Axis {
  std::int64_t in = 1, kernel = 1, stride = 1, dilation = 1, begin = 0, out = 1;
};
Axis axis_of(const Case& c, int i) {
  const int spatial = c.x.rank() - 2;
  if (spatial == 1 && i == 0) return {};
  const auto at = static_cast<std::size_t>(spatial == 1 ? 0 : i);
  const auto pick = [&](const Ints& list, std::int64_t fallback) {
    return list.empty() ? fallback : list[at];
  };
  Axis a;
  a.in = c.x[static_cast<int>(at) + 2];
  a.kernel = c.w[static_cast<int>(at) + 2];
  a.stride = pick(c.strides, 1);
  a.dilation = pick(c.dilations, 1);
  a.begin = pick(c.pads, 0);
  std::int64_t end = c.pads.empty() ? 0 : c.pads[at + static_cast<std::size_t>(spatial)];
  const std::int64_t extent = a.dilation * (a.kernel - 1) + 1;
  if (c.auto_pad.starts_with("SAME")) {
    a.out = (a.in + a.stride - 1) / a.stride;
    const std::int64_t total = std::max<std::int64_t>(0, (a.out - 1) * a.stride + extent - a.in);
    a.begin = c.auto_pad == "SAME_LOWER" ? (total + 1) / 2 : total / 2;
    end = total - a.begin;
  }
  a.out = (a.in + a.begin + end - extent) / a.stride + 1;
  return a;
}

// sum(n, m, y, x, term): adds term(index of x, index of w) for all taps inside the image. Indices
// are row-major.
template <class Term, class Result>
void each_output(const Case& c, Term term, Result result) {
  const Axis h = axis_of(c, 0);
  const Axis w = axis_of(c, 1);
  const std::int64_t channels = c.x[1];
  const std::int64_t outputs = c.w[0];
  const std::int64_t depth = c.w[1];
  std::size_t at = 0;
  for (std::int64_t n = 0; n < c.x[0]; ++n) {
    for (std::int64_t m = 0; m < outputs; ++m) {
      for (std::int64_t y = 0; y < h.out; ++y) {
        for (std::int64_t x = 0; x < w.out; ++x, ++at) {
          for (std::int64_t d = 0; d < depth; ++d) {
            for (std::int64_t i = 0; i < h.kernel; ++i) {
              for (std::int64_t j = 0; j < w.kernel; ++j) {
                const std::int64_t row = y * h.stride - h.begin + i * h.dilation;
                const std::int64_t column = x * w.stride - w.begin + j * w.dilation;
                if (row < 0 || row >= h.in || column < 0 || column >= w.in) continue;
                const std::int64_t channel = m / (outputs / c.group) * depth + d;
                term(static_cast<std::size_t>(((n * channels + channel) * h.in + row) * w.in +
                                              column),
                     static_cast<std::size_t>(((m * depth + d) * h.kernel + i) * w.kernel + j));
              }
            }
          }
          result(at, static_cast<std::size_t>(m));
        }
      }
    }
  }
}

Shape output_shape(const Case& c) {
  Shape shape{c.x[0], c.w[0], axis_of(c, 0).out, axis_of(c, 1).out};
  if (c.x.rank() == 3) shape = Shape{c.x[0], c.w[0], axis_of(c, 1).out};
  return shape;
}

Node node_of(const Case& c) {
  Node node = make_node("Conv", {{"group", c.group}});
  if (!c.strides.empty()) node.attrs.set("strides", c.strides);
  if (!c.dilations.empty()) node.attrs.set("dilations", c.dilations);
  if (!c.pads.empty()) node.attrs.set("pads", c.pads);
  if (!c.auto_pad.empty()) node.attrs.set("auto_pad", c.auto_pad);
  return node;
}

std::vector<kernels::Policy> policies() {
  std::vector<kernels::Policy> list{{simd::EngineClass::kNone, simd::Level::kScalar},
                                    {simd::EngineClass::kNone, simd::Level::kSimd128}};
  list.push_back({simd::probe_engine_class(), simd::Level::kBest});
  if (simd::probe_engine_class() == simd::EngineClass::kNone) {  // natively: models
    list.push_back({simd::EngineClass::kUsdot, simd::Level::kBest});
    list.push_back({simd::EngineClass::kSdot, simd::Level::kBest});
    list.push_back({simd::EngineClass::kMaddubs, simd::Level::kBest});
  }
  list.push_back({simd::probe_engine_class(), simd::Level::kBest, true});  // a float session's
  return list;
}

void check_float(const Case& c, const Attrs& extra = {}, double lo = -1e30, double hi = 1e30) {
  const Tensor x =
      Tensor::of(c.x, random_floats(static_cast<std::size_t>(c.x.elements()), 1, -2.0F, 2.0F));
  const Tensor w =
      Tensor::of(c.w, random_floats(static_cast<std::size_t>(c.w.elements()), 2, -1.0F, 1.0F));
  const Tensor b =
      Tensor::of(Shape{c.w[0]}, random_floats(static_cast<std::size_t>(c.w[0]), 3, -1.0F, 1.0F));
  std::vector<double> expected(static_cast<std::size_t>(output_shape(c).elements()));
  double sum = 0;
  each_output(
      c,
      [&](std::size_t i, std::size_t k) {
        sum += static_cast<double>(x.span<float>()[i]) * static_cast<double>(w.span<float>()[k]);
      },
      [&](std::size_t at, std::size_t m) {
        expected[at] =
            std::clamp(sum + (c.bias ? static_cast<double>(b.span<float>()[m]) : 0.0), lo, hi);
        sum = 0;
      });
  Node node = node_of(c);
  for (const auto& [name, attr] : extra) node.attrs.set(name, attr);
  std::optional<Tensor> first;
  for (const kernels::Policy& policy : policies()) {
    CAPTURE(simd::level_name(policy.level));
    const auto out =
        run_op(node, {Operand{x}, constant(w), c.bias ? std::optional(constant(b)) : std::nullopt},
               {.layout = Layout::kChannelsLast, .policy = policy});
    REQUIRE_MESSAGE(out.ok(), (out.ok() ? "" : out.error().message()));
    const Tensor& y = (*out)[0];
    CHECK(y.shape() == output_shape(c));
    int wrong = 0;
    for (std::size_t i = 0; i < expected.size(); ++i)
      wrong += std::abs(static_cast<double>(y.span<float>()[i]) - expected[i]) > 1e-4 ? 1 : 0;
    CHECK(wrong == 0);
    if (!first) first = y;
    if (!policy.fused_floats) CHECK(same(y, *first));  // all other rows give the same bits
  }
  // A weight and a bias that the network computes.
  const auto out =
      run_op(node, {Operand{x}, Operand{w}, c.bias ? std::optional(Operand{b}) : std::nullopt}, {});
  REQUIRE_MESSAGE(out.ok(), (out.ok() ? "" : out.error().message()));
  for (std::size_t i = 0; i < expected.size(); ++i)
    CHECK(std::abs(static_cast<double>((*out)[0].span<float>()[i]) - expected[i]) < 1e-4);
}

template <class Code>
void check_codes(const Case& c, std::optional<int> uint8_zero, const Attrs& extra = {},
                 int lo = -1000, int hi = 1000) {
  const bool uint8_weights = uint8_zero.has_value();
  constexpr bool kSigned = std::is_signed_v<Code>;
  const auto outputs = static_cast<std::size_t>(c.w[0]);
  const QuantParams x_grid = QuantParams::per_tensor(0.02F, kSigned ? -11 : 117);
  const QuantParams y_grid = QuantParams::per_tensor(0.05F, kSigned ? 4 : 131);
  QuantParams w_grid{{}, {}, 0};
  const std::vector<float> scales = random_floats(outputs, 4, 0.002F, 0.02F);
  w_grid.scale = uint8_weights ? std::vector{scales[0]} : scales;
  w_grid.zero_point.assign(w_grid.scale.size(), uint8_zero.value_or(0));
  if (w_grid.scale.size() == 1) w_grid.axis.reset();
  const Tensor x = Tensor::of(c.x, random_codes<Code>(static_cast<std::size_t>(c.x.elements()), 5));
  const auto count = static_cast<std::size_t>(c.w.elements());
  const Tensor w = uint8_weights ? Tensor::of(c.w, random_codes<std::uint8_t>(count, 6))
                                 : Tensor::of(c.w, random_codes<std::int8_t>(count, 6));
  std::vector<std::int64_t> weights = to_int64s(w);
  for (std::int64_t& code : weights) code -= uint8_zero.value_or(0);
  Random random(7);
  std::vector<std::int32_t> bias(outputs);
  for (std::int32_t& b : bias) b = random.range(-3000, 3000);
  std::vector<Code> expected(static_cast<std::size_t>(output_shape(c).elements()));
  std::int64_t acc = 0;
  each_output(
      c,
      [&](std::size_t i, std::size_t k) {
        acc += (x.span<Code>()[i] - x_grid.zero_point[0]) * weights[k];
      },
      [&](std::size_t at, std::size_t m) {
        acc += c.bias ? bias[m] : 0;
        const float scale = x_grid.scale[0] * w_grid.scale[uint8_weights ? 0 : m] / y_grid.scale[0];
        const double code = std::nearbyint(static_cast<double>(static_cast<float>(acc) * scale)) +
                            y_grid.zero_point[0];
        expected[at] = static_cast<Code>(
            std::clamp(code, std::max<double>(std::numeric_limits<Code>::min(), lo),
                       std::min<double>(std::numeric_limits<Code>::max(), hi)));
        acc = 0;
      });
  Operand weight = constant(w);
  weight.quant = w_grid;
  Node node = node_of(c);
  for (const auto& [name, attr] : extra) node.attrs.set(name, attr);
  for (const kernels::Policy& policy : policies()) {
    CAPTURE(simd::level_name(policy.level));
    CAPTURE(simd::engine_class_name(policy.engine));
    const auto out =
        run_op(node,
               {Operand{x, false, x_grid}, weight,
                c.bias ? std::optional(constant(Tensor::of(Shape{c.w[0]}, bias))) : std::nullopt},
               {.layout = Layout::kChannelsLast, .out_quant = y_grid, .policy = policy});
    REQUIRE_MESSAGE(out.ok(), (out.ok() ? "" : out.error().message()));
    CHECK(same((*out)[0], Tensor::of(output_shape(c), expected)));
  }
}

TEST_CASE("Conv on floats is ONNX's sum, in the same bits in every row") {
  for (const Case& c : kCases) {
    CAPTURE(c.name);
    check_float(c);
  }
}

TEST_CASE("Conv on uint8 codes is exact, with int8 weights per channel") {
  for (const Case& c : kCases) {
    CAPTURE(c.name);
    check_codes<std::uint8_t>(c, std::nullopt);
  }
}

TEST_CASE("Conv on int8 codes is exact, with int8 weights per channel") {
  for (const Case& c : kCases) {
    CAPTURE(c.name);
    check_codes<std::int8_t>(c, std::nullopt);
  }
}

TEST_CASE("Conv on codes in three spatial axes is exact") {
  struct Volume {
    Shape x, w;
    Ints strides, dilations, pads;
    std::int64_t group;
  };
  for (const Volume& v :
       {Volume{{2, 3, 4, 5, 6}, {9, 3, 3, 3, 3}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1, 1, 1, 1}, 1},
        Volume{{1, 4, 5, 4, 7}, {6, 2, 2, 3, 2}, {2, 1, 3}, {1, 1, 1}, {1, 2, 0, 0, 1, 3}, 2},
        Volume{{1, 5, 6, 7, 8}, {4, 5, 2, 2, 3}, {1, 2, 1}, {3, 2, 2}, {2, 0, 1, 3, 1, 2}, 1},
        Volume{{1, 6, 3, 3, 3}, {6, 1, 3, 1, 2}, {1, 1, 1}, {1, 1, 1}, {2, 0, 0, 2, 0, 1}, 6}}) {
    CAPTURE(v.x.to_string());
    const QuantParams x_grid = QuantParams::per_tensor(0.05F, 117);
    const QuantParams w_grid = QuantParams::per_tensor(0.02F, 0);
    const QuantParams y_grid = QuantParams::per_tensor(0.3F, 101);
    const Tensor x =
        Tensor::of(v.x, random_codes<std::uint8_t>(static_cast<std::size_t>(v.x.elements()), 11));
    const Tensor w =
        Tensor::of(v.w, random_codes<std::int8_t>(static_cast<std::size_t>(v.w.elements()), 12));
    Node node;
    node.op = "Conv";
    node.attrs.set("strides", v.strides);
    node.attrs.set("dilations", v.dilations);
    node.attrs.set("pads", v.pads);
    node.attrs.set("group", v.group);
    std::optional<Tensor> expected;
    for (const kernels::Policy& policy : policies()) {
      CAPTURE(simd::engine_class_name(policy.engine));
      Operand weight = constant(w);
      weight.quant = w_grid;
      const auto out =
          run_op(node, {Operand{x, false, x_grid}, weight, std::nullopt},
                 {.layout = Layout::kChannelsLast, .out_quant = y_grid, .policy = policy});
      REQUIRE_MESSAGE(out.ok(), (out.ok() ? "" : out.error().message()));
      const Tensor& y = (*out)[0];
      if (!expected) {
        expected = Tensor::make(DType::kUint8, y.shape());
        const std::int64_t of_group = v.w[0] / v.group;
        test::each_index(y.shape(), [&](const Ints& o) {
          std::int64_t acc = 0;
          test::each_index(Shape{v.w[1], v.w[2], v.w[3], v.w[4]}, [&](const Ints& t) {
            Ints in{o[0], o[1] / of_group * v.w[1] + t[0]};
            for (std::size_t d = 0; d < 3; ++d) {
              in.push_back(o[d + 2] * v.strides[d] - v.pads[d] + t[d + 1] * v.dilations[d]);
              if (in.back() < 0 || in.back() >= v.x[static_cast<int>(d) + 2]) return;
            }
            acc += (x.span<std::uint8_t>()[test::offset_of(v.x, in, Layout::kRowMajor)] - 117) *
                   w.span<std::int8_t>()[test::offset_of(v.w, {o[1], t[0], t[1], t[2], t[3]},
                                                         Layout::kRowMajor)];
          });
          const float scale = 0.05F * 0.02F / 0.3F;
          const double code =
              std::nearbyint(static_cast<double>(static_cast<float>(acc) * scale)) + 101;
          expected->mutable_span<std::uint8_t>()[test::offset_of(y.shape(), o, Layout::kRowMajor)] =
              static_cast<std::uint8_t>(std::clamp(code, 0.0, 255.0));
        });
      }
      CHECK(same(y, *expected));
    }
  }
}

TEST_CASE("Conv takes uint8 weights around any zero point") {
  for (const Case& c : kCases) {
    for (const int zero : {128, 121, 0, 255}) {
      CAPTURE(c.name);
      CAPTURE(zero);
      check_codes<std::uint8_t>(c, zero);
    }
  }
}

TEST_CASE("Conv takes a zero point for each output channel of its weight") {
  const Tensor x = counting(DType::kUint8, {1, 2, 1, 1});  // 0, 1
  Operand w = constant(Tensor::of<std::uint8_t>(Shape{3, 2, 1, 1}, {10, 20, 30, 40, 50, 255}));
  w.quant = QuantParams{{1.0F, 1.0F, 1.0F}, {5, 41, 0}, 0};
  const auto out =
      run_op(make_node("Conv"), {Operand{x, false, QuantParams::per_tensor(1.0F, 0)}, w},
             {.layout = Layout::kChannelsLast, .out_quant = QuantParams::per_tensor(2.0F, 10)});
  REQUIRE(out.ok());
  CHECK(same((*out)[0],
             Tensor::of<std::uint8_t>(Shape{1, 3, 1, 1},
                                      {10 + 8, 10, 10 + 128})));  // ties to even: 7.5, -0.5, 127.5
}

// The row that a Conv on codes runs on; every weight is `weight`.
template <class Code>
std::string row_of(const Case& c, const kernels::Policy& policy, std::int8_t weight = 100) {
  Operand w = constant(
      Tensor::of(c.w, std::vector<std::int8_t>(static_cast<std::size_t>(c.w.elements()), weight)));
  w.quant = QuantParams::per_tensor(0.01F, 0);
  const Tensor x = Tensor::of(c.x, random_codes<Code>(static_cast<std::size_t>(c.x.elements()), 5));
  const QuantParams grid = QuantParams::per_tensor(0.02F, 3);
  std::string kernel;
  const auto out = run_op(
      node_of(c), {Operand{x, false, grid}, w},
      {.layout = Layout::kChannelsLast, .out_quant = grid, .policy = policy, .kernel = &kernel});
  REQUIRE_MESSAGE(out.ok(), (out.ok() ? "" : out.error().message()));
  return kernel;
}

TEST_CASE("Conv on codes takes tiles of 4x4 where they pay and are exact") {
  using simd::EngineClass;
  using simd::Level;
  constexpr kernels::Policy kSimd{EngineClass::kNone, Level::kSimd128};
  const Ints ones(4, 1);
  const Case wide{"", {1, 16, 14, 14}, {32, 16, 3, 3}, 1, {}, {}, ones};
  CHECK(row_of<std::uint8_t>(wide, kSimd) == "qwinograd/simd128-u8");
  CHECK(row_of<std::int8_t>(wide, kSimd) == "qwinograd/simd128-s8");
  CHECK(row_of<std::uint8_t>(wide, {EngineClass::kNone, Level::kScalar}) == "qconv/scalar-u8");
  const Case many{"", {1, 64, 16, 16}, {64, 64, 3, 3}, 1, {}, {}, ones};
  if (kernels::qconv_kernels().back().level == Level::kRelaxed) {
    const auto on = [&](EngineClass engine, bool x_signed) {
      const kernels::Policy policy{engine, Level::kBest};
      return x_signed ? row_of<std::int8_t>(many, policy, 50)
                      : row_of<std::uint8_t>(many, policy, 50);
    };
    // Weights of pairs that fit into 16 bits too: a quarter of the products is still less.
    CHECK(on(EngineClass::kMaddubs, false) == "qwinograd/simd128-u8");
    CHECK(on(EngineClass::kWrap, true) == "qwinograd/simd128-s8");
    // Even of USDOT's products, unless tiles hang over; SDOT's machines are others.
    CHECK(on(EngineClass::kUsdot, false) == "qwinograd/simd128-u8");
    CHECK(on(EngineClass::kSdot, true) == "qconv/relaxed-sdot");
    const Case overhung{"", {1, 64, 14, 14}, {64, 64, 3, 3}, 1, {}, {}, ones};
    CHECK(row_of<std::uint8_t>(overhung, {EngineClass::kUsdot, Level::kBest}, 50) ==
          "qconv/relaxed-usdot");
  }
  // 9 * 960 * 127 is more than four times 2^26 / 255.
  const Case deep{"", {1, 960, 8, 8}, {8, 960, 3, 3}, 1, {}, {}, ones};
  CHECK(row_of<std::uint8_t>(deep, kSimd, 127) == "qconv/simd128-dot16-u8");
  CHECK(row_of<std::uint8_t>(deep, kSimd, 114) == "qwinograd/simd128-u8");
  const Case others[] = {{"one output", {1, 16, 3, 3}, {32, 16, 3, 3}},
                         {"few channels", {1, 3, 32, 32}, {8, 3, 3, 3}},
                         {"stride", {1, 16, 14, 14}, {32, 16, 3, 3}, 1, {1, 2}, {}, ones},
                         {"dilation", {1, 16, 14, 14}, {32, 16, 3, 3}, 1, {}, {2, 1}, ones},
                         {"groups", {1, 32, 14, 14}, {32, 16, 3, 3}, 2, {}, {}, ones},
                         {"3x1", {1, 16, 14, 14}, {32, 16, 3, 1}},
                         {"5x5", {1, 16, 14, 14}, {32, 16, 5, 5}}};
  for (const Case& c : others) {
    CAPTURE(c.name);
    CHECK(row_of<std::uint8_t>(c, kSimd) == "qconv/simd128-dot16-u8");
  }
}

TEST_CASE("Conv clamps to its fused activation") {
  const Case& c = kCases[4];
  Attrs relu;
  relu.set("octavo_activation", std::string("Relu"));
  Attrs clip;
  clip.set("octavo_activation", std::string("Clip"));
  clip.set("octavo_min", -1.0F);
  clip.set("octavo_max", 1.5F);
  check_float(c, relu, 0.0);
  check_float(c, clip, -1.0, 1.5);
  check_codes<std::uint8_t>(c, std::nullopt, relu, 131);
  check_codes<std::int8_t>(c, std::nullopt, relu, 4);
  check_codes<std::uint8_t>(c, std::nullopt, clip, 131 - 20, 131 + 30);
  const Case& depthwise = kCases[16];
  check_float(depthwise, clip, -1.0, 1.5);
  check_codes<std::int8_t>(depthwise, std::nullopt, clip, 4 - 20, 4 + 30);
  const Case& pixels = kCases[20];
  check_codes<std::uint8_t>(pixels, std::nullopt, relu, 131);
  check_codes<std::int8_t>(pixels, std::nullopt, clip, 4 - 20, 4 + 30);
}

template <class Code>
Tensor golden_codes(const GoldenGroup& group, const GoldenCase& c, const char* key) {
  return Tensor::of(Shape(c.tensors.at(key).shape), group.get<Code>(c, key));
}
Tensor golden_tensor(const GoldenGroup& group, const GoldenCase& c, const char* key) {
  return c.tensors.at(key).dtype == "u8" ? golden_codes<std::uint8_t>(group, c, key)
                                         : golden_codes<std::int8_t>(group, c, key);
}

TEST_CASE("Conv on codes gives ONNX Runtime's QLinearConv") {
  const GoldenGroup group = load_golden("onnx_ops");
  int checked = 0;
  for (const GoldenCase& c : group.cases) {
    if (c.str("kind") != "QLinearConv") continue;
    CAPTURE(c.name);
    const Ints two(2, c.integer("stride"));
    const Node node = make_node("Conv", {{"group", c.integer("groups")},
                                         {"strides", two},
                                         {"pads", Ints(4, c.integer("pad"))},
                                         {"dilations", Ints(2, c.integer("dilation"))}});
    Operand weight = constant(golden_tensor(group, c, "w"));
    QuantParams grid{group.get<float>(c, "w_scale"), {}, std::nullopt};
    if (grid.scale.size() > 1) grid.axis = 0;
    for (const std::int64_t zero : to_int64s(golden_tensor(group, c, "w_zp")))
      grid.zero_point.push_back(static_cast<std::int32_t>(zero));
    weight.quant = grid;
    const auto grid_of = [&](const char* scale, const char* zero) {
      return QuantParams::per_tensor(static_cast<float>(c.number(scale)),
                                     static_cast<std::int32_t>(c.integer(zero)));
    };
    const Tensor bias =
        Tensor::of(Shape(c.tensors.at("bias").shape), group.get<std::int32_t>(c, "bias"));
    for (const kernels::Policy& policy : policies()) {
      const auto out =
          run_op(node,
                 {Operand{golden_tensor(group, c, "x"), false, grid_of("x_scale", "x_zp")}, weight,
                  constant(bias)},
                 {.layout = Layout::kChannelsLast,
                  .out_quant = grid_of("y_scale", "y_zp"),
                  .policy = policy});
      REQUIRE_MESSAGE(out.ok(), (out.ok() ? "" : out.error().message()));
      CHECK(same((*out)[0], golden_tensor(group, c, "y")));
    }
    ++checked;
  }
  CHECK(checked == 12);
}

// The error of a Conv on x [1, 4, 8, 8] with w [6, 4, 3, 3].
Error refusal(std::vector<std::pair<std::string, Attr>> attrs, Shape w = {6, 4, 3, 3},
              Shape x = {1, 4, 8, 8}) {
  const auto out = run_op(make_node("Conv", std::move(attrs)),
                          {Operand{Tensor::make(DType::kFloat32, std::move(x))},
                           constant(Tensor::make(DType::kFloat32, std::move(w)))},
                          {.layout = Layout::kChannelsLast});
  REQUIRE_FALSE(out.ok());
  CHECK(out.error().where == "node 'node' (Conv)");
  return out.error();
}

TEST_CASE("Conv refuses attributes that make no sense, by name") {
  constexpr std::int64_t kHuge = std::int64_t{1} << 62;
  CHECK(refusal({{"strides", Ints{0, 1}}}).message().find("strides holds 0") != std::string::npos);
  CHECK(refusal({{"strides", Ints{1}}}).code == Code::kShapeMismatch);
  CHECK(refusal({{"dilations", Ints{1, -1}}}).message().find("dilations holds -1") !=
        std::string::npos);
  CHECK(refusal({{"dilations", Ints{kHuge, 1}}}).code == Code::kLimitExceeded);
  CHECK(refusal({{"pads", Ints{kHuge, kHuge, kHuge, kHuge}}}).code == Code::kLimitExceeded);
  CHECK(refusal({{"pads", Ints{-1, 0, 0, 0}}}).code == Code::kUnsupportedAttribute);
  CHECK(refusal({{"pads", Ints{1, 1}}}).message().find("pads has 2 numbers") != std::string::npos);
  CHECK(refusal({{"auto_pad", std::string("SAME")}}).code == Code::kUnsupportedAttribute);
  CHECK(refusal({{"kernel_shape", Ints{5, 5}}}).code == Code::kShapeMismatch);
  CHECK(refusal({{"kernel_shape", Ints{3}}}).code == Code::kShapeMismatch);
  CHECK(refusal({{"group", std::int64_t{0}}}).code == Code::kShapeMismatch);
  CHECK(refusal({{"group", std::int64_t{-2}}}).code == Code::kShapeMismatch);
  CHECK(refusal({{"group", std::int64_t{2}}}).code == Code::kShapeMismatch);
  CHECK(refusal({{"group", kHuge}}).code == Code::kShapeMismatch);
  CHECK(refusal({{"group", std::int64_t{4}}}, {6, 1, 3, 3}).message().find("group = 4") !=
        std::string::npos);
  CHECK(refusal({{"dilations", Ints{4, 4}}}).message().find("does not fit") != std::string::npos);
  CHECK(refusal({}, {6, 4, 3}).code == Code::kShapeMismatch);
  CHECK(refusal({}, {6, 4}, {1, 4}).code == Code::kShapeMismatch);
  CHECK(refusal({{"pads", Ints{1 << 22, 1 << 22, 1 << 22, 1 << 22}}}).code == Code::kLimitExceeded);
  CHECK(
      refusal({{"pads", Ints{0, 1 << 23, 0, 1 << 23}}, {"strides", Ints{1, 1 << 22}}}, {1, 4, 3, 3})
          .code == Code::kLimitExceeded);
}

TEST_CASE("Conv refuses weights and biases that do not fit") {
  const Operand x{Tensor::make(DType::kFloat32, {1, 4, 8, 8})};
  const Tensor w = Tensor::make(DType::kFloat32, {6, 4, 3, 3});
  const auto code_of = [&](std::optional<Operand> weight, std::optional<Operand> bias) {
    const auto out = run_op(make_node("Conv"), {x, std::move(weight), std::move(bias)},
                            {.layout = Layout::kChannelsLast});
    REQUIRE_FALSE(out.ok());
    return out.error().code;
  };
  CHECK(code_of(constant(w), constant(Tensor::make(DType::kFloat32, {5}))) == Code::kShapeMismatch);
  CHECK(code_of(constant(w), constant(Tensor::make(DType::kFloat32, {6, 1}))) ==
        Code::kShapeMismatch);
  CHECK(code_of(Operand{Tensor::make(DType::kInt32, {6, 4, 3, 3})}, std::nullopt) ==
        Code::kUnsupportedDtype);  // computed
  CHECK(code_of(constant(w), constant(Tensor::make(DType::kInt32, {6}))) ==
        Code::kUnsupportedDtype);
  CHECK(code_of(constant(Tensor::make(DType::kInt8, {6, 4, 3, 3})), std::nullopt) ==
        Code::kUnsupportedDtype);
}

TEST_CASE("Conv on codes refuses weights without a scale, or with one that does not fit") {
  const QuantParams grid = QuantParams::per_tensor(0.1F, 3);
  const Operand x{Tensor::make(DType::kUint8, {1, 4, 8, 8}), false, grid};
  Operand w = constant(Tensor::make(DType::kInt8, {6, 4, 3, 3}));
  const auto code_of = [&](const Operand& weight, std::optional<Operand> bias,
                           std::optional<QuantParams> out_quant) {
    const auto out = run_op(make_node("Conv"), {x, weight, std::move(bias)},
                            {.layout = Layout::kChannelsLast, .out_quant = std::move(out_quant)});
    REQUIRE_FALSE(out.ok());
    return out.error().code;
  };
  CHECK(code_of(w, std::nullopt, grid) == Code::kUnsupportedDtype);
  w.quant = QuantParams::per_tensor(0.1F, 1000);
  CHECK(code_of(w, std::nullopt, grid) == Code::kInvalidModel);
  w.quant = QuantParams{{0.1F, 0.2F}, {0, 0}, 0};
  CHECK(code_of(w, std::nullopt, grid) == Code::kShapeMismatch);
  w.quant = QuantParams::per_tensor(0.1F, 0);
  CHECK(code_of(w, constant(Tensor::make(DType::kFloat32, {6})), grid) == Code::kUnsupportedDtype);
  CHECK(code_of(w, std::nullopt, std::nullopt) == Code::kUnsupportedDtype);
}

TEST_CASE("Conv of an empty batch gives an empty batch") {
  const Node node = make_node("Conv", {{"pads", Ints{1, 1, 1, 1}}});
  const auto out = run_op(node,
                          {Operand{Tensor::make(DType::kFloat32, {0, 4, 8, 8})},
                           constant(Tensor::make(DType::kFloat32, {6, 4, 3, 3}))},
                          {.layout = Layout::kChannelsLast});
  REQUIRE_MESSAGE(out.ok(), (out.ok() ? "" : out.error().message()));
  CHECK((*out)[0].shape() == Shape{0, 6, 8, 8});
}

}  // namespace
}  // namespace octavo::test
