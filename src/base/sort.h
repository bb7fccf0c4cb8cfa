// Sorting where speed does not matter: std::sort and std::stable_sort are two to four kilobytes of
// code for every type and order, which a page would download.
#pragma once

#include <cstddef>
#include <vector>

namespace octavo {

// The numbers 0 to `count` - 1, ordered by `before(context, a, b)`; what is equal stays in order.
// Merges runs of 1, 2, 4, ...
std::vector<std::size_t> sorted_indices(std::size_t count, const void* context,
                                        bool (*before)(const void*, std::size_t, std::size_t));

// The same by a function object: `before(a, b)` says whether a comes first.
template <class Before>
std::vector<std::size_t> sorted_indices(std::size_t count, const Before& before) {
  return sorted_indices(count, &before, [](const void* context, std::size_t a, std::size_t b) {
    return static_cast<bool>((*static_cast<const Before*>(context))(a, b));
  });
}

}  // namespace octavo
