// Cross-layer equalization, judged by what networks compute.
#include "passes/equalize.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/networks.h"

namespace octavo::quantize {
namespace {

using nlohmann::json;
using test::take;

constexpr std::size_t kInput = 3 * 8 * 8;
std::map<std::string, passes::ChannelStats> stats_of(const Graph& graph) {
  runtime::Session session = test::unlowered_session(graph, true);
  test::run(session, test::random_values(kInput, 9));
  std::map<std::string, passes::ChannelStats> stats;
  const Graph& running = session.graph();
  for (std::size_t i = 0; i < running.values.size(); ++i) {
    const Value& value = running.values[i];
    if (value.is_constant() || value.shape->rank() < 2) continue;
    const std::vector<float> values = read_real(session, static_cast<ValueId>(i));
    const auto channels = static_cast<std::size_t>((*value.shape)[1]);
    const std::size_t pixels = values.size() / channels;
    passes::ChannelStats& own = stats[value.name];
    own.largest.assign(channels, 0.0F);
    own.square.assign(channels, 0.0);
    for (std::size_t k = 0; k < values.size(); ++k) {
      const std::size_t c = k / pixels;
      own.largest[c] = std::max(own.largest[c], std::fabs(values[k]));
      own.square[c] += static_cast<double>(values[k]) * static_cast<double>(values[k]) /
                       static_cast<double>(pixels);
    }
  }
  return stats;
}

TEST_CASE("equalize keeps every bit of the float network and makes its channels alike") {
  const Graph graph = test::skewed_network(12);
  Graph equalized = graph;
  const auto stats = stats_of(graph);
  passes::PassContext context;
  CHECK(take(passes::equalize(equalized, stats, {}, context)) == 1);
  runtime::Session before = test::unlowered_session(graph, false);
  runtime::Session after = test::unlowered_session(equalized, false);
  for (unsigned seed = 1; seed <= 3; ++seed) {
    const auto input = test::random_values(kInput, seed);
    CHECK(test::run(before, input) == test::run(after, input));
  }
  bool found = false;
  for (const auto& [name, own] : stats_of(equalized)) {
    if (!name.ends_with("_equalized")) continue;
    found = true;
    const auto [low, high] = std::minmax_element(own.largest.begin(), own.largest.end());
    CHECK(*high < 64 * *low);  // 4096 before
  }
  CHECK(found);
  CHECK(take(passes::equalize(equalized, stats_of(equalized), {}, context)) == 0);
}

TEST_CASE("equalize leaves alone what promises no large gain, and what a clip bounds") {
  passes::PassContext context;
  for (Graph graph : {test::skewed_network(0), test::skewed_network(12, true)})
    CHECK(take(passes::equalize(graph, stats_of(graph), {}, context)) == 0);
}

TEST_CASE("a network with uneven channels keeps its answer only when equalized") {
  const Model model = Model::from_graph(test::skewed_network(12));
  const auto error = [&](const std::string& options, int samples) {
    const QuantizeJob job = test::quantized(model, options, samples);
    return json::parse(job.report_json())["outputs"][0]["relativeRms"].get<double>();
  };
  const double without = error(R"({"equalize": false})", 40);
  CHECK(error("{}", 40) < 0.5 * without);
  // With too few samples it does not act.
  CHECK(error("{}", 31) == error(R"({"equalize": false})", 31));
}

TEST_CASE("the report shows channels before and after, and known ranges equalize alike") {
  const Model model = Model::from_graph(test::skewed_network(12));
  QuantizeJob job = test::quantized(model, "{}", 40);
  const json report = json::parse(job.report_json());
  json ranges = json::object();
  int uneven = 0;
  for (const json& tensor : report["tensors"]) {
    ranges[tensor["name"].get<std::string>()] = tensor["range"];
    if (!tensor.contains("channels")) continue;
    const auto spread = [&](const char* when) {
      const auto largest = tensor["channels"][when].get<std::vector<double>>();
      const auto [low, high] = std::minmax_element(largest.begin(), largest.end());
      return *high / *low;
    };
    // A channel of the residual sum may move by a power of two as well: random weights differ
    // between C++ libraries.
    if (spread("before") > 1000) ++uneven;
    CHECK(spread("after") < 64);
  }
  CHECK(uneven == 1);

  const std::string known = json{{"ranges", ranges}}.dump();
  QuantizeJob again = take(QuantizeJob::create(model, known, {}));
  CHECK(again.samples_wanted() == 32);
  again = test::quantized(model, known, 32);
  CHECK(take(again.take_model().to_onnx({})) == take(job.take_model().to_onnx({})));
}

// What it has to give back is byte for byte what observing the whole network again gives:
// calibration_state_test.cpp, where a loaded sample makes that necessary.
TEST_CASE("after equalizing, samples run again only as far as channels have changed") {
  test::RandomNetwork b(4);
  b.graph = test::skewed_network(12);
  ValueId y = b.graph.outputs[0];
  constexpr int kLayers = 60;
  for (int i = 0; i < kLayers; ++i) {
    y = b.node("Tanh", {y});  // between two products a bias could be absorbed
    y = b.node("Gemm", {y, b.floats(Shape{5, 5}, 0.4F)});
  }
  b.graph.outputs[0] = y;
  QuantizeJob job = take(QuantizeJob::create(Model::from_graph(b.graph), "{}", {}));
  const auto steps_of_sample = [&](unsigned seed) {
    test::set_input(job.input(0), test::random_values(kInput, seed));
    take(job.begin_sample());
    int steps = 0;
    for (; !job.sample_finished(); ++steps) take(job.step());
    return steps;
  };
  const int plain = steps_of_sample(1);
  for (unsigned seed = 2; seed < 32; ++seed) CHECK(steps_of_sample(seed) == plain);
  const int replayed = steps_of_sample(32) - plain;
  CHECK(replayed >= 32);
  CHECK(replayed < 32 * plain / 4);
  CHECK(steps_of_sample(33) == plain);
}

}  // namespace
}  // namespace octavo::quantize
