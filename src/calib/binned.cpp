#include "calib/binned.h"

#include <algorithm>
#include <cmath>

#include "calib/state.h"

namespace octavo::calib {

namespace {
constexpr int kSmallestExponent = -140;
}  // namespace

// On the grid, still as a double: it may be far outside what an index can hold.
double Binned::State::grid(float value) const {
  return std::floor(static_cast<double>(value) * std::ldexp(1.0, -exponent));
}

bool Binned::State::fits(float low, float high) const {
  constexpr double kExact = 0x1p52;
  return std::fabs(grid(low)) < kExact && std::fabs(grid(high)) < kExact &&
         grid(high) - grid(low) < static_cast<double>(counts.size());
}

// Whether the grid index of every value in [min, max] is a float, as is what it is computed by.
bool Binned::State::is_exact_in_f32() const {
  constexpr double kExact = 0x1p22;
  return exponent >= -126 && std::fabs(grid(min)) < kExact && std::fabs(grid(max)) < kExact &&
         std::fabs(static_cast<double>(first)) < kExact;
}

// What observe relies on: the bins cover [min, max].
bool Binned::State::sound() const {
  if (total == 0) return !(min <= max);
  if (!std::isfinite(min) || !std::isfinite(max) || min > max) return false;
  if (exponent < kSmallestExponent || exponent > 130) return false;
  if (!fits(min, max)) return false;
  const auto bins = static_cast<std::int64_t>(counts.size());
  return first <= index(min) && first > index(min) - bins && index(max) - first < bins;
}

// Makes the bins reach over [low, high], which holds [min, max].
void Binned::State::cover(float low, float high) {
  const auto bins = static_cast<std::int64_t>(counts.size());
  if (total == 0) {
    const double width =
        (static_cast<double>(high) - static_cast<double>(low)) / static_cast<double>(bins);
    exponent = kSmallestExponent;
    if (width > 0) exponent = std::max(exponent, std::ilogb(width));
    // Powers of two of a constant tensor: no finer than its own precision.
    const double magnitude =
        std::max(std::fabs(static_cast<double>(low)), std::fabs(static_cast<double>(high)));
    if (magnitude > 0) exponent = std::max(exponent, std::ilogb(magnitude) - 40);
    while (!fits(low, high)) ++exponent;
    first = index(low);
  }
  while (!fits(low, high)) coarsen();
  if (index(low) < first) shift_to(index(low));
  if (index(high) - first >= bins) shift_to(index(low));
  min = low;
  max = high;
}

// Doubles the width of the bins.
void Binned::State::coarsen() {
  const std::int64_t half = first >> 1;
  std::vector<std::uint64_t> pairs(counts.size(), 0);
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const std::int64_t to = ((first + static_cast<std::int64_t>(i)) >> 1) - half;
    pairs[static_cast<std::size_t>(to)] += counts[i];
  }
  counts = std::move(pairs);
  first = half;
  ++exponent;
}

// Renumbers so that bin 0 is grid index `place`; the counted bins stay inside (the caller has seen
// to it).
void Binned::State::shift_to(std::int64_t place) {
  if (place == first) return;
  std::vector<std::uint64_t> moved(counts.size(), 0);
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] == 0) continue;
    moved[static_cast<std::size_t>(first + static_cast<std::int64_t>(i) - place)] += counts[i];
  }
  counts = std::move(moved);
  first = place;
}

double Binned::at(double i) const {
  return std::ldexp(static_cast<double>(state_.first) + i, state_.exponent);
}

void Binned::observe(std::span<const float> values, const kernels::Extremes& extremes) {
  float low = state_.min;
  float high = state_.max;
  if (extremes.finite) {
    low = std::min(low, extremes.min);
    high = std::max(high, extremes.max);
  } else {
    for (const float value : values) {
      if (!std::isfinite(value)) continue;
      low = std::min(low, value);
      high = std::max(high, value);
    }
  }
  if (!(low <= high)) return;
  state_.cover(low, high);
  if (extremes.finite && state_.is_exact_in_f32()) {
    const std::size_t bins = state_.counts.size();
    std::vector<std::uint16_t> scratch(4 * bins);
    const kernels::BinRule rule{
        .factor = static_cast<float>(std::ldexp(1.0, -state_.exponent)),
        .first = static_cast<std::int32_t>(state_.first),
        .bins = bins,
        .whole = state_.exponent > 0,
    };
    kernels::statistics().count(values.data(), values.size(), rule, scratch.data(),
                                state_.counts.data());
    state_.total += values.size();
    return;
  }
  const double bins_per_unit = std::ldexp(1.0, -state_.exponent);
  for (const float value : values) {
    if (!std::isfinite(value)) continue;
    const double place = std::floor(static_cast<double>(value) * bins_per_unit);
    state_.counts[static_cast<std::size_t>(static_cast<std::int64_t>(place) - state_.first)] += 1;
    ++state_.total;
  }
}

Status Binned::merge(const Observer& other) {
  if (other.name() != name_) return foreign_merge(name_, other.name());
  const auto& same = static_cast<const Binned&>(other);
  if (same.counts().size() != counts().size() || same.setting_ != setting_)
    return foreign_merge(name_, other.name());
  if (same.total() == 0) return ok_status();
  State theirs = same.state_;
  const float low = std::min(min(), theirs.min);
  const float high = std::max(max(), theirs.max);
  theirs.cover(low, high);
  state_.cover(low, high);
  while (state_.exponent < theirs.exponent) state_.coarsen();
  while (theirs.exponent < state_.exponent) theirs.coarsen();
  state_.shift_to(std::min(state_.first, theirs.first));
  theirs.shift_to(state_.first);
  for (std::size_t i = 0; i < state_.counts.size(); ++i) state_.counts[i] += theirs.counts[i];
  state_.total += theirs.total;
  return ok_status();
}

std::vector<std::byte> Binned::save() const {
  StateWriter out(name_);
  out.put(setting_);
  out.put(state_.min);
  out.put(state_.max);
  out.put(state_.exponent);
  out.put(state_.first);
  out.put(state_.total);
  out.put_all(state_.counts);
  return out.take();
}

Status Binned::load(std::span<const std::byte> bytes) {
  StateReader in(bytes);
  State read;
  double setting = 0;
  read.counts.resize(counts().size());
  if (!in.name(name_) || !in.get(setting) || setting != setting_ || !in.get(read.min) ||
      !in.get(read.max) || !in.get(read.exponent) || !in.get(read.first) || !in.get(read.total) ||
      !in.get_all(read.counts, counts().size()) || !in.at_end() || !read.sound()) {
    return foreign_state(name_);
  }
  state_ = std::move(read);
  return ok_status();
}

}  // namespace octavo::calib
