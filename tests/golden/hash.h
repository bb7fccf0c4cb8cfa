// Data that golden cases generate instead of storing it (all uint32 arithmetic, modulo 2^32).
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "tensor/tensor.h"

namespace octavo::golden {

inline std::uint32_t uhash(std::uint32_t i, std::uint32_t seed) {
  std::uint32_t h = i * 2654435761U + seed;
  h ^= h >> 15;
  h *= 2246822519U;
  h ^= h >> 13;
  return h;
}

// Byte i, row-major, is the low byte of uhash(i, seed).
inline Tensor hashed_codes(DType dtype, const Shape& shape, std::uint32_t seed) {
  Tensor out = Tensor::make(dtype, shape);
  auto* bytes = reinterpret_cast<std::uint8_t*>(out.mutable_data());
  for (std::size_t i = 0; i < out.bytes(); ++i)
    bytes[i] = static_cast<std::uint8_t>(uhash(static_cast<std::uint32_t>(i), seed));
  return out;
}

// The first elements of a tensor, as many as `shape` has.
inline Tensor head_of(const Tensor& tensor, const Shape& shape) {
  Tensor out = Tensor::make(tensor.dtype(), shape);
  std::memcpy(out.mutable_data(), tensor.data(), std::min(out.bytes(), tensor.bytes()));
  return out;
}

}  // namespace octavo::golden
