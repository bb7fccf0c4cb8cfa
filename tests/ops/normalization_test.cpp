// Normalizations, integer products and the windows of three axes against plain loops over their
// definitions.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "support/op_runner.h"

namespace octavo::test {
namespace {

using Floats = std::vector<float>;
using Ints = std::vector<std::int64_t>;

Tensor noise(Shape shape, std::uint32_t seed = 1) {
  Tensor tensor = Tensor::make(DType::kFloat32, std::move(shape));
  for (float& x : tensor.mutable_span<float>()) {
    seed = seed * 1664525 + 1013904223;
    x = static_cast<float>(seed >> 8) / 8388608.0F - 1.0F;
  }
  return tensor;
}
Tensor bytes(DType dtype, Shape shape, std::uint32_t seed) {
  Tensor tensor = Tensor::make(dtype, std::move(shape));
  for (std::size_t i = 0; i < tensor.bytes(); ++i) {
    seed = seed * 1664525 + 1013904223;
    tensor.mutable_data()[i] = static_cast<std::byte>(seed >> 24);
  }
  return tensor;
}
Operand fed(Tensor tensor) { return {std::move(tensor)}; }
Tensor run(Node node, const std::vector<std::optional<Operand>>& operands, const OpRun& how = {}) {
  const auto out = run_op(std::move(node), operands, how);
  REQUIRE_MESSAGE(out.ok(), (out.ok() ? "" : out.error().message()));
  return out->front();
}
void check_close(const Tensor& actual, const Floats& expected) {
  REQUIRE(actual.elements() == static_cast<std::int64_t>(expected.size()));
  for (std::size_t i = 0; i < expected.size(); ++i) {
    CAPTURE(i);
    CHECK(actual.span<float>()[i] == doctest::Approx(expected[i]).epsilon(1e-5));
  }
}

// (x - mean) / sqrt(variance + epsilon) of consecutive rows.
Floats normalized(const Tensor& x, std::size_t length, double epsilon) {
  Floats out;
  const auto in = x.span<float>();
  for (std::size_t from = 0; from < in.size(); from += length) {
    double mean = 0;
    for (std::size_t i = 0; i < length; ++i) mean += in[from + i];
    mean /= static_cast<double>(length);
    double variance = 0;
    for (std::size_t i = 0; i < length; ++i)
      variance += (in[from + i] - mean) * (in[from + i] - mean);
    variance /= static_cast<double>(length);
    for (std::size_t i = 0; i < length; ++i)
      out.push_back(static_cast<float>((in[from + i] - mean) / std::sqrt(variance + epsilon)));
  }
  return out;
}

TEST_CASE("InstanceNormalization, LayerNormalization and GroupNormalization normalize their rows") {
  const Tensor x = noise({2, 4, 3, 5});
  const Tensor scale = Tensor::of<float>({4}, {1, -2, 0.5F, 3});
  const Tensor bias = Tensor::of<float>({4}, {0, 1, -1, 2});
  const auto channel = [](std::size_t i) { return i / 15 % 4; };

  Floats expected = normalized(x, 15, 1e-3);
  for (std::size_t i = 0; i < expected.size(); ++i)
    expected[i] = expected[i] * scale.span<float>()[channel(i)] + bias.span<float>()[channel(i)];
  check_close(run(make_node("InstanceNormalization", {{"epsilon", 1e-3F}}),
                  {fed(x), fed(scale), fed(bias)}),
              expected);

  expected = normalized(x, 30, 1e-5);
  for (std::size_t i = 0; i < expected.size(); ++i)
    expected[i] = expected[i] * scale.span<float>()[channel(i)] + bias.span<float>()[channel(i)];
  check_close(run(make_node("GroupNormalization", {{"num_groups", std::int64_t{2}}}),
                  {fed(x), fed(scale), fed(bias)}),
              expected);
  // Before opset 21 a parameter a group.
  expected = normalized(x, 30, 1e-5);
  for (std::size_t i = 0; i < expected.size(); ++i)
    expected[i] = expected[i] * (i / 30 % 2 == 0 ? 2.0F : 5.0F) + 1;
  check_close(
      run(make_node("GroupNormalization", {{"num_groups", std::int64_t{2}}}),
          {fed(x), fed(Tensor::of<float>({2}, {2, 5})), fed(Tensor::of<float>({2}, {1, 1}))}),
      expected);

  const Tensor gain = noise({3, 5}, 7);
  expected = normalized(x, 15, 1e-5);
  for (std::size_t i = 0; i < expected.size(); ++i) expected[i] *= gain.span<float>()[i % 15];
  OpRun three;
  three.outputs = 3;
  const auto layer = run_op(make_node("LayerNormalization", {{"axis", std::int64_t{2}}}),
                            {fed(x), fed(gain)}, three);
  REQUIRE(layer.ok());
  check_close((*layer)[0], expected);
  CHECK((*layer)[1].shape() == Shape{2, 4, 1, 1});
  double mean = 0;
  for (std::size_t i = 0; i < 15; ++i) mean += x.span<float>()[i] / 15.0;
  CHECK((*layer)[1].span<float>()[0] == doctest::Approx(mean));

  const auto wrong = run_op(make_node("GroupNormalization", {{"num_groups", std::int64_t{3}}}),
                            {fed(x), fed(scale), fed(bias)});
  REQUIRE_FALSE(wrong.ok());
  CHECK(wrong.error().code == Code::kShapeMismatch);
}

TEST_CASE("LRN divides by the neighbours' squares") {
  const Tensor x = noise({2, 5, 3});
  Floats expected;
  for (int n = 0; n < 2; ++n) {
    for (int c = 0; c < 5; ++c) {
      for (int i = 0; i < 3; ++i) {
        const auto at = [&](int k) {
          return x.span<float>()[static_cast<std::size_t>((n * 5 + k) * 3 + i)];
        };
        double squares = 0;
        for (int k = std::max(0, c - 1); k <= std::min(4, c + 2); ++k) squares += at(k) * at(k);
        expected.push_back(static_cast<float>(at(c) / std::pow(2.0 + 0.1 / 4 * squares, 0.5)));
      }
    }
  }
  check_close(
      run(make_node("LRN",
                    {{"size", std::int64_t{4}}, {"alpha", 0.1F}, {"beta", 0.5F}, {"bias", 2.0F}}),
          {fed(x)}),
      expected);
}

TEST_CASE("DynamicQuantizeLinear spans the values and zero") {
  OpRun three;
  three.outputs = 3;
  const auto out = run_op(make_node("DynamicQuantizeLinear"),
                          {{fed(Tensor::of<float>({4}, {0, 2, -3, -2.5F}))}}, three);
  REQUIRE(out.ok());
  // ONNX's example: 5 / 255, zero point 153.
  CHECK((*out)[1].span<float>()[0] == doctest::Approx(5.0F / 255));
  CHECK(to_int64s((*out)[2]) == Ints{153});
  CHECK(to_int64s((*out)[0]) == Ints{153, 255, 0, 26});
  const auto zeros = run_op(make_node("DynamicQuantizeLinear"),
                            {{fed(Tensor::make(DType::kFloat32, {3}))}}, three);
  CHECK(to_int64s((*zeros)[0]) == Ints{0, 0, 0});
}

TEST_CASE("MatMulInteger and ConvInteger are exact sums of differences") {
  const Tensor a = bytes(DType::kUint8, {2, 3, 4}, 1);
  const Tensor b = bytes(DType::kInt8, {4, 5}, 2);
  const Tensor zero_a = Tensor::of<std::uint8_t>({}, {200});
  const Tensor zero_b = Tensor::of<std::int8_t>({5}, {1, -2, 3, -4, 127});
  const Tensor y = run(make_node("MatMulInteger"), {fed(a), fed(b), fed(zero_a), fed(zero_b)});
  REQUIRE(y.shape() == Shape{2, 3, 5});
  for (int r = 0; r < 6; ++r) {
    for (int n = 0; n < 5; ++n) {
      std::int32_t sum = 0;
      for (int k = 0; k < 4; ++k)
        sum += (a.span<std::uint8_t>()[static_cast<std::size_t>(r * 4 + k)] - 200) *
               (b.span<std::int8_t>()[static_cast<std::size_t>(k * 5 + n)] -
                zero_b.span<std::int8_t>()[static_cast<std::size_t>(n)]);
      CHECK(y.span<std::int32_t>()[static_cast<std::size_t>(r * 5 + n)] == sum);
    }
  }
  // ONNX's example: padding is the zero point, so it adds nothing.
  const Tensor x = Tensor::of<std::uint8_t>({1, 1, 3, 3}, {2, 3, 4, 5, 6, 7, 8, 9, 10});
  const Tensor w = Tensor::of<std::uint8_t>({1, 1, 2, 2}, {1, 1, 1, 1});
  CHECK(to_int64s(run(make_node("ConvInteger", {{"pads", Ints{1, 1, 1, 1}}}),
                      {fed(x), fed(w), fed(Tensor::of<std::uint8_t>({}, {1}))})) ==
        Ints{1, 3, 5, 3, 5, 12, 16, 9, 11, 24, 28, 15, 7, 15, 17, 9});
}

TEST_CASE("Conv and pools in three spatial axes, and MaxPool's indices") {
  const Tensor x = noise({2, 2, 4, 3, 5});
  const Tensor w = noise({3, 2, 2, 3, 2}, 5);
  const Tensor bias = Tensor::of<float>({3}, {1, 2, 3});
  for (const Layout layout : {Layout::kRowMajor, Layout::kChannelsLast}) {
    OpRun how;
    how.layout = layout;
    const Tensor y =
        run(make_node("Conv", {{"pads", Ints{1, 1, 0, 0, 1, 1}}, {"strides", Ints{2, 1, 1}}}),
            {fed(x), constant(w), constant(bias)}, how);
    REQUIRE(y.shape() == Shape{2, 3, 2, 3, 5});
    each_index(y.shape(), [&](const Ints& o) {
      double sum = bias.span<float>()[static_cast<std::size_t>(o[1])];
      each_index(Shape{2, 2, 3, 2}, [&](const Ints& t) {
        const Ints in{o[0], t[0], o[2] * 2 - 1 + t[1], o[3] - 1 + t[2], o[4] + t[3]};
        for (int d = 2; d < 5; ++d) {
          if (in[static_cast<std::size_t>(d)] < 0 ||
              in[static_cast<std::size_t>(d)] >= x.shape()[d])
            return;
        }
        sum += static_cast<double>(x.span<float>()[offset_of(x.shape(), in, Layout::kRowMajor)]) *
               static_cast<double>(w.span<float>()[offset_of(
                   w.shape(), {o[1], t[0], t[1], t[2], t[3]}, Layout::kRowMajor)]);
      });
      CHECK(y.span<float>()[offset_of(y.shape(), o, Layout::kRowMajor)] ==
            doctest::Approx(sum).epsilon(1e-4));
    });

    how.outputs = 2;
    const auto pooled =
        run_op(make_node("MaxPool", {{"kernel_shape", Ints{2, 2, 3}}}), {fed(x)}, how);
    REQUIRE(pooled.ok());
    // Each index points at its value, which is the largest of its window.
    for (std::int64_t i = 0; i < (*pooled)[0].elements(); ++i) {
      const std::int64_t index = (*pooled)[1].span<std::int64_t>()[static_cast<std::size_t>(i)];
      CHECK(x.span<float>()[static_cast<std::size_t>(index)] ==
            (*pooled)[0].span<float>()[static_cast<std::size_t>(i)]);
    }
    each_index((*pooled)[0].shape(), [&](const Ints& o) {
      float largest = -9;
      each_index(Shape{2, 2, 3}, [&](const Ints& t) {
        largest =
            std::max(largest, x.span<float>()[offset_of(
                                  x.shape(), {o[0], o[1], o[2] + t[0], o[3] + t[1], o[4] + t[2]},
                                  Layout::kRowMajor)]);
      });
      CHECK((*pooled)[0].span<float>()[offset_of((*pooled)[0].shape(), o, Layout::kRowMajor)] ==
            largest);
    });
  }
}

// ---- ConvTranspose ----

struct Transposed {
  Shape x, w;
  std::int64_t group;
  Ints strides, dilations, pads, output_padding;
};
const std::vector<Transposed> kTransposed = {
    {{1, 3, 4, 5}, {3, 2, 3, 3}, 1, {1, 1}, {1, 1}, {0, 0, 0, 0}, {0, 0}},
    {{2, 4, 3, 4}, {4, 3, 3, 2}, 2, {2, 3}, {1, 1}, {1, 0, 1, 1}, {1, 2}},
    {{1, 2, 5, 3}, {2, 5, 2, 2}, 1, {3, 3}, {1, 1}, {0, 0, 0, 0}, {0, 0}},  // stride beyond kernel
    {{1, 2, 3, 3}, {2, 2, 3, 3}, 1, {2, 1}, {2, 3}, {2, 1, 3, 0}, {0, 0}},
    {{1, 1, 1, 1}, {1, 1, 4, 4}, 1, {2, 2}, {1, 1}, {1, 1, 1, 1}, {0, 0}},
};

// out[iy * s + ky * d - pad] += in[iy] * w: the definition, scattered.
std::vector<double> scattered(const Transposed& c, const Shape& out,
                              const std::function<double(std::size_t)>& x,
                              const std::function<double(std::size_t)>& w) {
  std::vector<double> sums(static_cast<std::size_t>(out.elements()), 0.0);
  const std::int64_t depth = c.x[1] / c.group;
  each_index(c.x, [&](const Ints& i) {
    each_index(Shape{c.w[1], c.w[2], c.w[3]}, [&](const Ints& t) {
      const std::int64_t y = i[2] * c.strides[0] + t[1] * c.dilations[0] - c.pads[0];
      const std::int64_t z = i[3] * c.strides[1] + t[2] * c.dilations[1] - c.pads[1];
      if (y < 0 || z < 0 || y >= out[2] || z >= out[3]) return;
      sums[offset_of(out, {i[0], i[1] / depth * c.w[1] + t[0], y, z}, Layout::kRowMajor)] +=
          x(offset_of(c.x, i, Layout::kRowMajor)) *
          w(offset_of(c.w, {i[1], t[0], t[1], t[2]}, Layout::kRowMajor));
    });
  });
  return sums;
}
Node transposed_node(const Transposed& c) {
  return make_node("ConvTranspose", {{"group", c.group},
                                     {"strides", c.strides},
                                     {"dilations", c.dilations},
                                     {"pads", c.pads},
                                     {"output_padding", c.output_padding}});
}

TEST_CASE("ConvTranspose on floats is ONNX's sum") {
  for (const Transposed& c : kTransposed) {
    CAPTURE(c.x.to_string());
    const Tensor x = noise(c.x);
    const Tensor w = noise(c.w, 3);
    const Tensor bias = noise({c.w[1] * c.group}, 9);
    OpRun how;
    how.layout = Layout::kChannelsLast;
    const Tensor y = run(transposed_node(c), {fed(x), constant(w), constant(bias)}, how);
    const auto sums = scattered(
        c, y.shape(), [&](std::size_t i) { return static_cast<double>(x.span<float>()[i]); },
        [&](std::size_t i) { return static_cast<double>(w.span<float>()[i]); });
    const std::int64_t plane = y.shape()[2] * y.shape()[3];
    for (std::size_t i = 0; i < sums.size(); ++i) {
      const auto channel =
          static_cast<std::size_t>(static_cast<std::int64_t>(i) / plane % y.shape()[1]);
      CHECK(y.span<float>()[i] ==
            doctest::Approx(sums[i] + bias.span<float>()[channel]).epsilon(1e-4));
    }
  }
}

TEST_CASE("ConvTranspose spreads inputs over taps where its weight is computed or an axis more") {
  for (const Transposed& c : kTransposed) {
    CAPTURE(c.x.to_string());
    const Tensor x = noise(c.x);
    const Tensor w = noise(c.w, 3);
    const Tensor bias = noise({c.w[1] * c.group}, 9);
    OpRun last;
    last.layout = Layout::kChannelsLast;
    const Tensor packed = run(transposed_node(c), {fed(x), constant(w), constant(bias)}, last);
    const Tensor computed = run(transposed_node(c), {fed(x), fed(w), fed(bias)});
    // A first axis of one place that a kernel of one tap goes over changes nothing.
    const auto deeper = [](const Tensor& tensor) {
      Shape shape = tensor.shape();
      shape.dims().insert(shape.dims().begin() + 2, 1);
      return Tensor::of(shape, Floats(tensor.span<float>().begin(), tensor.span<float>().end()));
    };
    const auto with = [](Ints list, std::int64_t first) {
      list.insert(list.begin(), first);
      return list;
    };
    const Ints pads{0, c.pads[0], c.pads[1], 0, c.pads[2], c.pads[3]};
    const Node node = make_node("ConvTranspose", {{"group", c.group},
                                                  {"strides", with(c.strides, 1)},
                                                  {"dilations", with(c.dilations, 1)},
                                                  {"pads", pads},
                                                  {"output_padding", with(c.output_padding, 0)}});
    const Tensor three = run(node, {fed(deeper(x)), constant(deeper(w)), constant(bias)}, last);
    REQUIRE(computed.shape() == packed.shape());
    REQUIRE(three.elements() == packed.elements());
    for (std::size_t i = 0; i < packed.span<float>().size(); ++i) {
      const double expected = static_cast<double>(packed.span<float>()[i]);
      CHECK(std::fabs(static_cast<double>(computed.span<float>()[i]) - expected) < 1e-5);
      CHECK(std::fabs(static_cast<double>(three.span<float>()[i]) - expected) < 1e-5);
    }
  }
}

TEST_CASE("ConvTranspose on codes is the exact sum, rounded once") {
  for (const Transposed& c : kTransposed) {
    for (const DType dtype : {DType::kUint8, DType::kInt8}) {
      CAPTURE(c.x.to_string());
      const Tensor x = bytes(dtype, c.x, 4);
      const Tensor w = bytes(DType::kInt8, c.w, 5);
      const std::int32_t zero_x = dtype == DType::kUint8 ? 131 : 3;
      const std::int32_t zero_y = dtype == DType::kUint8 ? 120 : -8;
      const float scale_y = 40.0F;
      QuantParams weights;
      for (std::int64_t m = 0; m < c.w[1]; ++m)
        weights.scale.push_back(0.5F + 0.25F * static_cast<float>(m));
      weights.zero_point.assign(weights.scale.size(), 0);
      if (weights.scale.size() > 1) weights.axis = 1;
      const Tensor bias = Tensor::make(DType::kInt32, {c.w[1] * c.group});
      OpRun how;
      how.layout = Layout::kChannelsLast;
      how.out_quant = QuantParams{{scale_y}, {zero_y}, std::nullopt};
      const Tensor y = run(transposed_node(c),
                           {Operand{x, false, QuantParams{{0.5F}, {zero_x}, std::nullopt}},
                            Operand{w, true, weights}, constant(bias)},
                           how);
      const auto code = [](const Tensor& t, std::size_t i) {
        return t.dtype() == DType::kUint8 ? static_cast<double>(t.span<std::uint8_t>()[i])
                                          : static_cast<double>(t.span<std::int8_t>()[i]);
      };
      const auto sums = scattered(
          c, y.shape(), [&](std::size_t i) { return code(x, i) - zero_x; },
          [&](std::size_t i) { return code(w, i); });
      const std::int64_t plane = y.shape()[2] * y.shape()[3];
      const double low = dtype == DType::kUint8 ? 0 : -128;
      for (std::size_t i = 0; i < sums.size(); ++i) {
        const std::int64_t m = static_cast<std::int64_t>(i) / plane % y.shape()[1] % c.w[1];
        const float scale = 0.5F * weights.scale[static_cast<std::size_t>(m)] / scale_y;
        const auto scaled = static_cast<double>(static_cast<float>(sums[i]) * scale);
        CHECK(code(y, i) == std::clamp(std::nearbyint(scaled) + zero_y, low, low + 255));
      }
    }
  }
}

TEST_CASE("ConvTranspose takes output_shape and auto_pad, and refuses what does not fit") {
  const Tensor x = noise({1, 1, 3, 3});
  const Tensor w = noise({1, 2, 3, 3}, 2);
  OpRun how;
  how.layout = Layout::kChannelsLast;
  const auto shape = [&](std::vector<std::pair<std::string, Attr>> attrs) {
    attrs.emplace_back("strides", Ints{3, 2});
    return run(make_node("ConvTranspose", std::move(attrs)), {fed(x), constant(w)}, how).shape();
  };
  CHECK(shape({}) == Shape{1, 2, 9, 7});
  CHECK(shape({{"output_shape", Ints{10, 8}}}) == Shape{1, 2, 10, 8});
  CHECK(shape({{"auto_pad", std::string("SAME_UPPER")}}) == Shape{1, 2, 9, 6});
  for (const auto& [name, value] :
       std::vector<std::pair<std::string, Attr>>{{"strides", Ints{0, 1}},
                                                 {"group", std::int64_t{2}},
                                                 {"pads", Ints{1, 1}},
                                                 {"kernel_shape", Ints{2, 2}},
                                                 {"auto_pad", std::string("MAYBE")}}) {
    CAPTURE(name);
    const auto out = run_op(make_node("ConvTranspose", {{name, value}}), {fed(x), constant(w)});
    REQUIRE_FALSE(out.ok());
    CHECK(out.error().code == Code::kShapeMismatch);
    CHECK(out.error().where.find("node 'node' (ConvTranspose)") != std::string::npos);
  }
}

TEST_CASE(
    "Resize without a kernel: cubic keeps a line, antialiasing averages, a crop extrapolates") {
  const Tensor line = Tensor::of<float>({1, 1, 1, 8}, {0, 1, 2, 3, 4, 5, 6, 7});
  const auto resize = [&](std::vector<std::pair<std::string, Attr>> attrs, Floats scales,
                          std::optional<Operand> roi = std::nullopt) {
    return run(make_node("Resize", std::move(attrs)),
               {fed(line), std::move(roi), constant(Tensor::of<float>({4}, scales))});
  };
  const Tensor cubic =
      resize({{"mode", std::string("cubic")}, {"cubic_coeff_a", -0.5F}}, {1, 1, 1, 2});
  REQUIRE(cubic.elements() == 16);
  for (std::size_t i = 4; i < 12; ++i)  // away from the edges
    CHECK(cubic.span<float>()[i] == doctest::Approx((static_cast<float>(i) + 0.5F) / 2 - 0.5F));
  const Tensor half =
      resize({{"mode", std::string("linear")}, {"antialias", std::int64_t{1}}}, {1, 1, 1, 0.5F});
  // Weights 1 3 3 1 over 8 around each gap.
  CHECK(half.span<float>()[1] == doctest::Approx((1 * 1 + 2 * 3 + 3 * 3 + 4 * 1) / 8.0));
  const Tensor crop =
      resize({{"mode", std::string("linear")},
              {"coordinate_transformation_mode", std::string("tf_crop_and_resize")},
              {"extrapolation_value", -5.0F}},
             {1, 1, 1, 0.5F}, constant(Tensor::of<float>({8}, {0, 0, 0, 0.5F, 1, 1, 1, 1.5F})));
  CHECK(crop.span<float>()[0] == doctest::Approx(3.5F));
  CHECK(crop.span<float>()[3] == -5);
  // Channels may be resized too.
  const Tensor twice = resize({}, {1, 2, 1, 1});
  CHECK(twice.shape() == Shape{1, 2, 1, 8});
}

}  // namespace
}  // namespace octavo::test
