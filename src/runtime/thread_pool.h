// A few threads that share the blocks of one step at a time.
#pragma once

#include <memory>

namespace octavo::runtime {

// Where a build has no threads, the caller does all the work.
class ThreadPool {
 public:
  // `threads` counts the caller; fewer are made where the system refuses.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const;

  // Calls work(context, first, last, thread) until the pieces cover [0, blocks), then returns.
  // Pieces are handed out one by one, so their order and thread vary; 0 <= thread < threads(), the
  // caller is 0.
  using Work = void (*)(void* context, int first, int last, int thread);
  void run(int blocks, Work work, void* context);

 private:
  struct Shared;
  std::unique_ptr<Shared> shared_;
};

}  // namespace octavo::runtime
