#include "passes/tail.h"

#include <algorithm>
#include <map>

#include "base/text.h"

namespace octavo::passes {

namespace {
// What decides a shape is a few numbers; longer tensors are data.
constexpr std::int64_t kMaxDecisive = 64;

bool is_open(const Value& value) { return !value.shape || !value.shape->known(); }

struct Cut {
  std::vector<bool> in_tail;           // by node
  std::set<std::string> decisive;      // see Tail
  std::vector<std::size_t> undecided;  // nodes whose results nothing closes
};

// The nodes with open results, and those that read what these or counted results are.
Cut find_cut(const Graph& graph) {
  Cut cut{std::vector<bool>(graph.nodes.size(), false), {}, {}};
  std::vector<bool> open(graph.values.size(), false);
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    bool reads_open = false;
    bool makes_open = false;
    for (const ValueId id : node.inputs)
      reads_open = reads_open || (id != kNoValue && open[static_cast<std::size_t>(id)]);
    for (const ValueId id : node.outputs)
      makes_open =
          makes_open || (id != kNoValue && is_open(graph.value(id)) && !graph.value(id).counted);
    if (!reads_open && makes_open) {
      // Inputs whose values, once known, close the shapes of the results. The first input is data
      // unless it is integers, as ConstantOfShape's.
      bool decided = false;
      for (std::size_t k = 0; k < node.inputs.size(); ++k) {
        if (node.inputs[k] == kNoValue) continue;
        const Value& value = graph.value(node.inputs[k]);
        if (value.is_constant() || is_open(value) || value.shape->elements() > kMaxDecisive ||
            (k == 0 && value.dtype == DType::kFloat32))
          continue;
        cut.decisive.insert(value.name);
        decided = true;
      }
      if (!decided) cut.undecided.push_back(i);
    }
    const bool in_tail = reads_open || makes_open;
    cut.in_tail[i] = in_tail;
    for (const ValueId id : node.outputs) {
      if (id != kNoValue) open[static_cast<std::size_t>(id)] = in_tail || graph.value(id).counted;
    }
  }
  return cut;
}

std::optional<Tail> cut_at(Graph& graph, Cut cut) {
  Tail tail;
  tail.graph.opset = graph.opset;
  tail.graph.domain_opsets = graph.domain_opsets;
  tail.decisive = std::move(cut.decisive);
  std::vector<ValueId> copies(graph.values.size(), kNoValue);  // by value: its id in the tail
  std::vector<bool> made(graph.values.size(), false);          // by the tail
  std::vector<ValueId> border;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    if (!cut.in_tail[i]) continue;
    Node node = graph.nodes[i];
    for (std::vector<ValueId>* ids : {&node.inputs, &node.outputs}) {
      const bool makes = ids == &node.outputs;
      for (ValueId& id : *ids) {
        if (id == kNoValue) continue;
        ValueId& own = copies[static_cast<std::size_t>(id)];
        if (makes) made[static_cast<std::size_t>(id)] = true;
        if (own == kNoValue) {
          own = tail.graph.add_value(graph.value(id));
          if (!makes && !graph.value(id).is_constant()) {
            border.push_back(id);
            tail.graph.value(own).counted.reset();
            tail.graph.inputs.push_back(own);
          }
        }
        id = own;
      }
    }
    tail.graph.nodes.push_back(std::move(node));
  }
  if (tail.graph.nodes.empty()) return std::nullopt;

  std::vector<ValueId> outputs;
  for (const ValueId id : graph.outputs) {
    tail.outputs.push_back(graph.value(id).name);
    if (made[static_cast<std::size_t>(id)]) {
      tail.graph.outputs.push_back(copies[static_cast<std::size_t>(id)]);
    } else {
      outputs.push_back(id);
    }
  }
  for (const ValueId id : border) {
    if (!graph.is_input(id) && !graph.is_output(id)) outputs.push_back(id);
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

std::optional<Tail> cut_tail(Graph& graph) { return cut_at(graph, find_cut(graph)); }

Result<std::optional<Tail>> cut_tail(Graph& graph, const InputShapes& shapes) {
  Graph fixed = graph;
  OCTAVO_CHECK_OK(fix_shapes(fixed, shapes));
  const Cut cut = find_cut(fixed);
  std::set<std::string> names;
  for (std::size_t i = 0; i < fixed.nodes.size(); ++i) {
    if (cut.in_tail[i]) names.insert(fixed.nodes[i].name);
  }
  Cut same{std::vector<bool>(graph.nodes.size(), false), {}, {}};
  for (std::size_t i = 0; i < graph.nodes.size(); ++i)
    same.in_tail[i] = names.contains(graph.nodes[i].name);
  return cut_at(graph, std::move(same));
}

void join_tail(Graph& head, const Tail& tail) {
  std::map<std::string, ValueId> by_name;
  for (std::size_t i = 0; i < head.values.size(); ++i)
    by_name.emplace(head.values[i].name, static_cast<ValueId>(i));
  std::vector<ValueId> ids;  // by value of the tail
  for (std::size_t i = 0; i < tail.graph.values.size(); ++i) {
    const auto id = static_cast<ValueId>(i);
    Value value = tail.graph.values[i];
    if (const auto known = by_name.find(value.name); known != by_name.end()) {
      Value& other = head.value(known->second);
      const bool same =
          value.constant && other.constant && value.constant->data() == other.constant->data();
      if (same || tail.graph.is_input(id)) {
        ids.push_back(known->second);
        continue;
      }
      // The head has made values since, whose names may be these.
      std::string& renamed = tail.graph.is_output(id) ? other.name : value.name;
      renamed = head.fresh_value_name(renamed);
    }
    ids.push_back(head.add_value(std::move(value)));
  }
  for (Node node : tail.graph.nodes) {
    for (std::vector<ValueId>* list : {&node.inputs, &node.outputs}) {
      for (ValueId& id : *list) id = id == kNoValue ? id : ids[static_cast<std::size_t>(id)];
    }
    node.name = head.fresh_node_name(node.name);
    head.nodes.push_back(std::move(node));
  }
  for (const ValueId id : tail.graph.outputs)
    by_name.insert_or_assign(tail.graph.value(id).name, ids[static_cast<std::size_t>(id)]);
  std::vector<ValueId> outputs;
  for (const std::string& name : tail.outputs) outputs.push_back(by_name.at(name));
  head.outputs = std::move(outputs);
}

}  // namespace octavo::passes
