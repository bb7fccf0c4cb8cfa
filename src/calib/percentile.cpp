// percentile: the range that keeps `percentile` per cent of the values, cutting half of the rest at
// each end (Wu et al., "Integer Quantization for Deep Learning Inference", 2020, section 5.1).
#include <algorithm>

#include "calib/binned.h"

namespace octavo::calib {

namespace {

// Where `cut` values lie below (or above), linear inside a bin.
float position(const Binned& seen, double cut, bool from_above) {
  const std::size_t bins = seen.counts().size();
  double before = 0;
  for (std::size_t n = 0; n < bins; ++n) {
    const std::size_t i = from_above ? bins - 1 - n : n;
    const auto count = static_cast<double>(seen.counts()[i]);
    if (count > 0 && before + count >= cut) {
      const double part = (cut - before) / count;
      return static_cast<float>(seen.at(static_cast<double>(i) + (from_above ? 1 - part : part)));
    }
    before += count;
  }
  return from_above ? seen.max() : seen.min();
}

class Percentile final : public Binned {
 public:
  Percentile(double percentile, int bins) : Binned("percentile", percentile, bins) {}

  Range range() const override {
    return total() == 0 ? Range{} : percentile_range(*this, setting());
  }
};

}  // namespace

Range percentile_range(const Binned& seen, double percentile) {
  const double cut = (100.0 - percentile) / 200.0 * static_cast<double>(seen.total());
  return {std::clamp(position(seen, cut, false), seen.min(), seen.max()),
          std::clamp(position(seen, cut, true), seen.min(), seen.max())};
}

std::unique_ptr<Observer> make_percentile(const ObserverOptions& options) {
  return std::make_unique<Percentile>(options.percentile, options.bins);
}

}  // namespace octavo::calib
