#include "quantize/json.h"

#include <algorithm>
#include <cmath>

namespace octavo::quantize {

Status OptionReader::check(std::span<const std::string_view> keys) const {
  const std::string hint = text("Allowed: ", join(keys, ", "), ".");
  if (!json_.is_object()) {
    return invalid_option(path_.empty() ? "options" : path_, "It is not an object.", hint);
  }
  for (const auto& [key, value] : json_.items()) {
    if (std::find(keys.begin(), keys.end(), key) == keys.end())
      return invalid_option(path(key), "There is no such option.", hint);
  }
  return ok_status();
}

const Json* OptionReader::find(std::string_view key) const {
  const auto it = json_.find(std::string(key));
  return it == json_.end() || it->is_null() ? nullptr : &*it;
}

Status OptionReader::read(std::string_view key, bool& value) const {
  const Json* json = find(key);
  if (json == nullptr) return ok_status();
  if (!json->is_boolean())
    return invalid_option(path(key), text(dump(*json), " is not allowed."), "Use true or false.");
  value = json->get<bool>();
  return ok_status();
}

Status OptionReader::read(std::string_view key, double& value, double low, double high) const {
  const Json* json = find(key);
  if (json == nullptr) return ok_status();
  const double number = json->is_number() ? json->get<double>() : low - 1;
  if (!(number >= low && number <= high)) {
    return invalid_option(path(key), text(dump(*json), " is not allowed."),
                          text("Use a number from ", low, " to ", high, "."));
  }
  value = number;
  return ok_status();
}

Status OptionReader::read(std::string_view key, int& value, int low, int high) const {
  const Json* json = find(key);
  if (json == nullptr) return ok_status();
  const double number = json->is_number() ? json->get<double>() : low - 1.0;
  if (!(number >= low && number <= high) || number != std::floor(number)) {
    return invalid_option(path(key), text(dump(*json), " is not allowed."),
                          text("Use a whole number from ", low, " to ", high, "."));
  }
  value = static_cast<int>(number);
  return ok_status();
}

Status OptionReader::read(std::string_view key, std::string& value,
                          std::span<const std::string_view> allowed) const {
  const Json* json = find(key);
  if (json == nullptr) return ok_status();
  const std::string given = json->is_string() ? json->get<std::string>() : std::string();
  if (std::find(allowed.begin(), allowed.end(), given) == allowed.end()) {
    return invalid_option(path(key), text(dump(*json), " is not allowed."),
                          text("Use one of: ", join(allowed, ", "), "."));
  }
  value = given;
  return ok_status();
}

Result<Json> parse_options(std::string_view text) {
  if (text.empty()) return Json::object();
  Json json = Json::parse(text.begin(), text.end(), nullptr, false);
  if (json.is_discarded())
    return invalid_option("options", "They are not valid JSON.", "Pass an object.");
  return json;
}

Result<passes::InputShapes> parse_input_shapes(const OptionReader& options, std::string_view key) {
  passes::InputShapes shapes;
  const Json* json = options.find(key);
  if (json == nullptr) return shapes;
  const std::string hint =
      "Use an object of input names with arrays of whole numbers, as { image: [1, 3, 224, 224] }.";
  if (!json->is_object()) return invalid_option(options.path(key), "It is not an object.", hint);
  for (const auto& [name, dims] : json->items()) {
    const std::string path = text(options.path(key), ".", name);
    if (!dims.is_array()) return invalid_option(path, "It is not an array.", hint);
    Shape shape;
    for (const Json& dim : dims) {
      const double number = dim.is_number() ? dim.get<double>() : -1;
      if (!(number >= 0 && number <= static_cast<double>(kMaxElements)) ||
          number != std::floor(number))
        return invalid_option(path, text(dump(dim), " is no dimension."), hint);
      shape.dims().push_back(static_cast<std::int64_t>(number));
    }
    shapes.by_name.emplace(name, std::move(shape));
  }
  return shapes;
}

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace octavo::quantize
