// histogram: torch.ao.quantization.HistogramObserver (2.6), the same integers and floats.
//
// A histogram of all batches over their common range; the range that is returned is the part of it,
// ends on bin edges, that the search below finds: ends move inward a 1e-5 quantile at a time while
// the estimated squared error of quantizing to 256 codes does not grow.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>

#include "calib/observer.h"
#include "calib/state.h"

namespace octavo::calib {

namespace {

constexpr int kUpsampleRate = 16;
constexpr double kCodes = 256;  // whatever the dtype: torch takes 2^bits

// torch.histc: bins over [min, max], the last one closed; min == max is widened by 1 both ways.
void add_to_bins(std::span<const float> values, float min, float max, std::vector<float>& bins) {
  if (min == max) {
    min -= 1;
    max += 1;
  }
  const auto count = static_cast<float>(bins.size());
  for (const float value : values) {
    if (!(value >= min && value <= max)) continue;
    // Not below count: the last bin's end, or a range too wide for float32.
    const float place = (value - min) * count / (max - min);
    bins[place < count ? static_cast<std::size_t>(place) : bins.size() - 1] += 1;
  }
}

// torch.linspace, element i of `steps`, as its x86-64 build computes it: with one rounding.
float linspace(float start, float end, std::size_t steps, std::size_t i) {
  const float step = (end - start) / static_cast<float>(steps - 1);
  return i < steps / 2 ? std::fma(step, static_cast<float>(i), start)
                       : std::fma(-step, static_cast<float>(steps - i - 1), end);
}

// torch's floor division of floats.
float floor_divide(float a, float b) {
  const float mod = std::fmod(a, b);
  float quotient = (a - mod) / b;
  if (mod != 0 && (b < 0) != (mod < 0)) quotient -= 1;
  float floored = std::floor(quotient);
  if (quotient - floored > 0.5F) floored += 1;
  return floored;
}

class Histogram final : public Observer {
 public:
  explicit Histogram(int bins) : bins_(static_cast<std::size_t>(bins), 0.0F) {}

  std::string_view name() const override { return "histogram"; }

  void observe(std::span<const float> values, const kernels::Extremes& extremes) override {
    float min = std::numeric_limits<float>::infinity();
    float max = -min;
    if (extremes.finite) {
      min = extremes.min;
      max = extremes.max;
    } else {
      for (const float value : values) {
        if (std::isinf(value)) continue;
        min = std::min(min, value);
        max = std::max(max, value);
      }
    }
    if (!(min <= max)) return;
    if (empty()) {
      min_ = min;
      max_ = max;
      add_to_bins(values, min_, max_, bins_);
      return;
    }
    min = std::min(min, min_);
    max = std::max(max, max_);
    // Counted apart, added in f64 and rounded once, as torch does.
    std::vector<float> update(bins_.size(), 0.0F);
    add_to_bins(values, min, max, update);
    // A constant so far counts as often as the new batch has values: PyTorch multiplies by that
    // sum.
    const double counted = std::accumulate(update.begin(), update.end(), 0.0);
    become(min, max, widened(min, max, counted), {update.begin(), update.end()});
  }

  Range range() const override {
    if (empty()) return {};
    const auto [first, last] = search();
    const float width = (max_ - min_) / static_cast<float>(bins_.size());
    return {min_ + width * static_cast<float>(first), min_ + width * static_cast<float>(last + 1)};
  }

  Range seen() const override { return empty() ? Range{} : Range{min_, max_}; }
  std::span<const float> histogram() const override { return bins_; }

  // Both histograms are brought to the common range, as torch does with a batch that widens it.
  Status merge(const Observer& other) override {
    const auto* same = dynamic_cast<const Histogram*>(&other);
    if (same == nullptr || same->bins_.size() != bins_.size())
      return foreign_merge(name(), other.name());
    if (same->empty()) return ok_status();
    if (empty()) {
      bins_ = same->bins_;
      min_ = same->min_;
      max_ = same->max_;
      return ok_status();
    }
    const float min = std::min(min_, same->min_);
    const float max = std::max(max_, same->max_);
    become(min, max, widened(min, max, total()), same->widened(min, max, same->total()));
    return ok_status();
  }

  std::vector<std::byte> save() const override {
    StateWriter out(name());
    out.put(min_);
    out.put(max_);
    out.put_all(bins_);
    return out.take();
  }

  Status load(std::span<const std::byte> bytes) override {
    StateReader in(bytes);
    float min = 0;
    float max = 0;
    std::vector<float> bins;
    if (!in.name(name()) || !in.get_range(min, max) || !in.get_all(bins, bins_.size()) ||
        !in.at_end() || !std::all_of(bins.begin(), bins.end(), [](float count) {
          return count >= 0 && std::isfinite(count);
        }))
      return foreign_state(name());
    min_ = min;
    max_ = max;
    bins_ = std::move(bins);
    return ok_status();
  }

 private:
  bool empty() const { return !(min_ <= max_); }
  double total() const { return std::accumulate(bins_.begin(), bins_.end(), 0.0); }

  // The counts spread over the bins of [min, max], which holds [min_, max_]. Where all values were
  // the same, `total` stands for their number.
  std::vector<double> widened(float min, float max, double total) const {
    if (min == min_ && max == max_) return {bins_.begin(), bins_.end()};
    std::vector<double> moved(bins_.size(), 0.0);
    if (min_ == max_) {
      std::vector<float> one(bins_.size(), 0.0F);
      add_to_bins(std::span(&min_, 1), min, max, one);
      for (std::size_t i = 0; i < one.size(); ++i) moved[i] = static_cast<double>(one[i]) * total;
      return moved;
    }
    const std::size_t fine = bins_.size() * kUpsampleRate;
    const float bin_size = (max_ - min_) / static_cast<float>(fine);
    std::vector<float> edges(bins_.size() + 1);
    for (std::size_t i = 0; i < edges.size(); ++i) edges[i] = linspace(min, max, edges.size(), i);
    for (std::size_t i = 0; i < fine; ++i) {
      const float middle = linspace(min_, max_, fine + 1, i) + 0.5F * bin_size;
      const auto above = std::upper_bound(edges.begin(), edges.end(), middle) - edges.begin();
      const auto bin =
          std::clamp<std::ptrdiff_t>(above - 1, 0, static_cast<std::ptrdiff_t>(bins_.size()) - 1);
      moved[static_cast<std::size_t>(bin)] +=
          static_cast<double>(bins_[i / kUpsampleRate] / static_cast<float>(kUpsampleRate));
    }
    return moved;
  }

  void become(float min, float max, const std::vector<double>& a, const std::vector<double>& b) {
    min_ = min;
    max_ = max;
    for (std::size_t i = 0; i < bins_.size(); ++i) bins_[i] = static_cast<float>(a[i] + b[i]);
  }

  // Estimated squared error when the codes span bins [first, last] and the rest saturates.
  double quantization_error(std::int64_t first, std::int64_t last) const {
    const double width =
        (static_cast<double>(max_) - static_cast<double>(min_)) / static_cast<double>(bins_.size());
    const double step = width * static_cast<double>(last - first + 1) / kCodes;
    if (step == 0) return 0;
    const auto width_f = static_cast<float>(width);
    const auto step_f = static_cast<float>(step);
    const auto half = static_cast<float>(step / 2);
    constexpr auto kLastCode = static_cast<float>(kCodes - 1);
    const auto norm = [](float begin, float end, float density) {
      return density * (end * end * end - begin * begin * begin) / 3.0F;
    };
    double sum = 0;
    for (std::size_t i = 0; i < bins_.size(); ++i) {
      const float begin = static_cast<float>(static_cast<std::int64_t>(i) - first) * width_f;
      const float end = begin + width_f;
      const float code_of_begin = std::clamp(floor_divide(begin, step_f), 0.0F, kLastCode);
      const float code_of_end = std::clamp(floor_divide(end, step_f), 0.0F, kLastCode);
      const float begin_center = (code_of_begin + 0.5F) * step_f;
      const float end_center = code_of_end * step_f + half;
      const float density = bins_[i] / width_f;
      float error = norm(begin - begin_center, half, density);
      error += (code_of_end - code_of_begin - 1) * norm(-half, half, density);
      error += norm(-half, end - end_center, density);
      sum += static_cast<double>(error);
    }
    return static_cast<double>(static_cast<float>(sum));
  }

  struct Bins {
    std::int64_t first, last;
  };
  Bins search() const {
    std::vector<float> cumulative(bins_.size());
    double running = 0;
    for (std::size_t i = 0; i < bins_.size(); ++i) {
      running += static_cast<double>(bins_[i]);
      cumulative[i] = static_cast<float>(running);
    }
    const double total = static_cast<double>(static_cast<float>(running));
    constexpr double kStep = 1e-5;
    double alpha = 0;
    double beta = 1;
    Bins chosen{0, static_cast<std::int64_t>(bins_.size()) - 1};
    double best = std::numeric_limits<double>::infinity();
    while (alpha < beta) {
      const double next_alpha = alpha + kStep;
      const double next_beta = beta - kStep;
      const auto low = static_cast<float>(next_alpha * total);
      const auto high = static_cast<float>(next_beta * total);
      std::int64_t left = chosen.first;
      std::int64_t right = chosen.last;
      while (left < chosen.last && cumulative[static_cast<std::size_t>(left)] < low) ++left;
      while (right > chosen.first && cumulative[static_cast<std::size_t>(right)] > high) --right;
      Bins next = chosen;
      if (left - chosen.first > chosen.last - right) {
        next.first = left;
        alpha = next_alpha;
      } else {
        next.last = right;
        beta = next_beta;
      }
      if (next.first == chosen.first && next.last == chosen.last) continue;
      const double error = quantization_error(next.first, next.last);
      if (error > best) break;
      best = error;
      chosen = next;
    }
    return chosen;
  }

  std::vector<float> bins_;
  float min_ = std::numeric_limits<float>::infinity();
  float max_ = -std::numeric_limits<float>::infinity();
};

}  // namespace

std::unique_ptr<Observer> make_histogram(const ObserverOptions& options) {
  return std::make_unique<Histogram>(options.bins);
}

}  // namespace octavo::calib
