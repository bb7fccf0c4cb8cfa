// Quantization without samples: what it writes, that it runs, and how near it is.
#include "quantize/dynamic.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "support/networks.h"

namespace octavo::quantize {
namespace {

using test::take;

// Every kind of product, with alpha, beta, both orders of weights, groups, padding and no bias.
Graph products(unsigned seed) {
  test::RandomNetwork b(seed);
  ValueId y = b.input("image", Shape{1, 3, 8, 8});
  y = b.node("Relu", {b.batch_norm(b.conv(y, 3, 8, 3), 8)});
  y = b.node("Relu", {b.conv(y, 8, 8, 3, 4)});
  y = b.node("Conv", {y, b.floats(Shape{6, 8, 1, 1}, 0.3F)});
  y = b.node("Flatten", {b.node("GlobalAveragePool", {y})});
  y = b.node("Gemm", {y, b.floats(Shape{7, 6}, 0.4F), b.floats(Shape{7}, 0.1F)},
             {{"transB", std::int64_t{1}}, {"alpha", 0.5F}, {"beta", 2.0F}});
  y = b.node("Gemm", {y, b.floats(Shape{7, 9}, 0.4F)});
  y = b.node("MatMul", {y, b.floats(Shape{9, 5}, 0.4F)});
  b.output(y);
  return b.graph;
}

std::vector<float> answer(const Model& model, unsigned seed) {
  runtime::Session session = take(create_session(model, {}, {}));
  return test::run(session, test::random_values(3 * 8 * 8, seed));
}

double relative_error(const Model& a, const Model& b) {
  double error = 0;
  double size = 0;
  for (unsigned seed = 1; seed <= 10; ++seed) {
    const std::vector<float> x = answer(a, seed);
    const std::vector<float> y = answer(b, seed);
    REQUIRE(x.size() == y.size());
    for (std::size_t i = 0; i < x.size(); ++i) {
      error += static_cast<double>((x[i] - y[i]) * (x[i] - y[i]));
      size += static_cast<double>(x[i] * x[i]);
    }
  }
  return std::sqrt(error / size);
}

std::int64_t count(const Graph& graph, const std::string& op) {
  return std::count_if(graph.nodes.begin(), graph.nodes.end(),
                       [&](const Node& node) { return node.op == op; });
}

TEST_CASE("dynamic: integer products between activations that are quantized while they come") {
  for (unsigned seed = 1; seed <= 3; ++seed) {
    const Model model = Model::from_graph(products(seed));
    const Model made = take(quantize_dynamic(model, ""));
    CHECK(made.is_quantized());
    CHECK(count(made.graph(), "ConvInteger") == 3);
    CHECK(count(made.graph(), "MatMulInteger") == 3);
    CHECK(count(made.graph(), "Conv") + count(made.graph(), "Gemm") == 0);
    CHECK(relative_error(model, made) < 0.03);
    // As a file too.
    const auto bytes = take(made.to_onnx({}));
    const std::shared_ptr<std::byte[]> file(new std::byte[bytes.size()]);
    std::copy(bytes.begin(), bytes.end(), file.get());
    const Model read = take(Model::load({file, file.get()}, bytes.size()));
    CHECK(answer(read, 5) == answer(made, 5));
  }
}

TEST_CASE("weight only: float arithmetic on weights that take a quarter of the bytes") {
  const Model model = Model::from_graph(products(4));
  const Model made = take(quantize_dynamic(model, R"({"mode": "weightOnly"})"));
  CHECK(count(made.graph(), "DequantizeLinear") == 6);
  CHECK(count(made.graph(), "Conv") == 3);
  CHECK(count(made.graph(), "DynamicQuantizeLinear") == 0);
  const double error = relative_error(model, made);
  CHECK(error > 0);
  CHECK(error < 0.015);
  // One scale for all channels errs more; so do 7 bits.
  for (const char* weight : {R"({"scheme": "per_tensor_symmetric"})", R"({"reduceRange": true})"}) {
    const std::string options = R"({"mode": "weightOnly", "weight": )" + std::string(weight) + "}";
    CHECK(relative_error(model, take(quantize_dynamic(model, options))) > error);
  }
}

TEST_CASE("two products that read one activation quantize it once; what is excluded stays float") {
  test::RandomNetwork b(2);
  const ValueId x = b.input("x", Shape{1, 6});
  const ValueId left = b.node("MatMul", {x, b.floats(Shape{6, 4}, 1)});
  const ValueId right = b.node("MatMul", {x, b.floats(Shape{6, 4}, 1)});
  b.output(b.node("Add", {left, right}));
  const Model model = Model::from_graph(b.graph);
  CHECK(count(take(quantize_dynamic(model, "")).graph(), "DynamicQuantizeLinear") == 1);
  const Model none = take(quantize_dynamic(model, R"({"exclude": [{"opType": "MatMul"}]})"));
  CHECK(count(none.graph(), "MatMul") == 2);
  CHECK(quantize_dynamic(model, R"({"exclude": ["nothing"]})").error().code ==
        Code::kInvalidOption);
  CHECK(quantize_dynamic(model, R"({"mode": "static"})").error().hint ==
        "Use one of: dynamic, weightOnly.");
  CHECK(quantize_dynamic(take(quantize_dynamic(model, "")), "").error().code ==
        Code::kInvalidState);
}

}  // namespace
}  // namespace octavo::quantize
