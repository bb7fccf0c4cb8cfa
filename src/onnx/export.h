// Writes a Graph as an ONNX file.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "graph/graph.h"

namespace octavo::onnx {

struct ExportInfo {
  int opset = 17;
  std::string producer_name = "octavo";
  std::string producer_version;
  std::map<std::string, std::string> metadata;  // beside the graph's own
};

// The graph holds ONNX operators only, in the spelling of `opset` (passes/expand_for_export).
// Constants become initializers with raw data; unknown dimensions keep their names.
std::vector<std::byte> export_model(const Graph& graph, const ExportInfo& info);

}  // namespace octavo::onnx
