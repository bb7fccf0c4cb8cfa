// Choosing a row of a kernel table. Tables are weakest first: front() is the scalar reference.
#pragma once

#include <span>

#include "kernels/policy.h"

namespace octavo::kernels {

// The last row that the policy allows.
template <class Row>
const Row& best_row(std::span<const Row> rows, const Policy& policy) {
  static_assert(
      !requires(Row row) { row.engine; }, "rows for engine classes have a chooser");
  const Row* best = &rows.front();
  for (const Row& row : rows) {
    if constexpr (requires { row.fused; }) {
      if (row.fused && !policy.fused_floats) continue;
    }
    if (row.level <= policy.level) best = &row;
  }
  return *best;
}

}  // namespace octavo::kernels
