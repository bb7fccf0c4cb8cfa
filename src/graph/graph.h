// The graph of a network: values (tensors with names) and nodes (operators) in topological order.
//
// A graph knows what an op is called and what its attributes are, not what it does (that is ops/).
// Logical shapes and axes are always ONNX's (NCHW), whatever the memory layout of a value.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tensor/quant_params.h"
#include "tensor/tensor.h"

namespace octavo {

enum class ValueId : std::uint32_t {};
enum class NodeId : std::uint32_t {
};  // index into Graph::nodes, valid until nodes are added or removed
inline constexpr ValueId kNoValue{0xFFFFFFFFU};  // an optional input or output that is absent

using Attr = std::variant<std::int64_t, float, std::string, std::vector<std::int64_t>,
                          std::vector<float>, std::vector<std::string>, Tensor>;

class Attrs {
 public:
  bool has(std::string_view name) const { return map_.find(name) != map_.end(); }
  void set(std::string name, Attr value) {
    map_.insert_or_assign(std::move(name), std::move(value));
  }
  void erase(std::string_view name) {
    if (auto it = map_.find(name); it != map_.end()) map_.erase(it);
  }
  const Attr* find(std::string_view name) const;
  // The attribute, or the fallback where it is absent or of another type.
  std::int64_t get_int(std::string_view name, std::int64_t fallback) const;
  float get_float(std::string_view name, float fallback) const;
  std::string get_string(std::string_view name, std::string_view fallback) const;
  std::vector<std::int64_t> get_ints(std::string_view name,
                                     std::vector<std::int64_t> fallback = {}) const;
  std::vector<float> get_floats(std::string_view name, std::vector<float> fallback = {}) const;
  std::optional<Tensor> get_tensor(std::string_view name) const;

  auto begin() const { return map_.begin(); }
  auto end() const { return map_.end(); }
  std::size_t size() const { return map_.size(); }

 private:
  std::map<std::string, Attr, std::less<>> map_;
};

struct Value {
  std::string name;
  DType dtype = DType::kUndefined;
  std::optional<Shape> shape;  // absent: not even the rank is known
  std::vector<std::string>
      dim_names;  // for graph inputs and outputs: "N", "" where a number is known
  Layout layout = Layout::kRowMajor;  // decided when a session is made; constants stay row-major
  std::optional<QuantParams> quant;   // for integer codes: what they stand for
  std::optional<Tensor> constant;     // initializers and folded results
  // A run alone knows how much there is: the shape leaves one dimension open, which is at most so
  // large (kUnknownDim: not known yet).
  std::optional<std::int64_t> counted;

  bool is_constant() const { return constant.has_value(); }
};

struct Node {
  std::string name;    // unique, never empty (the import makes one up where the file has none)
  std::string op;      // "Conv"
  std::string domain;  // "" for ai.onnx
  std::vector<ValueId> inputs;  // kNoValue where absent
  std::vector<ValueId> outputs;
  Attrs attrs;

  ValueId input(std::size_t i) const { return i < inputs.size() ? inputs[i] : kNoValue; }
  ValueId output(std::size_t i) const { return i < outputs.size() ? outputs[i] : kNoValue; }
};

struct Graph {
  std::string name;
  std::vector<Value> values;
  std::vector<Node> nodes;      // topological: a node's inputs are made before it
  std::vector<ValueId> inputs;  // without initializers
  std::vector<ValueId> outputs;
  int opset = 17;                            // of ai.onnx
  std::map<std::string, int> domain_opsets;  // of other domains in the file
  int ir_version = 8;
  std::string producer_name, producer_version, doc_string;
  std::map<std::string, std::string> metadata;  // metadata_props, kept

  Value& value(ValueId id) { return values[static_cast<std::size_t>(id)]; }
  const Value& value(ValueId id) const { return values[static_cast<std::size_t>(id)]; }
  Node& node(NodeId id) { return nodes[static_cast<std::size_t>(id)]; }
  const Node& node(NodeId id) const { return nodes[static_cast<std::size_t>(id)]; }

  ValueId add_value(Value value);
  ValueId add_constant(std::string value_name, Tensor tensor);
  // A name that no value / node has yet: `base`, or `base_1`, `base_2`, ...
  std::string fresh_value_name(std::string_view base) const;
  std::string fresh_node_name(std::string_view base) const;

  bool is_output(ValueId id) const;
  bool is_input(ValueId id) const;
  // Every reader of `from` (nodes and graph outputs) reads `to` instead.
  void replace_uses(ValueId from, ValueId to);
  // Removes nodes whose index `dead(index)` says so, keeping the order.
  void remove_nodes(const std::function<bool(std::size_t)>& dead);
  // Drops values that no node, input or output names; ids change.
  void compact_values();
};

// Who makes and who reads each value; made anew after a change.
struct Uses {
  explicit Uses(const Graph& graph);
  std::vector<std::optional<NodeId>> producer;  // by value; empty for inputs and constants
  std::vector<std::vector<NodeId>> readers;     // by value; a node that reads twice stands twice

  std::optional<NodeId> producer_of(ValueId id) const {
    return producer[static_cast<std::size_t>(id)];
  }
  const std::vector<NodeId>& readers_of(ValueId id) const {
    return readers[static_cast<std::size_t>(id)];
  }
};

// The shape that a value's memory has to hold: its own, or the largest where it is counted; nothing
// where that is not known.
std::optional<Shape> largest_shape(const Value& value);
// The shape of a counted value whose open dimension has come out as `count`.
Shape counted_shape(const Value& value, std::int64_t count);

// "node 'conv1' (Conv)": the `where` of errors.
std::string describe(const Node& node);
// "tensor 'x' (float32 [1, 3, 8, 8])"
std::string describe(const Value& value);

}  // namespace octavo
