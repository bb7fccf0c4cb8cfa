// The smallest and the largest of many values.
#pragma once

#include <span>

#include "calib/qparams.h"
#include "kernels/statistics/statistics.h"

namespace octavo::calib {

// min > max for no values; NaN is passed over.
inline Range extremes(std::span<const float> values) {
  const kernels::Extremes found = kernels::statistics().extremes(values.data(), values.size());
  return {found.min, found.max};
}

}  // namespace octavo::calib
