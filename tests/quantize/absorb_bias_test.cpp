// Absorption of high biases, judged by what networks compute.
#include "passes/absorb_bias.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/networks.h"

namespace octavo::quantize {
namespace {

using nlohmann::json;
using test::take;

constexpr std::size_t kInput = 3 * 8 * 8;

struct Kind {
  bool relu = true;
  std::int64_t pad = 0;   // of the layer that reads
  bool exported = false;  // the tensor is an output too
  float apart = 100;      // the channels' distance
};

// Eight channels, channel c around (c + 1) * apart, and a layer that reads what varies.
Graph high_biases(const Kind& kind) {
  test::RandomNetwork b(4);
  const ValueId x = b.input("image", Shape{1, 3, 8, 8});
  std::vector<float> biases;
  for (int c = 0; c < 8; ++c) biases.push_back(kind.apart * static_cast<float>(c + 1));
  ValueId y = b.node(
      "Conv", {x, b.floats(Shape{8, 3, 1, 1}, 1), b.constant(Tensor::of<float>(Shape{8}, biases))});
  if (kind.relu) y = b.node("Relu", {y});
  // Each row sums up to 0 times the biases' means, so that what varies is the answer.
  const Tensor random = *b.graph.value(b.floats(Shape{6, 8, 1, 1}, 0.5F)).constant;
  std::vector<float> weights(random.span<float>().begin(), random.span<float>().end());
  for (std::size_t row = 0; row < 6; ++row) {
    float sum = 0;
    for (std::size_t c = 1; c < 8; ++c) sum += weights[row * 8 + c] * static_cast<float>(c + 1);
    weights[row * 8] = -sum;
  }
  const ValueId z = b.node("Conv", {y, b.constant(Tensor::of<float>(Shape{6, 8, 1, 1}, weights))},
                           {{"pads", std::vector<std::int64_t>(4, kind.pad)}});
  b.output(z);
  if (kind.exported) b.output(y);
  return b.graph;
}

double error(const Model& model, const std::string& options) {
  const QuantizeJob job = test::quantized(model, options, 40);
  return json::parse(job.report_json())["outputs"][0]["relativeRms"].get<double>();
}
struct Absorbed {
  Graph before, after;
  int changed;
};
// The pass by itself, with what is known of the channels: twelve to both sides.
Absorbed absorb(const Kind& kind) {
  passes::PassContext context;
  Absorbed result{high_biases(kind), {}, 0};
  REQUIRE(passes::fuse_activation(result.before, context).ok());
  passes::ChannelStats stats;
  for (int c = 0; c < 8; ++c) {
    stats.lowest.push_back(kind.apart * static_cast<float>(c + 1) - 12);
    stats.highest.push_back(kind.apart * static_cast<float>(c + 1) + 12);
  }
  const Value& made = result.before.value(result.before.nodes[0].outputs[0]);
  result.after = result.before;
  result.changed = take(passes::absorb_bias(result.after, {{made.name, stats}}, context));
  // Once is all.
  CHECK(take(passes::absorb_bias(result.after, {}, context)) == 0);
  return result;
}

TEST_CASE("channels around numbers of their own keep more of their codes") {
  for (const bool relu : {true, false}) {
    const Model model = Model::from_graph(high_biases({.relu = relu}));
    CHECK(error(model, "{}") < 0.3 * error(model, R"({"equalize": false})"));
  }
}

TEST_CASE("absorption keeps the float function, of inputs too that it has not seen") {
  for (const bool relu : {true, false}) {
    const Absorbed made = absorb({.relu = relu});
    CHECK(made.changed == 1);
    runtime::Session before = test::unlowered_session(made.before, false);
    runtime::Session after = test::unlowered_session(made.after, false);
    for (unsigned seed = 1; seed <= 5; ++seed) {
      const auto input = test::random_values(kInput, seed);
      const std::vector<float> a = test::run(before, input);
      const std::vector<float> b = test::run(after, input);
      // Both round sums of terms up to 1,000.
      for (std::size_t i = 0; i < a.size(); ++i) CHECK(std::fabs(a[i] - b[i]) < 5e-3F);
    }
  }
}

TEST_CASE("absorption leaves alone what pads, what others see, and what it would not help") {
  CHECK(absorb({.pad = 1}).changed == 0);
  CHECK(absorb({.exported = true}).changed == 0);
  CHECK(absorb({.apart = 0}).changed == 0);
}

}  // namespace
}  // namespace octavo::quantize
