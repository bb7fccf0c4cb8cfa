#include "graph/verify.h"

#include <algorithm>
#include <unordered_set>

#include "base/text.h"

namespace octavo {

namespace {
bool in_range(const Graph& graph, ValueId id) {
  return static_cast<std::size_t>(id) < graph.values.size();
}
}  // namespace

Status verify(const Graph& graph) {
  std::vector<Error> findings;
  const auto find = [&](std::string what, std::string where) {
    findings.push_back({Code::kInvalidModel, std::move(what), std::move(where), "", {}});
  };
  std::unordered_set<std::string_view> names;
  for (const Value& value : graph.values) {
    if (!names.insert(value.name).second) find("Two tensors have this name.", describe(value));
    if (value.constant && value.constant->dtype() != value.dtype)
      find("A constant has another dtype than its data.", describe(value));
  }
  names.clear();
  std::vector<bool> made(graph.values.size(), false);
  for (std::size_t i = 0; i < graph.values.size(); ++i) made[i] = graph.values[i].is_constant();
  for (const ValueId id : graph.inputs) {
    if (!in_range(graph, id)) {
      find("A graph input does not exist.", "graph inputs");
    } else {
      made[static_cast<std::size_t>(id)] = true;
    }
  }
  for (const Node& node : graph.nodes) {
    if (node.name.empty() || !names.insert(node.name).second)
      find("The name of a node is empty or not its own.", describe(node));
    for (const ValueId id : node.inputs) {
      if (id == kNoValue) continue;
      if (!in_range(graph, id)) {
        find("It reads a tensor that does not exist.", describe(node));
      } else if (!made[static_cast<std::size_t>(id)]) {
        find(text("It reads ", describe(graph.value(id)), " before that is made."), describe(node));
      }
    }
    for (const ValueId id : node.outputs) {
      if (id == kNoValue) continue;
      if (!in_range(graph, id)) {
        find("It makes a tensor that does not exist.", describe(node));
      } else if (made[static_cast<std::size_t>(id)]) {
        find(text("It makes ", describe(graph.value(id)), ", which has a maker already."),
             describe(node));
      } else {
        made[static_cast<std::size_t>(id)] = true;
      }
    }
  }
  for (const ValueId id : graph.outputs) {
    if (!in_range(graph, id) || !made[static_cast<std::size_t>(id)])
      find("A graph output is not made.", "graph outputs");
  }
  if (!findings.empty()) return combine(std::move(findings));
  return ok_status();
}

Status sort_topologically(Graph& graph) {
  const Uses uses(graph);
  std::vector<Error> findings;
  std::vector<int> waiting(graph.nodes.size(), 0);
  std::vector<bool> reported(graph.values.size(), false);
  std::vector<bool> given(graph.values.size(), false);
  for (const ValueId id : graph.inputs) given[static_cast<std::size_t>(id)] = true;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    for (const ValueId id : graph.nodes[i].inputs) {
      if (id == kNoValue) continue;
      if (uses.producer_of(id)) {
        ++waiting[i];
      } else if (!graph.value(id).is_constant() && !given[static_cast<std::size_t>(id)] &&
                 !reported[static_cast<std::size_t>(id)]) {
        reported[static_cast<std::size_t>(id)] = true;
        findings.push_back({Code::kMissingInitializer,
                            text("It reads tensor '", graph.value(id).name,
                                 "', which nothing in the model makes."),
                            describe(graph.nodes[i]),
                            "Export the model again with its weights (export_params=True).",
                            {}});
      }
    }
  }
  if (!findings.empty()) return combine(std::move(findings));

  // The first ready node in file order each time: a file that is sorted stays as it is.
  std::vector<std::size_t> order;
  order.reserve(graph.nodes.size());
  std::vector<bool> done(graph.nodes.size(), false);
  std::size_t first = 0;
  std::vector<std::size_t> ready;  // a heap of indices, smallest on top
  const auto later = [](std::size_t a, std::size_t b) { return a > b; };
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    if (waiting[i] == 0) ready.push_back(i);
  }
  std::make_heap(ready.begin(), ready.end(), later);
  while (!ready.empty()) {
    std::pop_heap(ready.begin(), ready.end(), later);
    const std::size_t i = ready.back();
    ready.pop_back();
    order.push_back(i);
    done[i] = true;
    for (const ValueId id : graph.nodes[i].outputs) {
      if (id == kNoValue) continue;
      for (const NodeId reader : uses.readers_of(id)) {
        if (--waiting[static_cast<std::size_t>(reader)] == 0) {
          ready.push_back(static_cast<std::size_t>(reader));
          std::push_heap(ready.begin(), ready.end(), later);
        }
      }
    }
  }
  if (order.size() != graph.nodes.size()) {
    while (done[first]) ++first;
    return Error{Code::kInvalidModel, "Nodes wait for each other in a circle.",
                 describe(graph.nodes[first]), "A network's nodes must have an order."};
  }
  std::vector<Node> sorted;
  sorted.reserve(order.size());
  for (const std::size_t i : order) sorted.push_back(std::move(graph.nodes[i]));
  graph.nodes = std::move(sorted);
  return ok_status();
}

}  // namespace octavo
