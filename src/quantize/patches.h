// What the rows of a Conv, Gemm or MatMul are multiplied with: windows of its input, as vectors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "graph/graph.h"
#include "ops/window.h"

namespace octavo::quantize {

// The windows of one node in a prepared graph (shapes and layouts known). A window is `taps` groups
// of `channels` values, tap after tap; outside of the image they are zero.
class Patches {
 public:
  // Nothing for other nodes, and where the weight is no constant matrix or image.
  static std::optional<Patches> of(const Graph& graph, const Node& node);

  std::size_t taps() const { return taps_; }
  std::size_t channels() const { return channels_; }  // of the input, all groups
  std::size_t groups() const { return groups_; }
  std::size_t outputs() const { return outputs_; }  // output channels
  std::size_t width() const { return taps_ * channels_; }
  // How many windows of a sample are looked at.
  std::size_t sampled() const {
    return static_cast<std::size_t>(positions_ < kMost ? positions_ : kMost);
  }

  static constexpr std::ptrdiff_t kOutside = -1;
  // Appends where the taps of the windows that are looked at lie in sample number `sample`, window
  // after window: the element of the input with which the tap's channels begin, or kOutside. The
  // windows depend on the sample's number alone, so float and quantized inputs are seen at the same
  // ones.
  void append_places(std::size_t sample, std::vector<std::ptrdiff_t>& places) const;

  // Where the weight of output channel o, group-channel i, tap t lies in the weight tensor.
  std::size_t weight_index(std::size_t o, std::size_t i, std::size_t t) const {
    return transposed_ ? i * outputs_ + o : (o * (channels_ / groups_) + i) * taps_ + t;
  }

 private:
  // More windows make a second moment that holds for other samples too: mobilenetv2_cifar10's
  // logits are .0126 from float with 64 a sample, .0124 with 192.
  static constexpr std::int64_t kMost = 192;

  std::size_t taps_ = 1, channels_ = 0, groups_ = 1, outputs_ = 0;
  bool transposed_ = false;  // a matrix of [channels][outputs]
  std::int64_t positions_ = 0;
  std::int64_t batch_ = 1;
  ops::WindowAxis h_, w_;
};

}  // namespace octavo::quantize
