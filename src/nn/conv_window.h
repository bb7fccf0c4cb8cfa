// The window of a 2-d convolution over an image: checked sizes, and how kernels read it in place.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "kernels/pad/pad.h"
#include "nn/functional_float.h"
#include "tensor/shape.h"

namespace octavo::nn {

struct ConvWindow {
  std::int64_t batch, channels, height, width;    // of x [N, C, H, W]
  std::int64_t out_channels, kernel_h, kernel_w;  // of the weight [O, C / groups, kH, kW]
  std::int64_t group_in, group_out;               // channels of a group
  std::int64_t out_h, out_w;

  Shape out_shape() const { return {batch, out_channels, out_h, out_w}; }
  std::int64_t padded_height(const functional::Conv2dOptions& options) const {
    return height + 2 * options.padding[0];
  }
  std::int64_t padded_width(const functional::Conv2dOptions& options) const {
    return width + 2 * options.padding[1];
  }
  // One image with its padding, channels last.
  kernels::PadGeometry border(const functional::Conv2dOptions& options,
                              std::size_t element_bytes) const;
  // Elements from the first tap to each, in such an image.
  std::vector<std::int32_t> tap_offsets(const functional::Conv2dOptions& options) const;
  // Group g of the weights as [o][tap][i], from [o][i][tap].
  template <class T>
  std::vector<T> taps_first(std::span<const T> weight, std::int64_t g) const {
    std::vector<T> out;
    const std::int64_t taps = kernel_h * kernel_w;
    for (std::int64_t o = g * group_out; o < (g + 1) * group_out; ++o)
      for (std::int64_t tap = 0; tap < taps; ++tap)
        for (std::int64_t i = 0; i < group_in; ++i)
          out.push_back(weight[static_cast<std::size_t>((o * group_in + i) * taps + tap)]);
    return out;
  }
};

// torch's messages for what does not fit; LIMIT_EXCEEDED for sizes beyond a tensor's.
Result<ConvWindow> conv_window(const Shape& x, const Shape& weight,
                               const functional::Conv2dOptions& options);

}  // namespace octavo::nn
