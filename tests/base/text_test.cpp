#include "base/text.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

using octavo::join;
using octavo::text;

TEST_CASE("text writes numbers in their shortest form") {
  CHECK(text(0.1f) == "0.1");
  CHECK(text(0.1) == "0.1");
  CHECK(text(-2.5) == "-2.5");
  CHECK(text(3.0f) == "3");
  CHECK(text(100.0) == "100");
  CHECK(text(-20000.0f) == "-20000");
  CHECK(text(1e20) == "1e+20");
  CHECK(text(1e-5f) == "1e-05");
  CHECK(text(1.0f / 3) == "0.33333334");
  CHECK(text("group = ", 2, " is not supported.") == "group = 2 is not supported.");
  CHECK(text(true, ' ', std::string("x")) == "true32x");  // a char is a number
}

TEST_CASE("what text writes reads back as the same number") {
  for (float value : {std::numeric_limits<float>::max(), std::numeric_limits<float>::denorm_min(),
                      16777217.0f, 0.1f + 0.2f}) {
    CHECK(std::strtof(text(value).c_str(), nullptr) == value);
  }
  for (double value :
       {std::numeric_limits<double>::max(), std::numeric_limits<double>::denorm_min(), 0.1 + 0.2,
        std::ldexp(1.0, 53) - 1}) {
    CHECK(std::strtod(text(value).c_str(), nullptr) == value);
  }
}

TEST_CASE("text names what is no number") {
  CHECK(text(std::numeric_limits<float>::infinity()) == "inf");
  CHECK(text(-std::numeric_limits<double>::infinity()) == "-inf");
  CHECK(text(std::numeric_limits<double>::quiet_NaN()).find("nan") != std::string::npos);
}

TEST_CASE("join puts the separator between elements only") {
  CHECK(join(std::vector<int>{}, ", ") == "");
  CHECK(join(std::vector<int>{1}, ", ") == "1");
  CHECK(join(std::vector<std::string>{"a", "b", "c"}, ", ") == "a, b, c");
}
