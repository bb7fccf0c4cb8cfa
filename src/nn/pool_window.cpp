#include "nn/pool_window.h"

#include <algorithm>

#include "base/text.h"
#include "nn/checks.h"

namespace octavo::nn {

namespace {
constexpr std::int64_t kMaxWindow = std::int64_t{1} << 15;
}  // namespace

Result<PoolAxis> pool_axis(const Shape& x, int axis, const functional::Pool2d& pool, bool dilates,
                           std::string_view where) {
  const auto i = static_cast<std::size_t>(axis - 2);
  const std::int64_t kernel = pool.kernel_size[i];
  const std::int64_t stride = pool.stride[i] == 0 ? kernel : pool.stride[i];
  const std::int64_t padding = pool.padding[i];
  const std::int64_t dilation = dilates ? pool.dilation[i] : 1;
  const std::int64_t in = x[axis];
  if (kernel < 1 || stride < 1 || dilation < 1 || kernel > kMaxWindow || stride > kMaxWindow ||
      dilation > kMaxWindow) {
    return nn_error(Code::kInvalidOption,
                    text("kernel_size, stride and dilation should be greater than zero, got ",
                         kernel, ", ", stride, ", ", dilation, "."),
                    where, text("They lie between 1 and ", kMaxWindow, "."));
  }
  if (padding < 0 || padding > kernel / 2) {
    return nn_error(Code::kInvalidOption,
                    text("pad should be at most half of effective kernel size, but got pad = ",
                         padding, ", kernel_size = ", kernel, "."),
                    where, "");
  }
  const std::int64_t reach = in + 2 * padding - dilation * (kernel - 1) - 1;
  const std::int64_t rounded = reach + (pool.ceil_mode ? stride - 1 : 0);
  std::int64_t out = rounded < 0 ? 0 : rounded / stride + 1;
  // The last window starts inside the image or its left padding.
  if (pool.ceil_mode && (out - 1) * stride >= in + padding) --out;
  if (out < 1) {
    return nn_error(
        Code::kShapeMismatch,
        text("The input ", x.to_string(), " is smaller than the window of ", kernel, "."), where,
        "Use a smaller kernel or more padding.");
  }
  return PoolAxis{in, out, kernel, stride, padding, dilation};
}

std::vector<kernels::WindowSpan> pool_spans(const PoolAxis& axis,
                                            std::vector<std::int64_t>& padded) {
  std::vector<kernels::WindowSpan> inside;
  for (std::int64_t i = 0; i < axis.out; ++i) {
    const std::int64_t first = i * axis.stride - axis.padding;
    const std::int64_t last = std::min(first + axis.kernel, axis.in + axis.padding);
    padded.push_back(last - first);
    const std::int64_t begin = std::clamp<std::int64_t>(first, 0, axis.in);
    inside.push_back({static_cast<std::int32_t>(begin),
                      static_cast<std::int32_t>(std::clamp(last, begin, axis.in))});
  }
  return inside;
}

}  // namespace octavo::nn
