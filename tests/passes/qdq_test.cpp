// insert_qdq, lower_to_int8, activation_form and expand_for_export, by the shape of what they
// leave.
#include "passes/qdq.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "graph/verify.h"
#include "ops/activation.h"
#include "passes/activation_form.h"
#include "passes/expand_for_export.h"
#include "passes/insert_qdq.h"
#include "passes/passes.h"
#include "passes/qoperator.h"
#include "support/graph_builder.h"

namespace octavo::passes {
namespace {

using test::GraphBuilder;

ValueId floats(GraphBuilder& b, Shape shape, const std::vector<float>& values) {
  return b.constant(Tensor::of<float>(std::move(shape), values));
}

std::map<std::string, calib::Range> same_range(const Graph& graph, const QdqPlan& plan,
                                               calib::Range range) {
  std::map<std::string, calib::Range> ranges;
  for (const ValueId id : plan.calibrated) ranges.emplace(graph.value(id).name, range);
  return ranges;
}

const Node* find_node(const Graph& graph, std::string_view op) {
  for (const Node& node : graph.nodes) {
    if (node.op == op) return &node;
  }
  return nullptr;
}
int count(const Graph& graph, std::string_view op) {
  return static_cast<int>(std::count_if(graph.nodes.begin(), graph.nodes.end(),
                                        [&](const Node& n) { return n.op == op; }));
}
const Node& producer(const Graph& graph, ValueId id) {
  return graph.node(*Uses(graph).producer_of(id));
}

// x -> Conv (2 channels, one of them all zero) -> MaxPool -> Softmax
GraphBuilder small_network() {
  GraphBuilder b;
  const ValueId x = b.input("x", Shape{1, 1, 4, 4});
  const ValueId w = floats(b, Shape{2, 1, 1, 1}, {0.5F, 0});
  const ValueId conv = b.node("Conv", {x, w, floats(b, Shape{2}, {0.25F, -3})});
  const ValueId pool = b.node("MaxPool", {conv},
                              {{"kernel_shape", std::vector<std::int64_t>{2, 2}},
                               {"strides", std::vector<std::int64_t>{2, 2}}});
  b.output(b.node("Softmax", {pool}, {{"axis", std::int64_t{1}}}));
  return b;
}

TEST_CASE("globs match names") {
  CHECK(glob_matches("conv1", "conv1"));
  CHECK(glob_matches("/head/*", "/head/conv/0"));
  CHECK(glob_matches("*conv?", "a_conv1"));
  CHECK(glob_matches("*a*b*", "xxaxxbxx"));
  CHECK(glob_matches("*", ""));
  CHECK_FALSE(glob_matches("conv", "conv1"));
  CHECK_FALSE(glob_matches("conv?", "conv"));
  CHECK_FALSE(glob_matches("*a*b", "ab_"));
}

TEST_CASE(
    "insert_qdq: activations on their range, weights per channel, bias at sx * sw, moved codes on "
    "their input's grid") {
  GraphBuilder b = small_network();
  const QdqOptions options;
  const QdqPlan plan = plan_qdq(b.graph, options);
  REQUIRE(plan.nodes.size() == 3);
  CHECK(plan.nodes[0].int8);
  CHECK(plan.nodes[1].int8);
  CHECK_FALSE(plan.nodes[2].int8);
  CHECK(plan.nodes[2].reason == "float: 8 bits are too few for Softmax");
  CHECK(plan.calibrated.size() ==
        2);  // x and the convolution's result; the pool's result is on its grid
  PassContext context;
  REQUIRE(insert_qdq(b.graph, options, plan, same_range(b.graph, plan, {-1, 3}), context).ok());

  const Node& conv = *find_node(b.graph, "Conv");
  const Node& x = producer(b.graph, conv.inputs[0]);
  REQUIRE(is_dequantize(x));
  CHECK(params_of(b.graph, x) == QuantParams::per_tensor(static_cast<float>(4.0 / 255), 64));
  const Node& w = producer(b.graph, conv.inputs[1]);
  const auto weights = params_of(b.graph, w);
  REQUIRE(weights.has_value());
  CHECK(weights->axis == 0);
  CHECK(weights->scale[0] == static_cast<float>(0.5 / 127));
  CHECK(to_int64s(*b.graph.value(w.inputs[0]).constant) == std::vector<std::int64_t>{127, 0});
  const Node& bias = producer(b.graph, conv.inputs[2]);
  const auto bias_params = params_of(b.graph, bias);
  REQUIRE(bias_params.has_value());
  const float unit = static_cast<float>(4.0 / 255) * weights->scale[0];
  CHECK(bias_params->scale[0] == unit);
  const auto codes = to_int64s(*b.graph.value(bias.inputs[0]).constant);
  CHECK(codes[0] == static_cast<std::int64_t>(std::nearbyint(0.25 / static_cast<double>(unit))));
  // The channel without weights still gets its bias through.
  CHECK(static_cast<double>(codes[1]) * static_cast<double>(bias_params->scale[1]) ==
        doctest::Approx(-3.0).epsilon(1e-6));

  const Node& pool = *find_node(b.graph, "MaxPool");
  CHECK(params_of(b.graph, producer(b.graph, pool.inputs[0])) ==
        params_of(b.graph, producer(b.graph, find_node(b.graph, "Softmax")->inputs[0])));
  CHECK(b.graph.value(b.graph.outputs[0]).dtype == DType::kFloat32);
  CHECK(verify(b.graph).ok());
}

TEST_CASE("insert_qdq: excluded nodes stay float, by name and by op type, with the reason") {
  GraphBuilder b = small_network();
  QdqOptions options;
  options.exclude_names = {"n_C*"};
  CHECK(plan_qdq(b.graph, options).nodes[0].reason == "float: excluded by 'n_C*'");
  CHECK(plan_qdq(b.graph, options).nodes[1].reason == "float: it moves values between float nodes");
  options.exclude_names.clear();
  options.exclude_ops = {"Conv"};
  CHECK(plan_qdq(b.graph, options).nodes[0].reason == "float: op type 'Conv' is excluded");
  CHECK(plan_qdq(b.graph, options).calibrated.empty());
}

TEST_CASE("insert_qdq: weights of a float node keep their name while values are added") {
  // The name lies in the values, which move when they grow: at another one for each number of them.
  const std::string name(40, 'w');
  for (int more = 0; more < 16; ++more) {
    CAPTURE(more);
    GraphBuilder b;
    const ValueId x = b.input("x", Shape{1, 1, 4, 4});
    ValueId y = b.node("Conv", {x, floats(b, Shape{2, 1, 1, 1}, {0.5F, 1})});
    y = b.node("Flatten", {b.node("GlobalAveragePool", {y})});
    const ValueId w = floats(b, Shape{2, 3}, {0.5F, 0.25F, -1, 1, 0, 0.5F});
    b.graph.value(w).name = name;
    b.output(b.node("Gemm", {y, w}));
    for (int i = 0; i < more; ++i) b.ints({i});
    QdqOptions options;
    options.float_head = true;
    const QdqPlan plan = plan_qdq(b.graph, options);
    REQUIRE(plan.nodes[3].weights_only);
    b.graph.values.shrink_to_fit();
    PassContext context;
    REQUIRE(insert_qdq(b.graph, options, plan, same_range(b.graph, plan, {-1, 3}), context).ok());
    const Node& dequantize = producer(b.graph, find_node(b.graph, "Gemm")->inputs[1]);
    CHECK(b.graph.value(dequantize.inputs[0]).name == name + "_quantized");
    CHECK(b.graph.value(dequantize.inputs[1]).name == name + "_scale");
    CHECK(b.graph.value(dequantize.inputs[2]).name == name + "_zero_point");
    CHECK(b.graph.value(dequantize.outputs[0]).name == name + "_dequantized");
  }
}

TEST_CASE("insert_qdq: a graph output of an int8 node keeps its name and is float") {
  GraphBuilder b;
  const ValueId x = b.input("x", Shape{1, 1, 4, 4});
  const ValueId y = b.node("Conv", {x, floats(b, Shape{2, 1, 1, 1}, {0.5F, 1})});
  b.output(y);
  const std::string name = b.graph.value(y).name;
  const QdqPlan plan = plan_qdq(b.graph, {});
  PassContext context;
  REQUIRE(insert_qdq(b.graph, {}, plan, same_range(b.graph, plan, {-1, 3}), context).ok());
  CHECK(b.graph.value(b.graph.outputs[0]).name == name);
  CHECK(is_dequantize(producer(b.graph, b.graph.outputs[0])));
}

TEST_CASE(
    "insert_qdq: constants in an activation's place become codes; Gemm's alpha and beta go into "
    "its parameters") {
  GraphBuilder b;
  const ValueId x = b.input("x", Shape{1, 2});
  const ValueId gemm =
      b.node("Gemm", {x, floats(b, Shape{2, 2}, {1, 2, 3, 4}), floats(b, Shape{2}, {1, 1})},
             {{"alpha", 2.0F}, {"beta", 0.5F}, {"transB", std::int64_t{1}}});
  b.output(b.node("Mul", {gemm, floats(b, Shape{}, {-3})}));
  const QdqPlan plan = plan_qdq(b.graph, {});
  CHECK(plan.nodes[0].int8);
  CHECK(plan.nodes[1].int8);
  PassContext context;
  REQUIRE(insert_qdq(b.graph, {}, plan, same_range(b.graph, plan, {-1, 3}), context).ok());
  const Node& mul = *find_node(b.graph, "Mul");
  const Node& constant = producer(b.graph, mul.inputs[1]);
  REQUIRE(is_dequantize(constant));
  const auto grid = params_of(b.graph, constant);
  REQUIRE(grid.has_value());
  const auto code = to_int64s(*b.graph.value(constant.inputs[0]).constant)[0];
  CHECK(grid->scale[0] * static_cast<float>(code - grid->zero_point[0]) == doctest::Approx(-3));
  const Node& node = *find_node(b.graph, "Gemm");
  CHECK_FALSE(node.attrs.has("alpha"));
  const Node& w = producer(b.graph, node.inputs[1]);
  CHECK(params_of(b.graph, w)->scale[1] == static_cast<float>(8.0 / 127));
  const Node& bias = producer(b.graph, node.inputs[2]);
  CHECK(to_floats(*b.graph.value(bias.inputs[0]).constant)[0] *
            params_of(b.graph, bias)->scale[0] ==
        doctest::Approx(0.5).epsilon(0.01));
}

TEST_CASE(
    "lower_to_int8: the node works on codes that carry the float tensor's name, and twice is "
    "once") {
  GraphBuilder b = small_network();
  const std::string name = b.graph.value(b.graph.nodes[0].outputs[0]).name;
  const QdqPlan plan = plan_qdq(b.graph, {});
  PassContext context;
  REQUIRE(insert_qdq(b.graph, {}, plan, same_range(b.graph, plan, {-1, 3}), context).ok());
  const auto changes = lower_to_int8(b.graph, context);
  REQUIRE(changes.ok());
  CHECK(*changes == 2);
  REQUIRE(eliminate_dead(b.graph, context).ok());
  const Node& conv = *find_node(b.graph, "Conv");
  const Value& y = b.graph.value(conv.outputs[0]);
  CHECK(y.name == name);
  CHECK(y.dtype == DType::kUint8);
  CHECK(y.quant.has_value());
  CHECK(b.graph.value(conv.inputs[0]).quant.has_value());
  CHECK(b.graph.value(conv.inputs[1]).dtype == DType::kInt8);
  CHECK(b.graph.value(conv.inputs[1]).quant->scale.size() == 2);
  CHECK(b.graph.value(conv.inputs[2]).dtype == DType::kInt32);
  CHECK(count(b.graph, "QuantizeLinear") == 1);
  CHECK(count(b.graph, "DequantizeLinear") == 1);
  CHECK(*lower_to_int8(b.graph, context) == 0);
}

// x -> Q -> DQ -> op -> Q -> DQ, all by hand, as other tools write it.
struct Foreign {
  GraphBuilder b;
  ValueId quantize(ValueId x, float scale, std::uint8_t zero) {
    return b.node("QuantizeLinear",
                  {x, floats(b, Shape{}, {scale}), b.constant(Tensor::scalar(zero))});
  }
  ValueId dequantize(ValueId x, float scale, std::uint8_t zero) {
    return b.node("DequantizeLinear",
                  {x, floats(b, Shape{}, {scale}), b.constant(Tensor::scalar(zero))});
  }
};

TEST_CASE(
    "lower_to_int8: a Relu whose work the saturation does is dropped, another one becomes a "
    "table") {
  for (const std::uint8_t zero : {std::uint8_t{0}, std::uint8_t{10}}) {
    CAPTURE(int{zero});
    Foreign f;
    const ValueId x =
        f.dequantize(f.quantize(f.b.input("x", Shape{1, 2, 4, 4}), 0.1F, 128), 0.1F, 128);
    const ValueId concat = f.b.node("Concat", {x, x}, {{"axis", std::int64_t{1}}});
    const ValueId relu = f.b.node("Relu", {concat});
    f.b.output(f.dequantize(f.quantize(relu, 0.05F, zero), 0.05F, zero));
    PassContext context;
    REQUIRE(lower_to_int8(f.b.graph, context).ok());
    CHECK(verify(f.b.graph).ok());
    CHECK(count(f.b.graph, "Relu") == (zero == 0 ? 0 : 1));
    const Node& node = *find_node(f.b.graph, "Concat");
    CHECK((f.b.graph.value(node.outputs[0]).dtype == DType::kUint8) == (zero == 0));
  }
}

TEST_CASE("lower_to_int8: moved codes need one grid on both sides") {
  Foreign f;
  const ValueId x =
      f.dequantize(f.quantize(f.b.input("x", Shape{1, 2, 4, 4}), 0.1F, 128), 0.1F, 128);
  const ValueId same =
      f.b.node("Transpose", {x}, {{"perm", std::vector<std::int64_t>{0, 2, 3, 1}}});
  f.b.output(f.dequantize(f.quantize(same, 0.1F, 128), 0.1F, 128));
  const ValueId other =
      f.b.node("Transpose", {x}, {{"perm", std::vector<std::int64_t>{0, 2, 3, 1}}});
  f.b.output(f.dequantize(f.quantize(other, 0.2F, 128), 0.2F, 128));
  PassContext context;
  const auto changes = lower_to_int8(f.b.graph, context);
  REQUIRE(changes.ok());
  CHECK(*changes == 1);
  CHECK(std::any_of(context.notes.begin(), context.notes.end(), [](const Note& n) {
    return n.what == "float: input and output lie on different grids";
  }));
}

TEST_CASE("lower_to_int8: uint8 weights become int8 with their zero point shifted alike") {
  for (const std::uint8_t zero : {std::uint8_t{128}, std::uint8_t{3}}) {
    CAPTURE(int{zero});
    Foreign f;
    const ValueId x =
        f.dequantize(f.quantize(f.b.input("x", Shape{1, 1, 4, 4}), 0.1F, 128), 0.1F, 128);
    const ValueId w = f.b.constant(Tensor::of<std::uint8_t>(Shape{2, 1, 1, 1}, {0, 255}));
    const ValueId bias = floats(f.b, Shape{2}, {0.5F, -0.5F});
    const ValueId y = f.b.node("Conv", {x, f.dequantize(w, 0.02F, zero), bias});
    f.b.output(f.dequantize(f.quantize(y, 0.1F, 100), 0.1F, 100));
    PassContext context;
    const auto changes = lower_to_int8(f.b.graph, context);
    REQUIRE(changes.ok());
    CHECK(*changes == 1);
    const Node& conv = *find_node(f.b.graph, "Conv");
    const Value& weights = f.b.graph.value(conv.inputs[1]);
    CHECK(weights.dtype == DType::kInt8);
    CHECK(weights.quant->zero_point == std::vector<std::int32_t>{zero - 128});
    CHECK(to_int64s(*f.b.graph.value(conv.inputs[1]).constant) ==
          std::vector<std::int64_t>{-128, 127});
    CHECK(to_int64s(*f.b.graph.value(conv.inputs[2]).constant) ==
          std::vector<std::int64_t>{250, -250});
  }
}

TEST_CASE("lower_to_int8: a float weight that the graph quantizes itself becomes codes") {
  Foreign f;
  const ValueId x =
      f.dequantize(f.quantize(f.b.input("x", Shape{1, 1, 4, 4}), 0.1F, 128), 0.1F, 128);
  const ValueId scale = floats(f.b, Shape{2}, {0.5F, 0.25F});
  const ValueId zero = f.b.constant(Tensor::make(DType::kInt8, Shape{2}));
  const ValueId w = floats(f.b, Shape{2, 1, 1, 1}, {3, -2});
  const ValueId codes = f.b.node("QuantizeLinear", {w, scale, zero}, {{"axis", std::int64_t{0}}});
  const ValueId y = f.b.node(
      "Conv", {x, f.b.node("DequantizeLinear", {codes, scale, zero}, {{"axis", std::int64_t{0}}})});
  f.b.output(f.dequantize(f.quantize(y, 0.1F, 100), 0.1F, 100));
  PassContext context;
  CHECK(*lower_to_int8(f.b.graph, context) == 2);
  CHECK(to_int64s(*f.b.graph.value(find_node(f.b.graph, "Conv")->inputs[1]).constant) ==
        std::vector<std::int64_t>{6, -8});
}

TEST_CASE(
    "set_activation_form shifts codes and zero points by 128, converts at integer borders, and "
    "twice is once") {
  Foreign f;
  const ValueId x = f.b.input("x", Shape{1, 2, 4, 4}, DType::kUint8);
  const ValueId real = f.dequantize(x, 0.1F, 100);
  const ValueId sum = f.b.node(
      "Add",
      {real, f.dequantize(f.b.constant(Tensor::of<std::uint8_t>(Shape{1}, {200})), 0.5F, 20)});
  f.b.output(f.quantize(sum, 0.2F, 130));
  PassContext context;
  REQUIRE(lower_to_int8(f.b.graph, context).ok());
  REQUIRE(eliminate_dead(f.b.graph, context).ok());
  REQUIRE(f.b.graph.nodes.size() == 1);
  CHECK(*set_activation_form(f.b.graph, DType::kUint8) == 0);
  const auto changes = set_activation_form(f.b.graph, DType::kInt8);
  REQUIRE(changes.ok());
  CHECK(*changes == 3);
  CHECK(f.b.graph.value(f.b.graph.inputs[0]).dtype == DType::kUint8);
  CHECK(f.b.graph.value(f.b.graph.outputs[0]).dtype == DType::kUint8);
  const Node& add = *find_node(f.b.graph, "Add");
  CHECK(f.b.graph.value(add.inputs[0]).quant == QuantParams::per_tensor(0.1F, -28));
  CHECK(f.b.graph.value(add.inputs[1]).quant == QuantParams::per_tensor(0.5F, -108));
  CHECK(to_int64s(*f.b.graph.value(add.inputs[1]).constant) == std::vector<std::int64_t>{72});
  CHECK(f.b.graph.value(add.outputs[0]).quant == QuantParams::per_tensor(0.2F, 2));
  CHECK(*set_activation_form(f.b.graph, DType::kInt8) == 0);
}

TEST_CASE("set_activation_form tells operators that round with the zero point inside") {
  Foreign f;
  const ValueId x = f.dequantize(f.b.input("x", Shape{1, 2, 4, 4}, DType::kUint8), 0.1F, 100);
  const ValueId inside = f.dequantize(f.quantize(f.b.node("Mul", {x, x}), 0.1F, 90), 0.1F, 90);
  f.b.output(f.quantize(f.b.node("Mul", {inside, x}), 0.2F, 130));
  PassContext context;
  REQUIRE(lower_to_int8(f.b.graph, context).ok());
  REQUIRE(eliminate_dead(f.b.graph, context).ok());
  const auto shifts = [&] {
    std::vector<std::int32_t> found;
    for (const Node& node : f.b.graph.nodes)
      if (node.op == "Mul") found.push_back(ops::form_shift(node.attrs));
    return found;
  };
  CHECK(shifts() == std::vector<std::int32_t>{0, 0});
  REQUIRE(set_activation_form(f.b.graph, DType::kInt8).ok());
  CHECK(shifts() == std::vector<std::int32_t>{-128, -128});
}

TEST_CASE("set_activation_form: codes that are an output and read inside exist in both forms") {
  Foreign f;
  const ValueId codes = f.quantize(f.b.input("x", Shape{1, 2, 4, 4}), 0.1F, 100);
  f.b.output(codes);
  f.b.output(f.quantize(f.b.node("Relu", {f.dequantize(codes, 0.1F, 100)}), 0.1F, 100));
  PassContext context;
  REQUIRE(lower_to_int8(f.b.graph, context).ok());
  REQUIRE(set_activation_form(f.b.graph, DType::kInt8).ok());
  const Graph& graph = f.b.graph;
  CHECK(graph.value(graph.outputs[0]).dtype == DType::kUint8);
  const Value& inside = graph.value(find_node(graph, "Relu")->inputs[0]);
  CHECK(inside.dtype == DType::kInt8);
  CHECK(inside.quant == QuantParams::per_tensor(0.1F, -28));
  // The first Q makes what is read inside, on its grid.
  const Node& first = producer(graph, find_node(graph, "Relu")->inputs[0]);
  CHECK(is_quantize(first));
  CHECK(params_of(graph, first) == QuantParams::per_tensor(0.1F, -28));
  CHECK(*set_activation_form(f.b.graph, DType::kInt8) == 0);
}

TEST_CASE(
    "expand_for_export: no internal attribute is left; activations that saturation replaces are "
    "dropped") {
  GraphBuilder b;
  const ValueId x = b.input("x", Shape{1, 1, 4, 4});
  const ValueId w = floats(b, Shape{2, 1, 1, 1}, {0.5F, 1});
  const ValueId relu = b.node("Relu", {b.node("Conv", {x, w})});
  b.output(b.node("Clip", {b.node("Conv", {relu, floats(b, Shape{2, 2, 1, 1}, {1, 2, 3, 4})}),
                           floats(b, Shape{}, {-1}), floats(b, Shape{}, {1})}));
  PassContext context;
  REQUIRE(fuse_activation(b.graph, context).ok());
  Graph plain = b.graph;
  REQUIRE(expand_for_export(plain, {}).ok());
  CHECK(count(plain, "Relu") == 1);
  CHECK(count(plain, "Clip") == 1);

  const QdqPlan plan = plan_qdq(b.graph, {});
  std::map<std::string, calib::Range> ranges = same_range(b.graph, plan, {0, 3});
  REQUIRE(insert_qdq(b.graph, {}, plan, ranges, context).ok());
  REQUIRE(expand_for_export(b.graph, {}).ok());
  CHECK(count(b.graph, "Relu") == 0);  // codes start at 0 there
  CHECK(count(b.graph, "Clip") == 1);  // codes reach to 3 there
  for (const Node& node : b.graph.nodes) {
    for (const auto& [name, value] : node.attrs) CHECK_FALSE(name.starts_with("octavo_"));
  }
}

GraphBuilder quantized_batch_norm() {
  GraphBuilder b;
  const ValueId x = b.input("x", Shape{1, 3, 4, 4});
  const Shape c{3};
  b.output(b.node("BatchNormalization", {x, floats(b, c, {2, 0, -1}), floats(b, c, {0.5F, 0.7F, 0}),
                                         floats(b, c, {0.1F, 0, 1}), floats(b, c, {1, 2, 0.5F})}));
  const QdqPlan plan = plan_qdq(b.graph, {});
  PassContext context;
  REQUIRE(insert_qdq(b.graph, {}, plan, same_range(b.graph, plan, {-2, 2}), context).ok());
  return b;
}

TEST_CASE(
    "a standalone BatchNormalization is exported as a depthwise Conv with the same codes for every "
    "input code") {
  GraphBuilder b = quantized_batch_norm();
  const Node& bn = *find_node(b.graph, "BatchNormalization");
  const auto affine = batch_norm_affine(b.graph, bn);
  REQUIRE(affine.has_value());
  const float scale = static_cast<float>(4.0 / 255);
  Graph exported = b.graph;
  REQUIRE(expand_for_export(exported, {}).ok());
  CHECK(count(exported, "BatchNormalization") == 0);
  const Node& conv = *find_node(exported, "Conv");
  CHECK(conv.attrs.get_int("group", 0) == 3);
  const Node& w = producer(exported, conv.inputs[1]);
  const Node& bias = producer(exported, conv.inputs[2]);
  const auto weights = to_int64s(*exported.value(w.inputs[0]).constant);
  const auto biases = to_int64s(*exported.value(bias.inputs[0]).constant);
  const auto scales = params_of(exported, w)->scale;
  CHECK(weights == std::vector<std::int64_t>{127, 0, -127});
  for (std::size_t c = 0; c < 3; ++c) {
    // The formulas of quantized::batch_norm2d and of QLinearConv, both zero points 128, both scales
    // equal.
    const float beta = affine->beta[c] / scale;
    for (int code = 0; code < 256; ++code) {
      const int d = code - 128;
      const float ours = std::nearbyint(std::fma(affine->alpha[c], static_cast<float>(d), beta));
      const float theirs = std::nearbyint(static_cast<float>(weights[c] * d + biases[c]) *
                                          (scale * scales[c] / scale));
      CHECK(std::clamp(ours, -128.0F, 127.0F) == std::clamp(theirs, -128.0F, 127.0F));
    }
  }
}

TEST_CASE("the other two forms of a standalone BatchNormalization") {
  GraphBuilder b = quantized_batch_norm();
  Graph kept = b.graph;
  REQUIRE(expand_for_export(kept, {17, BatchNormForm::kBatchNorm}).ok());
  CHECK(count(kept, "BatchNormalization") == 1);
  Graph split = b.graph;
  REQUIRE(expand_for_export(split, {17, BatchNormForm::kMulAdd}).ok());
  CHECK(count(split, "BatchNormalization") == 0);
  CHECK(count(split, "Mul") == 1);
  CHECK(count(split, "Add") == 1);
  CHECK(count(split, "QuantizeLinear") == 3);
}

TEST_CASE("expand_for_export gives codes of QOperator models their Q and DQ back") {
  GraphBuilder b;
  const ValueId x = b.input("x", Shape{1, 2, 4, 4}, DType::kUint8);
  const ValueId y = b.node("Concat", {x, x}, {{"axis", std::int64_t{1}}});
  b.output(y);
  b.graph.value(x).quant = QuantParams::per_tensor(0.1F, 3);
  b.graph.value(y).quant = QuantParams::per_tensor(0.2F, 4);
  REQUIRE(expand_for_export(b.graph, {}).ok());
  CHECK(count(b.graph, "DequantizeLinear") == 1);
  CHECK(count(b.graph, "QuantizeLinear") == 1);
  PassContext context;
  CHECK(*lower_to_int8(b.graph, context) == 1);
}

// x -> Conv (2 channels) -> Relu -> MaxPool -> HardSwish -> Add of itself, all on codes.
GraphBuilder coded_network(calib::Range range) {
  GraphBuilder b;
  const ValueId x = b.input("x", Shape{1, 1, 4, 4});
  const ValueId w = floats(b, Shape{2, 1, 1, 1}, {0.5F, -1});
  const ValueId relu = b.node("Relu", {b.node("Conv", {x, w, floats(b, Shape{2}, {0.25F, -3})})});
  const ValueId pool =
      b.node("MaxPool", {relu}, {{"kernel_shape", std::vector<std::int64_t>{2, 2}}});
  const ValueId swish = b.node("HardSwish", {pool});
  b.output(b.node("Add", {swish, swish}));
  PassContext context;
  REQUIRE(fuse_activation(b.graph, context).ok());
  const QdqPlan plan = plan_qdq(b.graph, {});
  REQUIRE(insert_qdq(b.graph, {}, plan, same_range(b.graph, plan, range), context).ok());
  return b;
}

TEST_CASE(
    "expand_for_export writes quantized operators; what none says stays between Q and DQ, an "
    "activation that saturation does not replace too") {
  ExportForm form;
  form.qoperators = true;
  GraphBuilder b = coded_network({0, 3});
  REQUIRE(expand_for_export(b.graph, form).ok());
  CHECK(count(b.graph, "QLinearConv") == 1);
  CHECK(count(b.graph, "QLinearAdd") == 1);
  CHECK(count(b.graph, "HardSwish") == 1);
  CHECK(count(b.graph, "Relu") == 0);
  CHECK(count(b.graph, "QuantizeLinear") == 2);    // of x, and behind HardSwish
  CHECK(count(b.graph, "DequantizeLinear") == 2);  // before HardSwish, and of the result
  const Node& conv = *find_node(b.graph, "QLinearConv");
  REQUIRE(conv.inputs.size() == 9);
  CHECK(b.graph.value(conv.inputs[4]).shape == Shape{2});  // a scale for each channel
  CHECK(b.graph.value(conv.inputs[8]).dtype == DType::kInt32);
  CHECK(is_quantized_code(b.graph.value(find_node(b.graph, "MaxPool")->inputs[0]).dtype));
  CHECK(find_node(b.graph, "QLinearAdd")->domain == "com.microsoft");
  CHECK(b.graph.domain_opsets.at("com.microsoft") == 1);

  GraphBuilder signs = coded_network({-3, 3});
  REQUIRE(expand_for_export(signs.graph, form).ok());
  CHECK(count(signs.graph, "QLinearConv") == 1);
  CHECK(count(signs.graph, "Relu") == 1);
  CHECK(is_dequantize(producer(signs.graph, find_node(signs.graph, "Relu")->inputs[0])));
}

// x -> DQ -> op [-> Q], on codes of one grid; the graph after lowering.
Graph lowered(const char* op, DType made, std::vector<ValueId> (*more)(GraphBuilder&) = nullptr,
              std::vector<std::pair<std::string, Attr>> attrs = {}) {
  GraphBuilder b;
  const ValueId scale = b.constant(Tensor::scalar(0.05F));
  const ValueId zero = b.constant(Tensor::scalar(std::uint8_t{120}));
  const ValueId x = b.input("x", {1, 4, 3}, DType::kUint8);
  std::vector<ValueId> inputs{b.node("DequantizeLinear", {x, scale, zero})};
  if (more != nullptr) {
    for (const ValueId id : more(b)) inputs.push_back(id);
  }
  const ValueId y = std::string(op).empty() ? inputs[0] : b.node(op, inputs, std::move(attrs));
  b.output(made == DType::kFloat32 ? b.node("QuantizeLinear", {y, scale, zero}) : y);
  PassContext context;
  REQUIRE(lower_to_int8(b.graph, context).ok());
  REQUIRE(eliminate_dead(b.graph, context).ok());
  return b.graph;
}

TEST_CASE("lower_to_int8: Softmax, Sub, Div, Sum, PRelu and ArgMax run on codes") {
  const auto other = [](GraphBuilder& b) {
    const ValueId scale = b.constant(Tensor::scalar(0.02F));
    const ValueId zero = b.constant(Tensor::scalar(std::uint8_t{0}));
    const ValueId codes = b.constant(Tensor::of<std::uint8_t>(Shape{1}, {50}));
    return std::vector<ValueId>{b.node("DequantizeLinear", {codes, scale, zero})};
  };
  const auto slope = [](GraphBuilder& b) {
    return std::vector<ValueId>{b.constant(Tensor::of<float>(Shape{4, 1}, {1, 2, 3, 4}))};
  };
  for (const Graph& graph :
       {lowered("Softmax", DType::kFloat32), lowered("Sub", DType::kFloat32, other),
        lowered("Div", DType::kFloat32, other), lowered("Sum", DType::kFloat32),
        lowered("PRelu", DType::kFloat32, slope), lowered("ArgMax", DType::kInt64)}) {
    REQUIRE(graph.nodes.size() == 1);
    CAPTURE(graph.nodes[0].op);
    CHECK(graph.value(graph.nodes[0].inputs[0]).dtype == DType::kUint8);
    CHECK(graph.value(graph.nodes[0].inputs[0]).quant == QuantParams::per_tensor(0.05F, 120));
    CHECK(graph.is_output(graph.nodes[0].outputs[0]));
  }
  // A divisor that the network computes stays float.
  CHECK(
      count(lowered("Div", DType::kFloat32,
                    [](GraphBuilder& b) {
                      const ValueId scale = b.constant(Tensor::scalar(0.02F));
                      const ValueId zero = b.constant(Tensor::scalar(std::uint8_t{0}));
                      const ValueId codes = b.input("z", {1}, DType::kUint8);
                      return std::vector<ValueId>{b.node("DequantizeLinear", {codes, scale, zero})};
                    }),
            "QuantizeLinear") == 1);
}

TEST_CASE("lower_to_int8: codes that are only read and written again on one grid stay") {
  const Graph graph = lowered("", DType::kFloat32);
  REQUIRE(graph.nodes.size() == 1);
  CHECK(graph.nodes[0].op == "Identity");
}

TEST_CASE("spread_grids: what moves codes hands their grid on, both ways") {
  GraphBuilder b;
  const ValueId x = b.input("x", Shape{1, 2, 4, 4}, DType::kUint8);
  const ValueId flat = b.node("Flatten", {x});
  const ValueId y = b.node("Concat", {flat, flat}, {{"axis", std::int64_t{1}}});
  const ValueId turned = b.node("Transpose", {y});
  b.output(turned);
  b.graph.value(flat).quant = QuantParams::per_tensor(0.1F, 3);
  b.graph.value(y).quant = QuantParams::per_tensor(0.2F, 4);
  spread_grids(b.graph);
  CHECK(b.graph.value(x).quant == QuantParams::per_tensor(0.1F, 3));
  CHECK(b.graph.value(turned).quant == QuantParams::per_tensor(0.2F, 4));
  // A session of the other byte form reads the input's bytes as what they are.
  REQUIRE(set_activation_form(b.graph, DType::kInt8).ok());
  CHECK(b.graph.value(find_node(b.graph, "Flatten")->inputs[0]).dtype == DType::kInt8);
}

}  // namespace
}  // namespace octavo::passes
