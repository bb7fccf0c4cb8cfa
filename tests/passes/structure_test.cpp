// What a graph looks like where it is shaped for accuracy: split_batch_norm, the float head, grids
// shared with a Concat.
#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "graph/verify.h"
#include "passes/insert_qdq.h"
#include "passes/passes.h"
#include "passes/qdq.h"
#include "support/graph_builder.h"

namespace octavo::passes {
namespace {

using test::GraphBuilder;

ValueId ramp(GraphBuilder& b, std::int64_t n, float first) {
  std::vector<float> values;
  for (std::int64_t i = 0; i < n; ++i) values.push_back(first + static_cast<float>(i));
  return b.constant(Tensor::of<float>(Shape{n}, values));
}
ValueId batch_norm(GraphBuilder& b, ValueId x, std::int64_t n) {
  return b.node("BatchNormalization",
                {x, ramp(b, n, 1), ramp(b, n, 20), ramp(b, n, 40), ramp(b, n, 60)});
}
std::vector<std::size_t> find_all(const Graph& graph, std::string_view op) {
  std::vector<std::size_t> found;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    if (graph.nodes[i].op == op) found.push_back(i);
  }
  return found;
}
const Attr kChannels = std::int64_t{1};

TEST_CASE("split_batch_norm: each part of nested concatenations gets its own parameters") {
  GraphBuilder b;
  const ValueId x = b.input("x", Shape{1, 2, 4, 4});
  const ValueId y = b.input("y", Shape{1, 1, 4, 4});
  const ValueId z = b.input("z", Shape{1, 3, 4, 4});
  const ValueId inner = b.node("Concat", {x, y}, {{"axis", kChannels}});
  const ValueId outer = b.node("Concat", {inner, z}, {{"axis", std::int64_t{-3}}});
  b.output(batch_norm(b, inner, 3));
  b.output(batch_norm(b, outer, 6));
  PassContext context;
  const Result<int> changed = split_batch_norm(b.graph, context);
  REQUIRE(changed.ok());
  CHECK(*changed == 2);
  REQUIRE(eliminate_dead(b.graph, context).ok());
  CHECK(verify(b.graph).ok());
  const auto parts = find_all(b.graph, "BatchNormalization");
  REQUIRE(parts.size() == 5);  // x, y; x, y, z
  CHECK(find_all(b.graph, "Concat").size() == 2);
  const Node& third = b.graph.nodes[parts[4]];
  CHECK(third.inputs[0] == b.graph.inputs[2]);
  CHECK(to_floats(*b.graph.value(third.inputs[1]).constant) == std::vector<float>{4, 5, 6});
  CHECK(to_floats(*b.graph.value(third.inputs[4]).constant) == std::vector<float>{63, 64, 65});
  CHECK(*split_batch_norm(b.graph, context) == 0);
}

TEST_CASE("split_batch_norm: a concatenation along another axis, or one that is read, stays") {
  GraphBuilder b;
  const ValueId x = b.input("x", Shape{1, 2, 4, 4});
  b.output(batch_norm(b, b.node("Concat", {x, x}, {{"axis", std::int64_t{2}}}), 2));
  const ValueId read = b.node("Concat", {x, x}, {{"axis", kChannels}});
  b.output(batch_norm(b, read, 4));
  b.output(b.node("Relu", {read}));
  const ValueId outside = b.node("Concat", {x, x}, {{"axis", kChannels}});
  b.output(batch_norm(b, outside, 4));
  b.output(outside);
  PassContext context;
  CHECK(*split_batch_norm(b.graph, context) == 0);
}

// Conv -> GlobalAveragePool -> Flatten -> Gemm -> Softmax, with a batch that is not known.
GraphBuilder classifier(std::int64_t classes) {
  GraphBuilder b;
  const ValueId x = b.input("x", Shape{kUnknownDim, 2, 4, 4});
  const ValueId conv =
      b.node("Conv", {x, b.constant(Tensor::of<float>(Shape{2, 2, 1, 1}, {1, 2, 3, 4}))});
  const ValueId flat = b.node("Flatten", {b.node("GlobalAveragePool", {conv})});
  const auto n = static_cast<std::size_t>(classes);
  const ValueId weights =
      b.constant(Tensor::of<float>(Shape{2, classes}, std::vector<float>(2 * n, 0.5F)));
  b.output(b.node("Softmax", {b.node("Gemm", {flat, weights})}, {{"axis", std::int64_t{1}}}));
  return b;
}

TEST_CASE("the float head: pooled features and logits are no codes, the product's weights are") {
  GraphBuilder b = classifier(3);
  QdqOptions options;
  options.float_head = true;
  const QdqPlan plan = plan_qdq(b.graph, options);
  CHECK(plan.nodes[0].int8);
  for (std::size_t i = 1; i < plan.nodes.size(); ++i) CHECK_FALSE(plan.nodes[i].int8);
  CHECK(plan.nodes[3].weights_only);
  CHECK(plan.calibrated.size() == 2);
  std::map<std::string, calib::Range> ranges;
  for (const ValueId id : plan.calibrated)
    ranges.emplace(b.graph.value(id).name, calib::Range{-1, 1});
  PassContext context;
  REQUIRE(insert_qdq(b.graph, options, plan, ranges, context).ok());
  const Uses uses(b.graph);
  const Node& gemm = b.graph.nodes[find_all(b.graph, "Gemm").front()];
  CHECK(is_dequantize(b.graph.node(*uses.producer_of(gemm.inputs[1]))));
  CHECK(b.graph.node(*uses.producer_of(gemm.inputs[0])).op == "Flatten");
  CHECK(find_all(b.graph, "QuantizeLinear").size() == 2);
}

TEST_CASE("the float head ends where it would cost time") {
  QdqOptions options;
  options.float_head = true;
  // Two products: only the last one is of the head.
  GraphBuilder b = classifier(3);
  const ValueId weights = b.constant(Tensor::of<float>(Shape{3, 3}, std::vector<float>(9, 0.5F)));
  b.graph.outputs = {b.node("Gemm", {b.graph.nodes[3].outputs[0], weights})};
  b.graph.nodes.erase(b.graph.nodes.begin() + 4);
  const QdqPlan two = plan_qdq(b.graph, options);
  CHECK(two.nodes[1].int8);
  CHECK(two.nodes[3].int8);
  CHECK(two.nodes[4].weights_only);
  // A product of very many weights is faster in integers.
  const GraphBuilder large = classifier((std::int64_t{1} << 21) + 1);
  CHECK(plan_qdq(large.graph, options).nodes[3].int8);
  // What something else reads too is no head.
  GraphBuilder read = classifier(3);
  const ValueId conv = read.graph.nodes[0].outputs[0];
  const ValueId pooled = read.graph.nodes[1].outputs[0];
  read.output(read.node("Mul", {conv, pooled}));
  CHECK(plan_qdq(read.graph, options).nodes[1].int8);
}

TEST_CASE("shared grids: what only a Concat reads lies on its grid") {
  GraphBuilder b;
  const ValueId x = b.input("x", Shape{1, 1, 4, 4});
  const ValueId weight = b.constant(Tensor::of<float>(Shape{1, 1, 1, 1}, {2}));
  const ValueId own = b.node("Conv", {x, weight});
  const ValueId shared = b.node("Conv", {x, weight});
  const ValueId inner = b.node("Concat", {own, shared}, {{"axis", kChannels}});
  const ValueId outer = b.node("Concat", {inner, b.node("Relu", {own})}, {{"axis", kChannels}});
  b.output(b.node("Conv", {outer, b.constant(Tensor::of<float>(Shape{1, 3, 1, 1}, {1, 2, 3}))}));
  QdqOptions options;
  options.share_grids = true;
  const QdqPlan plan = plan_qdq(b.graph, options);
  const auto grid = [&](ValueId id) { return plan.grid_of[static_cast<std::size_t>(id)]; };
  CHECK(grid(shared) == outer);
  CHECK(grid(inner) == outer);
  CHECK(grid(own) == own);
  CHECK(grid(outer) == outer);
  options.share_grids = false;
  CHECK(plan_qdq(b.graph, options).grid_of[static_cast<std::size_t>(shared)] == shared);
}

}  // namespace
}  // namespace octavo::passes
