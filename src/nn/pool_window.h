// The windows of a pool along one axis of an image: torch's pooling_output_shape.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "kernels/qwindow/qwindow.h"
#include "nn/functional.h"

namespace octavo::nn {

struct PoolAxis {
  std::int64_t in, out, kernel, stride, padding, dilation;
};

// Axis 2 or 3 of x [N, C, H, W]; without `dilates` the pool's dilation is not read. Errors: sizes
// that torch refuses, a window larger than the image.
Result<PoolAxis> pool_axis(const Shape& x, int axis, const functional::Pool2d& pool, bool dilates,
                           std::string_view where);

// The windows' parts inside the image, and into `padded` how long each is with its padding.
std::vector<kernels::WindowSpan> pool_spans(const PoolAxis& axis,
                                            std::vector<std::int64_t>& padded);

inline std::int64_t length(kernels::WindowSpan span) { return span.last - span.first; }

}  // namespace octavo::nn
