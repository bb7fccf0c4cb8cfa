// The operators of ONNX and of com.microsoft that are a plain operator on codes: QLinearConv is
// Conv. One table, read both ways: canonicalize makes plain nodes of them, write_qoperators the
// reverse.
#pragma once

#include <span>
#include <string_view>

#include "graph/graph.h"

namespace octavo::passes {

struct QOperator {
  std::string_view op;      // "QLinearConv"
  std::string_view domain;  // "" or "com.microsoft"
  std::string_view plain;   // "Conv"
  int data;                 // inputs that are (x, scale, zero point)
  bool weight_last;         // the last of them is a weight
  bool output_first;  // y's scale and zero point come first (QLinearConcat), any number of inputs
  int bias;           // index of an int32 bias, or -1
  int output_at;      // index of y's scale; its zero point comes next
};
std::span<const QOperator> qoperators();

// Every node between codes (lower_to_int8) that a row can say becomes that row's operator; the
// number of them. Activations have to be nodes of their own. The others stay as they are.
int write_qoperators(Graph& graph);

// Whether ONNX lets the node move codes without knowing what they stand for.
bool moves_any_codes(const Node& node);

// Codes that a node hands on unchanged lie on the grid that is known at its other end.
void spread_grids(Graph& graph);

// Scale and zero point of codes as new constants "<name>_scale" and "<name>_zero_point".
struct GridOperands {
  ValueId scale, zero_point;
};
GridOperands add_grid_operands(Graph& graph, ValueId codes);

}  // namespace octavo::passes
