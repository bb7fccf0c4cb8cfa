// equalize: cross-layer equalization (Nagel et al., "Data-Free Quantization Through Weight
// Equalization and Bias Correction", 2019, section 4.1; the balance between activations and weights
// after Xiao et al., "SmoothQuant", 2023, with alpha = 1/2).
//
// A tensor has one scale for all its channels, so a channel that is small beside the others is
// lost. Where what makes a channel and what reads it are linear, the channel can be divided by any
// number on one side and multiplied on the other: y = W2 relu(W1 x) = (W2 S) relu((1 / S) W1 x).
//
// Channels that additions, concatenations, pools, slices and pads join get one factor. Factors are
// powers of two, so the float network stays the same to the bit. A tensor is changed only where a
// model of the noise (rounding of activations and of weights, channel by channel) promises a large
// gain: elsewhere equalization costs more than it brings.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "graph/graph.h"
#include "passes/pass.h"

namespace octavo::passes {

// Of a value, channel by channel (axis 1): the largest magnitude and the mean square.
struct ChannelStats {
  std::vector<float> largest;
  std::vector<double> square;
};

// What a value is called once its channels have changed, as it does not hold what it did.
inline std::string equalized_name(const std::string& name) { return name + "_equalized"; }

struct EqualizeOptions {
  bool per_channel = true;     // weights have a scale for each output channel
  double largest_ratio = 0.3;  // of the predicted noise, after to before
};

// `stats` by value name; values without are left alone. Values that change get their
// equalized_name(). How many values changed.
Result<int> equalize(Graph& graph, const std::map<std::string, ChannelStats>& stats,
                     const EqualizeOptions& options, PassContext& context);

}  // namespace octavo::passes
