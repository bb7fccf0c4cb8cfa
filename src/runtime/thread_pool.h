// A few threads that walk a list of stages together.
//
// Each thread has a share of a stage, the same part of each, so that it mostly reads what itself
// has written; a share is cut into pieces, large ones first. Who has done its own takes the last
// pieces of others, and who finishes the last piece opens the next stage. So a stage costs one
// hand-over, a thread that the system has put aside holds up at most the piece it has, and with no
// helper running at all the caller does everything. Idle threads look for work for a while, then
// sleep.
#pragma once

#include <memory>
#include <span>

namespace octavo::runtime {

inline constexpr int kMostPieces = 4;

// Where a build or the system has no threads, the caller does all the work.
class ThreadPool {
 public:
  // `threads` counts the caller; fewer are made where the system refuses. They may start later:
  // under Emscripten when the caller returns to its event loop. A caller that may not sleep, such
  // as a page's own thread, looks for work all the time that a run takes.
  explicit ThreadPool(int threads, bool caller_sleeps = true);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const;
  // Those of threads() that have started, the caller included.
  int started() const;

  struct Stage {
    int blocks = 0;            // of work, any order; none is fine
    int pieces = kMostPieces;  // of a thread's share, at most; 0: too little work to share
  };
  // Does blocks [first, last) of a stage on a thread, 0 <= thread < threads().
  using Work = void (*)(void* context, int stage, int first, int last, int thread);
  // Wakes who sleeps: a run is coming.
  void wake();
  // Does every block of every stage once, a stage after the one before it has ended. One run at a
  // time; the caller is thread 0.
  void run(std::span<const Stage> stages, Work work, void* context);

 private:
  struct Shared;
  std::unique_ptr<Shared> shared_;
};

// The first block of a thread's share, 0 <= thread <= threads; that of the one after the last is
// `blocks`. Shares are even.
int share_begin(int blocks, int threads, int thread);
// The pieces, `most` at most, that a share of `blocks` blocks is cut into; none is empty.
int piece_count(int blocks, int most);
// The first block of a piece of the share: each piece has half of what is left, the last one all.
int piece_begin(int blocks, int pieces, int piece);

}  // namespace octavo::runtime
