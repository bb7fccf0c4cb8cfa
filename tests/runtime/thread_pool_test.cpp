#include "runtime/thread_pool.h"

#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <thread>
#include <utility>
#include <vector>

namespace octavo::runtime {
namespace {

using Stage = ThreadPool::Stage;

TEST_CASE("shares are even, pieces follow each other in them, large ones first") {
  for (int threads = 1; threads <= 9; ++threads) {
    for (const int blocks : {0, 1, 2, 3, 7, 8, 31, 32, 33, 100, 1001, 1 << 30}) {
      CHECK(share_begin(blocks, threads, 0) == 0);
      CHECK(share_begin(blocks, threads, threads) == blocks);
      for (int thread = 0; thread < threads; ++thread) {
        const int share =
            share_begin(blocks, threads, thread + 1) - share_begin(blocks, threads, thread);
        CHECK(share >= blocks / threads);
        CHECK(share <= blocks / threads + 1);
      }
    }
  }
  for (int most = 1; most <= 6; ++most) {
    for (const int blocks : {0, 1, 2, 3, 7, 8, 31, 32, 33, 100, 1001, 1 << 30}) {
      const int pieces = piece_count(blocks, most);
      CHECK(pieces <= most);
      CHECK((pieces > 0) == (blocks > 0));
      CHECK(piece_begin(blocks, pieces, 0) == 0);
      CHECK(piece_begin(blocks, pieces, pieces) == blocks);
      bool none_empty = true, none_grows = true;
      int before = blocks;
      for (int i = 0; i < pieces; ++i) {
        const int size = piece_begin(blocks, pieces, i + 1) - piece_begin(blocks, pieces, i);
        none_empty = none_empty && size > 0;
        none_grows = none_grows && size <= before + 1;  // rounding
        before = size;
      }
      CHECK(none_empty);
      CHECK(none_grows);
    }
  }
}

TEST_CASE("a pool does every block of every stage once, a stage after the one before it") {
  // Each stage has its own kind of sharing: none, a piece a block, pieces of many, one for all.
  const std::vector<Stage> stages{{1}, {0}, {100, 1}, {7}, {50, 0}, {1000}, {0, 0}, {2}, {33, 2}};
  for (const auto& [threads, sleeps] :
       {std::pair{1, true}, {2, true}, {2, false}, {3, true}, {4, true}, {4, false}}) {
    ThreadPool pool(threads, sleeps);
    CHECK(pool.threads() >= 1);
    CHECK(pool.threads() <= threads);
    for (int round = 0; round < 300; ++round) {
      struct Context {
        const std::vector<Stage>& stages;
        std::array<std::array<std::atomic<int>, 1000>, 9> times{};
        std::array<std::atomic<int>, 9> done{};
        std::atomic<int> too_early{0}, bad_thread{0};
        int threads = 0;
      } context{stages, {}, {}, {}, {}, pool.threads()};
      pool.run(
          stages,
          [](void* opaque, int stage, int first, int last, int thread) {
            auto& shared = *static_cast<Context*>(opaque);
            const auto at = static_cast<std::size_t>(stage);
            for (std::size_t i = 0; i < at; ++i)
              if (shared.done[i] != shared.stages[i].blocks) ++shared.too_early;
            if (thread < 0 || thread >= shared.threads) ++shared.bad_thread;
            for (int block = first; block < last; ++block)
              ++shared.times[at][static_cast<std::size_t>(block)];
            shared.done[at] += last - first;
          },
          &context);
      bool once = true;
      for (std::size_t i = 0; i < stages.size(); ++i) {
        for (int block = 0; block < stages[i].blocks; ++block)
          once = once && context.times[i][static_cast<std::size_t>(block)] == 1;
      }
      REQUIRE(once);
      REQUIRE(context.too_early == 0);
      REQUIRE(context.bad_thread == 0);
    }
  }
}

TEST_CASE("a thread has the same part of each stage, and does what others have not begun") {
  ThreadPool pool(2);
  if (pool.threads() < 2) {
    MESSAGE("skipped: this build has no threads");
    return;
  }
  // A stage that the helper holds up in its first piece: the caller does all the rest of it.
  struct Context {
    std::array<std::atomic<int>, 64> thread_of;
    std::atomic<int> others{0};
  } context;
  const std::vector<Stage> stages(1, Stage{64});
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  bool helped = false;
  while (!helped && std::chrono::steady_clock::now() < deadline) {
    context.others = 0;
    pool.run(
        stages,
        [](void* opaque, int, int first, int last, int thread) {
          auto& shared = *static_cast<Context*>(opaque);
          for (int block = first; block < last; ++block)
            shared.thread_of[static_cast<std::size_t>(block)] = thread;
          if (thread == 0) {
            shared.others += last - first;
            // Time for the helper to come.
            if (first == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
            return;
          }
          while (shared.others < 64 - (last - first)) std::this_thread::yield();
        },
        &context);
    helped = context.others < 64;
  }
  REQUIRE(helped);
  CHECK(context.others == 48);
  for (std::size_t block = 0; block < 64; ++block)
    CHECK(context.thread_of[block] == (block >= 32 && block < 48 ? 1 : 0));
}

TEST_CASE("threads that went to sleep wake for the next run, and share it") {
  ThreadPool pool(2);
  if (pool.threads() < 2) {
    MESSAGE("skipped: this build has no threads");
    return;
  }
  struct Context {
    std::array<std::atomic<int>, 2> blocks{};
  } context;
  const std::vector<Stage> stages(1, Stage{64});
  // Until the helper has had a block, however late it starts; without it the caller would do all of
  // every run.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  int runs = 0;
  while (context.blocks[1] == 0 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    pool.run(
        stages,
        [](void* opaque, int, int first, int last, int thread) {
          static_cast<Context*>(opaque)->blocks[static_cast<std::size_t>(thread)] += last - first;
          std::this_thread::sleep_for(std::chrono::microseconds(200));
        },
        &context);
    ++runs;
  }
  CHECK(context.blocks[1] > 0);
  CHECK(context.blocks[0] + context.blocks[1] == 64 * runs);
  CHECK(pool.started() == 2);
}

}  // namespace
}  // namespace octavo::runtime
