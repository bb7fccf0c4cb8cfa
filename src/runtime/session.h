// A graph made ready to run: a memory plan and a list of steps. `run` allocates nothing.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "graph/graph.h"
#include "kernels/policy.h"
#include "ops/op.h"
#include "ops/shared_weights.h"
#include "runtime/thread_pool.h"

namespace octavo::runtime {

// The pool of all sessions that name none: threads are the process's, not a session's. One thread,
// until a program says otherwise before it makes its first session. Sessions of one pool run one at
// a time.
ThreadPool& default_pool();
void set_default_threads(int threads, bool caller_sleeps = true);  // see ThreadPool

struct SessionOptions {
  kernels::Policy policy{};
  ThreadPool* pool = nullptr;  // outlives the session; null: default_pool()
  // Keeps every value in memory of its own, so that all can be read after run() (calibration,
  // comparison).
  bool keep_values = false;
  // Upper bound for plan + packed weights in bytes; 0: no bound of ours.
  std::size_t memory_limit = 0;
  // Where given, packed weights are shared with the other sessions that were made with it.
  std::shared_ptr<ops::SharedWeights> weights{};
};

struct StepInfo {
  std::string node, op;
  std::string_view kernel;
  std::int64_t macs;
  double milliseconds;  // of the last profiled run
};

class Session;

// What follows results whose size the data of a run decide: a graph that is planned when the
// session has run as far, and again when those results have come out in another size.
struct Tail {
  Graph graph;  // its inputs are the session's inputs and outputs of these names
  // Inputs whose values the plan depends on: they become constants of the graph.
  std::set<std::string> decisive;
  std::vector<std::string> outputs;  // all that the session has then, in order
  // A session of the graph, whose inputs have shapes by now; `depth` is handed to it.
  Result<Session> (*plan)(Graph graph, const SessionOptions& options, int depth);
  int depth = 0;
};

class Session {
 public:
  // Where keep_values is off, constants that steps have packed are let go, as is the file that they
  // lie in. `graph` is canonical, all shapes known, layouts assigned (passes/pipelines.h:
  // prepare_for_session). With a tail, the graph's outputs are those of its own and what the tail
  // reads; keep_values is of the graph before the tail.
  static Result<Session> create(Graph graph, const SessionOptions& options,
                                std::unique_ptr<Tail> tail = nullptr);

  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;
  ~Session();

  // An output whose size the data decide has an open dimension (or no shape at all) before the
  // first run, and after a run the shape that it has come out with.
  const Graph& graph() const;
  // Where to write input i / read output i (order of Graph::inputs / outputs), row-major, whole
  // tensor. Inputs are not kept by run(): write all of them before each run.
  std::span<std::byte> input(std::size_t i);
  std::span<const std::byte> output(std::size_t i) const;
  // Any value after run(); empty unless it is an input, an output, a constant that steps read, or
  // keep_values is on.
  // Bytes are in the value's layout.
  std::span<const std::byte> value(ValueId id) const;

  void run();
  // run() in pieces, for jobs that report progress and can be aborted: true while there is more to
  // do. A step that takes long is a piece by itself, or several: it is cut between its blocks.
  bool run_some(int max_steps);
  // Why the last run has no results: an index lies outside, or a tail could not be planned for what
  // has come out.
  const Status& status() const;
  void run_profiled();
  // Called after each step of run() with the step's node; for calibration without keep_values:
  // outputs are valid during the call; one that was made inside a concatenation of codes is null.
  // Pass nullptr to remove.
  void on_step(std::function<void(NodeId, std::span<const std::byte* const> outputs)> callback);

  std::vector<StepInfo> steps() const;
  // Of a tail, as it is planned now, too.
  std::size_t arena_bytes() const;  // activations, after planning
  std::size_t lower_bound_bytes()
      const;                         // largest sum of values alive at once: no plan can be smaller
  std::size_t weight_bytes() const;  // packed
  // Of activations, scratch and packed weights what no session made with the same
  // SessionOptions::weights may hold too.
  std::size_t own_bytes() const;

 private:
  struct Impl;
  explicit Session(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace octavo::runtime
