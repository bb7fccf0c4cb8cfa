// Turns every opset's spelling (7 to 22) into that of opset 17, and checks that all ops are known.
//
// After it ops need not look at an opset: attributes that became inputs are inputs, old names have
// their new ones, Constant nodes are constants, quantized operators (QLinearConv, ...) are the
// float op's name on codes with Value::quant.
#pragma once

#include "base/result.h"
#include "graph/graph.h"

namespace octavo::passes {

// All nodes that are not supported at once: UNSUPPORTED_OP, UNSUPPORTED_ATTRIBUTE,
// UNSUPPORTED_DTYPE.
Status canonicalize(Graph& graph);

// Softmax before opset 13 flattens its input to two axes first. Where the rank is known now, it
// becomes the Softmax of one axis that does the same, with a Reshape before and behind it where
// needed.
Status resolve_flattened_softmax(Graph& graph);

}  // namespace octavo::passes
