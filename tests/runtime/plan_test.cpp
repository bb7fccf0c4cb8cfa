#include "runtime/plan.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "support/buffers.h"

namespace octavo::runtime {
namespace {

std::vector<Lifetime> random_lifetimes(int count, std::uint32_t seed) {
  test::Random random(seed);
  std::vector<Lifetime> buffers;
  for (int i = 0; i < count; ++i) {
    const int first = random.range(0, count);
    const int length = random.range(0, 4) == 0 ? random.range(0, count) : random.range(0, 3);
    buffers.push_back({static_cast<std::size_t>(random.range(0, 5000)), first, first + length});
  }
  return buffers;
}

// The definition, step by step.
std::uint64_t bound_by_steps(const std::vector<Lifetime>& buffers) {
  std::uint64_t most = 0;
  for (int step = 0; step <= 2 * static_cast<int>(buffers.size()); ++step) {
    std::uint64_t sum = 0;
    for (const Lifetime& buffer : buffers) {
      if (buffer.first <= step && step <= buffer.last) sum += round_up(buffer.bytes);
    }
    most = std::max(most, sum);
  }
  return most;
}

bool overlaps(std::uint64_t a, std::uint64_t a_bytes, std::uint64_t b, std::uint64_t b_bytes) {
  return a < b + b_bytes && b < a + a_bytes && a_bytes > 0 && b_bytes > 0;
}

TEST_CASE("a plan never lets buffers overlap that are alive together") {
  for (std::uint32_t seed = 0; seed < 60; ++seed) {
    const std::vector<Lifetime> buffers = random_lifetimes(static_cast<int>(seed), seed);
    const Plan plan = plan_memory(buffers);
    REQUIRE(plan.offsets.size() == buffers.size());
    for (std::size_t i = 0; i < buffers.size(); ++i) {
      CHECK(plan.offsets[i] % kArenaAlignment == 0);
      CHECK(plan.offsets[i] + buffers[i].bytes <= plan.bytes);
      for (std::size_t k = 0; k < i; ++k) {
        const bool together =
            buffers[i].first <= buffers[k].last && buffers[k].first <= buffers[i].last;
        CHECK_FALSE((together && overlaps(plan.offsets[i], buffers[i].bytes, plan.offsets[k],
                                          buffers[k].bytes)));
      }
    }
  }
}

TEST_CASE("a plan is at least the lower bound and rarely much more") {
  std::uint64_t planned = 0, bounds = 0;
  for (std::uint32_t seed = 0; seed < 60; ++seed) {
    const std::vector<Lifetime> buffers = random_lifetimes(static_cast<int>(seed) * 3, seed);
    const std::uint64_t bound = lower_bound(buffers);
    CHECK(bound == bound_by_steps(buffers));
    const Plan plan = plan_memory(buffers);
    CHECK(plan.bytes >= bound);
    CHECK(plan.bytes <= plan_apart(buffers).bytes);
    planned += plan.bytes;
    bounds += bound;
  }
  CHECK(static_cast<double>(planned) <= 1.1 * static_cast<double>(bounds));
}

TEST_CASE("a chain needs its largest pair of neighbours") {
  const std::vector<Lifetime> chain = {{640, 0, 1}, {64, 1, 2}, {1280, 2, 3}, {128, 3, 4}};
  CHECK(lower_bound(chain) == 1280 + 128);
  CHECK(plan_memory(chain).bytes == 1280 + 128);
  CHECK(plan_memory({}).bytes == 0);
}

}  // namespace
}  // namespace octavo::runtime
