// The vector forms of a BatchNorm on codes (KERNELS: rows of the table in qbatchnorm.cpp), and what
// they share. Inside this folder only.
//
//   float   mul, add, magic rounding in f32 lanes                                   float.cpp
//   dot     clamp((q * M + B) >> shift) in i32 lanes, M of 22 bits                  dot.cpp
//   nibble  high byte of (high[q >> 4] + low[q & 15]) by four swizzles, planes only  nibble.cpp
#pragma once

#include <cstring>

#include "kernels/qbatchnorm/qbatchnorm.h"

namespace octavo::kernels {

std::int32_t code_of(std::uint8_t byte, CodeType code);

// Everything of a packed layer but a row's own constants.
PackedQBatchNorm pack_common(const QBatchNormSpec& spec);

// The proof: `run` on all 256 codes of every channel gives the tables' bytes.
bool equals_tables(QBatchNormFn run, ChannelOrder order, const PackedQBatchNorm& packed,
                   std::span<const std::uint8_t> tables);

// out[0, n) = f(in[0, n)), sixteen bytes at a time; f: v128 -> v128, byte by byte. The last vector
// overlaps the one before it, and is read first, because out may be in.
template <class Function>
inline void map_bytes(const std::uint8_t* in, std::uint8_t* out, std::size_t n, Function f) {
  if (n == 0) return;  // the pointers may be null
  if (n < 16) {
    std::uint8_t bytes[16] = {};
    std::memcpy(bytes, in, n);
    wasm_v128_store(bytes, f(wasm_v128_load(bytes)));
    std::memcpy(out, bytes, n);
    return;
  }
  const v128_t last = f(wasm_v128_load(in + n - 16));
  for (std::size_t i = 0; i + 16 <= n; i += 16) {
    wasm_v128_store(out + i, f(wasm_v128_load(in + i)));
  }
  wasm_v128_store(out + n - 16, last);
}

// Planes by map_bytes: make(channel) gives the function of a channel's vectors.
template <class Make>
inline void map_planes(const std::uint8_t* in, std::uint8_t* out, std::size_t planes,
                       std::size_t plane_size, std::size_t first_channel, std::size_t channels,
                       Make make) {
  for (std::size_t plane = 0; plane < planes; ++plane) {
    map_bytes(in, out, plane_size, make((first_channel + plane) % channels));
    in += plane_size;
    out += plane_size;
  }
}

// Pixels: make(c) gives the function of a vector that begins at channel c < channels, with the
// constants of sixteen channels, cyclically. Where a vector never crosses a pixel's end, they stay
// in registers over a strip of pixels that stays in cache.
template <class Make>
inline void map_pixels(const std::uint8_t* in, std::uint8_t* out, std::size_t pixels,
                       std::size_t channels, Make make) {
  if (channels % 16 == 0) {
    constexpr std::size_t kStrip = 128;
    for (std::size_t first = 0; first < pixels; first += kStrip) {
      const std::size_t end = (first + kStrip < pixels ? first + kStrip : pixels) * channels;
      for (std::size_t c = 0; c < channels; c += 16) {
        const auto f = make(c);
        for (std::size_t i = first * channels + c; i < end; i += channels) {
          wasm_v128_store(out + i, f(wasm_v128_load(in + i)));
        }
      }
    }
    return;
  }
  const std::size_t n = pixels * channels;
  std::size_t c = 0;
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    wasm_v128_store(out + i, make(c)(wasm_v128_load(in + i)));
    c = (c + 16) % channels;
  }
  if (i < n) map_bytes(in + i, out + i, n - i, make(c));
}

// values[i % n] for n + 16 entries, so that sixteen may be read from any i < n.
template <class T>
inline void append_cyclic(const std::vector<T>& values, std::vector<T>& to) {
  for (std::size_t i = 0; i < values.size() + 16; ++i) to.push_back(values[i % values.size()]);
}

template <ChannelOrder kOrder>
std::optional<PackedQBatchNorm> pack_float(const QBatchNormSpec& spec,
                                           std::span<const std::uint8_t> tables);
void run_float_pixels(const std::uint8_t* in, std::uint8_t* out, std::size_t pixels, std::size_t,
                      std::size_t, const PackedQBatchNorm& packed);
void run_float_planes(const std::uint8_t* in, std::uint8_t* out, std::size_t planes,
                      std::size_t plane_size, std::size_t first_channel,
                      const PackedQBatchNorm& packed);

template <ChannelOrder kOrder>
std::optional<PackedQBatchNorm> pack_dot(const QBatchNormSpec& spec,
                                         std::span<const std::uint8_t> tables);
void run_dot_pixels(const std::uint8_t* in, std::uint8_t* out, std::size_t pixels, std::size_t,
                    std::size_t, const PackedQBatchNorm& packed);
void run_dot_planes(const std::uint8_t* in, std::uint8_t* out, std::size_t planes,
                    std::size_t plane_size, std::size_t first_channel,
                    const PackedQBatchNorm& packed);

template <simd::Level kLevel>
std::optional<PackedQBatchNorm> pack_nibble(const QBatchNormSpec& spec,
                                            std::span<const std::uint8_t> tables);
template <simd::Level kLevel>
void run_nibble_planes(const std::uint8_t* in, std::uint8_t* out, std::size_t planes,
                       std::size_t plane_size, std::size_t first_channel,
                       const PackedQBatchNorm& packed);

}  // namespace octavo::kernels
