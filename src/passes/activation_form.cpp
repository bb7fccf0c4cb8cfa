#include "passes/activation_form.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/text.h"
#include "graph/verify.h"
#include "ops/activation.h"
#include "passes/qdq.h"

namespace octavo::passes {

namespace {

// +128 to become uint8, -128 to become int8.
Tensor shifted(const Tensor& codes, DType form) {
  Tensor out = Tensor::make(form, codes.shape());
  const std::byte* from = codes.data();
  std::byte* to = out.mutable_data();
  for (std::size_t i = 0; i < out.bytes(); ++i) to[i] = from[i] ^ std::byte{0x80};
  return out;
}

std::int32_t shift_to(DType form) { return form == DType::kUint8 ? 128 : -128; }

QuantParams shifted(QuantParams params, DType form) {
  for (std::int32_t& zero : params.zero_point) zero += shift_to(form);
  return params;
}

class FormChange {
 public:
  FormChange(Graph& graph, DType form) : graph_(graph), form_(form) {}

  Result<int> run() {
    const std::vector<bool> activation = find_activations();
    const std::size_t values = graph_.values.size();
    int changes = 0;
    for (std::size_t i = 0; i < values; ++i) {
      if (!activation[i]) continue;
      const auto id = static_cast<ValueId>(i);
      const Value& value = graph_.value(id);
      if (!value.quant || !is_quantized_code(value.dtype) || value.dtype == form_) continue;
      changes += graph_.is_input(id)    ? convert_input(id)
                 : graph_.is_output(id) ? convert_output(id)
                                        : shift(id);
    }
    if (changes == 0) return 0;
    OCTAVO_CHECK_OK(sort_topologically(graph_));
    OCTAVO_CHECK_OK(verify(graph_));
    return changes;
  }

 private:
  // Everything that a node takes or makes as data; weights and biases keep their form.
  std::vector<bool> find_activations() const {
    std::vector<bool> activation(graph_.values.size(), false);
    for (const Node& node : graph_.nodes) {
      const bool is_dq = is_dequantize(node);
      for (std::size_t k = 0; k < node.inputs.size(); ++k) {
        if (node.inputs[k] == kNoValue || input_role(node, k) != InputRole::kData) continue;
        // A constant behind a DequantizeLinear feeds a float node: it may be anything.
        if (is_dq && graph_.value(node.inputs[k]).is_constant()) continue;
        activation[static_cast<std::size_t>(node.inputs[k])] = true;
      }
      for (const ValueId id : node.outputs) {
        if (id != kNoValue) activation[static_cast<std::size_t>(id)] = true;
      }
    }
    return activation;
  }

  // The zero point operand of every Q that makes the value and every DQ that reads it follows.
  void follow(Node& node, const QuantParams& params) {
    Tensor zero = form_ == DType::kUint8
                      ? Tensor::scalar(static_cast<std::uint8_t>(params.zero_point[0]))
                      : Tensor::scalar(static_cast<std::int8_t>(params.zero_point[0]));
    node.inputs.resize(3, kNoValue);
    node.inputs[2] = graph_.add_constant(graph_.fresh_value_name(text(node.name, "_zero_point")),
                                         std::move(zero));
  }

  int shift(ValueId id) {
    Value& value = graph_.value(id);
    value.dtype = form_;
    value.quant = shifted(*value.quant, form_);
    if (value.constant) value.constant = shifted(*value.constant, form_);
    const QuantParams params = *value.quant;
    for (Node& node : graph_.nodes) {
      if (contains(node.outputs, id)) note_shift(node);
      const bool made_here = is_quantize(node) && node.outputs[0] == id;
      const bool read_here = is_dequantize(node) && node.inputs[0] == id;
      if (made_here || read_here) follow(node, params);
    }
    return 1;
  }

  // For operators whose rounding depends on it.
  void note_shift(Node& maker) {
    maker.attrs.set(std::string(ops::kFormShift), std::int64_t{shift_to(form_)});
  }

  ValueId copy_of(ValueId id, std::string_view suffix, DType dtype,
                  std::optional<QuantParams> quant) {
    Value value = graph_.value(id);
    value.name = graph_.fresh_value_name(text(value.name, suffix));
    value.dtype = dtype;
    value.quant = std::move(quant);
    value.dim_names.clear();
    return graph_.add_value(std::move(value));
  }

  // `params` by value: adding constants moves the values that they may lie in.
  void add(std::string_view op, ValueId x, QuantParams params, DType dtype, ValueId y) {
    const std::string name = graph_.value(y).name;
    const ValueId scale = graph_.add_constant(graph_.fresh_value_name(text(name, "_scale")),
                                              Tensor::scalar(params.scale[0]));
    Tensor zero = dtype == DType::kUint8
                      ? Tensor::scalar(static_cast<std::uint8_t>(params.zero_point[0]))
                      : Tensor::scalar(static_cast<std::int8_t>(params.zero_point[0]));
    const ValueId zero_point =
        graph_.add_constant(graph_.fresh_value_name(text(name, "_zero_point")), std::move(zero));
    graph_.nodes.push_back(make_qdq(graph_, op, text(name, "_", op), x, scale, zero_point, y));
  }

  static bool contains(const std::vector<ValueId>& ids, ValueId id) {
    return std::find(ids.begin(), ids.end(), id) != ids.end();
  }

  // from -> DequantizeLinear -> QuantizeLinear -> to; the two differ by 128.
  void bridge(ValueId from, ValueId to) {
    const ValueId real = copy_of(from, "_real", DType::kFloat32, std::nullopt);
    add("DequantizeLinear", from, *graph_.value(from).quant, graph_.value(from).dtype, real);
    add("QuantizeLinear", real, *graph_.value(to).quant, graph_.value(to).dtype, to);
  }

  // Nodes read a converted copy; what reads the input as plain numbers (DequantizeLinear, Cast)
  // keeps it.
  int convert_input(ValueId id) {
    const QuantParams params = shifted(*graph_.value(id).quant, form_);
    const ValueId inside = copy_of(id, "_codes", form_, params);
    bool read = false;
    for (Node& node : graph_.nodes) {
      if (is_dequantize(node) || node.op == "Cast") continue;
      for (ValueId& input : node.inputs) {
        if (input != id) continue;
        input = inside;
        read = true;
      }
    }
    if (read) bridge(id, inside);
    return read ? 1 : 0;
  }

  int convert_output(ValueId id) {
    const QuantParams params = shifted(*graph_.value(id).quant, form_);
    bool made_by_node = false, read_by_node = false;  // a Q makes, a DQ reads codes of any form
    for (const Node& node : graph_.nodes) {
      made_by_node = made_by_node || (!is_quantize(node) && contains(node.outputs, id));
      read_by_node = read_by_node || (!is_dequantize(node) && contains(node.inputs, id));
    }
    if (!made_by_node && !read_by_node) return 0;
    const ValueId inside = copy_of(id, "_codes", form_, params);
    for (Node& node : graph_.nodes) {
      if (is_quantize(node) && node.outputs[0] == id) follow(node, params);
      for (ValueId& output : node.outputs) {
        if (output != id) continue;
        output = inside;
        note_shift(node);
      }
      for (ValueId& input : node.inputs) {
        if (input == id && !is_dequantize(node)) input = inside;
      }
    }
    bridge(inside, id);
    return 1;
  }

  Graph& graph_;
  DType form_;
};

}  // namespace

Result<int> set_activation_form(Graph& graph, DType form) { return FormChange(graph, form).run(); }

}  // namespace octavo::passes
