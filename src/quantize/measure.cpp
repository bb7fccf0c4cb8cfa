#include "quantize/measure.h"

#include <algorithm>
#include <numeric>

#include "base/clock.h"
#include "base/sort.h"
#include "base/text.h"
#include "kernels/quantize/quantize.h"
#include "kernels/statistics/statistics.h"

namespace octavo::quantize {

namespace {

// [N, C, pixels] <-> [N, pixels, C].
std::vector<float> swap_channels(std::span<const float> values, const Shape& shape, Layout layout,
                                 bool to_rows) {
  std::vector<float> out(values.begin(), values.end());
  if (layout == Layout::kRowMajor || shape.rank() < 3) return out;
  const auto batch = static_cast<std::size_t>(shape[0]);
  const auto channels = static_cast<std::size_t>(shape[1]);
  const std::size_t pixels = values.size() / (batch * channels);
  for (std::size_t n = 0; n < batch; ++n) {
    const std::size_t first = n * channels * pixels;
    for (std::size_t p = 0; p < pixels; ++p) {
      for (std::size_t c = 0; c < channels; ++c) {
        const std::size_t row = first + c * pixels + p;
        const std::size_t last = first + p * channels + c;
        out[to_rows ? row : last] = values[to_rows ? last : row];
      }
    }
  }
  return out;
}

}  // namespace

std::vector<float> to_row_major(std::span<const float> values, const Shape& shape, Layout layout) {
  return swap_channels(values, shape, layout, true);
}
std::vector<float> from_row_major(std::span<const float> values, const Shape& shape,
                                  Layout layout) {
  return swap_channels(values, shape, layout, false);
}

Reals::Reals(const runtime::Session& session, ValueId id)
    : value_(&session.graph().value(id)), bytes_(session.value(id)) {
  const bool plain = !value_->quant || value_->quant->is_per_tensor();
  if (!value_->shape || !plain ||
      (value_->dtype != DType::kFloat32 && !is_quantized_code(value_->dtype)))
    bytes_ = {};
}

std::size_t Reals::size() const { return bytes_.size() / dtype_size(value_->dtype); }

std::span<const float> Reals::piece(std::size_t first, std::size_t n,
                                    std::vector<float>& buffer) const {
  if (value_->dtype == DType::kFloat32)
    return {reinterpret_cast<const float*>(bytes_.data()) + first, n};
  kernels::Grid grid;
  if (value_->quant) grid = {value_->quant->scale[0], value_->quant->zero_point[0]};
  const auto& kernel = kernels::best_row(kernels::quantize_kernels(), kernels::Policy{});
  buffer.resize(n);
  const std::byte* codes = bytes_.data() + first;
  if (value_->dtype == DType::kInt8) {
    kernel.dequantize_s8(reinterpret_cast<const std::int8_t*>(codes), buffer.data(), n, grid);
  } else {
    kernel.dequantize_u8(reinterpret_cast<const std::uint8_t*>(codes), buffer.data(), n, grid);
  }
  return buffer;
}

std::vector<float> read_unordered(const runtime::Session& session, ValueId id) {
  const Reals reals(session, id);
  std::vector<float> buffer;
  const std::span<const float> all = reals.piece(0, reals.size(), buffer);
  if (all.data() != buffer.data()) buffer.assign(all.begin(), all.end());
  return buffer;
}

std::vector<float> read_real(const runtime::Session& session, ValueId id) {
  const Value& value = session.graph().value(id);
  std::vector<float> reals = read_unordered(session, id);
  if (reals.empty() || value.layout == Layout::kRowMajor) return reals;
  return to_row_major(reals, *value.shape, value.layout);
}

std::optional<ValueId> find_tensor(const Graph& graph, const std::string& name) {
  std::optional<ValueId> plain;
  std::optional<ValueId> behind;
  const std::string quantized = text(name, "_quantized");
  for (std::size_t i = 0; i < graph.values.size(); ++i) {
    const Value& value = graph.values[i];
    const bool codes = is_quantized_code(value.dtype) && value.quant;
    if (value.name == name && codes) return static_cast<ValueId>(i);
    if (value.name == name && value.dtype == DType::kFloat32) plain = static_cast<ValueId>(i);
    if (value.name == quantized && codes && !value.is_constant()) behind = static_cast<ValueId>(i);
  }
  return behind ? behind : plain;
}

void ErrorSums::add(std::span<const float> reference, std::span<const float> other) {
  const kernels::Errors errors = kernels::statistics().errors(
      reference.data(), other.data(), std::min(reference.size(), other.size()));
  signal += errors.signal;
  noise += errors.noise;
  max_error = std::max(max_error, errors.largest);
}

std::int64_t class_count(const Shape& shape) {
  // Classes run along the last axis, or along the channels of a 1x1 image.
  const int rank = shape.rank();
  const bool one_pixel = rank == 4 && shape[2] == 1 && shape[3] == 1;
  return rank == 0 ? 1 : shape[one_pixel ? 1 : rank - 1];
}

namespace {

// Makes a row of scores shares of 1; false where it is none and `scores` forbids to.
bool to_shares(std::span<const float> row, bool scores, std::vector<double>& shares) {
  shares.assign(row.begin(), row.end());
  double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
  const auto [low, high] = std::ranges::minmax(shares);
  constexpr double kTolerance = 1e-2;  // of shares that went through 8 bits
  if (low >= 0 && std::fabs(sum - 1) < kTolerance) {
    for (double& share : shares) share /= sum;
    return true;
  }
  if (!scores) return false;
  sum = 0;
  for (double& share : shares) sum += share = std::exp(share - high);
  for (double& share : shares) share /= sum;
  return true;
}

}  // namespace

std::optional<double> divergence(std::span<const float> reference, std::span<const float> other,
                                 std::int64_t width, bool scores) {
  constexpr double kLeast = 1e-12;  // a share of 0 would make one rounded answer infinitely wrong
  const auto n = static_cast<std::size_t>(width);
  if (width < 2 || reference.size() < n || other.size() != reference.size()) return std::nullopt;
  std::vector<double> p;
  std::vector<double> q;
  double sum = 0;
  for (std::size_t at = 0; at + n <= reference.size(); at += n) {
    if (!to_shares(reference.subspan(at, n), scores, p) ||
        !to_shares(other.subspan(at, n), scores, q))
      return std::nullopt;
    for (std::size_t i = 0; i < n; ++i) {
      if (p[i] > 0) sum += p[i] * std::log(p[i] / std::max(q[i], kLeast));
    }
  }
  return sum;
}

std::vector<std::int64_t> top1_rows(std::span<const float> values, const Shape& shape) {
  const std::int64_t width = class_count(shape);
  if (width < 2) return {};
  std::vector<std::int64_t> best;
  for (std::size_t row = 0; row + static_cast<std::size_t>(width) <= values.size();
       row += static_cast<std::size_t>(width)) {
    const auto first = values.begin() + static_cast<std::ptrdiff_t>(row);
    best.push_back(std::max_element(first, first + static_cast<std::ptrdiff_t>(width)) - first);
  }
  return best;
}

bool in_top(std::span<const float> row, std::int64_t label, std::size_t k) {
  if (label < 0 || label >= static_cast<std::int64_t>(row.size())) return false;
  const float own = row[static_cast<std::size_t>(label)];
  // Of equal values the first counts as larger.
  std::size_t above = 0;
  for (std::size_t i = 0; i < row.size(); ++i) {
    if (row[i] > own || (row[i] == own && static_cast<std::int64_t>(i) < label)) ++above;
  }
  return above < k;
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto order = sorted_indices(
      values.size(), [&](std::size_t a, std::size_t b) { return values[a] < values[b]; });
  return values[order[values.size() / 2]];
}

double timed_run(runtime::Session& session) {
  const double start = milliseconds_now();
  session.run();
  return milliseconds_now() - start;
}

}  // namespace octavo::quantize
