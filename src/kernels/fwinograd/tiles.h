// The loops of fwinograd's rows, on vectors V of channels: V::kLanes floats with the operations of
// float, load(), store(), all() (copies of one) and clamped(lo, hi).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "kernels/fwinograd/fwinograd.h"

namespace octavo::kernels::fwinograd {

// run_tiles() on four channels at a time.
void run_by_fours(const FWinogradPacked& packed, const FWinogradCall& call);

inline constexpr int kTile = 4;  // outputs a side
inline constexpr int kSide = kTile + 2;
inline constexpr int kPlaces = kSide * kSide;
// Between places: neighbours at multiples of a cache's way would all fall into one of its sets.
inline constexpr std::int64_t kGap = 16;

inline std::int64_t pixel_stride_of_place(const FWinogradPacked& packed) {
  return packed.strip * packed.spec.in + kGap;
}
inline std::int64_t product_stride_of_place(const FWinogradPacked& packed) {
  return packed.strip * packed.block + kGap;
}

inline constexpr float kR = 1.41421356237309504880F;  // the root of 2
inline constexpr float kOneOverR = 0.70710678118654752440F;

template <class V>
[[gnu::always_inline]] inline void transform_pixels(const V (&d)[kSide], V (&out)[kSide]) {
  const V e = d[4] - 2.0F * d[2];
  const V f = kOneOverR * (d[3] - 2.0F * d[1]);
  const V g = d[4] - 0.5F * d[2];
  const V h = kR * (d[3] - 0.5F * d[1]);
  out[0] = (d[0] + d[4]) - 2.5F * d[2];
  out[1] = e + f;
  out[2] = e - f;
  out[3] = g + h;
  out[4] = g - h;
  out[5] = (d[1] + d[5]) - 2.5F * d[3];
}

template <class V>
[[gnu::always_inline]] inline void transform_products(const V (&p)[kSide], V (&out)[kTile]) {
  const V s = p[1] + p[2];
  const V d = p[1] - p[2];
  const V z = p[3] + p[4];
  const V w = p[3] - p[4];
  out[0] = p[0] + (s + z);
  out[1] = kOneOverR * (d + 2.0F * w);
  out[2] = 0.5F * s + 2.0F * z;
  out[3] = kOneOverR * (0.5F * d + 4.0F * w) + p[5];
}

// Where a tile lies.
struct Place {
  std::int64_t image, row, column;  // the first output's
};
inline Place place_of(const FWinogradSpec& spec, std::int64_t tile) {
  const std::int64_t of_row = spec.tile_columns();
  const std::int64_t of_image = of_row * spec.tile_rows();
  const std::int64_t in_image = tile % of_image;
  return {tile / of_image, in_image / of_row * kTile, in_image % of_row * kTile};
}

// Channels from .. from + lanes - 1 of a tile's pixels, whose rows begin at row[i]. Its loops stay
// loops: unrolled, all numbers would be in flight at once, and most of them spilled.
template <class V>
[[gnu::always_inline]] inline void pixels_of_tile(const float* const (&row)[kSide],
                                                  std::int64_t channels, std::int64_t from,
                                                  float* out, std::int64_t stride) {
  float half[kSide * kSide * V::kLanes];
  const float* x[kSide];
  for (int i = 0; i < kSide; ++i) x[i] = row[i] + from;
#pragma GCC unroll 1
  for (int j = 0; j < kSide; ++j) {
    V d[kSide];
    V column[kSide];
    for (int i = 0; i < kSide; ++i) {
      d[i] = V::load(x[i]);
      x[i] += channels;
    }
    transform_pixels(d, column);
    for (int i = 0; i < kSide; ++i) column[i].store(half + (i * kSide + j) * V::kLanes);
  }
  float* to = out + from;
#pragma GCC unroll 1
  for (int i = 0; i < kSide; ++i) {
    V d[kSide];
    V both[kSide];
    for (int j = 0; j < kSide; ++j) d[j] = V::load(half + (i * kSide + j) * V::kLanes);
    transform_pixels(d, both);
    for (int j = 0; j < kSide; ++j) {
      both[j].store(to);
      to += stride;
    }
  }
}

// Tiles first .. last - 1 into V[place][tile][in].
template <class V>
void transform_strip(const FWinogradPacked& packed, const float* image, std::int64_t first,
                     std::int64_t last, float* v, float* border) {
  const FWinogradSpec& spec = packed.spec;
  const std::int64_t channels = spec.in;
  for (std::int64_t tile = first; tile < last; ++tile) {
    const Place place = place_of(spec, tile);
    const std::int64_t top = place.row - spec.top;
    const std::int64_t left = place.column - spec.left;
    const float* x = image + place.image * spec.height * spec.width * channels;
    const float* row[kSide];
    const std::int64_t begin = std::clamp<std::int64_t>(-left, 0, kSide);
    const std::int64_t end = std::clamp<std::int64_t>(spec.width - left, begin, kSide);
    for (int i = 0; i < kSide; ++i) {
      const std::int64_t y = top + i;
      const bool inside = y >= 0 && y < spec.height;
      if (inside && begin == 0 && end == kSide) {
        row[i] = x + (y * spec.width + left) * channels;
        continue;
      }
      float* copy = border + i * kSide * channels;
      row[i] = copy;
      std::fill(copy, copy + kSide * channels, 0.0F);
      if (inside && begin < end) {
        std::memcpy(copy + begin * channels, x + (y * spec.width + left + begin) * channels,
                    static_cast<std::size_t>((end - begin) * channels) * sizeof(float));
      }
    }
    float* out = v + (tile - first) * channels;
    const std::int64_t stride = pixel_stride_of_place(packed);
    for (std::int64_t c = 0; c < channels; c += V::kLanes)
      pixels_of_tile<V>(row, channels, std::min(c, channels - V::kLanes), out, stride);
  }
}

// Channels of P[place][tile][block] from `product` on into the outputs of a tile that are inside.
template <class V>
[[gnu::always_inline]] inline void outputs_of_tile(const float* product, std::int64_t stride,
                                                   V bias, V lo, V hi, float* out,
                                                   std::int64_t row_stride,
                                                   std::int64_t pixel_stride, std::int64_t rows,
                                                   std::int64_t columns) {
  float half[kTile * kSide * V::kLanes];
#pragma GCC unroll 1
  for (int j = 0; j < kSide; ++j) {
    V p[kSide];
    V column[kTile];
    const float* from = product + j * stride;
    for (int i = 0; i < kSide; ++i) {
      p[i] = V::load(from);
      from += kSide * stride;
    }
    transform_products(p, column);
    for (int i = 0; i < kTile; ++i) column[i].store(half + (i * kSide + j) * V::kLanes);
  }
#pragma GCC unroll 1
  for (std::int64_t i = 0; i < rows; ++i) {
    V p[kSide];
    V y[kTile];
    for (int j = 0; j < kSide; ++j) p[j] = V::load(half + (i * kSide + j) * V::kLanes);
    transform_products(p, y);
    float* to = out + i * row_stride;
    for (int j = 0; j < kTile; ++j) {
      if (j >= columns) break;
      (y[j] + bias).clamped(lo, hi).store(to);
      to += pixel_stride;
    }
  }
}

template <class V>
void transform_outputs(const FWinogradPacked& packed, const FWinogradCall& call, const float* p,
                       std::int64_t first, std::int64_t last, int channel, int channels) {
  const FWinogradSpec& spec = packed.spec;
  const V lo = V::all(call.lo);
  const V hi = V::all(call.hi);
  for (std::int64_t tile = first; tile < last; ++tile) {
    const Place place = place_of(spec, tile);
    const std::int64_t pixel =
        (place.image * spec.out_height + place.row) * spec.out_width + place.column;
    float* out = call.out + pixel * spec.out + channel;
    const float* product = p + (tile - first) * packed.block;
    const std::int64_t rows = std::min<std::int64_t>(kTile, spec.out_height - place.row);
    const std::int64_t columns = std::min<std::int64_t>(kTile, spec.out_width - place.column);
    for (int from = 0; from < channels; from += V::kLanes) {
      const int n = std::min(from, channels - V::kLanes);
      const V bias = V::load(packed.bias.data() + channel + n);
      outputs_of_tile<V>(product + n, product_stride_of_place(packed), bias, lo, hi, out + n,
                         spec.out_width * spec.out, spec.out, rows, columns);
    }
  }
}

// At least V::kLanes input channels, and as many in each block of output channels.
template <class V>
void run_tiles(const FWinogradPacked& packed, const FWinogradCall& call) {
  const FWinogradSpec& spec = packed.spec;
  float* v = call.scratch;
  float* p = v + kPlaces * pixel_stride_of_place(packed);
  float* border = p + kPlaces * product_stride_of_place(packed);
  std::int64_t transformed = -1;
  for (std::int64_t piece = call.first; piece < call.last; ++piece) {
    const std::int64_t strip = piece / packed.blocks;
    const auto block = static_cast<int>(piece % packed.blocks);
    const std::int64_t first = strip * packed.strip;
    const std::int64_t last = std::min(first + packed.strip, spec.tiles());
    if (strip != transformed) transform_strip<V>(packed, call.x, first, last, v, border);
    transformed = strip;
    FConvCall products;
    constexpr int kZero = 0;
    products.pixel_stride = spec.in;
    products.width = last - first;
    products.pixels = last - first;
    products.segment_offset = &kZero;
    products.out_stride = packed.block;
    products.lo = -std::numeric_limits<float>::infinity();
    products.hi = std::numeric_limits<float>::infinity();
    for (int place = 0; place < kPlaces; ++place) {
      products.x = v + place * pixel_stride_of_place(packed);
      products.out = p + place * product_stride_of_place(packed);
      packed.products->run((*packed.weights)[static_cast<std::size_t>(block * kPlaces + place)],
                           products);
    }
    const int channel = block * packed.block;
    const int channels = std::min(packed.block, spec.out - channel);
    transform_outputs<V>(packed, call, p, first, last, channel, channels);
  }
}

}  // namespace octavo::kernels::fwinograd
