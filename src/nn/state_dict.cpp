#include "nn/state_dict.h"

#include <algorithm>

#include "base/text.h"

namespace octavo::nn {

namespace {
const Parameter* find(const StateDict& state, std::string_view key) {
  const auto entry = std::ranges::find(
      state, key, [](const auto& pair) -> std::string_view { return pair.first; });
  return entry == state.end() ? nullptr : &entry->second;
}
std::string keys_of(const StateDict& state) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : state) keys.push_back(key);
  return join(keys, ", ");
}
}  // namespace

const Shape& shape_of(const Parameter& parameter) {
  return std::visit([](const auto& tensor) -> const Shape& { return tensor.shape(); }, parameter);
}

std::vector<float> reals_of(const Parameter& parameter) {
  if (const auto* quantized = std::get_if<QTensor>(&parameter))
    return to_floats(quantized->dequantize());
  return to_floats(std::get<Tensor>(parameter));
}

Error StateReader::error(std::string what, std::string hint) const {
  return Error{Code::kInvalidOption,
               text("Error(s) in loading state_dict for ", module_, ": ", what), module_,
               std::move(hint)};
}

bool StateReader::has(std::string_view key) const { return find(state_, key) != nullptr; }

Result<Parameter> StateReader::get(std::string_view key) {
  const Parameter* value = find(state_, key);
  if (value == nullptr) {
    return error(text("Missing key(s) in state_dict: \"", key, "\"."),
                 text("It has the keys ", keys_of(state_), "."));
  }
  read_.emplace_back(key);
  return *value;
}

Result<QTensor> StateReader::quantized(std::string_view key) {
  OCTAVO_TRY(const Parameter value, get(key));
  if (const auto* tensor = std::get_if<QTensor>(&value)) return *tensor;
  return error(text("\"", key, "\" is not a quantized tensor."),
               "Quantize it with quantize_per_tensor or quantize_per_channel.");
}

Result<std::optional<Tensor>> StateReader::optional_float(std::string_view key) {
  OCTAVO_TRY(const Parameter value, get(key));
  const auto* tensor = std::get_if<Tensor>(&value);
  if (tensor == nullptr || tensor->dtype() != DType::kFloat32)
    return error(text("\"", key, "\" is not a float32 tensor."), "");
  if (tensor->elements() == 0) return std::optional<Tensor>{};
  return std::optional<Tensor>{*tensor};
}

Result<double> StateReader::number(std::string_view key) {
  OCTAVO_TRY(const Parameter value, get(key));
  const auto* tensor = std::get_if<Tensor>(&value);
  if (tensor == nullptr || tensor->elements() != 1)
    return error(text("\"", key, "\" is not a single number."), "");
  if (tensor->dtype() == DType::kFloat64) return tensor->span<double>()[0];
  return static_cast<double>(to_floats(*tensor)[0]);
}

Result<std::int64_t> StateReader::integer(std::string_view key) {
  OCTAVO_TRY(const Parameter value, get(key));
  const auto* tensor = std::get_if<Tensor>(&value);
  if (tensor == nullptr || tensor->elements() != 1)
    return error(text("\"", key, "\" is not a single number."), "");
  return to_int64s(*tensor)[0];
}

Status StateReader::finish() const {
  std::vector<std::string> unexpected;
  for (const auto& [key, value] : state_) {
    if (std::ranges::find(read_, key) == read_.end()) unexpected.push_back(text("\"", key, "\""));
  }
  if (unexpected.empty()) return ok_status();
  return error(text("Unexpected key(s) in state_dict: ", join(unexpected, ", "), "."),
               "Leave them out.");
}

}  // namespace octavo::nn
