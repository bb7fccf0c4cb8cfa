// Codes and scales of weights: against the formulas, and what the options promise.
#include "passes/weights.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "support/graph_builder.h"

namespace octavo::passes {
namespace {

Tensor laplace(const Shape& shape, unsigned seed) {
  std::mt19937 random(seed);
  std::exponential_distribution<float> magnitude(1);
  std::vector<float> values(static_cast<std::size_t>(shape.elements()));
  for (float& value : values) value = (random() % 2 == 0 ? 1.0F : -1.0F) * magnitude(random);
  return Tensor::of<float>(shape, values);
}

struct Case {
  const char* op;
  Shape shape;
  int axis;
  std::int64_t group;
  std::int64_t dilation;
};
// Odd numbers of channels and taps, so that pairs reach over taps or do not.
const Case kCases[] = {
    {"Conv", Shape{6, 3, 3, 3}, 0, 1, 1}, {"Conv", Shape{6, 3, 3, 3}, 0, 1, 2},
    {"Conv", Shape{6, 3, 3, 3}, 0, 2, 1}, {"Conv", Shape{6, 8, 1, 1}, 0, 1, 1},
    {"Conv", Shape{8, 1, 3, 3}, 0, 8, 1}, {"Gemm", Shape{9, 7}, 1, 1, 1},
    {"MatMul", Shape{9, 7}, 1, 1, 1},     {"ConvTranspose", Shape{4, 6, 2, 2}, 1, 1, 1},
};

Node node_of(const Case& c) {
  Node node;
  node.op = c.op;
  node.attrs.set("group", c.group);
  node.attrs.set("dilations", std::vector<std::int64_t>{c.dilation, c.dilation});
  return node;
}

// The rows of a weight as the sums take them, written for each operator by itself.
std::vector<std::vector<std::vector<int>>> segments_of(const Case& c, const Tensor& codes) {
  const auto w = codes.span<std::int8_t>();
  const std::string op = c.op;
  std::vector<std::vector<std::vector<int>>> rows;
  const auto dim = [&](int d) { return static_cast<std::size_t>(c.shape[d]); };
  if (op == "Conv") {
    for (std::size_t o = 0; o < dim(0); ++o) {
      auto& row = rows.emplace_back();
      for (std::size_t y = 0; y < dim(2); ++y) {
        for (std::size_t x = 0; x < dim(3); ++x) {
          const bool joined = c.group == 1 && c.dilation == 1;
          if (!joined || x == 0) row.emplace_back();
          for (std::size_t i = 0; i < dim(1); ++i)
            row.back().push_back(w[((o * dim(1) + i) * dim(2) + y) * dim(3) + x]);
        }
      }
    }
  } else if (op != "ConvTranspose") {
    for (std::size_t o = 0; o < dim(1); ++o) {
      auto& row = rows.emplace_back(1);
      for (std::size_t k = 0; k < dim(0); ++k) row[0].push_back(w[k * dim(1) + o]);
    }
  }
  return rows;
}

int unsafe_pairs(const Case& c, const Tensor& codes) {
  int count = 0;
  for (const auto& row : segments_of(c, codes)) {
    for (const auto& segment : row) {
      for (std::size_t k = 0; k + 1 < segment.size(); k += 2) {
        const int above = std::max(segment[k], 0) + std::max(segment[k + 1], 0);
        const int below = std::min(segment[k], 0) + std::min(segment[k + 1], 0);
        count += above > 128 || below < -128 ? 1 : 0;
      }
    }
  }
  return count;
}

// The squares of the errors, each as much as what it multiplies where that is given.
double error_of(const Tensor& weights, const WeightRows& rows, const QuantizedWeight& made,
                const InputPower* input = nullptr) {
  double sum = 0;
  for (std::size_t o = 0; o < rows.outputs; ++o) {
    for (std::size_t k = 0; k < rows.length; ++k) {
      const float scale = made.scale[made.scale.size() == 1 ? 0 : o];
      const auto code = static_cast<float>(made.codes.span<std::int8_t>()[rows.at(o, k)]);
      const auto error = static_cast<double>(weights.span<float>()[rows.at(o, k)] - code * scale);
      const double power =
          input != nullptr ? input->channels[rows.channel(o, k)] + input->noise : 1.0;
      sum += error * error * power;
    }
  }
  return sum;
}

TEST_CASE("a weight's rows visit every element once, and scales are the largest weights'") {
  for (const Case& c : kCases) {
    CAPTURE(c.op);
    const WeightRows rows = weight_rows(node_of(c), c.shape, c.axis);
    std::vector<int> seen(static_cast<std::size_t>(c.shape.elements()), 0);
    const Tensor weights = laplace(c.shape, 1);
    const QuantizedWeight made = quantize_weight(weights, rows, {}, {});
    for (std::size_t o = 0; o < rows.outputs; ++o) {
      float largest = 0;
      for (std::size_t k = 0; k < rows.length; ++k) {
        ++seen[rows.at(o, k)];
        largest = std::max(largest, std::fabs(weights.span<float>()[rows.at(o, k)]));
      }
      CHECK(made.scale[o] == doctest::Approx(largest / 127));
    }
    CHECK(std::ranges::count(seen, 1) == c.shape.elements());
  }
}

TEST_CASE("pair-safe weights: no pair saturates, at a small cost, and the others change nothing") {
  for (const Case& c : kCases) {
    for (const bool per_channel : {true, false}) {
      CAPTURE(c.op);
      CAPTURE(c.shape[1]);
      CAPTURE(per_channel);
      const WeightRows rows = weight_rows(node_of(c), c.shape, c.axis);
      const Tensor weights = laplace(c.shape, 7);
      const QuantizedWeight plain =
          quantize_weight(weights, rows, {.per_channel = per_channel}, {});
      const QuantizedWeight safe = quantize_weight(
          weights, rows, {.per_channel = per_channel, .pair_safe = PairSafe::kYes}, {});
      CHECK(unsafe_pairs(c, safe.codes) == 0);
      if (rows.segment == 1 || unsafe_pairs(c, plain.codes) == 0) {
        CHECK(error_of(weights, rows, safe) <= error_of(weights, rows, plain));
      } else {
        // A scale of twice the size is always safe, with four times the squared error.
        CHECK(error_of(weights, rows, safe) <= 4.5 * error_of(weights, rows, plain));
      }
    }
  }
  // What is cut is cut where little passes: channels of the second half hold a hundredth.
  for (const Case& one : kCases) {
    const WeightRows rows = weight_rows(node_of(one), one.shape, one.axis);
    if (rows.segment == 1 || rows.inputs() < 2) continue;
    CAPTURE(one.op);
    std::vector<double> channels(rows.inputs());
    for (std::size_t c = 0; c < channels.size(); ++c) channels[c] = c % 2 == 0 ? 1 : 1e-4;
    const InputPower input{.channels = channels, .noise = 1e-6};
    const Tensor weights = laplace(one.shape, 9);
    const WeightOptions yes{.pair_safe = PairSafe::kYes};
    const QuantizedWeight weighed = quantize_weight(weights, rows, yes, {}, input);
    CHECK(unsafe_pairs(one, weighed.codes) == 0);
    CHECK(is_pair_safe(weighed.codes, rows));
    CHECK(error_of(weights, rows, weighed, &input) <=
          error_of(weights, rows, quantize_weight(weights, rows, yes, {}), &input));
  }
  // The odd and even channels of these are both large: their pairs are cut only by the option.
  const Case c = kCases[3];
  const std::vector<float> alike(48, 1);
  const Tensor ones = Tensor::of<float>(c.shape, alike);
  const WeightRows rows = weight_rows(node_of(c), c.shape, c.axis);
  CHECK(unsafe_pairs(c, quantize_weight(ones, rows, {}, {}).codes) == 24);
  CHECK(unsafe_pairs(c, quantize_weight(ones, rows, {.pair_safe = PairSafe::kYes}, {}).codes) == 0);
}

TEST_CASE("pair safety is automatic where it costs hardly anything, and nowhere else") {
  const Case c = kCases[3];
  const WeightRows rows = weight_rows(node_of(c), c.shape, c.axis);
  const WeightOptions automatic{.pair_safe = PairSafe::kAuto};
  const WeightOptions yes{.pair_safe = PairSafe::kYes};
  const std::vector<double> channels(rows.inputs(), 1.0);
  // Pairs of one sign, which no scale below twice the size holds.
  std::vector<float> values(48);
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = 1 - static_cast<float>(i * 37 % 48) / 1000;
  const Tensor alike = Tensor::of<float>(c.shape, values);
  const QuantizedWeight plain = quantize_weight(alike, rows, {}, {});
  const QuantizedWeight safe = quantize_weight(alike, rows, yes, {}, {channels, 0});
  const auto same = [](const QuantizedWeight& a, const QuantizedWeight& b) {
    return a.scale == b.scale &&
           std::ranges::equal(a.codes.span<std::int8_t>(), b.codes.span<std::int8_t>());
  };
  // Of an input that is exact the weights' errors are all there is; beside one that is rounded
  // coarsely they count nothing.
  CHECK(same(quantize_weight(alike, rows, automatic, {}, {channels, 0}), plain));
  CHECK_FALSE(is_pair_safe(plain.codes, rows));
  const QuantizedWeight chosen = quantize_weight(alike, rows, automatic, {}, {channels, 10});
  CHECK(is_pair_safe(chosen.codes, rows));
  CHECK(same(chosen, quantize_weight(alike, rows, yes, {}, {channels, 10})));
  // Without the input's channels there is nothing to ask.
  CHECK(same(quantize_weight(alike, rows, automatic, {}), plain));
  // What is safe as it is stays as it is.
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float low = 0.4F * values[i];
    values[i] = i % 8 == 0 ? 1.0F : i % 8 == 1 ? 0.0F : low;
  }
  const Tensor apart = Tensor::of<float>(c.shape, values);
  const QuantizedWeight free = quantize_weight(apart, rows, {}, {});
  CHECK(is_pair_safe(free.codes, rows));
  CHECK(same(quantize_weight(apart, rows, automatic, {}, {channels, 0}), free));
}

TEST_CASE(
    "the scale of least error clips a lone large weight and never errs more than the largest") {
  const Case c = kCases[5];
  const WeightRows rows = weight_rows(node_of(c), c.shape, c.axis);
  for (unsigned seed = 1; seed <= 5; ++seed) {
    const Tensor weights = laplace(c.shape, seed);
    CHECK(error_of(weights, rows, quantize_weight(weights, rows, {.least_error = true}, {})) <=
          error_of(weights, rows, quantize_weight(weights, rows, {}, {})));
  }
  // Rows of a usual size: many find a scale that errs less than the largest weight's.
  int better = 0;
  for (unsigned seed = 1; seed <= 200; ++seed) {
    const Shape row{1, 288};
    const WeightRows alone = weight_rows(node_of(c), row, 0);
    const Tensor weights = laplace(row, seed);
    const QuantizedWeight plain = quantize_weight(weights, alone, {}, {});
    const QuantizedWeight least = quantize_weight(weights, alone, {.least_error = true}, {});
    better += error_of(weights, alone, least) < error_of(weights, alone, plain) ? 1 : 0;
  }
  CHECK(better > 60);
  // 4,999 weights that lie between two codes and one a little above them all.
  const Shape shape{5000, 1};
  std::vector<float> values(5000, 0.9F * 100.5F / 127);
  values[0] = 1;
  const Tensor weights = Tensor::of<float>(shape, values);
  const WeightRows one = weight_rows(node_of(c), shape, 1);
  const QuantizedWeight plain = quantize_weight(weights, one, {}, {});
  const QuantizedWeight least = quantize_weight(weights, one, {.least_error = true}, {});
  CHECK(least.scale[0] != plain.scale[0]);
  CHECK(error_of(weights, one, least) < 0.5 * error_of(weights, one, plain));
}

TEST_CASE("scales are no smaller than what a bias needs, also of a channel without weights") {
  const Case c = kCases[6];
  const WeightRows rows = weight_rows(node_of(c), c.shape, c.axis);
  const Tensor none = Tensor::of<float>(c.shape, std::vector<float>(63, 0));
  const std::vector<float> least(7, 0.25F);
  for (const bool safe : {false, true}) {
    const QuantizedWeight made =
        quantize_weight(none, rows, {.pair_safe = safe ? PairSafe::kYes : PairSafe::kNo}, least);
    CHECK(made.scale == least);
  }
  CHECK(quantize_weight(none, rows, {}, {}).scale[0] == 1);
}

}  // namespace
}  // namespace octavo::passes
