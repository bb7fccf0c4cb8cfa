// clip_codes: a Clip of codes behind their QuantizeLinear becomes a Clip of real numbers.
//
// So does torch.onnx write fake quantization to fewer codes than the type has (quant_max 127 of a
// uint8). Quantizing keeps the order of numbers, so clipping them to what the bounds stand for
// gives the same codes. Where the node before takes an activation, the Clip goes before the
// QuantizeLinear and becomes part of that node; else it stands behind it, between a
// DequantizeLinear and a QuantizeLinear on the same grid. A weight is clipped at once.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/text.h"
#include "ops/activation.h"
#include "passes/passes.h"
#include "passes/qdq.h"

namespace octavo::passes {

namespace {

struct CodeRange {
  std::int64_t lo, hi;
};

// The bound that input i gives; nothing where it is no constant number.
std::optional<std::int64_t> bound(const Graph& graph, const Node& clip, std::size_t i,
                                  std::int64_t none) {
  const ValueId id = clip.input(i);
  if (id == kNoValue) return none;
  const std::optional<Tensor>& constant = graph.value(id).constant;
  if (!constant || constant->elements() != 1) return std::nullopt;
  return to_int64s(*constant).front();
}

std::optional<CodeRange> range_of(const Graph& graph, const Node& clip) {
  const DType dtype = graph.value(clip.inputs[0]).dtype;
  if (!is_quantized_code(dtype)) return std::nullopt;
  const std::int64_t lowest = dtype == DType::kInt8 ? -128 : 0;
  const auto lo = bound(graph, clip, 1, lowest);
  const auto hi = bound(graph, clip, 2, lowest + 255);
  if (!lo || !hi) return std::nullopt;
  // Above the lower bound is above the upper one: ONNX gives that one.
  return CodeRange{std::clamp(std::min(*lo, *hi), lowest, lowest + 255),
                   std::clamp(*hi, lowest, lowest + 255)};
}

float real_of(std::int64_t code, const QuantParams& params, std::size_t channel) {
  return static_cast<float>(code - params.zero_point[channel]) * params.scale[channel];
}

// A constant between the bounds, which are of its channel where it has one.
Tensor clipped(const Tensor& real, const QuantParams& params, const CodeRange& range) {
  std::vector<float> values = to_floats(real);
  const Shape& shape = real.shape();
  std::size_t inner = 1;
  if (params.axis) {
    for (int d = *params.axis + 1; d < shape.rank(); ++d)
      inner *= static_cast<std::size_t>(shape[d]);
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::size_t c = params.axis ? i / inner % params.scale.size() : 0;
    values[i] = std::clamp(values[i], real_of(range.lo, params, c), real_of(range.hi, params, c));
  }
  return Tensor::of<float>(shape, values);
}

}  // namespace

Result<int> clip_codes(Graph& graph, PassContext& context) {
  const Uses uses(graph);
  std::vector<Node> nodes = std::move(graph.nodes);
  graph.nodes.clear();
  // Where a node of before stands now.
  std::vector<std::size_t> place(nodes.size());
  const auto maker_of = [&](ValueId id) -> Node* {
    const auto producer = uses.producer_of(id);
    return producer ? &graph.nodes[place[static_cast<std::size_t>(*producer)]] : nullptr;
  };
  const auto add_real = [&](std::string_view name, ValueId like) {
    Value value;
    value.name = graph.fresh_value_name(name);
    value.dtype = DType::kFloat32;
    value.shape = graph.value(like).shape;
    return graph.add_value(std::move(value));
  };
  int changes = 0;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    Node clip = std::move(nodes[i]);
    place[i] = graph.nodes.size();
    const ValueId codes = clip.op == "Clip" && clip.domain.empty() ? clip.input(0) : kNoValue;
    Node* quantize = codes != kNoValue ? maker_of(codes) : nullptr;
    const bool between = quantize != nullptr && is_quantize(*quantize) && !graph.is_output(codes) &&
                         uses.readers_of(codes).size() == 1;
    const auto params = between ? params_of(graph, *quantize) : std::nullopt;
    const auto range = between ? range_of(graph, clip) : std::nullopt;
    const ValueId real = between ? quantize->inputs[0] : kNoValue;
    const bool constant = between && graph.value(real).is_constant();
    if (!params || !range || (!constant && !params->is_per_tensor())) {
      graph.nodes.push_back(std::move(clip));
      continue;
    }
    context.notes.push_back({"clip_codes", clip.name, clip.op,
                             text("bounds of the codes of node '", quantize->name, "'")});
    ++changes;
    const std::string name = text(graph.value(real).name, "_clipped");
    if (constant) {
      quantize->inputs[0] = graph.add_constant(
          graph.fresh_value_name(name), clipped(*graph.value(real).constant, *params, *range));
      quantize->outputs[0] = clip.outputs[0];
      place[i] = place[static_cast<std::size_t>(*uses.producer_of(codes))];
      continue;
    }
    const auto number = [&](const char* suffix, std::int64_t code) {
      return graph.add_constant(graph.fresh_value_name(text(name, suffix)),
                                Tensor::of<float>(Shape{}, {real_of(code, *params, 0)}));
    };
    const ValueId lo = number("_min", range->lo);
    const ValueId hi = number("_max", range->hi);
    const ValueId bounded = add_real(name, real);
    Node last = *quantize;
    last.inputs[0] = bounded;
    last.outputs[0] = clip.outputs[0];
    clip.outputs[0] = bounded;
    if (const Node* maker = maker_of(real); maker != nullptr && ops::reads_activation(*maker) &&
                                            !graph.is_output(real) &&
                                            uses.readers_of(real).size() == 1) {
      clip.inputs = {real, lo, hi};
      *quantize = std::move(clip);
    } else {
      const ValueId again = add_real(text(graph.value(real).name, "_codes_real"), real);
      clip.inputs = {again, lo, hi};
      graph.nodes.push_back(make_qdq(graph, "DequantizeLinear",
                                     text(clip.name, "_DequantizeLinear"), codes,
                                     quantize->inputs[1], quantize->input(2), again));
      graph.nodes.push_back(std::move(clip));
      last.name = graph.fresh_node_name(text(last.name, "_clipped"));
    }
    place[i] = graph.nodes.size();
    graph.nodes.push_back(std::move(last));
  }
  if (changes > 0) graph.compact_values();
  return changes;
}

}  // namespace octavo::passes
