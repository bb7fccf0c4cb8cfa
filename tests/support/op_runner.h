// Runs one node by itself: infers, prepares and runs it on row-major tensors, in either memory
// layout.
#pragma once

#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "ops/op.h"

namespace octavo::test {

struct Operand {
  Tensor tensor;
  bool constant = false;
  std::optional<QuantParams> quant = std::nullopt;
};
inline Operand constant(Tensor tensor) { return {std::move(tensor), true, std::nullopt}; }
inline Operand constant_ints(const std::vector<std::int64_t>& values) {
  return constant(
      Tensor::of<std::int64_t>(Shape{static_cast<std::int64_t>(values.size())}, values));
}

struct OpRun {
  Layout layout = Layout::kRowMajor;  // of activations of rank >= 3
  std::size_t outputs = 1;
  std::optional<QuantParams> out_quant = std::nullopt;
  kernels::Policy policy{};
  std::string* kernel = nullptr;  // receives the name of the row that runs
};

// All coordinates of a shape, in row-major order.
inline void each_index(const Shape& shape,
                       const std::function<void(const std::vector<std::int64_t>&)>& body) {
  std::vector<std::int64_t> index(static_cast<std::size_t>(shape.rank()), 0);
  for (std::int64_t i = 0; i < shape.elements(); ++i) {
    body(index);
    for (std::size_t d = index.size(); d-- > 0;) {
      if (++index[d] < shape[static_cast<int>(d)]) break;
      index[d] = 0;
    }
  }
}

// Elements between the start and `index`, in the memory order of `layout`, by Horner's rule.
inline std::size_t offset_of(const Shape& shape, const std::vector<std::int64_t>& index,
                             Layout layout) {
  std::vector<std::size_t> order(index.size());
  for (std::size_t d = 0; d < order.size(); ++d) order[d] = d;
  if (layout == Layout::kChannelsLast && order.size() >= 3) {
    order.erase(order.begin() + 1);
    order.push_back(1);
  }
  std::size_t offset = 0;
  for (const std::size_t d : order) {
    offset = offset * static_cast<std::size_t>(shape[static_cast<int>(d)]) +
             static_cast<std::size_t>(index[d]);
  }
  return offset;
}

inline void reorder(const Shape& shape, std::size_t size, const std::byte* from, Layout from_layout,
                    std::byte* to, Layout to_layout) {
  each_index(shape, [&](const std::vector<std::int64_t>& index) {
    std::memcpy(to + offset_of(shape, index, to_layout) * size,
                from + offset_of(shape, index, from_layout) * size, size);
  });
}

inline Result<std::vector<Tensor>> run_op(Node node,
                                          const std::vector<std::optional<Operand>>& operands,
                                          const OpRun& how = {}) {
  Graph graph;
  node.name = "node";
  for (std::size_t i = 0; i < operands.size(); ++i) {
    if (!operands[i]) {
      node.inputs.push_back(kNoValue);
      continue;
    }
    Value value;
    value.name = "in" + std::to_string(i);
    value.dtype = operands[i]->tensor.dtype();
    value.shape = operands[i]->tensor.shape();
    value.quant = operands[i]->quant;
    if (operands[i]->constant) {
      value.constant = operands[i]->tensor;
    } else if (value.shape->rank() >= 3) {
      value.layout = how.layout;
    }
    node.inputs.push_back(graph.add_value(std::move(value)));
  }
  for (std::size_t i = 0; i < how.outputs; ++i) {
    Value value;
    value.name = "out" + std::to_string(i);
    value.quant = how.out_quant;
    node.outputs.push_back(graph.add_value(std::move(value)));
  }
  const ops::OpDef* op = ops::find_op(node);
  if (op == nullptr) return Error{Code::kUnsupportedOp, "There is no such op.", node.op, "", {}};
  ops::InferContext infer(graph, node);
  OCTAVO_CHECK_OK(op->infer(infer));
  const bool follows =
      op->layout == ops::LayoutRule::kFollow || op->layout == ops::LayoutRule::kChannelsLast;
  for (const ValueId id : node.outputs) {
    Value& value = graph.value(id);
    if (!largest_shape(value))
      return Error{Code::kDynamicDimension, "A shape is not known.", node.op, "", {}};
    if (follows && value.shape->rank() >= 3) value.layout = how.layout;
  }
  if (node.op == "ToChannelsLast") graph.value(node.outputs[0]).layout = Layout::kChannelsLast;
  OCTAVO_TRY(const ops::Step step, op->prepare(ops::PrepareContext(graph, node, how.policy)));
  if (how.kernel != nullptr) *how.kernel = step.kernel;

  // Guard bytes around every buffer; 16 readable ones behind inputs are part of the contract.
  constexpr std::size_t kGuard = 64;
  std::vector<std::vector<std::byte>> in_bytes, out_bytes;
  std::vector<const std::byte*> in;
  std::vector<std::byte*> out;
  for (std::size_t i = 0; i < operands.size(); ++i) {
    in_bytes.emplace_back();
    if (!operands[i]) {
      in.push_back(nullptr);
      continue;
    }
    const Tensor& tensor = operands[i]->tensor;
    in_bytes.back().resize(tensor.bytes() + kGuard);
    reorder(tensor.shape(), dtype_size(tensor.dtype()), tensor.data(), Layout::kRowMajor,
            in_bytes.back().data(), graph.value(node.inputs[i]).layout);
    in.push_back(in_bytes.back().data());
  }
  for (const ValueId id : node.outputs) {
    const Value& value = graph.value(id);
    out_bytes.emplace_back(
        static_cast<std::size_t>(largest_shape(value)->elements()) * dtype_size(value.dtype) +
            2 * kGuard,
        std::byte{0xA5});
    out.push_back(out_bytes.back().data() + kGuard);
  }
  std::vector<std::byte> scratch(step.scratch_bytes + kGuard);
  // Blocks are independent, last one first must do; or go on from each other.
  auto* aligned = reinterpret_cast<std::byte*>(
      (reinterpret_cast<std::uintptr_t>(scratch.data()) + 63) & ~std::uintptr_t{63});
  for (int i = 0; i < step.blocks; ++i) {
    const int block = step.ordered ? i : step.blocks - 1 - i;
    step.run({in, out, aligned}, block, block + 1);
  }
  // One thread may do them all at once.
  std::vector<std::vector<std::byte>> whole_bytes;
  std::vector<std::byte*> whole;
  for (const std::vector<std::byte>& bytes : out_bytes) {
    whole_bytes.emplace_back(bytes.size(), std::byte{0xA5});
    whole.push_back(whole_bytes.back().data() + kGuard);
  }
  step.run({in, whole, aligned}, 0, step.blocks);
  if (whole_bytes != out_bytes)
    return Error{Code::kInternal, "All blocks at once give something else.", node.op, "", {}};
  if (step.status != nullptr) OCTAVO_CHECK_OK(*step.status);

  std::vector<Tensor> results;
  for (std::size_t i = 0; i < node.outputs.size(); ++i) {
    const Value& value = graph.value(node.outputs[i]);
    for (std::size_t k = 0; k < kGuard; ++k) {
      if (out_bytes[i][k] != std::byte{0xA5} ||
          out_bytes[i][out_bytes[i].size() - 1 - k] != std::byte{0xA5}) {
        return Error{Code::kInternal, "The op wrote outside of its output.", node.op, "", {}};
      }
    }
    const Shape shape = value.counted ? counted_shape(value, *step.count) : *value.shape;
    Tensor result = Tensor::make(value.dtype, shape);
    reorder(shape, dtype_size(value.dtype), out[i], value.layout, result.mutable_data(),
            Layout::kRowMajor);
    results.push_back(std::move(result));
  }
  return results;
}

inline Node make_node(std::string op, std::vector<std::pair<std::string, Attr>> attrs = {},
                      std::string domain = "") {
  Node node;
  node.op = std::move(op);
  node.domain = std::move(domain);
  for (auto& [name, value] : attrs) node.attrs.set(name, std::move(value));
  return node;
}

// 0, 1, 2, ... in the given dtype (mod 251 for bytes).
inline Tensor counting(DType dtype, Shape shape) {
  Tensor tensor = Tensor::make(dtype, std::move(shape));
  const std::size_t size = dtype_size(dtype);
  for (std::int64_t i = 0; i < tensor.elements(); ++i) {
    std::byte* element = tensor.mutable_data() + static_cast<std::size_t>(i) * size;
    if (dtype == DType::kFloat32) {
      const auto value = static_cast<float>(i);
      std::memcpy(element, &value, size);
    } else if (size == 1) {
      *element = static_cast<std::byte>(i % 251);
    } else {
      std::memcpy(element, &i, size);  // little-endian integers
    }
  }
  return tensor;
}

// out[index] = in[source(index)], the specification of every op that only moves elements.
inline Tensor moved(
    const Tensor& in, Shape shape,
    const std::function<std::vector<std::int64_t>(const std::vector<std::int64_t>&)>& source) {
  Tensor out = Tensor::make(in.dtype(), std::move(shape));
  const std::size_t size = dtype_size(in.dtype());
  each_index(out.shape(), [&](const std::vector<std::int64_t>& index) {
    std::memcpy(out.mutable_data() + offset_of(out.shape(), index, Layout::kRowMajor) * size,
                in.data() + offset_of(in.shape(), source(index), Layout::kRowMajor) * size, size);
  });
  return out;
}

inline bool same(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         (a.bytes() == 0 || std::memcmp(a.data(), b.data(), a.bytes()) == 0);
}

}  // namespace octavo::test
