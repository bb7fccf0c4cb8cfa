// copy: moves elements between two strided arrays; Transpose, layout changes, Slice, Concat, Split,
// Pad, Expand.
//
//   dst[sum_d i_d * dst_strides[d]] = src[sum_d i_d * src_strides[d]]   for all 0 <= i_d < dims[d]
//
// Strides in elements, any sign (src also 0: Expand); elements of 1, 2, 4 or 8 bytes. The arrays do
// not overlap and no two indices share a destination.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "kernels/copy/transpose.h"
#include "kernels/rows.h"

namespace octavo::kernels {

// Made once (it allocates), run often (it does not). Dimensions are merged and ordered so that the
// innermost loop is a memcpy, a tiled transposition, or as long as can be.
class CopyPlan {
 public:
  CopyPlan() = default;
  static CopyPlan make(std::span<const std::int64_t> dims,
                       std::span<const std::int64_t> src_strides,
                       std::span<const std::int64_t> dst_strides, std::size_t element_size,
                       const Policy& policy = {});

  // Pieces of work: run() may be called for disjoint ranges in any order.
  std::int64_t blocks() const { return blocks_; }
  void run(const std::byte* src, std::byte* dst, std::int64_t first, std::int64_t last) const;
  void run(const std::byte* src, std::byte* dst) const { run(src, dst, 0, blocks_); }

 private:
  enum class Inner : std::uint8_t { kContiguous, kTranspose, kStrided };
  std::vector<std::int64_t> dims_, src_strides_, dst_strides_;  // outer loops
  std::int64_t blocks_ = 0;
  Inner inner_ = Inner::kStrided;
  // What a block walks, with the steps of both arrays: elements, of kTranspose columns of rows_
  // elements each. Long walks are cut into pieces.
  std::int64_t length_ = 0, src_step_ = 1, dst_step_ = 1;
  std::int64_t pieces_ = 1, piece_ = 0;
  std::int64_t rows_ = 0, src_row_ = 0;  // kTranspose
  std::size_t element_size_ = 1;
  TransposeFn transpose_ = nullptr;
};

// The same in one call, for code that runs once.
void copy_strided(const std::byte* src, std::byte* dst, std::span<const std::int64_t> dims,
                  std::span<const std::int64_t> src_strides,
                  std::span<const std::int64_t> dst_strides, std::size_t element_size);

// dst[0 .. count) = *value, elements of element_size bytes.
void fill(std::byte* dst, const std::byte* value, std::size_t element_size, std::size_t count);

}  // namespace octavo::kernels
