#include "runtime/thread_pool.h"

#include <doctest/doctest.h>

#include <atomic>
#include <vector>

namespace octavo::runtime {
namespace {

TEST_CASE("a pool runs every block exactly once, again and again") {
  for (const int threads : {1, 2, 3, 4}) {
    ThreadPool pool(threads);
    CHECK(pool.threads() >= 1);
    CHECK(pool.threads() <= threads);
    for (const int blocks : {1, 2, 7, 100, 1000}) {
      struct Context {
        std::vector<std::atomic<int>> counts;
        std::atomic<int> worst_thread{0};
      } context{std::vector<std::atomic<int>>(static_cast<std::size_t>(blocks))};
      for (int round = 0; round < 20; ++round) {
        pool.run(
            blocks,
            [](void* opaque, int first, int last, int thread) {
              auto& shared = *static_cast<Context*>(opaque);
              for (int block = first; block < last; ++block)
                ++shared.counts[static_cast<std::size_t>(block)];
              int worst = shared.worst_thread;
              while (thread > worst && !shared.worst_thread.compare_exchange_weak(worst, thread)) {
              }
            },
            &context);
      }
      bool all = true;
      for (const auto& count : context.counts) all = all && count == 20;
      CHECK(all);
      CHECK(context.worst_thread < pool.threads());
    }
  }
}

}  // namespace
}  // namespace octavo::runtime
