#include "passes/weights.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

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
// What pair safety may cost a layer, of the mean square of its output's error: 1 % of its root.
constexpr double kMostPairSafeError = 1.02;

// One row's codes at a scale, its pairs cut where they are not safe. The sum of squared errors,
// each weighed by `power`.
double round_row(std::span<const float> row, std::span<const double> power, float scale,
                 float largest, std::size_t segment, std::span<float> codes) {
  for (std::size_t k = 0; k < row.size(); ++k)
    codes[k] = std::clamp(std::nearbyint(row[k] / scale), -largest, largest);
  for (std::size_t k = 0; k < row.size(); ++k) {
    const std::size_t other = pair_of(k, segment, row.size());
    if (other <= k) continue;
    // Both of one sign: each gives of what is too much as much as the other weighs, as far as it
    // has it.
    const float sign = codes[k] < 0 ? -1.0F : 1.0F;
    const float a = codes[k] * sign;
    const float b = codes[other] * sign;
    const float excess = a + b - kPairLimit;
    if (b <= 0 || excess <= 0) continue;
    const double both = power[k] + power[other];
    const double part = both > 0 ? power[other] / both : 0.5;
    const float half = std::floor(excess * static_cast<float>(part));
    const float less = std::clamp(half, std::max(0.0F, excess - b), a);
    codes[k] = sign * (a - less);
    codes[other] = sign * (b - (excess - less));
  }
  double sum = 0;
  for (std::size_t k = 0; k < row.size(); ++k) {
    const auto error = static_cast<double>(row[k] - codes[k] * scale);
    sum += power[k] * error * error;
  }
  return sum;
}

// The mean square of the output's error, its channels added: of rounding the weights, of rounding
// the input.
double output_error(std::span<const float> weights, const WeightRows& rows,
                    const QuantizedWeight& made, const InputPower& input) {
  const std::span<const std::int8_t> codes = made.codes.span<std::int8_t>();
  double sum = 0;
  for (std::size_t o = 0; o < rows.outputs; ++o) {
    const float scale = made.scale[made.scale.size() == 1 ? 0 : o];
    for (std::size_t k = 0; k < rows.length; ++k) {
      const std::size_t at = rows.at(o, k);
      const auto weight = static_cast<double>(static_cast<float>(codes[at]) * scale);
      const double error = static_cast<double>(weights[at]) - weight;
      sum += error * error * input.channels[rows.channel(o, k)] + weight * weight * input.noise;
    }
  }
  return sum;
}

// With pairs inside segments of that length. Errors are weighed by the input, where it is known;
// its noise keeps a channel that was silent from counting nothing.
QuantizedWeight search_scales(const Tensor& weights, const WeightRows& rows,
                              const WeightOptions& options, const std::vector<float>& least,
                              std::size_t segment, const InputPower& input) {
  const std::span<const float> values = weights.span<float>();
  const std::size_t scales = options.per_channel ? rows.outputs : 1;
  const std::size_t rows_a_scale = rows.outputs / std::max<std::size_t>(1, scales);
  const auto largest_code = static_cast<float>(options.largest_code);
  QuantizedWeight out{Tensor::make(DType::kInt8, weights.shape()),
                      std::vector<float>(scales, 1.0F)};
  const std::span<std::int8_t> codes = out.codes.mutable_span<std::int8_t>();
  std::vector<float> block(rows_a_scale * rows.length);
  std::vector<double> powers;
  powers.assign(block.size(), 1.0);
  std::vector<float> tried(block.size());
  std::vector<float> best(block.size());
  for (std::size_t s = 0; s < scales; ++s) {
    float largest = 0;
    for (std::size_t o = 0; o < rows_a_scale; ++o) {
      for (std::size_t k = 0; k < rows.length; ++k) {
        const float value = values[rows.at(s * rows_a_scale + o, k)];
        block[o * rows.length + k] = value;
        if (!input.channels.empty()) {
          powers[o * rows.length + k] =
              input.channels[rows.channel(s * rows_a_scale + o, k)] + input.noise;
        }
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
        error += round_row(std::span(block).subspan(first, rows.length),
                           std::span(powers).subspan(first, rows.length), scale, largest_code,
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
    rows.groups =
        static_cast<std::size_t>(std::max<std::int64_t>(1, node.attrs.get_int("group", 1)));
    rows.segment = static_cast<std::size_t>(shape[1]);
    if (touch && node.attrs.get_int("group", 1) == 1)
      rows.segment *= static_cast<std::size_t>(shape[shape.rank() - 1]);
  } else if ((node.op == "Gemm" || node.op == "MatMul") && shape.rank() == 2) {
    rows.segment = rows.length;
  }
  return rows;
}

bool is_pair_safe(const Tensor& codes, const WeightRows& rows) {
  const std::span<const std::int8_t> all = codes.span<std::int8_t>();
  for (std::size_t o = 0; o < rows.outputs; ++o) {
    for (std::size_t k = 0; k < rows.length; ++k) {
      const std::size_t other = pair_of(k, rows.segment, rows.length);
      if (other <= k) continue;
      const CodeLimits limits = limits_beside(all[rows.at(o, other)], kPairLimit);
      const auto code = static_cast<float>(all[rows.at(o, k)]);
      if (code < limits.low || code > limits.high) return false;
    }
  }
  return true;
}

QuantizedWeight quantize_weight(const Tensor& weights, const WeightRows& rows,
                                const WeightOptions& options, const std::vector<float>& least,
                                const InputPower& input) {
  const bool known = !input.channels.empty() && input.channels.size() == rows.inputs();
  const auto safe = [&] {
    return search_scales(weights, rows, options, least, rows.segment, known ? input : InputPower{});
  };
  if (options.pair_safe == PairSafe::kYes && rows.segment > 1) return safe();
  QuantizedWeight plain = search_scales(weights, rows, options, least, 1, {});
  if (options.pair_safe != PairSafe::kAuto || !known || is_pair_safe(plain.codes, rows))
    return plain;
  QuantizedWeight other = safe();
  const std::span<const float> values = weights.span<float>();
  const bool cheap = output_error(values, rows, other, input) <=
                     kMostPairSafeError * output_error(values, rows, plain, input);
  return cheap ? std::move(other) : std::move(plain);
}

}  // namespace octavo::passes
