#include "base/text.h"

#include <charconv>

namespace octavo::internal {

namespace {
template <class T>
std::string shortest(T value) {
  char buffer[40];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value);
  return {buffer, error == std::errc() ? end : buffer};
}
}  // namespace

std::string to_text(double value) { return shortest(value); }
std::string to_text(float value) { return shortest(value); }

}  // namespace octavo::internal
