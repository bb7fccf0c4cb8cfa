// onnx_ops: ONNX Runtime's quantized operators, each as the node that a quantized model runs, in
// both layouts.
#include <algorithm>
#include <array>

#include "golden/groups.h"
#include "kernels/quantize/quantize.h"
#include "nn/dynamic_quantize.h"
#include "support/op_runner.h"

namespace octavo::golden {

namespace {

using Attrs = std::vector<std::pair<std::string, Attr>>;

std::int32_t to_int32(std::int64_t value) { return static_cast<std::int32_t>(value); }

// The grid of attributes PREFIX_scale and PREFIX_zp.
QuantParams grid_of(Case& c, const std::string& prefix) {
  return QuantParams::per_tensor(static_cast<float>(c.number(prefix + "_scale")),
                                 to_int32(c.integer(prefix + "_zp")));
}

test::Operand codes(Case& c, const std::string& key) {
  return {c.tensor(key), false, grid_of(c, key)};
}

void expect_node(Case& c, const std::string& key, const Node& node,
                 const std::vector<std::optional<test::Operand>>& operands,
                 std::optional<QuantParams> out_quant) {
  const bool spatial = operands[0]->tensor.shape().rank() >= 3;
  const ops::OpDef* op = ops::find_op(node);
  for (const Layout layout : {Layout::kRowMajor, Layout::kChannelsLast}) {
    if (layout == Layout::kChannelsLast && !spatial) continue;
    if (layout == Layout::kRowMajor && op != nullptr && spatial &&
        op->layout == ops::LayoutRule::kChannelsLast)
      continue;
    test::OpRun how;
    how.layout = layout;
    how.out_quant = out_quant;
    c.expect(key, Case::take(test::run_op(node, operands, how)).at(0));
  }
}

// QLinearX as X on codes.
void run_qlinear(Case& c, const std::string& op, const std::vector<std::string>& inputs,
                 const Attrs& attrs) {
  std::vector<std::optional<test::Operand>> operands;
  for (const std::string& input : inputs) operands.emplace_back(codes(c, input));
  expect_node(c, "y", test::make_node(op, attrs), operands, grid_of(c, "y"));
}

// An ONNX attribute of `count` numbers, of which the case has one for all, or a list.
std::vector<std::int64_t> repeated(Case& c, const std::string& key, std::size_t count,
                                   std::int64_t otherwise) {
  return c.has(key) ? c.each(key, count) : std::vector<std::int64_t>(count, otherwise);
}

// The axes of x behind the batch and the channels.
std::size_t spatial_axes(Case& c) {
  return static_cast<std::size_t>(std::max(c.shape("x").rank() - 2, 0));
}

void conv(Case& c) {
  test::Operand weight = test::constant(c.tensor("w"));
  QuantParams grid{{}, {}, std::nullopt};
  for (const double scale : c.numbers("w_scale")) grid.scale.push_back(static_cast<float>(scale));
  if (grid.scale.size() > 1) grid.axis = 0;
  for (const std::int64_t zero : to_int64s(c.tensor("w_zp")))
    grid.zero_point.push_back(to_int32(zero));
  weight.quant = grid;
  const std::size_t axes = spatial_axes(c);
  const Node node = test::make_node("Conv", {{"group", c.has("groups") ? c.integer("groups") : 1},
                                             {"strides", repeated(c, "stride", axes, 1)},
                                             {"pads", repeated(c, "pad", 2 * axes, 0)},
                                             {"dilations", repeated(c, "dilation", axes, 1)}});
  std::vector<std::optional<test::Operand>> operands{codes(c, "x"), weight};
  if (c.has("bias")) operands.emplace_back(test::constant(c.tensor("bias")));
  expect_node(c, "y", node, operands, grid_of(c, "y"));
}

void matmul(Case& c) {
  test::Operand b = codes(c, "b");
  b.constant = true;
  expect_node(c, "y", test::make_node("MatMul"), {codes(c, "a"), b}, grid_of(c, "y"));
}

void quantize_linear(Case& c) {
  const DType dtype = c.tensor("y").dtype();
  const auto scale = static_cast<float>(c.number("scale"));
  const std::int64_t zero = c.integer("zero_point");
  const Tensor zero_point = dtype == DType::kInt8 ? Tensor::scalar(static_cast<std::int8_t>(zero))
                                                  : Tensor::scalar(static_cast<std::uint8_t>(zero));
  const auto operands = [&](const Tensor& first) {
    return std::vector<std::optional<test::Operand>>{
        test::Operand{first}, test::constant(Tensor::scalar(scale)), test::constant(zero_point)};
  };
  expect_node(c, "y", test::make_node("QuantizeLinear"), operands(c.tensor("x")), std::nullopt);
  expect_node(c, "dq", test::make_node("DequantizeLinear"), operands(c.tensor("y")), std::nullopt);
}

void quantize_linear_axis(Case& c) {
  const auto operands = [&](const Tensor& first) {
    return std::vector<std::optional<test::Operand>>{test::Operand{first},
                                                     test::constant(c.tensor("scales")),
                                                     test::constant(c.tensor("zero_points"))};
  };
  const Attrs attrs{{"axis", c.integer("axis")}};
  expect_node(c, "y", test::make_node("QuantizeLinear", attrs), operands(c.tensor("x")),
              std::nullopt);
  expect_node(c, "dq", test::make_node("DequantizeLinear", attrs), operands(c.tensor("y")),
              std::nullopt);
}

void dynamic_quantize_linear(Case& c) {
  const nn::QTensor q = Case::take(nn::dynamic_quantize_linear(c.tensor("x")));
  c.expect("y", q.int_repr());
  c.expect_equal("scale", *q.q_scale(), c.number("scale"));
  c.expect_equal("zero_point", static_cast<double>(*q.q_zero_point()), c.number("zero_point"));
}

void average_pool(Case& c) {
  const std::size_t axes = spatial_axes(c);
  run_qlinear(
      c, "AveragePool", {"x"},
      {{"kernel_shape", repeated(c, "k", axes, 1)},
       {"strides", repeated(c, "stride", axes, 1)},
       {"pads", repeated(c, "pad", 2 * axes, 0)},
       {"ceil_mode", c.has("ceil") ? c.integer("ceil") : 0},
       {"count_include_pad", c.has("count_include_pad") ? c.integer("count_include_pad") : 0}});
}

struct Kind {
  std::string_view name;
  void (*run)(Case& c);
};
constexpr std::array kKinds{
    Kind{"QuantizeLinear", &quantize_linear},
    Kind{"QuantizeLinearAxis", &quantize_linear_axis},
    Kind{"DynamicQuantizeLinear", &dynamic_quantize_linear},
    Kind{"QLinearConv", &conv},
    Kind{"QLinearMatMul", &matmul},
    Kind{"QLinearAdd",
         [](Case& c) {
           run_qlinear(c, "Add", {"a", "b"}, {});
         }},
    Kind{"QLinearMul",
         [](Case& c) {
           run_qlinear(c, "Mul", {"a", "b"}, {});
         }},
    Kind{"QLinearConcat",
         [](Case& c) {
           run_qlinear(c, "Concat", {"a", "b"}, {{"axis", c.integer("axis")}});
         }},
    Kind{"QLinearGlobalAveragePool",
         [](Case& c) { run_qlinear(c, "GlobalAveragePool", {"x"}, {}); }},
    Kind{"QLinearAveragePool", &average_pool},
    Kind{"QLinearSigmoid", [](Case& c) { run_qlinear(c, "Sigmoid", {"x"}, {}); }},
    Kind{"QLinearLeakyRelu",
         [](Case& c) {
           run_qlinear(c, "LeakyRelu", {"x"}, {{"alpha", static_cast<float>(c.number("alpha"))}});
         }},
};

}  // namespace

void run_onnx_ops(Case& c) {
  const std::string kind = c.str("kind");
  for (const Kind& row : kKinds) {
    if (row.name == kind) return row.run(c);
  }
  throw std::runtime_error("kind " + kind + " is not understood");
}

}  // namespace octavo::golden
