// Bytes into a graph: an error, or a graph that is well formed.
#include "onnx/import.h"

#include "fuzz/fuzz.h"
#include "graph/verify.h"

using namespace octavo;

// Reading looks at no operator, and libFuzzer walks the counters of the whole program after each
// input: without operators there are few.
std::span<const ops::OpDef> fuzz::mutator_ops() { return {}; }

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Result<Graph> graph =
      onnx::import_model(fuzz::exact_bytes(data, size), size, {}, onnx::Unaligned::kMove);
  if (graph.ok()) {
    fuzz::check(verify(*graph).ok(), "an imported graph is well formed");
  } else {
    fuzz::check_error(graph.error());
  }
  return 0;
}
