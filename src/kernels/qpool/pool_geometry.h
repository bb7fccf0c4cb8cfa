// The sizes of a 2-d pooling over channels-last tensors [batch][in_h][in_w][channels] ->
// [batch][out_h][out_w][channels].
//
// Output pixel (y, x) sees the input pixels (y * stride_h - pad_top + i * dilation_h, x * stride_w
// - pad_left + j * dilation_w), 0 <= i < kernel_h, 0 <= j < kernel_w. out_h and out_w are given, so
// ceil_mode is the caller's affair. 1-d pooling: in_h = kernel_h = stride_h = dilation_h = out_h
// = 1.
#pragma once

#include <algorithm>

namespace octavo::kernels {

struct PoolGeometry {
  int batch = 1;
  int in_h = 1, in_w = 1, channels = 1;
  int kernel_h = 1, kernel_w = 1;
  int stride_h = 1, stride_w = 1;
  int dilation_h = 1, dilation_w = 1;
  int pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  int out_h = 1, out_w = 1;

  // Output rows of all images, numbered through: the unit of work.
  int rows() const { return batch * out_h; }
};

// The taps of one window along one axis.
struct Taps {
  int first, last;  // taps [first, last) lie inside the image
  int padded;       // how many lie inside the image with its padding (for count_include_pad)
};
inline Taps taps_along(int out, int stride, int pad_begin, int pad_end, int kernel, int dilation,
                       int size) {
  const int start = out * stride - pad_begin;
  const int first = start >= 0 ? 0 : (-start + dilation - 1) / dilation;
  const auto below = [&](int end) {
    return end <= start ? 0 : std::min(kernel, (end - start + dilation - 1) / dilation);
  };
  const int last = below(size);
  return {std::min(first, last), last, below(size + pad_end)};
}

}  // namespace octavo::kernels
