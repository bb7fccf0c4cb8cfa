// What a calibration has seen, as bytes: to go on later, elsewhere, or together with others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "graph/graph.h"

namespace octavo::quantize {

// The bytes of every input of a network.
using SampleBytes = std::vector<std::vector<std::byte>>;

struct CalibrationState {
  std::uint64_t network = 0;  // hash_network of the calibrated graph
  std::int64_t samples = 0;   // that the observers saw
  // Made without observations: `kept` are another calibration's first samples, not its own.
  bool basis = false;
  std::vector<SampleBytes> kept;  // the first samples, which weights and channels are fitted to
  struct Tensor {
    std::string name;
    std::vector<std::byte> observer, extremes;  // Observer::save(); empty: there is none
  };
  std::vector<Tensor> tensors;
};

std::vector<std::byte> write_state(const CalibrationState& state);
// INVALID_STATE where write_state did not make the bytes. What an observer saved is not looked at.
Result<CalibrationState> read_state(std::span<const std::byte> bytes);

// Of names, operators and constants: graphs that calibrate the same tensors on the same scale.
std::uint64_t hash_network(const Graph& graph);

}  // namespace octavo::quantize
