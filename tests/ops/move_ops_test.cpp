// Reshape, Flatten, Squeeze, Unsqueeze, Transpose, Slice, Split, Concat, Gather, Identity, layout
// conversions, DepthToSpace, SpaceToDepth, Expand, Tile: every dtype, both layouts.
#include <doctest/doctest.h>

#include "kernels/quantize/quantize.h"
#include "support/op_runner.h"

namespace octavo::test {
namespace {

constexpr DType kTypes[] = {DType::kFloat32, DType::kUint8, DType::kInt8,
                            DType::kInt64,   DType::kInt32, DType::kBool};
constexpr Layout kLayouts[] = {Layout::kRowMajor, Layout::kChannelsLast};
using Index = std::vector<std::int64_t>;
using Ints = std::vector<std::int64_t>;

// Runs the node in every dtype and layout and compares output 0 with moved(in, shape, source).
void check_moves(const Node& node, const Shape& in_shape, std::vector<std::optional<Operand>> rest,
                 const Shape& out_shape, const std::function<Index(const Index&)>& source) {
  for (const DType dtype : kTypes) {
    for (const Layout layout : kLayouts) {
      const Tensor in = counting(dtype, in_shape);
      std::vector<std::optional<Operand>> operands{Operand{in}};
      operands.insert(operands.end(), rest.begin(), rest.end());
      const auto out = run_op(node, operands, {.layout = layout});
      REQUIRE_MESSAGE(out.ok(), out.error().message());
      CHECK((*out)[0].shape() == out_shape);
      CHECK(same((*out)[0], moved(in, out_shape, source)));
    }
  }
}

Index unflatten(std::int64_t flat, const Shape& shape) {
  Index index(static_cast<std::size_t>(shape.rank()));
  for (int d = shape.rank(); d-- > 0;) {
    index[static_cast<std::size_t>(d)] = flat % shape[d];
    flat /= shape[d];
  }
  return index;
}

void check_reshapes(const Node& node, const Shape& in, std::vector<std::optional<Operand>> rest,
                    const Shape& out) {
  check_moves(node, in, std::move(rest), out, [&](const Index& index) {
    return unflatten(static_cast<std::int64_t>(offset_of(out, index, Layout::kRowMajor)), in);
  });
}

Code code_of(const Node& node, const std::vector<std::optional<Operand>>& operands,
             std::size_t outputs = 1) {
  const auto out = run_op(node, operands, {.outputs = outputs});
  REQUIRE_FALSE(out.ok());
  return out.error().code;
}

TEST_CASE("Reshape keeps the row-major order of elements, whatever the layout") {
  check_reshapes(make_node("Reshape"), {2, 3, 4, 5}, {constant_ints({2, -1})}, {2, 60});
  check_reshapes(make_node("Reshape"), {2, 3, 4, 5}, {constant_ints({0, 0, 20})}, {2, 3, 20});
  check_reshapes(make_node("Reshape"), {1, 7, 1, 1}, {constant_ints({1, 7})}, {1, 7});
  check_reshapes(make_node("Reshape"), {6}, {constant_ints({1, 2, 3, 1})}, {1, 2, 3, 1});
  check_reshapes(make_node("Reshape"), {2, 0, 3}, {constant_ints({0, 0, 3})}, {2, 0, 3});
  check_reshapes(make_node("Reshape", {{"allowzero", std::int64_t{1}}}), {2, 0, 3},
                 {constant_ints({0, 6})}, {0, 6});
  check_reshapes(make_node("Reshape"), {1}, {constant_ints({})}, {});
}

TEST_CASE("Reshape refuses shapes that do not fit") {
  const Operand in{counting(DType::kFloat32, {2, 3})};
  CHECK(code_of(make_node("Reshape"), {in, constant_ints({4, 2})}) == Code::kShapeMismatch);
  CHECK(code_of(make_node("Reshape"), {in, constant_ints({-1, 4})}) == Code::kShapeMismatch);
  CHECK(code_of(make_node("Reshape"), {in, constant_ints({-1, -1})}) == Code::kInvalidModel);
  CHECK(code_of(make_node("Reshape"), {in, constant_ints({-2, 3})}) == Code::kInvalidModel);
  CHECK(code_of(make_node("Reshape"), {in, constant_ints({2, 3, 0})}) == Code::kShapeMismatch);
  CHECK(code_of(make_node("Reshape"), {in, constant_ints({std::int64_t{1} << 40, -1})}) ==
        Code::kDynamicDimension);
}

TEST_CASE("Flatten, Squeeze and Unsqueeze are reshapes") {
  check_reshapes(make_node("Flatten"), {2, 3, 4, 5}, {}, {2, 60});
  check_reshapes(make_node("Flatten", {{"axis", std::int64_t{0}}}), {2, 3, 4}, {}, {1, 24});
  check_reshapes(make_node("Flatten", {{"axis", std::int64_t{-1}}}), {2, 3, 4}, {}, {6, 4});
  check_reshapes(make_node("Flatten", {{"axis", std::int64_t{3}}}), {2, 3, 4}, {}, {24, 1});
  check_reshapes(make_node("Squeeze"), {1, 3, 1, 4}, {}, {3, 4});
  check_reshapes(make_node("Squeeze"), {1, 3, 1, 4}, {constant_ints({-2})}, {1, 3, 4});
  check_reshapes(make_node("Squeeze"), {2, 3, 4, 1}, {constant_ints({3})}, {2, 3, 4});
  check_reshapes(make_node("Unsqueeze"), {2, 3, 4}, {constant_ints({0, -1})}, {1, 2, 3, 4, 1});
  const Operand in{counting(DType::kFloat32, {2, 3})};
  CHECK(code_of(make_node("Squeeze"), {in, constant_ints({0})}) == Code::kShapeMismatch);
  CHECK(code_of(make_node("Squeeze"), {in, constant_ints({2})}) == Code::kInvalidModel);
  CHECK(code_of(make_node("Unsqueeze"), {in, constant_ints({1, 1})}) == Code::kInvalidModel);
  CHECK(code_of(make_node("Flatten", {{"axis", std::int64_t{3}}}), {in}) == Code::kInvalidModel);
}

TEST_CASE("Transpose reads any layout and writes row-major") {
  for (const Ints& perm :
       {Ints{0, 1, 2, 3}, Ints{0, 2, 3, 1}, Ints{0, 3, 1, 2}, Ints{3, 2, 1, 0}, Ints{1, 0, 3, 2}}) {
    const Shape in{2, 3, 4, 5};
    Shape out;
    for (const std::int64_t axis : perm) out.dims().push_back(in[static_cast<int>(axis)]);
    check_moves(make_node("Transpose", {{"perm", perm}}), in, {}, out, [&](const Index& index) {
      Index source(4);
      for (std::size_t d = 0; d < 4; ++d) source[static_cast<std::size_t>(perm[d])] = index[d];
      return source;
    });
  }
  check_moves(make_node("Transpose"), {2, 3}, {}, {3, 2}, [](const Index& i) {
    return Index{i[1], i[0]};
  });
  check_moves(make_node("Transpose"), {}, {}, {}, [](const Index& i) { return i; });
  const Operand in{counting(DType::kFloat32, {2, 3})};
  CHECK(code_of(make_node("Transpose", {{"perm", Ints{0, 0}}}), {in}) == Code::kInvalidModel);
  CHECK(code_of(make_node("Transpose", {{"perm", Ints{0, 2}}}), {in}) == Code::kInvalidModel);
  CHECK(code_of(make_node("Transpose", {{"perm", Ints{0}}}), {in}) == Code::kInvalidModel);
}

TEST_CASE("Slice cuts boxes with steps of either sign") {
  const Shape in{2, 5, 6, 7};
  check_moves(make_node("Slice"), in, {constant_ints({1}), constant_ints({4}), constant_ints({1})},
              {2, 3, 6, 7}, [](Index i) { return i[1] += 1, i; });
  check_moves(make_node("Slice"), in,
              {constant_ints({0, 1}), constant_ints({1000, -1}), constant_ints({2, -1}),
               constant_ints({2, 3})},
              {2, 5, 3, 2}, [](const Index& i) {
                return Index{i[0], i[1], i[2] * 2, 1 + i[3] * 3};
              });
  check_moves(make_node("Slice"), in,
              {constant_ints({-1, 5}), constant_ints({-1000, 0}), constant_ints({1, 2}),
               constant_ints({-1, -2})},
              {2, 5, 3, 7}, [](const Index& i) {
                return Index{i[0], 4 - i[1], 5 - 2 * i[2], i[3]};
              });
  check_moves(make_node("Slice"), in, {constant_ints({1}), constant_ints({1})}, {0, 5, 6, 7},
              [](const Index& i) { return i; });
  const std::int64_t least = std::numeric_limits<std::int64_t>::min(),
                     most = std::numeric_limits<std::int64_t>::max();
  check_moves(
      make_node("Slice"), {4},
      {constant_ints({3}), constant_ints({least}), constant_ints({0}), constant_ints({least})}, {1},
      [](const Index&) { return Index{3}; });
  check_moves(
      make_node("Slice"), {4},
      {constant_ints({least}), constant_ints({most}), constant_ints({0}), constant_ints({most})},
      {1}, [](const Index&) { return Index{0}; });
  const Operand data{counting(DType::kFloat32, {2, 3})};
  CHECK(code_of(make_node("Slice"), {data, constant_ints({0}), constant_ints({1}),
                                     constant_ints({0}), constant_ints({0})}) ==
        Code::kInvalidModel);
  CHECK(code_of(make_node("Slice"), {data, constant_ints({0}), constant_ints({1}),
                                     constant_ints({2})}) == Code::kInvalidModel);
  CHECK(code_of(make_node("Slice"), {data, constant_ints({0}), constant_ints({1, 2})}) ==
        Code::kInvalidModel);
}

TEST_CASE("Split cuts an axis into the given or into equal pieces") {
  for (const Layout layout : kLayouts) {
    for (const DType dtype : kTypes) {
      const Tensor in = counting(dtype, {2, 6, 3, 2});
      const auto parts =
          run_op(make_node("Split", {{"axis", std::int64_t{1}}}),
                 {Operand{in}, constant_ints({1, 3, 2})}, {.layout = layout, .outputs = 3});
      REQUIRE(parts.ok());
      std::int64_t start = 0;
      for (const Tensor& part : *parts) {
        CHECK(same(part, moved(in, part.shape(), [&](Index i) { return i[1] += start, i; })));
        start += part.shape()[1];
      }
      const auto halves = run_op(make_node("Split", {{"axis", std::int64_t{-2}}}), {Operand{in}},
                                 {.layout = layout, .outputs = 3});
      REQUIRE(halves.ok());
      for (std::size_t k = 0; k < 3; ++k) {
        CHECK(same((*halves)[k], moved(in, {2, 6, 1, 2}, [&](Index i) {
                     return i[2] += static_cast<std::int64_t>(k), i;
                   })));
      }
    }
  }
  const Operand in{counting(DType::kFloat32, {5, 2})};
  CHECK(code_of(make_node("Split"), {in}, 2) == Code::kShapeMismatch);
  CHECK(code_of(make_node("Split"), {in, constant_ints({4, 2})}, 2) == Code::kShapeMismatch);
  CHECK(code_of(make_node("Split"), {in, constant_ints({5})}, 2) == Code::kShapeMismatch);
  CHECK(code_of(make_node("Split"), {in, constant_ints({-1, 6})}, 2) == Code::kShapeMismatch);
}

TEST_CASE("Concat joins along any axis, constants among the inputs too") {
  for (const Layout layout : kLayouts) {
    for (const DType dtype : kTypes) {
      for (int axis = 0; axis < 4; ++axis) {
        Shape shapes[] = {{2, 3, 4, 5}, {2, 3, 4, 5}, {2, 3, 4, 5}};
        shapes[1][axis] = 1;
        shapes[2][axis] = 0;
        std::vector<std::optional<Operand>> operands;
        for (const Shape& shape : shapes)
          operands.emplace_back(Operand{counting(dtype, shape), shape[axis] == 1});
        const auto out = run_op(make_node("Concat", {{"axis", std::int64_t{axis}}}), operands,
                                {.layout = layout});
        REQUIRE(out.ok());
        const std::int64_t border = shapes[0][axis];
        CHECK((*out)[0].shape()[axis] == border + 1);
        const std::size_t size = dtype_size(dtype);
        each_index((*out)[0].shape(), [&](const Index& index) {
          Index source = index;
          const bool second = index[static_cast<std::size_t>(axis)] >= border;
          if (second) source[static_cast<std::size_t>(axis)] -= border;
          const Tensor& from = operands[second ? 1 : 0]->tensor;
          CHECK(std::memcmp((*out)[0].data() +
                                offset_of((*out)[0].shape(), index, Layout::kRowMajor) * size,
                            from.data() + offset_of(from.shape(), source, Layout::kRowMajor) * size,
                            size) == 0);
        });
      }
    }
  }
  const Operand a{counting(DType::kFloat32, {2, 3})};
  CHECK(code_of(make_node("Concat"), {a, Operand{counting(DType::kFloat32, {2, 4})}}) ==
        Code::kShapeMismatch);
  CHECK(code_of(make_node("Concat"), {a, Operand{counting(DType::kInt64, {2, 3})}}) ==
        Code::kInvalidModel);
  CHECK(code_of(make_node("Concat", {{"axis", std::int64_t{2}}}), {a}) == Code::kInvalidModel);
}

template <class T>
void check_concat_of_codes(Layout layout) {
  const QuantParams grids[] = {QuantParams::per_tensor(0.1F, 3), QuantParams::per_tensor(0.25F, -7),
                               QuantParams::per_tensor(0.07F, 5)};
  const QuantParams& out_grid = grids[0];
  std::vector<std::optional<Operand>> operands;
  for (const QuantParams& grid : grids) {
    QuantParams own = grid;
    if (std::is_unsigned_v<T>) own.zero_point[0] += 100;
    operands.emplace_back(Operand{counting(dtype_of<T>(), {1, 8, 4, 8}), false, own});
  }
  const auto out = run_op(make_node("Concat", {{"axis", std::int64_t{1}}}), operands,
                          {.layout = layout, .out_quant = operands[0]->quant});
  REQUIRE(out.ok());
  REQUIRE((*out)[0].shape() == Shape{1, 24, 4, 8});
  const auto codes = (*out)[0].template span<T>();
  for (std::size_t k = 0; k < 3; ++k) {
    const kernels::Grid from{operands[k]->quant->scale[0], operands[k]->quant->zero_point[0]};
    const kernels::Grid to{out_grid.scale[0], operands[0]->quant->zero_point[0]};
    for (std::size_t i = 0; i < 256; ++i) {
      const T code = operands[k]->tensor.template span<T>()[i];
      CHECK(codes[k * 256 + i] ==
            kernels::quantize_value<T>(kernels::dequantize_value<T>(code, from), to));
    }
  }
}

TEST_CASE("Concat of codes brings each input to the output's grid") {
  for (const Layout layout : kLayouts) {
    check_concat_of_codes<std::uint8_t>(layout);
    check_concat_of_codes<std::int8_t>(layout);
  }
}

TEST_CASE("ops that move codes refuse to change their grid") {
  const Operand in{counting(DType::kUint8, {1, 2, 3, 4}), false, QuantParams::per_tensor(0.5F, 1)};
  for (const char* name : {"Transpose", "Flatten", "Identity", "Squeeze"}) {
    const auto out =
        run_op(make_node(name), {in}, {.out_quant = QuantParams::per_tensor(0.25F, 1)});
    REQUIRE_FALSE(out.ok());
    CHECK(out.error().code == Code::kInternal);
    CHECK(run_op(make_node(name), {in}, {.out_quant = in.quant}).ok());
  }
}

TEST_CASE("Gather picks slices by index, negative ones from the end") {
  for (const DType dtype : kTypes) {
    const Tensor in = counting(dtype, {3, 4, 5});
    const Tensor indices = Tensor::of<std::int64_t>({2, 2}, {1, -1, 0, 2});
    for (const bool is_constant : {false, true}) {
      const auto out = run_op(make_node("Gather", {{"axis", std::int64_t{1}}}),
                              {Operand{in}, Operand{indices, is_constant}});
      REQUIRE(out.ok());
      const Ints picked{1, 3, 0, 2};
      CHECK(same((*out)[0], moved(in, {3, 2, 2, 5}, [&](const Index& i) {
                   return Index{i[0], picked[static_cast<std::size_t>(i[1] * 2 + i[2])], i[3]};
                 })));
    }
    const auto one =
        run_op(make_node("Gather"), {Operand{in}, constant(Tensor::scalar<std::int32_t>(2))});
    REQUIRE(one.ok());
    CHECK(same((*one)[0], moved(in, {4, 5}, [](const Index& i) { return Index{2, i[0], i[1]}; })));
  }
}

TEST_CASE(
    "Gather refuses constant indices out of range before it runs, computed ones when it does") {
  const Tensor data = Tensor::of<float>({2}, {5, 6});
  const Tensor indices = Tensor::of<std::int64_t>({3}, {1, 2, -3});
  CHECK(code_of(make_node("Gather"), {Operand{data}, constant(indices)}) == Code::kInvalidModel);
  CHECK(code_of(make_node("Gather"), {Operand{data}, Operand{indices}}) == Code::kShapeMismatch);
  CHECK(code_of(make_node("Gather"), {Operand{data}, constant(Tensor::of<float>({1}, {0}))}) ==
        Code::kUnsupportedDtype);
}

TEST_CASE("Identity and the layout conversions keep the tensor") {
  for (const Shape& shape : {Shape{2, 3, 4, 5}, Shape{1, 5, 1, 1}, Shape{2, 1, 3}, Shape{2, 0, 3},
                             Shape{2, 40, 33, 3, 2}}) {
    const auto same_index = [](const Index& i) { return i; };
    check_moves(make_node("Identity"), shape, {}, shape, same_index);
    check_moves(make_node("ToRowMajor", {}, "octavo"), shape, {}, shape, same_index);
    for (const DType dtype : kTypes) {
      const Tensor in = counting(dtype, shape);
      const auto out = run_op(make_node("ToChannelsLast", {}, "octavo"), {Operand{in}});
      REQUIRE(out.ok());
      CHECK(same((*out)[0], in));
    }
  }
}

TEST_CASE("DepthToSpace and SpaceToDepth follow ONNX's formulas") {
  const std::int64_t b = 2;
  for (const bool crd : {false, true}) {
    check_moves(
        make_node("DepthToSpace", {{"blocksize", b}, {"mode", std::string(crd ? "CRD" : "DCR")}}),
        {2, 12, 2, 3}, {}, {2, 3, 4, 6}, [&](const Index& i) {
          const std::int64_t y = i[2] % b, x = i[3] % b;
          return Index{i[0], crd ? i[1] * b * b + y * b + x : (y * b + x) * 3 + i[1], i[2] / b,
                       i[3] / b};
        });
  }
  check_moves(make_node("SpaceToDepth", {{"blocksize", b}}), {2, 3, 4, 6}, {}, {2, 12, 2, 3},
              [&](const Index& i) {
                const std::int64_t block = i[1] / 3;
                return Index{i[0], i[1] % 3, i[2] * b + block / b, i[3] * b + block % b};
              });
  const Operand in{counting(DType::kFloat32, {1, 6, 2, 2})};
  CHECK(code_of(make_node("DepthToSpace", {{"blocksize", b}}), {in}) == Code::kShapeMismatch);
  CHECK(code_of(make_node("DepthToSpace", {{"blocksize", std::int64_t{0}}}), {in}) ==
        Code::kInvalidModel);
  CHECK(code_of(make_node("DepthToSpace",
                          {{"blocksize", std::int64_t{1}}, {"mode", std::string("XYZ")}}),
                {in}) == Code::kUnsupportedAttribute);
}

TEST_CASE("Expand and Tile repeat elements") {
  for (const DType dtype : kTypes) {
    const Tensor in = counting(dtype, {3, 1});
    const auto expanded = run_op(make_node("Expand"), {Operand{in}, constant_ints({2, 1, 4})});
    REQUIRE(expanded.ok());
    CHECK(same((*expanded)[0], moved(in, {2, 3, 4}, [](const Index& i) {
                 return Index{i[1], 0};
               })));
    const Tensor box = counting(dtype, {2, 3, 2});
    const auto tiled = run_op(make_node("Tile"), {Operand{box}, constant_ints({1, 2, 3})});
    REQUIRE(tiled.ok());
    CHECK(same((*tiled)[0], moved(box, {2, 6, 6}, [](const Index& i) {
                 return Index{i[0], i[1] % 3, i[2] % 2};
               })));
  }
  const Operand in{counting(DType::kFloat32, {3, 2})};
  CHECK(code_of(make_node("Expand"), {in, constant_ints({2, 2})}) == Code::kShapeMismatch);
  CHECK(code_of(make_node("Tile"), {in, constant_ints({2})}) == Code::kInvalidModel);
  CHECK(code_of(make_node("Tile"), {in, constant_ints({1 << 20, 1 << 20})}) ==
        Code::kLimitExceeded);
}

}  // namespace
}  // namespace octavo::test
