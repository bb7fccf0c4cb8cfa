// fwinograd: 3x3 convolutions of stride 1 on floats with fewer products (Winograd's minimal
// filtering; Lavin and Gray 2015, arXiv 1509.09308). A tile of 4 x 4 outputs reads 6 x 6 pixels and
// takes 36 products a pair of channels instead of 144:
//
//   U(n, c) = G w(n, c) G^T            in double, rounded once, when packed
//   V(t, c) = B^T x(t, c) B            x(t, c): the pixels of tile t, zeros outside of the image
//   P(t, n) = sum over c of V(t, c) * U(n, c), place by place: 36 matrix products (fconv.h)
//   y(t, n) = min(max(A^T P(t, n) A + bias[n], lo), hi), NaN stays NaN
//
// Interpolated at 0, +-1/r, +-r, infinity with r = sqrt(2), the largest error is 1.5 times a direct
// convolution's; at the usual 0, +-1, +-2 it would be six times. Each operation is rounded, columns
// first, then rows, as written here:
//
//   B^T d:  (d0 + d4) - 2.5 * d2                           A^T p:  p0 + (s + z)
//           e + f, e - f, g + h, g - h                             (d + 2 * w) / r
//           (d1 + d5) - 2.5 * d3                                   0.5 * s + 2 * z
//     e = d4 - 2 * d2, f = (d3 - 2 * d1) / r                       (0.5 * d + 4 * w) / r + p5
//     g = d4 - 0.5 * d2, h = (d3 - 0.5 * d1) * r             s = p1 + p2, d = p1 - p2,
//                                                            z = p3 + p4, w = p3 - p4
//
// where "/ r" is the product with 1 / r in float. All rows but fused ones give the same bits; a
// fused one has fconv's fused products between the same transforms. Tiles are independent, so any
// cut into strips gives the same bits too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "kernels/fconv/fconv.h"

namespace octavo::kernels {

// Images [batch][height][width][in] and [batch][out_height][out_width][out], both dense.
struct FWinogradSpec {
  int in = 0, out = 0;
  std::int64_t batch = 1;
  std::int64_t height = 0, width = 0;
  std::int64_t out_height = 0, out_width = 0;
  std::int64_t top = 0, left = 0;  // rows and columns of zeros before the image

  std::int64_t tile_rows() const { return (out_height + 3) / 4; }
  std::int64_t tile_columns() const { return (out_width + 3) / 4; }
  std::int64_t tiles() const { return batch * tile_rows() * tile_columns(); }
};

struct FWinogradPacked {
  FWinogradSpec spec;
  const FConvKernel* products = nullptr;
  std::shared_ptr<const std::vector<FConvPacked>> weights;  // [block of output channels][place]
  std::vector<float> bias;                                  // [out]
  std::int64_t strip = 1;  // tiles that are transformed together, so that they stay near
  std::int64_t strips = 0;
  int block = 1;   // output channels that are
  int blocks = 0;  // of output channels

  // Independent parts of the work, the blocks of a strip one after the other: neighbours share
  // transformed pixels where one call does them.
  std::int64_t pieces() const { return strips * blocks; }
  std::size_t scratch_floats() const;
  std::size_t bytes() const;
};

struct FWinogradCall {
  const float* x = nullptr;
  float* out = nullptr;
  std::int64_t first = 0, last = 0;  // pieces
  float* scratch = nullptr;
  float lo = 0, hi = 0;  // -infinity, infinity: no clamp
};

struct FWinogradKernel {
  std::string_view name;
  simd::Level level;
  bool fused;
  // weights[out][in][3][3]; bias may be empty: zeros.
  FWinogradPacked (*pack)(const FWinogradSpec& spec, std::span<const float> weights,
                          std::span<const float> bias);
  void (*run)(const FWinogradPacked& packed, const FWinogradCall& call);
};

std::span<const FWinogradKernel> fwinograd_kernels();  // weakest first: front() is the reference

}  // namespace octavo::kernels
