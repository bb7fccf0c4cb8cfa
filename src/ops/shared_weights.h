// Packed weights that the plans of one model for different input shapes hold together.
#pragma once

#include <algorithm>
#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace octavo::ops {

template <class Packed>
std::size_t bytes_of(const Packed& packed) {
  return packed.bytes();
}
template <class Packed>
std::size_t bytes_of(const std::vector<Packed>& parts) {
  std::size_t sum = 0;
  for (const Packed& part : parts) sum += part.bytes();
  return sum;
}

// Knows what is held, but holds nothing itself: weights go with the last step that reads them.
class SharedWeights {
 public:
  // What `node` has packed already, where that is equal to `packed`; else `packed`.
  template <class Packed>
  std::shared_ptr<const Packed> keep(const std::string& node,
                                     std::shared_ptr<const Packed> packed) {
    std::vector<Entry>& entries = of_node_[node];
    std::erase_if(entries, [](const Entry& entry) { return entry.held.expired(); });
    for (const Entry& entry : entries) {
      if (entry.type != &kType<Packed>) continue;
      auto held = std::static_pointer_cast<const Packed>(entry.held.lock());
      if (*held == *packed) return held;
    }
    entries.push_back({&kType<Packed>, bytes_of(*packed), packed});
    return packed;
  }

  // Of all that is held somewhere.
  std::size_t bytes() const {
    std::size_t sum = 0;
    for (const auto& [node, entries] : of_node_) {
      for (const Entry& entry : entries) sum += entry.held.expired() ? 0 : entry.bytes;
    }
    return sum;
  }

 private:
  template <class Packed>
  static constexpr char kType = 0;  // its address stands for the type
  struct Entry {
    const char* type;
    std::size_t bytes;
    std::weak_ptr<const void> held;
  };
  std::map<std::string, std::vector<Entry>> of_node_;
};

}  // namespace octavo::ops
