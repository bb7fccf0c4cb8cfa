// From float weights to int8 codes and scales.
//
//   scale of a channel   max|w| / 127, or of some candidates the one with the least sum of squared
//                        errors ("MSE"; Banner et al., "Post training 4-bit quantization of
//                        convolutional networks for rapid-deployment", 2019)
//   pair safe            an engine of the MADDUBS class adds two products of a weight and a byte
//                        in 16 bits, saturating: in every pair of weights that it adds, what is
//                        positive and what is negative stays within 128. The scale is enlarged as
//                        far as that errs less than cutting the pairs does; where it is known what
//                        the input's channels hold, errors are weighed by that.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "graph/graph.h"

namespace octavo::passes {

// kAuto: where the output errs hardly more than with weights that are not. It is asked of the
// numbers, never of the engine, so that the codes are the same wherever they are made.
enum class PairSafe : std::uint8_t { kNo, kAuto, kYes };

struct WeightOptions {
  bool per_channel = true;
  int largest_code = 127;
  bool least_error = false;  // the scale; else the largest weight's
  PairSafe pair_safe = PairSafe::kNo;
};

// A weight seen as rows, one an output channel, in the order in which products are summed: of a
// convolution tap after tap, channels inside.
struct WeightRows {
  std::size_t outputs = 0, length = 0;
  std::size_t behind = 1;  // weights of one channel that lie together, behind its axis
  std::size_t taps = 1;    // of a convolution: [channel][tap] lie together
  // So many weights of a row are in one piece: pairs do not reach over its end. 1: there are none.
  std::size_t segment = 1;
  std::size_t groups = 1;

  // Where weight `k` of row `o` lies in the tensor.
  std::size_t at(std::size_t o, std::size_t k) const {
    const std::size_t inner = length / taps;
    const std::size_t i = taps == 1 ? k : k % inner * taps + k / inner;
    return (i / behind * outputs + o) * behind + i % behind;
  }
  std::size_t inputs() const { return taps == 0 ? 0 : length / taps * groups; }
  // The input channel that weight `k` of row `o` multiplies.
  std::size_t channel(std::size_t o, std::size_t k) const {
    const std::size_t inner = length / taps;
    return o / (outputs / groups) * inner + k % inner;
  }
};
// Of a node with weights of this shape; output channels lie along `axis`.
WeightRows weight_rows(const Node& node, const Shape& shape, int axis);

// The other one of weight `k`'s pair in a row; `k` itself where it has none.
inline std::size_t pair_of(std::size_t k, std::size_t segment, std::size_t length) {
  const std::size_t in_segment = k % segment;
  if (in_segment % 2 == 1) return k - 1;
  return in_segment + 1 < segment && k + 1 < length ? k + 1 : k;
}
inline constexpr float kPairLimit = 128;  // 255 * 128 < 2^15
// What a code may be beside its pair's.
struct CodeLimits {
  float low, high;
};
inline CodeLimits limits_beside(float other, float largest) {
  return {other < 0 ? -kPairLimit - other : -largest, other > 0 ? kPairLimit - other : largest};
}

// Whether no pair of int8 codes saturates.
bool is_pair_safe(const Tensor& codes, const WeightRows& rows);

// Of what a weight multiplies.
struct InputPower {
  std::span<const double> channels;  // mean squares; empty where they are not known
  double noise = 0;                  // the mean square of its rounding
};

// Codes, one scale a channel (or one), all zero points 0.
struct QuantizedWeight {
  Tensor codes;
  std::vector<float> scale;
};
// `least` by output channel (or one): scales are no smaller, so that a bias has a code. Without
// input.channels PairSafe::kAuto is kNo.
QuantizedWeight quantize_weight(const Tensor& weights, const WeightRows& rows,
                                const WeightOptions& options, const std::vector<float>& least,
                                const InputPower& input = {});

}  // namespace octavo::passes
