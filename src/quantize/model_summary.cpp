// What a model is made of, and what quantization would make of it.
#include <map>

#include "base/text.h"
#include "passes/insert_qdq.h"
#include "passes/passes.h"
#include "passes/qdq.h"
#include "passes/tail.h"
#include "quantize/json.h"
#include "quantize/model.h"
#include "quantize/options.h"

namespace octavo::quantize {

namespace {

// "name" -> what a note says, for one pass (or any).
const passes::Note* find_note(const std::vector<passes::Note>& notes, const std::string& node,
                              std::string_view start) {
  for (const passes::Note& note : notes) {
    if (note.node == node && std::string_view(note.what).starts_with(start)) return &note;
  }
  return nullptr;
}

Json shape_json(const Value& value) {
  Json dims = Json::array();
  if (!value.shape) return nullptr;
  for (int axis = 0; axis < value.shape->rank(); ++axis) {
    const auto i = static_cast<std::size_t>(axis);
    if ((*value.shape)[axis] >= 0) {
      dims.push_back((*value.shape)[axis]);
    } else {
      dims.push_back(i < value.dim_names.size() && !value.dim_names[i].empty() ? value.dim_names[i]
                                                                               : "?");
    }
  }
  return dims;
}

Json border_json(const Graph& graph, const std::vector<ValueId>& ids) {
  Json out = Json::array();
  for (const ValueId id : ids) {
    const Value& value = graph.value(id);
    out.push_back({{"name", value.name},
                   {"type", std::string(dtype_name(value.dtype))},
                   {"shape", shape_json(value)}});
  }
  return out;
}

// Multiply-accumulates of a node of a graph whose shapes are known.
std::int64_t macs_of(const Graph& graph, const Node& node) {
  const auto shape = [&](ValueId id) -> const Shape* {
    if (id == kNoValue) return nullptr;
    const auto& s = graph.value(id).shape;
    return s && s->checked_elements() ? &*s : nullptr;
  };
  const Shape* x = shape(node.input(0));
  const Shape* w = shape(node.input(1));
  const Shape* y = shape(node.output(0));
  if (!node.domain.empty() || x == nullptr || w == nullptr || y == nullptr || w->rank() < 1)
    return 0;
  if (node.op == "Conv" && (*w)[0] > 0) return y->elements() * (w->elements() / (*w)[0]);
  if (node.op == "ConvTranspose" && (*w)[0] > 0) return x->elements() * (w->elements() / (*w)[0]);
  if (node.op == "MatMul" && x->rank() > 0) return y->elements() * (*x)[x->rank() - 1];
  if (node.op == "Gemm" && x->rank() == 2)
    return y->elements() * (*x)[node.attrs.get_int("transA", 0) != 0 ? 0 : 1];
  return 0;
}

struct Plan {
  std::string plan, reason;
};

// What quantizeStatic would make of each node of a float model.
std::map<std::string, Plan> plan_float(const Graph& graph) {
  std::map<std::string, Plan> plans;
  Graph optimized = graph;
  passes::PassContext context;
  if (!passes::optimize_float(optimized, context).ok()) return plans;
  for (const passes::Note& note : context.notes) {
    if (note.what.starts_with("folded")) plans[note.node] = {"folded", note.what};
    if (note.what.starts_with("fused")) plans[note.node] = {"fused", note.what};
  }
  const Result<JobOptions> defaults = parse_job_options("{}");
  if (!defaults.ok() || !passes::split_batch_norm(optimized, context).ok() ||
      !passes::eliminate_dead(optimized, context).ok())
    return plans;
  const passes::QdqPlan qdq = passes::plan_qdq(optimized, defaults->qdq);
  for (std::size_t i = 0; i < optimized.nodes.size(); ++i) {
    const passes::NodePlan& node = qdq.nodes[i];
    std::string reason = node.reason;
    if (const passes::Note* fate = find_note(context.notes, optimized.nodes[i].name, "standalone");
        fate != nullptr && node.int8)
      reason = fate->what;
    plans[optimized.nodes[i].name] = {node.int8 ? "int8" : "float", std::move(reason)};
  }
  return plans;
}

// How a quantized model's nodes run.
std::map<std::string, Plan> plan_quantized(const Graph& graph) {
  std::map<std::string, Plan> plans;
  Graph lowered = graph;
  passes::PassContext context;
  for (const auto pass :
       {&passes::fuse_activation, &passes::lower_to_int8, &passes::eliminate_dead}) {
    if (!pass(lowered, context).ok()) return plans;
  }
  for (const passes::Note& note : context.notes)
    plans[note.node] = {note.what.starts_with("fused") ? "fused" : "float", note.what};
  for (const Node& node : lowered.nodes) {
    const ValueId data = node.input(0);
    const bool codes =
        data != kNoValue && graph.values.size() > 0 && lowered.value(data).quant.has_value();
    if (codes && !passes::is_dequantize(node)) plans[node.name] = {"int8", "int8"};
  }
  return plans;
}

}  // namespace

std::string Model::summary_json() const {
  Json out;
  out["name"] = graph_.name;
  out["producer"] = graph_.producer_version.empty()
                        ? graph_.producer_name
                        : text(graph_.producer_name, " ", graph_.producer_version);
  out["opset"] = opset_;
  out["metadata"] = graph_.metadata;
  out["quantized"] = is_quantized();
  std::int64_t parameters = 0;
  std::size_t weight_bytes = 0;
  for (const Value& value : graph_.values) {
    if (!value.constant) continue;
    parameters += value.constant->elements();
    weight_bytes += value.constant->bytes();
  }
  out["parameters"] = parameters;
  out["bytes"] = file_bytes_ != 0 ? file_bytes_ : weight_bytes;
  out["inputs"] = border_json(graph_, graph_.inputs);
  out["outputs"] = border_json(graph_, graph_.outputs);

  // Unknown dimensions count as 1; a network that cannot work at that size has no multiply counts.
  Graph fixed = graph_;
  passes::InputShapes ones;
  for (const ValueId id : fixed.inputs) {
    const Value& value = fixed.value(id);
    if (!value.shape || value.shape->known()) continue;
    Shape shape = *value.shape;
    for (std::int64_t& dim : shape.dims()) dim = dim < 0 ? 1 : dim;
    ones.by_name[value.name] = std::move(shape);
  }
  std::map<std::string, std::int64_t> macs;
  const bool counted = passes::fix_shapes(fixed, ones).ok();
  std::int64_t total = 0;
  if (counted) {
    for (const Node& node : fixed.nodes) total += macs[node.name] = macs_of(fixed, node);
  }
  Graph head = graph_;
  const auto tail = passes::cut_tail(head, ones);
  std::map<std::string, Plan> plans = is_quantized() ? plan_quantized(head) : plan_float(head);
  if (tail.ok() && *tail) {
    for (const Node& node : (*tail)->graph.nodes)
      plans[node.name] = {"float", std::string(passes::kTailReason)};
  }
  Json nodes = Json::array();
  for (const Node& node : graph_.nodes) {
    const ValueId output = node.output(0);
    const auto found = plans.find(node.name);
    Json entry{{"name", node.name}, {"op", node.op}};
    entry["output"] = output == kNoValue ? "" : graph_.value(output).name;
    entry["shape"] = output == kNoValue ? Json(nullptr) : shape_json(graph_.value(output));
    entry["macs"] = counted && macs.count(node.name) != 0 ? Json(macs[node.name]) : Json(nullptr);
    entry["plan"] = found == plans.end() ? "float" : found->second.plan;
    entry["reason"] = found == plans.end() ? "" : found->second.reason;
    nodes.push_back(std::move(entry));
  }
  out["nodes"] = std::move(nodes);
  out["macs"] = counted ? Json(total) : Json(nullptr);
  return dump(out);
}

}  // namespace octavo::quantize
