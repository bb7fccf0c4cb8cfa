// entropy: the range whose distribution on 256 levels or fewer is nearest to that of the values
// (Kullback-Leibler), as ONNX Runtime's EntropyCalibrater finds it, but streaming and mergeable.
// After Migacz, "8-bit Inference with TensorRT" (2017).
//
// ONNX Runtime's parameters: `entropy_bins` over [-t, t], t the largest magnitude, and
// `quantized_bins`. With its defaults, 128 of both, there is one candidate only and the result is
// the range of all values; 2048 and 128 search.
#include <algorithm>
#include <cmath>

#include "calib/binned.h"
#include "calib/ort_calibrators.h"

namespace octavo::calib {

namespace {

// Each of the bins that are searched gathers this many of those that are kept, so that it matters
// little that theirs lie on another grid.
constexpr int kFiner = 8;

class Entropy final : public Binned {
 public:
  Entropy(int bins, int quantized, int fewest)
      : Binned("entropy", bins + quantized / 65536.0, std::max(fewest, kFiner * bins)),
        bins_(bins),
        quantized_(quantized) {}

  Range range() const override {
    if (total() == 0) return {};
    const double largest =
        std::max(std::fabs(static_cast<double>(min())), std::fabs(static_cast<double>(max())));
    if (largest == 0) return {};
    const double width = 2 * largest / bins_;
    std::vector<std::int64_t> around(static_cast<std::size_t>(bins_));
    for (std::size_t i = 0; i < counts().size(); ++i) {
      if (counts()[i] == 0) continue;
      const double place = (at(static_cast<double>(i) + 0.5) + largest) / width;
      const double bin = std::clamp(std::floor(place), 0.0, bins_ - 1.0);
      around[static_cast<std::size_t>(bin)] += static_cast<std::int64_t>(counts()[i]);
    }
    const auto [first, last] = least_divergence(around, quantized_);
    const auto edge = [&](std::size_t i) {
      return static_cast<float>(static_cast<double>(i) * width - largest);
    };
    const Range kept{std::max(edge(first), min()), std::min(edge(last), max())};
    // Bins around zero may hold none of values that all lie far from it.
    return kept.min <= kept.max ? kept : Range{min(), max()};
  }

 private:
  int bins_, quantized_;
};

}  // namespace

std::unique_ptr<Observer> make_entropy(const ObserverOptions& options) {
  return std::make_unique<Entropy>(options.entropy_bins, options.quantized_bins, options.bins);
}

}  // namespace octavo::calib
