// Where buffers lie in one arena, so that buffers alive at the same time never overlap.
//
// Offline memory planning is NP-hard; greedy by size into the best gap is within a few percent of
// the lower bound for CNNs (Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net
// Inference", 2020). Several orders are tried and the smallest plan wins.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace octavo::runtime {

// Sizes are 64-bit everywhere: a plan may turn out larger than a 32-bit memory, and must not wrap
// around before that is seen.

// Every buffer starts at a multiple of this.
inline constexpr std::size_t kArenaAlignment = 64;
// Readable bytes past the last buffer: a step may read that far past the end of any (ops/op.h,
// StepArgs).
inline constexpr std::size_t kArenaSlack = 64;

constexpr std::uint64_t round_up(std::uint64_t bytes) {
  return (bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
}

// A buffer of `bytes` bytes that is alive during steps first .. last, both included; first <= last.
struct Lifetime {
  std::uint64_t bytes = 0;
  int first = 0, last = 0;
};

struct Plan {
  std::vector<std::uint64_t> offsets;  // by buffer, multiples of kArenaAlignment
  std::uint64_t bytes = 0;             // end of the last buffer, without slack
};

Plan plan_memory(std::span<const Lifetime> buffers);
// Every buffer for itself.
Plan plan_apart(std::span<const Lifetime> buffers);

// The largest sum of (rounded) buffers alive during one step: no plan is smaller.
std::uint64_t lower_bound(std::span<const Lifetime> buffers);

}  // namespace octavo::runtime
