// State dicts: what a module keeps, under torch's key names.
//
// Where torch stores a scale as a float32 tensor, Octavo stores a float64 scalar, so that nothing
// is lost; float32 is read as well.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.h"
#include "nn/qtensor.h"
#include "tensor/tensor.h"

namespace octavo::nn {

// A parameter is float, or quantized and read through dequantize().
using Parameter = std::variant<Tensor, QTensor>;
const Shape& shape_of(const Parameter& parameter);
// Its real numbers (float32; other float types are converted).
std::vector<float> reals_of(const Parameter& parameter);

// In the order in which torch lists them.
using StateDict = std::vector<std::pair<std::string, Parameter>>;

// Reads a state dict and remembers what nobody asked for: torch's load_state_dict is strict.
class StateReader {
 public:
  StateReader(const StateDict& state, std::string module)
      : state_(state), module_(std::move(module)) {}

  // "Missing key(s) in state_dict" where there is none.
  Result<Parameter> get(std::string_view key);
  Result<QTensor> quantized(std::string_view key);
  // A float tensor; nothing for an empty one, which stands for torch's None.
  Result<std::optional<Tensor>> optional_float(std::string_view key);
  Result<double> number(std::string_view key);
  Result<std::int64_t> integer(std::string_view key);
  bool has(std::string_view key) const;
  // "Unexpected key(s) in state_dict" where something was not read.
  Status finish() const;

 private:
  Error error(std::string what, std::string hint) const;

  const StateDict& state_;
  std::string module_;
  std::vector<std::string> read_;
};

}  // namespace octavo::nn
