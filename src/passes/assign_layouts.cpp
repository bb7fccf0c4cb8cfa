// The layout pass: which memory order each value has, and the conversions between them.
//
// Channels-last begins where an op needs it (Conv, pools, ...), is carried on by ops that follow
// their inputs, and ends where an op needs row-major. Each value is converted at most once in each
// direction.
#include <algorithm>
#include <map>
#include <set>

#include "ops/op.h"
#include "passes/passes.h"

namespace octavo::passes {

namespace {
constexpr std::string_view kToChannelsLast = "ToChannelsLast", kToRowMajor = "ToRowMajor";

bool is_conversion(const Node& node) {
  return node.domain == "octavo" && (node.op == kToChannelsLast || node.op == kToRowMajor);
}

class Assigner {
 public:
  explicit Assigner(Graph& graph) : graph_(graph) {}

  Result<int> run() {
    std::vector<Node> nodes = std::move(graph_.nodes);
    graph_.nodes.clear();
    for (const ValueId id : graph_.inputs) set_layout(id, Layout::kRowMajor);
    for (Node& node : nodes) {
      if (is_conversion(node)) {
        keep_conversion(node);
      } else if (const ops::OpDef* op = ops::find_op(node)) {
        assign(node, *op);
      } else {
        convert_all(node, Layout::kRowMajor, 0);
        set_outputs(node, Layout::kRowMajor);
      }
      graph_.nodes.push_back(std::move(node));
    }
    for (ValueId& id : graph_.outputs) id = row_major_output(id);
    return changes_;
  }

 private:
  int rank(ValueId id) const {
    const Value& value = graph_.value(id);
    return value.shape ? value.shape->rank() : 0;
  }
  Layout layout(ValueId id) const { return graph_.value(id).layout; }
  bool is_activation(ValueId id) const {
    return id != kNoValue && !graph_.value(id).is_constant() && rank(id) >= 3;
  }

  void set_layout(ValueId id, Layout layout) {
    Value& value = graph_.value(id);
    if (rank(id) < 3 || value.is_constant()) layout = Layout::kRowMajor;
    if (value.layout != layout) ++changes_;
    value.layout = layout;
  }
  void set_outputs(const Node& node, Layout layout) {
    for (const ValueId id : node.outputs) {
      if (id != kNoValue) set_layout(id, layout);
    }
  }

  // The value in the wanted order: itself, or the result of a conversion that is made once.
  ValueId converted(ValueId id, Layout wanted) {
    if (id == kNoValue || rank(id) < 3 || layout(id) == wanted) return id;
    const auto key = std::pair(static_cast<std::uint32_t>(id), wanted);
    if (const auto it = made_.find(key); it != made_.end()) return it->second;
    const bool last = wanted == Layout::kChannelsLast;
    Value copy = graph_.value(id);
    copy.name = graph_.fresh_value_name(copy.name + (last ? "_channels_last" : "_row_major"));
    copy.layout = wanted;
    copy.constant.reset();
    copy.dim_names.clear();
    Node node;
    node.op = last ? kToChannelsLast : kToRowMajor;
    node.domain = "octavo";
    node.name = graph_.fresh_node_name(copy.name);
    node.inputs = {id};
    const ValueId out = graph_.add_value(std::move(copy));
    node.outputs = {out};
    graph_.nodes.push_back(std::move(node));
    remember(id, out);
    ++changes_;
    return out;
  }

  void remember(ValueId from, ValueId to) {
    made_.emplace(std::pair(static_cast<std::uint32_t>(from), layout(to)), to);
    made_.emplace(std::pair(static_cast<std::uint32_t>(to), layout(from)), from);
  }

  // A conversion of an earlier run of this pass.
  void keep_conversion(const Node& node) {
    set_layout(node.outputs[0],
               node.op == kToChannelsLast ? Layout::kChannelsLast : Layout::kRowMajor);
    remember(node.inputs[0], node.outputs[0]);
  }

  // Inputs from `first` on that are not constant, in the wanted order.
  void convert_all(Node& node, Layout wanted, std::size_t first) {
    for (std::size_t i = first; i < node.inputs.size(); ++i) {
      if (is_activation(node.inputs[i])) node.inputs[i] = converted(node.inputs[i], wanted);
    }
  }

  // Is the value, or a copy of it, channels-last already?
  bool at_hand(ValueId id) const {
    return layout(id) == Layout::kChannelsLast ||
           made_.contains(std::pair(static_cast<std::uint32_t>(id), Layout::kChannelsLast));
  }

  void assign(Node& node, const ops::OpDef& op) {
    switch (op.layout) {
      case ops::LayoutRule::kChannelsLast:
        // Only the first input is an activation; a constant one is converted like any other.
        if (!node.inputs.empty()) node.inputs[0] = converted(node.inputs[0], Layout::kChannelsLast);
        convert_all(node, Layout::kRowMajor, 1);
        set_outputs(node, Layout::kChannelsLast);
        return;
      case ops::LayoutRule::kFollow:
        return follow(node);
      case ops::LayoutRule::kRowMajor:
        convert_all(node, Layout::kRowMajor, 0);
        set_outputs(node, Layout::kRowMajor);
        return;
      case ops::LayoutRule::kAnyToRowMajor:
        set_outputs(node, node.op == "Transpose" && is_free_as_channels_last(node)
                              ? Layout::kChannelsLast
                              : Layout::kRowMajor);
        return;
    }
  }

  void follow(Node& node) {
    int out_rank = 0;
    for (const ValueId id : node.outputs) {
      if (id != kNoValue) out_rank = std::max(out_rank, rank(id));
    }
    const bool last = std::any_of(node.inputs.begin(), node.inputs.end(), [&](ValueId id) {
      return is_activation(id) && rank(id) >= out_rank && at_hand(id);
    });
    const Layout wanted = last ? Layout::kChannelsLast : Layout::kRowMajor;
    for (ValueId& id : node.inputs) {
      if (!is_activation(id)) continue;
      // An operand of lower rank is broadcast: its axis 1 is another one than the result's.
      id = converted(id, rank(id) >= out_rank ? wanted : Layout::kRowMajor);
    }
    set_outputs(node, wanted);
  }

  // Would the transposed tensor, stored channels-last, have the bytes of the input? (NHWC -> NCHW
  // of models that came from TensorFlow.)
  bool is_free_as_channels_last(const Node& node) const {
    const Value& in = graph_.value(node.inputs[0]);
    const int in_rank = rank(node.inputs[0]);
    const std::vector<std::int64_t> perm = node.attrs.get_ints("perm");
    if (in_rank < 3 || static_cast<int>(perm.size()) != in_rank || in.is_constant()) return false;
    for (int axis = 0; axis < in_rank; ++axis) {
      const std::int64_t source = perm[static_cast<std::size_t>(axis)];
      if (source < 0 || source >= in_rank) return false;
      if (physical_axis(static_cast<int>(source), in_rank, in.layout) !=
          physical_axis(axis, in_rank, Layout::kChannelsLast)) {
        return false;
      }
    }
    return true;
  }

  // The graph's output keeps its name; the channels-last tensor behind it takes another.
  ValueId row_major_output(ValueId id) {
    if (layout(id) == Layout::kRowMajor) return id;
    const ValueId out = converted(id, Layout::kRowMajor);
    if (renamed_.insert(static_cast<std::uint32_t>(id)).second) {
      const std::string name = graph_.value(id).name;
      graph_.value(id).name = graph_.fresh_value_name(name + "_channels_last");
      graph_.value(out).name = name;
      graph_.value(out).dim_names = std::move(graph_.value(id).dim_names);
    }
    return out;
  }

  Graph& graph_;
  std::map<std::pair<std::uint32_t, Layout>, ValueId> made_;
  std::set<std::uint32_t> renamed_;
  int changes_ = 0;
};
}  // namespace

Result<int> assign_layouts(Graph& graph, PassContext&) { return Assigner(graph).run(); }

}  // namespace octavo::passes
