// split_batch_norm: BatchNormalization of a Concat along the channels becomes the Concat of a
// BatchNormalization of each part.
//
//   BN(concat(a, b)) = concat(BN_a(a), BN_b(b))        exactly: it works on each channel alone
//
// An integer Concat brings its parts to one grid, as coarse as its widest part wants, before the
// BatchNormalization weighs them. Behind the split each part is read on the grid that it was made
// on. Densely connected networks (Huang et al., "Densely Connected Convolutional Networks", 2017)
// concatenate what they have concatenated before; such parts are taken apart too.
#include <optional>
#include <string>
#include <vector>

#include "base/text.h"
#include "passes/passes.h"

namespace octavo::passes {

namespace {

// More parts than this cost more time than their grids are worth.
constexpr std::size_t kMostParts = 32;

struct Part {
  ValueId value;
  std::int64_t channels;
};

bool is_plain(const Node& node, std::string_view op) {
  return node.op == op && node.domain.empty();
}

const Node* channel_concat(const Graph& graph, const Uses& uses, ValueId id) {
  const auto producer = uses.producer_of(id);
  if (!producer || graph.is_output(id)) return nullptr;
  const Node& node = graph.node(*producer);
  if (!is_plain(node, "Concat")) return nullptr;
  const auto& shape = graph.value(id).shape;
  if (!shape || shape->rank() < 3) return nullptr;
  const std::int64_t axis = node.attrs.get_int("axis", 0);
  return axis == 1 || axis == 1 - shape->rank() ? &node : nullptr;
}

// What the concatenation reads, concatenations among it taken apart; false where the number of
// channels of a part is not known or there are too many.
bool collect_parts(const Graph& graph, const Uses& uses, const Node& concat,
                   std::vector<Part>& parts) {
  for (const ValueId id : concat.inputs) {
    if (const Node* inner = channel_concat(graph, uses, id)) {
      if (!collect_parts(graph, uses, *inner, parts)) return false;
      continue;
    }
    const auto& shape = graph.value(id).shape;
    if (!shape || shape->rank() < 3 || (*shape)[1] < 1 || graph.value(id).is_constant() ||
        parts.size() == kMostParts)
      return false;
    parts.push_back({id, (*shape)[1]});
  }
  return true;
}

// Parameters 1 to 4 of the node, where they are float constants of that many channels.
std::optional<std::vector<std::vector<float>>> parameters_of(const Graph& graph, const Node& node,
                                                             std::int64_t channels) {
  std::vector<std::vector<float>> out;
  for (std::size_t i = 1; i <= 4; ++i) {
    const ValueId id = node.input(i);
    if (id == kNoValue) return std::nullopt;
    const auto& constant = graph.value(id).constant;
    if (!constant || constant->dtype() != DType::kFloat32 || constant->elements() != channels)
      return std::nullopt;
    out.push_back(to_floats(*constant));
  }
  return out;
}

// Puts the split form of `node` at the end of the graph.
void add_split(Graph& graph, const Node& node, const std::vector<Part>& parts,
               const std::vector<std::vector<float>>& parameters) {
  Node concat;
  concat.op = "Concat";
  concat.attrs.set("axis", std::int64_t{1});
  concat.outputs = node.outputs;
  std::size_t from = 0;
  for (std::size_t p = 0; p < parts.size(); ++p) {
    const auto count = static_cast<std::size_t>(parts[p].channels);
    Node part;
    part.op = node.op;
    part.attrs = node.attrs;
    part.name = p == 0 ? node.name : graph.fresh_node_name(text(node.name, "_part", p));
    part.inputs = {parts[p].value};
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const auto first = parameters[i].begin() + static_cast<std::ptrdiff_t>(from);
      const std::vector<float> values(first, first + static_cast<std::ptrdiff_t>(count));
      part.inputs.push_back(graph.add_constant(
          graph.fresh_value_name(text(graph.value(node.inputs[i + 1]).name, "_part", p)),
          Tensor::of<float>(Shape{parts[p].channels}, values)));
    }
    Value made;
    made.name = graph.fresh_value_name(text(graph.value(node.outputs[0]).name, "_part", p));
    made.dtype = DType::kFloat32;
    made.shape = graph.value(parts[p].value).shape;
    part.outputs = {graph.add_value(std::move(made))};
    concat.inputs.push_back(part.outputs[0]);
    graph.nodes.push_back(std::move(part));
    from += count;
  }
  concat.name = graph.fresh_node_name(text(node.name, "_concat"));
  graph.nodes.push_back(std::move(concat));
}

}  // namespace

Result<int> split_batch_norm(Graph& graph, PassContext& context) {
  struct Split {
    std::vector<Part> parts;
    std::vector<std::vector<float>> parameters;
  };
  std::vector<std::optional<Split>> splits(graph.nodes.size());
  int changes = 0;
  const Uses uses(graph);
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    if (!is_plain(node, "BatchNormalization") || node.outputs.size() != 1) continue;
    const Node* concat = channel_concat(graph, uses, node.input(0));
    if (concat == nullptr) continue;
    // Where something else reads the concatenation, it has to be made anyway.
    bool gone = true;
    for (const NodeId reader : uses.readers_of(node.inputs[0])) {
      const std::string& op = graph.node(reader).op;
      gone = gone && (op == "BatchNormalization" || op == "Concat");
    }
    Split split;
    if (!gone || !collect_parts(graph, uses, *concat, split.parts) || split.parts.size() < 2)
      continue;
    std::int64_t channels = 0;
    for (const Part& part : split.parts) channels += part.channels;
    auto parameters = parameters_of(graph, node, channels);
    if (!parameters) continue;
    split.parameters = std::move(*parameters);
    splits[i] = std::move(split);
    ++changes;
  }
  if (changes == 0) return 0;

  // New names must differ from those of all nodes, so the old ones stay in the graph until the end.
  const std::vector<Node> nodes = graph.nodes;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (!splits[i]) {
      graph.nodes.push_back(nodes[i]);
      continue;
    }
    add_split(graph, nodes[i], splits[i]->parts, splits[i]->parameters);
    context.notes.push_back({"split_batch_norm", nodes[i].name, nodes[i].op,
                             text("split into ", splits[i]->parts.size(),
                                  " parts, each on the grid of what it reads")});
  }
  graph.nodes.erase(graph.nodes.begin(),
                    graph.nodes.begin() + static_cast<std::ptrdiff_t>(nodes.size()));
  return changes;
}

}  // namespace octavo::passes
