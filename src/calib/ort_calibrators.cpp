#include "calib/ort_calibrators.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>

namespace octavo::calib {

namespace {

struct Extremes {
  float min = std::numeric_limits<float>::infinity();
  float max = -std::numeric_limits<float>::infinity();
};
Extremes extremes_of(std::span<const float> values) {
  Extremes e;
  for (const float value : values) {
    e.min = std::min(e.min, value);
    e.max = std::max(e.max, value);
  }
  return e;
}
float absolute_max(const Extremes& e) { return std::max(std::fabs(e.min), std::fabs(e.max)); }

struct Histogram {
  std::vector<std::int64_t> counts;
  std::vector<float> edges;  // counts.size() + 1
};

// numpy.histogram over [lo, hi].
Histogram histogram_of(std::span<const float> values, int bins, float lo, float hi) {
  if (lo == hi) {  // numpy widens an empty range
    lo -= 0.5F;
    hi += 0.5F;
  }
  const auto n = static_cast<std::size_t>(bins);
  Histogram h{std::vector<std::int64_t>(n), std::vector<float>(n + 1)};
  const float step = (hi - lo) / static_cast<float>(bins);
  for (std::size_t i = 0; i < n; ++i) h.edges[i] = static_cast<float>(i) * step + lo;
  h.edges[n] = hi;
  for (const float value : values) {
    if (!(value >= lo && value <= hi)) continue;
    const auto above = std::upper_bound(h.edges.begin(), h.edges.end(), value);
    const auto bin = static_cast<std::size_t>(above - h.edges.begin()) - 1;
    ++h.counts[std::min(bin, n - 1)];
  }
  return h;
}

OrtRange clipped(float lo, float hi, const Extremes& e) {
  return {static_cast<double>(std::max(lo, e.min)), static_cast<double>(std::min(hi, e.max))};
}

// smooth_distribution: a little weight from bins that have some to those that have none. Empty
// where nothing has any.
std::vector<float> smoothed(const std::vector<std::int64_t>& counts) {
  constexpr double kEpsilon = 0.0001;
  const auto zeros = static_cast<double>(std::ranges::count(counts, 0));
  const double others = static_cast<double>(counts.size()) - zeros;
  if (others == 0) return {};
  const auto taken = static_cast<float>(-kEpsilon * zeros / others);
  std::vector<float> out;
  out.reserve(counts.size());
  for (const std::int64_t count : counts)
    out.push_back(static_cast<float>(count) + (count == 0 ? static_cast<float>(kEpsilon) : taken));
  return out;
}

double kl_divergence(const std::vector<float>& p, const std::vector<float>& q) {
  if (p.empty() || q.empty()) return std::numeric_limits<double>::infinity();
  const double p_sum = std::accumulate(p.begin(), p.end(), 0.0);
  const double q_sum = std::accumulate(q.begin(), q.end(), 0.0);
  double sum = 0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    const double a = static_cast<double>(p[i]) / p_sum;
    const double b = static_cast<double>(q[i]) / q_sum;
    sum += a > 0 && b > 0 ? a * std::log(a / b) : std::numeric_limits<double>::infinity();
  }
  return sum;
}

// How far the counts of bins [first, last), with what lies outside at their ends, are from
// themselves merged into `quantized` bins and spread again.
double cost_of_range(const std::vector<std::int64_t>& counts, std::size_t first, std::size_t last,
                     std::size_t quantized) {
  const auto at = [&](std::size_t i) { return counts.begin() + static_cast<std::ptrdiff_t>(i); };
  const std::vector<std::int64_t> inside(at(first), at(last));
  std::vector<std::int64_t> p = inside;
  p.front() += std::accumulate(counts.begin(), at(first), std::int64_t{0});
  p.back() += std::accumulate(at(last), counts.end(), std::int64_t{0});
  std::vector<std::int64_t> q(p.size());
  const std::size_t merged = inside.size() / quantized;
  for (std::size_t bin = 0; bin < quantized; ++bin) {
    const std::size_t from = bin * merged;
    // The last bin counts the remainder too, but is spread over its own places only.
    const std::size_t counted = bin + 1 == quantized ? inside.size() : from + merged;
    std::int64_t total = 0;
    for (std::size_t i = from; i < counted; ++i) total += inside[i];
    std::int64_t used = 0;
    for (std::size_t i = from; i < from + merged; ++i) used += p[i] != 0 ? 1 : 0;
    for (std::size_t i = from; used != 0 && i < from + merged; ++i) q[i] = total / used;
  }
  return kl_divergence(smoothed(p), smoothed(q));
}

}  // namespace

OrtRange ort_min_max(std::span<const std::vector<float>> batches, bool symmetric,
                     bool moving_average) {
  Extremes all;
  Extremes sum{0, 0};
  for (const std::vector<float>& batch : batches) {
    const Extremes own = extremes_of(batch);
    all.min = std::min(all.min, own.min);
    all.max = std::max(all.max, own.max);
    sum.min += own.min;
    sum.max += own.max;
  }
  if (moving_average) {
    const auto n = static_cast<float>(batches.size());
    all = {sum.min / n, sum.max / n};
  }
  if (symmetric) all = {-absolute_max(all), absolute_max(all)};
  return {static_cast<double>(all.min), static_cast<double>(all.max)};
}

OrtRange ort_percentile(std::span<const float> values, double percentile, int bins) {
  const Extremes e = extremes_of(values);
  std::vector<float> magnitudes;
  magnitudes.reserve(values.size());
  for (const float value : values) magnitudes.push_back(std::fabs(value));
  const Extremes range = extremes_of(magnitudes);
  const Histogram h = histogram_of(magnitudes, bins, range.min, range.max);
  const auto total = static_cast<double>(magnitudes.size());
  // The first bin up to which the share of values reaches the percentile.
  double share = 0;
  std::size_t bin = 0;
  for (; bin < h.counts.size(); ++bin) {
    share += static_cast<double>(h.counts[bin]) / total;
    if (share >= percentile / 100.0) break;
  }
  return clipped(-h.edges[bin], h.edges[bin], e);
}

std::pair<std::size_t, std::size_t> least_divergence(const std::vector<std::int64_t>& counts,
                                                     int quantized_bins) {
  const std::size_t middle = counts.size() / 2;
  const auto quantized = static_cast<std::size_t>(quantized_bins);
  double best = std::numeric_limits<double>::infinity();
  std::pair<std::size_t, std::size_t> kept{0, counts.size()};
  for (std::size_t i = quantized / 2; i <= middle; ++i) {
    const std::size_t first = middle - i;
    const std::size_t last = std::min(middle + i + 1, counts.size());
    const double cost = cost_of_range(counts, first, last, quantized);
    if (cost < best || i == quantized / 2) {
      best = cost;
      kept = {first, last};
    }
  }
  return kept;
}

OrtRange ort_entropy(std::span<const float> values, int bins, int quantized_bins) {
  const Extremes e = extremes_of(values);
  const float threshold = absolute_max(e);
  const Histogram h = histogram_of(values, bins, -threshold, threshold);
  const auto [first, last] = least_divergence(h.counts, quantized_bins);
  return clipped(h.edges[first], h.edges[last], e);
}

OrtRange ort_distribution(std::span<const float> values) {
  const auto threshold = static_cast<double>(absolute_max(extremes_of(values)));
  return {-threshold, threshold};
}

}  // namespace octavo::calib
