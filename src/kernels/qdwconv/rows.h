// What the rows of qdwconv's table share.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/qdwconv/qdwconv.h"

namespace octavo::kernels {

inline constexpr int kLanes = 8;       // channels of a tile
inline constexpr int kReadAhead = 16;  // bytes past the last channel of a pixel

inline int padded_dw_channels(const QDwConvSpec& spec) {
  return (spec.channels + kLanes - 1) / kLanes * kLanes;
}

// Everything but the weights.
QDwConvPacked pack_dw_common(const QDwConvSpec& spec, std::span<const std::int8_t> weights,
                             std::span<const std::int32_t> bias, std::span<const float> scale);

// columns.cpp
std::span<const QDwConvKernel> qdwconv_column_rows();
std::span<const QDwConvKernel> qdwconv_relaxed_rows();  // none without relaxed SIMD

}  // namespace octavo::kernels
