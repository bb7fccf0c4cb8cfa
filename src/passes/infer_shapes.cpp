#include "passes/infer_shapes.h"

#include <algorithm>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/text.h"
#include "ops/op.h"

namespace octavo::passes {

namespace {
// A list of integers (or a single one) of which some are not known: what a Shape of a partly known
// shape gives.
struct PartialInts {
  std::vector<std::optional<std::int64_t>> items;
  bool scalar = false;

  bool known() const {
    return std::all_of(items.begin(), items.end(),
                       [](const auto& item) { return item.has_value(); });
  }
};

// Shape arithmetic is short; longer lists are data.
constexpr std::int64_t kMaxPartial = 64;

class Inference {
 public:
  Inference(Graph& graph, const InferOptions& options)
      : graph_(graph), options_(options), readers_(graph.values.size(), 0) {
    for (const Node& node : graph.nodes) {
      for (const ValueId id : node.inputs) {
        if (id != kNoValue) ++readers_[static_cast<std::size_t>(id)];
      }
    }
    for (const ValueId id : graph.outputs) ++readers_[static_cast<std::size_t>(id)];
  }

  Status run() {
    std::vector<Error> findings;
    std::vector<bool> folded(graph_.nodes.size(), false);
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
      Result<bool> result = visit(graph_.nodes[i]);
      if (!result.ok()) {
        findings.push_back(std::move(result).error());
        forget_outputs(graph_.nodes[i]);
        continue;
      }
      folded[i] = *result;
    }
    graph_.remove_nodes([&](std::size_t i) { return folded[i]; });
    if (!findings.empty()) return combine(std::move(findings));
    return ok_status();
  }

 private:
  void forget_outputs(const Node& node) {
    for (const ValueId id : node.outputs) {
      if (id == kNoValue) continue;
      graph_.value(id).shape.reset();
      graph_.value(id).counted.reset();
    }
  }

  // True when the node's outputs have become constants.
  Result<bool> visit(const Node& node) {
    const ops::OpDef* op = ops::find_op(node);
    if (op == nullptr) return false;  // reported by name elsewhere, with all others of its kind
    OCTAVO_CHECK_OK(check_arity(*op, node));
    // What a file says about the results is not to be trusted.
    forget_outputs(node);
    for (const ValueId id : node.inputs) {
      if (id != kNoValue &&
          (!graph_.value(id).shape || graph_.value(id).dtype == DType::kUndefined))
        return false;
    }
    ops::InferContext context(graph_, node);
    OCTAVO_CHECK_OK(op->infer(context));
    OCTAVO_CHECK_OK(check_outputs(context));
    if (options_.fold && fold(*op, node)) return true;
    const bool known = follow_partial(context);
    OCTAVO_CHECK_OK(check_outputs(context));
    return known;
  }

  Status check_arity(const ops::OpDef& op, const Node& node) const {
    const auto bad = [&](std::string_view what, std::size_t count) {
      return Error{Code::kInvalidModel,
                   text("The node has ", count, " ", what, ", which ", op.name, " does not take."),
                   describe(node),
                   "",
                   {}};
    };
    const std::size_t in = node.inputs.size(), out = node.outputs.size();
    if (in < static_cast<std::size_t>(op.min_inputs)) return bad("inputs", in);
    if (op.max_inputs >= 0 && in > static_cast<std::size_t>(op.max_inputs))
      return bad("inputs", in);
    if (out < static_cast<std::size_t>(op.min_outputs)) return bad("outputs", out);
    if (op.max_outputs >= 0 && out > static_cast<std::size_t>(op.max_outputs))
      return bad("outputs", out);
    // A variadic op has no optional inputs.
    const std::size_t required = op.max_inputs < 0 ? in : static_cast<std::size_t>(op.min_inputs);
    for (std::size_t i = 0; i < required; ++i) {
      if (node.inputs[i] == kNoValue) {
        return Error{
            Code::kInvalidModel, text("Input ", i, " is missing."), describe(node), "", {}};
      }
    }
    return ok_status();
  }

  Status check_outputs(const ops::InferContext& context) const {
    for (const ValueId id : context.node().outputs) {
      if (id == kNoValue || !graph_.value(id).shape) continue;
      const Shape& shape = *graph_.value(id).shape;
      if (shape.rank() > kMaxRank) {
        return context.error(
            Code::kLimitExceeded,
            text("The result '", graph_.value(id).name, "' would have ", shape.rank(),
                 " dimensions; no tensor may have more than ", kMaxRank, "."),
            "Leave out dimensions of 1.");
      }
      const bool negative =
          std::any_of(shape.begin(), shape.end(), [](auto dim) { return dim < kUnknownDim; });
      if (negative || (shape.known() && !shape.checked_elements())) {
        return context.error(
            Code::kLimitExceeded,
            text("The result '", graph_.value(id).name, "' would have shape ", shape.to_string(),
                 "; no tensor may have more than ", kMaxElements, " elements."));
      }
    }
    return ok_status();
  }

  // Evaluates a node of constants, within the limit.
  bool fold(const ops::OpDef& op, const Node& node) {
    // Weights in codes with their DequantizeLinear are what makes a quantized model one.
    if (op.name == "DequantizeLinear" || op.name == "QuantizeLinear") return false;
    std::size_t freed_bytes = 0, out_bytes = 0;
    std::vector<ValueId> freed;  // constants that only this node reads
    for (const ValueId id : node.inputs) {
      if (id == kNoValue) continue;
      if (!graph_.value(id).constant) return false;
      if (std::count(node.inputs.begin(), node.inputs.end(), id) !=
          readers_[static_cast<std::size_t>(id)])
        continue;
      if (std::find(freed.begin(), freed.end(), id) != freed.end()) continue;
      freed.push_back(id);
      freed_bytes += graph_.value(id).constant->bytes();
    }
    for (const ValueId id : node.outputs) {
      if (id == kNoValue) continue;
      const Value& value = graph_.value(id);
      const std::optional<Shape> largest = largest_shape(value);
      if (!largest) return false;
      out_bytes += static_cast<std::size_t>(largest->elements()) * dtype_size(value.dtype);
    }
    const std::size_t growth = out_bytes > freed_bytes ? out_bytes - freed_bytes : 0;
    if (growth > options_.max_folded_bytes - grown_) return false;
    Result<std::vector<Tensor>> results = ops::evaluate(graph_, node, &macs_left_);
    if (!results.ok()) return false;  // it stays a node; preparing it will tell what is wrong
    grown_ += growth;
    for (std::size_t i = 0; i < node.outputs.size(); ++i) {
      if (node.outputs[i] == kNoValue) continue;
      Value& value = graph_.value(node.outputs[i]);
      value.shape = (*results)[i].shape();
      value.counted.reset();
      value.constant = std::move((*results)[i]);
    }
    for (const ValueId id : freed) graph_.value(id).constant.reset();
    for (const ValueId id : node.inputs) {
      if (id != kNoValue) --readers_[static_cast<std::size_t>(id)];
    }
    return true;
  }

  // ---- partly known shapes ----

  std::optional<PartialInts> partial(const ops::InferContext& context, std::size_t i) const {
    if (!context.has_input(i)) return std::nullopt;
    if (const Tensor* constant = context.constant(i)) {
      const bool integers =
          constant->dtype() == DType::kInt64 || constant->dtype() == DType::kInt32;
      if (!integers || constant->shape().rank() > 1 || constant->elements() > kMaxPartial)
        return std::nullopt;
      PartialInts list;
      for (const std::int64_t item : to_int64s(*constant)) list.items.emplace_back(item);
      list.scalar = constant->shape().rank() == 0;
      return list;
    }
    const auto it = partials_.find(static_cast<std::uint32_t>(context.node().input(i)));
    return it == partials_.end() ? std::nullopt : std::optional(it->second);
  }

  // Carries partly known lists through shape arithmetic; true when the node's output came out fully
  // known.
  bool follow_partial(const ops::InferContext& context) {
    const Node& node = context.node();
    if (node.domain != "" || node.outputs.size() != 1 || node.output(0) == kNoValue) return false;
    if (node.op == "Reshape") {
      reshape_partial(context);
      return false;
    }
    std::optional<PartialInts> out = compute_partial(context);
    Value& value = graph_.value(node.output(0));
    if (!out || (value.dtype != DType::kInt64 && value.dtype != DType::kInt32)) return false;
    const Shape shape = out->scalar ? Shape{} : Shape{static_cast<std::int64_t>(out->items.size())};
    if (value.shape != shape) return false;
    if (options_.fold && out->known()) {
      std::vector<std::int64_t> items;
      for (const auto& item : out->items) items.push_back(*item);
      if (value.dtype == DType::kInt64) {
        value.constant = Tensor::of<std::int64_t>(shape, items);
      } else {
        value.constant =
            Tensor::of<std::int32_t>(shape, std::vector<std::int32_t>(items.begin(), items.end()));
      }
      return true;
    }
    partials_.insert_or_assign(static_cast<std::uint32_t>(node.output(0)), std::move(*out));
    return false;
  }

  std::optional<PartialInts> compute_partial(const ops::InferContext& context) const {
    const std::string& op = context.node().op;
    if (op == "Shape") return shape_partial(context);
    if (op == "Concat") return concat_partial(context);
    if (op == "Size") {
      const Shape& shape = *context.input(0).shape;
      if (!shape.known()) return std::nullopt;
      return PartialInts{{shape.elements()}, true};
    }
    std::optional<PartialInts> in = partial(context, 0);
    if (!in) return std::nullopt;
    if (op == "Identity" || op == "Cast") return in;
    if (op == "Unsqueeze" || op == "Squeeze") {
      // Of scalars and lists only; follow_partial() compares the shape.
      in->scalar = op == "Squeeze";
      return in;
    }
    if (op == "Gather") return gather_partial(context, *in);
    if (op == "Slice") return slice_partial(context, *in);
    return std::nullopt;
  }

  static std::optional<PartialInts> shape_partial(const ops::InferContext& context) {
    const Shape& shape = *context.input(0).shape;
    const auto clamp = [&](std::int64_t index) {
      return std::clamp<std::int64_t>(index < 0 ? index + shape.rank() : index, 0, shape.rank());
    };
    const std::int64_t first = clamp(context.attrs().get_int("start", 0));
    const std::int64_t last = clamp(context.attrs().get_int("end", shape.rank()));
    PartialInts out;
    for (std::int64_t i = first; i < last; ++i) {
      const std::int64_t dim = shape[static_cast<int>(i)];
      out.items.push_back(dim < 0 ? std::nullopt : std::optional(dim));
    }
    return out;
  }

  std::optional<PartialInts> concat_partial(const ops::InferContext& context) const {
    PartialInts out;
    for (std::size_t i = 0; i < context.input_count(); ++i) {
      const std::optional<PartialInts> in = partial(context, i);
      if (!in || in->scalar) return std::nullopt;
      out.items.insert(out.items.end(), in->items.begin(), in->items.end());
      if (out.items.size() > static_cast<std::size_t>(kMaxPartial)) return std::nullopt;
    }
    return out;
  }

  std::optional<PartialInts> gather_partial(const ops::InferContext& context,
                                            const PartialInts& in) const {
    const std::optional<PartialInts> indices = partial(context, 1);
    if (!indices || !indices->known() || in.scalar) return std::nullopt;
    PartialInts out;
    out.scalar = indices->scalar;
    const auto size = static_cast<std::int64_t>(in.items.size());
    for (const auto& index : indices->items) {
      if (*index < -size || *index >= size) return std::nullopt;
      out.items.push_back(in.items[static_cast<std::size_t>(*index < 0 ? *index + size : *index)]);
    }
    return out;
  }

  std::optional<PartialInts> slice_partial(const ops::InferContext& context,
                                           const PartialInts& in) const {
    const auto size = static_cast<std::int64_t>(in.items.size());
    std::int64_t bounds[4] = {0, 0, 0, 1};  // start, end, axis, step
    for (std::size_t i = 0; i < 4; ++i) {
      if (!context.has_input(i + 1)) continue;
      const std::optional<PartialInts> given = partial(context, i + 1);
      if (!given || given->items.size() != 1 || !given->items[0]) return std::nullopt;
      bounds[i] = *given->items[0];
    }
    if (bounds[3] != 1 || in.scalar) return std::nullopt;
    const auto clamp = [size](std::int64_t index) {
      return std::clamp<std::int64_t>(index < 0 ? index + size : index, 0, size);
    };
    PartialInts out;
    for (std::int64_t i = clamp(bounds[0]); i < clamp(bounds[1]); ++i) {
      out.items.push_back(in.items[static_cast<std::size_t>(i)]);
    }
    return out;
  }

  // The result's dimensions as far as the list tells.
  void reshape_partial(const ops::InferContext& context) {
    if (context.constant(1) != nullptr) return;
    const std::optional<PartialInts> list = partial(context, 1);
    if (!list || list->scalar) return;
    const Shape& in = *context.input(0).shape;
    const bool allow_zero = context.attrs().get_int("allowzero", 0) != 0;
    Shape out;
    for (std::size_t i = 0; i < list->items.size(); ++i) {
      std::int64_t dim = list->items[i].value_or(kUnknownDim);
      if (dim == 0 && !allow_zero)
        dim = static_cast<int>(i) < in.rank() ? in[static_cast<int>(i)] : kUnknownDim;
      out.dims().push_back(std::clamp(dim, kUnknownDim, kMaxElements));
    }
    if (out.known() && !out.checked_elements()) return;
    graph_.value(context.node().output(0)).shape = std::move(out);
  }

  Graph& graph_;
  const InferOptions& options_;
  std::vector<std::ptrdiff_t> readers_;  // by value; graph outputs count, folded nodes do not
  std::size_t grown_ = 0;
  std::int64_t macs_left_ = options_.max_folded_macs;
  std::unordered_map<std::uint32_t, PartialInts> partials_;
};
}  // namespace

Status infer_and_fold(Graph& graph, const InferOptions& options) {
  return Inference(graph, options).run();
}

}  // namespace octavo::passes
