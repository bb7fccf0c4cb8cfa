#include "passes/weights.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "calib/qparams.h"

namespace octavo::passes {

namespace {

// Candidates for a scale, in parts of the largest weight's.
constexpr int kParts = 200;
constexpr int kSmallestPart = 100;
constexpr int kLargestPart = 400;
// With 8 bits a cut of more than half a code seldom pays: near the whole every two-hundredth
// counts.
constexpr int kCoarse = 5;
constexpr int kFineFrom = 180;

// One row's codes at a scale, its pairs cut where they are not safe. The sum of squared errors.
double round_row(std::span<const float> row, float scale, float largest, std::size_t segment,
                 std::span<float> codes) {
  for (std::size_t k = 0; k < row.size(); ++k)
    codes[k] = std::clamp(std::nearbyint(row[k] / scale), -largest, largest);
  for (std::size_t k = 0; k < row.size(); ++k) {
    const std::size_t other = pair_of(k, segment, row.size());
    if (other <= k) continue;
    // Both of one sign: each gives half of what is too much, as far as it has it.
    const float sign = codes[k] < 0 ? -1.0F : 1.0F;
    const float a = codes[k] * sign;
    const float b = codes[other] * sign;
    const float excess = a + b - kPairLimit;
    if (b <= 0 || excess <= 0) continue;
    const float less = std::min(a, std::floor(excess / 2));
    codes[k] = sign * (a - less);
    codes[other] = sign * (b - (excess - less));
  }
  double sum = 0;
  for (std::size_t k = 0; k < row.size(); ++k) {
    const auto error = static_cast<double>(row[k] - codes[k] * scale);
    sum += error * error;
  }
  return sum;
}

}  // namespace

WeightRows weight_rows(const Node& node, const Shape& shape, int axis) {
  WeightRows rows;
  rows.outputs = static_cast<std::size_t>(shape[axis]);
  rows.length = rows.outputs == 0 ? 0 : static_cast<std::size_t>(shape.elements()) / rows.outputs;
  for (int d = axis + 1; d < shape.rank(); ++d) rows.behind *= static_cast<std::size_t>(shape[d]);
  if (node.op == "Conv") {
    for (int d = 2; d < shape.rank(); ++d) rows.taps *= static_cast<std::size_t>(shape[d]);
    // A kernel row is one piece where its taps touch (ops/conv.cpp).
    const auto dilations = node.attrs.get_ints("dilations");
    const bool touch = dilations.empty() || dilations.back() == 1;
    rows.segment = static_cast<std::size_t>(shape[1]);
    if (touch && node.attrs.get_int("group", 1) == 1)
      rows.segment *= static_cast<std::size_t>(shape[shape.rank() - 1]);
  } else if ((node.op == "Gemm" || node.op == "MatMul") && shape.rank() == 2) {
    rows.segment = rows.length;
  }
  return rows;
}

QuantizedWeight quantize_weight(const Tensor& weights, const WeightRows& rows,
                                const WeightOptions& options, const std::vector<float>& least) {
  const std::span<const float> values = weights.span<float>();
  const std::size_t scales = options.per_channel ? rows.outputs : 1;
  const std::size_t rows_a_scale = rows.outputs / std::max<std::size_t>(1, scales);
  const auto largest_code = static_cast<float>(options.largest_code);
  const std::size_t segment = options.pair_safe ? rows.segment : 1;
  QuantizedWeight out{Tensor::make(DType::kInt8, weights.shape()),
                      std::vector<float>(scales, 1.0F)};
  const std::span<std::int8_t> codes = out.codes.mutable_span<std::int8_t>();
  std::vector<float> block(rows_a_scale * rows.length);
  std::vector<float> tried(block.size());
  std::vector<float> best(block.size());
  for (std::size_t s = 0; s < scales; ++s) {
    float largest = 0;
    for (std::size_t o = 0; o < rows_a_scale; ++o) {
      for (std::size_t k = 0; k < rows.length; ++k) {
        const float value = values[rows.at(s * rows_a_scale + o, k)];
        block[o * rows.length + k] = value;
        largest = std::max(largest, std::fabs(value));
      }
    }
    const float whole =
        calib::ort_qparams({-largest, largest}, {-options.largest_code, options.largest_code},
                           calib::Scheme::kSymmetric)
            .scale;
    const float smallest = least.size() == 1 ? least[0] : least.empty() ? 0.0F : least[s];
    double least_error = std::numeric_limits<double>::infinity();
    const int from = options.least_error ? kSmallestPart : kParts;
    const int to = segment > 1 ? kLargestPart : kParts;
    for (int part = from; part <= to; part += part >= kFineFrom && part < kParts ? 1 : kCoarse) {
      float scale = part == kParts ? whole : whole * (static_cast<float>(part) / kParts);
      if (largest == 0 && smallest >= std::numeric_limits<float>::min()) scale = smallest;
      scale = std::max(scale, smallest);
      double error = 0;
      for (std::size_t o = 0; o < rows_a_scale; ++o) {
        const std::size_t first = o * rows.length;
        error += round_row(std::span(block).subspan(first, rows.length), scale, largest_code,
                           segment, std::span(tried).subspan(first, rows.length));
      }
      if (error >= least_error) continue;
      least_error = error;
      out.scale[s] = scale;
      best.swap(tried);
    }
    for (std::size_t o = 0; o < rows_a_scale; ++o) {
      for (std::size_t k = 0; k < rows.length; ++k)
        codes[rows.at(s * rows_a_scale + o, k)] =
            static_cast<std::int8_t>(best[o * rows.length + k]);
    }
  }
  return out;
}

}  // namespace octavo::passes
