#include "base/sort.h"

#include <algorithm>
#include <numeric>

namespace octavo {

std::vector<std::size_t> sorted_indices(std::size_t count, const void* context,
                                        bool (*before)(const void*, std::size_t, std::size_t)) {
  std::vector<std::size_t> order(count);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::vector<std::size_t> merged(count);
  for (std::size_t width = 1; width < count; width *= 2) {
    for (std::size_t begin = 0; begin < count; begin += 2 * width) {
      const std::size_t middle = std::min(begin + width, count);
      const std::size_t end = std::min(begin + 2 * width, count);
      std::size_t left = begin, right = middle;
      for (std::size_t k = begin; k < end; ++k) {
        const bool takes_right =
            right < end && (left == middle || before(context, order[right], order[left]));
        merged[k] = takes_right ? order[right++] : order[left++];
      }
    }
    order.swap(merged);
  }
  return order;
}

void heap_push(std::int32_t* heap, std::int64_t count, std::int32_t item, const void* context,
               bool (*before)(const void*, std::int32_t, std::int32_t)) {
  std::int64_t at = count;
  for (; at > 0 && before(context, item, heap[(at - 1) / 2]); at = (at - 1) / 2)
    heap[at] = heap[(at - 1) / 2];
  heap[at] = item;
}

std::int32_t heap_pop(std::int32_t* heap, std::int64_t count, const void* context,
                      bool (*before)(const void*, std::int32_t, std::int32_t)) {
  const std::int32_t top = heap[0];
  const std::int32_t last = heap[--count];  // finds a new place from the top down
  std::int64_t at = 0;
  for (std::int64_t child = 1; child < count; child = 2 * at + 1) {
    if (child + 1 < count && before(context, heap[child + 1], heap[child])) ++child;
    if (!before(context, heap[child], last)) break;
    heap[at] = heap[child];
    at = child;
  }
  heap[at] = last;
  return top;
}

}  // namespace octavo
