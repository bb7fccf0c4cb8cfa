// The orders in which passes run.
#pragma once

#include <map>
#include <string>

#include "base/result.h"
#include "graph/graph.h"
#include "passes/pass.h"
#include "tensor/shape.h"

namespace octavo::passes {

// Import -> canonical opset-17 spelling, quantized operators as their float names on codes
// (QLinearConv -> Conv with Value::quant), constants folded, shapes inferred as far as known, dead
// code removed. Lists all unsupported ops, attributes and dtypes at once.
Status normalize(Graph& graph, PassContext& context);

// Float graph -> BatchNormalization's fate, fused activations.
Status optimize_float(Graph& graph, PassContext& context);

struct InputShapes {
  std::map<std::string, Shape> by_name;  // for inputs with unknown dimensions; batch defaults to 1
};

// Fixes all shapes; DYNAMIC_DIMENSION names what is missing, SHAPE_MISMATCH what does not fit.
Status fix_shapes(Graph& graph, const InputShapes& shapes);

struct LoweringOptions {
  DType activation = DType::kUint8;  // the byte form that the engine's dot product likes
};

// Float or QDQ graph with fixed shapes -> what a Session runs: integer ops on codes, Q/DQ only at
// edges, activations in one byte form, memory layouts assigned with explicit conversions.
Status prepare_for_session(Graph& graph, const LoweringOptions& options, PassContext& context);

}  // namespace octavo::passes
