// fdwconv: depthwise convolution on floats, one filter a channel, reading a bordered NHWC buffer.
// For output pixels m < pixels and channels c < channels:
//
//   pixel(m)  = x + (m / width) * row_stride + (m % width) * pixel_stride
//   acc(m, c) = bias[c] + sum over t < taps of x[pixel(m) + offset[t] + c] * w[c][t]
//   y(m, c)   = min(max(acc, lo), hi), NaN stays NaN
//
// Every product is rounded, then every sum, in the order bias, t: all rows but fused ones give the
// same bits. Fused rows as in fconv.h.
//
// Where a whole image is there, a row that walks along it (dw_window.h) may be used instead. It is
// fused, and adds the taps column by column of the window.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "kernels/dw_window.h"
#include "kernels/policy.h"

namespace octavo::kernels {

struct FDwConvPacked {
  int channels = 0, taps = 0;
  std::vector<float> weights;  // [tap][channel]
  std::vector<float> bias;     // [channel]

  std::size_t bytes() const { return (weights.size() + bias.size()) * sizeof(float); }
};
// weights[c][t]; bias may be empty: zeros.
FDwConvPacked pack_fdwconv(int channels, int taps, std::span<const float> weights,
                           std::span<const float> bias);

struct FDwConvCall {
  const float* x = nullptr;
  std::int64_t pixel_stride = 0, row_stride = 0;  // floats
  std::int64_t width = 1;
  std::int64_t pixels = 0;
  const std::int32_t* tap_offset = nullptr;  // floats, one a tap
  float* out = nullptr;
  std::int64_t out_stride = 0;  // floats
  float lo = 0, hi = 0;         // -infinity, infinity: no clamp
};

struct FDwConvKernel {
  std::string_view name;
  simd::Level level;
  bool fused;
  void (*run)(const FDwConvPacked& packed, const FDwConvCall& call);
};

std::span<const FDwConvKernel> fdwconv_kernels();  // weakest first: front() is the reference

// Weights for a walk, [tile of 4 channels][column][row][channel of the tile]; the last tile begins
// 4 channels before the end.
struct FDwConvWalk {
  DwWindow window;
  int channels = 0;
  std::vector<float> weights, bias, border;

  std::size_t bytes() const {
    return (weights.size() + bias.size() + border.size()) * sizeof(float);
  }
};

// Rows first_row .. last_row - 1 of outputs of one image, in dense memory.
struct FDwConvImage {
  const float* x = nullptr;
  float* out = nullptr;
  std::int64_t first_row = 0, last_row = 0;
  float lo = 0, hi = 0;
};

struct FDwConvWalker {
  std::string_view name;
  simd::Level level;
  bool fused;
  int size;  // of its square window
  FDwConvWalk (*pack)(const DwWindow& window, int channels, std::span<const float> weights,
                      std::span<const float> bias);
  void (*run)(const FDwConvWalk& packed, const FDwConvImage& image);

  bool fits(const DwWindow& window, int channels) const {
    return channels >= 4 && can_walk(window, size);
  }
};

std::span<const FDwConvWalker> fdwconv_walkers();
// The walk that the policy allows and that fits; null: none.
const FDwConvWalker* choose_fdwconv_walker(const Policy& policy, const DwWindow& window,
                                           int channels);

}  // namespace octavo::kernels
