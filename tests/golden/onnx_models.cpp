// onnx_models: a small CNN that onnxruntime quantized, as it wrote it (folder onnx/): the float
// model, and QDQ and QOperator forms with uint8 and int8 activations.
//
// Quantized models give ONNX Runtime's numbers bit by bit. Float sums have another order here, so
// y_float is compared within 1e-5 of its largest number. The _noopt results are ONNX Runtime's
// without graph optimizations: y_QDQ_QUInt8 and the like are what its users get, and what we
// follow; where the two agree there is nothing to choose.
#include <array>
#include <cmath>

#include "golden/groups.h"
#include "passes/passes.h"
#include "quantize/measure.h"
#include "quantize/model.h"
#include "support/files.h"

namespace octavo::golden {

namespace {

Tensor run_model(Case& c, const std::string& file, const Tensor& x) {
  const auto bytes = test::read_file(c.folder() + "/onnx/" + file);
  if (!bytes) throw std::runtime_error("there is no file onnx/" + file);
  const quantize::Model model =
      Case::take(quantize::Model::load(test::shared_bytes(*bytes), bytes->size()));
  passes::InputShapes shapes;
  shapes.by_name[model.graph().value(model.graph().inputs[0]).name] = x.shape();
  runtime::Session session = Case::take(quantize::create_session(model, shapes, {}));
  if (session.input(0).size() != x.bytes()) throw std::runtime_error("the input has another size");
  std::memcpy(session.input(0).data(), x.data(), x.bytes());
  session.run();
  const std::vector<float> y = quantize::read_real(session, session.graph().outputs[0]);
  return Tensor::of<float>({static_cast<std::int64_t>(y.size())}, y);
}

struct File {
  const char* name;
  const char* result;
};
constexpr std::array kFiles{File{"qdq_quint8.onnx", "y_QDQ_QUInt8"},
                            File{"qdq_qint8.onnx", "y_QDQ_QInt8"},
                            File{"qoperator_quint8.onnx", "y_QOperator_QUInt8"},
                            File{"qoperator_qint8.onnx", "y_QOperator_QInt8"}};

}  // namespace

void run_onnx_models(Case& c) {
  if (c.str("kind") != "onnx_model")
    throw std::runtime_error("kind " + c.str("kind") + " is not understood");
  const Tensor x = c.tensor("x");
  for (const File& file : kFiles)
    c.expect<float>(file.result, run_model(c, file.name, x).span<float>());
  const Tensor y = run_model(c, "float.onnx", x);
  const auto want = c.values<float>("y_float");
  float largest = 0;
  for (const float number : want) largest = std::max(largest, std::fabs(number));
  bool near = want.size() == y.span<float>().size();
  for (std::size_t i = 0; near && i < want.size(); ++i)
    near = std::fabs(y.span<float>()[i] - want[i]) <= 1e-5F * largest;
  c.expect_equal("y_float within 1e-5", near ? "near" : "far", "near");
  for (const File& file : kFiles) c.ignore({std::string(file.result) + "_noopt"});
  // tests/quantize/golden_test.cpp quantizes with them.
  for (int i = 0; c.has("cal" + std::to_string(i)); ++i) c.ignore({"cal" + std::to_string(i)});
}

}  // namespace octavo::golden
