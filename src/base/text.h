// Builds a string from parts: text("group = ", 2, " is not supported.").
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

namespace octavo {

namespace internal {
// Shortest decimal form that reads back as the same number.
std::string to_text(double value);
std::string to_text(float value);
template <std::integral T>
std::string to_text(T value) {
  return std::to_string(value);
}
inline std::string to_text(bool value) { return value ? "true" : "false"; }
inline std::string_view to_text(std::string_view value) { return value; }
inline std::string_view to_text(const char* value) { return value; }
inline const std::string& to_text(const std::string& value) { return value; }
}  // namespace internal

template <class... Parts>
std::string text(const Parts&... parts) {
  std::string out;
  (out.append(internal::to_text(parts)), ...);
  return out;
}

// join({"a", "b"}, ", ") == "a, b", for any range whose elements text() takes.
template <class Range>
std::string join(const Range& range, std::string_view separator) {
  std::string out;
  bool first = true;
  for (const auto& element : range) {
    if (!first) out.append(separator);
    first = false;
    out.append(text(element));
  }
  return out;
}

}  // namespace octavo
