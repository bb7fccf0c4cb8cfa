// A pass changes a graph without changing its function. Idempotent; leaves a verified graph.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "graph/graph.h"

namespace octavo::passes {

// What a pass did to one node and why; the report shows it (BatchNormalization's fate, for one).
struct Note {
  std::string pass;
  std::string node;
  std::string op;
  std::string
      what;  // "folded into node 'conv1'", "standalone: its input is also read by node 'cat'"
};

struct PassContext {
  std::vector<Note> notes;
};

struct Pass {
  std::string_view name;
  std::string_view doc;
  // How many changes were made.
  Result<int> (*run)(Graph&, PassContext&);
};

std::span<const Pass> all_passes();
const Pass* find_pass(std::string_view name);

}  // namespace octavo::passes
