// Writes and reads an observer's state: the row's name, then plain numbers, little-endian as every
// target here is.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/result.h"

namespace octavo::calib {

static_assert(std::endian::native == std::endian::little);

class StateWriter {
 public:
  explicit StateWriter(std::string_view name) {
    put(static_cast<std::uint32_t>(name.size()));
    append(name.data(), name.size());
  }
  template <class T>
  void put(T value) {
    static_assert(std::is_trivially_copyable_v<T>);
    append(&value, sizeof value);
  }
  template <class T>
  void put_all(const std::vector<T>& values) {
    put(static_cast<std::uint32_t>(values.size()));
    append(values.data(), values.size() * sizeof(T));
  }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  void append(const void* data, std::size_t size) {
    const auto* first = static_cast<const std::byte*>(data);
    bytes_.insert(bytes_.end(), first, first + size);
  }
  std::vector<std::byte> bytes_;
};

// Every read says whether the bytes were there.
class StateReader {
 public:
  explicit StateReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  bool name(std::string_view expected) {
    std::uint32_t size = 0;
    if (!get(size) || size != expected.size() || bytes_.size() < size) return false;
    if (std::memcmp(bytes_.data(), expected.data(), size) != 0) return false;
    bytes_ = bytes_.subspan(size);
    return true;
  }
  template <class T>
  bool get(T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (bytes_.size() < sizeof value) return false;
    std::memcpy(&value, bytes_.data(), sizeof value);
    bytes_ = bytes_.subspan(sizeof value);
    return true;
  }
  // The range of some values, which are finite and have an order, or of none: infinity to
  // -infinity.
  bool get_range(float& min, float& max) {
    if (!get(min) || !get(max)) return false;
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    return (std::isfinite(min) && std::isfinite(max) && min <= max) ||
           (min == kInfinity && max == -kInfinity);
  }
  // Exactly `count` values.
  template <class T>
  bool get_all(std::vector<T>& values, std::size_t count) {
    std::uint32_t stored = 0;
    if (!get(stored) || stored != count || bytes_.size() / sizeof(T) < count) return false;
    values.resize(count);
    if (count > 0) std::memcpy(values.data(), bytes_.data(), count * sizeof(T));
    bytes_ = bytes_.subspan(count * sizeof(T));
    return true;
  }
  // As many as put_all wrote.
  template <class T>
  bool get_all(std::vector<T>& values) {
    std::uint32_t stored = 0;
    if (bytes_.size() < sizeof stored) return false;
    std::memcpy(&stored, bytes_.data(), sizeof stored);
    return get_all(values, stored);
  }
  // The count of what follows, which takes at least a byte each.
  bool count(std::uint32_t& value) { return get(value) && value <= bytes_.size(); }
  bool at_end() const { return bytes_.empty(); }

 private:
  std::span<const std::byte> bytes_;
};

inline Error foreign_state(std::string_view observer) {
  return Error{Code::kInvalidState,
               "The bytes are not a saved state of this observer and its options.",
               "observer '" + std::string(observer) + "'",
               "Load what the same observer with the same options saved.",
               {}};
}
inline Error foreign_merge(std::string_view observer, std::string_view other) {
  return Error{Code::kInvalidState,
               "An observer '" + std::string(other) +
                   "' or one with other options cannot be merged into this one.",
               "observer '" + std::string(observer) + "'",
               "Merge observers of one kind and equal options.",
               {}};
}

}  // namespace octavo::calib
