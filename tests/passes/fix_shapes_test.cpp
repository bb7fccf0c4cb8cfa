#include <doctest/doctest.h>

#include "passes/pipelines.h"
#include "support/graph_builder.h"

namespace octavo::passes {
namespace {

using test::GraphBuilder;

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

TEST_CASE("a shape that depends on data is named by its node") {
  GraphBuilder b;
  const ValueId list = b.input("list", {2}, DType::kInt64);
  b.output(b.node("Reshape", {b.input("x", {2, 3}), list}));
  const Status status = fix_shapes(b.graph, {});
  REQUIRE_FALSE(status.ok());
  CHECK(status.error().code == Code::kDynamicDimension);
  CHECK(status.error().where == "node 'n_Reshape' (Reshape)");
}

}  // namespace
}  // namespace octavo::passes
