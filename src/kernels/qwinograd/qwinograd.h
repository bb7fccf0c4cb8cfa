// qwinograd: dense 3x3 convolutions of stride 1 on codes, four times fewer products than qconv, and
// the same integers.
//
// For output pixels (y, x) < (out_height, out_width) of each image and channels n < channels:
//
//   acc = bias[n] + sum over i, j < 3, c < depth of
//                     (x[y + i - top][x + j - left][c] - zero_x) * w[n][i][j][c]
//
// with zero_x outside of the image; the outputs of an acc are those of qconv.h. Images and outputs
// are dense, channels inside. Accumulation is modulo 2^32.
//
// The fast row computes outputs in tiles of 4 x 4 by Winograd's minimal filtering F(4x4, 3x3)
// (A. Lavin and S. Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv 1509.09308)
// with the points 0, 1, -1, 2, -2 and infinity, in integers: the fractions of G are taken out of
// it, so a tile comes out as 576 times its sums modulo 2^32. 576 = 9 * 64, and 9 has an inverse
// modulo 2^32: what is left is 64 times the sums, exact while the sums of one channel lie within
// 2^26 of each other for all codes. Where they do not, the input channels are summed in parts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "kernels/policy.h"
#include "kernels/qconv/qconv.h"
#include "kernels/qconv/requantize.h"

namespace octavo::kernels {

inline constexpr std::int64_t kWinogradTile = 4;    // outputs on a side
inline constexpr std::int64_t kWinogradDepth = 32;  // parts are whole multiples of channels

struct QWinogradSpec {
  int channels = 0;       // n
  int depth = 0;          // c
  bool x_signed = false;  // int8 codes, or uint8
  std::int32_t zero_x = 0;
  std::int64_t height = 0, width = 0;  // of an image
  std::int64_t out_height = 0, out_width = 0;
  std::int64_t top = 0, left = 0;  // rows and columns of the border before the image
  int parts = 1;                   // of the input channels, none empty: winograd_parts

  std::int64_t tile_columns() const { return (out_width + kWinogradTile - 1) / kWinogradTile; }
  std::int64_t tiles_of_image() const {
    return tile_columns() * ((out_height + kWinogradTile - 1) / kWinogradTile);
  }
  // The first input channel of a part; of the one behind the last: depth.
  std::int64_t part_begin(int part) const {
    const std::int64_t multiples = (depth + kWinogradDepth - 1) / kWinogradDepth;
    return part == parts ? depth : multiples * part / parts * kWinogradDepth;
  }
};

struct QWinogradPacked {
  QWinogradSpec spec;
  std::shared_ptr<const QConvPacked> direct;  // weights, scale and bias as qconv's rows have them
  std::vector<std::int32_t> start;   // -576 * the lowest sum of raw codes, a part and channel
  std::vector<std::uint8_t> border;  // a pixel outside of the image
  std::size_t scratch_bytes = 0;     // per call, 16-byte aligned

  std::size_t bytes() const {
    return direct->bytes() + start.size() * sizeof(std::int32_t) + border.size();
  }
};

// Tiles that one call may do: their transformed codes should stay in the second-level cache.
std::int64_t winograd_tiles(const QWinogradSpec& spec);

// Tiles are counted through all images, row by row; channels are cut at multiples of 8.
struct QWinogradCall {
  const std::byte* x = nullptr;  // the first image
  std::byte* out = nullptr;      // of the first image
  std::int64_t out_stride = 0;   // elements between output pixels, >= channels; 0: channels
  std::int64_t first_tile = 0, last_tile = 0;
  int first_channel = 0, last_channel = 0;
  QConvOutput output = QConvOutput::kUint8;
  std::int32_t zero_y = 0, lo = 0, hi = 255;
  std::byte* scratch = nullptr;  // QWinogradPacked::scratch_bytes
};

struct QWinogradKernel {
  std::string_view name;
  simd::Level level;
  bool x_signed;  // the byte form of x it takes
  // weights[n][i][j][c] row-major, in parts as winograd_parts allows; scale has spec.channels
  // elements, bias too or none (zeros).
  QWinogradPacked (*pack)(const QWinogradSpec& spec, std::span<const std::int8_t> weights,
                          std::span<const std::int32_t> bias, std::span<const float> scale);
  // May read up to 16 bytes past the last image.
  void (*run)(const QWinogradPacked& packed, const QWinogradCall& call);
};

// Weakest first; the first two (uint8 x, int8 x) are the reference: plain sums over the windows.
std::span<const QWinogradKernel> qwinograd_kernels();

// The fewest parts of the input channels whose sums stay so close together that the fast rows are
// exact: 255 times the sum of a channel's weights' magnitudes is less than 2^26. Up to 228 input
// channels always do. 0 where it would take more than a few.
int winograd_parts(const QWinogradSpec& spec, std::span<const std::int8_t> weights);

// The sum of a part's weights for an output channel, and of their magnitudes.
ChannelStart winograd_sums(const QWinogradSpec& spec, std::span<const std::int8_t> weights,
                           int part, int channel);

}  // namespace octavo::kernels
