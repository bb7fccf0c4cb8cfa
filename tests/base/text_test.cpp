#include "base/text.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
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

TEST_CASE("text takes the fewest digits, of those the nearest, and ties to even") {
  CHECK(text(1999318.25f) == "1999318.2");  // 1999318.3 would read back too
  CHECK(text(1999318.75f) == "1999318.8");
  CHECK(text(8388609.0f) == "8388609");
  CHECK(text(0.0001) == "0.0001");
  CHECK(text(0.00012) == "0.00012");
  CHECK(text(999999.0) == "999999");
  CHECK(text(1e6) == "1e+06");
  CHECK(text(1234567.0) == "1234567");
  CHECK(text(5e-324) == "5e-324");
  CHECK(text(1.7976931348623157e308) == "1.7976931348623157e+308");
  CHECK(text(9007199254740993.0) == "9007199254740992");
  // Half as far to the next number below as above: printf needs a digit more for its nearest.
  CHECK(text(std::ldexp(1.0, -1017)) == "7.120236347223045e-307");
}

TEST_CASE("text of any bits reads back, and no shorter number does") {
  std::uint64_t state = 1;
  const auto next = [&] { return state = state * 6364136223846793005U + 1442695040888963407U; };
  const auto digits = [](const std::string& number) {
    std::string all;
    for (const char c : number.substr(0, number.find('e'))) {
      if (c >= '0' && c <= '9' && (!all.empty() || c != '0')) all += c;
    }
    while (!all.empty() && all.back() == '0') all.pop_back();
    return static_cast<int>(all.size());
  };
  for (int i = 0; i < 20000; ++i) {
    const auto bits = static_cast<std::uint32_t>(next() >> 32);
    const auto single = std::bit_cast<float>(bits);
    const auto real = std::bit_cast<double>(next());
    if (!std::isfinite(single) || !std::isfinite(real)) continue;
    CAPTURE(text(single));
    CAPTURE(text(real));
    CHECK(std::strtof(text(single).c_str(), nullptr) == single);
    CHECK(std::strtod(text(real).c_str(), nullptr) == real);
    char shorter[40];
    std::snprintf(shorter, sizeof shorter, "%.*e", std::max(0, digits(text(single)) - 2),
                  static_cast<double>(single));
    if (digits(text(single)) > 1) CHECK(std::strtof(shorter, nullptr) != single);
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
