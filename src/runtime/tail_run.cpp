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
    sources_.push_back(made == kNoValue ? find(head.inputs, name) : made);
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
  // The inputs as they have come out; decisive ones are copied, to become constants.
  Graph graph = tail_.graph;
  graph.inputs.clear();
  std::vector<std::int64_t> wanted;  // what the plan is for: the shapes, and decisive values
  std::vector<const std::byte*> feeds;
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    const Value& source = head.value(sources_[i]);
    const std::byte* bytes = source.is_constant() ? source.constant->data()
                                                  : memory[static_cast<std::size_t>(sources_[i])];
    Value& value = graph.value(tail_.graph.inputs[i]);
    value.shape = source.shape;
    for (const std::int64_t dim : *source.shape) wanted.push_back(dim);
    if (!tail_.decisive.contains(value.name)) {
      graph.inputs.push_back(tail_.graph.inputs[i]);
      feeds.push_back(bytes);
      continue;
    }
    Tensor known = Tensor::make(value.dtype, *value.shape);
    for (std::size_t k = 0; k < known.bytes(); ++k) {
      known.mutable_data()[k] = bytes[k];
      wanted.push_back(static_cast<std::int64_t>(bytes[k]));
    }
    value.constant = std::move(known);
  }
  if (!session_ || wanted != planned_for_) {
    session_.reset();
    OCTAVO_TRY(Session session, tail_.plan(std::move(graph), options_, tail_.depth));
    session_.emplace(std::move(session));
    planned_for_ = std::move(wanted);
  }
  for (std::size_t i = 0; i < feeds.size(); ++i) {
    const std::span<std::byte> to = session_->input(i);
    if (!to.empty()) std::memcpy(to.data(), feeds[i], to.size());
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
