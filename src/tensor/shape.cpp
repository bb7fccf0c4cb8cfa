#include "tensor/shape.h"

#include "base/text.h"

namespace octavo {

bool Shape::known() const {
  for (const std::int64_t dim : dims_) {
    if (dim < 0) return false;
  }
  return true;
}

std::optional<std::int64_t> Shape::checked_elements() const {
  std::int64_t product = 1;
  bool empty = false;
  for (const std::int64_t dim : dims_) {
    if (dim < 0 || dim > kMaxElements) return std::nullopt;
    if (dim == 0) {
      empty = true;
      continue;
    }
    product *= dim;  // both factors <= 2^28: no overflow
    if (product > kMaxElements) return std::nullopt;
  }
  return empty ? 0 : product;
}

std::int64_t Shape::elements() const { return checked_elements().value_or(0); }

std::string Shape::to_string() const {
  std::vector<std::string> parts;
  for (const std::int64_t dim : dims_) parts.push_back(dim < 0 ? "?" : std::to_string(dim));
  return text("[", join(parts, ", "), "]");
}

std::vector<std::int64_t> physical_dims(const Shape& shape, Layout layout) {
  std::vector<std::int64_t> dims = shape.dims();
  if (layout == Layout::kChannelsLast && dims.size() >= 3) {
    const std::int64_t channels = dims[1];
    dims.erase(dims.begin() + 1);
    dims.push_back(channels);
  }
  return dims;
}

int physical_axis(int axis, int rank, Layout layout) {
  if (layout == Layout::kRowMajor || rank < 3 || axis == 0) return axis;
  return axis == 1 ? rank - 1 : axis - 1;
}

std::vector<std::int64_t> strides_of(const Shape& shape, Layout layout) {
  const std::vector<std::int64_t> dims = physical_dims(shape, layout);
  std::vector<std::int64_t> physical(dims.size());
  std::int64_t stride = 1;
  for (std::size_t i = dims.size(); i-- > 0;) {
    physical[i] = stride;
    stride *= dims[i];
  }
  std::vector<std::int64_t> logical(dims.size());
  for (int axis = 0; axis < shape.rank(); ++axis) {
    logical[static_cast<std::size_t>(axis)] =
        physical[static_cast<std::size_t>(physical_axis(axis, shape.rank(), layout))];
  }
  return logical;
}

std::optional<int> normalize_axis(std::int64_t axis, int rank) {
  if (axis < -rank || axis >= rank) return std::nullopt;
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

}  // namespace octavo
