#include "runtime/thread_pool.h"

#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace octavo::runtime {
namespace {

using Stage = ThreadPool::Stage;

TEST_CASE("pieces follow each other and cover all blocks, large ones first") {
  for (int threads = 1; threads <= 9; ++threads) {
    for (const int blocks : {1, 2, 3, 7, 8, 31, 32, 33, 100, 1001, 1 << 30}) {
      const int pieces = piece_count(blocks, threads);
      CHECK(pieces >= 1);
      CHECK(piece_begin(blocks, threads, 0) == 0);
      CHECK(piece_begin(blocks, threads, pieces) == blocks);
      bool none_empty = true, none_grows = true;
      int before = blocks;
      for (int i = 0; i < pieces; ++i) {
        const int size = piece_begin(blocks, threads, i + 1) - piece_begin(blocks, threads, i);
        none_empty = none_empty && (size > 0 || blocks < 8 * threads);
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
  const std::vector<Stage> stages{{1, false},    {0, false}, {100, false}, {7, false}, {50, true},
                                  {1000, false}, {0, true},  {2, false},   {33, false}};
  for (const int threads : {1, 2, 3, 4}) {
    ThreadPool pool(threads);
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

TEST_CASE("threads that went to sleep wake for the next run, and share it") {
  ThreadPool pool(2);
  if (pool.threads() < 2) {
    MESSAGE("skipped: this build has no threads");
    return;
  }
  struct Context {
    std::array<std::atomic<int>, 2> blocks{};
  } context;
  const std::vector<Stage> stages(1, Stage{64, false});
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
