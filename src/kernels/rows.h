// Choosing a row of a kernel table. Tables are weakest first: front() is the scalar reference.
#pragma once

#include <span>

#include "kernels/policy.h"

namespace octavo::kernels {

// The last row that the policy's level allows.
template <class Row>
const Row& best_row(std::span<const Row> rows, const Policy& policy) {
  const Row* best = &rows.front();
  for (const Row& row : rows) {
    if (row.level <= policy.level) best = &row;
  }
  return *best;
}

}  // namespace octavo::kernels
