#include "passes/tail.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "base/text.h"

namespace octavo::passes {

namespace {
// What decides a shape is a few numbers; longer tensors are data.
constexpr std::int64_t kMaxDecisive = 64;

bool is_open(const Value& value) { return !value.shape || !value.shape->known(); }

// Inputs whose values, once known, close the shapes of a node's results.
std::vector<ValueId> decisive_inputs(const Graph& graph, const Node& node) {
  std::vector<ValueId> inputs;
  for (const ValueId id : node.inputs) {
    if (id == kNoValue) continue;
    const Value& value = graph.value(id);
    if (!value.is_constant() && !is_open(value) && value.shape->elements() <= kMaxDecisive)
      inputs.push_back(id);
  }
  return inputs;
}

struct Cut {
  std::vector<bool> in_tail;           // by node
  std::vector<ValueId> decisive;       // see Tail
  std::vector<std::size_t> undecided;  // nodes whose results nothing closes
};

// The nodes with open results, and those that read what these or counted results are.
Cut find_cut(const Graph& graph) {
  Cut cut;
  std::vector<bool> open(graph.values.size(), false);
  for (const Node& node : graph.nodes) {
    bool reads_open = false;
    for (const ValueId id : node.inputs)
      reads_open = reads_open || (id != kNoValue && open[static_cast<std::size_t>(id)]);
    bool makes_open = false;
    for (const ValueId id : node.outputs)
      makes_open =
          makes_open || (id != kNoValue && is_open(graph.value(id)) && !graph.value(id).counted);
    if (!reads_open && makes_open) {
      const std::vector<ValueId> decisive = decisive_inputs(graph, node);
      if (decisive.empty()) cut.undecided.push_back(cut.in_tail.size());
      for (const ValueId id : decisive) {
        if (std::find(cut.decisive.begin(), cut.decisive.end(), id) == cut.decisive.end())
          cut.decisive.push_back(id);
      }
    }
    cut.in_tail.push_back(reads_open || makes_open);
    for (const ValueId id : node.outputs) {
      if (id != kNoValue)
        open[static_cast<std::size_t>(id)] =
            reads_open || makes_open || graph.value(id).counted.has_value();
    }
  }
  return cut;
}

std::optional<Tail> cut_at(Graph& graph, const Cut& cut) {
  if (std::none_of(cut.in_tail.begin(), cut.in_tail.end(), [](bool in) { return in; }))
    return std::nullopt;
  Tail tail;
  tail.graph.opset = graph.opset;
  tail.graph.domain_opsets = graph.domain_opsets;
  std::vector<ValueId> copies(graph.values.size(), kNoValue);  // by value: its id in the tail
  std::vector<ValueId> border;
  const auto copy = [&](ValueId id) {
    if (id == kNoValue) return kNoValue;
    ValueId& own = copies[static_cast<std::size_t>(id)];
    if (own == kNoValue) own = tail.graph.add_value(graph.value(id));
    return own;
  };
  std::vector<bool> made(graph.values.size(), false);  // by the tail
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    if (!cut.in_tail[i]) continue;
    Node node = graph.nodes[i];
    for (ValueId& id : node.inputs) {
      const bool is_new = id != kNoValue && copies[static_cast<std::size_t>(id)] == kNoValue;
      const ValueId own = copy(id);
      if (is_new && !graph.value(id).is_constant()) {
        border.push_back(id);
        tail.graph.value(own).counted.reset();
        tail.graph.inputs.push_back(own);
      }
      id = own;
    }
    for (ValueId& id : node.outputs) {
      if (id != kNoValue) made[static_cast<std::size_t>(id)] = true;
      id = copy(id);
    }
    tail.graph.nodes.push_back(std::move(node));
  }
  for (const ValueId id : cut.decisive) tail.decisive.push_back(graph.value(id).name);

  std::vector<ValueId> outputs;
  for (const ValueId id : graph.outputs) {
    if (made[static_cast<std::size_t>(id)]) {
      tail.graph.outputs.push_back(copies[static_cast<std::size_t>(id)]);
    } else {
      outputs.push_back(id);
    }
  }
  for (const ValueId id : border) {
    const bool has =
        graph.is_input(id) || std::find(outputs.begin(), outputs.end(), id) != outputs.end();
    if (!has) outputs.push_back(id);
  }
  graph.outputs = std::move(outputs);
  graph.remove_nodes([&](std::size_t i) { return cut.in_tail[i]; });
  graph.compact_values();
  return tail;
}
}  // namespace

Status check_open_shapes(const Graph& graph) {
  std::vector<Error> findings;
  for (const std::size_t i : find_cut(graph).undecided) {
    const Node& node = graph.nodes[i];
    findings.push_back({Code::kDynamicDimension,
                        text("The shape of '", graph.value(node.outputs[0]).name,
                             "' depends on the values of a tensor."),
                        describe(node),
                        "Shapes have to follow from the shapes of the inputs, or from a few "
                        "numbers that the network computes.",
                        {}});
  }
  if (!findings.empty()) return combine(std::move(findings));
  return ok_status();
}

std::vector<std::string> tail_nodes(const Graph& graph) {
  const Cut cut = find_cut(graph);
  std::vector<std::string> names;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    if (cut.in_tail[i]) names.push_back(graph.nodes[i].name);
  }
  return names;
}

std::optional<Tail> cut_tail(Graph& graph) { return cut_at(graph, find_cut(graph)); }

std::optional<Tail> cut_tail(Graph& graph, const std::vector<std::string>& nodes) {
  const std::unordered_set<std::string_view> names(nodes.begin(), nodes.end());
  Cut cut;
  for (const Node& node : graph.nodes) cut.in_tail.push_back(names.contains(node.name));
  return cut_at(graph, cut);
}

void join_tail(Graph& head, const Graph& tail, const std::vector<std::string>& outputs) {
  std::unordered_map<std::string, ValueId> by_name;
  for (std::size_t i = 0; i < head.values.size(); ++i)
    by_name.emplace(head.values[i].name, static_cast<ValueId>(i));
  std::vector<ValueId> ids(tail.values.size(), kNoValue);
  const auto id_of = [&](ValueId id) {
    if (id == kNoValue) return kNoValue;
    ValueId& own = ids[static_cast<std::size_t>(id)];
    if (own != kNoValue) return own;
    Value value = tail.value(id);
    const auto known = by_name.find(value.name);
    if (tail.is_input(id)) return own = known->second;
    if (known != by_name.end()) {
      const auto& other = head.value(known->second).constant;
      if (value.constant && other && other->data() == value.constant->data())
        return own = known->second;
      // The head has made values since, whose names may be these.
      if (tail.is_output(id)) {
        Value& renamed = head.value(known->second);
        renamed.name = head.fresh_value_name(renamed.name);
      } else {
        value.name = head.fresh_value_name(value.name);
      }
    }
    return own = head.add_value(std::move(value));
  };
  for (Node node : tail.nodes) {
    for (ValueId& id : node.inputs) id = id_of(id);
    for (ValueId& id : node.outputs) id = id_of(id);
    node.name = head.fresh_node_name(node.name);
    head.nodes.push_back(std::move(node));
  }
  std::vector<ValueId> all;
  for (const std::string& name : outputs) {
    const auto made = std::find_if(tail.outputs.begin(), tail.outputs.end(),
                                   [&](ValueId id) { return tail.value(id).name == name; });
    all.push_back(made != tail.outputs.end() ? id_of(*made) : by_name.at(name));
  }
  head.outputs = std::move(all);
}

}  // namespace octavo::passes
