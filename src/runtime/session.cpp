#include "runtime/session.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>

#include "base/clock.h"
#include "base/text.h"
#include "runtime/plan.h"
#include "runtime/tail_run.h"

namespace octavo::runtime {

namespace {
constexpr int kNone = -1;

struct ArenaDelete {
  void operator()(std::byte* bytes) const {
    ::operator delete (bytes, std::align_val_t{kArenaAlignment});
  }
};
using Arena = std::unique_ptr<std::byte, ArenaDelete>;

Arena make_arena(std::size_t bytes) {
  Arena arena(static_cast<std::byte*>(::operator new (bytes, std::align_val_t{kArenaAlignment})));
  std::memset(arena.get(), 0, bytes);
  return arena;
}

// Of a shape that is known, or that has come out so.
std::size_t bytes_of(const Value& value) {
  return value.shape && value.shape->known()
             ? static_cast<std::size_t>(value.shape->elements()) * dtype_size(value.dtype)
             : 0;
}
// What a plan has to keep room for.
std::size_t most_bytes(const Value& value) {
  return static_cast<std::size_t>(largest_shape(value)->elements()) * dtype_size(value.dtype);
}

struct ReadyStep {
  ops::Step step;
  bool skipped = false;  // an alias whose output shares its input's memory
  std::vector<const std::byte*> in;
  std::vector<std::byte*> out;
  std::vector<const std::byte*> out_view;  // the same, for the callback; null for a part
  std::int64_t out_pixel_bytes = 0;        // StepArgs
  double milliseconds = 0;
};

// The pieces that a thread's share of a step is worth cutting into; 0 where handing the step over
// to other threads would take as long as doing it.
int pieces_of(const Graph& graph, std::size_t step, std::int64_t macs, std::int64_t rounds,
              int threads) {
  // What slow kernels and memory do in a microsecond, so that these are microseconds at most.
  constexpr std::int64_t kMacs = 40'000;
  constexpr std::size_t kBytes = 12'000;
  constexpr std::int64_t kRounds = 500;
  constexpr std::int64_t kShared = 4;
  constexpr std::int64_t kLeastPiece = 4;
  std::size_t bytes = 0;
  const auto add = [&](ValueId id) {
    if (id != kNoValue) bytes += most_bytes(graph.value(id));
  };
  for (const ValueId id : graph.nodes[step].inputs) add(id);
  for (const ValueId id : graph.nodes[step].outputs) add(id);
  const std::int64_t time =
      std::max({macs / kMacs, static_cast<std::int64_t>(bytes / kBytes), rounds / kRounds});
  if (time < kShared) return 0;
  int pieces = 1;  // the last one has 1 / 2^(pieces - 1) of a share
  while (pieces < kMostPieces && time / threads >> pieces >= kLeastPiece) ++pieces;
  return pieces;
}

// The blocks of a step that run_some() does at once: some ten milliseconds of one that takes
// longer.
int blocks_at_once(const ops::Step& step) {
  constexpr std::int64_t kMacs = 400'000'000;
  constexpr std::int64_t kRounds = 2'000'000;
  const std::int64_t pieces = std::max(step.macs / kMacs, step.rounds / kRounds) + 1;
  return static_cast<int>(std::max<std::int64_t>(1, step.blocks / pieces));
}

// A value that its maker writes into the memory of a concatenation.
struct Part {
  ValueId whole = kNoValue;
  std::int64_t at = 0;  // bytes into a pixel
};

// Which values share a buffer, and how long each buffer lives.
class Buffers {
 public:
  Buffers(const Graph& graph, const std::vector<ReadyStep>& steps, bool keep_values,
          bool keep_inputs)
      : graph_(graph),
        group_(graph.values.size(), kNone),
        constant_(graph.values.size(), kNoValue),
        part_(graph.values.size()) {
    for (const ValueId id : graph.inputs) {
      if (group_[index(id)] == kNone) group_[index(id)] = add(id, 0);
    }
    if (!keep_values) find_parts(steps);
    make_groups(steps);
    find_last_uses(keep_inputs);
    if (!keep_values) merge_in_place(steps);
  }

  // The buffer of a value; kNone for constants and absent values.
  int buffer(ValueId id) const { return id == kNoValue ? kNone : group_[index(id)]; }
  // For a value that is an alias of a constant: that constant; otherwise kNoValue.
  ValueId constant(ValueId id) const { return constant_[index(id)]; }
  const Part& part(ValueId id) const { return part_[index(id)]; }
  const std::vector<Lifetime>& lifetimes() const { return lifetimes_; }

 private:
  static std::size_t index(ValueId id) { return static_cast<std::size_t>(id); }

  int add(ValueId id, int step) {
    lifetimes_.push_back({most_bytes(graph_.value(id)), step, step});
    return static_cast<int>(lifetimes_.size()) - 1;
  }

  // What only a concatenation reads is made where that would copy it to, where its maker can.
  void find_parts(const std::vector<ReadyStep>& steps) {
    std::vector<int> uses(graph_.values.size(), 0);
    std::vector<bool> fits(graph_.values.size(), false);
    for (std::size_t i = 0; i < steps.size(); ++i) {
      const Node& node = graph_.nodes[i];
      for (const ValueId id : node.inputs) {
        if (id != kNoValue) uses[index(id)] += 1;
      }
      if (steps[i].step.writes_part && node.output(0) != kNoValue)
        fits[index(node.outputs[0])] = true;
    }
    for (const ValueId id : graph_.outputs) uses[index(id)] += 1;
    for (std::size_t i = 0; i < steps.size(); ++i) {
      const Node& node = graph_.nodes[i];
      if (node.output(0) == kNoValue) continue;
      for (std::size_t k = 0; k < steps[i].step.parts.size(); ++k) {
        const ValueId id = node.inputs[k];
        const std::int64_t at = steps[i].step.parts[k];
        if (at >= 0 && fits[index(id)] && uses[index(id)] == 1)
          part_[index(id)] = {node.outputs[0], at};
      }
    }
  }

  // One buffer a value; aliases join the buffer of the value whose bytes they have.
  void make_groups(const std::vector<ReadyStep>& steps) {
    for (std::size_t i = 0; i < steps.size(); ++i) {
      const Node& node = graph_.nodes[i];
      for (std::size_t k = 0; k < node.outputs.size(); ++k) {
        const ValueId out = node.outputs[k];
        if (out == kNoValue || group_[index(out)] != kNone) continue;
        if (const ValueId whole = part_[index(out)].whole; whole != kNoValue) {
          int& group = group_[index(whole)];
          if (group == kNone) group = add(whole, static_cast<int>(i));
          group_[index(out)] = group;
          continue;
        }
        const std::optional<int> alias = k == 0 ? steps[i].step.alias : std::nullopt;
        const ValueId source = alias ? node.input(static_cast<std::size_t>(*alias)) : kNoValue;
        if (source != kNoValue &&
            most_bytes(graph_.value(source)) == most_bytes(graph_.value(out))) {
          group_[index(out)] = group_[index(source)];
          constant_[index(out)] =
              graph_.value(source).is_constant() ? source : constant_[index(source)];
        } else {
          group_[index(out)] = add(out, static_cast<int>(i));
        }
      }
    }
  }

  void find_last_uses(bool keep_inputs) {
    const auto use = [&](ValueId id, int step) {
      if (const int buffer = this->buffer(id); buffer != kNone) {
        int& last = lifetimes_[static_cast<std::size_t>(buffer)].last;
        last = std::max(last, step);
      }
    };
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
      for (const ValueId id : graph_.nodes[i].inputs) use(id, static_cast<int>(i));
      for (const ValueId id : graph_.nodes[i].outputs) use(id, static_cast<int>(i));
    }
    for (const ValueId id : graph_.outputs) use(id, static_cast<int>(graph_.nodes.size()));
    if (!keep_inputs) return;
    for (const ValueId id : graph_.inputs) use(id, static_cast<int>(graph_.nodes.size()));
  }

  // An output takes the place of the input that dies with its step, where the step allows it.
  void merge_in_place(const std::vector<ReadyStep>& steps) {
    std::vector<int> merged_into(lifetimes_.size());
    for (std::size_t i = 0; i < merged_into.size(); ++i) merged_into[i] = static_cast<int>(i);
    for (std::size_t i = 0; i < steps.size(); ++i) {
      const Node& node = graph_.nodes[i];
      if (!steps[i].step.in_place || node.output(0) == kNoValue) continue;
      const ValueId in = node.input(static_cast<std::size_t>(*steps[i].step.in_place));
      if (buffer(in) == kNone || buffer(node.outputs[0]) == kNone) continue;
      const int from = merged_into[static_cast<std::size_t>(buffer(in))];
      const int own = buffer(node.outputs[0]);
      if (from == merged_into[static_cast<std::size_t>(own)]) continue;
      Lifetime& place = lifetimes_[static_cast<std::size_t>(from)];
      const Lifetime& out = lifetimes_[static_cast<std::size_t>(own)];
      if (place.last != static_cast<int>(i) || place.bytes != out.bytes) continue;
      // Another view of the same memory may be read in another order.
      const bool read_elsewhere =
          std::any_of(node.inputs.begin(), node.inputs.end(), [&](ValueId id) {
            return id != in && buffer(id) != kNone &&
                   merged_into[static_cast<std::size_t>(buffer(id))] == from;
          });
      if (read_elsewhere) continue;
      place.last = out.last;
      merged_into[static_cast<std::size_t>(own)] = from;
    }
    // Drop the buffers that have gone into others.
    std::vector<int> renumbered(lifetimes_.size(), kNone);
    std::size_t kept = 0;
    for (std::size_t i = 0; i < lifetimes_.size(); ++i) {
      if (merged_into[i] != static_cast<int>(i)) continue;
      renumbered[i] = static_cast<int>(kept);
      lifetimes_[kept++] = lifetimes_[i];
    }
    lifetimes_.resize(kept);
    for (int& group : group_) {
      if (group != kNone) {
        group = renumbered[static_cast<std::size_t>(merged_into[static_cast<std::size_t>(group)])];
      }
    }
  }

  const Graph& graph_;
  std::vector<int> group_;         // by value
  std::vector<ValueId> constant_;  // by value
  std::vector<Part> part_;         // by value
  std::vector<Lifetime> lifetimes_;
};

// What the contract promises of the graph; a graph that breaks it would read or write out of
// bounds.
Status check(const Graph& graph) {
  for (const Value& value : graph.values) {
    if (value.is_constant() && value.layout != Layout::kRowMajor) {
      return Error{Code::kInternal, "A constant is not row-major.", describe(value), "", {}};
    }
  }
  const auto known = [&](ValueId id, const std::string& where) -> Status {
    if (id == kNoValue) return ok_status();
    const Value& value = graph.value(id);
    if (!largest_shape(value) || dtype_size(value.dtype) == 0) {
      return Error{Code::kDynamicDimension,
                   text("The shape or type of ", describe(value), " is not known."),
                   where,
                   "Give the shapes of the model's inputs.",
                   {}};
    }
    return ok_status();
  };
  std::vector<bool> made(graph.values.size(), false);
  for (std::size_t i = 0; i < graph.values.size(); ++i) made[i] = graph.values[i].is_constant();
  for (const ValueId id : graph.inputs) {
    OCTAVO_CHECK_OK(known(id, text("input '", graph.value(id).name, "'")));
    if (graph.value(id).is_constant())
      return Error{Code::kInternal, "An input is a constant.", describe(graph.value(id)), "", {}};
    made[static_cast<std::size_t>(id)] = true;
  }
  for (const Node& node : graph.nodes) {
    for (const ValueId id : node.inputs) {
      OCTAVO_CHECK_OK(known(id, describe(node)));
      if (id != kNoValue && graph.value(id).counted) {
        return Error{Code::kDynamicDimension,
                     "It reads a result whose size depends on the data.",
                     describe(node),
                     "What follows such a result is a graph of its own (Tail).",
                     {}};
      }
      if (id != kNoValue && !made[static_cast<std::size_t>(id)]) {
        return Error{Code::kMissingInitializer,
                     text("Nothing makes ", describe(graph.value(id)), "."),
                     describe(node),
                     "",
                     {}};
      }
    }
    for (const ValueId id : node.outputs) {
      OCTAVO_CHECK_OK(known(id, describe(node)));
      if (id == kNoValue) continue;
      if (made[static_cast<std::size_t>(id)]) {
        return Error{Code::kInvalidModel,
                     text("Made twice: ", describe(graph.value(id)), "."),
                     describe(node),
                     "",
                     {}};
      }
      made[static_cast<std::size_t>(id)] = true;
    }
  }
  const auto border = [&](ValueId id) -> Status {
    const Value& value = graph.value(id);
    OCTAVO_CHECK_OK(known(id, text("output '", value.name, "'")));
    if (!made[static_cast<std::size_t>(id)]) {
      return Error{
          Code::kMissingInitializer, text("Nothing makes ", describe(value), "."), "", "", {}};
    }
    if (value.layout != Layout::kRowMajor) {
      return Error{
          Code::kInternal, "An input or output is not row-major.", describe(value), "", {}};
    }
    return ok_status();
  };
  for (const ValueId id : graph.inputs) OCTAVO_CHECK_OK(border(id));
  for (const ValueId id : graph.outputs) OCTAVO_CHECK_OK(border(id));
  return ok_status();
}
}  // namespace

struct Session::Impl {
  Graph graph;
  std::vector<ReadyStep> steps;
  std::vector<std::byte*> memory;  // by value; null where it has no memory of its own that lasts
  std::vector<bool> lasting;       // by value: readable after run()
  Arena arena, scratch;
  std::size_t arena_bytes = 0, bound_bytes = 0, packed_bytes = 0, shared_bytes = 0,
              scratch_stride = 0;
  ThreadPool* pool = nullptr;
  std::vector<ThreadPool::Stage> stages;  // by step
  std::function<void(NodeId, std::span<const std::byte* const>)> callback;
  std::size_t cursor = 0;            // the next step of run_some()
  int next_block = 0;                // and its next block
  std::vector<std::size_t> counted;  // steps whose output 0 is counted
  std::vector<int> open_axes;        // and of each the axis that a run closes
  std::optional<TailRun> tail;
  bool in_tail = false;  // of run_some()
  Status status = ok_status();

  // A constant's bytes; never null, as steps take null for "absent".
  const std::byte* constant_bytes(ValueId id) const {
    const std::byte* data = graph.value(id).constant->data();
    return data != nullptr ? data : arena.get();
  }

  Status prepare(const SessionOptions& options, std::unique_ptr<Tail> tail_graph);
  bool begin_tail();
  void assign_memory(const Buffers& buffers, const Plan& plan, bool keep_values);

  // Steps [first, first + count), and the callback after each where there is one.
  void run_steps(std::size_t first, std::size_t count) {
    if (callback) {
      for (std::size_t i = first; i < first + count; ++i) {
        walk(i, 1);
        callback(static_cast<NodeId>(i), steps[i].out_view);
      }
    } else {
      walk(first, count);
    }
    close_counted();
  }

  // More than run_some() does at once.
  bool is_long(std::size_t step) const {
    return blocks_at_once(steps[step].step) < stages[step].blocks;
  }
  // The next blocks of the step at the cursor; true when it is done.
  bool run_blocks() {
    ThreadPool::Stage stage = stages[cursor];
    const int first = next_block;
    stage.blocks = std::min(blocks_at_once(steps[cursor].step), stage.blocks - first);
    walk(std::span(&stage, 1), cursor, first);
    next_block = first + stage.blocks;
    if (next_block < stages[cursor].blocks) return false;
    next_block = 0;
    if (callback) callback(static_cast<NodeId>(cursor), steps[cursor].out_view);
    close_counted();
    return true;
  }
  void restart() {
    cursor = 0;
    next_block = 0;
    in_tail = false;
  }

  void close_counted() {
    for (std::size_t k = 0; k < counted.size(); ++k) {
      Shape& shape = *graph.value(graph.nodes[counted[k]].outputs[0]).shape;
      shape[open_axes[k]] = *steps[counted[k]].step.count;
    }
  }

  const Session* tail_session() const { return tail ? tail->session() : nullptr; }

 private:
  void walk(std::size_t first, std::size_t count) {
    walk(std::span(stages).subspan(first, count), first, 0);
  }
  // Stages of steps from `first` on; their blocks are counted from `block`.
  void walk(std::span<const ThreadPool::Stage> of_steps, std::size_t first, int block) {
    struct Context {
      const Impl* impl;
      std::size_t first;
      int block;
    } context{this, first, block};
    pool->run(
        of_steps,
        [](void* opaque, int stage, int first_block, int last_block, int thread) {
          const auto& [impl, first_step, offset] = *static_cast<Context*>(opaque);
          const ReadyStep& ready = impl->steps[first_step + static_cast<std::size_t>(stage)];
          // Blocks in order find what those before have left there, whichever thread did them.
          std::byte* own =
              impl->scratch.get() +
              (ready.step.ordered ? 0 : static_cast<std::size_t>(thread)) * impl->scratch_stride;
          ready.step.run({ready.in, ready.out, own, ready.out_pixel_bytes}, offset + first_block,
                         offset + last_block);
        },
        &context);
  }
};

namespace {
// Constants are mostly views of a model's file, and steps pack most of them. Each goes when the
// last step that might read it has packed it, before the next one packs its own; small ones that
// are read become copies, so that the file can go with its model.
class Constants {
 public:
  explicit Constants(Graph& graph) : graph_(graph), readers_(graph.values.size(), 0) {
    for (const Node& node : graph.nodes) {
      for (const ValueId id : node.inputs) readers_of(id) += 1;
    }
    for (const ValueId id : graph.outputs) readers_of(id) += 1;
    for (std::size_t i = 0; i < readers_.size(); ++i) let_go(static_cast<ValueId>(i));
  }
  void packed_by(const Node& node) {
    for (const ValueId id : node.inputs) {
      if (id == kNoValue) continue;
      readers_of(id) -= 1;
      let_go(id);
    }
  }
  void copy_small() {
    constexpr std::size_t kSmall = 64 * 1024;
    for (Value& value : graph_.values) {
      if (!value.constant || value.constant->data() == nullptr || value.constant->bytes() > kSmall)
        continue;
      Tensor copy = Tensor::make(value.constant->dtype(), value.constant->shape());
      std::memcpy(copy.mutable_data(), value.constant->data(), copy.bytes());
      value.constant = std::move(copy);
    }
  }

 private:
  int& readers_of(ValueId id) {
    return id == kNoValue ? none_ : readers_[static_cast<std::size_t>(id)];
  }
  void let_go(ValueId id) {
    std::optional<Tensor>& constant = graph_.value(id).constant;
    if (constant && readers_of(id) == 0)
      constant = Tensor::view(constant->dtype(), constant->shape(), nullptr);
  }

  Graph& graph_;
  std::vector<int> readers_;  // by value: inputs of steps that may read it, and outputs
  int none_ = 0;
};
}  // namespace

Status Session::Impl::prepare(const SessionOptions& options, std::unique_ptr<Tail> tail_graph) {
  std::vector<Error> findings;
  std::size_t scratch_bytes = 0;
  std::optional<Constants> constants;
  if (!options.keep_values) constants.emplace(graph);
  for (const Node& node : graph.nodes) {
    const ops::OpDef* op = ops::find_op(node);
    if (op == nullptr) {
      findings.push_back({Code::kUnsupportedOp,
                          text("The operator ", node.op, " is not supported."),
                          describe(node),
                          "",
                          {}});
      continue;
    }
    Result<ops::Step> step =
        op->prepare(ops::PrepareContext(graph, node, options.policy, options.weights.get()));
    if (!step.ok()) {
      findings.push_back(std::move(step).error());
      continue;
    }
    if (constants && step->holds_constants) constants->packed_by(node);
    packed_bytes += step->packed_bytes;
    shared_bytes += step->shared_bytes;
    scratch_bytes = std::max(scratch_bytes, step->scratch_bytes);
    ReadyStep ready;
    ready.step = std::move(*step);
    steps.push_back(std::move(ready));
  }
  if (!findings.empty()) return combine(std::move(findings));
  if (constants) constants->copy_small();

  const Buffers buffers(graph, steps, options.keep_values, tail_graph != nullptr);
  const Plan plan =
      options.keep_values ? plan_apart(buffers.lifetimes()) : plan_memory(buffers.lifetimes());
  pool = options.pool != nullptr ? options.pool : &default_pool();
  const auto threads = static_cast<std::uint64_t>(pool->threads());
  const std::uint64_t scratch_of_thread = round_up(scratch_bytes + kArenaSlack);
  const std::uint64_t needed =
      packed_bytes + plan.bytes + kArenaSlack + scratch_of_thread * threads;
  if (options.memory_limit != 0 && needed > options.memory_limit) {
    return Error{Code::kLimitExceeded,
                 text("The session needs ", needed, " bytes (", packed_bytes, " for weights, ",
                      plan.bytes, " for activations); the limit is ", options.memory_limit, "."),
                 "",
                 "Raise the memory limit, or give a smaller input shape.",
                 {}};
  }
  if (needed > std::numeric_limits<std::size_t>::max() / 2) {
    return Error{Code::kOutOfMemory,
                 text("The session needs ", needed, " bytes, more than this machine can address."),
                 "",
                 "Give a smaller input shape.",
                 {}};
  }
  bound_bytes = static_cast<std::size_t>(lower_bound(buffers.lifetimes()));
  arena_bytes = static_cast<std::size_t>(plan.bytes);
  scratch_stride = static_cast<std::size_t>(scratch_of_thread);
  arena = make_arena(arena_bytes + kArenaSlack);
  scratch = make_arena(scratch_stride * static_cast<std::size_t>(threads));
  assign_memory(buffers, plan, options.keep_values);
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const ReadyStep& ready = steps[i];
    if (ready.step.count != nullptr && graph.nodes[i].output(0) != kNoValue) {
      const Shape& shape = *graph.value(graph.nodes[i].outputs[0]).shape;
      counted.push_back(i);
      open_axes.push_back(
          static_cast<int>(std::find(shape.begin(), shape.end(), kUnknownDim) - shape.begin()));
    }
    stages.push_back({ready.skipped ? 0 : ready.step.blocks,
                      ready.step.ordered ? 0
                                         : pieces_of(graph, i, ready.step.macs, ready.step.rounds,
                                                     static_cast<int>(threads))});
  }
  if (tail_graph != nullptr) {
    SessionOptions own = options;
    if (own.memory_limit != 0)
      own.memory_limit =
          std::max<std::size_t>(own.memory_limit - static_cast<std::size_t>(needed), 1);
    tail.emplace(std::move(*tail_graph), graph, own);
  }
  return ok_status();
}

// True where there is a tail, now planned for what has come out.
bool Session::Impl::begin_tail() {
  status = ok_status();
  for (const ReadyStep& ready : steps) {
    if (status.ok() && ready.step.status != nullptr) status = *ready.step.status;
  }
  if (!tail) return false;
  if (status.ok()) status = tail->begin(graph, memory);
  if (!status.ok()) tail->end(graph);
  return status.ok();
}

void Session::Impl::assign_memory(const Buffers& buffers, const Plan& plan, bool keep_values) {
  memory.assign(graph.values.size(), nullptr);
  lasting.assign(graph.values.size(), keep_values);
  for (std::size_t i = 0; i < graph.values.size(); ++i) {
    const int buffer = buffers.buffer(static_cast<ValueId>(i));
    if (buffer != kNone) {
      memory[i] = arena.get() +
                  static_cast<std::ptrdiff_t>(plan.offsets[static_cast<std::size_t>(buffer)]) +
                  static_cast<std::ptrdiff_t>(buffers.part(static_cast<ValueId>(i)).at);
    }
  }
  for (const ValueId id : graph.inputs) lasting[static_cast<std::size_t>(id)] = true;
  for (const ValueId id : graph.outputs) lasting[static_cast<std::size_t>(id)] = true;

  for (std::size_t i = 0; i < steps.size(); ++i) {
    const Node& node = graph.nodes[i];
    ReadyStep& ready = steps[i];
    for (const ValueId id : node.inputs) {
      if (id == kNoValue) {
        ready.in.push_back(nullptr);
      } else if (graph.value(id).is_constant()) {
        ready.in.push_back(constant_bytes(id));
      } else if (buffers.constant(id) != kNoValue) {
        ready.in.push_back(constant_bytes(buffers.constant(id)));
      } else {
        ready.in.push_back(memory[static_cast<std::size_t>(id)]);
      }
    }
    for (const ValueId id : node.outputs) {
      std::byte* bytes = id == kNoValue ? nullptr : memory[static_cast<std::size_t>(id)];
      ready.out.push_back(bytes);
      const bool aliased = id != kNoValue && buffers.constant(id) != kNoValue;
      const ValueId whole = id == kNoValue ? kNoValue : buffers.part(id).whole;
      if (whole != kNoValue) {
        const Value& value = graph.value(whole);
        ready.out_pixel_bytes =
            (*value.shape)[1] * static_cast<std::int64_t>(dtype_size(value.dtype));
        bytes = nullptr;
      }
      ready.out_view.push_back(aliased ? constant_bytes(buffers.constant(id)) : bytes);
    }
    if (!node.outputs.empty() && ready.step.alias) {
      const std::byte* source = ready.in[static_cast<std::size_t>(*ready.step.alias)];
      ready.skipped = source == ready.out_view[0];
    }
  }
  // An alias of a constant is read like the constant itself.
  for (std::size_t i = 0; i < graph.values.size(); ++i) {
    const ValueId source = buffers.constant(static_cast<ValueId>(i));
    if (source != kNoValue) memory[i] = const_cast<std::byte*>(constant_bytes(source));
  }
}

namespace {
std::unique_ptr<ThreadPool>& process_pool() {
  static std::unique_ptr<ThreadPool> pool = std::make_unique<ThreadPool>(1);
  return pool;
}
}  // namespace

ThreadPool& default_pool() { return *process_pool(); }
void set_default_threads(int threads, bool caller_sleeps) {
  process_pool() = std::make_unique<ThreadPool>(threads, caller_sleeps);
}

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

Result<Session> Session::create(Graph graph, const SessionOptions& options,
                                std::unique_ptr<Tail> tail) {
  OCTAVO_CHECK_OK(check(graph));
  auto impl = std::make_unique<Impl>();
  impl->graph = std::move(graph);
  OCTAVO_CHECK_OK(impl->prepare(options, std::move(tail)));
  return Session(std::move(impl));
}

const Graph& Session::graph() const { return impl_->graph; }

std::span<std::byte> Session::input(std::size_t i) {
  // What is written belongs to a new run; one that was given up half way is not gone on with.
  impl_->restart();
  impl_->pool->wake();  // helpers get up while the input is written
  const ValueId id = impl_->graph.inputs[i];
  return {impl_->memory[static_cast<std::size_t>(id)], bytes_of(impl_->graph.value(id))};
}

std::span<const std::byte> Session::output(std::size_t i) const {
  return value(impl_->graph.outputs[i]);
}

std::span<const std::byte> Session::value(ValueId id) const {
  const Value& value = impl_->graph.value(id);
  if (value.is_constant()) {
    const std::byte* data = value.constant->data();
    return {data, data == nullptr ? 0 : value.constant->bytes()};
  }
  if (impl_->tail) {
    if (const auto result = impl_->tail->result(id)) return *result;
  }
  const auto index = static_cast<std::size_t>(id);
  if (!impl_->lasting[index] || impl_->memory[index] == nullptr) return {};
  return {impl_->memory[index], bytes_of(value)};
}

void Session::run() {
  impl_->restart();
  impl_->run_steps(0, impl_->steps.size());
  if (!impl_->begin_tail()) return;
  impl_->tail->session()->run();
  impl_->tail->end(impl_->graph);
}

bool Session::run_some(int max_steps) {
  if (impl_->in_tail) {
    impl_->in_tail = impl_->tail->session()->run_some(max_steps);
    if (!impl_->in_tail) impl_->tail->end(impl_->graph);
    return impl_->in_tail;
  }
  const std::size_t most = std::min(static_cast<std::size_t>(std::max(max_steps, 0)),
                                    impl_->steps.size() - impl_->cursor);
  if (most > 0 && impl_->is_long(impl_->cursor)) {
    impl_->cursor += impl_->run_blocks() ? 1 : 0;
  } else {
    std::size_t count = 0;
    while (count < most && !impl_->is_long(impl_->cursor + count)) ++count;
    impl_->run_steps(impl_->cursor, count);
    impl_->cursor += count;
  }
  if (impl_->cursor < impl_->steps.size()) return true;
  impl_->cursor = 0;
  impl_->in_tail = impl_->begin_tail();
  return impl_->in_tail;
}

void Session::run_profiled() {
  impl_->restart();
  for (std::size_t i = 0; i < impl_->steps.size(); ++i) {
    const double start = milliseconds_now();
    impl_->run_steps(i, 1);
    impl_->steps[i].milliseconds = milliseconds_now() - start;
  }
  if (!impl_->begin_tail()) return;
  impl_->tail->session()->run_profiled();
  impl_->tail->end(impl_->graph);
}

const Status& Session::status() const {
  const Session* tail = impl_->tail_session();
  return impl_->status.ok() && tail != nullptr ? tail->status() : impl_->status;
}

void Session::on_step(std::function<void(NodeId, std::span<const std::byte* const>)> callback) {
  impl_->callback = std::move(callback);
}

std::vector<StepInfo> Session::steps() const {
  std::vector<StepInfo> infos;
  for (std::size_t i = 0; i < impl_->steps.size(); ++i) {
    const Node& node = impl_->graph.nodes[i];
    const ReadyStep& ready = impl_->steps[i];
    infos.push_back({node.name, node.op, ready.step.kernel, ready.step.macs, ready.milliseconds});
  }
  if (const Session* tail = impl_->tail_session()) {
    for (StepInfo& info : tail->steps()) infos.push_back(std::move(info));
  }
  return infos;
}

std::size_t Session::arena_bytes() const {
  const Session* tail = impl_->tail_session();
  return impl_->arena_bytes + (tail != nullptr ? tail->arena_bytes() : 0);
}
std::size_t Session::lower_bound_bytes() const {
  const Session* tail = impl_->tail_session();
  return impl_->bound_bytes + (tail != nullptr ? tail->lower_bound_bytes() : 0);
}
std::size_t Session::weight_bytes() const {
  const Session* tail = impl_->tail_session();
  return impl_->packed_bytes + (tail != nullptr ? tail->weight_bytes() : 0);
}
std::size_t Session::own_bytes() const {
  const Session* tail = impl_->tail_session();
  return impl_->arena_bytes +
         impl_->scratch_stride * static_cast<std::size_t>(impl_->pool->threads()) +
         impl_->packed_bytes - impl_->shared_bytes + (tail != nullptr ? tail->own_bytes() : 0);
}

}  // namespace octavo::runtime
