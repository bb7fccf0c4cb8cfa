// Nodes that compute y = factor * x + shift with numbers of each channel (axis 1):
// BatchNormalization; Mul, Div, Add and Sub with a constant.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "graph/graph.h"

namespace octavo::passes {

struct ChannelAffine {
  std::vector<float> factor, shift;  // a number a channel
};

// x where the node may be such a one; kNoValue otherwise.
ValueId affine_input(const Graph& graph, const Node& node);

// Nothing where its numbers are not constants of the channels of x, or not finite.
std::optional<ChannelAffine> channel_affine(const Graph& graph, const Node& node,
                                            std::int64_t channels);

}  // namespace octavo::passes
