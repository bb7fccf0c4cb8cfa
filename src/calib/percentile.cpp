// percentile: the range that keeps `percentile` per cent of the values, cutting half of the rest at
// each end.
#include <algorithm>

#include "calib/binned.h"

namespace octavo::calib {

namespace {

class Percentile final : public Binned {
 public:
  Percentile(double percentile, int bins) : Binned("percentile", percentile, bins) {}

  Range range() const override {
    if (total() == 0) return {};
    const double cut = (100.0 - setting()) / 200.0 * static_cast<double>(total());
    return {std::clamp(position(cut, false), min(), max()),
            std::clamp(position(cut, true), min(), max())};
  }

 private:
  // Where `cut` values lie below (or above), linear inside a bin.
  float position(double cut, bool from_above) const {
    const std::size_t bins = counts().size();
    double seen = 0;
    for (std::size_t n = 0; n < bins; ++n) {
      const std::size_t i = from_above ? bins - 1 - n : n;
      const auto count = static_cast<double>(counts()[i]);
      if (count > 0 && seen + count >= cut) {
        const double part = (cut - seen) / count;
        return static_cast<float>(at(static_cast<double>(i) + (from_above ? 1 - part : part)));
      }
      seen += count;
    }
    return from_above ? max() : min();
  }
};

}  // namespace

std::unique_ptr<Observer> make_percentile(const ObserverOptions& options) {
  return std::make_unique<Percentile>(options.percentile, options.bins);
}

}  // namespace octavo::calib
