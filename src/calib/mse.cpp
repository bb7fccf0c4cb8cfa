// mse: the range with the least error of quantizing to 256 codes, sum |x - q(x)|^p over a
// histogram.
//
// Clipping rare values costs them and makes the steps of all others finer; the exponent weighs the
// two (Choukroun et al., "Low-bit Quantization of Neural Networks for Efficient Inference", 2019,
// with p = 2; above 2 large errors, which networks mind more, count more: BRECQ takes 2.4). Here
// p = 5/2, which needs a square root only and so gives the same range on every machine.
#include <algorithm>
#include <cmath>
#include <limits>

#include "calib/binned.h"

namespace octavo::calib {

namespace {

constexpr int kCandidates = 40;  // of each end
constexpr int kAlternations = 3;
constexpr double kSteps = 255;

double power(double error) { return error * error * std::sqrt(error); }

class Mse final : public Binned {
 public:
  explicit Mse(int bins) : Binned("mse", 2.5, bins) {}

  Range range() const override { return total() == 0 ? Range{} : least_error_range(*this); }
};

struct Bin {
  double x, count;
};

// The bins' middles; the bin that holds zero is taken as zero (an activation's zeros are many and
// exact).
std::vector<Bin> filled_bins(const Binned& seen) {
  std::vector<Bin> out;
  for (std::size_t i = 0; i < seen.counts().size(); ++i) {
    if (seen.counts()[i] == 0) continue;
    const double from = seen.at(static_cast<double>(i));
    const double to = seen.at(static_cast<double>(i) + 1);
    out.push_back(
        {from <= 0 && to > 0 ? 0 : (from + to) / 2, static_cast<double>(seen.counts()[i])});
  }
  return out;
}

// At least `enough` where it is not less: terms are not negative, so the rest need not be added.
double error_of(const std::vector<Bin>& bins, double low, double high,
                double enough = std::numeric_limits<double>::infinity()) {
  const double step = (high - low) / kSteps;
  if (!(step > 0)) return INFINITY;
  const double zero = std::nearbyint(-low / step);
  double sum = 0;
  for (const Bin& bin : bins) {
    const double code = std::clamp(std::nearbyint(bin.x / step), -zero, kSteps - zero);
    sum += bin.count * power(std::fabs(bin.x - code * step));
    if (sum >= enough) break;
  }
  return sum;
}

}  // namespace

double quantizing_error(const Binned& seen, Range range) {
  return error_of(filled_bins(seen), std::min(0.0, static_cast<double>(range.min)),
                  std::max(0.0, static_cast<double>(range.max)));
}

Range least_error_range(const Binned& seen) {
  const double lowest = std::min(0.0, static_cast<double>(seen.min()));
  const double highest = std::max(0.0, static_cast<double>(seen.max()));
  const std::vector<Bin> bins = filled_bins(seen);
  double low = lowest;
  double high = highest;
  double least = error_of(bins, low, high);
  for (int round = 0; round < kAlternations; ++round) {
    const double before = least;
    for (int i = 1; i < kCandidates; ++i) {
      const double candidate = highest * i / kCandidates;
      if (candidate == high) continue;
      if (const double e = error_of(bins, low, candidate, least); e < least) {
        least = e;
        high = candidate;
      }
    }
    for (int i = 0; i < kCandidates; ++i) {
      const double candidate = lowest * i / kCandidates;
      if (candidate == low) continue;
      if (const double e = error_of(bins, candidate, high, least); e < least) {
        least = e;
        low = candidate;
      }
    }
    if (least == before) break;
  }
  return {static_cast<float>(low), static_cast<float>(high)};
}

std::unique_ptr<Observer> make_mse(const ObserverOptions& options) {
  return std::make_unique<Mse>(options.bins);
}

}  // namespace octavo::calib
