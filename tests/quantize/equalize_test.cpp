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
constexpr std::int64_t kChannels = 16;

// A residual block whose inner channels are scaled by powers of two from 1 to 2^skew, up in the
// convolution that makes them and down in the one that reads them.
Graph residual_network(int skew, bool clip = false) {
  test::RandomNetwork b(5);
  const auto scaled = [&](ValueId x, bool rows) {
    const Shape shape{kChannels, kChannels, 3, 3};
    std::vector<float> w = to_floats(*b.graph.value(b.floats(shape, 0.1F)).constant);
    for (std::size_t i = 0; i < w.size(); ++i) {
      const auto c = static_cast<int>(rows ? i / (9 * kChannels) : i / 9 % kChannels);
      w[i] = std::ldexp(w[i], (rows ? 1 : -1) * (c * skew / static_cast<int>(kChannels)));
    }
    return b.node("Conv", {x, b.constant(Tensor::of<float>(shape, w))},
                  {{"pads", std::vector<std::int64_t>{1, 1, 1, 1}}});
  };
  const ValueId x = b.input("image", Shape{1, 3, 8, 8});
  const ValueId stem = b.node("Relu", {b.conv(x, 3, kChannels, 3)});
  const ValueId inner = scaled(stem, true);
  const ValueId active = clip ? b.clip6(inner) : b.node("Relu", {inner});
  ValueId y = b.node("Relu", {b.node("Add", {stem, scaled(active, false)})});
  y = b.node("Flatten", {b.node("GlobalAveragePool", {y})});
  y = b.node("Gemm", {y, b.floats(Shape{5, kChannels}, 0.4F)}, {{"transB", std::int64_t{1}}});
  b.output(y);
  Graph graph = b.graph;
  passes::PassContext context;
  take(passes::optimize_float(graph, context));
  return graph;
}

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
  const Graph graph = residual_network(12);
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
  for (Graph graph : {residual_network(0), residual_network(12, true)})
    CHECK(take(passes::equalize(graph, stats_of(graph), {}, context)) == 0);
}

TEST_CASE("a network with uneven channels keeps its answer only when equalized") {
  const Model model = Model::from_graph(residual_network(12));
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
  const Model model = Model::from_graph(residual_network(12));
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
    // A channel of the residual sum may move by a power of two as well: random weights differ between C++ libraries.
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

}  // namespace
}  // namespace octavo::quantize
