// Deciding otherwise about a finished job: the result of a whole new one, of less work.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/networks.h"

namespace octavo::quantize {
namespace {

using nlohmann::json;
using test::take;

constexpr int kSamples = 40;

void feed(QuantizeJob& job) {
  for (unsigned i = 0; i < kSamples; ++i) {
    test::set_input(job.input(0),
                    test::random_values(job.input(0).size() / sizeof(float), 100 + i));
    take(job.begin_sample());
    while (!job.sample_finished()) take(job.step());
  }
  take(job.end_samples());
}

struct Result {
  std::vector<std::byte> file;
  json report;
};
Result result_of(QuantizeJob& job) {
  return {take(job.take_model().to_onnx({})), json::parse(job.report_json())};
}
Result made_anew(const Model& model, const std::string& options) {
  QuantizeJob job = test::quantized(model, options, kSamples);
  return result_of(job);
}
Result changed(QuantizeJob& job, const std::string& changes) {
  take(job.change(changes));
  if (job.samples_wanted() != 0) feed(job);
  test::finish(job);
  return result_of(job);
}

// Reports differ by times, and by what was computed for them.
json without_work(json report) {
  report.erase("work");
  report.erase("latency");
  return report;
}

std::string node_of(const Graph& graph, std::string_view op, std::size_t which) {
  for (const Node& node : graph.nodes) {
    if (node.op == op && which-- == 0) return node.name;
  }
  return {};
}

TEST_CASE(
    "a changed job gives what a new one gives, and searches no range and fits no layer twice") {
  const Model model = Model::from_graph(test::mixed_network(6));
  QuantizeJob job = test::quantized(model, R"({"keep": true})", kSamples);
  const Result first = result_of(job);
  CHECK(first.file == made_anew(model, "{}").file);
  const auto work = [](const Result& result, const char* what) {
    return result.report["work"][what].get<int>();
  };
  const int layers = work(first, "fitted");
  REQUIRE(layers >= 5);
  CHECK(work(first, "calibrated") == static_cast<int>(first.report["tensors"].size()));

  // The last convolution: those before it stay as they were fitted.
  const std::string last = node_of(model.graph(), "Conv", 3);
  const std::string exclude = R"("exclude": [")" + last + R"("])";
  const Result without_last = changed(job, "{" + exclude + "}");
  CHECK(without_last.file == made_anew(model, "{" + exclude + "}").file);
  CHECK(without_last.file != first.file);
  CHECK(without_work(without_last.report) ==
        without_work(made_anew(model, "{" + exclude + "}").report));
  // Its result lay on the grid of the Concat that reads it, and needs one of its own now.
  CHECK(work(without_last, "calibrated") == 1);
  CHECK(work(without_last, "fitted") < layers / 2);

  // And back: nothing has to be computed.
  const Result back = changed(job, R"({"exclude": []})");
  CHECK(back.file == first.file);
  CHECK(work(back, "calibrated") == 0);
  CHECK(work(back, "fitted") == 0);
}

TEST_CASE("another observer sees the samples again, and only that tensor's range is searched for") {
  const Model model = Model::from_graph(test::mixed_network(6));
  QuantizeJob job = test::quantized(model, R"({"keep": true})", kSamples);
  const Result first = result_of(job);
  for (std::size_t i = 0; i < first.report["tensors"].size(); ++i) {
    const std::string tensor = first.report["tensors"][i]["name"].get<std::string>();
    CAPTURE(tensor);
    const std::string overrides = R"({"observerOverrides": {")" + tensor + R"(": "minmax"}})";
    const Result other = changed(job, overrides);
    CHECK(other.report["work"]["calibrated"] == 1);
    const Result anew = made_anew(model, overrides);
    CHECK(other.file == anew.file);
    CHECK(without_work(other.report) == without_work(anew.report));
    // Both observers are known now.
    take(job.change(R"({"observerOverrides": {}})"));
    CHECK(job.samples_wanted() == 0);
    test::finish(job);
    CHECK(take(job.take_model().to_onnx({})) == first.file);
  }
}

TEST_CASE("sensitivity can be asked for afterwards") {
  const Model model = Model::from_graph(test::mixed_network(6));
  QuantizeJob job = test::quantized(model, R"({"keep": true})", kSamples);
  const Result asked = changed(job, R"({"sensitivity": true})");
  CHECK(asked.report["sensitivity"].size() > 0);
  CHECK(asked.report["work"]["fitted"] == 0);
  // It stays until it is taken back.
  CHECK(changed(job, "{}").report["sensitivity"].size() > 0);
  CHECK(changed(job, R"({"sensitivity": false})").report["sensitivity"].is_null());
}

TEST_CASE("what cannot be changed is refused, and a refused change leaves the job as it was") {
  const Model model = Model::from_graph(test::mixed_network(6));
  QuantizeJob plain = test::quantized(model, "{}");
  CHECK(plain.change("{}").error().code == Code::kInvalidState);

  QuantizeJob job = test::quantized(model, R"({"keep": true})", kSamples);
  const Result first = result_of(job);
  const Error target = job.change(R"({"target": "onnxruntime"})").error();
  CHECK(target.code == Code::kInvalidOption);
  CHECK(target.hint == "Allowed: exclude, observerOverrides, sensitivity.");
  CHECK(job.change(R"({"exclude": ["no such node"]})").error().where == "option 'exclude'");
  CHECK(job.change(R"({"observerOverrides": {"no such tensor": "mse"}})").error().code ==
        Code::kInvalidOption);
  CHECK(changed(job, "{}").file == first.file);

  QuantizeJob early = take(QuantizeJob::create(model, R"({"keep": true})", {}));
  CHECK(early.change("{}").error().code == Code::kInvalidState);
}

}  // namespace
}  // namespace octavo::quantize
