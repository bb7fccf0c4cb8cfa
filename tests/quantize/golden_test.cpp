// A small CNN that onnxruntime quantized: our runs of its files, and our quantization of its float
// model.
#include "support/golden.h"

#include <doctest/doctest.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "passes/qdq.h"
#include "support/files.h"
#include "support/networks.h"

namespace octavo::quantize {
namespace {

using test::take;

Model load(const std::string& name) {
  const auto file =
      test::read_file(std::string(OCTAVO_SOURCE_DIR) + "/tests/data/golden/onnx/" + name);
  REQUIRE(file.has_value());
  return take(Model::load(test::shared_bytes(*file), file->size()));
}

passes::InputShapes batch_of(const Model& model, std::int64_t batch) {
  passes::InputShapes shapes;
  shapes.by_name[model.graph().value(model.graph().inputs[0]).name] = Shape{batch, 3, 12, 12};
  return shapes;
}

TEST_CASE(
    "models that onnxruntime quantized give onnxruntime's results, QDQ and QOperator, uint8 and "
    "int8") {
  const test::GoldenGroup group = test::load_golden("onnx_models");
  const test::GoldenCase* cnn = group.find("cnn");
  REQUIRE(cnn != nullptr);
  const auto x = group.get<float>(*cnn, "x");
  struct Case {
    const char* file;
    const char* result;
    bool exact;
  };
  const Case cases[] = {{"float.onnx", "y_float", false},
                        {"qdq_quint8.onnx", "y_QDQ_QUInt8", true},
                        {"qdq_qint8.onnx", "y_QDQ_QInt8", true},
                        {"qoperator_quint8.onnx", "y_QOperator_QUInt8", true},
                        {"qoperator_qint8.onnx", "y_QOperator_QInt8", true}};
  for (const Case& c : cases) {
    CAPTURE(c.file);
    const Model model = load(c.file);
    runtime::Session session = take(create_session(model, batch_of(model, 2), {}));
    const auto got = test::run(session, x);
    const auto want = group.get<float>(*cnn, c.result);
    REQUIRE(got.size() == want.size());
    for (std::size_t i = 0; i < got.size(); ++i) {
      if (c.exact) {
        CHECK(got[i] == want[i]);
      } else {
        CHECK(got[i] == doctest::Approx(want[i]).epsilon(1e-5));
      }
    }
  }
}

// Scale and zero point behind each QuantizeLinear, in order of appearance.
std::vector<QuantParams> activation_grids(const Graph& graph) {
  std::vector<QuantParams> grids;
  for (const Node& node : graph.nodes) {
    if (passes::is_quantize(node)) grids.push_back(*passes::params_of(graph, node));
  }
  return grids;
}

TEST_CASE(
    "quantizing the float model on the same data gives onnxruntime's scales, zero points and "
    "weights") {
  const test::GoldenGroup group = test::load_golden("onnx_models");
  const test::GoldenCase* cnn = group.find("cnn");
  REQUIRE(cnn != nullptr);
  const Model model = load("float.onnx");
  const std::string input = model.graph().value(model.graph().inputs[0]).name;
  QuantizeJob job = take(QuantizeJob::create(
      model,
      R"({"target": "onnxruntime", "activation": {"observer": "minmax"}, "inputShapes": {")" +
          input + R"(": [4, 3, 12, 12]}, "evaluateSamples": 0})",
      {}));
  for (const char* key : {"cal0", "cal1", "cal2"}) {
    test::set_input(job.input(0), group.get<float>(*cnn, key));
    take(job.begin_sample());
    while (!job.sample_finished()) take(job.step());
  }
  take(job.end_samples());
  test::finish(job);
  const Graph ours = job.take_model().graph();
  const Graph theirs = load("qdq_quint8.onnx").graph();
  const auto grids = activation_grids(ours);
  int found = 0;
  for (const QuantParams& grid : activation_grids(theirs)) {
    for (const QuantParams& own : grids) {
      // The float kernels of the two differ in the last bits of a sum, and so may the range.
      if (std::fabs(own.scale[0] / grid.scale[0] - 1) < 1e-5F &&
          own.zero_point == grid.zero_point) {
        ++found;
        break;
      }
    }
  }
  CHECK(found == static_cast<int>(activation_grids(theirs).size()));
  runtime::Session session = take(create_session(job.take_model(), batch_of(model, 2), {}));
  const auto got = test::run(session, group.get<float>(*cnn, "x"));
  const auto want = group.get<float>(*cnn, "y_QDQ_QUInt8");
  ErrorSums sums;
  sums.add(want, got);
  CHECK(sums.relative_rms() < 0.02);
}

TEST_CASE("networks that onnxruntime quantized answer as their float originals do") {
  const auto pictures =
      test::read_gzip(test::shared_path("pictures/cifar10_jpeg_test_1000.bin.gz"));
  if (!pictures) {
    MESSAGE("skipped: the CIFAR pictures are not there");
    return;
  }
  const float mean[3] = {.485F, .456F, .406F};
  const float std[3] = {.229F, .224F, .225F};
  for (const char* name : {"quantized/resnet20_cifar10_ortint8_qdq.onnx",
                           "quantized/resnet20_cifar10_ortint8_qlinear.onnx"}) {
    CAPTURE(name);
    const auto file = test::read_file(test::shared_path(name));
    if (!file) {
      MESSAGE("skipped: ", name, " is not there");
      continue;
    }
    const Model model = take(Model::load(test::shared_bytes(*file), file->size()));
    runtime::Session session = take(create_session(model, {}, {}));
    for (const Node& node : session.graph().nodes) {
      if (node.op == "Conv" || node.op == "Add" || node.op == "Gemm")
        CHECK(session.graph().value(node.inputs[0]).quant.has_value());
    }
    int hits = 0;
    constexpr int kCount = 200;
    for (std::size_t n = 0; n < kCount; ++n) {
      std::vector<float> x(3072);
      for (std::size_t i = 0; i < 3072; ++i)
        x[i] = (static_cast<float>((*pictures)[n * 3073 + 1 + i]) / 255 - mean[i / 1024]) /
               std[i / 1024];
      const auto y = test::run(session, x);
      hits += std::max_element(y.begin(), y.end()) - y.begin() == (*pictures)[n * 3073] ? 1 : 0;
    }
    CHECK(hits >= kCount * 76 / 100);
  }
}

}  // namespace
}  // namespace octavo::quantize
