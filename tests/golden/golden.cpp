#include "golden/golden.h"

#include <algorithm>
#include <filesystem>
#include <iomanip>
#include <limits>
#include <sstream>

namespace octavo::golden {

namespace {
DType dtype_of_name(const std::string& name) {
  if (name == "u8") return DType::kUint8;
  if (name == "i8") return DType::kInt8;
  if (name == "i32") return DType::kInt32;
  if (name == "f32") return DType::kFloat32;
  if (name == "f64") return DType::kFloat64;
  throw std::runtime_error("unknown dtype " + name);
}
}  // namespace

void Tally::add(const Tally& other) {
  cases += other.cases;
  compared += other.compared;
  mismatches += other.mismatches;
  problems.insert(problems.end(), other.problems.begin(), other.problems.end());
}

bool Case::has(const std::string& key) const {
  return record_.attrs.count(key) != 0 || record_.has(key);
}

std::vector<std::string> Case::keys() const {
  std::vector<std::string> keys;
  for (const auto& [key, value] : record_.attrs) keys.push_back(key);
  for (const auto& [key, value] : record_.tensors) keys.push_back(key);
  return keys;
}

const std::string& Case::attribute(const std::string& key) {
  const auto found = record_.attrs.find(key);
  if (found == record_.attrs.end()) throw std::runtime_error("no attribute " + key);
  read_.insert(key);
  return found->second;
}

const test::GoldenTensor& Case::record(const std::string& key) {
  const auto found = record_.tensors.find(key);
  if (found == record_.tensors.end()) throw std::runtime_error("no tensor " + key);
  read_.insert(key);
  return found->second;
}

std::string Case::str(const std::string& key) { return attribute(key); }
double Case::number(const std::string& key) { return std::stod(attribute(key)); }
std::int64_t Case::integer(const std::string& key) { return std::stoll(attribute(key)); }
bool Case::flag(const std::string& key) { return integer(key) != 0; }
std::vector<double> Case::list(const std::string& key) {
  attribute(key);
  return record_.list(key);
}

std::vector<std::int64_t> Case::each(const std::string& key, std::size_t count) {
  if (attribute(key).find(' ') == std::string::npos)
    return std::vector<std::int64_t>(count, integer(key));
  const std::vector<double> values = list(key);
  if (values.size() != count && values.size() != 1)
    throw std::runtime_error("attribute " + key + " has " + std::to_string(values.size()) +
                             " numbers");
  std::vector<std::int64_t> out;
  for (std::size_t i = 0; i < count; ++i)
    out.push_back(static_cast<std::int64_t>(values[values.size() == 1 ? 0 : i]));
  return out;
}

void Case::ignore(const std::vector<std::string>& keys) { read_.insert(keys.begin(), keys.end()); }

std::string Case::dtype(const std::string& key) const {
  const auto found = record_.tensors.find(key);
  if (found == record_.tensors.end()) throw std::runtime_error("no tensor " + key);
  return found->second.dtype;
}
Shape Case::shape(const std::string& key) const {
  const auto found = record_.tensors.find(key);
  if (found == record_.tensors.end()) throw std::runtime_error("no tensor " + key);
  return Shape(found->second.shape);
}

Tensor Case::tensor(const std::string& key) {
  const test::GoldenTensor& own = record(key);
  Tensor out = Tensor::make(dtype_of_name(own.dtype), Shape(own.shape));
  if (static_cast<std::int64_t>(own.count) != out.elements() ||
      own.offset + out.bytes() > group_.bytes.size())
    throw std::runtime_error("tensor " + key + " lies beyond the file");
  if (own.count != 0)
    std::memcpy(out.mutable_data(), group_.bytes.data() + own.offset, out.bytes());
  return out;
}

std::vector<double> Case::numbers(const std::string& key) {
  const Tensor read = tensor(key);
  std::vector<double> out;
  const auto take_from = [&](const auto& span) { out.assign(span.begin(), span.end()); };
  switch (read.dtype()) {
    case DType::kUint8:
      take_from(read.span<std::uint8_t>());
      break;
    case DType::kInt8:
      take_from(read.span<std::int8_t>());
      break;
    case DType::kInt32:
      take_from(read.span<std::int32_t>());
      break;
    case DType::kFloat32:
      take_from(read.span<float>());
      break;
    default:
      take_from(read.span<double>());
  }
  return out;
}

void Case::expect(const std::string& key, const Tensor& got) {
  if (got.shape() != shape(key)) {
    problem(key + " has shape " + shape(key).to_string() + ", we have " + got.shape().to_string());
  }
  switch (got.dtype()) {
    case DType::kUint8:
      return expect<std::uint8_t>(key, got.span<std::uint8_t>());
    case DType::kInt8:
      return expect<std::int8_t>(key, got.span<std::int8_t>());
    case DType::kInt32:
      return expect<std::int32_t>(key, got.span<std::int32_t>());
    case DType::kFloat32:
      return expect<float>(key, got.span<float>());
    case DType::kFloat64:
      return expect<double>(key, got.span<double>());
    default:
      throw std::runtime_error("cannot compare " + std::string(dtype_name(got.dtype())));
  }
}

void Case::expect_equal(std::string_view what, const std::string& got, const std::string& want) {
  ++comparisons_;
  ++tally_.compared;
  if (got == want) return;
  ++tally_.mismatches;
  problem(std::string(what) + " is " + got + " instead of " + want);
}

void Case::expect_equal(std::string_view what, double got, double want) {
  const auto exact = [](double number) {
    std::ostringstream out;
    out << std::setprecision(std::numeric_limits<double>::max_digits10) << number;
    return out.str();
  };
  expect_equal(what, exact(got), exact(want));
}

void Case::problem(std::string what) { tally_.problems.push_back(name() + ": " + what); }

Tally Case::finish() {
  tally_.cases = 1;
  for (const auto& [key, value] : record_.attrs) {
    if (read_.count(key) == 0) problem("attribute " + key + " is not understood");
  }
  for (const auto& [key, value] : record_.tensors) {
    if (read_.count(key) == 0) problem("tensor " + key + " is not understood");
  }
  if (comparisons_ == 0) problem("nothing was compared");
  return tally_;
}

Tally run_group(const std::string& folder, const std::string& group) {
  Tally tally;
  const auto row = std::ranges::find(all_groups(), group, &Group::name);
  if (row == all_groups().end()) {
    tally.problems.push_back("group " + group + " is not understood");
    return tally;
  }
  const test::GoldenGroup data = test::load_golden_files(folder + "/" + group);
  const auto format = data.header.find("format");
  if (format != data.header.end() && format->second != "qgold1")
    tally.problems.push_back("format " + format->second + " is not understood");
  if (data.cases.empty()) tally.problems.push_back("group " + group + " has no cases");
  for (const test::GoldenCase& record : data.cases) {
    Case c(data, record, folder);
    try {
      row->run(c);
    } catch (const std::exception& error) {
      c.problem(error.what());
    }
    tally.add(c.finish());
  }
  return tally;
}

std::vector<std::string> groups_in(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".idx") names.push_back(entry.path().stem().string());
  }
  std::ranges::sort(names);
  return names;
}

std::string to_line(std::string_view group, const Tally& tally) {
  std::string line = std::string(group) + ": " + std::to_string(tally.cases) + " cases, " +
                     std::to_string(tally.compared) + " codes compared, " +
                     std::to_string(tally.mismatches) + " mismatches";
  if (!tally.problems.empty()) line += ", " + std::to_string(tally.problems.size()) + " problems";
  for (const std::string& problem : tally.problems) line += "\n  " + problem;
  return line;
}

}  // namespace octavo::golden
