// Every pass as a function, one file each; all_passes() in pass.cpp is the table of them.
#pragma once

#include "base/result.h"
#include "graph/graph.h"
#include "passes/pass.h"

namespace octavo::passes {

// Nodes whose results nobody reads, and values that nothing names.
Result<int> eliminate_dead(Graph& graph, PassContext& context);
// Identity, Dropout and other nodes that hand their input on.
Result<int> eliminate_identity(Graph& graph, PassContext& context);
// BatchNormalization into the Conv or Gemm before it, where nothing else reads that node's result.
Result<int> fold_batch_norm(Graph& graph, PassContext& context);
// Mul, Div, Add and Sub by constants per channel into the Conv, Gemm or BatchNormalization before
// them.
Result<int> fold_scale(Graph& graph, PassContext& context);
// What stands per channel behind a Conv or Gemm whose weight has codes into the scales of that
// weight, as networks trained with fake quantization have it.
Result<int> fold_into_codes(Graph& graph, PassContext& context);
// Transpose of a dequantized matrix into the Gemm or MatMul that reads it.
Result<int> fold_transpose(Graph& graph, PassContext& context);
// Clip of codes into Clip of real numbers.
Result<int> clip_codes(Graph& graph, PassContext& context);
// BatchNormalization of a Concat along the channels into a Concat of BatchNormalizations.
Result<int> split_batch_norm(Graph& graph, PassContext& context);
// Relu, or Clip with constant bounds, into the node before it (attributes octavo_activation,
// octavo_min, octavo_max).
Result<int> fuse_activation(Graph& graph, PassContext& context);
// Nodes between DequantizeLinear and QuantizeLinear onto codes.
Result<int> lower_to_int8(Graph& graph, PassContext& context);
// Constants behind a DequantizeLinear that no integer node took, to float.
Result<int> fold_dequantize(Graph& graph, PassContext& context);
// Memory layouts of all values, with explicit conversions.
Result<int> assign_layouts(Graph& graph, PassContext& context);

}  // namespace octavo::passes
