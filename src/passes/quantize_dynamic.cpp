#include "passes/quantize_dynamic.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "base/text.h"
#include "graph/verify.h"
#include "passes/insert_qdq.h"
#include "passes/qdq.h"

namespace octavo::passes {

namespace {

constexpr std::int32_t kUint8Zero = 128;

class DynamicQuantizer {
 public:
  DynamicQuantizer(Graph& graph, const DynamicOptions& options, PassContext& context)
      : graph_(graph), options_(options), context_(context) {}

  int run() {
    std::vector<Node> nodes = std::move(graph_.nodes);
    graph_.nodes.clear();
    int changed = 0;
    for (Node& node : nodes) {
      const std::optional<std::string> reason = stays_float(node);
      if (is_product(node))
        context_.notes.push_back({"quantize_dynamic", node.name, node.op,
                                  reason                 ? *reason
                                  : options_.weight_only ? "int8 weights"
                                                         : "int8"});
      if (reason) {
        graph_.nodes.push_back(std::move(node));
        continue;
      }
      options_.weight_only ? add_weight_only(std::move(node)) : add_integer(node);
      ++changed;
    }
    return changed;
  }

 private:
  static bool is_product(const Node& node) {
    return node.domain.empty() && (node.op == "Gemm" || node.op == "MatMul" || node.op == "Conv");
  }
  const Tensor* float_constant(ValueId id) const {
    if (id == kNoValue) return nullptr;
    const auto& constant = graph_.value(id).constant;
    return constant && constant->dtype() == DType::kFloat32 ? &*constant : nullptr;
  }

  std::optional<std::string> stays_float(const Node& node) const {
    if (!is_product(node)) return "float: it has no weights";
    for (const std::string& op : options_.exclude_ops) {
      if (op == node.op) return text("float: op type '", op, "' is excluded");
    }
    for (const std::string& pattern : options_.exclude_names) {
      if (glob_matches(pattern, node.name)) return text("float: excluded by '", pattern, "'");
    }
    const Tensor* weight = float_constant(node.input(1));
    if (weight == nullptr || weight->elements() == 0 || weight->shape().rank() < 2)
      return "float: its weights are not a float constant of two axes or more";
    if (node.op != "Conv" && weight->shape().rank() != 2)
      return "float: its weights are more than one matrix";
    if (float_constant(node.inputs[0]) != nullptr) return "float: it reads no activation";
    if (options_.weight_only) return std::nullopt;
    if (node.attrs.get_int("transA", 0) != 0) return "float: transA = 1 has no integer form";
    if (node.input(2) == kNoValue) return std::nullopt;
    const Tensor* bias = float_constant(node.input(2));
    const std::int64_t outputs = weight->shape()[weight_channel_axis(node, weight->shape().rank())];
    if (bias == nullptr || (bias->elements() != outputs && bias->elements() != 1))
      return "float: its bias does not have one element a channel";
    return std::nullopt;
  }

  ValueId add_value(const std::string& name, DType dtype, std::optional<Shape> shape) {
    Value value;
    value.name = graph_.fresh_value_name(name);
    value.dtype = dtype;
    value.shape = std::move(shape);
    return graph_.add_value(std::move(value));
  }
  ValueId add_constant(const std::string& name, Tensor tensor) {
    return graph_.add_constant(graph_.fresh_value_name(name), std::move(tensor));
  }
  Node& add_node(const std::string& op, const std::string& name, std::vector<ValueId> inputs,
                 std::vector<ValueId> outputs) {
    Node node;
    node.name = graph_.fresh_node_name(name);
    node.op = op;
    node.inputs = std::move(inputs);
    node.outputs = std::move(outputs);
    graph_.nodes.push_back(std::move(node));
    return graph_.nodes.back();
  }

  QuantizedWeight weight_of(const Node& node, int axis) const {
    const Tensor& weight = *float_constant(node.inputs[1]);
    return quantize_weight(weight, weight_rows(node, weight.shape(), axis), options_.weight, {});
  }

  void add_weight_only(Node node) {
    const Tensor weight = *float_constant(node.inputs[1]);
    const int axis = weight_channel_axis(node, weight.shape().rank());
    QuantizedWeight quantized = weight_of(node, axis);
    const std::string name = graph_.value(node.inputs[1]).name;
    const bool several = quantized.scale.size() > 1;
    const Shape shape =
        several ? Shape{static_cast<std::int64_t>(quantized.scale.size())} : Shape{};
    const ValueId codes = add_constant(text(name, "_quantized"), std::move(quantized.codes));
    const ValueId scale =
        add_constant(text(name, "_scale"), Tensor::of<float>(shape, quantized.scale));
    const ValueId zero = add_constant(text(name, "_zero_point"), Tensor::make(DType::kInt8, shape));
    const ValueId real = add_value(text(name, "_dequantized"), DType::kFloat32, weight.shape());
    Node dequantize = make_qdq(graph_, "DequantizeLinear", text(name, "_DequantizeLinear"), codes,
                               scale, zero, real);
    if (several) dequantize.attrs.set("axis", static_cast<std::int64_t>(axis));
    graph_.nodes.push_back(std::move(dequantize));
    node.inputs[1] = real;
    graph_.nodes.push_back(std::move(node));
  }

  struct Quantized {
    ValueId codes, scale, zero_point;
  };
  Quantized dynamic(ValueId x) {
    const auto [known, fresh] = dynamic_.try_emplace(x);
    if (!fresh) return known->second;
    const std::string name = graph_.value(x).name;
    const std::optional<Shape> shape = graph_.value(x).shape;
    known->second = {add_value(text(name, "_quantized"), DType::kUint8, shape),
                     add_value(text(name, "_scale"), DType::kFloat32, Shape{}),
                     add_value(text(name, "_zero_point"), DType::kUint8, Shape{})};
    const Quantized& q = known->second;
    add_node("DynamicQuantizeLinear", text(name, "_DynamicQuantizeLinear"), {x},
             {q.codes, q.scale, q.zero_point});
    return q;
  }

  // [outputs][k] as MatMulInteger wants it.
  static Tensor transposed(const Tensor& codes) {
    const auto rows = static_cast<std::size_t>(codes.shape()[0]);
    const auto columns = static_cast<std::size_t>(codes.shape()[1]);
    Tensor out = Tensor::make(DType::kInt8, Shape{codes.shape()[1], codes.shape()[0]});
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t c = 0; c < columns; ++c)
        out.mutable_span<std::int8_t>()[c * rows + r] = codes.span<std::int8_t>()[r * columns + c];
    }
    return out;
  }
  static Tensor as_uint8(const Tensor& codes) {
    Tensor out = Tensor::make(DType::kUint8, codes.shape());
    for (std::size_t i = 0; i < codes.span<std::int8_t>().size(); ++i)
      out.mutable_span<std::uint8_t>()[i] =
          static_cast<std::uint8_t>(codes.span<std::int8_t>()[i] + kUint8Zero);
    return out;
  }

  void add_integer(const Node& node) {
    const bool conv = node.op == "Conv";
    const Tensor weight = *float_constant(node.inputs[1]);
    const int axis = weight_channel_axis(node, weight.shape().rank());
    QuantizedWeight quantized = weight_of(node, axis);
    const Quantized x = dynamic(node.inputs[0]);
    const std::string name = graph_.value(node.inputs[1]).name;
    const std::string result = graph_.value(node.outputs[0]).name;
    const std::optional<Shape> shape = graph_.value(node.outputs[0]).shape;

    // Along the channels: the last axis of a matrix, the second one of a picture.
    Shape channels{static_cast<std::int64_t>(quantized.scale.size())};
    if (conv) channels.dims().resize(static_cast<std::size_t>(weight.shape().rank()) - 1, 1);
    const float alpha = node.op == "Gemm" ? node.attrs.get_float("alpha", 1) : 1.0F;
    for (float& scale : quantized.scale) scale *= alpha;
    const Tensor codes = conv        ? as_uint8(quantized.codes)
                         : axis == 0 ? transposed(quantized.codes)
                                     : quantized.codes;
    const ValueId coded = add_constant(text(name, "_quantized"), codes);
    const ValueId scale =
        add_constant(text(name, "_scale"), Tensor::of<float>(channels, quantized.scale));

    const ValueId sums = add_value(text(result, "_sums"), DType::kInt32, shape);
    std::vector<ValueId> inputs{x.codes, coded, x.zero_point};
    if (conv)
      inputs.push_back(add_constant(text(name, "_zero_point"),
                                    Tensor::scalar(static_cast<std::uint8_t>(kUint8Zero))));
    Node& product = add_node(conv ? "ConvInteger" : "MatMulInteger", text(node.name, "_integer"),
                             std::move(inputs), {sums});
    if (conv) product.attrs = node.attrs;

    const ValueId real = add_value(text(result, "_cast"), DType::kFloat32, shape);
    add_node("Cast", text(node.name, "_cast"), {sums}, {real})
        .attrs.set("to", std::int64_t{1});  // float32
    const ValueId both = add_value(text(result, "_scales"), DType::kFloat32, channels);
    add_node("Mul", text(node.name, "_scales"), {x.scale, scale}, {both});
    const bool biased = node.input(2) != kNoValue;
    const ValueId scaled =
        biased ? add_value(text(result, "_scaled"), DType::kFloat32, shape) : node.outputs[0];
    add_node("Mul", text(node.name, "_scaled"), {real, both}, {scaled});
    if (!biased) return;
    std::vector<float> bias = to_floats(*float_constant(node.inputs[2]));
    const float beta = node.op == "Gemm" ? node.attrs.get_float("beta", 1) : 1.0F;
    for (float& b : bias) b *= beta;
    channels.dims()[0] = static_cast<std::int64_t>(bias.size());
    const ValueId shift = add_constant(text(graph_.value(node.inputs[2]).name, "_bias"),
                                       Tensor::of<float>(channels, bias));
    add_node("Add", text(node.name, "_bias"), {scaled, shift}, {node.outputs[0]});
  }

  Graph& graph_;
  const DynamicOptions& options_;
  PassContext& context_;
  std::map<ValueId, Quantized> dynamic_;  // what each activation became
};

}  // namespace

Result<int> quantize_dynamic(Graph& graph, const DynamicOptions& options, PassContext& context) {
  const int changed = DynamicQuantizer(graph, options, context).run();
  graph.compact_values();
  OCTAVO_CHECK_OK(verify(graph));
  return changed;
}

}  // namespace octavo::passes
