#include "tensor/dtype.h"

#include <array>

namespace octavo {

namespace {
struct Row {
  DType dtype;
  std::string_view name;
  std::size_t size;
};
constexpr std::array kRows{
    Row{DType::kUndefined, "undefined", 0}, Row{DType::kFloat32, "float32", 4},
    Row{DType::kUint8, "uint8", 1},         Row{DType::kInt8, "int8", 1},
    Row{DType::kUint16, "uint16", 2},       Row{DType::kInt16, "int16", 2},
    Row{DType::kInt32, "int32", 4},         Row{DType::kInt64, "int64", 8},
    Row{DType::kBool, "bool", 1},           Row{DType::kFloat16, "float16", 2},
    Row{DType::kFloat64, "float64", 8},     Row{DType::kUint32, "uint32", 4},
    Row{DType::kUint64, "uint64", 8},       Row{DType::kBfloat16, "bfloat16", 2},
};
const Row& row(DType dtype) {
  for (const Row& candidate : kRows) {
    if (candidate.dtype == dtype) return candidate;
  }
  return kRows.front();
}
}  // namespace

std::string_view dtype_name(DType dtype) { return row(dtype).name; }
std::size_t dtype_size(DType dtype) { return row(dtype).size; }

std::optional<DType> dtype_from_onnx(std::int64_t data_type) {
  for (const Row& candidate : kRows) {
    if (static_cast<std::int64_t>(candidate.dtype) == data_type && candidate.size != 0) {
      return candidate.dtype;
    }
  }
  return std::nullopt;
}

}  // namespace octavo
