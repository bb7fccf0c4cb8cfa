#include "passes/infer_shapes.h"

#include <doctest/doctest.h>

#include "graph/verify.h"
#include "support/graph_builder.h"
#include "support/op_runner.h"

namespace octavo::passes {
namespace {

using test::GraphBuilder;

// Forgets what the builder inferred, so that only the pass can have found it.
void forget(Graph& graph) {
  for (const Node& node : graph.nodes) {
    for (const ValueId id : node.outputs) {
      graph.value(id).shape.reset();
      graph.value(id).dtype = DType::kUndefined;
    }
  }
}

TEST_CASE("shapes and dtypes follow from the inputs") {
  GraphBuilder b;
  const ValueId x = b.input("x", {2, 3, 4});
  const ValueId t = b.node("Transpose", {x});
  const ValueId c = b.node("Concat", {t, t}, {{"axis", std::int64_t{0}}});
  const ValueId i = b.node("Cast", {c}, {{"to", std::int64_t{7}}});
  b.output(i);
  forget(b.graph);
  REQUIRE(infer_and_fold(b.graph).ok());
  CHECK(b.graph.value(i).shape == Shape{8, 3, 2});
  CHECK(b.graph.value(i).dtype == DType::kInt64);
  CHECK(b.graph.value(c).dtype == DType::kFloat32);
  CHECK(b.graph.nodes.size() == 3);
}

TEST_CASE("nodes of constants become constants, their results are those of the ops") {
  GraphBuilder b;
  const ValueId c = b.constant(Tensor::of<float>({2, 2}, {1, 2, 3, 4}));
  const ValueId t = b.node("Transpose", {c});
  const ValueId s = b.node("Slice", {t, b.ints({1}), b.ints({2})});
  b.output(s);
  REQUIRE(infer_and_fold(b.graph).ok());
  CHECK(b.graph.nodes.empty());
  REQUIRE(b.graph.value(s).is_constant());
  CHECK(test::same(*b.graph.value(s).constant, Tensor::of<float>({1, 2}, {2, 4})));
  CHECK(verify(b.graph).ok());
}

TEST_CASE("folding can be turned off") {
  GraphBuilder b;
  b.output(b.node("Transpose", {b.constant(Tensor::of<float>({2, 2}, {1, 2, 3, 4}))}));
  REQUIRE(infer_and_fold(b.graph, {.fold = false}).ok());
  CHECK(b.graph.nodes.size() == 1);
}

TEST_CASE("the shape arithmetic of exporters folds as far as dimensions are known") {
  // Flatten as PyTorch writes it, with a batch that is not known: Reshape(x, Concat(Shape(x)[0],
  // -1)).
  GraphBuilder b;
  const ValueId x = b.input("x", {kUnknownDim, 3, 4, 5});
  const ValueId shape = b.node("Shape", {x});
  const ValueId batch = b.node("Gather", {shape, b.constant(Tensor::scalar<std::int64_t>(0))});
  const ValueId list = b.node("Concat", {b.node("Unsqueeze", {batch, b.ints({0})}), b.ints({60})},
                              {{"axis", std::int64_t{0}}});
  const ValueId flat = b.node("Reshape", {x, list});
  b.output(flat);
  // And a size that is known: Shape(x)[2:4].
  const ValueId size = b.node("Slice", {shape, b.ints({2}), b.ints({4})});
  const ValueId picked = b.node("Gather", {shape, b.constant(Tensor::scalar<std::int64_t>(-1))});
  b.output(size);
  b.output(picked);
  forget(b.graph);
  REQUIRE(infer_and_fold(b.graph).ok());
  CHECK(b.graph.value(flat).shape == Shape{kUnknownDim, 60});
  REQUIRE(b.graph.value(size).is_constant());
  CHECK(test::same(*b.graph.value(size).constant, Tensor::of<std::int64_t>({2}, {4, 5})));
  REQUIRE(b.graph.value(picked).is_constant());
  CHECK(test::same(*b.graph.value(picked).constant, Tensor::scalar<std::int64_t>(5)));

  // With the batch, the rest follows: running the pass again is enough.
  b.graph.value(x).shape = Shape{7, 3, 4, 5};
  REQUIRE(infer_and_fold(b.graph).ok());
  CHECK(b.graph.value(flat).shape == Shape{7, 60});
  CHECK(b.graph.nodes.size() == 1);
}

TEST_CASE("a small file cannot ask for a huge constant") {
  GraphBuilder b;
  const ValueId big = b.node("ConstantOfShape", {b.ints({3 << 20})});  // 12 MB
  const ValueId bigger = b.node("Concat", {big, big}, {{"axis", std::int64_t{0}}});
  b.output(bigger);
  REQUIRE(infer_and_fold(b.graph).ok());
  CHECK(b.graph.value(big).is_constant());
  // Each of these replaces the one before it.
  GraphBuilder chain;
  ValueId x = chain.node("ConstantOfShape", {chain.ints({3 << 10, 1 << 10})});
  for (int i = 0; i < 4; ++i) x = chain.node("Transpose", {x});
  chain.output(x);
  REQUIRE(infer_and_fold(chain.graph).ok());
  CHECK(chain.graph.nodes.empty());
  // Each of these comes on top.
  GraphBuilder fan;
  const ValueId root = fan.node("ConstantOfShape", {fan.ints({3 << 10, 1 << 10})});
  for (int i = 0; i < 4; ++i) fan.output(fan.node("Transpose", {root}));
  REQUIRE(infer_and_fold(fan.graph).ok());
  CHECK(fan.graph.nodes.size() >= 3);
  CHECK_FALSE(b.graph.value(bigger).is_constant());
  CHECK(b.graph.value(bigger).shape == Shape{6 << 20});

  GraphBuilder huge;
  huge.output(huge.node("ConstantOfShape", {huge.ints({1 << 20, 1 << 20})}));
  CHECK(infer_and_fold(huge.graph).error().code == Code::kLimitExceeded);
}

TEST_CASE("a small file cannot ask for hours of folding") {
  // One product of 2^30; then 300 of 2^18.
  for (const std::int64_t side : {1024, 64}) {
    test::GraphBuilder b;
    const std::vector<float> ones(static_cast<std::size_t>(side * side), 1.0F);
    ValueId x = b.constant(Tensor::of<float>({side, side}, ones));
    const ValueId w = x;
    const auto nodes = side == 1024 ? 1 : 300;
    for (int i = 0; i < nodes; ++i) x = b.node("MatMul", {x, w});
    b.output(x);
    REQUIRE(infer_and_fold(b.graph).ok());
    // 256 of those are 2^26.
    CHECK(b.graph.nodes.size() == (side == 1024 ? 1 : 300 - 256));
  }
}

TEST_CASE("codes with their DequantizeLinear stay as they are") {
  GraphBuilder b;
  const ValueId codes = b.constant(Tensor::of<std::int8_t>({2}, {1, 2}));
  const ValueId scale = b.constant(Tensor::scalar<float>(0.5F));
  const ValueId zero = b.constant(Tensor::scalar<std::int8_t>(0));
  b.output(b.node("DequantizeLinear", {codes, scale, zero}));
  REQUIRE(infer_and_fold(b.graph).ok());
  CHECK(b.graph.nodes.size() == 1);
}

TEST_CASE("all nodes that do not fit are named at once") {
  GraphBuilder b;
  const ValueId x = b.input("x", {2, 3});
  b.output(b.node("Reshape", {x, b.ints({4, 2})}));
  b.output(b.node("Squeeze", {x, b.ints({0})}));
  const Status status = infer_and_fold(b.graph);
  REQUIRE_FALSE(status.ok());
  CHECK(status.error().code == Code::kShapeMismatch);
  CHECK(status.error().all.size() == 2);
  CHECK(status.error().where == "node 'n_Reshape' (Reshape)");
}

TEST_CASE("wrong numbers of inputs and missing inputs are found before an op sees them") {
  for (const std::size_t count : {0U, 3U}) {
    GraphBuilder b;
    const ValueId x = b.input("x", {2, 3});
    b.output(b.node("Transpose", {x}));
    b.graph.nodes[0].inputs.assign(count, x);
    CHECK(infer_and_fold(b.graph).error().code == Code::kInvalidModel);
  }
  GraphBuilder b;
  b.output(b.node("Transpose", {b.input("x", {2, 3})}));
  b.graph.nodes[0].inputs[0] = kNoValue;
  CHECK(infer_and_fold(b.graph).error().code == Code::kInvalidModel);
}

TEST_CASE("what a file claims about results is not believed") {
  GraphBuilder b;
  const ValueId x = b.input("x", {2, 3});
  const ValueId t = b.node("Transpose", {x});
  b.output(t);
  b.graph.value(t).shape = Shape{1};
  REQUIRE(infer_and_fold(b.graph).ok());
  CHECK(b.graph.value(t).shape == Shape{3, 2});
  // Not even where nothing can be inferred.
  b.graph.value(x).shape.reset();
  REQUIRE(infer_and_fold(b.graph).ok());
  CHECK_FALSE(b.graph.value(t).shape.has_value());
}

}  // namespace
}  // namespace octavo::passes
