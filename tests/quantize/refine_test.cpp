// Fitting weights and biases to samples: an effect on networks that need it, none where it must not
// act.
#include "quantize/refine.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "quantize/compare.h"
#include "support/networks.h"

namespace octavo::quantize {
namespace {

using nlohmann::json;
using test::take;

constexpr std::int64_t kChannels = 32;

// One output channel that adds up 32 channels, each of whose weights lies .4 of a step above a
// code: rounded one by one they are off by 31 * .4 steps together where the channels vary alike.
Graph summing_network() {
  test::RandomNetwork b(1);
  const ValueId x = b.input("image", Shape{1, kChannels, 4, 4});
  std::vector<float> weights(kChannels, 20.4F);
  weights[0] = 127;
  const ValueId w = b.constant(Tensor::of<float>(Shape{1, kChannels, 1, 1}, weights));
  b.output(b.node("Conv", {x, w, b.constant(Tensor::of<float>(Shape{1}, {3}))}));
  return b.graph;
}

// Every channel the same picture, of mean `mean`.
std::vector<float> alike(unsigned seed, float mean, float spread) {
  const std::vector<float> plane = test::random_values(16, seed);
  std::vector<float> values;
  for (std::int64_t c = 0; c < kChannels; ++c) {
    for (const float v : plane) values.push_back(mean + spread * v);
  }
  return values;
}

// A depthwise convolution whose taps are all the same picture where pictures are flat.
Graph flat_network() {
  test::RandomNetwork b(1);
  const ValueId x = b.input("image", Shape{1, kChannels, 4, 4});
  std::vector<float> weights(9 * kChannels, 20.4F);
  for (std::size_t i = 0; i < weights.size(); i += 9) weights[i] = 127;
  const ValueId w = b.constant(Tensor::of<float>(Shape{kChannels, 1, 3, 3}, weights));
  b.output(b.node("Conv", {x, w, b.floats(Shape{kChannels}, 1)}, {{"group", kChannels}}));
  return b.graph;
}

// Evenly between mean - spread and mean + spread, the same numbers with every C++ library: with so
// few, what is clipped would else decide.
std::vector<float> flat(unsigned seed, float mean, float spread) {
  const float even = static_cast<float>(seed * 2654435761U >> 8) / 8388608.0F - 1;
  return std::vector<float>(16 * kChannels, mean + spread * even);
}

// The relative error of the output on samples that calibration has not seen, and the file without
// its metadata, which name the options.
struct Outcome {
  double error;
  std::vector<std::byte> file;
};
Outcome outcome(const Graph& graph, const std::string& options, int samples, float mean,
                float spread, std::vector<float> (*picture)(unsigned, float, float) = &alike) {
  const Model model = Model::from_graph(graph);
  QuantizeJob job = take(QuantizeJob::create(model, options, {}));
  for (int i = 0; i < samples; ++i) {
    test::set_input(job.input(0), picture(static_cast<unsigned>(i), mean, spread));
    take(job.begin_sample());
    while (!job.sample_finished()) take(job.step());
  }
  take(job.end_samples());
  test::finish(job);
  const Model int8 = job.take_model();
  Comparison comparison = take(Comparison::create(model, int8, R"({"layers": false})", {}));
  for (unsigned seed = 1000; seed < 1020; ++seed) {
    test::set_input(comparison.input(0), picture(seed, mean, spread));
    take(comparison.run_sample(-1));
  }
  Graph network = int8.graph();
  network.metadata.clear();
  return {json::parse(comparison.report_json())["outputs"][0]["relativeRms"].get<double>(),
          take(Model::from_graph(std::move(network)).to_onnx({}))};
}

const std::string kNeither = R"({"weight": {"rounding": "nearest"}, "biasCorrection": false})";
const std::string kRounding = R"({"biasCorrection": false})";
const std::string kBias = R"({"weight": {"rounding": "nearest"}})";

TEST_CASE("second-moment rounding: errors of inputs that vary together cancel") {
  const Graph graph = summing_network();
  const double nearest = outcome(graph, kNeither, 40, 0, 1).error;
  const double refined = outcome(graph, kRounding, 40, 0, 1).error;
  CHECK(nearest > 0.015);
  CHECK(refined < 0.65 * nearest);  // what is left is the rounding of the input
}

TEST_CASE("second-moment rounding: errors of a depthwise convolution's taps cancel") {
  const Graph graph = flat_network();
  const double nearest = outcome(graph, kNeither, 40, 0, 1, &flat).error;
  const double refined = outcome(graph, kRounding, 40, 0, 1, &flat).error;
  CHECK(nearest > 0.009);
  CHECK(refined < 0.75 * nearest);  // what is left is the rounding of the input
}

TEST_CASE("bias correction: the mean error of a channel goes into its bias") {
  const Graph graph = summing_network();
  const double nearest = outcome(graph, kNeither, 40, 5, 0.2F).error;
  const double corrected = outcome(graph, kBias, 40, 5, 0.2F).error;
  CHECK(nearest > 0.012);
  CHECK(corrected < 0.004);
}

TEST_CASE("too few samples to fit to change nothing") {
  const Graph graph = summing_network();
  CHECK(outcome(graph, "{}", 31, 1, 1).file == outcome(graph, kNeither, 31, 1, 1).file);
  CHECK(outcome(graph, "{}", 32, 1, 1).file != outcome(graph, kNeither, 32, 1, 1).file);
}

TEST_CASE("the fitted network is no farther from float than the rounded one, on mixed networks") {
  for (unsigned seed = 1; seed <= 3; ++seed) {
    CAPTURE(seed);
    const Model model = Model::from_graph(test::mixed_network(seed));
    const auto error = [&](const std::string& options) {
      const QuantizeJob job = test::quantized(model, options, 40);
      return json::parse(job.report_json())["outputs"][0]["relativeRms"].get<double>();
    };
    CHECK(error("{}") <= 1.1 * error(kNeither));
    // One scale for all channels: the same sums with it repeated.
    const std::string one_scale = R"("scheme": "per_tensor_symmetric")";
    CHECK(error(R"({"weight": {)" + one_scale + "}}") <=
          1.1 * error(R"({"biasCorrection": false, "weight": {"rounding": "nearest", )" +
                      one_scale + "}}"));
  }
}

// The int8 weights of a graph's convolutions, as pairs of channels: how many do not fit 16 bits.
int unsafe_pairs(const Graph& graph) {
  int count = 0;
  const Uses uses(graph);
  for (const Node& node : graph.nodes) {
    if (node.op != "Conv" || node.attrs.get_int("group", 1) != 1) continue;
    const Node& dequantize = graph.node(*uses.producer_of(node.inputs[1]));
    const Tensor& codes = *graph.value(dequantize.inputs[0]).constant;
    const auto w = codes.span<std::int8_t>();
    const auto channels = static_cast<std::size_t>(codes.shape()[1]);
    const std::size_t taps = w.size() / channels / static_cast<std::size_t>(codes.shape()[0]);
    for (std::size_t i = 0; channels % 2 == 0 && i < w.size(); ++i) {
      if (i / taps % 2 == 1) continue;
      const int sum = w[i] + w[i + taps];
      count += (w[i] < 0) == (w[i + taps] < 0) && std::abs(sum) > 128 ? 1 : 0;
    }
  }
  return count;
}

TEST_CASE("rounding leaves pair-safe weights pair safe, at nearly the same error") {
  for (unsigned seed = 1; seed <= 3; ++seed) {
    CAPTURE(seed);
    const Model model = Model::from_graph(test::mixed_network(seed));
    QuantizeJob plain = test::quantized(model, "{}", 40);
    QuantizeJob safe = test::quantized(model, R"({"weight": {"pairSafe": true}})", 40);
    const auto error = [](const QuantizeJob& job) {
      return json::parse(job.report_json())["outputs"][0]["relativeRms"].get<double>();
    };
    CHECK(error(safe) <= 1.5 * error(plain));
    CHECK(unsafe_pairs(plain.take_model().graph()) > 0);
    CHECK(unsafe_pairs(safe.take_model().graph()) == 0);
  }
}

TEST_CASE("layers become pair safe by themselves where that costs little, and the report says so") {
  double product = 1;  // of the errors beside the default's; that of one small network is luck
  constexpr int kNetworks = 12;
  for (unsigned seed = 1; seed <= kNetworks; ++seed) {
    CAPTURE(seed);
    const Model model = Model::from_graph(test::mixed_network(seed));
    QuantizeJob some = test::quantized(model, R"({"weight": {"pairSafe": "auto"}})", 40);
    const json report = json::parse(some.report_json());
    CHECK(report["options"]["weight"]["pairSafe"] == "auto");
    const json plain = json::parse(test::quantized(model, "{}", 40).report_json());
    const auto error = [](const json& of) { return of["outputs"][0]["relativeRms"].get<double>(); };
    product *= error(report) / error(plain);
    const Model made = some.take_model();
    bool all = true;
    for (const json& weight : report["weights"]) all = all && weight["pairSafe"].get<bool>();
    CHECK_FALSE((all && unsafe_pairs(made.graph()) > 0));
  }
  CHECK(std::pow(product, 1.0 / kNetworks) <= 1.05);
}

}  // namespace
}  // namespace octavo::quantize
