// Shapes and the two orders in which a tensor's elements may lie in memory.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

namespace octavo {

inline constexpr std::int64_t kUnknownDim = -1;
// No tensor may have more elements (a gigabyte of floats): the bytes of one then never overflow 32
// bits, whatever its dtype.
inline constexpr std::int64_t kMaxElements = std::int64_t{1} << 28;
// Nor more dimensions.
inline constexpr int kMaxRank = 16;

// Dimensions in ONNX's (logical) order; kUnknownDim where a dimension is not known yet.
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<std::int64_t> dims) : dims_(dims) {}
  explicit Shape(std::vector<std::int64_t> dims) : dims_(std::move(dims)) {}

  int rank() const { return static_cast<int>(dims_.size()); }
  std::int64_t operator[](int axis) const { return dims_[static_cast<std::size_t>(axis)]; }
  std::int64_t& operator[](int axis) { return dims_[static_cast<std::size_t>(axis)]; }
  const std::vector<std::int64_t>& dims() const { return dims_; }
  std::vector<std::int64_t>& dims() { return dims_; }
  auto begin() const { return dims_.begin(); }
  auto end() const { return dims_.end(); }

  bool known() const;  // no unknown dimension
  // Product of the dimensions (1 for rank 0); nothing when unknown, negative or above kMaxElements.
  std::optional<std::int64_t> checked_elements() const;
  // The same where the shape has been checked before.
  std::int64_t elements() const;

  std::string to_string() const;  // "[1, 3, 224, 224]", "[?, 10]"
  friend bool operator==(const Shape&, const Shape&) = default;

 private:
  std::vector<std::int64_t> dims_;
};

// kRowMajor: ONNX's order. kChannelsLast (rank >= 3): axis 1 moved to the end, NCHW stored as NHWC.
enum class Layout : std::uint8_t { kRowMajor, kChannelsLast };

// The dimensions in memory order, outermost first.
std::vector<std::int64_t> physical_dims(const Shape& shape, Layout layout);
// Where logical `axis` (0 <= axis < rank) stands in memory order.
int physical_axis(int axis, int rank, Layout layout);
// Elements between neighbours along each *logical* axis.
std::vector<std::int64_t> strides_of(const Shape& shape, Layout layout);
// -1 -> rank - 1 and so on; nothing when out of range.
std::optional<int> normalize_axis(std::int64_t axis, int rank);

}  // namespace octavo
