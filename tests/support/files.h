// Files that tests of whole networks read: models and pictures that are not part of the project.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace octavo::test {

inline std::string shared_path(const std::string& name) {
  return std::string(OCTAVO_SOURCE_DIR) + "/../shared/data/" + name;
}

inline std::optional<std::vector<char>> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return std::nullopt;
  return std::vector<char>(std::istreambuf_iterator<char>(in), {});
}

// The bytes as Model::load wants them, aligned.
inline std::shared_ptr<const std::byte> shared_bytes(const std::vector<char>& bytes) {
  auto copy =
      std::make_shared<std::vector<std::max_align_t>>(bytes.size() / sizeof(std::max_align_t) + 1);
  auto* data = reinterpret_cast<std::byte*>(copy->data());
  for (std::size_t i = 0; i < bytes.size(); ++i) data[i] = static_cast<std::byte>(bytes[i]);
  return {copy, data};
}

// A gzip file, decompressed by the system's gzip; nothing where there is none (wasm) or no file.
inline std::optional<std::vector<std::uint8_t>> read_gzip(const std::string& path) {
#ifdef __EMSCRIPTEN__
  static_cast<void>(path);
  return std::nullopt;
#else
  if (!std::ifstream(path)) return std::nullopt;
  FILE* pipe = popen(("gzip -dc '" + path + "'").c_str(), "r");
  if (pipe == nullptr) return std::nullopt;
  std::vector<std::uint8_t> out;
  std::uint8_t buffer[65536];
  for (std::size_t n = 0; (n = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;)
    out.insert(out.end(), buffer, buffer + n);
  pclose(pipe);
  if (out.empty()) return std::nullopt;
  return out;
#endif
}

}  // namespace octavo::test
