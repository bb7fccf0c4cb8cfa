// Shape inference over a whole graph, with constant folding where it goes along.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/result.h"
#include "graph/graph.h"

namespace octavo::passes {

struct InferOptions {
  // Folding stops where the folded results would weigh more than this beyond the constants that
  // they replace, so that a small file cannot ask for a huge constant.
  std::size_t max_folded_bytes = std::size_t{16} << 20;
  // And where it would take more products than this: seconds in the scalar reference.
  std::int64_t max_folded_macs = std::int64_t{1} << 26;
  // Replace nodes whose result is known by constants. Off: only shapes and dtypes are set.
  bool fold = true;
};

// Walks the nodes in order; sets dtype and shape of their outputs as far as known (kUnknownDim
// where a dimension is not; no shape where not even the rank is), and turns into constants: nodes
// with constant inputs only, Shape of a known shape, and integer arithmetic on shapes whose
// elements are all known (Gather, Slice, Concat, Unsqueeze, Cast, ... of a partially known Shape).
//
// Nodes must be canonical (passes/canonicalize). Folded nodes are removed, and constants that only
// they read lose their data (Graph::compact_values drops the values).
// Errors: all nodes whose inputs cannot go together (SHAPE_MISMATCH, INVALID_MODEL, ...), at once.
Status infer_and_fold(Graph& graph, const InferOptions& options = {});

}  // namespace octavo::passes
