#include "ops/float_winograd.h"

#include <doctest/doctest.h>

namespace octavo::ops {
namespace {

bool pays(std::int64_t size, std::int64_t in, std::int64_t out, std::int64_t group = 1,
          std::int64_t stride = 1, std::int64_t dilation = 1, std::int64_t kernel = 3) {
  const WindowAxis axis{size, size, kernel, stride, dilation, 1, 1};
  return float_winograd_pays(axis, axis, in, out, group);
}

TEST_CASE("A float convolution is filtered in tiles where its shape pays") {
  CHECK(pays(56, 64, 64));
  CHECK(pays(28, 128, 128));
  CHECK(pays(14, 256, 256));
  CHECK_FALSE(pays(5, 64, 64));    // of four tiles half is thrown away
  CHECK_FALSE(pays(7, 512, 512));  // waits for its weights
  CHECK_FALSE(pays(1, 512, 512));
  CHECK_FALSE(pays(32, 8, 8));
  CHECK_FALSE(pays(112, 3, 64));
  CHECK_FALSE(pays(112, 64, 3));
}

TEST_CASE("Only dense 3x3 windows of stride 1 are filtered in tiles") {
  CHECK_FALSE(pays(56, 64, 64, 2));
  CHECK_FALSE(pays(56, 64, 64, 1, 2));
  CHECK_FALSE(pays(56, 64, 64, 1, 1, 2));
  CHECK_FALSE(pays(56, 64, 64, 1, 1, 1, 1));
  CHECK_FALSE(pays(56, 64, 64, 1, 1, 1, 5));
}

}  // namespace
}  // namespace octavo::ops
