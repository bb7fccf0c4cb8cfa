#include "base/sort.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

namespace octavo {
namespace {

TEST_CASE("sorted_indices is a stable sort of any number") {
  std::mt19937 random(1);
  for (const std::size_t count : {0, 1, 2, 3, 7, 8, 9, 100, 1000}) {
    std::vector<unsigned> keys(count);
    for (unsigned& key : keys) key = static_cast<unsigned>(random() % 10);
    std::vector<std::size_t> wanted(count);
    std::iota(wanted.begin(), wanted.end(), std::size_t{0});
    const auto before = [&](std::size_t a, std::size_t b) { return keys[a] < keys[b]; };
    std::stable_sort(wanted.begin(), wanted.end(), before);
    CHECK(sorted_indices(count, before) == wanted);
  }
}

}  // namespace
}  // namespace octavo
