#include "tensor/tensor.h"

#include <bit>
#include <cstring>
#include <limits>
#include <new>
#include <type_traits>

namespace octavo {

namespace {
constexpr std::align_val_t kAlignment{16};
constexpr std::size_t kSlack = 16;  // kernels may read so far past the end

float half_to_float(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000U) << 16;
  const std::uint32_t exponent = (half >> 10) & 31U;
  const std::uint32_t mantissa = half & 1023U;
  if (exponent == 0) {  // zero and subnormals: mantissa * 2^-24
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;
    return sign != 0 ? -magnitude : magnitude;
  }
  const std::uint32_t bits =
      exponent == 31 ? 0x7F800000U | (mantissa << 13) : ((exponent + 112) << 23) | (mantissa << 13);
  return std::bit_cast<float>(sign | bits);
}

// Floats become integers as far as there are any: a file may have floats where an operator wants
// axes, and no conversion may depend on the machine.
template <class To, class From>
To converted(From value) {
  if constexpr (std::is_integral_v<To> && std::is_floating_point_v<From>) {
    constexpr From kEnd = static_cast<From>(std::uint64_t{1} << 63);
    if (!(value >= -kEnd)) return value < 0 ? std::numeric_limits<To>::min() : To{0};
    if (value >= kEnd) return std::numeric_limits<To>::max();
  }
  return static_cast<To>(value);
}

template <class To, class From>
std::vector<To> convert(const Tensor& tensor) {
  std::vector<To> out;
  out.reserve(static_cast<std::size_t>(tensor.elements()));
  for (const From value : tensor.span<From>()) out.push_back(converted<To>(value));
  return out;
}

template <class To>
std::vector<To> convert_any(const Tensor& tensor) {
  switch (tensor.dtype()) {
    case DType::kFloat32:
      return convert<To, float>(tensor);
    case DType::kFloat64:
      return convert<To, double>(tensor);
    case DType::kUint8:
    case DType::kBool:
      return convert<To, std::uint8_t>(tensor);
    case DType::kInt8:
      return convert<To, std::int8_t>(tensor);
    case DType::kUint16:
      return convert<To, std::uint16_t>(tensor);
    case DType::kInt16:
      return convert<To, std::int16_t>(tensor);
    case DType::kUint32:
      return convert<To, std::uint32_t>(tensor);
    case DType::kInt32:
      return convert<To, std::int32_t>(tensor);
    case DType::kUint64:
      return convert<To, std::uint64_t>(tensor);
    case DType::kInt64:
      return convert<To, std::int64_t>(tensor);
    case DType::kFloat16: {
      std::vector<To> out;
      for (const std::uint16_t half : tensor.span<std::uint16_t>())
        out.push_back(converted<To>(half_to_float(half)));
      return out;
    }
    case DType::kBfloat16: {
      std::vector<To> out;
      for (const std::uint16_t bits : tensor.span<std::uint16_t>())
        out.push_back(converted<To>(std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16)));
      return out;
    }
    case DType::kUndefined:
      break;
  }
  return {};
}
}  // namespace

Tensor Tensor::make(DType dtype, Shape shape) {
  Tensor tensor;
  tensor.dtype_ = dtype;
  tensor.shape_ = std::move(shape);
  const std::size_t size = tensor.bytes();
  auto* data = static_cast<std::byte*>(::operator new(size + kSlack, kAlignment));
  std::memset(data, 0, size + kSlack);
  tensor.data_ = std::shared_ptr<const std::byte>(
      data, [](const std::byte* p) { ::operator delete(const_cast<std::byte*>(p), kAlignment); });
  return tensor;
}

Tensor Tensor::view(DType dtype, Shape shape, std::shared_ptr<const std::byte> data) {
  Tensor tensor;
  tensor.dtype_ = dtype;
  tensor.shape_ = std::move(shape);
  tensor.data_ = std::move(data);
  return tensor;
}

Tensor Tensor::reshaped(Shape shape) const {
  Tensor tensor = *this;
  tensor.shape_ = std::move(shape);
  return tensor;
}

std::vector<std::int64_t> to_int64s(const Tensor& tensor) {
  return convert_any<std::int64_t>(tensor);
}
std::vector<float> to_floats(const Tensor& tensor) { return convert_any<float>(tensor); }

}  // namespace octavo
