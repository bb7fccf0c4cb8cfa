#include "base/text.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace octavo::internal {

namespace {
// Tries one digit more until the number reads back. std::to_chars does it at once, with tables that
// would be a quarter of the downloaded module.
template <class T, class Read>
std::string shortest(T value, int most_digits, Read read) {
  char buffer[40];
  // 100, not 1e+02.
  if (std::fabs(value) < T{1e6} && std::floor(value) == value) {
    std::snprintf(buffer, sizeof buffer, "%.0f", static_cast<double>(value));
    return buffer;
  }
  for (int digits = 1;; ++digits) {
    std::snprintf(buffer, sizeof buffer, "%.*g", digits, static_cast<double>(value));
    if (digits >= most_digits || read(buffer) == value) return buffer;
  }
}
}  // namespace

std::string to_text(double value) {
  return shortest(value, 17, [](const char* text) { return std::strtod(text, nullptr); });
}
std::string to_text(float value) {
  return shortest(value, 9, [](const char* text) { return std::strtof(text, nullptr); });
}

}  // namespace octavo::internal
