// Binned: what percentile, mse, entropy and auto share, a histogram whose bins lie on the grid k *
// 2^e.
//
// When values fall outside, e grows and neighbours are added in pairs: counts are exact at any
// time, so neither the order of samples nor a merge changes the result. Between 1/2 and all of the
// bins are in use once the first batch has set e.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "calib/observer.h"

namespace octavo::calib {

class Binned : public Observer {
 public:
  std::string_view name() const final { return name_; }
  using Observer::observe;
  void observe(std::span<const float> values, const kernels::Extremes& extremes) final;
  Status merge(const Observer& other) final;
  std::vector<std::byte> save() const final;
  Status load(std::span<const std::byte> bytes) final;

  std::uint64_t total() const { return state_.total; }
  float min() const { return state_.min; }
  float max() const { return state_.max; }
  const std::vector<std::uint64_t>& counts() const { return state_.counts; }
  // The real number at place `i` of the bins: bin 3 reaches from at(3) to at(4).
  double at(double i) const;

 protected:
  // `name` outlives this; `setting` is what states and merges have to agree on beside the bins.
  Binned(std::string_view name, double setting, int bins) : name_(name), setting_(setting) {
    state_.counts.assign(static_cast<std::size_t>(bins), 0);
  }

  double setting() const { return setting_; }

 private:
  struct State {
    float min = std::numeric_limits<float>::infinity();
    float max = -std::numeric_limits<float>::infinity();
    std::int32_t exponent = 0;
    std::int64_t first = 0;  // grid index of bin 0
    std::uint64_t total = 0;
    std::vector<std::uint64_t> counts;

    double grid(float value) const;
    std::int64_t index(float value) const { return static_cast<std::int64_t>(grid(value)); }
    bool fits(float low, float high) const;
    bool is_exact_in_f32() const;
    bool sound() const;
    void cover(float low, float high);
    void coarsen();
    void shift_to(std::int64_t place);
  };

  std::string_view name_;
  double setting_;
  State state_;
};

// The searches over the bins; some values have been seen.
//
// percentile.cpp: keeps `percentile` per cent of the values, cutting half of the rest at each end.
Range percentile_range(const Binned& seen, double percentile);
// mse.cpp: sum |x - q(x)|^2.5 of quantizing to the 256 codes of a range, and the range that has the
// least of it.
double quantizing_error(const Binned& seen, Range range);
Range least_error_range(const Binned& seen);

}  // namespace octavo::calib
