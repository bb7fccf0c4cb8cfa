#include "kernels/felementwise/broadcast.h"

namespace octavo::kernels {

BroadcastPlan make_broadcast(std::span<const std::int64_t> out_dims,
                             std::span<const std::int64_t> a_strides,
                             std::span<const std::int64_t> b_strides) {
  BroadcastPlan plan;
  for (const std::int64_t dim : out_dims) {
    if (dim == 0) return plan;
  }
  // Innermost first; a dimension joins the one inside it when both operands walk on evenly.
  std::vector<std::int64_t> dims, a, b;
  for (std::size_t d = out_dims.size(); d-- > 0;) {
    if (out_dims[d] == 1) continue;
    if (!dims.empty() && a_strides[d] == a.back() * dims.back() &&
        b_strides[d] == b.back() * dims.back()) {
      dims.back() *= out_dims[d];
      continue;
    }
    dims.push_back(out_dims[d]);
    a.push_back(a_strides[d]);
    b.push_back(b_strides[d]);
  }
  if (dims.empty()) {
    dims.push_back(1);
    a.push_back(1);
    b.push_back(1);
  }
  plan.inner = dims.front();
  plan.a_step = a.front();
  plan.b_step = b.front();
  plan.outer = 1;
  for (std::size_t d = dims.size(); d-- > 1;) {
    plan.dims.push_back(dims[d]);
    plan.a_strides.push_back(a[d]);
    plan.b_strides.push_back(b[d]);
    plan.outer *= dims[d];
  }
  return plan;
}

BroadcastPlan make_broadcast_of_shapes(std::span<const std::int64_t> out_dims,
                                       std::span<const std::int64_t> a_dims,
                                       std::span<const std::int64_t> b_dims) {
  const auto strides = [&](std::span<const std::int64_t> dims) {
    std::vector<std::int64_t> result(out_dims.size(), 0);
    std::int64_t step = 1;
    for (std::size_t d = dims.size(); d-- > 0;) {
      if (dims[d] != 1) result[d + out_dims.size() - dims.size()] = step;
      step *= dims[d];
    }
    return result;
  };
  return make_broadcast(out_dims, strides(a_dims), strides(b_dims));
}

}  // namespace octavo::kernels
