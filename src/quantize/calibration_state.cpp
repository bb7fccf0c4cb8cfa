#include "quantize/calibration_state.h"

#include "calib/state.h"
#include "quantize/measure.h"

namespace octavo::quantize {

namespace {
constexpr std::string_view kMagic = "octavo calibration 1";

void put_name(calib::StateWriter& out, const std::string& name) {
  out.put_all(std::vector<char>(name.begin(), name.end()));
}
bool get_name(calib::StateReader& in, std::string& name) {
  std::vector<char> letters;
  if (!in.get_all(letters)) return false;
  name.assign(letters.begin(), letters.end());
  return true;
}

bool read(calib::StateReader& in, CalibrationState& state) {
  std::uint8_t basis = 0;
  std::uint32_t samples = 0;
  std::uint32_t tensors = 0;
  if (!in.name(kMagic) || !in.get(state.network) || !in.get(state.samples) || state.samples < 0 ||
      !in.get(basis) || basis > 1 || !in.count(samples))
    return false;
  state.basis = basis == 1;
  for (; samples > 0; --samples) {
    std::uint32_t inputs = 0;
    if (!in.count(inputs)) return false;
    SampleBytes& sample = state.kept.emplace_back();
    for (; inputs > 0; --inputs) {
      if (!in.get_all(sample.emplace_back())) return false;
    }
  }
  if (!in.count(tensors)) return false;
  for (; tensors > 0; --tensors) {
    CalibrationState::Tensor& tensor = state.tensors.emplace_back();
    if (!get_name(in, tensor.name) || !in.get_all(tensor.observer) || !in.get_all(tensor.extremes))
      return false;
  }
  return in.at_end();
}
}  // namespace

std::vector<std::byte> write_state(const CalibrationState& state) {
  calib::StateWriter out(kMagic);
  out.put(state.network);
  out.put(state.samples);
  out.put(static_cast<std::uint8_t>(state.basis ? 1 : 0));
  out.put(static_cast<std::uint32_t>(state.kept.size()));
  for (const SampleBytes& sample : state.kept) {
    out.put(static_cast<std::uint32_t>(sample.size()));
    for (const std::vector<std::byte>& input : sample) out.put_all(input);
  }
  out.put(static_cast<std::uint32_t>(state.tensors.size()));
  for (const CalibrationState::Tensor& tensor : state.tensors) {
    put_name(out, tensor.name);
    out.put_all(tensor.observer);
    out.put_all(tensor.extremes);
  }
  return out.take();
}

Result<CalibrationState> read_state(std::span<const std::byte> bytes) {
  calib::StateReader in(bytes);
  CalibrationState state;
  if (read(in, state)) return state;
  return Error{Code::kInvalidState,
               "The bytes are not a saved calibration.",
               "calibration state",
               "Load what calibrate() saved, whole, in the same version of Octavo.",
               {}};
}

std::uint64_t hash_network(const Graph& graph) {
  std::uint64_t hash = kFnv1aSeed;
  const auto add = [&hash](std::string_view name) {
    hash = fnv1a(std::as_bytes(std::span(name)), hash);
  };
  for (const Node& node : graph.nodes) {
    add(node.op);
    add(node.name);
    for (const ValueId id : node.inputs) {
      if (id == kNoValue) continue;
      const Value& value = graph.value(id);
      add(value.name);
      if (value.constant) hash = fnv1a({value.constant->data(), value.constant->bytes()}, hash);
    }
  }
  return hash;
}

}  // namespace octavo::quantize
