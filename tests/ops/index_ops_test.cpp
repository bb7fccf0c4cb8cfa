// Ops that pick, place, order and compare elements, each against its definition or values computed
// by hand.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "support/buffers.h"
#include "support/op_runner.h"

namespace octavo::test {
namespace {

using Floats = std::vector<float>;
using Ints = std::vector<std::int64_t>;

Tensor floats(Shape shape, const Floats& values) {
  return Tensor::of<float>(std::move(shape), values);
}
Tensor ints(Shape shape, const Ints& values) {
  return Tensor::of<std::int64_t>(std::move(shape), values);
}
Operand fed(Tensor tensor) { return {std::move(tensor)}; }

Tensor run(Node node, const std::vector<std::optional<Operand>>& operands, const OpRun& how = {}) {
  const auto out = run_op(std::move(node), operands, how);
  REQUIRE_MESSAGE(out.ok(), (out.ok() ? "" : out.error().message()));
  return out->front();
}
Code refusal(Node node, const std::vector<std::optional<Operand>>& operands) {
  const auto out = run_op(std::move(node), operands);
  REQUIRE_FALSE(out.ok());
  CHECK_FALSE(out.error().what.empty());
  return out.error().code;
}
Floats values(const Tensor& tensor) {
  return {tensor.span<float>().begin(), tensor.span<float>().end()};
}

TEST_CASE("GatherElements picks an element for each index") {
  const Tensor data = floats({2, 3}, {1, 2, 3, 4, 5, 6});
  const Tensor along1 = run(make_node("GatherElements", {{"axis", std::int64_t{1}}}),
                            {fed(data), fed(ints({2, 2}, {0, -1, 2, -3}))});
  CHECK(values(along1) == Floats{1, 3, 6, 4});
  const Tensor along0 = run(make_node("GatherElements"),
                            {fed(data), fed(Tensor::of<std::int32_t>({1, 3}, {1, 0, 1}))});
  CHECK(values(along0) == Floats{4, 2, 6});
  CHECK(refusal(make_node("GatherElements"), {fed(data), fed(ints({2}, {0, 0}))}) ==
        Code::kShapeMismatch);
}

TEST_CASE("GatherND picks slices by whole indices, in batches too") {
  const Tensor data = floats({2, 2, 2}, {0, 1, 2, 3, 4, 5, 6, 7});
  CHECK(values(run(make_node("GatherND"), {fed(data), fed(ints({2, 2}, {0, 1, 1, 0}))})) ==
        Floats{2, 3, 4, 5});
  CHECK(values(run(make_node("GatherND"), {fed(data), fed(ints({1, 3}, {-1, -1, -1}))})) ==
        Floats{7});
  const Tensor batched = run(make_node("GatherND", {{"batch_dims", std::int64_t{1}}}),
                             {fed(data), fed(ints({2, 1}, {1, 0}))});
  CHECK(batched.shape() == Shape{2, 2});
  CHECK(values(batched) == Floats{2, 3, 4, 5});
  CHECK(refusal(make_node("GatherND"), {fed(data), fed(ints({1, 4}, {0, 0, 0, 0}))}) ==
        Code::kShapeMismatch);
}

TEST_CASE("an index outside of its axis is an error that names it, the node and the bound") {
  const Tensor data = floats({2, 3}, {1, 2, 3, 4, 5, 6});
  const struct {
    Node node;
    Tensor indices;
    std::optional<Tensor> updates;
    std::string says;
  } cases[] = {
      {make_node("Gather"), ints({3}, {1, 0, 2}), {}, "Index 2 is outside of an axis of 2."},
      {make_node("Gather"), ints({2}, {-3, 9}), {}, "Index -3 is outside of an axis of 2."},
      {make_node("GatherElements", {{"axis", std::int64_t{1}}}),
       ints({1, 2}, {-3, 3}),
       {},
       "Index 3 is outside of an axis of 3."},
      {make_node("GatherND"), ints({1, 2}, {1, INT64_MIN}), {}, "is outside of an axis of 3."},
      {make_node("GatherND"), ints({1, 2}, {INT64_MAX, 0}), {}, "is outside of an axis of 2."},
      {make_node("ScatterND"), ints({1, 1}, {2}), floats({1, 3}, {0, 0, 0}),
       "Index 2 is outside of an axis of 2."},
      {make_node("ScatterElements"), Tensor::of<std::int32_t>({1, 2}, {0, -3}),
       floats({1, 2}, {0, 0}), "Index -3 is outside of an axis of 2."},
  };
  for (const auto& one : cases) {
    CAPTURE(one.node.op);
    std::vector<std::optional<Operand>> operands{fed(data), fed(one.indices)};
    if (one.updates) operands.emplace_back(fed(*one.updates));
    const auto out = run_op(one.node, operands);
    REQUIRE_FALSE(out.ok());
    CHECK(out.error().code == Code::kShapeMismatch);
    CHECK(out.error().what.find(one.says) != std::string::npos);
    CHECK(out.error().where == "node 'node' (" + one.node.op + ")");
  }
}

TEST_CASE("OneHot marks an index along a new axis") {
  const Tensor values_ = floats({2}, {-1, 4});
  const auto run_hot = [&](std::int64_t axis, const Tensor& indices, std::int64_t depth) {
    return run(make_node("OneHot", {{"axis", axis}}),
               {fed(indices), constant(Tensor::scalar(depth)), fed(values_)});
  };
  const Tensor last = run_hot(-1, ints({4}, {0, 2, -1, 3}), 3);
  CHECK(last.shape() == Shape{4, 3});
  CHECK(values(last) == Floats{4, -1, -1, -1, -1, 4, -1, -1, 4, -1, -1, -1});
  const Tensor first = run_hot(0, floats({2}, {1, 0}), 2);
  CHECK(first.shape() == Shape{2, 2});
  CHECK(values(first) == Floats{-1, 4, 4, -1});
  CHECK(refusal(make_node("OneHot"),
                {fed(ints({1}, {0})), constant(Tensor::scalar(std::int64_t{0})), fed(values_)}) ==
        Code::kInvalidModel);
  CHECK(
      refusal(make_node("OneHot"), {fed(ints({1}, {0})), constant(Tensor::scalar(std::int64_t{2})),
                                    fed(floats({3}, {1, 2, 3}))}) == Code::kInvalidModel);
}

TEST_CASE("Trilu keeps one side of a diagonal, in each matrix") {
  const Tensor x = floats({2, 2, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
  CHECK(values(run(make_node("Trilu"), {fed(x)})) == Floats{1, 2, 3, 0, 5, 6, 7, 8, 9, 0, 11, 12});
  const auto lower = make_node("Trilu", {{"upper", std::int64_t{0}}});
  CHECK(values(run(lower, {fed(x), fed(Tensor::scalar(std::int64_t{-1}))})) ==
        Floats{0, 0, 0, 4, 0, 0, 0, 0, 0, 10, 0, 0});
  CHECK(values(run(lower, {fed(x), fed(Tensor::scalar(std::int64_t{99}))})) == values(x));
  CHECK(refusal(make_node("Trilu"), {fed(floats({2}, {1, 2}))}) == Code::kShapeMismatch);
}

TEST_CASE("Size is how many elements there are") {
  CHECK(run(make_node("Size"), {fed(floats({2, 3}, Floats(6)))}).span<std::int64_t>()[0] == 6);
}

TEST_CASE("NonMaxSuppression takes the best boxes that do not cover each other, per class") {
  // Two that cover each other, one apart; corners in any order.
  const Tensor boxes = floats({1, 3, 4}, {0, 0, 1, 1, 1.1F, 1, 0.1F, 0, 0, 10, 1, 11});
  const Tensor scores = floats({1, 2, 3}, {0.5F, 0.9F, 0.2F, 0.7F, 0.7F, 0.7F});
  const auto rows = [&](Node node, std::int64_t most, std::optional<float> share,
                        std::optional<float> least) {
    const auto one = [](std::optional<float> value) {
      return value ? std::optional(fed(Tensor::scalar(*value))) : std::nullopt;
    };
    const Tensor out =
        run(std::move(node),
            {fed(boxes), fed(scores), constant(Tensor::scalar(most)), one(share), one(least)});
    return Ints(out.span<std::int64_t>().begin(), out.span<std::int64_t>().end());
  };
  const Node node = make_node("NonMaxSuppression");
  // The plan has room for two of each class.
  CHECK(rows(node, 2, 0.5F, 0.3F) == Ints{0, 0, 1, 0, 1, 0, 0, 1, 2});
  CHECK(rows(node, 9, 0.95F, std::nullopt) ==
        Ints{0, 0, 1, 0, 0, 0, 0, 0, 2, 0, 1, 0, 0, 1, 1, 0, 1, 2});
  CHECK(rows(node, 1, std::nullopt, std::nullopt) == Ints{0, 0, 1, 0, 1, 0});
  CHECK(rows(node, -4, 0.5F, 0.5F).empty());
  // Centre and size: the same three boxes lie elsewhere, and the first has no area.
  CHECK(rows(make_node("NonMaxSuppression", {{"center_point_box", std::int64_t{1}}}), 1, 0.5F,
             0.8F) == Ints{0, 0, 1});
  CHECK(refusal(node, {fed(boxes), fed(floats({1, 1, 2}, {1, 2}))}) == Code::kShapeMismatch);
}

TEST_CASE("NonMaxSuppression of many boxes takes those that a search for the best one takes") {
  constexpr std::int64_t kBoxes = 400;
  constexpr float kShare = 0.3F;
  std::vector<float> corners;
  test::Random random(5);
  for (std::int64_t i = 0; i < kBoxes; ++i) {
    const float y = random.uniform(0, 10);
    const float x = random.uniform(0, 10);
    corners.insert(corners.end(), {y, x, y + random.uniform(0.5F, 2), x + random.uniform(0.5F, 2)});
  }
  std::vector<float> scores = test::random_floats(2 * kBoxes, 6, 0, 50);
  for (float& score : scores) score = std::floor(score);  // many are equal
  const auto shared = [&](std::int64_t a, std::int64_t b) {
    const float* p = corners.data() + 4 * a;
    const float* q = corners.data() + 4 * b;
    const float height = std::max(0.0F, std::min(p[2], q[2]) - std::max(p[0], q[0]));
    const float width = std::max(0.0F, std::min(p[3], q[3]) - std::max(p[1], q[1]));
    const auto area = [](const float* box) { return (box[3] - box[1]) * (box[2] - box[0]); };
    return width * height / (area(p) + area(q) - width * height);
  };
  Ints expected;
  for (std::int64_t group = 0; group < 2; ++group) {
    const float* score = scores.data() + group * kBoxes;
    std::vector<bool> gone(kBoxes, false);
    while (true) {
      std::int64_t best = -1;
      for (std::int64_t i = 0; i < kBoxes; ++i) {
        if (!gone[static_cast<std::size_t>(i)] && (best < 0 || score[i] > score[best])) best = i;
      }
      if (best < 0) break;
      expected.insert(expected.end(), {0, group, best});
      for (std::int64_t i = 0; i < kBoxes; ++i) {
        if (i == best || shared(i, best) > kShare) gone[static_cast<std::size_t>(i)] = true;
      }
    }
  }
  REQUIRE(expected.size() > 300);
  REQUIRE(expected.size() < 3 * kBoxes);
  const Tensor out = run(make_node("NonMaxSuppression"),
                         {fed(floats({1, kBoxes, 4}, corners)), fed(floats({1, 2, kBoxes}, scores)),
                          constant(Tensor::scalar(kBoxes)), fed(Tensor::scalar(kShare))});
  CHECK(Ints(out.span<std::int64_t>().begin(), out.span<std::int64_t>().end()) == expected);
}

TEST_CASE("NonZero tells where, an axis a row") {
  const auto where = [&](const Tensor& x) {
    const Tensor out = run(make_node("NonZero"), {fed(x)});
    Ints all(out.shape().begin(), out.shape().end());
    all.insert(all.end(), out.span<std::int64_t>().begin(), out.span<std::int64_t>().end());
    return all;
  };
  CHECK(where(floats({2, 2}, {0, -1, 2, 3})) == Ints{2, 3, 0, 1, 1, 1, 0, 1});
  CHECK(where(ints({3}, {0, 0, 5})) == Ints{1, 1, 2});
  CHECK(where(floats({2, 0, 3}, {})) == Ints{3, 0});
  CHECK(where(floats({2}, {0, 0})) == Ints{1, 0});
  CHECK(where(Tensor::scalar(4.0F)) == Ints{1, 1, 0});
}

TEST_CASE("ScatterElements and ScatterND put updates in, or join them") {
  const Tensor data = floats({3, 3}, {1, 1, 1, 1, 1, 1, 1, 1, 1});
  const auto scatter = [&](const char* reduction) {
    return values(run(make_node("ScatterElements",
                                {{"axis", std::int64_t{1}}, {"reduction", std::string(reduction)}}),
                      {fed(data), fed(ints({1, 3}, {1, 1, -1})), fed(floats({1, 3}, {5, 3, -2}))}));
  };
  CHECK(scatter("none") == Floats{1, 3, -2, 1, 1, 1, 1, 1, 1});
  CHECK(scatter("add") == Floats{1, 9, -1, 1, 1, 1, 1, 1, 1});
  CHECK(scatter("mul") == Floats{1, 15, -2, 1, 1, 1, 1, 1, 1});
  CHECK(scatter("min") == Floats{1, 1, -2, 1, 1, 1, 1, 1, 1});
  CHECK(scatter("max") == Floats{1, 5, 1, 1, 1, 1, 1, 1, 1});
  const Tensor rows = run(make_node("ScatterND"), {fed(data), fed(ints({2, 1}, {2, 0})),
                                                   fed(floats({2, 3}, {7, 8, 9, 1, 1, 1}))});
  CHECK(values(rows) == Floats{1, 1, 1, 1, 1, 1, 7, 8, 9});
  CHECK(refusal(make_node("ScatterND"), {fed(data), fed(ints({1, 1}, {0})),
                                         fed(floats({1, 2}, {0, 0}))}) == Code::kShapeMismatch);
  CHECK(refusal(make_node("ScatterND", {{"reduction", std::string("mean")}}),
                {fed(data), fed(ints({1, 1}, {0})), fed(floats({1, 3}, {0, 0, 0}))}) ==
        Code::kUnsupportedAttribute);
}

TEST_CASE("TopK sorts along an axis, the first of equals first") {
  const Tensor x = floats({2, 4}, {3, 9, 3, -1, 0, 0, 5, 5});
  OpRun two;
  two.outputs = 2;
  const auto top = run_op(make_node("TopK"), {fed(x), constant_ints({3})}, two);
  REQUIRE(top.ok());
  CHECK(values((*top)[0]) == Floats{9, 3, 3, 5, 5, 0});
  CHECK(to_int64s((*top)[1]) == Ints{1, 0, 2, 2, 3, 0});
  const auto least =
      run_op(make_node("TopK", {{"largest", std::int64_t{0}}, {"axis", std::int64_t{0}}}),
             {fed(x), constant_ints({1})}, two);
  REQUIRE(least.ok());
  CHECK(values((*least)[0]) == Floats{0, 0, 3, -1});
  CHECK(to_int64s((*least)[1]) == Ints{1, 1, 0, 0});
  CHECK(refusal(make_node("TopK"), {fed(x), constant_ints({5})}) == Code::kShapeMismatch);
  // A NaN sorts above all.
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto odd =
      run_op(make_node("TopK"), {fed(floats({3}, {1, nan, 2})), constant_ints({2})}, two);
  CHECK(to_int64s((*odd)[1]) == Ints{1, 2});
}

TEST_CASE("TopK of rows longer than what is sorted at once") {
  constexpr std::int64_t kLong = 10'000;
  std::vector<float> numbers = test::random_floats(2 * kLong, 3, 0, 1000);
  for (float& x : numbers) x = std::floor(x);  // many are equal
  OpRun two;
  two.outputs = 2;
  for (const std::int64_t k : {std::int64_t{1}, std::int64_t{5000}, kLong}) {
    const auto top =
        run_op(make_node("TopK"), {fed(floats({2, kLong}, numbers)), constant_ints({k})}, two);
    REQUIRE(top.ok());
    Ints expected;
    for (std::int64_t row = 0; row < 2; ++row) {
      Ints order(kLong);
      std::iota(order.begin(), order.end(), std::int64_t{0});
      std::stable_sort(order.begin(), order.end(), [&](std::int64_t i, std::int64_t j) {
        return numbers[static_cast<std::size_t>(row * kLong + i)] >
               numbers[static_cast<std::size_t>(row * kLong + j)];
      });
      expected.insert(expected.end(), order.begin(), order.begin() + k);
    }
    CHECK(to_int64s((*top)[1]) == expected);
  }
}

TEST_CASE("ArgMax and ArgMin name the first or the last of the extremes") {
  const Tensor x = floats({2, 3}, {4, 7, 7, -2, -2, 0});
  const auto arg = [&](const char* op, std::int64_t axis, std::int64_t keep, std::int64_t last) {
    return run(make_node(op, {{"axis", axis}, {"keepdims", keep}, {"select_last_index", last}}),
               {fed(x)});
  };
  CHECK(to_int64s(arg("ArgMax", 1, 0, 0)) == Ints{1, 2});
  CHECK(to_int64s(arg("ArgMax", 1, 0, 1)) == Ints{2, 2});
  CHECK(to_int64s(arg("ArgMin", -1, 0, 0)) == Ints{0, 0});
  CHECK(to_int64s(arg("ArgMin", -1, 0, 1)) == Ints{0, 1});
  CHECK(to_int64s(arg("ArgMax", 0, 0, 0)) == Ints{0, 0, 0});
  CHECK(arg("ArgMax", 0, 1, 0).shape() == Shape{1, 3});
  CHECK(refusal(make_node("ArgMax", {{"axis", std::int64_t{2}}}), {fed(x)}) == Code::kInvalidModel);
}

TEST_CASE("CumSum adds up from either end, with or without the element") {
  const Tensor x = floats({2, 3}, {1, 2, 3, 4, 5, 6});
  const auto sums = [&](std::int64_t exclusive, std::int64_t reverse, std::int64_t axis) {
    return values(run(make_node("CumSum", {{"exclusive", exclusive}, {"reverse", reverse}}),
                      {fed(x), constant_ints({axis})}));
  };
  CHECK(sums(0, 0, 1) == Floats{1, 3, 6, 4, 9, 15});
  CHECK(sums(1, 0, 1) == Floats{0, 1, 3, 0, 4, 9});
  CHECK(sums(0, 1, -1) == Floats{6, 5, 3, 15, 11, 6});
  CHECK(sums(1, 1, 0) == Floats{4, 5, 6, 0, 0, 0});
  CHECK(refusal(make_node("CumSum"), {fed(x), fed(ints({1}, {0}))}) == Code::kUnsupportedAttribute);
}

TEST_CASE("Einsum sums products over the axes that the result does not name") {
  const Tensor a = floats({2, 3}, {1, 2, 3, 4, 5, 6});
  const Tensor b = floats({3, 2}, {1, 0, 2, 1, 0, 3});
  const auto einsum = [&](const char* equation, std::vector<std::optional<Operand>> operands) {
    return values(run(make_node("Einsum", {{"equation", std::string(equation)}}), operands));
  };
  CHECK(einsum("ij,jk->ik", {fed(a), fed(b)}) == Floats{5, 11, 14, 23});
  CHECK(einsum("ij,jk", {fed(a), fed(b)}) == Floats{5, 11, 14, 23});
  CHECK(einsum("ij->ji", {fed(a)}) == Floats{1, 4, 2, 5, 3, 6});
  CHECK(einsum("ij -> ", {fed(a)}) == Floats{21});
  CHECK(einsum("...j,j->...", {fed(a), fed(floats({3}, {1, 1, 2}))}) == Floats{9, 21});
  CHECK(einsum("ii->i", {fed(floats({2, 2}, {1, 2, 3, 4}))}) == Floats{1, 4});
  for (const char* wrong : {"ij,jk->il", "ij->ii", "ijk->i", "ij,jk,kl->il", "i1->i"}) {
    CAPTURE(wrong);
    CHECK(refusal(make_node("Einsum", {{"equation", std::string(wrong)}}), {fed(a), fed(b)}) ==
          Code::kInvalidModel);
  }
  // 2^36 products for one number.
  const Operand long_row = fed(Tensor::make(DType::kFloat32, {4096}));
  CHECK(refusal(make_node("Einsum", {{"equation", std::string("i,j,k->")}}),
                {long_row, long_row, long_row}) == Code::kLimitExceeded);
}

TEST_CASE("comparisons and logic give bool, exactly for large integers") {
  const Tensor a = ints({3}, {std::int64_t{1} << 62, 5, -1});
  const Tensor b = ints({3}, {(std::int64_t{1} << 62) + 1, 5, -2});
  const auto compare = [&](const char* op) {
    return to_int64s(run(make_node(op), {fed(a), fed(b)}));
  };
  CHECK(compare("Less") == Ints{1, 0, 0});
  CHECK(compare("LessOrEqual") == Ints{1, 1, 0});
  CHECK(compare("Greater") == Ints{0, 0, 1});
  CHECK(compare("GreaterOrEqual") == Ints{0, 1, 1});
  CHECK(compare("Equal") == Ints{0, 1, 0});
  Tensor p = Tensor::make(DType::kBool, {2, 2});
  Tensor q = Tensor::make(DType::kBool, {2});
  p.mutable_data()[0] = p.mutable_data()[1] = q.mutable_data()[0] = std::byte{1};
  const auto logic = [&](const char* op) {
    return to_int64s(run(make_node(op), {fed(p), fed(q)}));
  };
  CHECK(logic("And") == Ints{1, 0, 0, 0});
  CHECK(logic("Or") == Ints{1, 1, 1, 0});
  CHECK(logic("Xor") == Ints{0, 1, 1, 0});
  CHECK(to_int64s(run(make_node("Not"), {fed(p)})) == Ints{0, 0, 1, 1});
  CHECK(refusal(make_node("And"), {fed(a), fed(b)}) == Code::kInvalidModel);
  const float inf = std::numeric_limits<float>::infinity();
  const Tensor odd = floats({4}, {inf, -inf, std::nanf(""), 1});
  CHECK(to_int64s(run(make_node("IsNaN"), {fed(odd)})) == Ints{0, 0, 1, 0});
  CHECK(to_int64s(run(make_node("IsInf"), {fed(odd)})) == Ints{1, 1, 0, 0});
  CHECK(to_int64s(run(make_node("IsInf", {{"detect_negative", std::int64_t{0}}}), {fed(odd)})) ==
        Ints{1, 0, 0, 0});
}

TEST_CASE("GridSample reads at the places of the grid, with each padding") {
  const Tensor x = floats({1, 1, 2, 2}, {1, 2, 3, 4});
  // The middle, the first pixel's centre, far outside.
  const Tensor grid = floats({1, 1, 3, 2}, {0, 0, -0.5F, -0.5F, 9, 9});
  const auto sample = [&](const char* mode, const char* padding, std::int64_t align) {
    return values(run(make_node("GridSample", {{"mode", std::string(mode)},
                                               {"padding_mode", std::string(padding)},
                                               {"align_corners", align}}),
                      {fed(x), fed(grid)}));
  };
  CHECK(sample("linear", "zeros", 0) == Floats{2.5F, 1, 0});
  CHECK(sample("bilinear", "border", 0) == Floats{2.5F, 1, 4});
  CHECK(sample("linear", "zeros", 1) == Floats{2.5F, 1.75F, 0});
  CHECK(sample("nearest", "border", 0)[2] == 4);
  CHECK(sample("nearest", "reflection", 1)[2] == 4);  // 5 is mirrored at 1 and 0 to 1
  CHECK(sample("cubic", "border", 0)[0] == doctest::Approx(2.5F));
  CHECK(refusal(make_node("GridSample", {{"mode", std::string("area")}}), {fed(x), fed(grid)}) ==
        Code::kUnsupportedAttribute);
}

}  // namespace
}  // namespace octavo::test
