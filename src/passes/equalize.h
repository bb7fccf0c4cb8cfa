// equalize: cross-layer equalization (Nagel et al., "Data-Free Quantization Through Weight
// Equalization and Bias Correction", 2019, section 4.1; the balance between activations and weights
// after Xiao et al., "SmoothQuant", 2023, with alpha = 1/2).
//
// A tensor has one scale for all its channels, so a channel that is small beside the others is
// lost. Where what makes a channel and what reads it are linear, the channel can be divided by any
// number on one side and multiplied on the other: y = W2 relu(W1 x) = (W2 S) relu((1 / S) W1 x).
//
// A ReLU6 keeps its clip, and its channels their size: over the samples that were measured on, a
// MobileNetV2 erred 2 % with it and 9 % with a Relu in its place, and to widen the clip lets
// through what it was trained to cut.
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

// Of a value, channel by channel (axis 1): the largest magnitude, the ends, and the mean square.
struct ChannelStats {
  std::vector<float> largest, lowest, highest;
  std::vector<double> square;
};

// What a value is called once its channels have changed, as it does not hold what it did.
inline std::string equalized_name(const std::string& name) { return name + "_equalized"; }

// What equalization did, by the new names of the values that changed.
struct Equalized {
  std::map<std::string, ChannelStats> stats;         // what they hold now; where that was known
  std::map<std::string, std::vector<int>> exponent;  // channel c holds 2^exponent[c] of what it did
};

struct EqualizeOptions {
  bool per_channel = true;     // weights have a scale for each output channel
  double largest_ratio = 0.3;  // of the predicted noise, after to before
};

// `stats` by value name; values without are left alone. Values that change get their
// equalized_name(), and are told of in `done`. How many changed.
Result<int> equalize(Graph& graph, const std::map<std::string, ChannelStats>& stats,
                     const EqualizeOptions& options, PassContext& context,
                     Equalized* done = nullptr);

}  // namespace octavo::passes
