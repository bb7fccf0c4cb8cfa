// Networks that take a picture's bytes.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "graph/graph.h"

namespace octavo::passes {

// How RGBA bytes become the channels of an input; see ops/pixels.cpp.
struct PixelMapping {
  std::vector<std::int64_t> source;   // of each channel the byte in a pixel; empty: grey
  std::vector<double> normalization;  // of each channel scale, low, mean, std
};

// The only input, float32 [N, C, H, W] or [N, H, W, C] of a fixed shape, becomes uint8 [N, H, W, 4]
// of the same name. SHAPE_MISMATCH where it is no picture of that many channels.
Status take_pixels(Graph& graph, const PixelMapping& mapping);

// A picture's bytes become codes, in the order that is wanted, in one step: QuantizeLinear and
// ToChannelsLast behind Pixels go into it.
Result<int> fuse_pixels(Graph& graph);

}  // namespace octavo::passes
