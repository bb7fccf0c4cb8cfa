// auto: of the ranges that minmax, percentile and mse would give, the one with the least error of
// rounding and clipping, tensor by tensor.
//
// The search of mse tries ends in steps of 1/40: where all but a few values end between two steps,
// percentile finds that end. By mse's own measure it is never worse than any of the three; what was
// taken is the report's to say: choice().
#include <array>

#include "calib/binned.h"

namespace octavo::calib {

namespace {

class Auto final : public Binned {
 public:
  Auto(double percentile, int bins) : Binned("auto", percentile, bins) {}

  Range range() const override { return total() == 0 ? Range{} : best().range; }
  std::string_view choice() const override { return total() == 0 ? name() : best().name; }

 private:
  struct Candidate {
    std::string_view name;
    Range range;
  };
  // The first of equals.
  Candidate best() const {
    const std::array candidates{Candidate{"mse", least_error_range(*this)},
                                Candidate{"percentile", percentile_range(*this, setting())},
                                Candidate{"minmax", {min(), max()}}};
    const Candidate* best = candidates.data();
    for (const Candidate& candidate : candidates) {
      if (quantizing_error(*this, candidate.range) < quantizing_error(*this, best->range))
        best = &candidate;
    }
    return *best;
  }
};

}  // namespace

std::unique_ptr<Observer> make_auto(const ObserverOptions& options) {
  return std::make_unique<Auto>(options.percentile, options.bins);
}

}  // namespace octavo::calib
