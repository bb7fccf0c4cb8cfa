// Two models side by side on the same samples: outputs, per-layer error, top-1.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "quantize/model.h"

namespace octavo::quantize {

// Life: create; for each sample { write every input(i); run_sample(label or -1) }; report_json().
class Comparison {
 public:
  // Options JSON: { inputShapes, layers: true }. `layers: false` runs at full speed and compares
  // outputs only.
  static Result<Comparison> create(const Model& a, const Model& b, std::string_view options_json,
                                   const kernels::Policy& policy);
  Comparison(Comparison&&) noexcept;
  Comparison& operator=(Comparison&&) noexcept;
  ~Comparison();

  const Graph& graph() const;
  std::span<std::byte> input(std::size_t i);
  Status run_sample(std::int64_t label);
  // Output i of the reference, or of the second model, after run_sample: real numbers, row-major.
  std::vector<float> output(bool of_second, std::size_t i) const;
  // { samples, labelled, top1Agreement, top1: {a, b}, top5: {a, b},
  //   milliseconds: {a: median, b: median},
  //   worst: { sample, relativeRms },   the one whose outputs differ most
  //   outputs: [{ name, sqnr, maxError, relativeRms, kl }],
  //   layers: [{ node, op, tensor, sqnr, type }] }
  // top-1 is over the last axis of the first output ([N, C, 1, 1]: over the channels);
  // kl is the mean divergence of a row in nats: of a classifier's only output, else of outputs
  // whose rows are shares; null elsewhere. SQNR = 10 log10(sum a^2 / sum (a-b)^2), null when equal.
  std::string report_json() const;

 private:
  struct Impl;
  explicit Comparison(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace octavo::quantize
