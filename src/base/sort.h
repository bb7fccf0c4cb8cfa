// Sorting where speed does not matter: std::sort and std::stable_sort are two to four kilobytes of
// code for every type and order, which a page would download.
#pragma once

#include <cstddef>
#include <cstdint>
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

// A heap whose top comes before all others, by `before(context, a, b)`, which says of any two
// different items that one of them does.
void heap_push(std::int32_t* heap, std::int64_t count, std::int32_t item, const void* context,
               bool (*before)(const void*, std::int32_t, std::int32_t));
// Takes the top off a heap of `count` items.
std::int32_t heap_pop(std::int32_t* heap, std::int64_t count, const void* context,
                      bool (*before)(const void*, std::int32_t, std::int32_t));

// Both by a function object, as above.
template <class Before>
bool call_before(const void* context, std::int32_t a, std::int32_t b) {
  return (*static_cast<const Before*>(context))(a, b);
}
template <class Before>
void heap_push(std::int32_t* heap, std::int64_t count, std::int32_t item, const Before& before) {
  heap_push(heap, count, item, &before, &call_before<Before>);
}
template <class Before>
std::int32_t heap_pop(std::int32_t* heap, std::int64_t count, const Before& before) {
  return heap_pop(heap, count, &before, &call_before<Before>);
}

}  // namespace octavo
