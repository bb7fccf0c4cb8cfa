#include "quantize/measure.h"

#include <doctest/doctest.h>

#include <cmath>
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

TEST_CASE("the divergence of equal rows is 0, of scores that of their softmax") {
  const auto kl = [](const std::vector<float>& a, const std::vector<float>& b, int width,
                     bool scores) { return divergence(a, b, width, scores); };
  const std::vector<float> shares = {0.5F, 0.25F, 0.25F, 1, 0, 0};
  CHECK(kl(shares, shares, 3, false) == 0.0);
  const std::vector<float> even = {0.25F, 0.5F, 0.25F, 1, 0, 0};
  // .5 ln(.5/.25) + .25 ln(.25/.5)
  CHECK(*kl(shares, even, 3, false) == doctest::Approx(0.25 * std::log(2.0)));
  // A share of 0 counts as 1e-12.
  CHECK(*kl({0.5F, 0.5F}, {1, 0}, 2, false) ==
        doctest::Approx(0.5 * std::log(0.5) + 0.5 * std::log(0.5e12)));
  // Scores: softmax of (ln 2, 0) is (2/3, 1/3).
  const float two = std::log(2.0F);
  CHECK(*kl({two, 0}, {5, 5}, 2, true) ==
        doctest::Approx(2.0 / 3 * std::log(4.0 / 3) + 1.0 / 3 * std::log(2.0 / 3)));
  CHECK_FALSE(kl({two, 0}, {5, 5}, 2, false).has_value());
  CHECK_FALSE(kl({1, 1}, {1, 1}, 1, true).has_value());
}

TEST_CASE("median of none is 0, of many the middle one") {
  CHECK(median({}) == 0);
  CHECK(median({3, 1, 2}) == 2);
}

}  // namespace
}  // namespace octavo::quantize
