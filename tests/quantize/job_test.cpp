#include "quantize/job.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "quantize/compare.h"
#include "support/networks.h"

namespace octavo::quantize {
namespace {

using nlohmann::json;
using test::mixed_network;
using test::random_values;
using test::take;

constexpr std::size_t kInput = 3 * 12 * 12;

Error options_error(const std::string& options) {
  auto job = QuantizeJob::create(Model::from_graph(mixed_network(1)), options, {});
  REQUIRE_FALSE(job.ok());
  return job.error();
}

TEST_CASE("unknown options and bad values are refused with what is allowed") {
  struct Case {
    const char* options;
    const char* where;
    const char* hint;
  };
  const Case cases[] = {
      {R"({"activations": {}})", "option 'activations'",
       "Allowed: target, activation, weight, equalize, biasCorrection, batchNorm, exclude, "
       "inputShapes, observerOverrides, ranges, export, evaluateSamples, sensitivity, keep, "
       "memoryLimit."},
      {R"({"activation": {"observer": "entropi"}})", "option 'activation.observer'",
       "Use one of: minmax, movingAverage, histogram, percentile, mse, entropy, auto."},
      {R"({"activation": {"bins": 5}})", "option 'activation.bins'",
       "Allowed: observer, percentile, averagingConstant, numQuantizedBins, numBins, dtype."},
      {R"({"activation": {"numBins": 64, "numQuantizedBins": 65}})",
       "option 'activation.numQuantizedBins'", "Use a whole number from 16 to 64."},
      {R"({"activation": {"percentile": 101}})", "option 'activation.percentile'",
       "Use a number from 50 to 100."},
      {R"({"activation": "minmax"})", "option 'activation'",
       "Allowed: observer, percentile, averagingConstant, numQuantizedBins, numBins, dtype."},
      {R"({"weight": {"reduceRange": 1}})", "option 'weight.reduceRange'", "Use true or false."},
      {R"({"weight": {"scheme": "affine"}})", "option 'weight.scheme'",
       "Use one of: per_channel_symmetric, per_tensor_symmetric."},
      {R"({"weight": {"scale": "least"}})", "option 'weight.scale'", "Use one of: max, mse."},
      {R"({"weight": {"pairs": true}})", "option 'weight.pairs'",
       "Allowed: scheme, scale, reduceRange, pairSafe, rounding."},
      {R"({"weight": {"rounding": "up"}})", "option 'weight.rounding'",
       "Use one of: secondMoment, nearest."},
      {R"({"batchNorm": "int8"})", "option 'batchNorm'",
       "Use one of: auto, fold, quantized, float."},
      {R"({"exclude": [3]})", "option 'exclude[0]'", "Use an array of node names"},
      {R"({"exclude": [{"opType": "Conv", "x": 1}]})", "option 'exclude[0]'",
       "Use an array of node names"},
      {R"({"memoryLimit": -1})", "option 'memoryLimit'", "Use a number from 0 to"},
      {R"({"evaluateSamples": 1.5})", "option 'evaluateSamples'",
       "Use a whole number from 0 to 100000."},
      {R"({"inputShapes": {"image": [1, "x"]}})", "option 'inputShapes.image'",
       "Use an object of input names"},
      {R"({"ranges": {"image": [1, 0]}})", "option 'ranges.image'",
       "Use an object of tensor names"},
      {R"({"ranges": {"image": [0, 1e99]}})", "option 'ranges.image'",
       "Use an object of tensor names"},
      {R"({"ranges": [0, 1]})", "option 'ranges'", "Use an object of tensor names"},
      {R"({"observerOverrides": {"image": "best"}})", "option 'observerOverrides.image'",
       "Use one of: minmax"},
      {R"({"observerOverrides": "mse"})", "option 'observerOverrides'",
       "Use an object of tensor names"},
      {R"({"export": {"opset": 12}})", "option 'opset'", "Use a whole number from 13 to 21."},
      {"{", "option 'options'", "Pass an object."},
      {R"({"target": "tflite"})", "option 'target'", "Use one of: octavo, onnxruntime."},
      {"[]", "option 'options'", "Allowed: target"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.options);
    const Error error = options_error(c.options);
    CHECK(error.code == Code::kInvalidOption);
    CHECK(error.where == c.where);
    CHECK(error.hint.starts_with(c.hint));
  }
}

TEST_CASE("export options are as strict") {
  CHECK(take(parse_export_options("")).opset == 17);
  CHECK(take(parse_export_options(R"({"opset": 13, "batchNorm": "muladd"})")).batch_norm ==
        "muladd");
  CHECK_FALSE(parse_export_options(R"({"opset": 12})").ok());
  CHECK_FALSE(parse_export_options(R"({"bn": "muladd"})").ok());
}

TEST_CASE("a job without samples, a job on a quantized model and calls out of turn are refused") {
  const Model model = Model::from_graph(mixed_network(1));
  QuantizeJob job = take(QuantizeJob::create(model, "{}", {}));
  CHECK(job.end_samples().error().code == Code::kNoSamples);
  CHECK(job.step().error().code == Code::kInvalidState);
  CHECK(job.begin_sample().error().code == Code::kInvalidState);

  QuantizeJob done = test::quantized(model, "{}");
  CHECK(done.begin_sample().error().code == Code::kInvalidState);
  CHECK(done.end_samples().error().code == Code::kInvalidState);
  CHECK(take(done.step()).stage == "done");
  const Model int8 = done.take_model();
  CHECK(int8.is_quantized());
  CHECK(QuantizeJob::create(int8, "{}", {}).error().code == Code::kInvalidState);
}

TEST_CASE(
    "NaN and infinity name the input or the node that makes them, and the model stays usable") {
  const Model model = Model::from_graph(mixed_network(1));
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    QuantizeJob job = take(QuantizeJob::create(model, "{}", {}));
    auto values = random_values(kInput, 1);
    values[17] = bad;
    test::set_input(job.input(0), values);
    const Status status = job.begin_sample();
    REQUIRE_FALSE(status.ok());
    CHECK(status.error().code == Code::kNonFiniteSample);
    CHECK(status.error().where == "input 'image'");
  }
  // Finite inputs whose activations overflow.
  test::RandomNetwork b(1);
  const ValueId x = b.input("x", Shape{1, 3, 12, 12});
  b.output(b.node("Add", {x, x}));
  QuantizeJob job = take(QuantizeJob::create(Model::from_graph(b.graph), "{}", {}));
  test::set_input(job.input(0), std::vector<float>(kInput, 3e38F));
  take(job.begin_sample());
  std::optional<Error> error;
  while (!error && !job.sample_finished()) {
    const auto progress = job.step();
    if (!progress.ok()) error = progress.error();
  }
  REQUIRE(error.has_value());
  CHECK(error->code == Code::kNonFiniteSample);
  CHECK(error->where == "node 'n_Add' (Add)");
  QuantizeJob next = test::quantized(model, "{}");
  CHECK(next.take_model().is_quantized());
}

TEST_CASE("progress goes through the stages and never backwards") {
  const Model model = Model::from_graph(mixed_network(2));
  QuantizeJob job = take(QuantizeJob::create(model, R"({"evaluateSamples": 3})", {}));
  for (unsigned i = 0; i < 5; ++i) {
    test::set_input(job.input(0), random_values(kInput, i));
    take(job.begin_sample());
    while (!job.sample_finished()) CHECK(take(job.step()).stage == "calibrate");
  }
  take(job.end_samples());
  std::vector<std::string> stages;
  std::int64_t done = 0;
  for (std::string stage; stage != "done";) {
    const Progress progress = take(job.step());
    CHECK(progress.done <= progress.total);
    if (progress.stage != stage) {
      stages.emplace_back(progress.stage);
      done = 0;
    }
    CHECK(progress.done >= done);
    done = progress.done;
    stage = progress.stage;
  }
  CHECK(stages == std::vector<std::string>{"quantize", "evaluate", "done"});
  CHECK(json::parse(job.report_json())["evaluatedSamples"] == 3);
}

TEST_CASE("the report holds what report.h promises") {
  const Model model = Model::from_graph(mixed_network(4));
  QuantizeJob job = test::quantized(model, "{}");
  const json report = json::parse(job.report_json());
  CHECK(report["version"] == 1);
  CHECK(report["model"]["name"] == "mixed");
  CHECK(report["model"]["int8Bytes"].get<int>() > 0);
  CHECK(report["samples"] == 6);
  CHECK(report["options"]["activation"]["observer"] == "mse");
  REQUIRE(report["nodes"].size() == model.graph().nodes.size());
  for (const json& node : report["nodes"]) {
    const std::string fate = node["fate"];
    CHECK((fate == "int8" || fate == "float" || fate == "folded" || fate == "fused" ||
           fate == "removed"));
    CHECK_FALSE(node["reason"].get<std::string>().empty());
    CHECK(node.contains("into") == (fate == "folded" || fate == "fused"));
  }
  CHECK(report["batchNorm"].size() == 4);
  int folded = 0;
  for (const json& bn : report["batchNorm"]) {
    folded += bn["fate"] == "folded" ? 1 : 0;
    if (bn["fate"] == "int8") CHECK(bn["reason"].get<std::string>().starts_with("standalone: "));
  }
  CHECK(folded == 2);
  CHECK(report["tensors"].size() > 8);
  for (const json& tensor : report["tensors"]) {
    CAPTURE(tensor["name"].get<std::string>());
    CHECK(tensor["scale"].get<double>() > 0);
    CHECK(tensor["min"].get<double>() <= 0);
    // A range may clip, but it does not reach past what was seen (and zero).
    CHECK(tensor["max"].get<double>() > 0);
    CHECK(tensor["max"].get<double>() <=
          std::max(0.0, tensor["observedMax"].get<double>()) + tensor["scale"].get<double>());
    REQUIRE(tensor["sqnr"].is_number());
    CHECK(tensor["sqnr"].get<double>() > 15);
    std::int64_t sum = 0;
    for (const json& count : tensor["histogram"]["counts"]) sum += count.get<std::int64_t>();
    std::int64_t int8_sum = 0;
    for (const json& count : tensor["histogram"]["int8"]) int8_sum += count.get<std::int64_t>();
    CHECK(int8_sum == sum);
    CHECK(tensor["histogram"]["counts"].size() == 128);
    CHECK(sum > 0);
  }
  CHECK(report["weights"].size() == 5);
  for (const json& weight : report["weights"]) CHECK(weight["sqnr"].get<double>() > 35);
  CHECK(report["outputs"][0]["name"] == "logits");
  CHECK(report["outputs"][0]["sqnr"].get<double>() > 20);
  CHECK(report["top1Agreement"].get<double>() > 0.5);
  CHECK(report["latency"]["int8Ms"].get<double>() > 0);
}

std::string ranges_of(const json& report) {
  json ranges = json::object();
  for (const json& tensor : report["tensors"])
    ranges[tensor["name"].get<std::string>()] = tensor["range"];
  return ranges.dump();
}

TEST_CASE("known ranges make the same file of fewer samples") {
  const Model model = Model::from_graph(mixed_network(4));
  const std::string plain = R"("weight": {"rounding": "nearest"}, "equalize": false,
                              "biasCorrection": false, "evaluateSamples": 3)";
  for (const std::string& options : {std::string(R"("target": "octavo")"), plain}) {
    CAPTURE(options);
    QuantizeJob first = take(QuantizeJob::create(model, "{" + options + "}", {}));
    CHECK_FALSE(first.samples_wanted().has_value());
    QuantizeJob all = test::quantized(model, "{" + options + "}", 40);
    const json report = json::parse(all.report_json());
    const auto bytes = take(all.take_model().to_onnx({}));

    const bool fitted = report["fittedSamples"] == 32;
    CHECK(fitted == (options != plain));
    const std::string known = "{" + options + R"(, "ranges": )" + ranges_of(report) + "}";
    QuantizeJob again = take(QuantizeJob::create(model, known, {}));
    CHECK(again.samples_wanted() == (fitted ? 32 : 3));
    if (fitted) {
      again = test::quantized(model, known, 32);
    } else {  // not even one
      take(again.end_samples());
      while (take(again.step()).stage != "done") {
      }
    }
    CHECK(take(again.take_model().to_onnx({})) == bytes);
    const json second = json::parse(again.report_json());
    CHECK(second["tensors"][0]["observer"] == "given");
    for (std::size_t i = 0; i < report["weights"].size(); ++i)
      CHECK(second["weights"][i]["codes"] == report["weights"][i]["codes"]);
  }
}

TEST_CASE("a weight's hash tells other codes") {
  const Model model = Model::from_graph(mixed_network(4));
  const auto codes = [&](const std::string& options) {
    std::vector<std::string> hashes;
    const json report = json::parse(test::quantized(model, options, 40).report_json());
    for (const json& weight : report["weights"]) hashes.push_back(weight["codes"]);
    return hashes;
  };
  const auto fitted = codes("{}");
  const auto nearest = codes(R"({"weight": {"rounding": "nearest"}})");
  REQUIRE(fitted.size() == nearest.size());
  CHECK(std::set<std::string>(fitted.begin(), fitted.end()).size() == fitted.size());
  for (std::size_t i = 0; i < fitted.size(); ++i) CHECK(fitted[i] != nearest[i]);
}

TEST_CASE("an observer of its own for one tensor, and none for a tensor that there is not") {
  const Model model = Model::from_graph(mixed_network(4));
  const json plain = json::parse(test::quantized(model, "{}", 6).report_json());
  const std::string name = plain["tensors"][2]["name"];
  const std::string overrides = json{{"observerOverrides", {{name, "minmax"}}}}.dump();
  const json changed = json::parse(test::quantized(model, overrides, 6).report_json());
  for (std::size_t i = 0; i < plain["tensors"].size(); ++i) {
    const json& tensor = changed["tensors"][i];
    CAPTURE(tensor["name"].get<std::string>());
    CHECK(tensor["observer"] == (i == 2 ? "minmax" : "mse"));
    if (i == 2) {
      CHECK(tensor["range"][0] == tensor["observedMin"]);
      CHECK(tensor["range"][1] == tensor["observedMax"]);
    } else {
      CHECK(tensor["range"] == plain["tensors"][i]["range"]);
    }
  }

  for (const char* options :
       {R"({"ranges": {"imag": [0, 1]}})", R"({"observerOverrides": {"imag": "minmax"}})"}) {
    QuantizeJob job = take(QuantizeJob::create(model, options, {}));
    test::set_input(job.input(0), random_values(kInput, 1));
    take(job.begin_sample());
    while (!job.sample_finished()) take(job.step());
    take(job.end_samples());
    std::optional<Error> error;
    for (bool over = false; !error && !over;) {
      const auto progress = job.step();
      if (!progress.ok()) error = progress.error();
      over = progress.ok() && progress->stage == "done";
    }
    REQUIRE(error.has_value());
    CHECK(error->code == Code::kInvalidOption);
    CHECK(error->where.ends_with(".imag'"));
  }
}

std::set<std::string> ops_on_codes(const Model& int8) {
  std::set<std::string> ops;
  const runtime::Session session = take(create_session(int8, {}, {}));
  for (const Node& node : session.graph().nodes) {
    const Value& value = session.graph().value(node.outputs[0]);
    if (value.quant && node.op != "QuantizeLinear" && node.domain.empty()) ops.insert(node.op);
  }
  return ops;
}

TEST_CASE("an exclude pattern that names no node is refused with near names") {
  const Error error = options_error(R"({"exclude": ["n_Gemm*", "n_Soncat"]})");
  CHECK(error.code == Code::kInvalidOption);
  CHECK(error.where == "option 'exclude'");
  CHECK(error.what == "No node is named like 'n_Soncat'.");
  CAPTURE(error.hint);
  CHECK(error.hint.starts_with("Near names: 'n_Concat', "));
}

TEST_CASE("an op type to exclude has to be one, though not of this network") {
  const Error error = options_error(R"({"exclude": [{"opType": "Conv"}, {"opType": "Softmx"}]})");
  CHECK(error.code == Code::kInvalidOption);
  CHECK(error.where == "option 'exclude'");
  CHECK(error.what == "There is no operator 'Softmx'.");
  CHECK(error.hint.find("'Softmax'") != std::string::npos);
  const Model model = Model::from_graph(test::mixed_network(1));
  CHECK(QuantizeJob::create(model, R"({"exclude": [{"opType": "Loop"}]})", {}).error().code ==
        Code::kInvalidOption);
  CHECK(QuantizeJob::create(model, R"({"exclude": [{"opType": "Softmax"}]})", {}).ok());
}

TEST_CASE("batchNorm and exclude decide what becomes int8") {
  const Model model = Model::from_graph(mixed_network(4));
  const auto fates = [&](const std::string& options) {
    QuantizeJob job = test::quantized(model, options);
    std::string out;  // in graph order
    const json report = json::parse(job.report_json());
    for (const json& bn : report["batchNorm"])
      out += (out.empty() ? "" : " ") + bn["fate"].get<std::string>();
    return std::pair(out, ops_on_codes(job.take_model()));
  };
  CHECK(fates(R"({"batchNorm": "auto"})").first == "int8 folded folded int8");
  CHECK(fates(R"({"batchNorm": "fold"})").first == "float folded folded float");
  CHECK(fates(R"({"batchNorm": "quantized"})").first == "int8 int8 int8 int8");
  CHECK(fates(R"({"batchNorm": "float"})").first == "float float float float");
  CHECK(fates(R"({"batchNorm": "quantized"})").second.contains("BatchNormalization"));
  CHECK_FALSE(fates(R"({"exclude": [{"opType": "Conv"}]})").second.contains("Conv"));
  CHECK_FALSE(fates(R"({"exclude": ["n_Gemm*"]})").second.contains("Gemm"));
  CHECK(fates(R"({"exclude": ["n_Gemm*"]})").second.contains("Conv"));
}

TEST_CASE(
    "every observer, both weight schemes and reduced range make a model that answers like the "
    "float one") {
  const Model model = Model::from_graph(mixed_network(7));
  for (const char* options :
       {R"({"activation": {"observer": "minmax"}})",
        R"({"activation": {"observer": "movingAverage", "averagingConstant": 0.5}})",
        R"({"activation": {"observer": "histogram"}})",
        R"({"activation": {"observer": "percentile", "percentile": 99.99}})",
        R"({"weight": {"scheme": "per_tensor_symmetric"}})",
        R"({"weight": {"reduceRange": true}})"}) {
    CAPTURE(options);
    QuantizeJob job = test::quantized(model, options);
    const json report = json::parse(job.report_json());
    CHECK(report["outputs"][0]["relativeRms"].get<double>() < 0.15);
    // The effective options say the same again.
    const std::string effective = report["options"].dump();
    QuantizeJob same = test::quantized(model, effective);
    CHECK(json::parse(same.report_json())["tensors"][3]["scale"] == report["tensors"][3]["scale"]);
  }
}

TEST_CASE("a model with a free batch size keeps it through quantization and export") {
  Graph graph = mixed_network(3);
  Value& input = graph.value(graph.inputs[0]);
  input.shape = Shape{kUnknownDim, 3, 12, 12};
  input.dim_names = {"N", "", "", ""};
  const Model model = Model::from_graph(graph);
  QuantizeJob job = test::quantized(model, "{}");
  const Model int8 = job.take_model();
  passes::InputShapes two;
  two.by_name["image"] = Shape{2, 3, 12, 12};
  runtime::Session one_at_a_time = take(create_session(int8, {}, {}));
  runtime::Session both = take(create_session(int8, two, {}));
  const auto first = random_values(kInput, 1);
  const auto second = random_values(kInput, 2);
  std::vector<float> joined = first;
  joined.insert(joined.end(), second.begin(), second.end());
  std::vector<float> expected = test::run(one_at_a_time, first);
  const std::vector<float> rest = test::run(one_at_a_time, second);
  expected.insert(expected.end(), rest.begin(), rest.end());
  CHECK(test::run(both, joined) == expected);
}

TEST_CASE("the summary plans each node as quantization then makes it") {
  const Model model = Model::from_graph(mixed_network(4));
  const json summary = json::parse(model.summary_json());
  CHECK(summary["name"] == "mixed");
  CHECK(summary["quantized"] == false);
  CHECK(summary["inputs"][0]["shape"] == json({1, 3, 12, 12}));
  CHECK(summary["macs"].get<std::int64_t>() == 144 * (27 * 8 + 9 * 8 + 64) + 36 * 32 + 60);
  QuantizeJob job = test::quantized(model, "{}");
  const json report = json::parse(job.report_json());
  for (std::size_t i = 0; i < report["nodes"].size(); ++i) {
    CAPTURE(report["nodes"][i]["name"].get<std::string>());
    CHECK(summary["nodes"][i]["plan"] == report["nodes"][i]["fate"]);
  }
  const json quantized = json::parse(job.take_model().summary_json());
  CHECK(quantized["quantized"] == true);
  for (const json& node : quantized["nodes"]) {
    if (node["op"] == "Conv") CHECK(node["plan"] == "int8");
  }
}

TEST_CASE("a comparison of float and int8 gives outputs, layers and accuracy") {
  const Model model = Model::from_graph(mixed_network(4));
  QuantizeJob job = test::quantized(model, "{}");
  const Model int8 = job.take_model();
  Comparison comparison = take(Comparison::create(model, int8, "{}", {}));
  runtime::Session session = take(create_session(model, {}, {}));
  for (unsigned i = 0; i < 6; ++i) {
    const auto values = random_values(kInput, i);
    const auto logits = test::run(session, values);
    test::set_input(comparison.input(0), values);
    take(comparison.run_sample(std::max_element(logits.begin(), logits.end()) - logits.begin()));
  }
  const json report = json::parse(comparison.report_json());
  CHECK(report["samples"] == 6);
  CHECK(report["labelled"] == 6);
  CHECK(report["top1"]["a"] == 1.0);
  CHECK(report["top5"]["b"] == 1.0);
  CHECK(report["top1"]["b"] == report["top1Agreement"]);
  CHECK(report["outputs"][0]["sqnr"].get<double>() > 20);
  CHECK(report["outputs"][0]["kl"].get<double>() > 0);
  CHECK(report["outputs"][0]["kl"].get<double>() < 0.1);
  CHECK(report["worst"]["relativeRms"].get<double>() >=
        report["outputs"][0]["relativeRms"].get<double>());
  CHECK(report["layers"].size() > 8);
  CHECK(std::any_of(report["layers"].begin(), report["layers"].end(),
                    [](const json& layer) { return layer["type"] == "int8"; }));

  Comparison same = take(Comparison::create(model, model, R"({"layers": false})", {}));
  test::set_input(same.input(0), random_values(kInput, 1));
  take(same.run_sample(-1));
  const json equal = json::parse(same.report_json());
  CHECK(equal["outputs"][0]["sqnr"].is_null());
  CHECK(equal["outputs"][0]["kl"] == 0.0);
  CHECK(equal["worst"]["sample"] == 0);
  CHECK(same.output(false, 0) == same.output(true, 0));
  CHECK(equal["top1Agreement"] == 1.0);
  CHECK(equal["top1"].is_null());
  CHECK(equal["layers"].empty());
  CHECK_FALSE(Comparison::create(model, int8, R"({"layer": true})", {}).ok());
}

}  // namespace
}  // namespace octavo::quantize
