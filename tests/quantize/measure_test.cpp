#include "quantize/measure.h"

#include <doctest/doctest.h>

#include <vector>

namespace octavo::quantize {
namespace {

TEST_CASE("top1_rows goes along the classes of a classifier and says nothing about anchors") {
  const std::vector<float> values{1, 3, 2, 9, 8, 7};
  CHECK(top1_rows(values, Shape{2, 3}) == std::vector<std::int64_t>{1, 0});
  CHECK(top1_rows(values, Shape{1, 6, 1, 1}) == std::vector<std::int64_t>{3});
  CHECK(top1_rows(values, Shape{1, 6, 1}).empty());
  CHECK(top1_rows(values, Shape{}).empty());
}

TEST_CASE("in_top counts what is larger, and of equals the first") {
  const std::vector<float> row{1, 5, 5, 3};
  CHECK(in_top(row, 1, 1));
  CHECK_FALSE(in_top(row, 2, 1));
  CHECK(in_top(row, 2, 2));
  CHECK(in_top(row, 3, 3));
  CHECK_FALSE(in_top(row, 0, 3));
  CHECK_FALSE(in_top(row, 4, 5));
  CHECK_FALSE(in_top(row, -1, 5));
}

TEST_CASE("the signal-to-noise ratio is in decibels and absent where nothing differs") {
  ErrorSums sums;
  sums.add(std::vector<float>{3, 4}, std::vector<float>{3, 4});
  CHECK_FALSE(sums.sqnr().has_value());
  CHECK(sums.relative_rms() == 0);
  sums.add(std::vector<float>{0, 5}, std::vector<float>{0.5F, 5});
  CHECK(*sums.sqnr() == doctest::Approx(10 * std::log10(50 / 0.25)));
  CHECK(sums.max_error == 0.5);
}

TEST_CASE("median of none is 0, of many the middle one") {
  CHECK(median({}) == 0);
  CHECK(median({3, 1, 2}) == 2);
}

}  // namespace
}  // namespace octavo::quantize
