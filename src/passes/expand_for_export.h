// Rewrites what only Octavo understands into ONNX, with the same integers in ONNX Runtime.
#pragma once

#include "base/result.h"
#include "graph/graph.h"

namespace octavo::passes {

// How a standalone BatchNormalization between DequantizeLinear and QuantizeLinear is written.
enum class BatchNormForm {
  kDepthwise,  // 1x1 depthwise Conv: ONNX Runtime computes Octavo's codes, on integers
  kBatchNorm,  // BatchNormalization: ONNX Runtime computes it in float
  kMulAdd,     // Mul and Add with constants per channel: integers that are rounded twice
};

struct ExportForm {
  int opset = 17;  // 13 to 21; raised where an op of the graph came later
  BatchNormForm batch_norm = BatchNormForm::kDepthwise;
  // Nodes on codes as QLinearConv, QLinearAdd, ... (passes/qoperator.h) instead of between
  // DequantizeLinear and QuantizeLinear; what has no such operator stays between them.
  bool qoperators = false;
};

// A canonical graph (float, QDQ, or codes with Value::quant) -> plain ONNX: fused activations as
// Relu or Clip nodes, or nothing where the QuantizeLinear behind them saturates to the same codes;
// codes with Value::quant as QDQ; no op of domain "octavo" and no octavo_ attribute left (INTERNAL
// if there were one).
Status expand_for_export(Graph& graph, const ExportForm& form);

}  // namespace octavo::passes
