// broadcast: any kernel of two contiguous operands, run over operands with strides (numpy
// broadcasting).
//
// make_broadcast() merges dimensions that all three tensors walk evenly; run_broadcast() calls the
// kernel on the longest contiguous runs that remain. An operand that stands still (stride 0) or
// jumps along the innermost run is copied into a small buffer first, so the kernel always sees
// contiguous data, and results do not depend on the shapes' form.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace octavo::kernels {

struct BroadcastPlan {
  // Outer loops, outermost first; strides in elements. `out` is dense in this order of dimensions.
  std::vector<std::int64_t> dims, a_strides, b_strides;
  // The innermost loop.
  std::int64_t inner = 0, a_step = 0, b_step = 0;
  std::int64_t outer = 0;  // product of dims: blocks of `inner` elements, the unit of work
};

// `out_dims` in memory order (outermost first); the strides say how far each operand moves for a
// step along that dimension: 0 where it is broadcast. Any rank; a dimension of 0 gives an empty
// plan.
BroadcastPlan make_broadcast(std::span<const std::int64_t> out_dims,
                             std::span<const std::int64_t> a_strides,
                             std::span<const std::int64_t> b_strides);
// The usual case: shapes in memory order, each dense, aligned at the end; every dimension equals
// out's or is 1.
BroadcastPlan make_broadcast_of_shapes(std::span<const std::int64_t> out_dims,
                                       std::span<const std::int64_t> a_dims,
                                       std::span<const std::int64_t> b_dims);

// Blocks [first, last) of plan.outer; kernel(a, b, out, n) as in binary.h, qadd.h, qmul.h.
template <class T, class U, class V, class Kernel>
void run_broadcast(const BroadcastPlan& plan, const T* a, const U* b, V* out, std::int64_t first,
                   std::int64_t last, Kernel&& kernel) {
  constexpr std::int64_t kChunk = 512;
  std::array<T, kChunk> a_buffer;
  std::array<U, kChunk> b_buffer;
  const auto gather = [](auto* buffer, const auto* from, std::int64_t step, std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) buffer[i] = from[i * step];
  };
  for (std::int64_t block = first; block < last; ++block) {
    std::int64_t rest = block;
    const T* a_run = a;
    const U* b_run = b;
    for (std::size_t d = plan.dims.size(); d-- > 0;) {
      const std::int64_t i = rest % plan.dims[d];
      rest /= plan.dims[d];
      a_run += i * plan.a_strides[d];
      b_run += i * plan.b_strides[d];
    }
    V* out_run = out + block * plan.inner;
    if (plan.a_step == 1 && plan.b_step == 1) {
      kernel(a_run, b_run, out_run, static_cast<std::size_t>(plan.inner));
      continue;
    }
    // A standing operand is spread once; a jumping one is gathered chunk by chunk.
    if (plan.a_step == 0) std::fill_n(a_buffer.begin(), std::min(kChunk, plan.inner), *a_run);
    if (plan.b_step == 0) std::fill_n(b_buffer.begin(), std::min(kChunk, plan.inner), *b_run);
    for (std::int64_t i = 0; i < plan.inner; i += kChunk) {
      const std::int64_t n = std::min(kChunk, plan.inner - i);
      if (plan.a_step > 1 || plan.a_step < 0)
        gather(a_buffer.data(), a_run + i * plan.a_step, plan.a_step, n);
      if (plan.b_step > 1 || plan.b_step < 0)
        gather(b_buffer.data(), b_run + i * plan.b_step, plan.b_step, n);
      kernel(plan.a_step == 1 ? a_run + i : a_buffer.data(),
             plan.b_step == 1 ? b_run + i : b_buffer.data(), out_run + i,
             static_cast<std::size_t>(n));
    }
  }
}

}  // namespace octavo::kernels
