// fold_batch_norm: y = (x - mean) * gamma / sqrt(var + eps) + beta becomes part of the Conv or Gemm
// that makes x.
//
//   r  = 1 / sqrt(var + eps)                 per output channel, as
//   torch.nn.utils.fuse_conv_bn_weights, f32 w' = w * (gamma * r) b' = (b - mean) * r * gamma +
//   beta
//
// (Jacob et al., "Quantization and Training of Neural Networks for Efficient
// Integer-Arithmetic-Only Inference", 2018, section 3.2.)
//
// Only where that node's result is read by the BatchNormalization alone: a fold that looks at the
// producer alone corrupts every other reader.
//
// fold_scale does the same with Mul, Div, Add and Sub by constants per channel, which older exports
// write beside or instead of a BatchNormalization; that one takes them too.
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/text.h"
#include "passes/channel_affine.h"
#include "passes/channel_product.h"
#include "passes/passes.h"

namespace octavo::passes {

namespace {

constexpr std::string_view kName = "fold_batch_norm";

// One entry a channel, the factors kept apart because the formula above rounds after each.
struct Affine {
  std::vector<float> gamma, beta, mean, inverse;
};

std::optional<Affine> affine_of(const Graph& graph, const Node& node) {
  std::vector<std::vector<float>> params;
  for (std::size_t i = 1; i <= 4; ++i) {
    const Tensor* tensor = float_constant(graph, node.input(i));
    if (tensor == nullptr) return std::nullopt;
    params.push_back(to_floats(*tensor));
    if (params.back().size() != params.front().size()) return std::nullopt;
  }
  const float epsilon = node.attrs.get_float("epsilon", 1e-5F);
  Affine out{params[0], params[1], params[2], {}};
  for (const float variance : params[3]) {
    const float inverse =
        static_cast<float>(1.0 / std::sqrt(static_cast<double>(variance + epsilon)));
    if (!std::isfinite(inverse)) return std::nullopt;
    out.inverse.push_back(inverse);
  }
  return out;
}

// Why this BatchNormalization stays, or nothing when `maker` can take it.
std::string reason_to_stay(const Graph& graph, const Uses& uses, NodeId id) {
  const Node& node = graph.node(id);
  const ValueId input = node.input(0);
  const auto producer = uses.producer_of(input);
  if (!producer) {
    return graph.is_input(input)
               ? text("standalone: its input is the graph input '", graph.value(input).name, "'")
               : text("standalone: its input is a constant");
  }
  const Node& maker = graph.node(*producer);
  if (maker.op != "Conv" && maker.op != "Gemm")
    return text("standalone: its input comes from ", describe(maker));
  if (maker.outputs.size() != 1 || maker.attrs.has("octavo_activation"))
    return text("standalone: an activation stands between it and ", describe(maker));
  for (const NodeId reader : uses.readers_of(input)) {
    if (reader != id)
      return text("standalone: the output of node '", maker.name, "' is also read by ",
                  describe(graph.node(reader)));
  }
  if (graph.is_output(input))
    return text("standalone: the output of node '", maker.name, "' is a graph output");
  if (float_constant(graph, maker.input(1)) == nullptr ||
      (maker.input(2) != kNoValue && float_constant(graph, maker.input(2)) == nullptr)) {
    return text("standalone: the weights of node '", maker.name, "' are not float constants");
  }
  return {};
}

ValueId add_like(Graph& graph, ValueId old, std::string_view fallback, Tensor tensor) {
  const std::string base =
      old == kNoValue ? std::string(fallback) : text(graph.value(old).name, "_folded");
  return graph.add_constant(graph.fresh_value_name(base), std::move(tensor));
}

// weights[c, ...] *= factor[c] where channel c is `index / inner % channels`.
Tensor scaled(const Tensor& weights, const Affine& bn, std::size_t inner) {
  std::vector<float> values = to_floats(weights);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::size_t channel = i / inner % bn.gamma.size();
    values[i] = values[i] * (bn.gamma[channel] * bn.inverse[channel]);
  }
  return Tensor::of<float>(weights.shape(), values);
}

// Folds into `maker`; false where the shapes do not fit together.
bool fold_into(Graph& graph, std::size_t maker_index, const Affine& bn) {
  const Node& maker = graph.nodes[maker_index];
  const std::size_t channels = bn.gamma.size();
  const Tensor weights = *graph.value(maker.input(1)).constant;
  const Shape& shape = weights.shape();
  const bool conv = maker.op == "Conv";
  if (shape.rank() < 2) return false;
  const int axis = conv || maker.attrs.get_int("transB", 0) != 0 ? 0 : 1;
  if (static_cast<std::size_t>(shape[axis]) != channels || channels == 0) return false;
  std::size_t inner = 1;
  for (int d = axis + 1; d < shape.rank(); ++d) inner *= static_cast<std::size_t>(shape[d]);

  std::vector<float> bias(channels, 0.0F);
  if (const ValueId old = maker.input(2); old != kNoValue) {
    const Tensor* constant = float_constant(graph, old);
    if (constant == nullptr) return false;
    const std::vector<float> values = to_floats(*constant);
    if (values.size() != channels && values.size() != 1) return false;
    const float factor = conv ? 1.0F : maker.attrs.get_float("beta", 1.0F);
    for (std::size_t c = 0; c < channels; ++c)
      bias[c] = factor * values[values.size() == 1 ? 0 : c];
  }
  for (std::size_t c = 0; c < channels; ++c)
    bias[c] = (bias[c] - bn.mean[c]) * bn.inverse[c] * bn.gamma[c] + bn.beta[c];

  const ValueId new_weights = add_like(graph, maker.input(1), "", scaled(weights, bn, inner));
  const ValueId new_bias =
      add_like(graph, maker.input(2), text(maker.name, "_bias"),
               Tensor::of<float>(Shape{static_cast<std::int64_t>(channels)}, bias));
  Node& node = graph.nodes[maker_index];
  node.inputs.resize(3, kNoValue);
  node.inputs[1] = new_weights;
  node.inputs[2] = new_bias;
  if (!conv) node.attrs.set("beta", 1.0F);
  return true;
}

// What takes the affine map behind it: the parameters of `maker` change; false where the shapes do
// not fit together.
bool fold_into_batch_norm(Graph& graph, std::size_t maker_index, const Affine& affine) {
  const Node& maker = graph.nodes[maker_index];
  const Tensor* gamma = float_constant(graph, maker.input(1));
  const Tensor* beta = float_constant(graph, maker.input(2));
  if (gamma == nullptr || beta == nullptr) return false;
  std::vector<float> scale = to_floats(*gamma);
  std::vector<float> shift = to_floats(*beta);
  if (scale.size() != affine.gamma.size() || shift.size() != scale.size()) return false;
  for (std::size_t c = 0; c < scale.size(); ++c) {
    scale[c] = scale[c] * affine.gamma[c];
    shift[c] = shift[c] * affine.gamma[c] + affine.beta[c];
  }
  const Shape shape = gamma->shape();
  const ValueId new_gamma = add_like(graph, maker.input(1), "", Tensor::of<float>(shape, scale));
  const ValueId new_beta =
      add_like(graph, graph.nodes[maker_index].input(2), "", Tensor::of<float>(shape, shift));
  graph.nodes[maker_index].inputs[1] = new_gamma;
  graph.nodes[maker_index].inputs[2] = new_beta;
  return true;
}

// The node before takes over this one's output and activation; the emptied node is swept later.
void merge_into(Graph& graph, std::size_t maker, std::size_t index) {
  Node& node = graph.nodes[index];
  graph.nodes[maker].outputs[0] = node.outputs[0];
  for (const auto& [name, value] : node.attrs) {
    if (name.starts_with("octavo_")) graph.nodes[maker].attrs.set(name, value);
  }
  node = Node{};
}

void sweep(Graph& graph) {
  graph.remove_nodes([&](std::size_t i) { return graph.nodes[i].op.empty(); });
  graph.compact_values();
}

// Channels that a node makes along axis 1, where it can take an affine map; 0 otherwise.
std::int64_t channels_made(const Graph& graph, const Node& maker) {
  if (!maker.domain.empty() || maker.attrs.has("octavo_activation")) return 0;
  const Tensor* parameter = float_constant(graph, maker.input(1));
  if (parameter == nullptr) return 0;
  const Shape& shape = parameter->shape();
  if (maker.op == "BatchNormalization") return parameter->elements();
  if (shape.rank() < 2) return 0;
  if (maker.op == "Conv") return shape[0];
  if (maker.op == "Gemm") return shape[maker.attrs.get_int("transB", 0) != 0 ? 0 : 1];
  return 0;
}

// A node behind one that can take it.
struct ScaleNode {
  ValueId x;
  Affine affine;
};
std::optional<ScaleNode> scale_node(const Graph& graph, const Uses& uses, const Node& node) {
  const ValueId x = node.op == "BatchNormalization" ? kNoValue : affine_input(graph, node);
  if (x == kNoValue) return std::nullopt;
  const auto producer = uses.producer_of(x);
  if (!producer || graph.is_output(x) || uses.readers_of(x).size() != 1) return std::nullopt;
  const std::int64_t channels = channels_made(graph, graph.node(*producer));
  if (channels < 1) return std::nullopt;
  auto affine = channel_affine(graph, node, channels);
  if (!affine) return std::nullopt;
  const std::vector<float> ones(affine->factor.size(), 1.0F);
  const std::vector<float> zeros(affine->factor.size(), 0.0F);
  return ScaleNode{x, {std::move(affine->factor), std::move(affine->shift), zeros, ones}};
}

}  // namespace

Result<int> fold_batch_norm(Graph& graph, PassContext& context) {
  Uses uses(graph);
  int changes = 0;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    if (graph.nodes[i].op != "BatchNormalization" || !graph.nodes[i].domain.empty()) continue;
    Note note{std::string(kName), graph.nodes[i].name, graph.nodes[i].op,
              reason_to_stay(graph, uses, static_cast<NodeId>(i))};
    if (note.what.empty()) {
      const auto maker = static_cast<std::size_t>(*uses.producer_of(graph.nodes[i].input(0)));
      const std::optional<Affine> bn = affine_of(graph, graph.nodes[i]);
      const std::string& name = graph.nodes[maker].name;
      if (bn && fold_into(graph, maker, *bn)) {
        note.what = text("folded into node '", name, "'");
        merge_into(graph, maker, i);
        uses = Uses(graph);
        ++changes;
      } else {
        note.what = text("standalone: its parameters do not fit the output of node '", name, "'");
      }
    }
    context.notes.push_back(std::move(note));
  }
  if (changes > 0) sweep(graph);
  return changes;
}

Result<int> fold_scale(Graph& graph, PassContext& context) {
  Uses uses(graph);
  int changes = 0;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const std::optional<ScaleNode> scale = scale_node(graph, uses, graph.nodes[i]);
    if (!scale) continue;
    const auto maker = static_cast<std::size_t>(*uses.producer_of(scale->x));
    const bool folded = graph.nodes[maker].op == "BatchNormalization"
                            ? fold_into_batch_norm(graph, maker, scale->affine)
                            : fold_into(graph, maker, scale->affine);
    if (!folded) continue;
    context.notes.push_back({"fold_scale", graph.nodes[i].name, graph.nodes[i].op,
                             text("folded into node '", graph.nodes[maker].name, "'")});
    merge_into(graph, maker, i);
    uses = Uses(graph);
    ++changes;
  }
  if (changes > 0) sweep(graph);
  return changes;
}

}  // namespace octavo::passes
