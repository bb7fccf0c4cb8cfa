// A few threads that walk a list of stages together.
//
// A stage is cut into pieces; whoever is free takes the next one, and whoever finishes the last one
// opens the next stage. So a stage costs one hand-over, a thread that the system has put aside
// holds up at most the piece it has, and with no helper running at all the caller does everything.
// Idle threads look for work for some microseconds, then sleep.
#pragma once

#include <memory>
#include <span>

namespace octavo::runtime {

// Where a build or the system has no threads, the caller does all the work.
class ThreadPool {
 public:
  // `threads` counts the caller; fewer are made where the system refuses. They may start later:
  // under Emscripten when the caller returns to its event loop.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const;
  // Those of threads() that have started, the caller included.
  int started() const;

  struct Stage {
    int blocks = 0;      // of work, any order; none is fine
    bool whole = false;  // too little work to share
  };
  // Does blocks [first, last) of a stage on a thread, 0 <= thread < threads().
  using Work = void (*)(void* context, int stage, int first, int last, int thread);
  // Does every block of every stage once, a stage after the one before it has ended. One run at a
  // time; the caller is thread 0.
  void run(std::span<const Stage> stages, Work work, void* context);

 private:
  struct Shared;
  std::unique_ptr<Shared> shared_;
};

// The pieces that `threads` threads cut `blocks` blocks into. Many blocks: half of the work in
// large pieces, for few hand-overs, the rest in ever smaller ones, so that all end at about the
// same time. Few: equal pieces of two blocks and more where each thread gets one.
int piece_count(int blocks, int threads);
// The first block of a piece, 0 <= piece <= piece_count(); that of the one after the last is
// `blocks`.
int piece_begin(int blocks, int threads, int piece);

}  // namespace octavo::runtime
