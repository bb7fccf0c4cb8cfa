// What the rows of qdwconv's table share.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/qdwconv/qdwconv.h"

namespace octavo::kernels {

inline constexpr int kLanes = 8;  // channels of a tile

inline int padded_dw_channels(const QDwConvSpec& spec) {
  return (spec.channels + kLanes - 1) / kLanes * kLanes;
}

// Everything but the weights.
QDwConvPacked pack_dw_common(const QDwConvSpec& spec, std::span<const std::int8_t> weights,
                             std::span<const std::int32_t> bias, std::span<const float> scale);

// The row for any window (qdwconv.cpp).
QDwConvPacked pack_dw_pairs(const QDwConvSpec& spec, std::span<const std::int8_t> weights,
                            std::span<const std::int32_t> bias, std::span<const float> scale);
void run_dw_pairs(const QDwConvPacked& packed, const QDwConvCall& call);

std::span<const QDwConvKernel> qdwconv_column_rows();  // columns.cpp

}  // namespace octavo::kernels
