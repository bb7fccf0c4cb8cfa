#include "runtime/plan.h"

#include <algorithm>
#include <functional>
#include <limits>

#include "base/sort.h"

namespace octavo::runtime {

namespace {
bool alive_together(const Lifetime& a, const Lifetime& b) {
  return a.first <= b.last && b.first <= a.last;
}

// Places the buffers in the given order, each into the smallest gap that takes it.
Plan place(std::span<const Lifetime> buffers, std::span<const std::size_t> order) {
  Plan plan;
  plan.offsets.resize(buffers.size());
  std::vector<std::size_t> placed;  // by offset
  placed.reserve(buffers.size());
  for (const std::size_t id : order) {
    const std::uint64_t size = round_up(buffers[id].bytes);
    std::uint64_t end = 0;  // of the buffers below that are alive together with this one
    std::uint64_t best = 0, best_gap = std::numeric_limits<std::uint64_t>::max();
    for (const std::size_t other : placed) {
      if (!alive_together(buffers[id], buffers[other])) continue;
      const std::uint64_t offset = plan.offsets[other];
      if (offset > end && offset - end >= size && offset - end < best_gap) {
        best = end;
        best_gap = offset - end;
      }
      end = std::max(end, offset + round_up(buffers[other].bytes));
    }
    if (best_gap == std::numeric_limits<std::uint64_t>::max()) best = end;
    plan.offsets[id] = best;
    plan.bytes = std::max(plan.bytes, best + size);
    const auto position = std::upper_bound(
        placed.begin(), placed.end(), best,
        [&](std::uint64_t offset, std::size_t other) { return offset < plan.offsets[other]; });
    placed.insert(position, id);
  }
  return plan;
}
}  // namespace

Plan plan_memory(std::span<const Lifetime> buffers) {
  using Before = std::function<bool(const Lifetime&, const Lifetime&)>;
  const auto steps = [](const Lifetime& buffer) {
    return static_cast<std::uint64_t>(buffer.last - buffer.first) + 1;
  };
  const Before orders[] = {
      [](const Lifetime& a, const Lifetime& b) { return a.bytes > b.bytes; },
      [&](const Lifetime& a, const Lifetime& b) { return a.bytes * steps(a) > b.bytes * steps(b); },
      [&](const Lifetime& a, const Lifetime& b) { return steps(a) > steps(b); },
      [](const Lifetime& a, const Lifetime& b) { return a.first < b.first; },
      [](const Lifetime& a, const Lifetime& b) { return a.last > b.last; },
  };
  const std::uint64_t bound = lower_bound(buffers);
  Plan best;
  for (const Before& before : orders) {
    Plan plan = place(buffers, sorted_indices(buffers.size(), [&](std::size_t a, std::size_t b) {
                        return before(buffers[a], buffers[b]);
                      }));
    if (best.offsets.empty() || plan.bytes < best.bytes) best = std::move(plan);
    if (best.bytes == bound) break;
  }
  return best;
}

Plan plan_apart(std::span<const Lifetime> buffers) {
  Plan plan;
  for (const Lifetime& buffer : buffers) {
    plan.offsets.push_back(plan.bytes);
    plan.bytes += round_up(buffer.bytes);
  }
  return plan;
}

std::uint64_t lower_bound(std::span<const Lifetime> buffers) {
  // A sum can only be largest where a buffer has just come alive.
  const auto by_first = sorted_indices(buffers.size(), [&](std::size_t a, std::size_t b) {
    return buffers[a].first < buffers[b].first;
  });
  const auto by_last = sorted_indices(buffers.size(), [&](std::size_t a, std::size_t b) {
    return buffers[a].last < buffers[b].last;
  });
  std::uint64_t alive = 0, most = 0;
  std::size_t gone = 0;
  for (const std::size_t id : by_first) {
    while (buffers[by_last[gone]].last < buffers[id].first)
      alive -= round_up(buffers[by_last[gone++]].bytes);
    alive += round_up(buffers[id].bytes);
    most = std::max(most, alive);
  }
  return most;
}

}  // namespace octavo::runtime
