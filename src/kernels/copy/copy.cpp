#include "kernels/copy/copy.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/ceil_div.h"
#include "base/sort.h"

namespace octavo::kernels {

namespace {

template <std::size_t kBytes>
void copy_strided_run(const std::byte* src, std::byte* dst, std::int64_t n, std::int64_t src_step,
                      std::int64_t dst_step) {
  for (std::int64_t i = 0; i < n; ++i) {
    std::memcpy(dst + i * dst_step * static_cast<std::int64_t>(kBytes),
                src + i * src_step * static_cast<std::int64_t>(kBytes), kBytes);
  }
}

void copy_run(const std::byte* src, std::byte* dst, std::int64_t n, std::int64_t src_step,
              std::int64_t dst_step, std::size_t element_size) {
  switch (element_size) {
    case 1:
      return copy_strided_run<1>(src, dst, n, src_step, dst_step);
    case 2:
      return copy_strided_run<2>(src, dst, n, src_step, dst_step);
    case 4:
      return copy_strided_run<4>(src, dst, n, src_step, dst_step);
    default:
      return copy_strided_run<8>(src, dst, n, src_step, dst_step);
  }
}

struct Dim {
  std::int64_t size, src, dst;
};

}  // namespace

CopyPlan CopyPlan::make(std::span<const std::int64_t> dims,
                        std::span<const std::int64_t> src_strides,
                        std::span<const std::int64_t> dst_strides, std::size_t element_size,
                        const Policy& policy) {
  CopyPlan plan;
  plan.element_size_ = element_size;
  std::vector<Dim> given;
  for (std::size_t d = 0; d < dims.size(); ++d) {
    if (dims[d] == 0) return plan;
    if (dims[d] > 1) given.push_back({dims[d], src_strides[d], dst_strides[d]});
  }
  // Innermost last: by how far the destination moves, so that it is written in order.
  const auto order = sorted_indices(given.size(), [&](std::size_t a, std::size_t b) {
    return std::abs(given[a].dst) > std::abs(given[b].dst);
  });
  // A dimension joins the one inside it when both tensors walk on evenly.
  std::vector<Dim> merged;
  for (auto place = order.rbegin(); place != order.rend(); ++place) {
    const Dim* dim = &given[*place];
    if (!merged.empty() && dim->src == merged.back().src * merged.back().size &&
        dim->dst == merged.back().dst * merged.back().size) {
      merged.back().size *= dim->size;
    } else {
      merged.push_back(*dim);
    }
  }
  if (merged.empty()) merged.push_back({1, 1, 1});

  const Dim inner = merged.front();
  std::size_t used = 1;
  if (inner.src == 1 && inner.dst == 1) {
    plan.inner_ = Inner::kContiguous;
    plan.length_ = inner.size;
  } else {
    // A transposition: destination walks this dimension, the source another one.
    const auto other =
        std::find_if(merged.begin() + 1, merged.end(), [](const Dim& dim) { return dim.src == 1; });
    if (inner.dst == 1 && inner.src > 1 && other != merged.end() && other->dst > 1) {
      plan.inner_ = Inner::kTranspose;
      plan.rows_ = inner.size;  // of the source
      plan.src_row_ = inner.src;
      plan.length_ = other->size;
      plan.dst_step_ = other->dst;
      const TransposeKernel& kernel = best_row(transpose_kernels(), policy);
      plan.transpose_ = element_size == 1   ? kernel.bytes1
                        : element_size == 2 ? kernel.bytes2
                        : element_size == 4 ? kernel.bytes4
                                            : kernel.bytes8;
      std::rotate(merged.begin() + 1, other, other + 1);
      used = 2;
    } else {
      plan.inner_ = Inner::kStrided;
      plan.length_ = inner.size;
      plan.src_step_ = inner.src;
      plan.dst_step_ = inner.dst;
    }
  }
  constexpr std::int64_t kPiece = 1 << 14;  // elements
  constexpr std::int64_t kLeast = 64;       // columns, a multiple of what transposing takes
  plan.piece_ =
      std::max(kPiece / std::max<std::int64_t>(plan.rows_, 1) / kLeast, std::int64_t{1}) * kLeast;
  plan.pieces_ = std::max<std::int64_t>(ceil_div(plan.length_, plan.piece_), 1);
  plan.blocks_ = plan.pieces_;
  for (std::size_t d = merged.size(); d-- > used;) {
    plan.dims_.push_back(merged[d].size);
    plan.src_strides_.push_back(merged[d].src);
    plan.dst_strides_.push_back(merged[d].dst);
    plan.blocks_ *= merged[d].size;
  }
  return plan;
}

void CopyPlan::run(const std::byte* src, std::byte* dst, std::int64_t first,
                   std::int64_t last) const {
  const auto size = static_cast<std::int64_t>(element_size_);
  for (std::int64_t block = first; block < last; ++block) {
    std::int64_t rest = block / pieces_;
    const std::int64_t begin = block % pieces_ * piece_;
    const std::int64_t count = std::min(piece_, length_ - begin);
    std::int64_t from = begin * src_step_;
    std::int64_t to = begin * dst_step_;
    for (std::size_t d = dims_.size(); d-- > 0;) {
      const std::int64_t i = rest % dims_[d];
      rest /= dims_[d];
      from += i * src_strides_[d];
      to += i * dst_strides_[d];
    }
    const std::byte* source = src + from * size;
    std::byte* target = dst + to * size;
    switch (inner_) {
      case Inner::kContiguous:
        std::memcpy(target, source, static_cast<std::size_t>(count * size));
        break;
      case Inner::kTranspose:
        transpose_(source, target, rows_, count, src_row_, dst_step_);
        break;
      case Inner::kStrided:
        copy_run(source, target, count, src_step_, dst_step_, element_size_);
        break;
    }
  }
}

void copy_strided(const std::byte* src, std::byte* dst, std::span<const std::int64_t> dims,
                  std::span<const std::int64_t> src_strides,
                  std::span<const std::int64_t> dst_strides, std::size_t element_size) {
  CopyPlan::make(dims, src_strides, dst_strides, element_size).run(src, dst);
}

void fill(std::byte* dst, const std::byte* value, std::size_t element_size, std::size_t count) {
  if (element_size == 1) {
    std::memset(dst, std::to_integer<int>(*value), count);
    return;
  }
  for (std::size_t i = 0; i < count; ++i) std::memcpy(dst + i * element_size, value, element_size);
}

}  // namespace octavo::kernels
