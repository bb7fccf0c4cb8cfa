// fuse_activation: Relu, or Clip with constant bounds, becomes an attribute of the node that makes
// its input.
//
// Which nodes can: those whose OpDef reads `octavo_activation`. The value keeps the activation's
// output name, so calibration, comparison and report speak of the clamped tensor.
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "base/text.h"
#include "ops/activation.h"
#include "passes/passes.h"

namespace octavo::passes {

namespace {

struct Bounds {
  std::string activation;
  float min, max;
};

// The bound behind an optional input; nothing when it is no constant number.
std::optional<float> bound(const Graph& graph, ValueId id, float fallback) {
  if (id == kNoValue) return fallback;
  const Value& value = graph.value(id);
  if (!value.constant || value.constant->dtype() != DType::kFloat32 ||
      value.constant->elements() != 1)
    return std::nullopt;
  const float number = value.constant->span<float>()[0];
  return std::isnan(number) ? std::nullopt : std::optional(number);
}

std::optional<Bounds> bounds_of(const Graph& graph, const Node& node) {
  constexpr float kMax = std::numeric_limits<float>::max();
  if (!node.domain.empty()) return std::nullopt;
  if (node.op == "Relu") return Bounds{"Relu", 0, kMax};
  if (node.op != "Clip") return std::nullopt;
  const auto min = bound(graph, node.input(1), -kMax);
  const auto max = bound(graph, node.input(2), kMax);
  if (!min || !max || *min > *max) return std::nullopt;
  return Bounds{"Clip", *min, *max};
}

// What remains where the node that makes its input has an activation already.
Bounds combined(const Node& maker, const Bounds& own) {
  if (!maker.attrs.has("octavo_activation")) return own;
  constexpr float kMax = std::numeric_limits<float>::max();
  const ops::RealBounds before = ops::real_bounds(maker.attrs);
  return {"Clip", std::clamp(std::max(before.lo, -kMax), own.min, own.max),
          std::clamp(std::min(before.hi, kMax), own.min, own.max)};
}

}  // namespace

Result<int> fuse_activation(Graph& graph, PassContext& context) {
  const Uses uses(graph);
  std::vector<bool> dead(graph.nodes.size(), false);
  int changes = 0;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    const std::optional<Bounds> bounds = bounds_of(graph, node);
    if (!bounds) continue;
    const ValueId input = node.input(0);
    if (input == kNoValue || graph.value(input).dtype != DType::kFloat32) continue;
    const auto producer = uses.producer_of(input);
    if (!producer || graph.is_output(input) || uses.readers_of(input).size() != 1) continue;
    Node& maker = graph.node(*producer);
    if (dead[static_cast<std::size_t>(*producer)] || !ops::reads_activation(maker)) continue;
    const Bounds all = combined(maker, *bounds);
    maker.attrs.set("octavo_activation", all.activation);
    if (all.activation == "Clip") {
      maker.attrs.set("octavo_min", all.min);
      maker.attrs.set("octavo_max", all.max);
    }
    maker.outputs[0] = node.output(0);
    context.notes.push_back(
        {"fuse_activation", node.name, node.op, text("fused into node '", maker.name, "'")});
    dead[i] = true;
    ++changes;
  }
  graph.remove_nodes([&](std::size_t i) { return dead[i]; });
  if (changes > 0) graph.compact_values();
  return changes;
}

}  // namespace octavo::passes
