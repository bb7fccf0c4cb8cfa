#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "calib/binned.h"
#include "calib/observer.h"
#include "calib/ort_calibrators.h"
#include "calib/qparams.h"
#include "support/buffers.h"
#include "support/golden.h"
#include "support/golden_batches.h"

namespace octavo::calib {
namespace {

using test::GoldenCase;
using test::GoldenGroup;

struct Combo {
  DType dtype;
  Scheme scheme;
  bool reduce;
};
// The rows of scales / zero_points in the golden group.
constexpr Combo kCombos[] = {
    {DType::kUint8, Scheme::kAffine, false},    {DType::kUint8, Scheme::kAffine, true},
    {DType::kUint8, Scheme::kSymmetric, false}, {DType::kInt8, Scheme::kAffine, false},
    {DType::kInt8, Scheme::kAffine, true},      {DType::kInt8, Scheme::kSymmetric, false},
    {DType::kInt8, Scheme::kSymmetric, true},
};

void check_qparams(const GoldenGroup& group, const GoldenCase& c,
                   const std::vector<Range>& channels) {
  const auto scales = group.get<double>(c, "scales");
  const auto zero_points = group.get<std::int32_t>(c, "zero_points");
  REQUIRE(scales.size() == std::size(kCombos) * channels.size());
  for (std::size_t row = 0; row < std::size(kCombos); ++row) {
    for (std::size_t channel = 0; channel < channels.size(); ++channel) {
      const Combo& combo = kCombos[row];
      const ScaleZero got =
          torch_qparams(channels[channel], combo.dtype, combo.scheme, combo.reduce);
      const std::size_t at = row * channels.size() + channel;
      CHECK(static_cast<double>(got.scale) == scales[at]);
      CHECK(got.zero_point == zero_points[at]);
    }
  }
}

std::vector<Range> ranges_of(const std::vector<std::unique_ptr<Observer>>& observers) {
  std::vector<Range> ranges;
  for (const auto& observer : observers) ranges.push_back(observer->range());
  return ranges;
}

TEST_CASE("observers and scales equal PyTorch's on every golden case") {
  const GoldenGroup group = test::load_golden("observers");
  REQUIRE(group.cases.size() == 111);
  int checked = 0;
  for (const GoldenCase& c : group.cases) {
    const std::string kind = c.str("kind");
    if (kind == "data" || kind == "gen") continue;
    CAPTURE(c.name);
    ++checked;
    ObserverOptions options;
    if (c.attrs.count("averaging_constant") != 0)
      options.averaging_constant = c.number("averaging_constant");
    const bool per_channel = kind.find("PerChannel") != std::string::npos;
    const std::string_view row = kind.find("MovingAverage") != std::string::npos ? "movingAverage"
                                 : kind == "Histogram"                           ? "histogram"
                                                                                 : "minmax";
    const ObserverDef* def = find_observer(row);
    REQUIRE(def != nullptr);
    std::vector<std::unique_ptr<Observer>> observers;
    if (per_channel) {
      // One observer a channel, each seeing its slice.
      for (int b = 0; c.has("b" + std::to_string(b)); ++b) {
        const std::string key = "b" + std::to_string(b);
        const auto values = group.get<float>(c, key);
        const auto& shape = c.tensors.at(key).shape;
        const auto axis = static_cast<std::size_t>(c.integer("ch_axis"));
        std::size_t inner = 1;
        for (std::size_t d = axis + 1; d < shape.size(); ++d)
          inner *= static_cast<std::size_t>(shape[d]);
        const auto channels = static_cast<std::size_t>(shape[axis]);
        while (observers.size() < channels) observers.push_back(def->make(options));
        for (std::size_t channel = 0; channel < channels; ++channel) {
          std::vector<float> slice;
          for (std::size_t i = 0; i < values.size(); ++i) {
            if (i / inner % channels == channel) slice.push_back(values[i]);
          }
          observers[channel]->observe(slice);
        }
      }
    } else {
      const GoldenCase* data = group.find(c.str("data"));
      REQUIRE(data != nullptr);
      observers.push_back(def->make(options));
      for (const auto& batch : test::batches_of(group, *data)) observers[0]->observe(batch);
    }
    const std::vector<Range> ranges = ranges_of(observers);
    if (row == "histogram") {
      CHECK(ranges[0].min == group.get<float>(c, "new_min").at(0));
      CHECK(ranges[0].max == group.get<float>(c, "new_max").at(0));
    } else {
      const auto mins = group.get<float>(c, "min_val");
      const auto maxs = group.get<float>(c, "max_val");
      REQUIRE(mins.size() == ranges.size());
      for (std::size_t i = 0; i < ranges.size(); ++i) {
        CHECK(ranges[i].min == mins[i]);
        CHECK(ranges[i].max == maxs[i]);
      }
    }
    check_qparams(group, c, ranges);
  }
  CHECK(checked > 70);
}

std::vector<std::vector<float>> gaussian_batches(unsigned seed, int batches, int n) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<std::vector<float>> out;
  for (int b = 0; b < batches; ++b) {
    std::vector<float> values(static_cast<std::size_t>(n));
    for (float& value : values) value = normal(random) * static_cast<float>(b + 1);
    out.push_back(std::move(values));
  }
  return out;
}

TEST_CASE("every observer: without values the range is [0, 0] and empty batches change nothing") {
  for (const ObserverDef& row : all_observers()) {
    CAPTURE(row.name);
    const auto observer = row.make({});
    CHECK(observer->name() == row.name);
    observer->observe({});
    CHECK(observer->range().min == 0.0F);
    CHECK(observer->range().max == 0.0F);
    const std::vector<float> values{-1.0F, 3.0F};
    observer->observe(values);
    const Range before = observer->range();
    observer->observe({});
    CHECK(observer->range().min == before.min);
    CHECK(observer->range().max == before.max);
    CHECK(before.min < before.max);
  }
}

TEST_CASE("histograms on a grid: counting in f32 gives the state of counting in f64") {
  for (const char* name : {"percentile", "mse", "entropy", "auto"}) {
    for (const float scale : {1e-38F, 1e-3F, 1.0F, 3e4F, 1e30F}) {
      for (const float shift : {0.0F, 1.0F, 1e6F}) {
        CAPTURE(name);
        CAPTURE(scale);
        CAPTURE(shift);
        const auto fast = find_observer(name)->make({});
        const auto exact = find_observer(name)->make({});
        for (std::vector<float> batch : gaussian_batches(3, 3, 5000)) {
          for (float& value : batch) value = scale * (value < 0 ? 0.0F : value) + shift * scale;
          batch[7] = -1e-40F;
          fast->observe(batch);
          // What holds values that are not finite is counted one by one, in f64.
          exact->observe(batch, {0, 0, false});
        }
        CHECK(fast->save() == exact->save());
      }
    }
  }
}

TEST_CASE("every observer: a saved state continues as if it had never stopped") {
  for (const ObserverDef& row : all_observers()) {
    CAPTURE(row.name);
    const auto batches = gaussian_batches(7, 4, 1000);
    const auto whole = row.make({});
    const auto first = row.make({});
    for (const auto& batch : batches) whole->observe(batch);
    first->observe(batches[0]);
    first->observe(batches[1]);
    const auto second = row.make({});
    REQUIRE(second->load(first->save()).ok());
    second->observe(batches[2]);
    second->observe(batches[3]);
    CHECK(second->range().min == whole->range().min);
    CHECK(second->range().max == whole->range().max);
  }
}

TEST_CASE("every observer: foreign or damaged states are refused and change nothing") {
  for (const ObserverDef& row : all_observers()) {
    CAPTURE(row.name);
    const auto observer = row.make({});
    const std::vector<float> values{-2.0F, 0.5F, 4.0F};
    observer->observe(values);
    const Range before = observer->range();
    const std::vector<std::byte> state = observer->save();
    for (std::size_t size = 0; size < state.size(); size += 1 + size / 7)
      CHECK_FALSE(observer->load(std::span(state).first(size)).ok());
    std::vector<std::byte> longer = state;
    longer.push_back(std::byte{0});
    CHECK_FALSE(observer->load(longer).ok());
    for (const ObserverDef& other : all_observers()) {
      if (other.name == row.name) continue;
      const auto stranger = other.make({});
      CHECK_FALSE(observer->load(stranger->save()).ok());
      CHECK_FALSE(observer->merge(*stranger).ok());
    }
    CHECK(observer->range().min == before.min);
    CHECK(observer->range().max == before.max);
  }
}

TEST_CASE("percentile refuses a state whose bins do not cover its range") {
  const auto observer = make_percentile({});
  const std::vector<float> values{-2.0F, 0.5F, 4.0F};
  observer->observe(values);
  const std::vector<std::byte> good = observer->save();
  // Every byte before the counts in turn: either refused, or a state that can go on.
  const std::size_t header = 4 + 10 + 8 + 4 + 4 + 4 + 8 + 8;
  for (std::size_t i = 0; i < header; ++i) {
    std::vector<std::byte> bad = good;
    bad[i] ^= std::byte{0x5A};
    const auto fresh = make_percentile({});
    if (fresh->load(bad).ok()) {
      fresh->observe(values);
      CHECK(std::isfinite(fresh->range().max));
    }
  }
}

TEST_CASE("a saved range without an order, or one that is not finite, is refused") {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const std::vector<float> values{-2.0F, 0.5F, 4.0F};
  for (const std::string_view name : {"minmax", "movingAverage", "histogram"}) {
    CAPTURE(name);
    const auto observer = find_observer(name)->make({});
    CHECK(observer->load(find_observer(name)->make({})->save()).ok());  // of no values
    observer->observe(values);
    const std::vector<std::byte> good = observer->save();
    // Behind the name with its length, and the constant and the number of batches of movingAverage.
    const std::size_t at = 4 + name.size() + (name == "movingAverage" ? 12 : 0);
    for (const auto& [min, max] :
         {Range{5, 4}, Range{NAN, 4}, Range{-2, NAN}, Range{-2, kInfinity}, Range{-kInfinity, 4}}) {
      std::vector<std::byte> bad = good;
      std::memcpy(&bad[at], &min, sizeof min);
      std::memcpy(&bad[at + sizeof min], &max, sizeof max);
      CHECK(observer->load(bad).error().code == Code::kInvalidState);
      CHECK(observer->save() == good);
    }
  }
}

TEST_CASE("all but PyTorch's: merging parts equals seeing the whole, in any order") {
  for (const std::string_view name : {"minmax", "percentile", "mse", "entropy", "auto"}) {
    CAPTURE(name);
    const ObserverDef* row = find_observer(name);
    const auto batches = gaussian_batches(11, 6, 5000);
    const auto whole = row->make({});
    for (const auto& batch : batches) whole->observe(batch);
    const auto a = row->make({});
    const auto b = row->make({});
    for (std::size_t i = 0; i < batches.size(); ++i)
      (i % 2 == 0 ? a : b)->observe(batches[batches.size() - 1 - i]);
    const auto empty = row->make({});
    REQUIRE(a->merge(*b).ok());
    REQUIRE(a->merge(*empty).ok());
    REQUIRE(empty->merge(*a).ok());
    CHECK(a->range().min == whole->range().min);
    CHECK(a->range().max == whole->range().max);
    CHECK(empty->range().min == whole->range().min);
    CHECK(empty->range().max == whole->range().max);
  }
}

TEST_CASE("movingAverage and histogram: a merge lies near what the whole would give") {
  for (const std::string_view name : {"movingAverage", "histogram"}) {
    CAPTURE(name);
    const ObserverDef* row = find_observer(name);
    const auto batches = gaussian_batches(3, 2, 20000);
    const auto a = row->make({});
    const auto b = row->make({});
    a->observe(batches[0]);
    b->observe(batches[1]);
    const Range first = a->range();
    const Range second = b->range();
    REQUIRE(a->merge(*b).ok());
    CHECK(a->range().max >= std::min(first.max, second.max));
    CHECK(a->range().max <= std::max(first.max, second.max) * 1.01F);
  }
}

TEST_CASE(
    "movingAverage: states of more batches than there can be are refused, and sums stay numbers") {
  const auto with_batches = [](std::int64_t batches) {
    const auto observer = find_observer("movingAverage")->make({});
    observer->observe(std::vector<float>{-1, 3});
    std::vector<std::byte> state = observer->save();  // ..., batches, min, max
    std::memcpy(state.data() + state.size() - 16, &batches, sizeof batches);
    return state;
  };
  const auto observer = find_observer("movingAverage")->make({});
  for (const std::int64_t batches :
       {std::int64_t{-1}, (std::int64_t{1} << 53) + 1, std::numeric_limits<std::int64_t>::max()}) {
    CHECK(observer->load(with_batches(batches)).error().code == Code::kInvalidState);
  }
  REQUIRE(observer->load(with_batches(std::int64_t{1} << 53)).ok());
  const auto other = find_observer("movingAverage")->make({});
  for (int i = 0; i < 2000; ++i) {  // so many of them are more than 2^63
    REQUIRE(other->load(observer->save()).ok());
    REQUIRE(observer->merge(*other).ok());
  }
  CHECK(observer->range().min == -1);
  CHECK(observer->range().max == 3);
}

TEST_CASE("percentile cuts half of the rare values at each end and 100 keeps all") {
  std::vector<float> values;
  for (int i = 0; i < 10000; ++i) values.push_back(static_cast<float>(i) / 10000.0F);
  ObserverOptions options;
  options.percentile = 90;
  const auto ninety = make_percentile(options);
  ninety->observe(values);
  CHECK(ninety->range().min == doctest::Approx(0.05).epsilon(0.01));
  CHECK(ninety->range().max == doctest::Approx(0.95).epsilon(0.01));
  options.percentile = 100;
  const auto all = make_percentile(options);
  all->observe(values);
  CHECK(all->range().min == values.front());
  CHECK(all->range().max == values.back());
}

TEST_CASE(
    "mse keeps a plain range and an end at zero, and clips what costs less than finer steps") {
  std::vector<float> values;
  for (int i = 0; i <= 1000000; ++i) values.push_back(static_cast<float>(i) / 1000000.0F);
  const auto plain = make_mse({});
  plain->observe(values);
  CHECK(plain->range().min == 0);
  CHECK(plain->range().max >= 0.97F);
  // One value at 1.2: clipping it to 1.02 costs 0.18^2.5 = 0.014, finer steps for a million values
  // bring 1e6 / 3.5 * ((1.2 / 510)^2.5 - (1.02 / 510)^2.5) = 0.026.
  values.push_back(1.2F);
  const auto clipped = make_mse({});
  clipped->observe(values);
  CHECK(clipped->range().max < 1.1F);
  CHECK(clipped->range().max >= 1.0F);
  // Clipping one at 3 would cost more.
  std::vector<float> few{3.0F};
  for (int i = 0; i <= 1000; ++i) few.push_back(static_cast<float>(i) / 1000.0F);
  const auto kept = make_mse({});
  kept->observe(few);
  CHECK(kept->range().max == 3.0F);
}

TEST_CASE("mse: no other candidate of either end errs less") {
  for (const float lowest : {-4.0F, 0.0F}) {
    CAPTURE(lowest);
    std::vector<float> values = test::random_floats(20000, 7, -4, 4);
    for (float& value : values) value = std::max(value * value * value / 16, lowest);
    const auto observer = make_mse({});
    observer->observe(values);
    const auto& seen = static_cast<const Binned&>(*observer);
    const Range best = observer->range();
    const double least = quantizing_error(seen, best);
    CHECK(least <= quantizing_error(seen, {seen.min(), seen.max()}));
    for (int i = 1; i < 40; ++i) {  // their ends are rounded to floats here
      const float part = static_cast<float>(i) / 40;
      CHECK(quantizing_error(seen, {best.min, seen.max() * part}) >= 0.9999 * least);
      CHECK(quantizing_error(seen, {seen.min() * part, best.max}) >= 0.9999 * least);
    }
  }
}

// Many values near zero and a tail: `far` of them reach ten times as far.
std::vector<float> tailed(int far) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  std::vector<float> values(20000);
  for (float& value : values) value = normal(random);
  for (int i = 0; i < far; ++i) values[static_cast<std::size_t>(i)] *= 10;
  return values;
}

TEST_CASE("entropy: with ONNX Runtime's defaults all values, with more bins its threshold") {
  const std::vector<float> values = tailed(20);
  const auto plain = make_entropy({});
  plain->observe(values);
  const OrtRange all = ort_entropy(values, 128, 128);
  CHECK(plain->range().min == doctest::Approx(all.lo));
  CHECK(plain->range().max == doctest::Approx(all.hi));

  ObserverOptions options;
  options.entropy_bins = 2048;
  const auto searched = make_entropy(options);
  const std::span<const float> parts = values;
  searched->observe(parts.first(7000));
  searched->observe(parts.subspan(7000));
  const OrtRange wanted = ort_entropy(values, 2048, 128);
  CHECK(wanted.hi < 0.7 * all.hi);  // it clips
  CHECK(searched->range().max == doctest::Approx(wanted.hi).epsilon(0.02));
  CHECK(searched->range().min == doctest::Approx(wanted.lo).epsilon(0.02));
}

TEST_CASE("entropy keeps values that all lie far from zero") {
  ObserverOptions options;
  options.entropy_bins = 256;
  const auto observer = make_entropy(options);
  std::vector<float> values;
  for (int i = 0; i < 1000; ++i) values.push_back(5 + static_cast<float>(i % 7) / 7);
  observer->observe(values);
  CHECK(observer->range().min <= observer->range().max);
}

TEST_CASE("auto takes mse's range, and percentile's where that lies between mse's steps") {
  const std::vector<float> plain = tailed(0);
  const auto mse = make_mse({});
  const auto choosing = make_auto({});
  mse->observe(plain);
  choosing->observe(plain);
  CHECK(choosing->choice() == "mse");
  CHECK(choosing->range().max == mse->range().max);

  // All but one value end at .9125 of it, between two of the ends that mse tries.
  std::vector<float> two_ends{1.0F};
  for (int i = 0; i < 1000000; ++i) two_ends.push_back(static_cast<float>(i) * 0.9125e-6F);
  ObserverOptions options;
  options.bins = 16384;
  const auto coarse = make_mse(options);
  const auto exact = make_auto(options);
  coarse->observe(two_ends);
  exact->observe(two_ends);
  CHECK(coarse->range().max == 0.925F);
  CHECK(exact->choice() == "percentile");
  CHECK(exact->range().max == doctest::Approx(0.9125).epsilon(1e-4));
}

TEST_CASE("percentile follows a range that grows by many powers of two") {
  const auto observer = make_percentile({});
  const std::vector<float> tiny{1e-30F, -1e-30F};
  const std::vector<float> constant(100, 7.0F);
  const std::vector<float> huge{3e38F, -3e38F};
  observer->observe(tiny);
  CHECK(observer->range().max == 1e-30F);
  observer->observe(constant);
  CHECK(observer->range().max <= 7.0F);
  CHECK(observer->range().max > 6.9F);
  observer->observe(huge);
  CHECK(observer->range().max <= 3e38F);
  CHECK(observer->range().max > 2.9e38F);
}

TEST_CASE("onnxruntime's scales: f64 inside, f32 out, and 1 for an empty range") {
  CHECK(ort_qparams({0, 0}, {0, 255}, Scheme::kAffine) == ScaleZero{1, 0});
  CHECK(ort_qparams({0, 6}, {0, 255}, Scheme::kAffine) ==
        ScaleZero{static_cast<float>(6.0 / 255), 0});
  CHECK(ort_qparams({2, 6}, {0, 255}, Scheme::kAffine) ==
        ScaleZero{static_cast<float>(6.0 / 255), 0});
  CHECK(ort_qparams({-1, 3}, {0, 255}, Scheme::kAffine) ==
        ScaleZero{static_cast<float>(4.0 / 255), 64});
  CHECK(ort_qparams({-0.5F, 0.25F}, {-127, 127}, Scheme::kSymmetric) ==
        ScaleZero{static_cast<float>(1.0 / 254), 0});
  CHECK(ort_qparams({-0.5F, 0.25F}, {0, 255}, Scheme::kSymmetric) ==
        ScaleZero{static_cast<float>(1.0 / 255), 128});
}

}  // namespace
}  // namespace octavo::calib
