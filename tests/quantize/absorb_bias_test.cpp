// Absorption of high biases, judged by what networks compute.
#include "passes/absorb_bias.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "quantize/refine.h"
#include "support/networks.h"

namespace octavo::quantize {
namespace {

using nlohmann::json;
using test::take;

using Kind = test::HighBiases;

constexpr std::size_t kInput = 3 * 8 * 8;

double error(const Model& model, const std::string& options) {
  const QuantizeJob job = test::quantized(model, options, 40);
  return json::parse(job.report_json())["outputs"][0]["relativeRms"].get<double>();
}
struct Absorbed {
  Graph before, after;
  int changed;
  passes::Absorbed done;
};
// The pass by itself, with what is known of the channels: twelve to both sides.
Absorbed absorb(const Kind& kind) {
  passes::PassContext context;
  Absorbed result{test::high_biases(kind), {}, 0, {}};
  REQUIRE(passes::fuse_activation(result.before, context).ok());
  passes::ChannelStats stats;
  for (int c = 0; c < 8; ++c) {
    stats.lowest.push_back(kind.apart * static_cast<float>(c + 1) - 12);
    stats.highest.push_back(kind.apart * static_cast<float>(c + 1) + 12);
  }
  const Value& made = result.before.value(result.before.nodes[0].outputs[0]);
  result.after = result.before;
  result.changed =
      take(passes::absorb_bias(result.after, {{made.name, stats}}, context, &result.done));
  // Once is all.
  CHECK(take(passes::absorb_bias(result.after, {}, context)) == 0);
  return result;
}

TEST_CASE("channels around numbers of their own keep more of their codes") {
  for (const bool relu : {true, false}) {
    const Model model = Model::from_graph(test::high_biases({.relu = relu}));
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

// What the products of a network read, on the mean.
WindowMeans means_of(const Graph& graph) {
  runtime::Session session = test::unlowered_session(graph, true);
  WindowMeans means(session.graph());
  for (unsigned seed = 1; seed <= 4; ++seed) {
    test::run(session, test::random_values(kInput, seed));
    for (std::size_t i = 0; i < session.graph().values.size(); ++i) {
      const auto id = static_cast<ValueId>(i);
      if (const auto bytes = session.value(id); !bytes.empty()) means.observe(id, bytes, seed);
    }
  }
  return means;
}

TEST_CASE("the means of what reads shifted channels are known without running it") {
  for (const bool relu : {true, false}) {
    const Absorbed made = absorb({.relu = relu});
    WindowMeans carried(test::unlowered_session(made.after, true).graph());
    REQUIRE(carried.carry_over(means_of(made.before), made.after, {}, made.done.shift));
    const WindowMeans observed = means_of(made.after);
    for (const Node& node : made.after.nodes) {
      const std::vector<double> a = carried.of(node.name);
      const std::vector<double> b = observed.of(node.name);
      REQUIRE(a.size() == b.size());
      CHECK(a.size() > 0);
      for (std::size_t i = 0; i < a.size(); ++i) CHECK(std::fabs(a[i] - b[i]) < 1e-3);
    }
    for (const auto& [name, largest] : made.done.largest) {
      CHECK(largest.size() == 8);
      for (std::size_t c = 0; c < 8; ++c) {
        const float most = relu ? 24 + 24 * 0.25F : 12;  // twelve to both sides
        CHECK(largest[c] == doctest::Approx(most));
      }
    }
    CHECK(made.done.largest.size() == 1);
  }
}

TEST_CASE("after absorption, samples run again only as far as channels have changed") {
  test::RandomNetwork b(4);
  b.graph = test::high_biases({});
  ValueId y = b.graph.outputs[0];
  constexpr int kLayers = 60;
  for (int i = 0; i < kLayers; ++i) {
    y = b.node("Tanh", {y});  // between two products a bias could be absorbed
    y = b.node("Conv", {y, b.floats(Shape{6, 6, 1, 1}, 0.4F)});
  }
  b.graph.outputs[0] = y;
  const auto steps_of_samples = [&](const std::string& options) {
    QuantizeJob job = take(QuantizeJob::create(Model::from_graph(b.graph), options, {}));
    std::vector<int> steps;
    for (unsigned seed = 1; seed <= 33; ++seed) {
      test::set_input(job.input(0), test::random_values(kInput, seed));
      take(job.begin_sample());
      steps.push_back(0);
      for (; !job.sample_finished(); ++steps.back()) take(job.step());
    }
    return steps;
  };
  const std::vector<int> steps = steps_of_samples("{}");
  const int plain = steps[0];
  CHECK(steps[32] == plain);
  CHECK(steps[31] - plain >= 32);
  CHECK(steps[31] - plain < 32 * plain / 4);
  // Of more kept samples all is observed anew, as where states merge.
  CHECK(steps_of_samples(R"({"evaluateSamples": 33})")[31] - plain >= 32 * plain);
}

TEST_CASE("absorption leaves alone what pads, what others see, and what it would not help") {
  CHECK(absorb({.pad = 1}).changed == 0);
  CHECK(absorb({.exported = true}).changed == 0);
  CHECK(absorb({.apart = 0}).changed == 0);
}

}  // namespace
}  // namespace octavo::quantize
