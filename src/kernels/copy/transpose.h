// transpose: a matrix of small elements turned around.
//
//   dst[c * dst_row + r] = src[r * src_row + c]   for r < rows, c < columns
//
// src_row and dst_row count elements. One image NCHW -> NHWC: rows = channels, columns = H * W;
// back: rows = H * W, columns = channels. Any sizes, no alignment.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/rows.h"

namespace octavo::kernels {

using TransposeFn = void (*)(const std::byte* src, std::byte* dst, std::int64_t rows,
                             std::int64_t columns, std::int64_t src_row, std::int64_t dst_row);
struct TransposeKernel {
  std::string_view name;
  simd::Level level;
  TransposeFn bytes1, bytes2, bytes4, bytes8;  // by the size of an element
};
std::span<const TransposeKernel> transpose_kernels();  // weakest first: front() is the reference

}  // namespace octavo::kernels
