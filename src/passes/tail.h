// Graphs whose later part has sizes that only the data decide: NonMaxSuppression and what gathers
// the boxes that it has chosen, a Reshape to a size that the network computes.
//
// Such a graph, its inputs' shapes fixed, is cut in two. The head has all shapes known but those of
// results that are counted (Value::counted). The tail is what follows; it is fixed and planned as a
// graph of its own when the head has run and the shapes of its inputs are known.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "graph/graph.h"
#include "passes/pipelines.h"

namespace octavo::passes {

// Why the nodes of a tail are not quantized.
inline constexpr std::string_view kTailReason = "float: its size depends on the data of a run";

struct Tail {
  Graph graph;  // its inputs are inputs and outputs of the head, by name
  // Inputs that have to become constants before the tail's shapes are known.
  std::set<std::string> decisive;
  std::vector<std::string> outputs;  // of the whole, in order
};

// DYNAMIC_DIMENSION where a shape is open and no result of the head would close it.
Status check_open_shapes(const Graph& graph);

// Takes the tail out of a graph with fixed shapes; nothing where there is none. What the tail reads
// of the graph's results becomes an output of it, behind those that it has.
std::optional<Tail> cut_tail(Graph& graph);
// The same for a graph that is to have these shapes, and leaves them open.
Result<std::optional<Tail>> cut_tail(Graph& graph, const InputShapes& shapes);

// Puts a tail that was cut off back behind its head, whatever has become of that one.
void join_tail(Graph& head, const Tail& tail);

}  // namespace octavo::passes
