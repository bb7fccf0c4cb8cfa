// Refinement: the weights and biases of a quantized graph, fitted to what the network really sees.
//
// Node after node, in the order of the graph, on all samples at once, so that each node is fitted
// to inputs that already carry the errors before it:
//
//   rounding   The codes q of an output channel minimize e' M e, e = q - w / s, M the centred
//   second
//              moment of the quantized input's windows (plus .01 of its mean diagonal): what the
//              channel's output varies by. Coordinate descent, one pass, no gradient steps. The
//              objective is that of AdaRound (Nagel et al., "Up or Down? Adaptive Rounding for
//              Post-Training Quantization", 2020) and OBQ / GPTQ (Frantar et al., 2022).
//   bias       b += W m - q s m', m and m' the mean windows of the float and of the quantized
//              input: the mean of every output channel is that of the float network. Empirical bias
//              correction (Nagel et al., "Data-Free Quantization Through Weight Equalization and
//              Bias Correction", 2019, section 4.2), per channel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "graph/graph.h"
#include "kernels/policy.h"
#include "passes/pipelines.h"
#include "quantize/patches.h"

namespace octavo::quantize {

// The mean windows of the products of a float session, by node.
class WindowMeans {
 public:
  // `graph` as the session runs it.
  explicit WindowMeans(const Graph& graph);

  // A float value of the session on sample number `sample`.
  void observe(ValueId id, std::span<const std::byte> bytes, std::size_t sample);
  // Takes the means of `before`, which were observed of the same network before the values of
  // `graph` that `exponent` names became 2^exponent[c] of what they were, channel c by channel, and
  // then those that `shift` names, whose readers pad nothing, lost shift[c].
  // False where a product's input cannot be told from them; then nothing is taken.
  bool carry_over(const WindowMeans& before, const Graph& graph,
                  const std::map<std::string, std::vector<int>>& exponent,
                  const std::map<std::string, std::vector<float>>& shift);
  // Empty for nodes that were not observed.
  std::vector<double> of(const std::string& node) const;

 private:
  struct Entry {
    std::string input;  // the name of what is multiplied
    Patches patches;
    std::vector<double> sums;
    std::size_t count = 0;
  };
  std::map<std::string, Entry> entries_;
  std::vector<std::vector<std::string>> readers_;  // by value: nodes that multiply it
  std::vector<std::ptrdiff_t> places_, inside_;
};

// What a node was fitted to become. Its key (Refinement) is a hash of all that it depends on, so
// that another graph of the same network finds what has not changed.
struct Fit {
  Tensor codes;               // of the weights; empty where rounding is off
  std::vector<double> shift;  // of the bias, real numbers; empty where it is not corrected
};
using Fits = std::map<std::uint64_t, Fit>;

struct RefineOptions {
  bool rounding = true;
  bool bias = true;
  int largest_code = 127;
  bool pair_safe = false;  // codes that are stay so (passes/weights.h)
  kernels::Policy policy{};
  passes::InputShapes shapes;
  // Upper bound in bytes for the values of all samples that are alive at once; 0: none.
  std::size_t memory_limit = 0;
};

class Refinement {
 public:
  // `qdq` is the quantized graph, `reference` the float one that it was made from; `samples` hold
  // the bytes of every input, in the order of the graph's, and outlive this. LIMIT_EXCEEDED where
  // that is more than options.memory_limit. `fits`, where given, are used instead of
  // fitting the same again, and added to.
  static Result<Refinement> create(const Graph& qdq, const Graph& reference,
                                   const WindowMeans& means,
                                   std::span<const std::vector<std::vector<std::byte>>> samples,
                                   const RefineOptions& options, Fits* fits = nullptr);
  Refinement(Refinement&&) noexcept;
  Refinement& operator=(Refinement&&) noexcept;
  ~Refinement();

  std::size_t nodes() const;
  std::size_t fitted() const;  // nodes so far, without those that `fits` knew
  // Does one node; true while there is more to do.
  Result<bool> step();
  // The graph with its new weights and biases.
  const Graph& graph() const;

 private:
  struct Impl;
  explicit Refinement(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace octavo::quantize
