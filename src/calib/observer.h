// Observers watch the values of one tensor, sample after sample, in memory that does not grow with
// them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "calib/qparams.h"
#include "kernels/statistics/statistics.h"

namespace octavo::calib {

// Values are finite unless a row says otherwise (the caller reports NaN and infinities by node).
// Without any value the range is [0, 0].
class Observer {
 public:
  Observer() = default;
  Observer(const Observer&) = delete;
  Observer& operator=(const Observer&) = delete;
  virtual ~Observer() = default;

  virtual std::string_view name() const = 0;  // the row's name
  // One batch. An empty one changes nothing.
  void observe(std::span<const float> values) {
    observe(values, kernels::statistics().extremes(values.data(), values.size()));
  }
  // The same, where the extremes of `values` are known already.
  virtual void observe(std::span<const float> values, const kernels::Extremes& extremes) = 0;
  virtual Range range() const = 0;
  // The name of the row whose range this is.
  virtual std::string_view choice() const { return name(); }
  // The range of all values where range() leaves out a part and the row knows both.
  virtual Range seen() const { return range(); }
  // The counts over seen(), where the row keeps a histogram with bins of one width.
  virtual std::span<const float> histogram() const { return {}; }
  // As if `other`, of the same row and options, had been observed here too. INVALID_STATE where it
  // is not of the same row or bins.
  virtual Status merge(const Observer& other) = 0;
  // The state as bytes, little-endian; load refuses bytes that save did not write (INVALID_STATE)
  // and then leaves the observer as it was.
  virtual std::vector<std::byte> save() const = 0;
  virtual Status load(std::span<const std::byte> bytes) = 0;
};

struct ObserverOptions {
  double percentile = 99.999;  // 0 < percentile <= 100: the part of the values that the range keeps
  double averaging_constant = 0.01;  // weight of a new batch, 0 < c <= 1
  int bins = 2048;                   // of the histograms
  int entropy_bins = 128;            // those that entropy searches, and its levels: ONNX Runtime's
  int quantized_bins = 128;          // num_bins and num_quantized_bins, <= entropy_bins
};

struct ObserverDef {
  std::string_view name;  // as options name it
  std::string_view doc;
  std::unique_ptr<Observer> (*make)(const ObserverOptions&);
};

std::span<const ObserverDef> all_observers();
const ObserverDef* find_observer(std::string_view name);

// The rows' makers, one file each.
std::unique_ptr<Observer> make_min_max(const ObserverOptions& options);
std::unique_ptr<Observer> make_moving_average(const ObserverOptions& options);
std::unique_ptr<Observer> make_histogram(const ObserverOptions& options);
std::unique_ptr<Observer> make_percentile(const ObserverOptions& options);
std::unique_ptr<Observer> make_mse(const ObserverOptions& options);
std::unique_ptr<Observer> make_entropy(const ObserverOptions& options);
std::unique_ptr<Observer> make_auto(const ObserverOptions& options);

}  // namespace octavo::calib
