// What each quantized layer costs the network's outputs:
//
//   alone        only this layer is quantized, all others are float
//   in sequence  this layer and all before it are quantized, all behind it float
//
// A layer is made int8 with the very weights and grids of the quantized network, between a
// QuantizeLinear and a DequantizeLinear of its own. On a sample the float network runs once; for
// each layer only what depends on it is computed again, in float. After Wu et al., "Integer
// Quantization for Deep Learning Inference", 2020, section 6.1, which orders layers so to leave
// some in float.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "graph/graph.h"
#include "kernels/policy.h"
#include "passes/pipelines.h"
#include "quantize/measure.h"

namespace octavo::quantize {

// Over the outputs of all samples seen so far.
struct LayerSensitivity {
  std::string node, op;
  ErrorSums alone, sequence;
};

class Sensitivity {
 public:
  // `qdq` is the quantized graph, `reference` the float one that it was made from; `layers` are
  // the names of the nodes to look at; `samples` hold the bytes of every input, in the order of the
  // graph's, and outlive this.
  static Result<Sensitivity> create(const Graph& qdq, const Graph& reference,
                                    std::span<const std::string> layers,
                                    std::span<const std::vector<std::vector<std::byte>>> samples,
                                    const passes::InputShapes& shapes,
                                    const kernels::Policy& policy);
  Sensitivity(Sensitivity&&) noexcept;
  Sensitivity& operator=(Sensitivity&&) noexcept;
  ~Sensitivity();

  std::size_t steps() const;  // of all samples
  // Does one node on one sample; true while there is more to do.
  bool step();
  const std::vector<LayerSensitivity>& layers() const;  // in the order of the network
  // How many nodes were run in float, the whole runs of the network among them.
  std::size_t nodes_run() const;

 private:
  struct Impl;
  explicit Sensitivity(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace octavo::quantize
