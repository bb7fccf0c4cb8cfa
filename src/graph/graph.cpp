#include "graph/graph.h"

#include <algorithm>
#include <unordered_set>

#include "base/text.h"

namespace octavo {

const Attr* Attrs::find(std::string_view name) const {
  const auto it = map_.find(name);
  return it == map_.end() ? nullptr : &it->second;
}

namespace {
template <class T>
T get_or(const Attr* attr, T fallback) {
  if (attr != nullptr) {
    if (const T* value = std::get_if<T>(attr)) return *value;
  }
  return fallback;
}
}  // namespace

std::int64_t Attrs::get_int(std::string_view name, std::int64_t fallback) const {
  return get_or(find(name), fallback);
}
float Attrs::get_float(std::string_view name, float fallback) const {
  return get_or(find(name), fallback);
}
std::string Attrs::get_string(std::string_view name, std::string_view fallback) const {
  return get_or(find(name), std::string(fallback));
}
std::vector<std::int64_t> Attrs::get_ints(std::string_view name,
                                          std::vector<std::int64_t> fallback) const {
  return get_or(find(name), std::move(fallback));
}
std::vector<float> Attrs::get_floats(std::string_view name, std::vector<float> fallback) const {
  return get_or(find(name), std::move(fallback));
}
std::optional<Tensor> Attrs::get_tensor(std::string_view name) const {
  const Attr* attr = find(name);
  if (attr == nullptr) return std::nullopt;
  const Tensor* tensor = std::get_if<Tensor>(attr);
  return tensor == nullptr ? std::nullopt : std::optional<Tensor>(*tensor);
}

ValueId Graph::add_value(Value value) {
  values.push_back(std::move(value));
  return static_cast<ValueId>(values.size() - 1);
}

ValueId Graph::add_constant(std::string value_name, Tensor tensor) {
  Value value;
  value.name = std::move(value_name);
  value.dtype = tensor.dtype();
  value.shape = tensor.shape();
  value.constant = std::move(tensor);
  return add_value(std::move(value));
}

namespace {
template <class Items>
std::string fresh_name(const Items& items, std::string_view base) {
  // Most often one of the first is free. A set is worth its making only where many are not.
  constexpr int kLooks = 4;
  std::string candidate(base);
  int i = 1;
  for (; i <= kLooks; ++i) {
    if (std::none_of(items.begin(), items.end(),
                     [&](const auto& item) { return item.name == candidate; }))
      return candidate;
    candidate = text(base, "_", i);
  }
  std::unordered_set<std::string_view> taken;
  for (const auto& item : items) taken.insert(item.name);
  for (; taken.contains(candidate); ++i) candidate = text(base, "_", i);
  return candidate;
}
}  // namespace

std::string Graph::fresh_value_name(std::string_view base) const {
  return fresh_name(values, base);
}
std::string Graph::fresh_node_name(std::string_view base) const { return fresh_name(nodes, base); }

bool Graph::is_output(ValueId id) const {
  return std::find(outputs.begin(), outputs.end(), id) != outputs.end();
}
bool Graph::is_input(ValueId id) const {
  return std::find(inputs.begin(), inputs.end(), id) != inputs.end();
}

void Graph::replace_uses(ValueId from, ValueId to) {
  for (Node& node : nodes) std::replace(node.inputs.begin(), node.inputs.end(), from, to);
  std::replace(outputs.begin(), outputs.end(), from, to);
}

void Graph::remove_nodes(const std::function<bool(std::size_t)>& dead) {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (dead(i)) continue;
    if (kept != i) nodes[kept] = std::move(nodes[i]);
    ++kept;
  }
  nodes.resize(kept);
}

void Graph::compact_values() {
  std::vector<bool> used(values.size(), false);
  const auto mark = [&](ValueId id) {
    if (id != kNoValue) used[static_cast<std::size_t>(id)] = true;
  };
  for (const Node& node : nodes) {
    for (const ValueId id : node.inputs) mark(id);
    for (const ValueId id : node.outputs) mark(id);
  }
  for (const ValueId id : inputs) mark(id);
  for (const ValueId id : outputs) mark(id);

  std::vector<ValueId> renumbered(values.size(), kNoValue);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!used[i]) continue;
    renumbered[i] = static_cast<ValueId>(kept);
    if (kept != i) values[kept] = std::move(values[i]);
    ++kept;
  }
  values.resize(kept);
  const auto renumber = [&](ValueId& id) {
    if (id != kNoValue) id = renumbered[static_cast<std::size_t>(id)];
  };
  for (Node& node : nodes) {
    for (ValueId& id : node.inputs) renumber(id);
    for (ValueId& id : node.outputs) renumber(id);
  }
  for (ValueId& id : inputs) renumber(id);
  for (ValueId& id : outputs) renumber(id);
}

Uses::Uses(const Graph& graph) : producer(graph.values.size()), readers(graph.values.size()) {
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    for (const ValueId id : graph.nodes[i].inputs) {
      if (id != kNoValue) readers[static_cast<std::size_t>(id)].push_back(static_cast<NodeId>(i));
    }
    for (const ValueId id : graph.nodes[i].outputs) {
      if (id != kNoValue) producer[static_cast<std::size_t>(id)] = static_cast<NodeId>(i);
    }
  }
}

Shape counted_shape(const Value& value, std::int64_t count) {
  Shape shape = *value.shape;
  std::replace(shape.dims().begin(), shape.dims().end(), kUnknownDim, count);
  return shape;
}

std::optional<Shape> largest_shape(const Value& value) {
  if (!value.shape) return std::nullopt;
  Shape shape = value.counted ? counted_shape(value, *value.counted) : *value.shape;
  return shape.checked_elements() ? std::optional(std::move(shape)) : std::nullopt;
}

std::string describe(const Node& node) { return text("node '", node.name, "' (", node.op, ")"); }

std::string describe(const Value& value) {
  return text("tensor '", value.name, "' (", dtype_name(value.dtype),
              value.shape ? " " + value.shape->to_string() : "", ")");
}

}  // namespace octavo
