// Conv on codes by Winograd's filtering, where that is exact and pays.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "kernels/qconv/qconv.h"
#include "ops/matrix.h"
#include "ops/op.h"
#include "ops/window.h"

namespace octavo::ops {

// A step for one group of channels, or nothing where `direct`, the row that sums the windows of
// this convolution as they are, is faster on this machine or the only one that is exact.
// weights[n][kH][kW][c] row-major; bias has an element a channel or none.
std::optional<Step> winograd_step(const PrepareContext& context, const WindowAxis& h,
                                  const WindowAxis& w, std::span<const std::int8_t> weights,
                                  std::span<const std::int32_t> bias, std::span<const float> scale,
                                  const OutputForm& form, const kernels::QConvKernel& direct);

}  // namespace octavo::ops
