// Field numbers of onnx.proto3 that Octavo reads and writes (github.com/onnx/onnx,
// onnx/onnx.proto3).
#pragma once

#include <cstdint>

namespace octavo::onnx::field {

using Tag = std::uint32_t;  // protozero::pbf_tag_type

namespace model {
inline constexpr Tag kIrVersion = 1, kProducerName = 2, kProducerVersion = 3, kDocString = 6,
                     kGraph = 7, kOpsetImport = 8, kMetadataProps = 14, kFunctions = 25;
}
namespace opset {
inline constexpr Tag kDomain = 1, kVersion = 2;
}
namespace entry {  // StringStringEntryProto
inline constexpr Tag kKey = 1, kValue = 2;
}
namespace graph {
inline constexpr Tag kNode = 1, kName = 2, kInitializer = 5, kDocString = 10, kInput = 11,
                     kOutput = 12, kValueInfo = 13, kSparseInitializer = 15;
}
namespace node {
inline constexpr Tag kInput = 1, kOutput = 2, kName = 3, kOpType = 4, kAttribute = 5, kDomain = 7;
}
namespace attribute {
inline constexpr Tag kName = 1, kF = 2, kI = 3, kS = 4, kT = 5, kG = 6, kFloats = 7, kInts = 8,
                     kStrings = 9, kTensors = 10, kGraphs = 11, kType = 20, kSparseTensor = 22;
}
namespace tensor {
inline constexpr Tag kDims = 1, kDataType = 2, kFloatData = 4, kInt32Data = 5, kStringData = 6,
                     kInt64Data = 7, kName = 8, kRawData = 9, kDoubleData = 10, kUint64Data = 11,
                     kExternalData = 13, kDataLocation = 14;
}
namespace value_info {
inline constexpr Tag kName = 1, kType = 2;
}
namespace type {
inline constexpr Tag kTensorType = 1;
}
namespace tensor_type {
inline constexpr Tag kElemType = 1, kShape = 2;
}
namespace shape {
inline constexpr Tag kDim = 1;
}
namespace dim {
inline constexpr Tag kValue = 1, kParam = 2;
}

// AttributeProto.AttributeType
enum class AttributeType : int {
  kUndefined = 0,
  kFloat = 1,
  kInt = 2,
  kString = 3,
  kTensor = 4,
  kGraph = 5,
  kFloats = 6,
  kInts = 7,
  kStrings = 8,
};

}  // namespace octavo::onnx::field
