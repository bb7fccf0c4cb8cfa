#include "passes/expand_for_export.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/text.h"
#include "calib/qparams.h"
#include "graph/verify.h"
#include "ops/op.h"
#include "ops/window.h"
#include "passes/passes.h"
#include "passes/qdq.h"
#include "passes/qoperator.h"

namespace octavo::passes {

namespace {

class Expansion {
 public:
  Expansion(Graph& graph, const ExportForm& form) : graph_(graph), form_(form) {}

  Status run() {
    raise_codes(nullptr);
    expand();
    if (form_.qoperators) OCTAVO_CHECK_OK(write_operators());
    OCTAVO_CHECK_OK(set_opset());
    graph_.compact_values();
    return verify(graph_);
  }

 private:
  // Every node in forms that ONNX has: activations and BatchNormalizations as nodes of their own.
  void expand() {
    std::vector<Node> nodes = std::move(graph_.nodes);
    graph_.nodes.clear();
    const Surroundings around(graph_, nodes);
    names_.clear();
    for (const Node& node : nodes) names_.push_back(node.name);
    for (Node& node : nodes) {
      std::optional<Node> activation = split_activation(node, around);
      const BatchNormContext context = batch_norm_context(node, around);
      if (context.x && form_.batch_norm == BatchNormForm::kDepthwise) {
        add_depthwise(node, context);
      } else if (context.x && form_.batch_norm == BatchNormForm::kMulAdd) {
        add_mul_add(node, context);
      } else {
        graph_.nodes.push_back(std::move(node));
      }
      if (activation) graph_.nodes.push_back(std::move(*activation));
    }
  }

  // The QDQ graph as operators on codes; what none can say goes back between Q and DQ.
  Status write_operators() {
    PassContext context;
    for (const auto pass : {&fuse_activation, &lower_to_int8, &eliminate_dead}) {
      if (Result<int> changes = pass(graph_, context); !changes.ok())
        return std::move(changes).error();
    }
    expand();  // activations again, on codes
    write_qoperators(graph_);
    raise_codes([](const Node& node) { return node.op.starts_with("Q") || moves_any_codes(node); });
    return ok_status();
  }

  // Readers by value, of nodes that are not in the graph yet.
  struct Surroundings {
    Surroundings(const Graph& graph, const std::vector<Node>& nodes)
        : readers(graph.values.size()) {
      for (const Node& node : nodes) {
        for (const ValueId id : node.inputs) {
          if (id != kNoValue) readers[static_cast<std::size_t>(id)].push_back(&node);
        }
      }
    }
    std::vector<std::vector<const Node*>> readers;
  };

  // The grid that the only reader of `id`, a QuantizeLinear, brings it to.
  struct Grid {
    QuantParams params;
    DType dtype;
    ValueId scale, zero_point;
  };
  std::optional<Grid> grid_behind(ValueId id, const Surroundings& around) const {
    const auto index = static_cast<std::size_t>(id);
    if (index >= around.readers.size() || graph_.is_output(id) || around.readers[index].size() != 1)
      return std::nullopt;
    const Node& q = *around.readers[index].front();
    // Readers come after what they read, so this one has not been moved into the graph yet.
    if (!is_quantize(q)) return std::nullopt;
    const auto params = params_of(graph_, q);
    if (!params || !params->is_per_tensor()) return std::nullopt;
    return Grid{*params, graph_.value(q.outputs[0]).dtype, q.input(1), q.input(2)};
  }

  std::string fresh_node(std::string_view base) {
    // Names of nodes that are still to come count too.
    std::string name(base);
    for (int i = 1; std::find(names_.begin(), names_.end(), name) != names_.end(); ++i)
      name = text(base, "_", i);
    names_.push_back(name);
    return name;
  }
  Node make(std::string_view op, std::string_view name, std::vector<ValueId> inputs,
            ValueId output) {
    Node node;
    node.name = fresh_node(name);
    node.op = op;
    node.inputs = std::move(inputs);
    node.outputs = {output};
    return node;
  }
  ValueId constant(const std::string& name, Tensor tensor) {
    return graph_.add_constant(graph_.fresh_value_name(name), std::move(tensor));
  }
  // Another value like `model` (its dtype, shape and grid).
  ValueId add_value(const std::string& name, const Value& model) {
    Value value;
    value.name = graph_.fresh_value_name(name);
    value.dtype = model.dtype;
    value.shape = model.shape;
    value.quant = model.quant;
    return graph_.add_value(std::move(value));
  }
  ValueId float_value(const std::string& name, const std::optional<Shape>& shape) {
    Value model;
    model.dtype = DType::kFloat32;
    model.shape = shape;
    return add_value(name, model);
  }

  // Codes that nodes work on (from QOperator models) get their Q and DQ back, but for those that
  // `stays` names.
  void raise_codes(bool (*stays)(const Node&)) {
    const auto on_codes = [&](ValueId id) {
      return id != kNoValue && graph_.value(id).quant && dtype_size(graph_.value(id).dtype) != 0 &&
             graph_.value(id).dtype != DType::kFloat32;
    };
    std::vector<Node> nodes = std::move(graph_.nodes);
    graph_.nodes.clear();
    for (const Node& node : nodes) names_.push_back(node.name);
    std::vector<ValueId> dequantized(graph_.values.size(), kNoValue);
    for (Node& node : nodes) {
      if (is_quantize(node) || is_dequantize(node) || (stays != nullptr && stays(node))) {
        graph_.nodes.push_back(std::move(node));
        continue;
      }
      for (ValueId& id : node.inputs) {
        if (!on_codes(id)) continue;
        if (dequantized[static_cast<std::size_t>(id)] == kNoValue) {
          const std::string name = graph_.value(id).name;
          const auto [scale, zero_point] = add_grid_operands(graph_, id);
          const ValueId real = float_value(text(name, "_dequantized"), graph_.value(id).shape);
          Node dq = make("DequantizeLinear", text(name, "_DequantizeLinear"),
                         {id, scale, zero_point}, real);
          if (const auto axis = graph_.value(id).quant->axis)
            dq.attrs.set("axis", static_cast<std::int64_t>(*axis));
          graph_.nodes.push_back(std::move(dq));
          dequantized[static_cast<std::size_t>(id)] = real;
        }
        id = dequantized[static_cast<std::size_t>(id)];
      }
      std::vector<Node> behind;
      for (ValueId& id : node.outputs) {
        if (!on_codes(id)) continue;
        const std::string name = graph_.value(id).name;
        const auto [scale, zero_point] = add_grid_operands(graph_, id);
        const ValueId real = float_value(text(name, "_float"), graph_.value(id).shape);
        behind.push_back(
            make("QuantizeLinear", text(name, "_QuantizeLinear"), {real, scale, zero_point}, id));
        id = real;
      }
      graph_.nodes.push_back(std::move(node));
      for (Node& q : behind) graph_.nodes.push_back(std::move(q));
    }
    names_.clear();
  }

  // Takes the fused activation off the node; the Relu or Clip to put behind it, where one is
  // needed.
  std::optional<Node> split_activation(Node& node, const Surroundings& around) {
    const Attrs attrs = node.attrs;
    for (const std::string_view name : {"octavo_activation", "octavo_min", "octavo_max"})
      node.attrs.erase(name);
    if (!attrs.has("octavo_activation")) return std::nullopt;
    const ValueId output = node.outputs[0];
    const Value value = graph_.value(output);
    const auto grid = grid_behind(output, around);
    if (grid && activation_is_redundant(attrs, grid->params, grid->dtype)) return std::nullopt;
    if (value.quant && activation_is_redundant(attrs, *value.quant, value.dtype))
      return std::nullopt;
    const std::string& name = value.name;
    const ValueId before = add_value(text(name, "_before_activation"), value);
    node.outputs[0] = before;
    if (attrs.get_string("octavo_activation", "") == "Relu")
      return make("Relu", text(node.name, "_Relu"), {before}, output);
    constexpr float kMax = std::numeric_limits<float>::max();
    const ValueId min =
        constant(text(name, "_min"), Tensor::scalar(attrs.get_float("octavo_min", -kMax)));
    const ValueId max =
        constant(text(name, "_max"), Tensor::scalar(attrs.get_float("octavo_max", kMax)));
    return make("Clip", text(node.name, "_Clip"), {before, min, max}, output);
  }

  // A BatchNormalization on codes, with what is needed to write it another way.
  struct BatchNormContext {
    std::optional<QuantParams> x;
    std::optional<Grid> y;
    DType x_dtype = DType::kUndefined;
    BatchNormAffine affine;
    int rank = 0;
  };
  BatchNormContext batch_norm_context(const Node& node, const Surroundings& around) const {
    BatchNormContext context;
    if (node.op != "BatchNormalization" || !node.domain.empty()) return context;
    const auto& shape = graph_.value(node.inputs[0]).shape;
    auto affine = batch_norm_affine(graph_, node);
    if (!shape || shape->rank() < 3 || !affine) return context;
    // Earlier nodes are in the graph by now.
    const auto dq = std::find_if(graph_.nodes.begin(), graph_.nodes.end(), [&](const Node& made) {
      return is_dequantize(made) && made.outputs[0] == node.inputs[0];
    });
    if (dq == graph_.nodes.end()) return context;
    auto x = params_of(graph_, *dq);
    context.y = grid_behind(node.outputs[0], around);
    if (!x || !x->is_per_tensor() || !context.y) return context;
    context.x = std::move(x);
    context.x_dtype = graph_.value(dq->inputs[0]).dtype;
    context.affine = std::move(*affine);
    context.rank = shape->rank();
    return context;
  }

  // A constant with scales per channel behind a DequantizeLinear.
  ValueId parameter(const std::string& name, Tensor codes, const std::vector<float>& scale) {
    const Shape scale_shape{static_cast<std::int64_t>(scale.size())};
    const DType dtype = codes.dtype();
    const ValueId real = float_value(text(name, "_dequantized"), codes.shape());
    Node dq = make("DequantizeLinear", text(name, "_DequantizeLinear"),
                   {constant(text(name, "_quantized"), std::move(codes)),
                    constant(text(name, "_scale"), Tensor::of<float>(scale_shape, scale)),
                    constant(text(name, "_zero_point"), Tensor::make(dtype, scale_shape))},
                   real);
    dq.attrs.set("axis", std::int64_t{0});
    graph_.nodes.push_back(std::move(dq));
    return real;
  }

  void add_depthwise(const Node& node, const BatchNormContext& context) {
    const auto channels = static_cast<std::int64_t>(context.affine.alpha.size());
    std::vector<std::int64_t> dims(static_cast<std::size_t>(context.rank), 1);
    dims[0] = channels;
    Tensor weights = Tensor::make(DType::kInt8, Shape(dims));
    Tensor bias = Tensor::make(DType::kInt32, Shape{channels});
    std::vector<float> weight_scale;
    std::vector<float> bias_scale;
    for (std::size_t c = 0; c < context.affine.alpha.size(); ++c) {
      const DepthwiseChannel channel =
          depthwise_of(context.affine.alpha[c], context.affine.beta[c], context.x->scale[0]);
      weights.mutable_span<std::int8_t>()[c] = static_cast<std::int8_t>(channel.weight);
      bias.mutable_span<std::int32_t>()[c] = channel.bias;
      weight_scale.push_back(channel.weight_scale);
      bias_scale.push_back(context.x->scale[0] * channel.weight_scale);
    }
    const ValueId w = parameter(text(node.name, "_weight"), std::move(weights), weight_scale);
    const ValueId b = parameter(text(node.name, "_bias"), std::move(bias), bias_scale);
    Node conv;
    conv.name = node.name;
    conv.op = "Conv";
    conv.inputs = {node.inputs[0], w, b};
    conv.outputs = node.outputs;
    conv.attrs.set("group", channels);
    conv.attrs.set("kernel_shape",
                   std::vector<std::int64_t>(static_cast<std::size_t>(context.rank - 2), 1));
    graph_.nodes.push_back(std::move(conv));
  }

  // A float constant [C, 1, ...] as codes on an affine grid of its own, behind a DequantizeLinear.
  ValueId coded_constant(const std::string& name, const std::vector<float>& values, int rank,
                         DType dtype) {
    std::vector<std::int64_t> dims(static_cast<std::size_t>(rank - 1), 1);
    dims[0] = static_cast<std::int64_t>(values.size());
    calib::Range range;
    for (const float x : values) range = {std::min(range.min, x), std::max(range.max, x)};
    const calib::ScaleZero grid =
        calib::ort_qparams(range, calib::code_range(dtype, false), calib::Scheme::kAffine);
    Tensor codes = Tensor::make(dtype, Shape(dims));
    for (std::size_t i = 0; i < values.size(); ++i)
      codes.mutable_data()[i] =
          static_cast<std::byte>(quantize_one(values[i], grid.scale, grid.zero_point, dtype) & 255);
    const ValueId real = float_value(text(name, "_dequantized"), Shape(dims));
    graph_.nodes.push_back(make("DequantizeLinear", text(name, "_DequantizeLinear"),
                                {constant(text(name, "_quantized"), std::move(codes)),
                                 constant(text(name, "_scale"), Tensor::scalar(grid.scale)),
                                 zero_scalar(name, grid, dtype)},
                                real));
    return real;
  }
  ValueId zero_scalar(const std::string& name, const calib::ScaleZero& grid, DType dtype) {
    Tensor zero = Tensor::make(dtype, Shape{});
    zero.mutable_data()[0] = static_cast<std::byte>(grid.zero_point & 255);
    return constant(text(name, "_zero_point"), std::move(zero));
  }

  void add_mul_add(const Node& node, const BatchNormContext& context) {
    const DType dtype = context.x_dtype;
    const std::optional<Shape> shape = graph_.value(node.inputs[0]).shape;
    // The product's range over all codes of x.
    const float low = dtype == DType::kInt8 ? -128.0F : 0.0F;
    const auto zero = static_cast<float>(context.x->zero_point[0]);
    calib::Range range;
    for (const float alpha : context.affine.alpha) {
      for (const float code : {low, low + 255.0F}) {
        const float product = context.x->scale[0] * (code - zero) * alpha;
        range = {std::min(range.min, product), std::max(range.max, product)};
      }
    }
    const calib::ScaleZero grid =
        calib::ort_qparams(range, calib::code_range(dtype, false), calib::Scheme::kAffine);
    const ValueId alpha =
        coded_constant(text(node.name, "_alpha"), context.affine.alpha, context.rank, dtype);
    const ValueId beta =
        coded_constant(text(node.name, "_beta"), context.affine.beta, context.rank, dtype);
    const std::string name = text(node.name, "_product");
    const ValueId product = float_value(name, shape);
    Value codes;
    codes.name = graph_.fresh_value_name(text(name, "_quantized"));
    codes.dtype = dtype;
    codes.shape = shape;
    const ValueId quantized = graph_.add_value(std::move(codes));
    const ValueId dequantized = float_value(text(name, "_dequantized"), shape);
    const ValueId scale = constant(text(name, "_scale"), Tensor::scalar(grid.scale));
    const ValueId zero_point = zero_scalar(name, grid, dtype);
    graph_.nodes.push_back(make("Mul", text(node.name, "_Mul"), {node.inputs[0], alpha}, product));
    graph_.nodes.push_back(make("QuantizeLinear", text(name, "_QuantizeLinear"),
                                {product, scale, zero_point}, quantized));
    graph_.nodes.push_back(make("DequantizeLinear", text(name, "_DequantizeLinear"),
                                {quantized, scale, zero_point}, dequantized));
    Node add;
    add.name = node.name;
    add.op = "Add";
    add.inputs = {dequantized, beta};
    add.outputs = node.outputs;
    graph_.nodes.push_back(std::move(add));
  }

  // Until opset 18 a mean is divided by all taps of its window, since then by those inside image
  // and padding: the same, unless the window hangs over.
  Status settle_window(Node& node) const {
    const bool clipped = node.attrs.has(ops::kClippedWindow);
    node.attrs.erase(ops::kClippedWindow);
    if (node.op != "AveragePool" || node.attrs.get_int("count_include_pad", 0) == 0 ||
        node.attrs.get_int("ceil_mode", 0) == 0 || clipped == (graph_.opset >= 19))
      return ok_status();
    const Value& x = graph_.value(node.input(0));
    if (x.shape && x.shape->known()) {
      OCTAVO_TRY(const auto axes,
                 ops::resolve_window(node, *x.shape, node.attrs.get_ints("kernel_shape"), true));
      if (std::none_of(axes.begin(), axes.end(), ops::overhangs)) return ok_status();
    }
    return Error{Code::kUnsupportedAttribute,
                 text("ceil_mode = 1 with count_include_pad = 1 has another meaning in opset ",
                      graph_.opset, " than in the model's."),
                 describe(node),
                 "Set one of them to 0, or give the model's input shapes.",
                 {}};
  }

  // The first opset that has the node with its attributes.
  static int first_opset(const Node& node) {
    const ops::OpDef* def = ops::find_op(node);
    const int since = node.domain.empty() && def != nullptr ? def->since : 0;
    const std::string mode = node.attrs.get_string("mode", "");
    const std::string reduction = node.attrs.get_string("reduction", "none");
    const std::string coordinates = node.attrs.get_string("coordinate_transformation_mode", "");
    if (node.op == "Pad" && mode == "wrap") return 19;
    if (node.op == "AveragePool") {
      const std::vector<std::int64_t> dilations = node.attrs.get_ints("dilations");
      if (std::any_of(dilations.begin(), dilations.end(), [](auto d) { return d != 1; })) return 19;
    }
    if (node.op == "Resize" && coordinates == "half_pixel_symmetric") return 19;
    if (node.op == "Resize" && node.attrs.has("antialias")) return 18;
    if (node.op.starts_with("Scatter") && (reduction == "min" || reduction == "max")) return 18;
    return since;
  }

  // What opset 18 spells otherwise than 17: the axes of reductions are an input, an even Split says
  // its number of outputs.
  void spell_as_18(Node& node) {
    if (node.op.starts_with("Reduce") && node.attrs.has("axes")) {
      const std::vector<std::int64_t> axes = node.attrs.get_ints("axes");
      node.attrs.erase("axes");
      node.inputs.resize(1);
      node.inputs.push_back(
          constant(text(node.name, "_axes"),
                   Tensor::of<std::int64_t>(Shape{static_cast<std::int64_t>(axes.size())}, axes)));
    }
    if (node.op == "Split" && node.input(1) == kNoValue)
      node.attrs.set("num_outputs", static_cast<std::int64_t>(node.outputs.size()));
  }

  Status set_opset() {
    graph_.opset = form_.opset;
    for (const Node& node : graph_.nodes) graph_.opset = std::max(graph_.opset, first_opset(node));
    for (Node& node : graph_.nodes) {
      if (!node.domain.empty() && node.domain != "octavo") continue;
      OCTAVO_CHECK_OK(settle_window(node));
      if (graph_.opset >= 18) spell_as_18(node);
      // ONNX takes scales or sizes; those that keep the aspect ratio have both here.
      if (node.op == "Resize" && node.input(3) != kNoValue) node.inputs[2] = kNoValue;
      const bool internal = node.domain == "octavo" ||
                            std::any_of(node.attrs.begin(), node.attrs.end(), [](const auto& attr) {
                              return attr.first.starts_with("octavo_");
                            });
      if (internal)
        return Error{Code::kInternal,
                     "An internal form of a node would be exported.",
                     describe(node),
                     "",
                     {}};
    }
    return ok_status();
  }

  Graph& graph_;
  const ExportForm& form_;
  std::vector<std::string> names_;  // of all nodes, to find fresh ones
};

}  // namespace

Status expand_for_export(Graph& graph, const ExportForm& form) {
  return Expansion(graph, form).run();
}

}  // namespace octavo::passes
