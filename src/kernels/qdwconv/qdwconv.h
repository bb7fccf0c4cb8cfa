// qdwconv: depthwise convolution on codes, one filter a channel, reading a bordered NHWC buffer.
// For output pixels m < pixels and channels c < channels:
//
//   pixel(m)  = x + (m / width) * row_stride + (m % width) * pixel_stride
//   acc(m, c) = bias[c] + sum over t < taps of (x[pixel(m) + offset[t] + c] - zero_x) * w[c][t]
//   y(m, c)   = clamp(rint(f32(acc) * scale[c]) + zero_y, lo, hi)
//
// A spec may say more: with `window`, a whole image is there and its border is not in memory
// (dw_window.h; taps row by row of the window, zero_x beyond the image). Rows that keep a column of
// the window for the next output can be chosen then; they take a QDwConvImage.
//
// Rows may read up to 16 bytes past the last channel of a pixel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "kernels/dw_window.h"
#include "kernels/policy.h"

namespace octavo::kernels {

struct QDwConvSpec {
  int channels = 0;
  int taps = 0;
  bool x_signed = false;
  std::int32_t zero_x = 0;
  DwWindow window = {};
};

struct QDwConvPacked {
  QDwConvSpec spec;
  std::vector<std::int16_t> weights;
  std::vector<std::int32_t> bias;  // with -zero_x * sum(w), padded to the tile
  std::vector<float> scale;        // padded to the tile
  bool bounded = false;            // as in qconv.h
  // MADDUBS: tiles of 8 channels whose pairs of weights do not fit into 16 bits, packed for dot16.
  std::vector<std::uint8_t> wide_tiles;
  std::vector<std::uint8_t> border;  // for rows that take images: pixels of zero_x

  std::size_t bytes() const {
    return weights.size() * 2 + bias.size() * sizeof(std::int32_t) + scale.size() * sizeof(float) +
           wide_tiles.size() + border.size();
  }
};

// The output has the byte form of x.
struct QDwConvCall {
  const std::byte* x = nullptr;
  std::int64_t pixel_stride = 0, row_stride = 0;  // bytes
  std::int64_t width = 1;
  std::int64_t pixels = 0;
  const std::int32_t* tap_offset = nullptr;  // bytes, one a tap
  std::byte* out = nullptr;
  std::int64_t out_stride = 0;  // bytes between output pixels
  std::int32_t zero_y = 0, lo = 0, hi = 255;
};

// Rows first_row .. last_row - 1 of outputs of one image, in dense memory.
struct QDwConvImage {
  const std::byte* x = nullptr;
  std::byte* out = nullptr;
  std::int64_t first_row = 0, last_row = 0;
  std::int32_t zero_y = 0, lo = 0, hi = 255;
};

struct QDwConvKernel {
  std::string_view name;
  simd::Level level;
  simd::EngineClass engine;               // kNone: right on every machine
  bool (*fits)(const QDwConvSpec& spec);  // the windows and byte forms it takes
  // weights[c][t]; bias and scale have spec.channels elements (bias may be empty: zeros).
  QDwConvPacked (*pack)(const QDwConvSpec& spec, std::span<const std::int8_t> weights,
                        std::span<const std::int32_t> bias, std::span<const float> scale);
  // One of the two; the other is null.
  void (*run)(const QDwConvPacked& packed, const QDwConvCall& call);
  void (*run_image)(const QDwConvPacked& packed, const QDwConvImage& image) = nullptr;
};

std::span<const QDwConvKernel> qdwconv_kernels();  // weakest first: front() is the reference
// The strongest row that the policy allows, that fits and that is exact on its engine.
const QDwConvKernel& choose_qdwconv(const Policy& policy, const QDwConvSpec& spec);

}  // namespace octavo::kernels
