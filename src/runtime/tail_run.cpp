#include "runtime/tail_run.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

namespace octavo::runtime {

TailRun::TailRun(Tail tail, Graph& head, const SessionOptions& options)
    : tail_(std::move(tail)), options_(options) {
  const auto find = [&](const std::vector<ValueId>& ids, const std::string& name) {
    const auto it = std::find_if(ids.begin(), ids.end(),
                                 [&](ValueId id) { return head.value(id).name == name; });
    return it == ids.end() ? kNoValue : *it;
  };
  for (const ValueId id : tail_.graph.inputs) {
    const std::string& name = tail_.graph.value(id).name;
    const ValueId made = find(head.outputs, name);
    inputs_.push_back(
        {made == kNoValue ? find(head.inputs, name) : made, id,
         std::find(tail_.decisive.begin(), tail_.decisive.end(), name) != tail_.decisive.end()});
  }
  for (const ValueId id : tail_.graph.outputs) {
    const Value& value = tail_.graph.value(id);
    Value result;
    result.name = value.name;
    result.dtype = value.dtype;
    result.shape = value.shape;
    results_.push_back(head.add_value(std::move(result)));
  }
  std::vector<ValueId> outputs;
  for (const std::string& name : tail_.outputs) {
    const ValueId made = find(results_, name);
    outputs.push_back(made == kNoValue ? find(head.outputs, name) : made);
  }
  head.outputs = std::move(outputs);
}

Status TailRun::begin(const Graph& head, const std::vector<std::byte*>& memory) {
  const auto bytes = [&](const Link& link) -> const std::byte* {
    const Value& value = head.value(link.head);
    return value.is_constant() ? value.constant->data()
                               : memory[static_cast<std::size_t>(link.head)];
  };
  // What the plan is for: the shapes, and decisive values.
  std::vector<std::int64_t> wanted;
  const auto known = [&](const Link& link) {
    Tensor tensor = Tensor::make(head.value(link.head).dtype, *head.value(link.head).shape);
    if (tensor.bytes() > 0) std::memcpy(tensor.mutable_data(), bytes(link), tensor.bytes());
    return tensor;
  };
  for (const Link& link : inputs_) {
    for (const std::int64_t dim : *head.value(link.head).shape) wanted.push_back(dim);
    if (!link.decisive) continue;
    const Tensor tensor = known(link);
    for (std::size_t i = 0; i < tensor.bytes(); ++i)
      wanted.push_back(static_cast<std::int64_t>(tensor.data()[i]));
  }
  if (!session_ || wanted != planned_for_) {
    session_.reset();
    Graph graph = tail_.graph;
    graph.inputs.clear();
    for (const Link& link : inputs_) {
      Value& value = graph.value(link.tail);
      value.shape = head.value(link.head).shape;
      if (link.decisive) {
        value.constant = known(link);
      } else {
        graph.inputs.push_back(link.tail);
      }
    }
    OCTAVO_TRY(Session session, tail_.plan(std::move(graph), options_, tail_.depth));
    session_.emplace(std::move(session));
    planned_for_ = std::move(wanted);
  }
  std::size_t i = 0;
  for (const Link& link : inputs_) {
    if (link.decisive) continue;
    const std::span<std::byte> to = session_->input(i++);
    if (!to.empty()) std::memcpy(to.data(), bytes(link), to.size());
  }
  return ok_status();
}

void TailRun::end(Graph& head) const {
  for (std::size_t i = 0; i < results_.size(); ++i) {
    std::optional<Shape>& shape = head.value(results_[i]).shape;
    shape.reset();
    if (session_) shape = session_->graph().value(session_->graph().outputs[i]).shape;
  }
}

std::optional<std::span<const std::byte>> TailRun::result(ValueId id) const {
  const auto it = std::find(results_.begin(), results_.end(), id);
  if (it == results_.end()) return std::nullopt;
  if (!session_) return std::span<const std::byte>();
  return session_->output(static_cast<std::size_t>(it - results_.begin()));
}

}  // namespace octavo::runtime
