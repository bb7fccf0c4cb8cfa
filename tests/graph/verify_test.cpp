#include "graph/verify.h"

#include <doctest/doctest.h>

namespace octavo {
namespace {

ValueId add_value(Graph& graph, std::string name) {
  Value value;
  value.name = std::move(name);
  value.dtype = DType::kFloat32;
  return graph.add_value(std::move(value));
}
Node make_node(std::string name, std::vector<ValueId> inputs, std::vector<ValueId> outputs) {
  return {std::move(name), "Op", "", std::move(inputs), std::move(outputs), {}};
}

// x -> a -> m -> b -> y
struct Chain {
  Graph graph;
  ValueId x, m, y;
  Chain() : x(add_value(graph, "x")), m(add_value(graph, "m")), y(add_value(graph, "y")) {
    graph.inputs = {x};
    graph.outputs = {y};
    graph.nodes = {make_node("a", {x, kNoValue}, {m}), make_node("b", {m}, {y})};
  }
};

std::vector<std::string> findings(const Graph& graph) {
  const Status status = verify(graph);
  if (status.ok()) return {};
  if (status.error().all.empty()) return {status.error().what};
  std::vector<std::string> all;
  for (const Error& error : status.error().all) all.push_back(error.what);
  return all;
}
bool finds(const Graph& graph, const std::string& what) {
  for (const std::string& finding : findings(graph)) {
    if (finding.find(what) != std::string::npos) return true;
  }
  return false;
}

TEST_CASE("verify: a well-formed graph passes") { CHECK(findings(Chain().graph).empty()); }

TEST_CASE("verify: what is not well formed is found, all of it at once") {
  Chain names;
  names.graph.value(names.m).name = "x";
  CHECK(finds(names.graph, "Two tensors have this name"));
  Chain nodes;
  nodes.graph.nodes[1].name = "a";
  CHECK(finds(nodes.graph, "name of a node"));
  nodes.graph.nodes[1].name.clear();
  CHECK(finds(nodes.graph, "name of a node"));
  Chain order;
  std::swap(order.graph.nodes[0], order.graph.nodes[1]);
  CHECK(finds(order.graph, "before that is made"));
  Chain twice;
  twice.graph.nodes[1].outputs = {twice.m};
  CHECK(finds(twice.graph, "has a maker already"));
  CHECK(finds(twice.graph, "A graph output is not made"));
  CHECK(findings(twice.graph).size() == 2);
  Chain input;
  input.graph.nodes[1].outputs = {input.x};
  CHECK(finds(input.graph, "has a maker already"));
  Chain range;
  range.graph.nodes[0].inputs[0] = ValueId{99};
  range.graph.nodes[1].outputs[0] = ValueId{99};
  range.graph.inputs.push_back(ValueId{99});
  range.graph.outputs.push_back(ValueId{99});
  CHECK(finds(range.graph, "reads a tensor that does not exist"));
  CHECK(finds(range.graph, "makes a tensor that does not exist"));
  CHECK(finds(range.graph, "graph input does not exist"));
  CHECK(finds(range.graph, "graph output is not made"));
  Chain dtype;
  const ValueId c = dtype.graph.add_constant("c", Tensor::scalar(1.0F));
  CHECK(findings(dtype.graph).empty());
  dtype.graph.value(c).dtype = DType::kInt8;
  CHECK(finds(dtype.graph, "another dtype than its data"));
}

TEST_CASE("sort_topologically: nodes come after what they read, and otherwise stay") {
  Chain chain;
  const ValueId z = add_value(chain.graph, "z");
  chain.graph.nodes = {make_node("b", {chain.m}, {chain.y}), make_node("c", {chain.x}, {z}),
                       make_node("a", {chain.x}, {chain.m})};
  REQUIRE(sort_topologically(chain.graph).ok());
  CHECK(chain.graph.nodes[0].name == "c");
  CHECK(chain.graph.nodes[1].name == "a");
  CHECK(chain.graph.nodes[2].name == "b");
  CHECK(findings(chain.graph).empty());
  const std::vector<Node> sorted = chain.graph.nodes;
  REQUIRE(sort_topologically(chain.graph).ok());
  for (std::size_t i = 0; i < 3; ++i) CHECK(chain.graph.nodes[i].name == sorted[i].name);
}

TEST_CASE("sort_topologically: a node that reads a tensor twice waits once for it") {
  Chain chain;
  chain.graph.nodes = {make_node("b", {chain.m, chain.m}, {chain.y}),
                       make_node("a", {chain.x}, {chain.m})};
  REQUIRE(sort_topologically(chain.graph).ok());
  CHECK(chain.graph.nodes[0].name == "a");
}

TEST_CASE("sort_topologically: circles and tensors from nowhere are named") {
  Chain circle;
  circle.graph.nodes[0].inputs = {circle.y};
  const Status status = sort_topologically(circle.graph);
  REQUIRE_FALSE(status.ok());
  CHECK(status.error().code == Code::kInvalidModel);
  CHECK(status.error().where == "node 'a' (Op)");
  Chain lost;
  const ValueId nowhere = add_value(lost.graph, "nowhere");
  lost.graph.nodes[0].inputs = {nowhere};
  lost.graph.nodes[1].inputs = {nowhere};
  const Status missing = sort_topologically(lost.graph);
  REQUIRE_FALSE(missing.ok());
  CHECK(missing.error().code == Code::kMissingInitializer);
  CHECK(missing.error().all.empty());  // one tensor, one finding
}

TEST_CASE("graph: fresh names, uses, replaced and removed things") {
  Chain chain;
  Graph& graph = chain.graph;
  CHECK(graph.fresh_value_name("m") == "m_1");
  CHECK(graph.fresh_value_name("n") == "n");
  CHECK(graph.fresh_node_name("a") == "a_1");
  Graph crowded;
  add_value(crowded, "m");
  for (int i = 1; i <= 20; ++i) {
    const std::string next = "m_" + std::to_string(i);
    CHECK(crowded.fresh_value_name("m") == next);
    add_value(crowded, next.c_str());
  }
  const Uses uses(graph);
  CHECK(!uses.producer_of(chain.x));
  CHECK(uses.producer_of(chain.m) == NodeId{0});
  CHECK(uses.readers_of(chain.m) == std::vector<NodeId>{NodeId{1}});
  CHECK(graph.is_output(chain.y));
  CHECK(graph.is_input(chain.x));
  graph.replace_uses(chain.m, chain.x);
  CHECK(graph.nodes[1].inputs[0] == chain.x);
  graph.remove_nodes([](std::size_t i) { return i == 0; });
  graph.compact_values();
  REQUIRE(graph.nodes.size() == 1);
  CHECK(graph.values.size() == 2);
  CHECK(findings(graph).empty());
  graph.replace_uses(graph.outputs[0], graph.inputs[0]);
  CHECK(graph.outputs[0] == graph.inputs[0]);
}

}  // namespace
}  // namespace octavo
