// One byte form for all activations of a session.
#pragma once

#include "base/result.h"
#include "graph/graph.h"

namespace octavo::passes {

// Shifts codes and zero points by 128 wherever an activation (or a constant in its place) is not of
// `form` (kUint8 or kInt8): real values stay what they are. Inputs and outputs of the graph keep
// their dtype; where they hold codes of the other form, a DequantizeLinear and a QuantizeLinear
// convert (exactly: same scale). Returns the number of values changed.
Result<int> set_activation_form(Graph& graph, DType form);

}  // namespace octavo::passes
