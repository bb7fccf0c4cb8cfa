// A dense tensor that owns its bytes or borrows them from a longer-lived block (a model file).
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "tensor/dtype.h"
#include "tensor/shape.h"

namespace octavo {

// Copies share the bytes, so a Tensor is cheap to pass; treat the bytes as immutable once shared.
// Elements lie in row-major order of `shape`. The data is aligned for its dtype.
class Tensor {
 public:
  Tensor() = default;

  // Zero-filled, 16-byte aligned, with 16 readable bytes past the end.
  static Tensor make(DType dtype, Shape shape);
  // A view of bytes that `owner` keeps alive; `data` must be aligned for `dtype`.
  static Tensor view(DType dtype, Shape shape, std::shared_ptr<const std::byte> data);
  template <class T>
  static Tensor of(Shape shape, const std::vector<T>& values);
  template <class T>
  static Tensor scalar(T value) {
    return of<T>(Shape{}, {value});
  }

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  std::int64_t elements() const { return shape_.elements(); }
  std::size_t bytes() const { return static_cast<std::size_t>(elements()) * dtype_size(dtype_); }
  const std::byte* data() const { return data_.get(); }
  // Only for the maker of the tensor, before it is shared.
  std::byte* mutable_data() { return const_cast<std::byte*>(data_.get()); }

  // T must match dtype() (checked by the caller or by construction).
  template <class T>
  std::span<const T> span() const {
    return {reinterpret_cast<const T*>(data_.get()), static_cast<std::size_t>(elements())};
  }
  template <class T>
  std::span<T> mutable_span() {
    return {reinterpret_cast<T*>(mutable_data()), static_cast<std::size_t>(elements())};
  }

  // The same bytes under another shape with as many elements.
  Tensor reshaped(Shape shape) const;

 private:
  DType dtype_ = DType::kUndefined;
  Shape shape_;
  std::shared_ptr<const std::byte> data_;
};

// Elements converted to int64 / float32, for any integer / float dtype (float16 and bfloat16 too).
std::vector<std::int64_t> to_int64s(const Tensor& tensor);
std::vector<float> to_floats(const Tensor& tensor);

template <class T>
Tensor Tensor::of(Shape shape, const std::vector<T>& values) {
  Tensor tensor = make(dtype_of<T>(), std::move(shape));
  auto out = tensor.mutable_span<T>();
  for (std::size_t i = 0; i < out.size() && i < values.size(); ++i) out[i] = values[i];
  return tensor;
}

}  // namespace octavo
