// lower_to_int8: DequantizeLinear -> node -> QuantizeLinear becomes the node on codes.
//
// The node keeps its op name; its data inputs and outputs are uint8 / int8 values with
// Value::quant, weights int8 with scales per channel, the bias int32. The code values take the
// names of the float tensors that they stand for, so that int8 and float tensors can be compared by
// name. What does not fit stays float between its Q and DQ.
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/repeat.h"
#include "base/text.h"
#include "graph/verify.h"
#include "ops/op.h"
#include "passes/passes.h"
#include "passes/qdq.h"
#include "passes/qoperator.h"

namespace octavo::passes {

namespace {

class Lowering {
 public:
  Lowering(Graph& graph, PassContext& context) : graph_(graph), context_(context) {}

  Result<int> run() {
    int changes = put_back();
    OCTAVO_TRY(const int constants, quantize_constants());
    changes += constants;
    drop_redundant_activations();
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
      const ops::OpDef* def = ops::find_op(graph_.nodes[i]);
      if (def == nullptr || def->quant == ops::QuantRule::kFloat) continue;
      // Rebuilt each time: what one node changes its neighbours see.
      if (!uses_) uses_.emplace(graph_);
      if (const auto reason = lower(i, *def)) {
        if (!reason->empty())
          context_.notes.push_back(
              {"lower_to_int8", graph_.nodes[i].name, graph_.nodes[i].op, *reason});
      } else {
        ++changes;
        uses_.reset();
      }
    }
    graph_.remove_nodes([&](std::size_t i) { return graph_.nodes[i].op.empty(); });
    changes += pass_codes_on();
    if (changes > 0) OCTAVO_CHECK_OK(verify(graph_));
    return changes;
  }

 private:
  // Codes behind a DequantizeLinear.
  struct Codes {
    ValueId value;
    QuantParams params;
    DType dtype;
  };

  std::optional<Codes> codes_behind(ValueId id) const {
    const auto producer = uses_->producer_of(id);
    if (!producer || !is_dequantize(graph_.node(*producer))) return std::nullopt;
    const Node& dq = graph_.node(*producer);
    std::optional<QuantParams> params = params_of(graph_, dq);
    if (!params) return std::nullopt;
    return Codes{dq.inputs[0], std::move(*params), graph_.value(dq.inputs[0]).dtype};
  }

  // The grid that every reader of `id` quantizes it to, and those readers.
  struct Target {
    QuantParams params;
    DType dtype = DType::kUndefined;
    std::vector<NodeId> quantizers;
  };
  std::optional<Target> target_of(ValueId id) const {
    if (graph_.is_output(id) || uses_->readers_of(id).empty()) return std::nullopt;
    std::optional<Target> target;
    for (const NodeId reader : uses_->readers_of(id)) {
      const Node& q = graph_.node(reader);
      if (!is_quantize(q) || q.inputs[0] != id) return std::nullopt;
      const auto params = params_of(graph_, q);
      const DType dtype = graph_.value(q.outputs[0]).dtype;
      if (!params || !params->is_per_tensor() || !is_quantized_code(dtype)) return std::nullopt;
      if (!target) target = Target{*params, dtype, {}};
      if (target->params != *params || target->dtype != dtype) return std::nullopt;
      target->quantizers.push_back(reader);
    }
    return target;
  }

  // An operator that came on codes (QLinearConv, ...) and has no integer kernel in this form: three
  // axes, a right side that the network computes. It goes between DequantizeLinear and
  // QuantizeLinear, where it is computed in float.
  int put_back() {
    std::vector<Node> nodes = std::move(graph_.nodes);
    graph_.nodes.clear();
    int changes = 0;
    for (Node& node : nodes) {
      if (!is_on_codes(node.input(0)) || has_kernel(node)) {
        graph_.nodes.push_back(std::move(node));
        continue;
      }
      for (ValueId& id : node.inputs) {
        if (id != kNoValue && graph_.value(id).quant) id = dequantized(id);
      }
      const ValueId codes = node.outputs[0];
      const ValueId real = float_twin(codes);
      node.outputs[0] = real;
      graph_.nodes.push_back(std::move(node));
      const GridOperands grid = add_grid_operands(graph_, codes);
      graph_.nodes.push_back({text(graph_.value(codes).name, "_QuantizeLinear"),
                              "QuantizeLinear",
                              "",
                              {real, grid.scale, grid.zero_point},
                              {codes},
                              {}});
      ++changes;
    }
    return changes;
  }

  bool is_on_codes(ValueId id) const {
    return id != kNoValue && graph_.value(id).quant && is_quantized_code(graph_.value(id).dtype);
  }

  bool has_kernel(const Node& node) const {
    const ops::OpDef* def = ops::find_op(node);
    if (def == nullptr || def->quant != ops::QuantRule::kCompute || !is_on_codes(node.output(0)))
      return true;
    for (std::size_t k = 1; k < node.inputs.size(); ++k) {
      const InputRole role = input_role(node, k);
      if (node.inputs[k] != kNoValue && (role == InputRole::kWeight || role == InputRole::kBias) &&
          !graph_.value(node.inputs[k]).is_constant())
        return false;
    }
    Node plain = node;
    plain.attrs.erase("alpha");  // a part of the scales
    return def->int8 == nullptr || def->int8(graph_, plain);
  }

  ValueId float_twin(ValueId codes) {
    Value value;
    value.name = graph_.fresh_value_name(text(graph_.value(codes).name, "_real"));
    value.dtype = DType::kFloat32;
    value.shape = graph_.value(codes).shape;
    return graph_.add_value(std::move(value));
  }

  ValueId dequantized(ValueId codes) {
    const ValueId real = float_twin(codes);
    const GridOperands grid = add_grid_operands(graph_, codes);
    Attrs attrs;
    const std::optional<int> axis = graph_.value(codes).quant->axis;
    if (axis) attrs.set("axis", static_cast<std::int64_t>(*axis));
    graph_.nodes.push_back({text(graph_.value(real).name, "_DequantizeLinear"),
                            "DequantizeLinear",
                            "",
                            {codes, grid.scale, grid.zero_point},
                            {real},
                            std::move(attrs)});
    return real;
  }

  // A float weight behind QuantizeLinear (as networks trained with fake quantization are exported)
  // becomes its codes.
  Result<int> quantize_constants() {
    int changes = 0;
    for (Node& node : graph_.nodes) {
      if (!is_quantize(node) || !graph_.value(node.inputs[0]).is_constant() ||
          graph_.is_output(node.outputs[0]))
        continue;
      if (!params_of(graph_, node)) continue;
      OCTAVO_TRY(std::vector<Tensor> result, ops::evaluate(graph_, node));
      Value& value = graph_.value(node.outputs[0]);
      value.dtype = result[0].dtype();
      value.shape = result[0].shape();
      value.constant = std::move(result[0]);
      node.op.clear();
      node.inputs.clear();
      node.outputs.clear();
      ++changes;
    }
    graph_.remove_nodes([&](std::size_t i) { return graph_.nodes[i].op.empty(); });
    return changes;
  }

  // DQ -> Q on one grid gives the codes themselves.
  int pass_codes_on() {
    uses_.emplace(graph_);
    int changes = 0;
    for (Node& node : graph_.nodes) {
      if (!is_quantize(node)) continue;
      const auto codes = codes_behind(node.inputs[0]);
      const auto params = params_of(graph_, node);
      Value& made = graph_.value(node.outputs[0]);
      if (!codes || !params || codes->params != *params || codes->dtype != made.dtype ||
          !params->is_per_tensor() || !is_quantized_code(codes->dtype))
        continue;
      std::optional<QuantParams>& quant = graph_.value(codes->value).quant;
      if ((quant && *quant != *params) || (made.quant && *made.quant != *params)) continue;
      quant = made.quant = *params;
      node.op = "Identity";
      node.inputs = {codes->value};
      node.attrs = {};
      ++changes;
    }
    return changes;
  }

  // X -> Relu or Clip -> Q: where saturation does what the activation does, X goes to Q directly.
  void drop_redundant_activations() {
    uses_.emplace(graph_);
    bool changed = false;
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
      Node& node = graph_.nodes[i];
      if (!node.domain.empty() || (node.op != "Relu" && node.op != "Clip")) continue;
      const ValueId input = node.input(0);
      if (input == kNoValue) continue;
      const auto producer = uses_->producer_of(input);
      if (!producer || graph_.is_output(input) || uses_->readers_of(input).size() != 1) continue;
      Node& maker = graph_.node(*producer);
      const ops::OpDef* def = ops::find_op(maker);
      if (def == nullptr || def->quant != ops::QuantRule::kCompute || maker.outputs.size() != 1)
        continue;
      const auto target = target_of(node.outputs[0]);
      if (!target || !activation_is_redundant(as_attributes(node), target->params, target->dtype))
        continue;
      maker.outputs[0] = node.outputs[0];
      context_.notes.push_back(
          {"lower_to_int8", node.name, node.op, text("fused into node '", maker.name, "'")});
      node.op.clear();
      changed = true;
      uses_.emplace(graph_);
    }
    if (changed) {
      graph_.remove_nodes([&](std::size_t i) { return graph_.nodes[i].op.empty(); });
    }
    uses_.reset();
  }

  Attrs as_attributes(const Node& node) const {
    Attrs attrs;
    attrs.set("octavo_activation", node.op);
    if (node.op == "Relu") return attrs;
    constexpr float kMax = std::numeric_limits<float>::max();
    const auto bound = [&](std::size_t i, float none) {
      const ValueId id = node.input(i);
      if (id == kNoValue) return none;
      const Value& value = graph_.value(id);
      const bool known = value.constant && value.constant->dtype() == DType::kFloat32 &&
                         value.constant->elements() == 1;
      // An unknown bound: one that is never redundant.
      return known ? value.constant->span<float>()[0] : 0.0F;
    };
    attrs.set("octavo_min", bound(1, -kMax));
    attrs.set("octavo_max", bound(2, kMax));
    return attrs;
  }

  // Nothing when the node was lowered; otherwise why not, empty where there is no DQ or Q around it
  // at all.
  std::optional<std::string> lower(std::size_t index, const ops::OpDef& def) {
    const Node original = graph_.nodes[index];
    bool any_codes = false;
    Node node = original;
    std::vector<std::pair<ValueId, Codes>> data;  // code value and its grid
    for (std::size_t k = 0; k < node.inputs.size(); ++k) {
      const ValueId id = node.inputs[k];
      if (id == kNoValue || input_role(node, k) != InputRole::kData) continue;
      if (graph_.value(id).dtype != DType::kFloat32) return std::string();
      auto codes = codes_behind(id);
      if (!codes)
        return any_codes ? text("float: its input '", graph_.value(id).name, "' has no codes")
                         : std::string();
      any_codes = true;
      if (!codes->params.is_per_tensor() || !is_quantized_code(codes->dtype))
        return text("float: its input '", graph_.value(id).name, "' is not one 8-bit grid");
      node.inputs[k] = codes->value;
      data.emplace_back(codes->value, std::move(*codes));
    }
    if (data.empty()) return std::string();

    std::vector<Target> targets;
    for (const ValueId id : node.outputs) {
      // Positions (ArgMax) are no codes.
      if (id == kNoValue || graph_.value(id).dtype != DType::kFloat32) {
        targets.emplace_back();
        continue;
      }
      auto target = target_of(id);
      if (!target) return text("float: its output '", graph_.value(id).name, "' is not quantized");
      targets.push_back(std::move(*target));
    }
    const DType dtype = data.front().second.dtype;
    const auto mixed = [&](DType other) {
      return other != DType::kUndefined && !is_quantized_code(other);
    };
    for (const Target& target : targets) {
      if (mixed(target.dtype)) return std::string("float: its output is not 8-bit");
      if (def.quant == ops::QuantRule::kSameGrid && target.dtype != DType::kUndefined &&
          (target.params != data.front().second.params || target.dtype != dtype))
        return std::string("float: input and output lie on different grids");
    }

    // Weights and bias.
    struct Parameter {
      std::size_t input;
      Tensor codes;
      QuantParams params;
    };
    std::vector<Parameter> parameters;
    if (input_role(node, 1) == InputRole::kWeight && node.input(1) != kNoValue) {
      auto weights = codes_behind(node.inputs[1]);
      if (!weights || !graph_.value(weights->value).constant) {
        // MatMul of two activations, for one.
        return text("float: its input '", graph_.value(node.inputs[1]).name,
                    "' is no constant weight with codes");
      }
      Tensor codes = *graph_.value(weights->value).constant;
      if (codes.dtype() == DType::kUint8) {
        shift_to_int8(codes, weights->params);
      } else if (codes.dtype() != DType::kInt8) {
        return text("float: its weights are ", dtype_name(codes.dtype()));
      }
      if (weights->params.axis &&
          *weights->params.axis != weight_channel_axis(node, codes.shape().rank()))
        return std::string("float: its weights' scales do not run along the output channels");
      if (node.input(2) != kNoValue && input_role(node, 2) == InputRole::kBias) {
        auto bias =
            int32_bias(node.inputs[2], data.front().second.params.scale[0], weights->params.scale);
        if (!bias)
          return text("float: its bias '", graph_.value(node.inputs[2]).name,
                      "' has no int32 codes at input scale * weight scale");
        parameters.push_back({2, std::move(bias->first), std::move(bias->second)});
      }
      parameters.push_back({1, std::move(codes), std::move(weights->params)});
    }

    for (std::size_t k = 0; k < node.inputs.size(); ++k) {
      if (node.inputs[k] == kNoValue || input_role(node, k) != InputRole::kParameter) continue;
      if (const auto constant = dequantized_constant(node.inputs[k])) node.inputs[k] = *constant;
    }
    for (const Parameter& parameter : parameters) {
      Value value;
      value.name = graph_.fresh_value_name(
          text(graph_.value(original.inputs[parameter.input]).name, "_codes"));
      value.dtype = parameter.codes.dtype();
      value.shape = parameter.codes.shape();
      value.quant = parameter.params;
      value.constant = parameter.codes;
      node.inputs[parameter.input] = graph_.add_value(std::move(value));
    }
    for (const auto& [id, codes] : data) {
      std::optional<QuantParams>& quant = graph_.value(id).quant;
      if (quant && *quant != codes.params)
        return text("float: the codes '", graph_.value(id).name, "' are read on two grids");
      quant = codes.params;
    }
    if (def.int8 != nullptr && !def.int8(graph_, node))
      return std::string("float: this form of it has no integer kernel");
    for (std::size_t k = 0; k < node.outputs.size(); ++k) {
      if (targets[k].dtype != DType::kUndefined && !take_codes(node.outputs[k], targets[k]))
        return text("float: its output '", graph_.value(node.outputs[k]).name,
                    "' has two names outside");
    }
    graph_.nodes[index] = std::move(node);
    return std::nullopt;
  }

  // The node makes the codes that the quantizers behind `output` made; false (and nothing done)
  // where more than one of them is a graph output.
  bool take_codes(ValueId& output, const Target& target) {
    ValueId codes = graph_.node(target.quantizers.front()).outputs[0];
    int outside = 0;
    for (const NodeId q : target.quantizers) {
      const ValueId made = graph_.node(q).outputs[0];
      if (!graph_.is_output(made)) continue;
      codes = made;
      ++outside;
    }
    if (outside > 1) return false;
    for (const NodeId q : target.quantizers) {
      graph_.replace_uses(graph_.node(q).outputs[0], codes);
      Node& node = graph_.node(q);
      node.op.clear();
      node.inputs.clear();
      node.outputs.clear();
    }
    graph_.value(codes).quant = target.params;
    if (outside == 0) std::swap(graph_.value(codes).name, graph_.value(output).name);
    output = codes;
    return true;
  }

  // What a DequantizeLinear of a constant makes, as a constant.
  std::optional<ValueId> dequantized_constant(ValueId id) {
    const auto producer = uses_->producer_of(id);
    if (!producer || !is_dequantize(graph_.node(*producer))) return std::nullopt;
    const Node& dq = graph_.node(*producer);
    if (!graph_.value(dq.inputs[0]).constant || !params_of(graph_, dq)) return std::nullopt;
    Result<std::vector<Tensor>> result = ops::evaluate(graph_, dq);
    if (!result.ok() || result->size() != 1) return std::nullopt;
    return graph_.add_constant(graph_.fresh_value_name(text(graph_.value(id).name, "_constant")),
                               std::move((*result)[0]));
  }

  static void shift_to_int8(Tensor& codes, QuantParams& params) {
    Tensor shifted = Tensor::make(DType::kInt8, codes.shape());
    const auto from = codes.span<std::uint8_t>();
    const auto to = shifted.mutable_span<std::int8_t>();
    for (std::size_t i = 0; i < from.size(); ++i) to[i] = static_cast<std::int8_t>(from[i] - 128);
    for (std::int32_t& zero : params.zero_point) zero -= 128;
    codes = std::move(shifted);
  }

  // The bias as int32 codes of scale input_scale * weight_scale.
  std::optional<std::pair<Tensor, QuantParams>> int32_bias(
      ValueId id, float input_scale, const std::vector<float>& weight_scale) const {
    std::vector<double> reals;
    std::vector<std::int64_t> exact;
    const std::vector<float>* own_scale = nullptr;
    std::optional<Codes> codes = codes_behind(id);
    if (codes && graph_.value(codes->value).constant) {
      exact = to_int64s(*graph_.value(codes->value).constant);
      own_scale = &codes->params.scale;
      for (std::size_t i = 0; i < exact.size(); ++i) {
        const std::size_t c = own_scale->size() == 1 ? 0 : i;
        if (c >= own_scale->size()) return std::nullopt;
        reals.push_back(static_cast<double>(exact[i] - codes->params.zero_point[c]) *
                        static_cast<double>((*own_scale)[c]));
      }
    } else if (graph_.value(id).constant && graph_.value(id).constant->dtype() == DType::kFloat32) {
      for (const float b : to_floats(*graph_.value(id).constant))
        reals.push_back(static_cast<double>(b));
    } else {
      return std::nullopt;
    }
    if (reals.empty()) return std::nullopt;
    QuantParams params;
    for (const float scale : weight_scale) params.scale.push_back(input_scale * scale);
    params.zero_point.assign(params.scale.size(), 0);
    if (params.scale.size() > 1) params.axis = 0;
    if (params.scale.size() > 1 && reals.size() == 1) {
      repeat_single(reals, params.scale.size());
      exact.clear();
    }
    if (params.scale.size() > 1 && reals.size() != params.scale.size()) return std::nullopt;
    Tensor out = Tensor::make(DType::kInt32, Shape{static_cast<std::int64_t>(reals.size())});
    for (std::size_t i = 0; i < reals.size(); ++i) {
      const double unit = static_cast<double>(params.scale[params.scale.size() == 1 ? 0 : i]);
      double code = std::nearbyint(reals[i] / unit);
      // Codes that were made for this scale are taken as they are, as ONNX Runtime does.
      if (!exact.empty()) {
        const double own = static_cast<double>((*own_scale)[own_scale->size() == 1 ? 0 : i]);
        if (std::fabs(own - unit) <= 1e-3 * unit && codes->params.zero_point.front() == 0)
          code = static_cast<double>(exact[i]);
      }
      out.mutable_span<std::int32_t>()[i] =
          static_cast<std::int32_t>(std::clamp(code, -2147483648.0, 2147483647.0));
    }
    return std::pair{std::move(out), std::move(params)};
  }

  Graph& graph_;
  PassContext& context_;
  std::optional<Uses> uses_;
};

}  // namespace

Result<int> lower_to_int8(Graph& graph, PassContext& context) {
  return Lowering(graph, context).run();
}

}  // namespace octavo::passes
