// absorb_bias: high biases move into the layers behind (Nagel et al., "Data-Free Quantization
// Through Weight Equalization and Bias Correction", 2019, section 4.1.3).
//
// One scale serves all channels of a tensor, and with it one range. Where channels lie apart, each
// around a number c of its own, most of that range is between them: 256 codes for all of it. Then c
// is taken off in the layer that makes the channel and given back in those that read it:
//   y = W2 x + b2 = W2 (x - c) + (b2 + W2 c)
// Behind nothing or a Relu that is never below c: relu(z) - c = relu(z - c) where z >= c. The paper
// takes the mean less three deviations for c; here it is less than the least value that was seen by
// a quarter of what lay above it. Without a Relu c is the middle, and the function is the same for
// every input.
//
// Legal where every reader is linear and pads nothing: a border of zeros would become one of -c.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "graph/graph.h"
#include "passes/equalize.h"
#include "passes/pass.h"

namespace octavo::passes {

// What absorption did, by the new names of the values that changed: what was taken off each
// channel, and the largest magnitude that it holds now.
struct Absorbed {
  std::map<std::string, std::vector<float>> shift, largest;
};

// Comes after equalization, which makes biases high. `stats` as equalize's; values that change are
// named as there, and are told of in `done`. How many changed: those whose range becomes at most
// half as wide.
Result<int> absorb_bias(Graph& graph, const std::map<std::string, ChannelStats>& stats,
                        PassContext& context, Absorbed* done = nullptr);

}  // namespace octavo::passes
