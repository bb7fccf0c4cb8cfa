// Reads the golden vectors of tests/data/golden: GROUP.idx (text, one record a line) over GROUP.bin
// (raw tensors).
//
//   h KEY VALUE | case NAME | a KEY TYPE VALUE (L: count v v ..) | t KEY DTYPE OFFSET COUNT RANK d0
//   d1 .. | end
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace octavo::test {

struct GoldenTensor {
  std::string dtype;
  std::size_t offset = 0, count = 0;
  std::vector<std::int64_t> shape;
};

struct GoldenCase {
  std::string name;
  std::map<std::string, std::string> attrs;
  std::map<std::string, GoldenTensor> tensors;

  bool has(const std::string& key) const { return tensors.count(key) != 0; }
  std::string str(const std::string& key) const {
    return attrs.count(key) != 0 ? attrs.at(key) : std::string();
  }
  double number(const std::string& key) const { return std::stod(attrs.at(key)); }
  std::int64_t integer(const std::string& key) const { return std::stoll(attrs.at(key)); }
  std::vector<double> list(const std::string& key) const {
    std::istringstream in(attrs.at(key));
    std::size_t count = 0;
    in >> count;
    std::vector<double> values(count);
    for (double& value : values) in >> value;
    return values;
  }
};

struct GoldenGroup {
  std::map<std::string, std::string> header;
  std::vector<GoldenCase> cases;
  std::vector<char> bytes;

  template <class T>
  std::vector<T> get(const GoldenCase& c, const std::string& key) const {
    const GoldenTensor& tensor = c.tensors.at(key);
    std::vector<T> values(tensor.count);
    if (tensor.count != 0)
      std::memcpy(values.data(), bytes.data() + tensor.offset, tensor.count * sizeof(T));
    return values;
  }
  const GoldenCase* find(const std::string& name) const {
    for (const GoldenCase& c : cases) {
      if (c.name == name) return &c;
    }
    return nullptr;
  }
};

// The files stem.idx and stem.bin; no cases when they are missing.
inline GoldenGroup load_golden_files(const std::string& stem) {
  GoldenGroup out;
  std::ifstream binary(stem + ".bin", std::ios::binary);
  out.bytes.assign(std::istreambuf_iterator<char>(binary), {});
  std::ifstream index(stem + ".idx");
  for (std::string line; std::getline(index, line);) {
    std::istringstream in(line);
    std::string tag;
    in >> tag;
    if (tag == "h") {
      std::string key, value;
      in >> key;
      std::getline(in >> std::ws, value);
      out.header[key] = value;
    } else if (tag == "case") {
      out.cases.emplace_back();
      in >> out.cases.back().name;
    } else if (tag == "a") {
      std::string key, type, value;
      in >> key >> type;
      std::getline(in >> std::ws, value);
      out.cases.back().attrs[key] = value;
    } else if (tag == "t") {
      std::string key;
      GoldenTensor tensor;
      std::size_t rank = 0;
      in >> key >> tensor.dtype >> tensor.offset >> tensor.count >> rank;
      tensor.shape.resize(rank);
      for (std::int64_t& dim : tensor.shape) in >> dim;
      out.cases.back().tensors[key] = std::move(tensor);
    }
  }
  return out;
}

// `group` is the name in tests/data/golden.
inline GoldenGroup load_golden(const std::string& group) {
  return load_golden_files(std::string(OCTAVO_SOURCE_DIR) + "/tests/data/golden/" + group);
}

}  // namespace octavo::test
