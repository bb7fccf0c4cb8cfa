// Passes judged by what networks compute before and after them.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "base/text.h"
#include "passes/activation_form.h"
#include "passes/expand_for_export.h"
#include "quantize/json.h"
#include "support/networks.h"

namespace octavo::quantize {
namespace {

using test::mixed_network;
using test::random_values;
using test::take;

constexpr std::size_t kInput = 3 * 12 * 12;

TEST_CASE("the float passes keep a network's function and are idempotent") {
  for (unsigned seed = 1; seed <= 4; ++seed) {
    CAPTURE(seed);
    Graph graph = mixed_network(seed);
    runtime::Session before = test::unlowered_session(graph, false);
    passes::PassContext context;
    take(passes::optimize_float(graph, context));
    CHECK(std::count_if(graph.nodes.begin(), graph.nodes.end(),
                        [](const Node& n) { return n.op == "BatchNormalization"; }) == 2);
    CHECK(std::none_of(graph.nodes.begin(), graph.nodes.end(),
                       [](const Node& n) { return n.op == "Clip" || n.op == "Relu"; }));
    for (const passes::Pass& pass : passes::all_passes()) {
      if (pass.name == "assign_layouts") continue;
      CAPTURE(pass.name);
      CHECK(take(pass.run(graph, context)) == 0);
    }
    runtime::Session after = test::unlowered_session(graph, false);
    const auto input = random_values(kInput, seed);
    const auto a = test::run(before, input);
    const auto b = test::run(after, input);
    ErrorSums sums;
    sums.add(a, b);
    CHECK(sums.relative_rms() < 1e-5);
  }
}

TEST_CASE("preparing a prepared graph changes nothing") {
  const Model model = Model::from_graph(mixed_network(3));
  QuantizeJob job = test::quantized(model, "{}");
  Graph graph = job.take_model().graph();
  take(passes::fix_shapes(graph, {}));
  passes::PassContext context;
  take(passes::prepare_for_session(graph, {}, context));
  for (const passes::Pass& pass : passes::all_passes()) {
    CAPTURE(pass.name);
    CHECK(take(pass.run(graph, context)) == 0);
  }
  CHECK(take(passes::set_activation_form(graph, DType::kUint8)) == 0);
}

// How two sessions' values of one name differ, in codes of the first's grid.
struct Difference {
  std::int64_t elements = 0, different = 0, far = 0;
};
void compare_codes(const runtime::Session& lowered, const runtime::Session& real,
                   Difference& difference) {
  for (std::size_t i = 0; i < lowered.graph().values.size(); ++i) {
    const Value& value = lowered.graph().values[i];
    if (!is_quantized_code(value.dtype) || !value.quant || value.is_constant() ||
        !value.quant->is_per_tensor())
      continue;
    // In the QDQ graph the codes stand behind the float tensor of that name.
    const std::string wanted =
        value.name.ends_with("_quantized") ? value.name : value.name + "_quantized";
    for (std::size_t k = 0; k < real.graph().values.size(); ++k) {
      const Value& other = real.graph().values[k];
      if (other.name != wanted || other.dtype != value.dtype) continue;
      const auto a = read_real(lowered, static_cast<ValueId>(i));
      auto b = read_real(real, static_cast<ValueId>(k));
      REQUIRE(a.size() == b.size());
      const float scale = value.quant->scale[0];
      const auto zero = static_cast<float>(value.quant->zero_point[0]);
      for (std::size_t e = 0; e < a.size(); ++e) {
        const float code = std::nearbyint(a[e] / scale) + zero;
        ++difference.elements;
        difference.different += code != b[e] ? 1 : 0;
        difference.far += std::fabs(code - b[e]) > 1 ? 1 : 0;
      }
    }
  }
}

TEST_CASE(
    "the lowered network has the codes of the QDQ graph run in float, but for rare neighbours") {
  // Only ops whose float form rounds once where the integer form does: Mul and Concat included.
  Difference difference;
  for (unsigned seed = 1; seed <= 4; ++seed) {
    const Model model = Model::from_graph(mixed_network(seed));
    QuantizeJob job = test::quantized(model, R"({"batchNorm": "auto", "evaluateSamples": 0})");
    const Model int8 = job.take_model();
    runtime::SessionOptions options;
    options.keep_values = true;
    runtime::Session lowered = take(create_session(int8, {}, options));
    runtime::Session real = test::unlowered_session(int8.graph(), true);
    CHECK(std::count_if(lowered.graph().nodes.begin(), lowered.graph().nodes.end(),
                        [](const Node& n) { return n.op == "QuantizeLinear"; }) == 1);
    CHECK(std::count_if(lowered.graph().nodes.begin(), lowered.graph().nodes.end(),
                        [](const Node& n) { return n.op == "DequantizeLinear"; }) == 1);
    const auto input = random_values(kInput, 40 + seed);
    test::run(lowered, input);
    test::run(real, input);
    compare_codes(lowered, real, difference);
  }
  CHECK(difference.elements > 20000);
  // A neighbour early on may move what depends on it by a code too.
  CHECK(static_cast<double>(difference.different) <=
        2e-3 * static_cast<double>(difference.elements));
  CHECK(difference.far == 0);
}

TEST_CASE("activations as uint8 and as int8 give the same results") {
  for (const char* dtype : {"quint8", "qint8"}) {
    CAPTURE(dtype);
    const Model model = Model::from_graph(mixed_network(5));
    QuantizeJob job = test::quantized(model, std::string(R"({"activation": {"dtype": ")") + dtype +
                                                 R"("}, "evaluateSamples": 0})");
    const Model int8 = job.take_model();
    std::vector<std::vector<float>> results;
    for (const DType form : {DType::kUint8, DType::kInt8}) {
      Graph graph = int8.graph();
      take(passes::fix_shapes(graph, {}));
      passes::PassContext context;
      take(passes::prepare_for_session(graph, {form}, context));
      for (const Node& node : graph.nodes) {
        for (const ValueId id : node.outputs) {
          if (is_quantized_code(graph.value(id).dtype)) CHECK(graph.value(id).dtype == form);
        }
      }
      runtime::Session session = take(runtime::Session::create(std::move(graph), {}));
      results.push_back(test::run(session, random_values(kInput, 77)));
    }
    CHECK(results[0] == results[1]);
  }
}

Model reload(const Model& model, const ExportOptions& options) {
  const std::vector<std::byte> bytes = take(model.to_onnx(options));
  auto copy = std::make_shared<std::vector<std::byte>>(bytes);
  return take(Model::load(std::shared_ptr<const std::byte>(copy, copy->data()), copy->size()));
}

TEST_CASE("an exported file, read back, gives the same integers") {
  for (unsigned seed = 1; seed <= 3; ++seed) {
    for (const char* dtype : {"quint8", "qint8"}) {
      const Model model = Model::from_graph(mixed_network(seed));
      QuantizeJob job = test::quantized(
          model, text(R"({"activation": {"dtype": ")", dtype, R"("}, "evaluateSamples": 0})"));
      const Model int8 = job.take_model();
      runtime::Session a = take(create_session(int8, {}, {}));
      for (const std::string form : {"depthwise", "batchnorm"}) {
        for (const std::string format : {"qdq", "qoperator"}) {
          CAPTURE(seed);
          CAPTURE(form);
          CAPTURE(dtype);
          CAPTURE(format);
          ExportOptions options;
          options.batch_norm = form;
          options.format = format;
          const Model again = reload(int8, options);
          runtime::Session b = take(create_session(again, {}, {}));
          CHECK(std::none_of(b.graph().nodes.begin(), b.graph().nodes.end(),
                             [](const Node& n) { return n.op == "Relu" || n.op == "Clip"; }));
          // And through the other format to a third.
          options.format = format == "qdq" ? "qoperator" : "qdq";
          runtime::Session c = take(create_session(reload(again, options), {}, {}));
          for (unsigned sample = 0; sample < 4; ++sample) {
            const auto input = random_values(kInput, 500 + sample);
            const auto wanted = test::run(a, input);
            CHECK(wanted == test::run(b, input));
            CHECK(wanted == test::run(c, input));
          }
        }
      }
    }
  }
}

TEST_CASE("an exported file says what made it") {
  const Model model = Model::from_graph(mixed_network(1));
  const Model int8 = test::quantized(model, R"({"evaluateSamples": 0})").take_model();
  ExportOptions options;
  options.format = "qoperator";
  const Model again = reload(int8, options);
  const Graph& graph = again.graph();
  CHECK(graph.producer_name == "octavo");
  CHECK_FALSE(graph.producer_version.empty());
  CHECK(graph.metadata.at("octavo.export") ==
        R"({"format":"qoperator","batchNorm":"depthwise","opset":17})");
  const Json made = Json::parse(graph.metadata.at("octavo.quantization"));
  CHECK(made["target"] == "octavo");
  CHECK(made["evaluateSamples"] == 0);
  CHECK(reload(model, {}).graph().metadata.count("octavo.quantization") == 0);
}

TEST_CASE("the Mul and Add form of a BatchNormalization runs on integers and stays near") {
  const Model model = Model::from_graph(mixed_network(2));
  QuantizeJob job = test::quantized(model, R"({"evaluateSamples": 0})");
  const Model int8 = job.take_model();
  ExportOptions options;
  options.batch_norm = "muladd";
  const Model again = reload(int8, options);
  runtime::Session a = take(create_session(int8, {}, {}));
  runtime::Session b = take(create_session(again, {}, {}));
  const auto input = random_values(kInput, 9);
  ErrorSums sums;
  sums.add(test::run(a, input), test::run(b, input));
  CHECK(sums.relative_rms() < 0.2);
  CHECK(std::count_if(b.graph().nodes.begin(), b.graph().nodes.end(),
                      [](const Node& n) { return n.op == "QuantizeLinear"; }) == 1);
}

TEST_CASE("a float network survives export and import") {
  const Model model = Model::from_graph(mixed_network(6));
  const Model again = reload(model, {});
  runtime::Session a = take(create_session(model, {}, {}));
  runtime::Session b = take(create_session(again, {}, {}));
  const auto input = random_values(kInput, 3);
  CHECK(test::run(a, input) == test::run(b, input));
}

}  // namespace
}  // namespace octavo::quantize
