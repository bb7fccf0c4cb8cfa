#include "ops/op.h"

#include <algorithm>
#include <cstring>

#include "base/text.h"

namespace octavo::ops {

namespace {
const Tensor* constant_of(const Graph& graph, ValueId id) {
  if (id == kNoValue) return nullptr;
  const Value& value = graph.value(id);
  return value.constant ? &*value.constant : nullptr;
}

Error node_error(const Node& node, Code code, std::string what, std::string hint) {
  return Error{code, std::move(what), describe(node), std::move(hint), {}};
}
}  // namespace

const Tensor* InferContext::constant(std::size_t i) const {
  return constant_of(graph_, node_.input(i));
}

Result<Shape> InferContext::shape(std::size_t i) const {
  if (!has_input(i)) return error(Code::kInvalidModel, text("Input ", i, " is missing."));
  const Value& value = input(i);
  if (!value.shape) {
    return error(Code::kDynamicDimension,
                 text("The rank of input ", i, " ('", value.name, "') is not known."),
                 "Give the shapes of the model's inputs.");
  }
  return *value.shape;
}

void InferContext::set_output(std::size_t i, DType dtype, Shape shape) {
  const ValueId id = node_.output(i);
  if (id == kNoValue) return;
  Value& value = graph_.value(id);
  value.dtype = dtype;
  value.shape = std::move(shape);
  value.counted.reset();
}

void InferContext::set_counted(std::size_t i, DType dtype, Shape shape, std::int64_t most) {
  set_output(i, dtype, std::move(shape));
  if (node_.output(i) != kNoValue) graph_.value(node_.output(i)).counted = most;
}

Error InferContext::error(Code code, std::string what, std::string hint) const {
  return node_error(node_, code, std::move(what), std::move(hint));
}

const Tensor* PrepareContext::constant(std::size_t i) const {
  return constant_of(graph_, node_.input(i));
}

Error PrepareContext::error(Code code, std::string what, std::string hint) const {
  return node_error(node_, code, std::move(what), std::move(hint));
}

const OpDef* find_op(std::string_view name, std::string_view domain) {
  const std::span<const OpDef> ops = all_ops();
  const auto it = std::find_if(ops.begin(), ops.end(), [&](const OpDef& op) {
    return op.name == name && op.domain == domain;
  });
  return it == ops.end() ? nullptr : &*it;
}

Result<std::vector<Tensor>> evaluate(const Graph& graph, const Node& node,
                                     std::int64_t* macs_left) {
  const OpDef* op = find_op(node);
  if (op == nullptr) {
    return node_error(node, Code::kUnsupportedOp,
                      text("The operator ", node.op, " is not supported."), "");
  }
  // A graph of this node alone, so that neither inference nor layouts of the whole are disturbed.
  Graph alone;
  alone.opset = graph.opset;
  Node copy = node;
  std::vector<Tensor> inputs;
  for (ValueId& id : copy.inputs) {
    if (id == kNoValue) {
      inputs.emplace_back();
      continue;
    }
    Value value = graph.value(id);
    if (!value.constant) {
      return node_error(node, Code::kInternal, text("Input '", value.name, "' is not constant."),
                        "");
    }
    if (op->layout == LayoutRule::kChannelsLast && value.constant->shape().rank() >= 3) {
      return node_error(node, Code::kInternal, "The operator does not run on row-major tensors.",
                        "");
    }
    value.layout = Layout::kRowMajor;
    inputs.push_back(*value.constant);
    id = alone.add_value(std::move(value));
  }
  for (ValueId& id : copy.outputs) {
    if (id == kNoValue) continue;
    Value value;
    value.name = graph.value(id).name;
    value.quant = graph.value(id).quant;
    id = alone.add_value(std::move(value));
  }
  InferContext infer(alone, copy);
  OCTAVO_CHECK_OK(op->infer(infer));

  std::vector<Tensor> outputs;
  for (const ValueId id : copy.outputs) {
    if (id == kNoValue) {
      outputs.emplace_back();
      continue;
    }
    const Value& value = alone.value(id);
    const std::optional<Shape> largest = largest_shape(value);
    if (!largest || dtype_size(value.dtype) == 0) {
      return node_error(node, Code::kInternal,
                        text("The shape of '", value.name, "' is not known."), "");
    }
    outputs.push_back(Tensor::make(value.dtype, *largest));
  }

  const kernels::Policy policy{.engine = simd::EngineClass::kNone, .level = simd::Level::kScalar};
  OCTAVO_TRY(const Step step, op->prepare(PrepareContext(alone, copy, policy)));
  if (macs_left != nullptr) {
    const std::int64_t work = std::max(step.macs, step.rounds);
    if (work > *macs_left) {
      return node_error(node, Code::kLimitExceeded,
                        text("It takes ", work, " products; ", *macs_left, " are left."), "");
    }
    *macs_left -= work;
  }

  // Steps may read a little past a buffer (StepArgs): the inputs are copied into tensors with
  // slack.
  std::vector<const std::byte*> in;
  for (Tensor& input : inputs) {
    if (input.dtype() != DType::kUndefined) {
      Tensor padded = Tensor::make(input.dtype(), input.shape());
      if (input.bytes() > 0) std::memcpy(padded.mutable_data(), input.data(), input.bytes());
      input = std::move(padded);
    }
    in.push_back(input.data());
  }
  std::vector<std::byte*> out;
  for (Tensor& output : outputs) out.push_back(output.mutable_data());
  const Tensor scratch =
      Tensor::make(DType::kUint8, Shape{static_cast<std::int64_t>(step.scratch_bytes) + 64});
  auto address = reinterpret_cast<std::uintptr_t>(scratch.data());
  address = (address + 63) & ~std::uintptr_t{63};
  step.run({in, out, reinterpret_cast<std::byte*>(address)}, 0, step.blocks);
  if (step.status != nullptr) OCTAVO_CHECK_OK(*step.status);
  if (step.count != nullptr) {
    const Value& value = alone.value(copy.outputs[0]);
    Tensor counted = Tensor::make(value.dtype, counted_shape(value, *step.count));
    if (counted.bytes() > 0) std::memcpy(counted.mutable_data(), out[0], counted.bytes());
    outputs[0] = std::move(counted);
  }
  return outputs;
}

}  // namespace octavo::ops
