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

}  // namespace octavo
