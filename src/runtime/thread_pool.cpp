#include "runtime/thread_pool.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace octavo::runtime {

namespace {
// Looks at the shared words before a thread sleeps: some 0.3 milliseconds, longer than the layers
// that one thread does alone. Sleeping and waking takes as long as a layer of MobileNetV2.
constexpr int kSpins = 150'000;
constexpr std::size_t kCacheLine = 64;

// Sleeps unless `word` has another value than `seen` by now.
void sleep_on(std::atomic<std::int32_t>& word, std::int32_t seen) {
#ifdef __wasm__
  // libc++ would poll with growing pauses.
  __builtin_wasm_memory_atomic_wait32(reinterpret_cast<std::int32_t*>(&word), seen, -1);
#else
  word.wait(seen);
#endif
}

void wake_all(std::atomic<std::int32_t>& word) {
#ifdef __wasm__
  __builtin_wasm_memory_atomic_notify(reinterpret_cast<std::int32_t*>(&word), ~0U);
#else
  word.notify_all();
#endif
}
}  // namespace

// Few blocks stay together: what a step reads for several of them, weights above all, it reads once
// a piece.
int piece_count(int blocks, int threads) {
  return std::clamp(blocks / 2, std::clamp(blocks, 1, threads), 4 * threads);
}

// Many: in units of 1 / (8 threads) of the work, as many pieces of 4 as there are threads, as many
// of 2, twice as many of 1.
int piece_begin(int blocks, int threads, int piece) {
  const int pieces = piece_count(blocks, threads);
  if (pieces < 4 * threads) return static_cast<int>(std::int64_t{blocks} * piece / pieces);
  const std::int64_t units = piece <= threads       ? 4 * piece
                             : piece <= 2 * threads ? 2 * threads + 2 * piece
                                                    : 4 * threads + piece;
  return static_cast<int>(blocks * units / (8 * threads));
}

struct ThreadPool::Shared {
  struct Helper {
    Shared* shared;
    int thread;
    pthread_t id;
  };
  std::vector<Helper> helpers;
  int threads = 1;
  std::atomic<int> started{1};
  std::atomic<bool> stop{false};

  // The stage that is open: its number since ever in the upper half, so that a thread that slept
  // through stages takes nothing of a later one by mistake; the pieces that nobody has taken in the
  // lower half.
  alignas(kCacheLine) std::atomic<std::uint64_t> open{0};
  alignas(kCacheLine) std::atomic<int> unfinished{0};  // pieces of the open stage
  alignas(kCacheLine) std::atomic<bool> walking{false};
  std::atomic<bool> sleeping{false};  // somebody may be
  std::atomic<std::int32_t> wakes{0};
  // The walk at hand: changed while no piece is open or unfinished, read by those who have taken
  // one.
  alignas(kCacheLine) std::span<const Stage> stages;
  Work work = nullptr;
  void* context = nullptr;
  int stage = 0, pieces = 0;

  bool has_pieces() const { return static_cast<std::uint32_t>(open.load()) != 0; }

  void wake_sleepers() {
    if (!sleeping.exchange(false)) return;
    wakes.fetch_add(1);
    wake_all(wakes);
  }

  // Opens the next stage with something to share; does what lies before it.
  void advance(int thread) {
    const int count = static_cast<int>(stages.size());
    while (++stage < count) {
      const Stage& next = stages[static_cast<std::size_t>(stage)];
      if (next.blocks <= 0) continue;
      pieces = next.whole ? 1 : piece_count(next.blocks, threads);
      if (pieces == 1) {
        work(context, stage, 0, next.blocks, thread);
        continue;
      }
      unfinished.store(pieces, std::memory_order_relaxed);
      const std::uint64_t number = (open.load(std::memory_order_relaxed) >> 32) + 1;
      open.store(number << 32 | static_cast<std::uint32_t>(pieces));
      wake_sleepers();
      return;
    }
    walking.store(false);
    wake_sleepers();
  }

  // Does one piece; false where there is none.
  bool do_piece(int thread) {
    std::uint64_t seen = open.load();
    do {
      if (static_cast<std::uint32_t>(seen) == 0) return false;
    } while (!open.compare_exchange_weak(seen, seen - 1));
    const int piece = pieces - static_cast<int>(static_cast<std::uint32_t>(seen));
    const int blocks = stages[static_cast<std::size_t>(stage)].blocks;
    work(context, stage, piece_begin(blocks, threads, piece),
         piece_begin(blocks, threads, piece + 1), thread);
    if (unfinished.fetch_sub(1) == 1) advance(thread);
    return true;
  }

  // Works until `ended` says so.
  template <class Ended>
  void work_until(int thread, Ended ended) {
    while (true) {
      for (int spin = 0; spin < kSpins; ++spin) {
        if (ended()) return;
        if (has_pieces() && do_piece(thread)) spin = 0;
      }
      const std::int32_t seen = wakes.load();
      // Said before looking again: who opens a stage after that look sees it.
      sleeping.store(true);
      if (!has_pieces() && !ended()) sleep_on(wakes, seen);
    }
  }

  static void* help(void* opaque) {
    const Helper& helper = *static_cast<Helper*>(opaque);
    Shared& shared = *helper.shared;
    shared.started.fetch_add(1);
    shared.work_until(helper.thread, [&] { return shared.stop.load(); });
    return nullptr;
  }
};

ThreadPool::ThreadPool(int threads) : shared_(std::make_unique<Shared>()) {
  std::vector<Shared::Helper>& helpers = shared_->helpers;
  helpers.reserve(static_cast<std::size_t>(std::max(threads - 1, 0)));  // helpers know their place
  // Known before the first helper starts: pieces are cut by it.
  shared_->threads = std::max(threads, 1);
  // Not std::thread, which throws where there are none: its texts would be downloaded with every
  // module.
  while (static_cast<int>(helpers.size()) < threads - 1) {
    Shared::Helper& helper = helpers.emplace_back(
        Shared::Helper{shared_.get(), static_cast<int>(helpers.size()) + 1, pthread_t{}});
    if (pthread_create(&helper.id, nullptr, &Shared::help, &helper) == 0) continue;
    helpers.pop_back();
    break;  // results do not depend on the number
  }
}

ThreadPool::~ThreadPool() {
  shared_->stop.store(true);
  shared_->wake_sleepers();
  for (const Shared::Helper& helper : shared_->helpers) pthread_join(helper.id, nullptr);
}

int ThreadPool::threads() const { return static_cast<int>(shared_->helpers.size()) + 1; }
int ThreadPool::started() const { return shared_->started.load(); }

void ThreadPool::run(std::span<const Stage> stages, Work work, void* context) {
  if (shared_->helpers.empty()) {
    for (std::size_t i = 0; i < stages.size(); ++i) {
      if (stages[i].blocks > 0) work(context, static_cast<int>(i), 0, stages[i].blocks, 0);
    }
    return;
  }
  shared_->stages = stages;
  shared_->work = work;
  shared_->context = context;
  shared_->stage = -1;
  shared_->walking.store(true);
  shared_->advance(0);
  shared_->work_until(0, [this] { return !shared_->walking.load(); });
}

}  // namespace octavo::runtime
