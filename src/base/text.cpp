#include "base/text.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace octavo::internal {

namespace {

// An unsigned whole number of any size, the least word first.
class Natural {
 public:
  Natural(std::uint64_t value, int shift) {
    words_.resize(static_cast<std::size_t>(shift) / 32 + 3);
    for (int bit = 0; bit < 64; ++bit) {
      if ((value >> bit & 1) != 0)
        words_[static_cast<std::size_t>(bit + shift) / 32] |= 1U << ((bit + shift) % 32);
    }
  }
  void operator*=(std::uint32_t factor) {
    std::uint64_t carry = 0;
    for (std::uint32_t& word : words_) {
      carry += std::uint64_t{word} * factor;
      word = static_cast<std::uint32_t>(carry);
      carry >>= 32;
    }
    words_.push_back(static_cast<std::uint32_t>(carry));
    while (words_.size() > 1 && words_.back() == 0) words_.pop_back();
  }
  // Adds sign * other; the result is not below zero.
  void add(const Natural& other, int sign) {
    words_.resize(std::max(words_.size(), other.words_.size()) + 1);
    std::int64_t carry = 0;
    for (std::size_t i = 0; i < words_.size(); ++i) {
      carry += std::int64_t{words_[i]} + sign * std::int64_t{other.word(i)};
      words_[i] = static_cast<std::uint32_t>(carry);
      carry >>= 32;
    }
  }
  // -1, 0 or 1: less, equal, more.
  int compare(const Natural& other) const {
    for (std::size_t i = std::max(words_.size(), other.words_.size()); i-- > 0;) {
      if (word(i) != other.word(i)) return word(i) < other.word(i) ? -1 : 1;
    }
    return 0;
  }

 private:
  std::uint32_t word(std::size_t i) const { return i < words_.size() ? words_[i] : 0; }
  std::vector<std::uint32_t> words_;
};

Natural sum(Natural a, const Natural& b) {
  a.add(b, 1);
  return a;
}

struct Decimal {
  std::string digits;  // "125" and point 1 are 1.25
  int point;
};

// The fewest digits between the neighbours of mantissa * 2^exponent, of them the nearest: the
// free-format algorithm of Steele and White (1990) as in Burger and Dybvig, "Printing
// Floating-Point Numbers Quickly and Accurately" (1996), figure 1. std::to_chars does it with
// tables that would be a quarter of the downloaded module; printf and strtod, which could find it
// by trial, are some 6 kB of the module that only runs models.
Decimal shortest(std::uint64_t mantissa, int exponent, bool lower_is_nearer) {
  const bool even =
      mantissa % 2 == 0;  // reading rounds ties to it: the interval's ends belong to it
  const int up = std::max(exponent, 0), wide = lower_is_nearer ? 1 : 0;
  Natural rest(mantissa, up + 1 + wide), unit(1, std::max(-exponent, 0) + 1 + wide);
  Natural above(1, up + wide), below(1, up);
  const auto reaches = [&] { return sum(rest, above).compare(unit) >= (even ? 0 : 1); };
  Decimal out{"", 0};
  for (; reaches(); ++out.point) unit *= 10;
  const auto next = [&] {
    rest *= 10;
    above *= 10;
    below *= 10;
  };
  for (next(); !reaches(); next()) --out.point;
  for (;; next()) {
    char digit = '0';
    for (; rest.compare(unit) >= 0; ++digit) rest.add(unit, -1);
    const bool low = rest.compare(below) < (even ? 1 : 0), high = reaches();
    if (!low && !high) {
      out.digits += digit;
      continue;
    }
    const int half = sum(rest, rest).compare(unit);
    if (high && (!low || half > 0 || (half == 0 && digit % 2 != 0))) ++digit;
    out.digits += digit;
    return out;
  }
}

// As printf's %g writes these digits.
template <class T>
std::string spell(T value) {
  if (std::isnan(value)) return "nan";
  std::string sign = std::signbit(value) ? "-" : "";
  value = std::fabs(value);
  if (std::isinf(value)) return sign + "inf";
  if (value == T{0}) return sign + "0";
  constexpr int kBits = std::numeric_limits<T>::digits;
  int exponent = 0;
  const T fraction = std::frexp(value, &exponent);  // of [0.5, 1)
  // Below the normal numbers the steps stay as they are.
  const int step = std::max(exponent - kBits, std::numeric_limits<T>::min_exponent - kBits);
  const auto mantissa = static_cast<std::uint64_t>(std::ldexp(fraction, exponent - step));
  const bool power_of_two = mantissa == std::uint64_t{1} << (kBits - 1);
  auto [digits, point] =
      shortest(mantissa, step, power_of_two && step > std::numeric_limits<T>::min_exponent - kBits);
  const int count = static_cast<int>(digits.size());
  const bool whole_below_million = value < T{1e6} && std::floor(value) == value;  // 100, not 1e+02
  if (point < -3 || (point > count && !whole_below_million)) {
    if (count > 1) digits.insert(1, ".");
    const int power = point - 1;
    const std::string text = std::to_string(std::abs(power));
    return sign + digits + (power < 0 ? "e-" : "e+") + (text.size() < 2 ? "0" : "") + text;
  }
  if (point <= 0) return sign + "0." + std::string(static_cast<std::size_t>(-point), '0') + digits;
  if (point >= count)
    return sign + digits + std::string(static_cast<std::size_t>(point - count), '0');
  digits.insert(static_cast<std::size_t>(point), ".");
  return sign + digits;
}

}  // namespace

std::string to_text(double value) { return spell(value); }
std::string to_text(float value) { return spell(value); }

}  // namespace octavo::internal
