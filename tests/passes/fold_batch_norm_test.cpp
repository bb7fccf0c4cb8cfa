#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "graph/verify.h"
#include "passes/passes.h"
#include "support/graph_builder.h"

namespace octavo::passes {
namespace {

using test::GraphBuilder;

ValueId floats(GraphBuilder& b, Shape shape, const std::vector<float>& values) {
  return b.constant(Tensor::of<float>(std::move(shape), values));
}

ValueId batch_norm(GraphBuilder& b, ValueId x, std::int64_t channels) {
  std::vector<float> gamma, beta, mean, var;
  for (std::int64_t c = 0; c < channels; ++c) {
    const auto f = static_cast<float>(c);
    gamma.push_back(0.5F + f);
    beta.push_back(f - 1);
    mean.push_back(0.25F * f);
    var.push_back(1 + f);
  }
  const Shape shape{channels};
  return b.node("BatchNormalization",
                {x, floats(b, shape, gamma), floats(b, shape, beta), floats(b, shape, mean),
                 floats(b, shape, var)},
                {{"epsilon", 0.001F}});
}

const Note& note_of(const PassContext& context, const std::string& op) {
  for (const Note& note : context.notes) {
    if (note.op == op) return note;
  }
  FAIL("no note about " << op);
  return context.notes.front();
}

TEST_CASE(
    "fold_batch_norm: weights and bias follow the formula and the node keeps the "
    "BatchNormalization's output") {
  GraphBuilder b;
  const ValueId x = b.input("x", Shape{1, 1, 4, 4});
  const ValueId w = floats(b, Shape{2, 1, 1, 1}, {2, -3});
  const ValueId bias = floats(b, Shape{2}, {1, 0.5F});
  const ValueId conv = b.node("Conv", {x, w, bias});
  const ValueId y = batch_norm(b, conv, 2);
  b.output(y);
  const std::string name = b.graph.value(y).name;
  PassContext context;
  const auto changes = fold_batch_norm(b.graph, context);
  REQUIRE(changes.ok());
  CHECK(*changes == 1);
  REQUIRE(verify(b.graph).ok());
  REQUIRE(b.graph.nodes.size() == 1);
  const Node& node = b.graph.nodes[0];
  CHECK(b.graph.value(node.outputs[0]).name == name);
  const auto weights = to_floats(*b.graph.value(node.inputs[1]).constant);
  const auto biases = to_floats(*b.graph.value(node.inputs[2]).constant);
  const float r0 = 1 / std::sqrt(1.001F);
  const float r1 = 1 / std::sqrt(2.001F);
  CHECK(weights[0] == doctest::Approx(2 * 0.5F * r0));
  CHECK(weights[1] == doctest::Approx(-3 * 1.5F * r1));
  CHECK(biases[0] == doctest::Approx((1 - 0.0F) * r0 * 0.5F - 1));
  CHECK(biases[1] == doctest::Approx((0.5F - 0.25F) * r1 * 1.5F + 0));
  CHECK(note_of(context, "BatchNormalization").what == "folded into node 'n_Conv'");
}

TEST_CASE(
    "fold_batch_norm: a Gemm takes it in either orientation of its weights, without a bias too") {
  for (const std::int64_t transposed : {0, 1}) {
    CAPTURE(transposed);
    GraphBuilder b;
    const ValueId x = b.input("x", Shape{1, 3});
    const ValueId w = floats(b, transposed != 0 ? Shape{2, 3} : Shape{3, 2}, {1, 2, 3, 4, 5, 6});
    const ValueId gemm = b.node("Gemm", {x, w}, {{"transB", transposed}});
    b.output(batch_norm(b, gemm, 2));
    PassContext context;
    REQUIRE(fold_batch_norm(b.graph, context).ok());
    REQUIRE(b.graph.nodes.size() == 1);
    const auto weights = to_floats(*b.graph.value(b.graph.nodes[0].inputs[1]).constant);
    const float s0 = 0.5F / std::sqrt(1.001F);
    const float s1 = 1.5F / std::sqrt(2.001F);
    for (std::size_t i = 0; i < 6; ++i) {
      const bool second = transposed != 0 ? i >= 3 : i % 2 == 1;
      CHECK(weights[i] == doctest::Approx(static_cast<float>(i + 1) * (second ? s1 : s0)));
    }
    CHECK(to_floats(*b.graph.value(b.graph.nodes[0].inputs[2]).constant)[0] == doctest::Approx(-1));
  }
}

TEST_CASE("fold_batch_norm: what stays says why") {
  SUBCASE("a graph input before it") {
    GraphBuilder b;
    b.output(batch_norm(b, b.input("image", Shape{1, 2, 4, 4}), 2));
    PassContext context;
    REQUIRE(fold_batch_norm(b.graph, context).ok());
    CHECK(b.graph.nodes.size() == 1);
    CHECK(note_of(context, "BatchNormalization").what ==
          "standalone: its input is the graph input 'image'");
  }
  SUBCASE("an Add before it") {
    GraphBuilder b;
    const ValueId x = b.input("x", Shape{1, 2, 4, 4});
    b.output(batch_norm(b, b.node("Add", {x, x}), 2));
    PassContext context;
    REQUIRE(fold_batch_norm(b.graph, context).ok());
    CHECK(note_of(context, "BatchNormalization").what ==
          "standalone: its input comes from node 'n_Add' (Add)");
  }
  SUBCASE("a second reader of the convolution: nothing may change") {
    GraphBuilder b;
    const ValueId x = b.input("x", Shape{1, 2, 4, 4});
    const ValueId conv = b.node("Conv", {x, floats(b, Shape{2, 2, 1, 1}, {1, 2, 3, 4})});
    const ValueId bn = batch_norm(b, conv, 2);
    b.output(b.node("Concat", {conv, bn}, {{"axis", std::int64_t{1}}}));
    PassContext context;
    const auto changes = fold_batch_norm(b.graph, context);
    REQUIRE(changes.ok());
    CHECK(*changes == 0);
    CHECK(note_of(context, "BatchNormalization").what ==
          "standalone: the output of node 'n_Conv' is also read by node 'n_Concat' (Concat)");
  }
  SUBCASE("the convolution's result is a graph output") {
    GraphBuilder b;
    const ValueId x = b.input("x", Shape{1, 2, 4, 4});
    const ValueId conv = b.node("Conv", {x, floats(b, Shape{2, 2, 1, 1}, {1, 2, 3, 4})});
    b.output(batch_norm(b, conv, 2));
    b.output(conv);
    PassContext context;
    REQUIRE(fold_batch_norm(b.graph, context).ok());
    CHECK(b.graph.nodes.size() == 2);
    CHECK(note_of(context, "BatchNormalization").what ==
          "standalone: the output of node 'n_Conv' is a graph output");
  }
  SUBCASE("an activation between") {
    GraphBuilder b;
    const ValueId x = b.input("x", Shape{1, 2, 4, 4});
    const ValueId conv = b.node("Conv", {x, floats(b, Shape{2, 2, 1, 1}, {1, 2, 3, 4})});
    b.output(batch_norm(b, b.node("Relu", {conv}), 2));
    PassContext context;
    REQUIRE(fuse_activation(b.graph, context).ok());
    REQUIRE(fold_batch_norm(b.graph, context).ok());
    CHECK(b.graph.nodes.size() == 2);
    CHECK(note_of(context, "BatchNormalization")
              .what.starts_with("standalone: an activation stands between"));
  }
}

TEST_CASE("fold_batch_norm: a chain of two goes into the convolution at once") {
  GraphBuilder b;
  const ValueId x = b.input("x", Shape{1, 2, 4, 4});
  const ValueId conv = b.node("Conv", {x, floats(b, Shape{2, 2, 1, 1}, {1, 2, 3, 4})});
  b.output(batch_norm(b, batch_norm(b, conv, 2), 2));
  PassContext context;
  const auto changes = fold_batch_norm(b.graph, context);
  REQUIRE(changes.ok());
  CHECK(*changes == 2);
  CHECK(b.graph.nodes.size() == 1);
}

TEST_CASE(
    "fold_scale: constants per channel go into the node before, whatever side they stand on") {
  GraphBuilder b;
  const ValueId x = b.input("x", Shape{1, 1, 4, 4});
  ValueId y =
      b.node("Conv", {x, floats(b, Shape{2, 1, 1, 1}, {1, -2}), floats(b, Shape{2}, {3, 4})});
  y = b.node("Mul", {floats(b, Shape{1, 2, 1, 1}, {2, 10}), y});
  y = b.node("Add", {y, floats(b, Shape{2, 1, 1}, {0.5F, -1})});
  y = b.node("Sub", {floats(b, Shape{}, {7}), y});
  y = b.node("Div", {y, floats(b, Shape{1}, {4})});
  b.output(y);
  PassContext context;
  const auto changes = fold_scale(b.graph, context);
  REQUIRE(changes.ok());
  CHECK(*changes == 4);
  REQUIRE(verify(b.graph).ok());
  REQUIRE(b.graph.nodes.size() == 1);
  const Node& conv = b.graph.nodes[0];
  CHECK(to_floats(*b.graph.value(conv.inputs[1]).constant) == std::vector<float>{-0.5F, 5});
  CHECK(to_floats(*b.graph.value(conv.inputs[2]).constant) == std::vector<float>{0.125F, -8});
}

TEST_CASE("fold_scale: a BatchNormalization takes them; a second reader or another axis stops it") {
  GraphBuilder b;
  const ValueId x = b.input("x", Shape{1, 2, 2, 2});
  const ValueId first = b.node("Mul", {batch_norm(b, x, 2), floats(b, Shape{2, 1, 1}, {2, 3})});
  b.output(first);
  const ValueId second = batch_norm(b, x, 2);
  b.output(b.node("Add", {second, b.node("Mul", {second, floats(b, Shape{}, {2})})}));
  b.output(b.node("Mul", {batch_norm(b, x, 2), floats(b, Shape{2}, {2, 3})}));  // along the width
  PassContext context;
  const auto changes = fold_scale(b.graph, context);
  REQUIRE(changes.ok());
  CHECK(*changes == 1);
  CHECK(to_floats(*b.graph.value(b.graph.nodes[0].inputs[1]).constant) ==
        std::vector<float>{1, 4.5F});
  CHECK(to_floats(*b.graph.value(b.graph.nodes[0].inputs[2]).constant) ==
        std::vector<float>{-2, 0});
}

TEST_CASE(
    "fuse_activation: Relu and Clip with constant bounds become attributes of their only "
    "producer") {
  GraphBuilder b;
  const ValueId x = b.input("x", Shape{1, 2, 4, 4});
  const ValueId w = floats(b, Shape{2, 2, 1, 1}, {1, 2, 3, 4});
  const ValueId relu = b.node("Relu", {b.node("Conv", {x, w})});
  const ValueId clip = b.node(
      "Clip", {b.node("Conv", {relu, w}), floats(b, Shape{}, {-1}), floats(b, Shape{}, {6})});
  const ValueId sum = b.node("Relu", {b.node("Add", {clip, x})});
  const ValueId bn = b.node("Relu", {batch_norm(b, sum, 2)});
  b.output(bn);
  const std::string clip_name = b.graph.value(clip).name;
  PassContext context;
  const auto changes = fuse_activation(b.graph, context);
  REQUIRE(changes.ok());
  CHECK(*changes == 4);
  REQUIRE(b.graph.nodes.size() == 4);
  CHECK(b.graph.nodes[0].attrs.get_string("octavo_activation", "") == "Relu");
  CHECK(b.graph.nodes[1].attrs.get_string("octavo_activation", "") == "Clip");
  CHECK(b.graph.nodes[1].attrs.get_float("octavo_min", 0) == -1.0F);
  CHECK(b.graph.nodes[1].attrs.get_float("octavo_max", 0) == 6.0F);
  CHECK(b.graph.value(b.graph.nodes[1].outputs[0]).name == clip_name);
  CHECK(b.graph.nodes[3].attrs.get_string("octavo_activation", "") == "Relu");
  CHECK(*fuse_activation(b.graph, context) == 0);
}

TEST_CASE(
    "fuse_activation leaves an activation whose input has another reader, whose bounds are no "
    "constants, or that follows one") {
  GraphBuilder b;
  const ValueId x = b.input("x", Shape{1, 2, 4, 4});
  const ValueId max = b.input("max", Shape{});
  const ValueId w = floats(b, Shape{2, 2, 1, 1}, {1, 2, 3, 4});
  const ValueId conv = b.node("Conv", {x, w});
  b.output(b.node("Add", {conv, b.node("Relu", {conv})}));
  b.output(b.node("Clip", {b.node("Conv", {x, w}), kNoValue, max}));
  const ValueId shown = b.node("Conv", {x, w});
  b.output(shown);
  b.output(b.node("Relu", {shown}));
  PassContext context;
  const auto changes = fuse_activation(b.graph, context);
  REQUIRE(changes.ok());
  CHECK(*changes == 0);
}

}  // namespace
}  // namespace octavo::passes
