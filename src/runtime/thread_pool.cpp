#include "runtime/thread_pool.h"

#if !defined(__EMSCRIPTEN__) || defined(OCTAVO_THREADS)
#define OCTAVO_HAS_THREADS 1
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>
#endif

namespace octavo::runtime {

#ifdef OCTAVO_HAS_THREADS

struct ThreadPool::Shared {
  std::vector<std::thread> helpers;
  std::mutex mutex;
  std::condition_variable wake, finished;
  std::uint64_t generation = 0;  // guarded by mutex, as are busy and stop
  int busy = 0;                  // helpers that have not finished this generation
  bool stop = false;
  // The step at hand; written before the generation changes, read after it has.
  Work work = nullptr;
  void* context = nullptr;
  int blocks = 0, chunk = 1;
  std::atomic<int> next{0};

  void take_blocks(int thread) {
    while (true) {
      const int first = next.fetch_add(chunk, std::memory_order_relaxed);
      if (first >= blocks) return;
      work(context, first, std::min(first + chunk, blocks), thread);
    }
  }

  void help(int thread) {
    std::uint64_t seen = 0;
    while (true) {
      {
        std::unique_lock lock(mutex);
        wake.wait(lock, [&] { return stop || generation != seen; });
        if (stop) return;
        seen = generation;
      }
      take_blocks(thread);
      const std::lock_guard lock(mutex);
      if (--busy == 0) finished.notify_one();
    }
  }
};

ThreadPool::ThreadPool(int threads) : shared_(std::make_unique<Shared>()) {
  for (int thread = 1; thread < threads; ++thread) {
    try {
      shared_->helpers.emplace_back([shared = shared_.get(), thread] { shared->help(thread); });
    } catch (const std::system_error&) {
      break;  // results do not depend on the number
    }
  }
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->stop = true;
  }
  shared_->wake.notify_all();
  for (std::thread& helper : shared_->helpers) helper.join();
}

int ThreadPool::threads() const { return static_cast<int>(shared_->helpers.size()) + 1; }

void ThreadPool::run(int blocks, Work work, void* context) {
  // Beyond that the counter could overflow.
  constexpr int kMostBlocks = 1 << 30;
  if (shared_->helpers.empty() || blocks <= 1 || blocks > kMostBlocks) {
    work(context, 0, blocks, 0);
    return;
  }
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->work = work;
    shared_->context = context;
    shared_->blocks = blocks;
    // Eight pieces a thread: enough to even out, few enough that handing out costs nothing.
    shared_->chunk = std::clamp(blocks / (threads() * 8), 1, 1 << 16);
    shared_->next.store(0, std::memory_order_relaxed);
    shared_->busy = static_cast<int>(shared_->helpers.size());
    ++shared_->generation;
  }
  shared_->wake.notify_all();
  shared_->take_blocks(0);
  std::unique_lock lock(shared_->mutex);
  shared_->finished.wait(lock, [&] { return shared_->busy == 0; });
}

#else

struct ThreadPool::Shared {};
ThreadPool::ThreadPool(int) {}
ThreadPool::~ThreadPool() = default;
int ThreadPool::threads() const { return 1; }
void ThreadPool::run(int blocks, Work work, void* context) { work(context, 0, blocks, 0); }

#endif

}  // namespace octavo::runtime
