// What each layer costs by itself: the same as a network in which only it is int8, and no more work
// than what depends on it.
#include "quantize/sensitivity.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "quantize/compare.h"
#include "support/networks.h"

namespace octavo::quantize {
namespace {

using nlohmann::json;
using test::take;

const std::string kPlain = R"("weight": {"rounding": "nearest"}, "biasCorrection": false)";

json report_of(const Graph& graph, const std::string& options, int samples = 6) {
  return json::parse(test::quantized(Model::from_graph(graph), options, samples).report_json());
}

// Three convolutions in a row. The first makes a channel of zeros, for which the second has weights
// a thousand times its others: on their scale the others vanish.
Graph one_bad_layer() {
  constexpr std::size_t kChannels = 6;
  test::RandomNetwork b(5);
  ValueId y = b.input("image", Shape{1, kChannels, 8, 8});
  for (unsigned layer = 0; layer < 3; ++layer) {
    std::vector<float> weights = test::random_values(kChannels * kChannels, 7 + layer);
    for (std::size_t i = 0; i < weights.size(); ++i) {
      if (layer == 0 && i < kChannels) weights[i] = 0;
      if (layer == 1 && i % kChannels == 0) weights[i] *= 1000;
    }
    y = b.node("Conv",
               {y, b.constant(Tensor::of<float>(Shape{kChannels, kChannels, 1, 1}, weights))});
  }
  b.output(y);
  return b.graph;
}

TEST_CASE("a layer that is built to lose costs most, alone, and in sequence from there on") {
  const json report = report_of(one_bad_layer(),
                                R"({"sensitivity": true, "equalize": false, "target": "onnxruntime",
        "weight": {"scheme": "per_tensor_symmetric", "rounding": "nearest"}})");
  const json& layers = report["sensitivity"];
  REQUIRE(layers.size() == 3);
  const auto error = [&](std::size_t i, const char* kind) {
    return layers[i][kind]["relativeRms"].get<double>();
  };
  CHECK(error(1, "alone") > 10 * error(0, "alone"));
  CHECK(error(1, "alone") > 10 * error(2, "alone"));
  CHECK(error(0, "sequence") == error(0, "alone"));
  CHECK(error(1, "sequence") > 0.9 * error(1, "alone"));
  CHECK(error(2, "sequence") > 0.9 * error(1, "alone"));
  CHECK(layers[1]["floatMs"].get<double>() > 0);
  CHECK(layers[1]["int8Ms"].get<double>() > 0);
}

TEST_CASE("alone is what a network has in which all other layers are excluded") {
  const Graph graph = test::mixed_network(3);
  const json report =
      report_of(graph, R"({"sensitivity": true, "equalize": false, "target": "onnxruntime", )" +
                           kPlain + "}");
  const json& layers = report["sensitivity"];
  REQUIRE(layers.size() >= 8);
  for (const json& layer : layers) {
    CAPTURE(layer.dump());
    json exclude = json::array();
    for (const Node& node : graph.nodes) {
      if (node.name != layer["node"]) exclude.push_back(node.name);
    }
    const json alone = report_of(graph, R"({"equalize": false, "target": "onnxruntime", )" +
                                            kPlain + R"(, "exclude": )" + exclude.dump() + "}");
    // Neither layer is on the way of the other: float sums in another order are all the difference.
    CHECK(layer["alone"]["relativeRms"].get<double>() ==
          doctest::Approx(alone["outputs"][0]["relativeRms"].get<double>()).epsilon(1e-3));
  }
  // With the last layer, all are quantized: that is the int8 network.
  CHECK(layers.back()["sequence"]["relativeRms"].get<double>() ==
        doctest::Approx(report["outputs"][0]["relativeRms"].get<double>()).epsilon(0.02));
}

TEST_CASE("nothing before a layer is run again for it") {
  // A chain of n layers: once through the network, then n - 1, n - 2, ... layers behind the one at
  // hand, for either kind of error.
  test::RandomNetwork b(9);
  ValueId y = b.input("image", Shape{1, 4, 6, 6});
  constexpr std::size_t kLayers = 5;
  for (std::size_t i = 0; i < kLayers; ++i) y = b.conv(y, 4, 4, 3);
  b.output(y);
  const Model model = Model::from_graph(b.graph);
  const Graph qdq = test::quantized(model, "{}").take_model().graph();
  std::vector<std::string> names;
  for (const Node& node : b.graph.nodes) names.push_back(node.name);
  std::vector<std::vector<std::vector<std::byte>>> samples(2);
  for (auto& sample : samples) sample.emplace_back(4 * 6 * 6 * sizeof(float));
  Sensitivity sensitivity = take(Sensitivity::create(qdq, model.graph(), names, samples, {}, {}));
  while (sensitivity.step()) {
  }
  CHECK(sensitivity.layers().size() == kLayers);
  // The image comes into channels-last order and goes out of it: two nodes more in a whole run, one
  // more behind each layer, and one that is no layer itself in the sequence.
  const std::size_t whole = kLayers + 2;
  const std::size_t behind = kLayers * (kLayers - 1) / 2 + kLayers;
  CHECK(sensitivity.nodes_run() == samples.size() * (whole + 2 * behind + 1));
}

TEST_CASE("without the option there is no sensitivity, and with it the file is the same") {
  const Model model = Model::from_graph(test::mixed_network(4));
  QuantizeJob plain = test::quantized(model, "{}");
  QuantizeJob asked = test::quantized(model, R"({"sensitivity": true})");
  CHECK(json::parse(plain.report_json())["sensitivity"].is_null());
  CHECK(json::parse(asked.report_json())["sensitivity"].size() > 0);
  CHECK(take(plain.take_model().to_onnx({})) == take(asked.take_model().to_onnx({})));
}

}  // namespace
}  // namespace octavo::quantize
