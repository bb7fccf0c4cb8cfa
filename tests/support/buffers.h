// Inputs and outputs for kernel tests: reproducible numbers, and outputs with guard bytes around
// them.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

namespace octavo::test {

// Sizes around one and several vectors of 4, 8 and 16 lanes.
inline const std::vector<std::size_t> kAwkwardSizes = {
    0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 64, 65, 100, 257, 1000};

class Random {
 public:
  explicit Random(std::uint32_t seed) : state_(seed * 2654435761U + 1) {}
  std::uint32_t bits() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 17;
    state_ ^= state_ << 5;
    return state_;
  }
  float uniform(float lo, float hi) {
    return lo + (hi - lo) * (static_cast<float>(bits() >> 8) * 0x1p-24F);
  }
  int range(int lo, int hi) {  // lo and hi included
    return lo + static_cast<int>(bits() % static_cast<std::uint32_t>(hi - lo + 1));
  }

 private:
  std::uint32_t state_;
};

inline std::vector<float> random_floats(std::size_t n, std::uint32_t seed, float lo, float hi) {
  Random random(seed);
  std::vector<float> values(n);
  for (float& value : values) value = random.uniform(lo, hi);
  return values;
}

template <class Code>
std::vector<Code> random_codes(std::size_t n, std::uint32_t seed) {
  Random random(seed);
  std::vector<Code> values(n);
  for (Code& value : values) value = static_cast<Code>(random.bits() >> 16);
  return values;
}

// Every pair of bytes once: a[i], b[i] for i < 65536.
template <class Code>
void all_pairs(std::vector<Code>& a, std::vector<Code>& b) {
  a.resize(65536);
  b.resize(65536);
  for (std::size_t i = 0; i < 65536; ++i) {
    a[i] = static_cast<Code>(static_cast<std::uint8_t>(i & 255));
    b[i] = static_cast<Code>(static_cast<std::uint8_t>(i >> 8));
  }
}

// n elements with 64 guard bytes on each side.
template <class T>
class Guarded {
 public:
  explicit Guarded(std::size_t n) : n_(n), bytes_(n * sizeof(T) + 2 * kGuard, kFill) {}

  T* data() { return reinterpret_cast<T*>(bytes_.data() + kGuard); }
  std::vector<T> values() const {
    std::vector<T> out(n_);
    if (n_ != 0) std::memcpy(out.data(), bytes_.data() + kGuard, n_ * sizeof(T));
    return out;
  }
  // Nothing was written outside.
  bool intact() const {
    for (std::size_t i = 0; i < kGuard; ++i) {
      if (bytes_[i] != kFill || bytes_[bytes_.size() - 1 - i] != kFill) return false;
    }
    return true;
  }

 private:
  static constexpr std::size_t kGuard = 64;
  static constexpr std::uint8_t kFill = 0xA5;
  std::size_t n_;
  std::vector<std::uint8_t> bytes_;
};

// The same bits; two NaNs are the same whatever their payload (WebAssembly leaves it open).
template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if constexpr (std::is_floating_point_v<T>) {
      if (std::isnan(a[i]) && std::isnan(b[i])) continue;
    }
    if (std::memcmp(&a[i], &b[i], sizeof(T)) != 0) return false;
  }
  return true;
}

}  // namespace octavo::test
