#include "passes/qoperator.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/text.h"
#include "ops/op.h"
#include "ops/window.h"

namespace octavo::passes {

namespace {

constexpr std::string_view kMicrosoft = "com.microsoft";

constexpr std::array kRows{
    QOperator{"QLinearConv", "", "Conv", 2, true, false, 8, 6},
    QOperator{"QLinearMatMul", "", "MatMul", 2, true, false, -1, 6},
    QOperator{"QGemm", kMicrosoft, "Gemm", 2, true, false, 6, 7},
    QOperator{"QLinearAdd", kMicrosoft, "Add", 2, false, false, -1, 6},
    QOperator{"QLinearMul", kMicrosoft, "Mul", 2, false, false, -1, 6},
    QOperator{"QLinearConcat", kMicrosoft, "Concat", 0, false, true, -1, 0},
    QOperator{"QLinearGlobalAveragePool", kMicrosoft, "GlobalAveragePool", 1, false, false, -1, 3},
    QOperator{"QLinearAveragePool", kMicrosoft, "AveragePool", 1, false, false, -1, 3},
    QOperator{"QLinearLeakyRelu", kMicrosoft, "LeakyRelu", 1, false, false, -1, 3},
    QOperator{"QLinearSigmoid", kMicrosoft, "Sigmoid", 1, false, false, -1, 3},
};

bool on_grid(const Graph& graph, ValueId id) {
  return id != kNoValue && graph.value(id).quant.has_value();
}

// Whether the row says all that the node does.
bool fits(const Graph& graph, const Node& node, const QOperator& row) {
  const std::size_t data =
      row.output_first ? node.inputs.size() : static_cast<std::size_t>(row.data);
  for (std::size_t i = 0; i < data; ++i) {
    if (!on_grid(graph, node.input(i)) || !is_quantized_code(graph.value(node.inputs[i]).dtype))
      return false;
  }
  if (!on_grid(graph, node.output(0)) || node.attrs.has("octavo_activation")) return false;
  if (node.op == "AveragePool") {
    const std::vector<std::int64_t> dilations = node.attrs.get_ints("dilations");
    return !node.attrs.has(ops::kClippedWindow) &&
           std::all_of(dilations.begin(), dilations.end(), [](auto d) { return d == 1; });
  }
  return true;
}

// Writes one graph's nodes; the operands of a tensor that several of them read are made once.
class Writer {
 public:
  explicit Writer(Graph& graph) : graph_(graph) {}

  int run() {
    int written = 0;
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
      const auto row = std::find_if(kRows.begin(), kRows.end(), [&](const QOperator& r) {
        return r.plain == graph_.nodes[i].op && graph_.nodes[i].domain.empty();
      });
      if (row == kRows.end() || !fits(graph_, graph_.nodes[i], *row)) continue;
      graph_.nodes[i] = written_as(*row, graph_.nodes[i]);
      if (!row->domain.empty()) graph_.domain_opsets[std::string(row->domain)] = 1;
      ++written;
    }
    return written;
  }

 private:
  void append(std::vector<ValueId>& inputs, ValueId codes) {
    inputs.push_back(codes);
    append_grid(inputs, codes);
  }
  void append_grid(std::vector<ValueId>& inputs, ValueId codes) {
    operands_.resize(std::max(operands_.size(), graph_.values.size()));
    std::optional<GridOperands>& known = operands_[static_cast<std::size_t>(codes)];
    if (!known) known = add_grid_operands(graph_, codes);
    inputs.push_back(known->scale);
    inputs.push_back(known->zero_point);
  }

  Node written_as(const QOperator& row, Node node) {
    std::vector<ValueId> inputs;
    if (row.output_first) {
      append_grid(inputs, node.outputs[0]);
      for (const ValueId id : node.inputs) append(inputs, id);
    } else {
      for (int i = 0; i < row.data; ++i) append(inputs, node.inputs[static_cast<std::size_t>(i)]);
      const ValueId bias = row.bias < 0 ? kNoValue : node.input(2);
      // QGemm has its bias before the output's grid, or a gap there.
      if (row.bias >= 0 && row.bias < row.output_at) inputs.push_back(bias);
      append_grid(inputs, node.outputs[0]);
      if (row.bias > row.output_at && bias != kNoValue) inputs.push_back(bias);
    }
    node.inputs = std::move(inputs);
    node.op = row.op;
    node.domain = row.domain;
    node.attrs.erase("beta");
    if (node.op == "QLinearAveragePool") node.attrs.erase("dilations");
    return node;
  }

  Graph& graph_;
  std::vector<std::optional<GridOperands>> operands_;  // by value
};

}  // namespace

std::span<const QOperator> qoperators() { return kRows; }

int write_qoperators(Graph& graph) { return Writer(graph).run(); }

bool moves_any_codes(const Node& node) {
  static constexpr std::array<std::string_view, 9> kMoves{"Flatten", "Gather",    "Identity",
                                                          "MaxPool", "Reshape",   "Slice",
                                                          "Squeeze", "Transpose", "Unsqueeze"};
  return node.domain.empty() && std::find(kMoves.begin(), kMoves.end(), node.op) != kMoves.end();
}

void spread_grids(Graph& graph) {
  const auto spread = [&](ValueId from, ValueId to) {
    if (!on_grid(graph, from) || to == kNoValue || graph.value(to).quant ||
        !graph.value(from).quant->is_per_tensor())
      return;
    graph.value(to).quant = graph.value(from).quant;
    graph.value(to).dtype = graph.value(from).dtype;
  };
  const auto hands_on = [](const Node& node) {
    const ops::OpDef* def = ops::find_op(node);
    return def != nullptr && def->quant == ops::QuantRule::kSameGrid && !node.inputs.empty();
  };
  for (const Node& node : graph.nodes) {
    if (!hands_on(node)) continue;
    // The second output of a MaxPool is indices.
    const std::size_t outputs = node.op == "Split" ? node.outputs.size() : 1;
    for (std::size_t i = 0; i < outputs; ++i) spread(node.input(0), node.output(i));
  }
  for (std::size_t i = graph.nodes.size(); i-- > 0;) {
    if (hands_on(graph.nodes[i])) spread(graph.nodes[i].output(0), graph.nodes[i].input(0));
  }
}

GridOperands add_grid_operands(Graph& graph, ValueId codes) {
  const std::string name = graph.value(codes).name;
  const DType dtype = graph.value(codes).dtype;
  const QuantParams quant = *graph.value(codes).quant;
  const Shape shape =
      quant.is_per_tensor() ? Shape{} : Shape{static_cast<std::int64_t>(quant.scale.size())};
  Tensor zero = Tensor::make(dtype, shape);
  for (std::size_t i = 0; i < quant.zero_point.size(); ++i) {
    if (dtype_size(dtype) == 1)
      zero.mutable_data()[i] = static_cast<std::byte>(quant.zero_point[i] & 255);
  }
  const auto add = [&](std::string_view role, Tensor tensor) {
    return graph.add_constant(graph.fresh_value_name(text(name, role)), std::move(tensor));
  };
  return {add("_scale", Tensor::of<float>(shape, quant.scale)),
          add("_zero_point", std::move(zero))};
}

}  // namespace octavo::passes
