// Outputs that join what lies on very different ranges: boxes in pixels and scores up to 1.
#include <doctest/doctest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/networks.h"

namespace octavo::quantize {
namespace {

using nlohmann::json;
using test::take;

constexpr std::size_t kInput = 3 * 8 * 8;
constexpr std::size_t kBoxes = 4 * 64;  // values of the first four channels

// A detector's end: boxes of hundreds of pixels and scores between 0 and 1 in one output.
Model detector() {
  test::RandomNetwork b(3);
  const ValueId x = b.input("image", Shape{1, 3, 8, 8});
  const ValueId features = b.node("Relu", {b.conv(x, 3, 16, 3)});
  const ValueId boxes =
      b.node("Conv", {features, b.floats(Shape{4, 16, 1, 1}, 200), b.floats(Shape{4}, 100)});
  const ValueId scores = b.node("Sigmoid", {b.conv(features, 16, 5, 1)});
  const ValueId y = b.node("Concat", {boxes, scores}, {{"axis", std::int64_t{1}}});
  const std::vector<std::int64_t> flat{1, 9, 64};
  b.output(b.node("Reshape", {y, b.constant(Tensor::of<std::int64_t>(Shape{3}, flat))}));
  return Model::from_graph(b.graph);
}

struct Errors {
  double boxes, scores;  // relative RMS
};
Errors errors(const Model& model, const std::string& options, json& report) {
  QuantizeJob job = test::quantized(model, options, 40);
  report = json::parse(job.report_json());
  const Model int8 = job.take_model();
  runtime::Session a = take(create_session(model, {}, {}));
  runtime::Session b = take(create_session(int8, {}, {}));
  double sums[2][2] = {};
  for (unsigned seed = 100; seed < 110; ++seed) {
    const auto input = test::random_values(kInput, seed);
    const std::vector<float> real = test::run(a, input);
    const std::vector<float> made = test::run(b, input);
    for (std::size_t i = 0; i < real.size(); ++i) {
      auto& [error, size] = sums[i < kBoxes ? 0 : 1];
      error += std::pow(static_cast<double>(real[i] - made[i]), 2);
      size += std::pow(static_cast<double>(real[i]), 2);
    }
  }
  return {std::sqrt(sums[0][0] / sums[0][1]), std::sqrt(sums[1][0] / sums[1][1])};
}
std::string reason_of(const json& report, const std::string& op) {
  for (const json& node : report["nodes"]) {
    if (node["op"] == op) return node["reason"].get<std::string>();
  }
  return "";
}

TEST_CASE("boxes and scores that one output joins keep grids of their own") {
  const Model model = detector();
  json report;
  const Errors apart = errors(model, "{}", report);
  CHECK(apart.boxes < 0.02);
  CHECK(apart.scores < 0.02);
  CHECK(reason_of(report, "Concat") == "float: it joins answers, which keep grids of their own");

  // On one grid, as ONNX Runtime's quantizer has them, the scores are lost; the report says where.
  const std::string theirs = R"({"target": "onnxruntime")";
  const Errors together = errors(model, theirs + "}", report);
  CHECK(together.scores > 20 * apart.scores);
  CHECK(reason_of(report, "Concat").find("times as wide as another: exclude it") !=
        std::string::npos);
  const Errors excluded = errors(model, theirs + R"(, "exclude": [{"opType": "Concat"}]})", report);
  CHECK(excluded.scores < 2 * apart.scores + 0.01);
}

TEST_CASE(
    "a Concat inside the network stays in integers, and is no mixture where parts are alike") {
  test::RandomNetwork b(5);
  const ValueId x = b.node("Relu", {b.conv(b.input("image", Shape{1, 3, 8, 8}), 3, 8, 3)});
  const ValueId joined =
      b.node("Concat", {b.conv(x, 8, 4, 1), b.conv(x, 8, 4, 3)}, {{"axis", std::int64_t{1}}});
  b.output(b.conv(joined, 8, 4, 1));
  for (const char* options : {"{}", R"({"target": "onnxruntime"})"}) {
    QuantizeJob job = test::quantized(Model::from_graph(b.graph), options, 34);
    CHECK(reason_of(json::parse(job.report_json()), "Concat") == "int8");
  }
}

}  // namespace
}  // namespace octavo::quantize
