#include "runtime/thread_pool.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/clock.h"

namespace octavo::runtime {

namespace {
// How long an idle thread looks for work before it sleeps: longer than the layers that one thread
// does alone, and than the turns of the event loop between the slices of a run. Sleeping and waking
// takes as long as a layer of MobileNetV2.
constexpr double kSpinTime = 0.4;   // milliseconds
constexpr int kSpinsOfLook = 2000;  // at the clock: some microseconds
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

int share_begin(int blocks, int threads, int thread) {
  return static_cast<int>(std::int64_t{blocks} * thread / threads);
}

int piece_count(int blocks, int most) {
  return std::min(most, static_cast<int>(std::bit_width(static_cast<unsigned>(blocks))));
}

int piece_begin(int blocks, int pieces, int piece) {
  return piece == pieces ? blocks : blocks - (blocks >> piece);
}

struct ThreadPool::Shared {
  struct Helper {
    Shared* shared;
    int thread;
    pthread_t id;
  };
  // The pieces of a thread's share that nobody has taken, [front, back), below the number of the
  // stage since ever, so that a thread that slept through stages takes nothing of a later one by
  // mistake. On a line of its own: its thread waits on it.
  struct alignas(kCacheLine) Share {
    std::atomic<std::uint64_t> left{0};
  };
  static int front(std::uint64_t left) { return static_cast<int>(left >> 8 & 0xFF); }
  static int back(std::uint64_t left) { return static_cast<int>(left & 0xFF); }

  std::vector<Helper> helpers;
  std::vector<Share> shares;  // by thread
  int threads = 1;
  bool caller_sleeps = true;
  std::atomic<int> started{1};
  std::atomic<bool> stop{false};

  alignas(kCacheLine) std::atomic<int> unfinished{0};  // pieces of the open stage
  alignas(kCacheLine) std::atomic<bool> walking{false};
  std::atomic<bool> sleeping{false};  // somebody may be
  std::atomic<std::int32_t> wakes{0};
  // The walk at hand: changed while no piece is open or unfinished, read by those who have taken
  // one.
  alignas(kCacheLine) std::span<const Stage> stages;
  Work work = nullptr;
  void* context = nullptr;
  int stage = 0;
  std::uint64_t number = 0;

  Shared(int count, bool sleeps)
      : shares(static_cast<std::size_t>(count)), threads(count), caller_sleeps(sleeps) {}

  Share& share(int thread) { return shares[static_cast<std::size_t>(thread)]; }
  bool has_pieces(int thread) {
    const std::uint64_t left = share(thread).left.load();
    return front(left) < back(left);
  }

  int pieces_of(const Stage& given, int owner) const {
    return piece_count(
        share_begin(given.blocks, threads, owner + 1) - share_begin(given.blocks, threads, owner),
        given.pieces);
  }

  void wake_sleepers() {
    if (!sleeping.exchange(false)) return;
    wakes.fetch_add(1);
    wake_all(wakes);
  }

  // Opens the next stage with something to share, and does what lies before it; false at the end.
  bool advance(int thread) {
    const int count = static_cast<int>(stages.size());
    while (++stage < count) {
      const Stage& next = stages[static_cast<std::size_t>(stage)];
      if (next.blocks <= 0) continue;
      if (next.pieces == 0 || next.blocks == 1) {
        work(context, stage, 0, next.blocks, thread);
        continue;
      }
      int pieces = 0;
      for (int owner = 0; owner < threads; ++owner) pieces += pieces_of(next, owner);
      unfinished.store(pieces);
      ++number;
      // Whoever opens does its own part last of all: others begin at once.
      for (int i = 1; i <= threads; ++i) {
        const int owner = (thread + i) % threads;
        share(owner).left.store(number << 16 | static_cast<std::uint64_t>(pieces_of(next, owner)));
      }
      wake_sleepers();
      return true;
    }
    walking.store(false);
    wake_sleepers();
    return false;
  }

  // Does a piece of `owner`'s share, the first one or the last; false where there is none.
  bool do_piece(int owner, int thread) {
    std::atomic<std::uint64_t>& left = share(owner).left;
    std::uint64_t seen = left.load();
    do {
      if (front(seen) >= back(seen)) return false;
    } while (!left.compare_exchange_weak(seen, owner == thread ? seen + (1 << 8) : seen - 1));
    const int piece = owner == thread ? front(seen) : back(seen) - 1;
    const Stage& open = stages[static_cast<std::size_t>(stage)];
    const int first = share_begin(open.blocks, threads, owner);
    const int blocks = share_begin(open.blocks, threads, owner + 1) - first;
    const int pieces = piece_count(blocks, open.pieces);
    work(context, stage, first + piece_begin(blocks, pieces, piece),
         first + piece_begin(blocks, pieces, piece + 1), thread);
    return true;
  }

  // Does what is left of the open stage. No other stage opens between the first piece and the count
  // of them all; who opens it looks at all shares, whether or not their threads are there.
  void do_pieces(int thread) {
    int done = 0;
    do {
      done = 0;
      for (int i = 0; i < threads; ++i) {
        while (do_piece((thread + i) % threads, thread)) ++done;
      }
    } while (done > 0 && unfinished.fetch_sub(done) == done && advance(thread));
  }

  // Works until `ended` says so.
  template <class Ended>
  void work_until(int thread, Ended ended) {
    while (true) {
      bool timed = false;  // looking ends at a time from the first look at the clock on
      double end = 0;
      do {
        for (int spin = 0; spin < kSpinsOfLook; ++spin) {
          if (ended()) return;
          if (!has_pieces(thread)) continue;
          do_pieces(thread);
          timed = false;
          spin = 0;
        }
        const double now = milliseconds_now();
        if (!timed) end = now + kSpinTime;
        timed = true;
        if (now >= end && (thread != 0 || caller_sleeps)) break;
      } while (true);
      const std::int32_t seen = wakes.load();
      // Said before looking again: who opens a stage after that look sees it.
      sleeping.store(true);
      if (!has_pieces(thread) && !ended()) sleep_on(wakes, seen);
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

ThreadPool::ThreadPool(int threads, bool caller_sleeps)
    : shared_(std::make_unique<Shared>(std::max(threads, 1), caller_sleeps)) {
  std::vector<Shared::Helper>& helpers = shared_->helpers;
  helpers.reserve(static_cast<std::size_t>(std::max(threads - 1, 0)));  // helpers know their place
  // Not std::thread, which throws where there are none: its texts would be downloaded with every
  // module.
  while (static_cast<int>(helpers.size()) < threads - 1) {
    Shared::Helper& helper = helpers.emplace_back(
        Shared::Helper{shared_.get(), static_cast<int>(helpers.size()) + 1, pthread_t{}});
    if (pthread_create(&helper.id, nullptr, &Shared::help, &helper) == 0) continue;
    helpers.pop_back();
    break;  // results do not depend on the number
  }
  // Helpers look at it when a stage has been opened.
  shared_->threads = static_cast<int>(helpers.size()) + 1;
}

ThreadPool::~ThreadPool() {
  shared_->stop.store(true);
  shared_->wake_sleepers();
  for (const Shared::Helper& helper : shared_->helpers) pthread_join(helper.id, nullptr);
}

void ThreadPool::wake() { shared_->wake_sleepers(); }
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
  if (shared_->advance(0)) shared_->do_pieces(0);
  shared_->work_until(0, [this] { return !shared_->walking.load(); });
}

}  // namespace octavo::runtime
