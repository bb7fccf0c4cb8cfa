// Reads an ONNX file into a Graph, as it is: any op, opset 7 to 22. What the ops mean is not asked
// here.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/result.h"
#include "graph/graph.h"

namespace octavo::onnx {

inline constexpr int kMinOpset = 7;
inline constexpr int kMaxOpset = 22;

// What a file may ask for (docs/reference/limits.md). Anything above is LIMIT_EXCEEDED before
// memory is taken for it; what is not listed takes no more memory than it takes bytes in the file,
// times a small number. Beside these: kMaxElements and kMaxRank (tensor/shape.h), kMaxFindings
// (base/limits.h).
inline constexpr std::size_t kMaxNodes = 50'000;     // and as many graph inputs, and outputs
inline constexpr std::size_t kMaxValues = 200'000;   // names of tensors
inline constexpr std::size_t kMaxAttributes = 1000;  // of a node
inline constexpr std::size_t kMaxNameBytes = 64 * 1024;

struct FileBytes {
  std::shared_ptr<const std::byte> data;
  std::size_t size = 0;
};
// Files with weights that lie outside the model, by the name that the model gives them.
using ExternalFiles = std::map<std::string, FileBytes, std::less<>>;

// What becomes of raw data that does not lie aligned for its type. Moving it takes no memory: it
// goes up to 3 bytes towards the file's beginning, over its own length. So it is for bytes that
// nobody else reads and that are imported once.
enum class Unaligned { kCopy, kMove };

// `bytes` are kept alive by the graph: initializers stored as raw data that is aligned for its
// type, or moved so, are views of them; others are copied. float16 and bfloat16 initializers become
// float32. Nodes are sorted topologically; nodes without a name get one.
//
// Errors: INVALID_MODEL (says what the bytes look like), TRUNCATED_MODEL (in which field),
// UNSUPPORTED_OPSET, UNSUPPORTED_DTYPE, EXTERNAL_DATA (a file that `external` does not have),
// MISSING_INITIALIZER, NON_FINITE_WEIGHT, LIMIT_EXCEEDED.
Result<Graph> import_model(std::shared_ptr<const std::byte> bytes, std::size_t size,
                           const ExternalFiles& external = {},
                           Unaligned unaligned = Unaligned::kCopy);

}  // namespace octavo::onnx
