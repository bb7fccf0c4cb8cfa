// Pad, Resize, Cast, Where, comparisons, Shape, ConstantOfShape, Range, and constant evaluation.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "kernels/quantize/quantize.h"
#include "kernels/resize/coordinates.h"
#include "support/op_runner.h"

namespace octavo::test {
namespace {

constexpr Layout kLayouts[] = {Layout::kRowMajor, Layout::kChannelsLast};
using Index = std::vector<std::int64_t>;

Tensor run_one(const Node& node, const std::vector<std::optional<Operand>>& operands,
               const OpRun& how = {}) {
  auto out = run_op(node, operands, how);
  REQUIRE_MESSAGE(out.ok(), out.error().message());
  return (*out)[0];
}

Code code_of(const Node& node, const std::vector<std::optional<Operand>>& operands) {
  const auto out = run_op(node, operands);
  REQUIRE_FALSE(out.ok());
  return out.error().code;
}

// numpy.pad's view of one axis.
std::int64_t pad_source(std::int64_t i, std::int64_t before, std::int64_t size,
                        const std::string& mode) {
  std::int64_t source = i - before;
  if (mode == "edge") return std::clamp<std::int64_t>(source, 0, size - 1);
  if (mode == "reflect") {
    if (source < 0) source = -source;
    if (source > size - 1) source = 2 * (size - 1) - source;
  }
  return source;
}

TEST_CASE("Pad adds and removes borders in every mode and layout") {
  for (const std::string mode : {"constant", "reflect", "edge"}) {
    for (const Layout layout : kLayouts) {
      for (const DType dtype : {DType::kFloat32, DType::kUint8, DType::kInt64}) {
        for (const std::vector<std::int64_t>& pads :
             {std::vector<std::int64_t>{0, 0, 1, 2, 0, 0, 3, 1},
              std::vector<std::int64_t>{1, 2, 0, 0, 0, 1, 0, 3},
              std::vector<std::int64_t>{0, 0, -1, 1, 0, -1, 1, -2},
              std::vector<std::int64_t>(8, 0)}) {
          if (mode == "reflect" && pads[0] > 0) continue;  // a batch of 1 has nothing to mirror
          const Tensor in = counting(dtype, {1, 4, 4, 5});
          Shape out_shape = in.shape();
          for (int d = 0; d < 4; ++d)
            out_shape[d] +=
                pads[static_cast<std::size_t>(d)] + pads[static_cast<std::size_t>(d + 4)];
          const Tensor fill = counting(dtype, {8});  // its element 7 is 7
          Tensor value = Tensor::make(dtype, {});
          std::memcpy(value.mutable_data(), fill.data() + 7 * dtype_size(dtype), dtype_size(dtype));
          const Tensor out =
              run_one(make_node("Pad", {{"mode", mode}}),
                      {Operand{in}, constant_ints(pads), constant(value)}, {.layout = layout});
          REQUIRE(out.shape() == out_shape);
          const std::size_t size = dtype_size(dtype);
          each_index(out_shape, [&](const Index& index) {
            Index source(4);
            bool outside = false;
            for (std::size_t d = 0; d < 4; ++d) {
              const std::int64_t dim = in.shape()[static_cast<int>(d)];
              source[d] = pad_source(index[d], pads[d], dim, mode);
              outside = outside || source[d] < 0 || source[d] >= dim;
            }
            const std::byte* expected =
                outside ? value.data()
                        : in.data() + offset_of(in.shape(), source, Layout::kRowMajor) * size;
            CHECK(std::memcmp(out.data() + offset_of(out_shape, index, Layout::kRowMajor) * size,
                              expected, size) == 0);
          });
        }
      }
    }
  }
}

TEST_CASE("Pad on codes fills with the code of the value") {
  const QuantParams quant = QuantParams::per_tensor(0.5F, 10);
  const Tensor in = Tensor::of<std::uint8_t>({1, 1, 1, 1}, {99});
  const Tensor zeros = run_one(make_node("Pad"),
                               {Operand{in, false, quant}, constant_ints({0, 0, 0, 1, 0, 0, 0, 0})},
                               {.out_quant = quant});
  CHECK(same(zeros, Tensor::of<std::uint8_t>({1, 1, 1, 2}, {10, 99})));
  const Tensor twos = run_one(make_node("Pad"),
                              {Operand{in, false, quant}, constant_ints({0, 0, 0, 1, 0, 0, 0, 0}),
                               constant(Tensor::scalar<float>(2))},
                              {.out_quant = quant});
  CHECK(same(twos, Tensor::of<std::uint8_t>({1, 1, 1, 2}, {14, 99})));
}

TEST_CASE("Pad reflects to and fro, and wraps around") {
  const Operand in{Tensor::of<float>({3}, {1, 2, 3})};
  const auto padded = [&](const char* mode) {
    const Tensor out =
        run_one(make_node("Pad", {{"mode", std::string(mode)}}), {in, constant_ints({5, 4})});
    return std::vector<float>(out.span<float>().begin(), out.span<float>().end());
  };
  CHECK(padded("reflect") == std::vector<float>{2, 1, 2, 3, 2, 1, 2, 3, 2, 1, 2, 3});
  CHECK(padded("wrap") == std::vector<float>{2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1});
}

TEST_CASE("Pad refuses pads that do not fit") {
  const Operand in{counting(DType::kFloat32, {2, 3})};
  CHECK(code_of(make_node("Pad"), {in, constant_ints({1, 1})}) == Code::kShapeMismatch);
  CHECK(code_of(make_node("Pad"), {in, constant_ints({-2, 0, -1, 0})}) == Code::kShapeMismatch);
  CHECK(code_of(make_node("Pad", {{"mode", std::string("reflect")}}),
                {Operand{counting(DType::kFloat32, {2, 0})}, constant_ints({0, 3, 0, 0})}) ==
        Code::kShapeMismatch);
  CHECK(code_of(make_node("Pad", {{"mode", std::string("mirror")}}),
                {in, constant_ints({0, 1, 0, 0})}) == Code::kUnsupportedAttribute);
  CHECK(code_of(make_node("Pad"), {in, constant_ints({0, std::int64_t{1} << 62, 0, 0})}) ==
        Code::kLimitExceeded);
  CHECK(code_of(make_node("Pad"),
                {in, constant_ints({0, 1, 0, 0}), constant(Tensor::scalar<std::int64_t>(1))}) ==
        Code::kInvalidModel);
}

TEST_CASE("Resize takes the nearest pixel, channels-last and by planes alike") {
  for (const Layout layout : kLayouts) {
    for (const DType dtype : {DType::kFloat32, DType::kUint8, DType::kInt64}) {
      const Tensor in = counting(dtype, {2, 3, 4, 5});
      const Tensor out = run_one(
          make_node("Resize", {{"coordinate_transformation_mode", std::string("asymmetric")},
                               {"nearest_mode", std::string("floor")}}),
          {Operand{in}, std::nullopt, constant(Tensor::of<float>({4}, {1, 1, 2, 2}))},
          {.layout = layout});
      CHECK(same(out, moved(in, {2, 3, 8, 10}, [](const Index& i) {
                   return Index{i[0], i[1], i[2] / 2, i[3] / 2};
                 })));
    }
  }
}

TEST_CASE("Resize interpolates linearly between the taps of the coordinate table") {
  for (const Layout layout : kLayouts) {
    for (const std::string mode :
         {"half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"}) {
      const Tensor in = counting(DType::kFloat32, {1, 3, 4, 5});
      const Tensor out = run_one(
          make_node("Resize",
                    {{"mode", std::string("linear")}, {"coordinate_transformation_mode", mode}}),
          {Operand{in}, std::nullopt, std::nullopt, constant_ints({1, 3, 7, 3})},
          {.layout = layout});
      REQUIRE(out.shape() == Shape{1, 3, 7, 3});
      // counting() is linear in every index, so the expected value is the value at the source
      // coordinates.
      const auto source = [&](std::int64_t i, int n_in, int n_out) {
        const double scale = static_cast<double>(n_out) / n_in;
        const auto x = static_cast<double>(i);
        const double at = mode == "asymmetric"      ? x / scale
                          : mode == "align_corners" ? x * (n_in - 1) / (n_out - 1)
                                                    : (x + 0.5) / scale - 0.5;
        return std::clamp(at, 0.0, n_in - 1.0);
      };
      each_index(out.shape(), [&](const Index& i) {
        const double expected =
            static_cast<double>(i[1]) * 20 + source(i[2], 4, 7) * 5 + source(i[3], 5, 3);
        CHECK(
            static_cast<double>(out.span<float>()[offset_of(out.shape(), i, Layout::kRowMajor)]) ==
            doctest::Approx(expected).epsilon(1e-5));
      });
    }
  }
}

TEST_CASE("Resize of codes stays on their grid, of signals goes along one axis") {
  const QuantParams quant = QuantParams::per_tensor(0.5F, 10);
  const Tensor in = Tensor::of<std::uint8_t>({1, 1, 2, 2}, {10, 20, 10, 20});
  const Tensor out = run_one(
      make_node("Resize", {{"mode", std::string("linear")},
                           {"coordinate_transformation_mode", std::string("align_corners")}}),
      {Operand{in, false, quant}, std::nullopt, std::nullopt, constant_ints({1, 1, 2, 3})},
      {.out_quant = quant});
  CHECK(same(out, Tensor::of<std::uint8_t>({1, 1, 2, 3}, {10, 15, 20, 10, 15, 20})));
  // Bytes that are no codes are cut, and codes are those of the numbers that they stand for.
  const auto plain = run_one(make_node("Resize", {{"mode", std::string("linear")}}),
                             {Operand{Tensor::of<std::uint8_t>({1, 1, 1, 2}, {0, 7})}, std::nullopt,
                              std::nullopt, constant_ints({1, 1, 1, 4})});
  CHECK(same(plain, Tensor::of<std::uint8_t>({1, 1, 1, 4}, {0, 1, 5, 7})));
  for (const Layout layout : kLayouts) {
    for (const DType dtype : {DType::kUint8, DType::kInt8}) {
      const QuantParams grid = QuantParams::per_tensor(0.037F, dtype == DType::kUint8 ? 100 : -3);
      const std::int64_t n = 2 * 5 * 6 * 7;
      std::vector<float> reals;
      Tensor codes = Tensor::make(dtype, {2, 5, 6, 7});
      for (std::int64_t i = 0; i < n; ++i) {
        const int code = static_cast<int>(i * 77 % 256) - (dtype == DType::kUint8 ? 0 : 128);
        codes.mutable_data()[i] = static_cast<std::byte>(code);
        reals.push_back(static_cast<float>(code - grid.zero_point[0]) * grid.scale[0]);
      }
      for (const Index& size : {Index{2, 5, 12, 14}, Index{2, 5, 4, 3}, Index{2, 5, 13, 5}}) {
        const Node node = make_node("Resize", {{"mode", std::string("linear")}});
        const auto resized = [&](Operand x) {
          const auto own = x.quant;
          return run_one(node, {std::move(x), std::nullopt, std::nullopt, constant_ints(size)},
                         {.layout = layout, .out_quant = own});
        };
        const Tensor real = resized(Operand{Tensor::of<float>({2, 5, 6, 7}, reals)});
        const Tensor made = resized(Operand{codes, false, grid});
        for (std::int64_t i = 0; i < real.elements(); ++i) {
          const float wanted =
              std::nearbyint(real.span<float>()[static_cast<std::size_t>(i)] / grid.scale[0]) +
              static_cast<float>(grid.zero_point[0]);
          REQUIRE(made.data()[i] == static_cast<std::byte>(static_cast<int>(wanted)));
        }
      }
    }
  }
  const Tensor signal = counting(DType::kFloat32, {1, 2, 3});
  const Tensor longer =
      run_one(make_node("Resize", {{"coordinate_transformation_mode", std::string("asymmetric")},
                                   {"nearest_mode", std::string("floor")}}),
              {Operand{signal}, std::nullopt, constant(Tensor::of<float>({3}, {1, 1, 2}))});
  CHECK(same(longer, moved(signal, {1, 2, 6}, [](const Index& i) {
               return Index{i[0], i[1], i[2] / 2};
             })));
}

TEST_CASE("Resize refuses what it cannot do") {
  const Operand in{counting(DType::kFloat32, {1, 2, 3, 3})};
  const Operand scales = constant(Tensor::of<float>({4}, {1, 1, 2, 2}));
  CHECK(code_of(make_node("Resize", {{"mode", std::string("area")}}), {in, std::nullopt, scales}) ==
        Code::kUnsupportedAttribute);
  CHECK(code_of(make_node("Resize",
                          {{"coordinate_transformation_mode", std::string("tf_crop_and_resize")}}),
                {in, std::nullopt, scales}) == Code::kUnsupportedAttribute);
  CHECK(code_of(make_node("Resize"),
                {in, std::nullopt, constant(Tensor::of<float>({4}, {1, 1, -1, 2}))}) ==
        Code::kInvalidModel);
  CHECK(code_of(make_node("Resize"),
                {in, std::nullopt, constant(Tensor::of<float>({3}, {1, 1, 2}))}) ==
        Code::kInvalidModel);
  CHECK(code_of(make_node("Resize"), {in}) == Code::kInvalidModel);
  CHECK(code_of(make_node("Resize"),
                {in, std::nullopt, constant(Tensor::of<float>({4}, {1, 1, 1e30F, 1}))}) ==
        Code::kLimitExceeded);
}

TEST_CASE("Cast cuts toward zero, saturates, and maps NaN to 0") {
  const float inf = std::numeric_limits<float>::infinity();
  const Tensor in = Tensor::of<float>({7}, {1.9F, -1.9F, 300, -300, inf, -inf, std::nanf("")});
  const auto cast = [&](DType to) {
    return run_one(make_node("Cast", {{"to", static_cast<std::int64_t>(to)}}), {Operand{in}});
  };
  CHECK(same(cast(DType::kUint8), Tensor::of<std::uint8_t>({7}, {1, 0, 255, 0, 255, 0, 0})));
  CHECK(same(cast(DType::kInt8), Tensor::of<std::int8_t>({7}, {1, -1, 127, -128, 127, -128, 0})));
  CHECK(same(cast(DType::kInt32),
             Tensor::of<std::int32_t>({7}, {1, -1, 300, -300, INT32_MAX, INT32_MIN, 0})));
  CHECK(same(cast(DType::kInt64),
             Tensor::of<std::int64_t>({7}, {1, -1, 300, -300, INT64_MAX, INT64_MIN, 0})));
  CHECK(cast(DType::kBool).span<std::uint8_t>()[0] == 1);
  CHECK(same(cast(DType::kFloat32).reshaped({7}), in));
  CHECK(same(run_one(make_node("Cast", {{"to", std::int64_t{1}}}),
                     {Operand{Tensor::of<std::int64_t>({2}, {-3, 1 << 20})}}),
             Tensor::of<float>({2}, {-3, 1 << 20})));
  CHECK(code_of(make_node("Cast", {{"to", std::int64_t{8}}}), {Operand{in}}) ==
        Code::kUnsupportedDtype);
  CHECK(code_of(make_node("Cast"), {Operand{in}}) == Code::kUnsupportedDtype);
}

TEST_CASE("Where and comparisons broadcast in both layouts") {
  for (const Layout layout : kLayouts) {
    const Tensor a = counting(DType::kFloat32, {2, 3, 2, 2});
    const Tensor b = Tensor::of<float>({3, 1, 1}, {2, 9, 20});
    for (const bool is_constant : {true, false}) {
      if (layout == Layout::kChannelsLast && !is_constant)
        continue;  // the layout pass leaves a lower rank row-major
      const Tensor less =
          run_one(make_node("Less"), {Operand{a}, Operand{b, is_constant}}, {.layout = layout});
      const Tensor greater =
          run_one(make_node("Greater"), {Operand{a}, Operand{b, is_constant}}, {.layout = layout});
      const Tensor equal =
          run_one(make_node("Equal"), {Operand{a}, Operand{b, is_constant}}, {.layout = layout});
      const Tensor chosen =
          run_one(make_node("Where"), {Operand{less}, Operand{a}, Operand{b, is_constant}},
                  {.layout = layout});
      CHECK(less.dtype() == DType::kBool);
      each_index(a.shape(), [&](const Index& i) {
        const std::size_t at = offset_of(a.shape(), i, Layout::kRowMajor);
        const float x = a.span<float>()[at], y = b.span<float>()[static_cast<std::size_t>(i[1])];
        CHECK((less.data()[at] != std::byte{0}) == (x < y));
        CHECK((greater.data()[at] != std::byte{0}) == (x > y));
        CHECK((equal.data()[at] != std::byte{0}) == (x == y));
        CHECK(chosen.span<float>()[at] == std::min(x, y));
      });
    }
  }
  const Operand a{counting(DType::kFloat32, {2, 3})};
  CHECK(code_of(make_node("Less"), {a, Operand{counting(DType::kFloat32, {2})}}) ==
        Code::kShapeMismatch);
  CHECK(code_of(make_node("Less"), {a, Operand{counting(DType::kInt64, {2, 3})}}) ==
        Code::kInvalidModel);
  CHECK(code_of(make_node("Where"), {a, a, a}) == Code::kInvalidModel);
}

TEST_CASE("Shape, ConstantOfShape and Range compute small tensors") {
  const Operand in{counting(DType::kFloat32, {2, 3, 4})};
  CHECK(same(run_one(make_node("Shape"), {in}), Tensor::of<std::int64_t>({3}, {2, 3, 4})));
  CHECK(same(
      run_one(make_node("Shape", {{"start", std::int64_t{-2}}, {"end", std::int64_t{-1}}}), {in}),
      Tensor::of<std::int64_t>({1}, {3})));
  CHECK(same(
      run_one(make_node("Shape", {{"start", std::int64_t{2}}, {"end", std::int64_t{1}}}), {in}),
      Tensor::of<std::int64_t>({0}, {})));
  CHECK(same(run_one(make_node("ConstantOfShape"), {constant_ints({2, 1})}),
             Tensor::of<float>({2, 1}, {0, 0})));
  CHECK(same(run_one(make_node("ConstantOfShape", {{"value", Tensor::of<std::int64_t>({1}, {7})}}),
                     {constant_ints({2})}),
             Tensor::of<std::int64_t>({2}, {7, 7})));
  CHECK(code_of(make_node("ConstantOfShape"), {constant_ints({-1})}) == Code::kInvalidModel);
  CHECK(code_of(make_node("ConstantOfShape"), {constant_ints({1 << 20, 1 << 20})}) ==
        Code::kLimitExceeded);

  const auto number = [](auto value) { return constant(Tensor::scalar(value)); };
  CHECK(same(run_one(make_node("Range"),
                     {number(std::int64_t{5}), number(std::int64_t{-2}), number(std::int64_t{-3})}),
             Tensor::of<std::int64_t>({3}, {5, 2, -1})));
  CHECK(same(run_one(make_node("Range"), {number(0.0F), number(1.0F), number(0.5F)}),
             Tensor::of<float>({2}, {0, 0.5F})));
  CHECK(same(run_one(make_node("Range"), {number(1), number(1), number(1)}),
             Tensor::of<std::int32_t>({0}, {})));
  CHECK(code_of(make_node("Range"), {number(std::int64_t{0}), number(std::int64_t{1}),
                                     number(std::int64_t{0})}) == Code::kInvalidModel);
  CHECK(code_of(make_node("Range"), {number(std::int64_t{0}), number(INT64_MAX),
                                     number(std::int64_t{1})}) == Code::kLimitExceeded);
}

TEST_CASE("evaluate runs a node of constants and says why it cannot") {
  Graph graph;
  Node node = make_node("Transpose");
  node.name = "t";
  node.inputs = {graph.add_constant("c", Tensor::of<float>({1, 2}, {3, 4}))};
  Value result;
  result.name = "out";
  node.outputs = {graph.add_value(result)};
  const auto out = ops::evaluate(graph, node);
  REQUIRE(out.ok());
  CHECK(same((*out)[0], Tensor::of<float>({2, 1}, {3, 4})));
  CHECK_FALSE(graph.value(node.outputs[0]).shape.has_value());  // the graph itself is left alone

  node.op = "NoSuchOp";
  CHECK(ops::evaluate(graph, node).error().code == Code::kUnsupportedOp);
  node.op = "Transpose";
  graph.value(node.inputs[0]).constant.reset();
  CHECK(ops::evaluate(graph, node).error().code == Code::kInternal);
}

}  // namespace
}  // namespace octavo::test
