// Windows of pools that tests walk: padded and strided, dilated, and one that hangs over the end
// (as with ceil_mode).
#pragma once

#include <initializer_list>
#include <vector>

#include "kernels/qpool/pool_geometry.h"

namespace octavo::test {

inline std::vector<kernels::PoolGeometry> pool_geometries(
    std::initializer_list<int> channel_counts) {
  std::vector<kernels::PoolGeometry> all;
  for (const int channels : channel_counts) {
    all.push_back({.batch = 2,
                   .in_h = 7,
                   .in_w = 6,
                   .channels = channels,
                   .kernel_h = 3,
                   .kernel_w = 3,
                   .stride_h = 2,
                   .stride_w = 2,
                   .pad_top = 1,
                   .pad_left = 1,
                   .pad_bottom = 1,
                   .pad_right = 1,
                   .out_h = 4,
                   .out_w = 3});
    all.push_back({.in_h = 5,
                   .in_w = 9,
                   .channels = channels,
                   .kernel_h = 2,
                   .kernel_w = 3,
                   .dilation_h = 2,
                   .dilation_w = 3,
                   .pad_left = 4,
                   .pad_right = 2,
                   .out_h = 3,
                   .out_w = 9});
    // A last window that hangs over the end, as with ceil_mode.
    all.push_back({.in_h = 6,
                   .in_w = 6,
                   .channels = channels,
                   .kernel_h = 3,
                   .kernel_w = 3,
                   .stride_h = 2,
                   .stride_w = 2,
                   .out_h = 3,
                   .out_w = 3});
  }
  return all;
}

}  // namespace octavo::test
