// Images and windows for the tests of depthwise kernels that know the whole image
// (kernels/dw_window.h).
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/dw_window.h"

namespace octavo::test {

inline std::int64_t out_height(const kernels::DwWindow& w, std::int64_t bottom) {
  return (w.height + w.top + bottom - (w.kernel_h - 1) * w.dilation_h - 1) / w.stride_h + 1;
}

// Windows of size x size with every border that a walk takes, on images from a single pixel on
// whose rows are and are not a whole number of strides.
inline std::vector<kernels::DwWindow> dw_windows(std::int64_t size) {
  struct Step {
    std::int64_t stride, dilation;
  };
  std::vector<kernels::DwWindow> windows;
  for (const auto& [stride, dilation] : {Step{1, 1}, {2, 1}, {1, 2}, {2, 2}, {1, 3}}) {
    const std::int64_t reach = (size - 1) * dilation;
    for (const std::int64_t width : {1, 2, 5, 8, 14}) {
      for (const std::int64_t left : {std::int64_t{0}, reach / 2, reach}) {
        for (const std::int64_t right : {std::int64_t{0}, reach / 2, reach}) {
          const std::int64_t places = width + left + right - reach;
          if (places < 1) continue;
          windows.push_back({4, width, (places - 1) / stride + 1, size, size, stride, stride,
                             dilation, dilation, left, left});
        }
      }
    }
  }
  return windows;
}

// The element of the image under tap (i, j) of output (y, x), in pixels; -1: of the border.
inline std::int64_t pixel_under(const kernels::DwWindow& w, std::int64_t y, std::int64_t x,
                                std::int64_t i, std::int64_t j) {
  const std::int64_t row = y * w.stride_h + i * w.dilation_h - w.top;
  const std::int64_t column = x * w.stride_w + j * w.dilation_w - w.left;
  const bool inside = row >= 0 && row < w.height && column >= 0 && column < w.width;
  return inside ? row * w.width + column : -1;
}

}  // namespace octavo::test
