#include <doctest/doctest.h>

#include <algorithm>

#include "graph/verify.h"
#include "passes/passes.h"
#include "support/graph_builder.h"

namespace octavo::passes {
namespace {

using test::GraphBuilder;

// Resize stands for all ops that work channels-last.
ValueId resize(GraphBuilder& b, ValueId x) {
  return b.node("Resize", {x, kNoValue, b.constant(Tensor::of<float>({4}, {1, 1, 2, 2}))});
}

void assign(Graph& graph) {
  PassContext context;
  const Result<int> changes = assign_layouts(graph, context);
  REQUIRE(changes.ok());
  REQUIRE_MESSAGE(verify(graph).ok(), verify(graph).error().message());
  // Once is enough.
  const std::size_t nodes = graph.nodes.size();
  const Result<int> again = assign_layouts(graph, context);
  REQUIRE(again.ok());
  CHECK(*again == 0);
  CHECK(graph.nodes.size() == nodes);
}

std::vector<std::string> ops_of(const Graph& graph) {
  std::vector<std::string> names;
  for (const Node& node : graph.nodes) names.push_back(node.op);
  return names;
}
using Names = std::vector<std::string>;

// What every node may rely on.
void check_rules(const Graph& graph) {
  for (const Value& value : graph.values) {
    if (value.is_constant()) CHECK(value.layout == Layout::kRowMajor);
    if (value.shape && value.shape->rank() < 3) CHECK(value.layout == Layout::kRowMajor);
  }
  for (const ValueId id : graph.inputs) CHECK(graph.value(id).layout == Layout::kRowMajor);
  for (const ValueId id : graph.outputs) CHECK(graph.value(id).layout == Layout::kRowMajor);
  for (const Node& node : graph.nodes) {
    const ops::OpDef* op = ops::find_op(node);
    REQUIRE(op != nullptr);
    if (node.domain == "octavo") continue;
    for (const ValueId id : node.inputs) {
      if (id == kNoValue || graph.value(id).is_constant() || graph.value(id).shape->rank() < 3)
        continue;
      const Layout layout = graph.value(id).layout;
      if (op->layout == ops::LayoutRule::kRowMajor) CHECK(layout == Layout::kRowMajor);
      if (op->layout == ops::LayoutRule::kChannelsLast && id == node.inputs[0])
        CHECK(layout == Layout::kChannelsLast);
      if (op->layout == ops::LayoutRule::kFollow &&
          graph.value(id).shape->rank() == graph.value(node.outputs[0]).shape->rank()) {
        CHECK(layout == graph.value(node.outputs[0]).layout);
      }
    }
  }
}

TEST_CASE("conversions stand where channels-last begins and ends, and nowhere else") {
  GraphBuilder b;
  const ValueId x = b.input("x", {1, 3, 4, 4});
  const ValueId first = resize(b, x);
  const ValueId both = b.node("Concat", {first, first}, {{"axis", std::int64_t{1}}});
  const ValueId second = resize(b, both);
  b.graph.value(second).name = "y";
  b.output(second);
  assign(b.graph);
  check_rules(b.graph);
  CHECK(ops_of(b.graph) == Names{"ToChannelsLast", "Resize", "Concat", "Resize", "ToRowMajor"});
  CHECK(b.graph.value(b.graph.outputs[0]).name == "y");
}

TEST_CASE("a value is converted once for all its readers") {
  GraphBuilder b;
  const ValueId x = b.input("x", {1, 3, 4, 4});
  b.output(resize(b, x));
  b.output(resize(b, x));
  assign(b.graph);
  check_rules(b.graph);
  const Names names = ops_of(b.graph);
  CHECK(std::count(names.begin(), names.end(), "ToChannelsLast") == 1);
  CHECK(std::count(names.begin(), names.end(), "ToRowMajor") == 2);
}

TEST_CASE(
    "ops that follow stay row-major where nothing is channels-last, and join where something is") {
  GraphBuilder b;
  const ValueId x = b.input("x", {1, 3, 4, 4});
  const ValueId padded = b.node("Pad", {x, b.ints({0, 0, 2, 2, 0, 0, 2, 2})});
  const ValueId large = resize(b, x);
  b.output(b.node("Concat", {padded, large}, {{"axis", std::int64_t{1}}}));
  b.output(padded);
  assign(b.graph);
  check_rules(b.graph);
  // x and the padded x are converted; the padded x itself is an output as it is.
  CHECK(ops_of(b.graph) ==
        Names{"Pad", "ToChannelsLast", "Resize", "ToChannelsLast", "Concat", "ToRowMajor"});
}

TEST_CASE("constants are never converted for ops that follow") {
  GraphBuilder b;
  const ValueId large = resize(b, b.input("x", {1, 3, 4, 4}));
  const ValueId c = b.constant(Tensor::make(DType::kFloat32, {1, 3, 8, 8}));
  b.output(b.node("Concat", {large, c}, {{"axis", std::int64_t{1}}}));
  assign(b.graph);
  check_rules(b.graph);
  CHECK(ops_of(b.graph) == Names{"ToChannelsLast", "Resize", "Concat", "ToRowMajor"});
}

TEST_CASE("row-major ops get what they need, reshapes read anything") {
  GraphBuilder b;
  const ValueId large = resize(b, b.input("x", {1, 3, 4, 4}));
  b.output(b.node("Gather", {large, b.ints({0})}, {{"axis", std::int64_t{2}}}));
  b.output(b.node("Flatten", {large}));
  assign(b.graph);
  check_rules(b.graph);
  CHECK(ops_of(b.graph) == Names{"ToChannelsLast", "Resize", "ToRowMajor", "Gather", "Flatten"});
}

TEST_CASE("an output that is read by others in both layouts keeps its name and one conversion") {
  GraphBuilder b;
  const ValueId large = resize(b, b.input("x", {1, 3, 4, 4}));
  b.graph.value(large).name = "y";
  b.output(large);
  b.output(large);
  b.output(b.node("Gather", {large, b.ints({0})}, {{"axis", std::int64_t{2}}}));
  assign(b.graph);
  check_rules(b.graph);
  CHECK(b.graph.value(b.graph.outputs[0]).name == "y");
  CHECK(b.graph.outputs[0] == b.graph.outputs[1]);
  const Names names = ops_of(b.graph);
  CHECK(std::count(names.begin(), names.end(), "ToRowMajor") == 1);
}

TEST_CASE("a transposition from NHWC is free") {
  GraphBuilder b;
  const ValueId x = b.input("x", {1, 4, 4, 3});
  const ValueId nchw = b.node("Transpose", {x}, {{"perm", std::vector<std::int64_t>{0, 3, 1, 2}}});
  const ValueId large = resize(b, nchw);
  b.output(b.node("Transpose", {large}, {{"perm", std::vector<std::int64_t>{0, 2, 3, 1}}}));
  assign(b.graph);
  check_rules(b.graph);
  CHECK(ops_of(b.graph) == Names{"Transpose", "Resize", "Transpose"});
  for (const Node& node : b.graph.nodes) {
    if (node.op != "Transpose") continue;
    const auto step = ops::find_op(node)->prepare(ops::PrepareContext(b.graph, node, {}));
    REQUIRE(step.ok());
    CHECK(step->alias == 0);
  }
}

}  // namespace
}  // namespace octavo::passes
