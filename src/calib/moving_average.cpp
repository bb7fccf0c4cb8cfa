// movingAverage: m += c * (m_of_batch - m), f32, the first batch sets m (torch
// MovingAverageMinMaxObserver).
#include <algorithm>
#include <cstdint>

#include "calib/observer.h"
#include "calib/state.h"

namespace octavo::calib {

namespace {

class MovingAverage final : public Observer {
 public:
  explicit MovingAverage(double constant) : constant_(static_cast<float>(constant)) {}

  std::string_view name() const override { return "movingAverage"; }

  void observe(std::span<const float>, const kernels::Extremes& extremes) override {
    const Range batch{extremes.min, extremes.max};
    if (!(batch.min <= batch.max)) return;
    if (batches_++ == 0) {
      range_ = batch;
      return;
    }
    range_.min += constant_ * (batch.min - range_.min);
    range_.max += constant_ * (batch.max - range_.max);
  }

  Range range() const override { return range_; }

  // PyTorch has no rule for this: the mean, weighted by the batches that each has seen.
  Status merge(const Observer& other) override {
    const auto* same = dynamic_cast<const MovingAverage*>(&other);
    if (same == nullptr || same->constant_ != constant_) return foreign_merge(name(), other.name());
    if (same->batches_ == 0) return ok_status();
    const double share =
        static_cast<double>(same->batches_) / static_cast<double>(batches_ + same->batches_);
    const auto mean = [share](float mine, float theirs) {
      return static_cast<float>((1 - share) * static_cast<double>(mine) +
                                share * static_cast<double>(theirs));
    };
    range_ = {mean(range_.min, same->range_.min), mean(range_.max, same->range_.max)};
    batches_ = std::min(batches_ + same->batches_, kMostBatches);
    return ok_status();
  }

  std::vector<std::byte> save() const override {
    StateWriter out(name());
    out.put(constant_);
    out.put(batches_);
    out.put(range_.min);
    out.put(range_.max);
    return out.take();
  }

  Status load(std::span<const std::byte> bytes) override {
    StateReader in(bytes);
    float constant = 0;
    std::int64_t batches = 0;
    Range range;
    if (!in.name(name()) || !in.get(constant) || constant != constant_ || !in.get(batches) ||
        batches < 0 || batches > kMostBatches || !in.get_range(range.min, range.max) ||
        !in.at_end()) {
      return foreign_state(name());
    }
    batches_ = batches;
    range_ = range;
    return ok_status();
  }

 private:
  // More than anybody waits for, and a sum of two is still a number.
  static constexpr std::int64_t kMostBatches = std::int64_t{1} << 53;

  float constant_;
  std::int64_t batches_ = 0;
  Range range_;
};

}  // namespace

std::unique_ptr<Observer> make_moving_average(const ObserverOptions& options) {
  return std::make_unique<MovingAverage>(options.averaging_constant);
}

}  // namespace octavo::calib
