#include <doctest/doctest.h>

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "graph/verify.h"
#include "passes/pipelines.h"
#include "passes/tail.h"
#include "support/graph_builder.h"
#include "support/take.h"

namespace octavo::passes {
namespace {

using test::GraphBuilder;
using test::take;

TEST_CASE("an open batch becomes 1, other shapes follow") {
  GraphBuilder b;
  const ValueId x = b.input("x", {kUnknownDim, 3, 4}, DType::kFloat32, {"N", "", ""});
  const ValueId y = b.node("Transpose", {x});
  b.output(y);
  REQUIRE(fix_shapes(b.graph, {}).ok());
  CHECK(b.graph.value(x).shape == Shape{1, 3, 4});
  CHECK(b.graph.value(y).shape == Shape{4, 3, 1});
}

TEST_CASE("open sizes are taken from the given shapes, under their name for all inputs") {
  GraphBuilder b;
  const ValueId x =
      b.input("x", {kUnknownDim, 3, kUnknownDim}, DType::kFloat32, {"N", "", "width"});
  const ValueId y = b.input("y", {kUnknownDim, kUnknownDim}, DType::kFloat32, {"N", "width"});
  b.output(b.node("Transpose", {x}));
  b.output(b.node("Transpose", {y}));
  REQUIRE(fix_shapes(b.graph, {{{"x", Shape{2, 3, 8}}}}).ok());
  CHECK(b.graph.value(x).shape == Shape{2, 3, 8});
  CHECK(b.graph.value(y).shape == Shape{2, 8});
}

TEST_CASE("every input that stays open is named, with how to give it") {
  GraphBuilder b;
  b.input("a", {1, 3, kUnknownDim, kUnknownDim}, DType::kFloat32, {"", "", "height", "width"});
  b.input("b", {kUnknownDim, kUnknownDim});
  const Status status = fix_shapes(b.graph, {});
  REQUIRE_FALSE(status.ok());
  CHECK(status.error().code == Code::kDynamicDimension);
  REQUIRE(status.error().all.size() == 2);
  CHECK(status.error().where == "input 'a'");
  CHECK(status.error().what.find("[1, 3, height, width]") != std::string::npos);
  CHECK(status.error().hint.find("inputShapes") != std::string::npos);
  CHECK(status.error().all[1].where == "input 'b'");
}

TEST_CASE("a given shape that contradicts the model is refused") {
  const auto fix = [](const std::string& name, Shape shape) {
    GraphBuilder b;
    b.output(b.node("Transpose", {b.input("x", {kUnknownDim, 3, 4})}));
    return fix_shapes(b.graph, {{{name, std::move(shape)}}});
  };
  CHECK(fix("x", {2, 3, 4}).ok());
  CHECK(fix("x", {2, 4, 4}).error().code == Code::kShapeMismatch);
  CHECK(fix("x", {2, 3}).error().code == Code::kShapeMismatch);
  CHECK(fix("x", {2, 3, kUnknownDim}).error().code == Code::kInvalidOption);
  CHECK(fix("x", {std::int64_t{1} << 40, 3, 4}).error().code == Code::kInvalidOption);
  CHECK(fix("z", {2, 3, 4}).error().code == Code::kInvalidOption);
  CHECK(fix("z", {2, 3, 4}).error().hint == "The inputs are 'x'.");
}

TEST_CASE("a shape that a few numbers decide is left to the run, with what reads it") {
  GraphBuilder b;
  const ValueId list = b.input("list", {2}, DType::kInt64);
  const ValueId x = b.input("x", {2, 3});
  const ValueId y = b.node("Relu", {x});
  const ValueId z = b.node("Reshape", {y, list});
  b.output(y);
  b.output(b.node("Neg", {z}));
  b.output(b.node("Neg", {y}));
  REQUIRE(fix_shapes(b.graph, {}).ok());
  Graph again = b.graph;
  CHECK(take(cut_tail(again, InputShapes{}))->graph.nodes.size() == 2);
  CHECK(again.nodes.size() == 2);
  std::optional<Tail> tail = cut_tail(b.graph);
  REQUIRE(tail.has_value());
  CHECK(tail->decisive == std::set<std::string>{"list"});
  CHECK(tail->graph.nodes.size() == 2);
  CHECK(tail->graph.inputs.size() == 2);
  CHECK(b.graph.nodes.size() == 2);
  CHECK(b.graph.outputs.size() == 2);  // y, which the tail reads too, stands once
  CHECK(verify(b.graph).ok());
  CHECK(verify(tail->graph).ok());

  // The head may have made a value or a node of a tail's name since.
  const std::string taken = tail->graph.value(tail->graph.nodes[0].outputs[0]).name;
  b.graph.value(b.graph.nodes[1].outputs[0]).name = taken;
  b.graph.nodes[1].name = "n_Reshape";
  tail->outputs[2] = taken;
  join_tail(b.graph, *tail);
  CHECK(verify(b.graph).ok());
  CHECK(b.graph.nodes.size() == 4);
  for (std::size_t i = 0; i < 3; ++i)
    CHECK(b.graph.value(b.graph.outputs[i]).name == tail->outputs[i]);
  CHECK(fix_shapes(b.graph, {}).ok());
}

TEST_CASE("a shape that nothing decides is named by its node") {
  GraphBuilder b;
  b.output(b.node("NoSuchOp", {b.input("x", {200})}));
  const Status status = fix_shapes(b.graph, {});
  REQUIRE_FALSE(status.ok());
  CHECK(status.error().code == Code::kDynamicDimension);
  CHECK(status.error().where == "node 'n_NoSuchOp' (NoSuchOp)");
}

}  // namespace
}  // namespace octavo::passes
