#include "runtime/tail_run.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

namespace octavo::runtime {

TailRun::TailRun(Tail tail, Graph& head, std::size_t memory_limit)
    : tail_(std::move(tail)), memory_limit_(memory_limit) {
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

Status TailRun::begin(const Graph& head,
                      const std::function<std::span<const std::byte>(ValueId)>& bytes) {
  std::vector<std::int64_t> wanted;
  for (const Link& link : inputs_) {
    const Shape& shape = *head.value(link.head).shape;
    wanted.insert(wanted.end(), shape.begin(), shape.end());
    if (!link.decisive) continue;
    for (const std::byte byte : bytes(link.head)) wanted.push_back(static_cast<std::int64_t>(byte));
  }
  if (!session_ || wanted != planned_for_) {
    session_.reset();
    Graph graph = tail_.graph;
    graph.inputs.clear();
    for (const Link& link : inputs_) {
      Value& value = graph.value(link.tail);
      value.shape = head.value(link.head).shape;
      if (link.decisive) {
        Tensor known = Tensor::make(value.dtype, *value.shape);
        if (known.bytes() > 0)
          std::memcpy(known.mutable_data(), bytes(link.head).data(), known.bytes());
        value.constant = std::move(known);
      } else {
        graph.inputs.push_back(link.tail);
      }
    }
    OCTAVO_TRY(Session session, tail_.plan(std::move(graph), memory_limit_));
    session_.emplace(std::move(session));
    planned_for_ = std::move(wanted);
  }
  std::size_t i = 0;
  for (const Link& link : inputs_) {
    if (link.decisive) continue;
    const std::span<const std::byte> from = bytes(link.head);
    if (!from.empty()) std::memcpy(session_->input(i).data(), from.data(), from.size());
    ++i;
  }
  return ok_status();
}

void TailRun::end(Graph& head, bool has_results) const {
  for (std::size_t i = 0; i < results_.size(); ++i) {
    Value& value = head.value(results_[i]);
    if (has_results) {
      value.shape = session_->graph().value(session_->graph().outputs[i]).shape;
    } else {
      value.shape.reset();
    }
  }
}

std::optional<std::span<const std::byte>> TailRun::result(ValueId id) const {
  const auto it = std::find(results_.begin(), results_.end(), id);
  if (it == results_.end()) return std::nullopt;
  if (!session_) return std::span<const std::byte>();
  return session_->output(static_cast<std::size_t>(it - results_.begin()));
}

}  // namespace octavo::runtime
