// Options as JSON, read strictly: an unknown key or a value of the wrong kind is INVALID_OPTION and
// says what is allowed.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/text.h"
#include "passes/pipelines.h"

namespace octavo::quantize {

using Json = nlohmann::ordered_json;

inline Error invalid_option(std::string_view path, std::string what, std::string hint) {
  return Error{
      Code::kInvalidOption, std::move(what), text("option '", path, "'"), std::move(hint), {}};
}

// One object of options with its path ("activation") for messages. `json` outlives it.
class OptionReader {
 public:
  OptionReader(const Json& json, std::string path) : json_(json), path_(std::move(path)) {}

  // The object, and every key of it among `keys`.
  Status check(std::span<const std::string_view> keys) const;

  // Each leaves `value` as it is where the key is absent (or null).
  Status read(std::string_view key, bool& value) const;
  Status read(std::string_view key, double& value, double low,
              double high) const;  // low <= value <= high
  Status read(std::string_view key, int& value, int low, int high) const;
  // One of `allowed`.
  Status read(std::string_view key, std::string& value,
              std::span<const std::string_view> allowed) const;

  const Json* find(std::string_view key) const;
  std::string path(std::string_view key) const {
    return path_.empty() ? std::string(key) : text(path_, ".", key);
  }

 private:
  const Json& json_;
  std::string path_;
};

// An object; empty text is {}.
Result<Json> parse_options(std::string_view text);
// { "image": [1, 3, 224, 224] }
Result<passes::InputShapes> parse_input_shapes(const OptionReader& options, std::string_view key);

// Text that is always valid JSON: names that are not UTF-8 get replacement characters, NaN and
// infinities are null.
std::string dump(const Json& json);

}  // namespace octavo::quantize
