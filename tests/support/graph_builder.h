// Graphs written by hand, for tests: values by name, shapes inferred as nodes are added.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "ops/op.h"

namespace octavo::test {

class GraphBuilder {
 public:
  ValueId input(std::string name, Shape shape, DType dtype = DType::kFloat32,
                std::vector<std::string> dim_names = {}) {
    Value value;
    value.name = std::move(name);
    value.dtype = dtype;
    value.shape = std::move(shape);
    value.dim_names = std::move(dim_names);
    graph.inputs.push_back(graph.add_value(std::move(value)));
    return graph.inputs.back();
  }
  ValueId constant(Tensor tensor) {
    return graph.add_constant(graph.fresh_value_name("c"), std::move(tensor));
  }
  ValueId ints(const std::vector<std::int64_t>& values) {
    return constant(
        Tensor::of<std::int64_t>(Shape{static_cast<std::int64_t>(values.size())}, values));
  }

  // A node and its outputs; shapes are inferred where they can be.
  std::vector<ValueId> nodes(std::string op, std::vector<ValueId> inputs, std::size_t outputs,
                             std::vector<std::pair<std::string, Attr>> attrs = {},
                             std::string domain = "") {
    Node node;
    node.name = graph.fresh_node_name("n_" + op);
    node.op = std::move(op);
    node.domain = std::move(domain);
    node.inputs = std::move(inputs);
    for (auto& [name, attr] : attrs) node.attrs.set(name, std::move(attr));
    for (std::size_t i = 0; i < outputs; ++i) {
      Value value;
      value.name = graph.fresh_value_name("v");
      node.outputs.push_back(graph.add_value(std::move(value)));
    }
    if (const ops::OpDef* def = ops::find_op(node)) {
      ops::InferContext context(graph, node);
      if (!def->infer(context).ok()) {
        for (const ValueId id : node.outputs) graph.value(id).shape.reset();
      }
    }
    graph.nodes.push_back(node);
    return node.outputs;
  }
  ValueId node(std::string op, std::vector<ValueId> inputs,
               std::vector<std::pair<std::string, Attr>> attrs = {}, std::string domain = "") {
    return nodes(std::move(op), std::move(inputs), 1, std::move(attrs), std::move(domain))[0];
  }
  void output(ValueId id) { graph.outputs.push_back(id); }

  Graph graph;
};

}  // namespace octavo::test
