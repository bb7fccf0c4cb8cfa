// Convolutions, Gemms and MatMuls as products of channels, for passes that move numbers from one
// layer into the next.
#pragma once

#include <cstddef>
#include <optional>

#include "graph/graph.h"

namespace octavo::passes {

// A value's channels: its axis 1. 0 where it has none, or is a constant.
std::size_t channels_of(const Value& value);

// The constant where it is a float one, or null.
const Tensor* float_constant(const Graph& graph, ValueId id);

// A node's weight as a matrix of channels: for each output channel the inputs of its group.
struct Product {
  std::size_t node;
  std::size_t outputs, inputs, groups, taps;
  bool transposed;

  std::size_t inner() const { return inputs / groups; }
  std::size_t first_input(std::size_t o) const { return o / (outputs / groups) * inner(); }
  std::size_t index(std::size_t o, std::size_t i, std::size_t t) const {
    return transposed ? i * outputs + o : (o * inner() + i) * taps + t;
  }
  // One input and one output a group: nothing is added up over channels.
  bool is_depthwise() const { return inner() == 1 && outputs == inputs; }
};

// Nothing where the node is no such product, or its weights or bias are not float constants.
std::optional<Product> product_of(const Graph& graph, std::size_t node);

}  // namespace octavo::passes
