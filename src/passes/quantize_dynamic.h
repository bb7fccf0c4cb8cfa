// Networks without calibration: int8 weights, and activations that are float or quantized while the
// network runs (onnxruntime's quantize_dynamic).
//
//   weight only   y = op(x, DequantizeLinear(w)): a quarter of the bytes, float arithmetic
//   dynamic       q, s, z = DynamicQuantizeLinear(x)
//                 y = Cast(MatMulInteger(q, w, z)) * (s * s_w) + b      (or ConvInteger)
//
// Weights of MatMulInteger are int8, those of ConvInteger uint8 with zero point 128, which is what
// onnxruntime has kernels for.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "graph/graph.h"
#include "passes/pass.h"
#include "passes/weights.h"

namespace octavo::passes {

struct DynamicOptions {
  bool weight_only = false;
  WeightOptions weight;
  std::vector<std::string> exclude_names;  // globs
  std::vector<std::string> exclude_ops;
};

// Of a normalized float graph: Gemm, MatMul and Conv. A note for each says what became of it; how
// many were quantized.
Result<int> quantize_dynamic(Graph& graph, const DynamicOptions& options, PassContext& context);

}  // namespace octavo::passes
