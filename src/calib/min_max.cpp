// minmax: the smallest and the largest value.
#include <algorithm>
#include <limits>

#include "calib/observer.h"
#include "calib/state.h"

namespace octavo::calib {

namespace {

class MinMax final : public Observer {
 public:
  std::string_view name() const override { return "minmax"; }

  void observe(std::span<const float>, const kernels::Extremes& extremes) override {
    min_ = std::min(min_, extremes.min);
    max_ = std::max(max_, extremes.max);
  }

  Range range() const override { return min_ <= max_ ? Range{min_, max_} : Range{}; }

  Status merge(const Observer& other) override {
    const auto* same = dynamic_cast<const MinMax*>(&other);
    if (same == nullptr) return foreign_merge(name(), other.name());
    min_ = std::min(min_, same->min_);
    max_ = std::max(max_, same->max_);
    return ok_status();
  }

  std::vector<std::byte> save() const override {
    StateWriter out(name());
    out.put(min_);
    out.put(max_);
    return out.take();
  }

  Status load(std::span<const std::byte> bytes) override {
    StateReader in(bytes);
    float min = 0;
    float max = 0;
    if (!in.name(name()) || !in.get_range(min, max) || !in.at_end()) return foreign_state(name());
    min_ = min;
    max_ = max;
    return ok_status();
  }

 private:
  float min_ = std::numeric_limits<float>::infinity();
  float max_ = -std::numeric_limits<float>::infinity();
};

}  // namespace

std::unique_ptr<Observer> make_min_max(const ObserverOptions&) {
  return std::make_unique<MinMax>();
}

}  // namespace octavo::calib
