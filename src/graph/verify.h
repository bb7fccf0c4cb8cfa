// Checks that a graph is well formed, whatever its ops do.
#pragma once

#include "base/result.h"
#include "graph/graph.h"

namespace octavo {

// Ids in range, names unique, each value made once, nodes in topological order, outputs made.
// All findings at once. Every pass leaves a graph that passes.
Status verify(const Graph& graph);

// Puts the nodes in topological order (independent nodes keep theirs); names a cycle if there is
// one, and every value that is read but never made (MISSING_INITIALIZER).
Status sort_topologically(Graph& graph);

}  // namespace octavo
