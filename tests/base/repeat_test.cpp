#include "base/repeat.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

TEST_CASE("repeat_single repeats one value past the vector's capacity, and only one") {
  std::vector<float> one{2.5F};
  one.shrink_to_fit();
  octavo::repeat_single(one, 1000);
  CHECK(one == std::vector<float>(1000, 2.5F));
  std::vector<std::string> two{"a", "b"};
  octavo::repeat_single(two, 3);
  CHECK(two == std::vector<std::string>{"a", "b"});
}
