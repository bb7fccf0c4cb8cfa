// percentile: the range that keeps `percentile` per cent of the values, cutting half of the rest at
// each end.
//
// Bins lie on the grid k * 2^e. When values fall outside, e grows and neighbours are added in
// pairs: counts are exact at any time, so neither the order of samples nor a merge changes the
// result. Between 1/2 and all of the bins are in use once the first batch has set e.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "calib/observer.h"
#include "calib/state.h"

namespace octavo::calib {

namespace {

constexpr int kSmallestExponent = -140;

class Percentile final : public Observer {
 public:
  Percentile(double percentile, int bins)
      : percentile_(percentile), counts_(static_cast<std::size_t>(bins), 0) {}

  std::string_view name() const override { return "percentile"; }

  void observe(std::span<const float> values) override {
    float min = min_;
    float max = max_;
    for (const float value : values) {
      if (!std::isfinite(value)) continue;
      min = std::min(min, value);
      max = std::max(max, value);
    }
    if (!(min <= max)) return;
    cover(min, max);
    const double bins_per_unit = std::ldexp(1.0, -exponent_);
    for (const float value : values) {
      if (!std::isfinite(value)) continue;
      const double at = std::floor(static_cast<double>(value) * bins_per_unit);
      counts_[static_cast<std::size_t>(static_cast<std::int64_t>(at) - first_)] += 1;
      ++total_;
    }
  }

  Range range() const override {
    if (total_ == 0) return {};
    const double cut = (100.0 - percentile_) / 200.0 * static_cast<double>(total_);
    return {std::clamp(position(cut, false), min_, max_),
            std::clamp(position(cut, true), min_, max_)};
  }

  Status merge(const Observer& other) override {
    const auto* same = dynamic_cast<const Percentile*>(&other);
    if (same == nullptr || same->counts_.size() != counts_.size() ||
        same->percentile_ != percentile_)
      return foreign_merge(name(), other.name());
    if (same->total_ == 0) return ok_status();
    Percentile theirs(percentile_, static_cast<int>(counts_.size()));
    theirs.copy(*same);
    const float min = std::min(min_, theirs.min_);
    const float max = std::max(max_, theirs.max_);
    theirs.cover(min, max);
    cover(min, max);
    while (exponent_ < theirs.exponent_) coarsen();
    while (theirs.exponent_ < exponent_) theirs.coarsen();
    shift_to(std::min(first_, theirs.first_));
    theirs.shift_to(first_);
    for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += theirs.counts_[i];
    total_ += theirs.total_;
    return ok_status();
  }

  std::vector<std::byte> save() const override {
    StateWriter out(name());
    out.put(percentile_);
    out.put(min_);
    out.put(max_);
    out.put(exponent_);
    out.put(first_);
    out.put(total_);
    out.put_all(counts_);
    return out.take();
  }

  Status load(std::span<const std::byte> bytes) override {
    StateReader in(bytes);
    Percentile read(percentile_, static_cast<int>(counts_.size()));
    double percentile = 0;
    if (!in.name(name()) || !in.get(percentile) || percentile != percentile_ ||
        !in.get(read.min_) || !in.get(read.max_) || !in.get(read.exponent_) ||
        !in.get(read.first_) || !in.get(read.total_) || !in.get_all(read.counts_, counts_.size()) ||
        !in.at_end() || !read.sound()) {
      return foreign_state(name());
    }
    copy(read);
    return ok_status();
  }

 private:
  void copy(const Percentile& other) {
    min_ = other.min_;
    max_ = other.max_;
    exponent_ = other.exponent_;
    first_ = other.first_;
    total_ = other.total_;
    counts_ = other.counts_;
  }

  // On the grid, still as a double: it may be far outside what an index can hold.
  double grid(float value) const {
    return std::floor(static_cast<double>(value) * std::ldexp(1.0, -exponent_));
  }
  std::int64_t index(float value) const { return static_cast<std::int64_t>(grid(value)); }
  bool fits(float min, float max) const {
    constexpr double kExact = 0x1p52;
    return std::fabs(grid(min)) < kExact && std::fabs(grid(max)) < kExact &&
           grid(max) - grid(min) < static_cast<double>(counts_.size());
  }

  // What observe relies on: the bins cover [min_, max_].
  bool sound() const {
    if (total_ == 0) return !(min_ <= max_);
    if (!std::isfinite(min_) || !std::isfinite(max_) || min_ > max_) return false;
    if (exponent_ < kSmallestExponent || exponent_ > 130) return false;
    if (!fits(min_, max_)) return false;
    const std::int64_t low = index(min_);
    const std::int64_t high = index(max_);
    return first_ <= low && first_ > low - static_cast<std::int64_t>(counts_.size()) &&
           high - first_ < static_cast<std::int64_t>(counts_.size());
  }

  // Makes the bins reach over [min, max], which holds [min_, max_].
  void cover(float min, float max) {
    const auto bins = static_cast<std::int64_t>(counts_.size());
    if (total_ == 0) {
      const double width =
          (static_cast<double>(max) - static_cast<double>(min)) / static_cast<double>(bins);
      exponent_ = kSmallestExponent;
      if (width > 0) exponent_ = std::max(exponent_, std::ilogb(width));
      // Powers of two of a constant tensor: no finer than its own precision.
      const double magnitude =
          std::max(std::fabs(static_cast<double>(min)), std::fabs(static_cast<double>(max)));
      if (magnitude > 0) exponent_ = std::max(exponent_, std::ilogb(magnitude) - 40);
      while (!fits(min, max)) ++exponent_;
      first_ = index(min);
    }
    while (!fits(min, max)) coarsen();
    if (index(min) < first_) shift_to(index(min));
    if (index(max) - first_ >= bins) shift_to(index(min));
    min_ = min;
    max_ = max;
  }

  // Doubles the width of the bins.
  void coarsen() {
    const std::int64_t first = first_ >> 1;
    std::vector<std::uint64_t> counts(counts_.size(), 0);
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      const std::int64_t to = ((first_ + static_cast<std::int64_t>(i)) >> 1) - first;
      counts[static_cast<std::size_t>(to)] += counts_[i];
    }
    counts_ = std::move(counts);
    first_ = first;
    ++exponent_;
  }

  // Renumbers so that bin 0 is grid index `first`; the counted bins stay inside (the caller has
  // seen to it).
  void shift_to(std::int64_t first) {
    if (first == first_) return;
    std::vector<std::uint64_t> counts(counts_.size(), 0);
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      if (counts_[i] == 0) continue;
      counts[static_cast<std::size_t>(first_ + static_cast<std::int64_t>(i) - first)] += counts_[i];
    }
    counts_ = std::move(counts);
    first_ = first;
  }

  // Where `cut` values lie below (or above), linear inside a bin.
  float position(double cut, bool from_above) const {
    const std::size_t bins = counts_.size();
    double seen = 0;
    for (std::size_t n = 0; n < bins; ++n) {
      const std::size_t i = from_above ? bins - 1 - n : n;
      const auto count = static_cast<double>(counts_[i]);
      if (count > 0 && seen + count >= cut) {
        const double part = (cut - seen) / count;
        const double edge = static_cast<double>(first_ + static_cast<std::int64_t>(i)) +
                            (from_above ? 1 - part : part);
        return static_cast<float>(std::ldexp(edge, exponent_));
      }
      seen += count;
    }
    return from_above ? max_ : min_;
  }

  double percentile_;
  std::vector<std::uint64_t> counts_;
  float min_ = std::numeric_limits<float>::infinity();
  float max_ = -std::numeric_limits<float>::infinity();
  std::int32_t exponent_ = 0;
  std::int64_t first_ = 0;  // grid index of bin 0
  std::uint64_t total_ = 0;
};

}  // namespace

std::unique_ptr<Observer> make_percentile(const ObserverOptions& options) {
  return std::make_unique<Percentile>(options.percentile, options.bins);
}

}  // namespace octavo::calib
