// What training with fake quantization leaves in a graph: clip_codes, fold_into_codes,
// fold_transpose, and activations behind activations.
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "graph/verify.h"
#include "passes/passes.h"
#include "passes/qdq.h"
#include "support/graph_builder.h"

namespace octavo::passes {
namespace {

using test::GraphBuilder;

ValueId floats(GraphBuilder& b, Shape shape, const std::vector<float>& values) {
  return b.constant(Tensor::of<float>(std::move(shape), values));
}

struct Grid {
  ValueId scale, zero;
};
Grid unsigned_grid(GraphBuilder& b, float scale, std::uint8_t zero) {
  return {floats(b, Shape{}, {scale}), b.constant(Tensor::of<std::uint8_t>(Shape{}, {zero}))};
}
ValueId codes_bound(GraphBuilder& b, std::uint8_t code) {
  return b.constant(Tensor::of<std::uint8_t>(Shape{}, {code}));
}

std::vector<std::string> ops_of(const Graph& graph) {
  std::vector<std::string> ops;
  for (const Node& node : graph.nodes) ops.push_back(node.op);
  return ops;
}
using Ops = std::vector<std::string>;

int run(Result<int> (*pass)(Graph&, PassContext&), GraphBuilder& b) {
  PassContext context;
  const Result<int> changes = pass(b.graph, context);
  REQUIRE(changes.ok());
  REQUIRE(verify(b.graph).ok());
  CHECK(static_cast<int>(context.notes.size()) == *changes);
  return *changes;
}

float number(const Graph& graph, ValueId id) { return graph.value(id).constant->span<float>()[0]; }

TEST_CASE("clip_codes: bounds of codes go before the quantizer of a node that takes them") {
  GraphBuilder b;
  const ValueId x = b.input("x", Shape{1, 1, 4, 4});
  const ValueId conv = b.node("Conv", {x, floats(b, Shape{1, 1, 1, 1}, {2})});
  const Grid grid = unsigned_grid(b, 0.5F, 10);
  const ValueId codes = b.node("QuantizeLinear", {conv, grid.scale, grid.zero});
  const ValueId clip = b.node("Clip", {codes, codes_bound(b, 8), codes_bound(b, 127)});
  b.output(b.node("DequantizeLinear", {clip, grid.scale, grid.zero}));
  CHECK(run(&clip_codes, b) == 1);
  CHECK(ops_of(b.graph) == Ops{"Conv", "Clip", "QuantizeLinear", "DequantizeLinear"});
  const Node& moved = b.graph.nodes[1];
  CHECK(number(b.graph, moved.inputs[1]) == -1.0F);  // (8 - 10) * 0.5
  CHECK(number(b.graph, moved.inputs[2]) == 58.5F);  // (127 - 10) * 0.5
  CHECK(b.graph.nodes[2].inputs[0] == moved.outputs[0]);
  CHECK(b.graph.nodes[3].inputs[0] == b.graph.nodes[2].outputs[0]);
}

TEST_CASE("clip_codes: behind other nodes it stands between codes; of a weight nothing is left") {
  GraphBuilder b;
  const ValueId x = b.input("x", Shape{1, 1, 4, 4});
  const Grid grid = unsigned_grid(b, 0.5F, 0);
  const ValueId codes = b.node("QuantizeLinear", {x, grid.scale, grid.zero});
  const ValueId clip = b.node("Clip", {codes, kNoValue, codes_bound(b, 127)});
  b.output(b.node("DequantizeLinear", {clip, grid.scale, grid.zero}));
  CHECK(run(&clip_codes, b) == 1);
  CHECK(ops_of(b.graph) ==
        Ops{"QuantizeLinear", "DequantizeLinear", "Clip", "QuantizeLinear", "DequantizeLinear"});

  GraphBuilder c;
  const ValueId scales = floats(c, Shape{2}, {1, 2});
  const ValueId zeros = c.constant(Tensor::of<std::int8_t>(Shape{2}, {0, 0}));
  const auto bound = [&](std::int8_t code) {
    return c.constant(Tensor::of<std::int8_t>(Shape{}, {code}));
  };
  const ValueId w =
      c.node("QuantizeLinear", {floats(c, Shape{2, 2}, {100, -100, 100, -100}), scales, zeros},
             {{"axis", std::int64_t{0}}});
  const ValueId kept = c.node("Clip", {w, bound(-30), bound(63)});
  c.output(c.node("DequantizeLinear", {kept, scales, zeros}, {{"axis", std::int64_t{0}}}));
  CHECK(run(&clip_codes, c) == 1);
  CHECK(ops_of(c.graph) == Ops{"QuantizeLinear", "DequantizeLinear"});
  CHECK(to_floats(*c.graph.value(c.graph.nodes[0].inputs[0]).constant) ==
        std::vector<float>{63, -30, 100, -60});
}

TEST_CASE("clip_codes leaves a Clip of floats, bounds that are computed, codes that others read") {
  GraphBuilder b;
  const ValueId x = b.input("x", Shape{1, 4});
  const ValueId free = b.input("free", Shape{});
  b.graph.value(free).dtype = DType::kUint8;
  const Grid grid = unsigned_grid(b, 0.5F, 0);
  b.output(b.node("Clip", {x, kNoValue, floats(b, Shape{}, {6})}));
  const ValueId codes = b.node("QuantizeLinear", {x, grid.scale, grid.zero});
  b.output(b.node("Clip", {codes, kNoValue, free}));
  const ValueId read = b.node("QuantizeLinear", {x, grid.scale, grid.zero});
  b.output(b.node("Clip", {read, kNoValue, codes_bound(b, 127)}));
  b.output(b.node("DequantizeLinear", {read, grid.scale, grid.zero}));
  const Ops before = ops_of(b.graph);
  CHECK(run(&clip_codes, b) == 0);
  CHECK(ops_of(b.graph) == before);
}

// Conv of a quantized weight with two output channels, and what stands behind it.
struct Trained {
  GraphBuilder b;
  ValueId conv;

  explicit Trained(bool per_channel) {
    const ValueId x = b.input("x", Shape{1, 1, 4, 4});
    const ValueId w = floats(b, Shape{2, 1, 1, 1}, {2, -3});
    const Shape shape = per_channel ? Shape{2} : Shape{};
    const ValueId scale =
        floats(b, shape, per_channel ? std::vector<float>{0.5F, 0.25F} : std::vector<float>{0.5F});
    const ValueId zero = b.constant(Tensor::make(DType::kInt8, shape));
    const Attrs attrs = [&] {
      Attrs made;
      if (per_channel) made.set("axis", std::int64_t{0});
      return made;
    }();
    const ValueId codes = b.node("QuantizeLinear", {w, scale, zero});
    const ValueId real = b.node("DequantizeLinear", {codes, scale, zero});
    for (Node& node : b.graph.nodes) {
      if (node.op != "Conv") node.attrs = attrs;
    }
    conv = b.node("Conv", {x, real, floats(b, Shape{2}, {1, 2})});
  }
  const Node& the(const std::string& op) const {
    for (const Node& node : b.graph.nodes) {
      if (node.op == op) return node;
    }
    FAIL("no " << op);
    return b.graph.nodes.front();
  }
};

TEST_CASE("fold_into_codes: factors go into the scales of the weight, shifts into the bias") {
  for (const bool per_channel : {false, true}) {
    CAPTURE(per_channel);
    Trained t(per_channel);
    const Shape channels{1, 2, 1, 1};
    const ValueId divided = t.b.node("Div", {t.conv, floats(t.b, channels, {0.5F, 2})});
    const ValueId shifted = t.b.node("Add", {divided, floats(t.b, channels, {10, 20})});
    t.b.output(shifted);
    const std::string name = t.b.graph.value(shifted).name;
    CHECK(run(&fold_into_codes, t.b) == 2);
    const Graph& graph = t.b.graph;
    const Node& conv = t.the("Conv");
    CHECK(graph.value(conv.outputs[0]).name == name);
    CHECK(graph.nodes.back().op == "Conv");
    CHECK(to_floats(*graph.value(conv.inputs[2]).constant) == std::vector<float>{12, 21});
    const Uses uses(graph);
    const Node& dequantize = graph.node(*uses.producer_of(conv.inputs[1]));
    const auto params = params_of(graph, dequantize);
    REQUIRE(params);
    CHECK(params->scale ==
          (per_channel ? std::vector<float>{1, 0.125F} : std::vector<float>{1, 0.25F}));
    CHECK(params->axis == 0);
    // The codes are those of before.
    CHECK(to_floats(*graph.value(t.the("QuantizeLinear").inputs[1]).constant).front() == 0.5F);
  }
}

TEST_CASE("fold_into_codes: a BatchNormalization comes to its factor and shift") {
  Trained t(true);
  const auto vector = [&](const std::vector<float>& values) {
    return floats(t.b, Shape{2}, values);
  };
  t.b.output(t.b.node("BatchNormalization",
                      {t.conv, vector({2, 3}), vector({1, -1}), vector({0.5F, 1}), vector({4, 9})},
                      {{"epsilon", 0.0F}}));
  CHECK(run(&fold_into_codes, t.b) == 1);
  const Graph& graph = t.b.graph;
  const Uses uses(graph);
  const Node& conv = t.the("Conv");
  const auto params = params_of(graph, graph.node(*uses.producer_of(conv.inputs[1])));
  REQUIRE(params);
  CHECK(params->scale[0] == doctest::Approx(0.5));
  CHECK(params->scale[1] == doctest::Approx(0.25));
  const auto bias = to_floats(*graph.value(conv.inputs[2]).constant);
  CHECK(bias[0] == doctest::Approx((1 - 0.5) * 2 / 2 + 1));
  CHECK(bias[1] == doctest::Approx((2 - 1) * 3 / 3.0 - 1));
}

TEST_CASE("fold_into_codes leaves what no scale can be, what others read, and float weights") {
  const Shape channels{1, 2, 1, 1};
  for (const float factor : {0.0F, -1.0F}) {
    Trained t(true);
    t.b.output(t.b.node("Mul", {t.conv, floats(t.b, channels, {1, factor})}));
    CHECK(run(&fold_into_codes, t.b) == 0);
  }
  {
    Trained t(true);
    t.b.output(t.b.node("Mul", {t.conv, floats(t.b, channels, {1, 2})}));
    t.b.output(t.b.node("Relu", {t.conv}));
    CHECK(run(&fold_into_codes, t.b) == 0);
  }
  {
    Trained t(true);  // along the width, not the channels
    t.b.output(t.b.node("Mul", {t.conv, floats(t.b, Shape{4}, {1, 2, 3, 4})}));
    CHECK(run(&fold_into_codes, t.b) == 0);
  }
  {
    GraphBuilder b;
    const ValueId x = b.input("x", Shape{1, 1, 4, 4});
    const ValueId conv = b.node("Conv", {x, floats(b, Shape{2, 1, 1, 1}, {2, -3})});
    b.output(b.node("Mul", {conv, floats(b, channels, {1, 2})}));
    CHECK(run(&fold_into_codes, b) == 0);
  }
}

TEST_CASE("fold_transpose: a product reads its dequantized weight as it is") {
  for (const std::string op : {"Gemm", "MatMul"}) {
    CAPTURE(op);
    GraphBuilder b;
    const ValueId x = b.input("x", Shape{1, 3});
    const ValueId codes = b.constant(Tensor::make(DType::kInt8, Shape{2, 3}));
    const ValueId real = b.node("DequantizeLinear", {codes, floats(b, Shape{}, {0.5F})});
    const ValueId turned = b.node("Transpose", {real}, {{"perm", std::vector<std::int64_t>{1, 0}}});
    b.output(b.node(op, {x, turned}));
    CHECK(run(&fold_transpose, b) == 1);
    const Node& product = b.graph.nodes.back();
    CHECK(product.op == "Gemm");
    CHECK(product.attrs.get_int("transB", 0) == 1);
    CHECK(product.inputs[1] == real);
    CHECK(run(&fold_transpose, b) == 0);
  }
  GraphBuilder b;  // batches of matrices, and a weight without codes
  const ValueId x = b.input("x", Shape{2, 1, 3});
  const ValueId codes = b.constant(Tensor::make(DType::kInt8, Shape{2, 3}));
  const ValueId real = b.node("DequantizeLinear", {codes, floats(b, Shape{}, {0.5F})});
  b.output(b.node("MatMul", {x, b.node("Transpose", {real})}));
  const ValueId y = b.input("y", Shape{1, 3});
  b.output(b.node("Gemm", {y, b.node("Transpose", {b.input("w", Shape{2, 3})})}));
  CHECK(run(&fold_transpose, b) == 0);
}

TEST_CASE("fuse_activation: an activation behind a fused one leaves what both do") {
  GraphBuilder b;
  const ValueId x = b.input("x", Shape{1, 1, 4, 4});
  const ValueId conv = b.node("Conv", {x, floats(b, Shape{1, 1, 1, 1}, {2})});
  const ValueId relu = b.node("Relu", {conv});
  b.output(b.node("Clip", {relu, floats(b, Shape{}, {-3}), floats(b, Shape{}, {5})}));
  CHECK(run(&fuse_activation, b) == 1);
  CHECK(run(&fuse_activation, b) == 1);
  REQUIRE(b.graph.nodes.size() == 1);
  const Attrs& attrs = b.graph.nodes[0].attrs;
  CHECK(attrs.get_string("octavo_activation", "") == "Clip");
  CHECK(attrs.get_float("octavo_min", 1) == 0);
  CHECK(attrs.get_float("octavo_max", 0) == 5);
}

}  // namespace
}  // namespace octavo::passes
