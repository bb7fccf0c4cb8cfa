#include "nn/wire.h"

#include <emscripten/bind.h>

#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "simd/engine_class.h"

namespace octavo::bindings {

using emscripten::typed_memory_view;
using emscripten::val;

namespace {

constexpr DType kDTypes[] = {DType::kFloat32, DType::kFloat64, DType::kUint8, DType::kInt8,
                             DType::kInt32,   DType::kInt64,   DType::kBool};

std::string string_of(const val& value) {
  return value.isString() ? value.as<std::string>() : std::string("undefined");
}

Result<DType> dtype_from(const val& name) {
  const std::string wanted = string_of(name);
  for (const DType dtype : kDTypes) {
    if (dtype_name(dtype) == wanted) return dtype;
  }
  return Error{Code::kUnsupportedDtype, text("A tensor has dtype '", wanted, "'."), "tensor",
               "Use float32, float64, uint8, int8, int32, int64 or bool."};
}

Result<Shape> shape_from(const val& array) {
  std::vector<std::int64_t> dims;
  for (const double dim : emscripten::convertJSArrayToNumberVector<double>(array)) {
    if (!(dim >= 0) || dim != std::floor(dim) || dim > static_cast<double>(kMaxElements)) {
      return Error{Code::kShapeMismatch, text("A tensor has a dimension of ", dim, "."), "tensor",
                   "Dimensions are integers from 0."};
    }
    dims.push_back(static_cast<std::int64_t>(dim));
  }
  Shape shape(std::move(dims));
  if (!shape.checked_elements()) {
    return Error{Code::kLimitExceeded,
                 text("A tensor of shape ", shape.to_string(), " has too many elements."), "tensor",
                 text("A tensor has at most ", kMaxElements, " elements.")};
  }
  return shape;
}

Status copy_bytes(const val& from, Tensor& to) {
  const auto length = from["length"].as<double>();
  if (length != static_cast<double>(to.bytes())) {
    return Error{Code::kShapeMismatch,
                 text("A tensor of shape ", to.shape().to_string(), " has ", length, " bytes of ",
                      std::string(dtype_name(to.dtype())), "; it needs ", to.bytes(), "."),
                 "tensor", "The product of the dimensions is the number of elements."};
  }
  // The view is made last: an allocation may move the memory.
  val(typed_memory_view(to.bytes(), reinterpret_cast<std::uint8_t*>(to.mutable_data())))
      .call<void>("set", from);
  return ok_status();
}

val bytes_of(const Tensor& tensor) {
  return val(typed_memory_view(tensor.bytes(),
                               reinterpret_cast<const std::uint8_t*>(tensor.data())))
      .call<val>("slice");
}

}  // namespace

Result<Tensor> tensor_from(const val& wire) {
  OCTAVO_TRY(const DType dtype, dtype_from(wire["dtype"]));
  OCTAVO_TRY(Shape shape, shape_from(wire["shape"]));
  Tensor tensor = Tensor::make(dtype, std::move(shape));
  OCTAVO_CHECK_OK(copy_bytes(wire["bytes"], tensor));
  return tensor;
}

val to_wire(const Tensor& tensor) {
  val wire = val::object();
  wire.set("dtype", std::string(dtype_name(tensor.dtype())));
  wire.set("shape", to_array(tensor.shape().dims()));
  wire.set("bytes", bytes_of(tensor));
  return wire;
}

Result<nn::ScalarType> scalar_type_from(const val& name) {
  const std::string wanted = string_of(name);
  const auto type = nn::scalar_type_from_name(wanted);
  if (type) return *type;
  return Error{Code::kUnsupportedDtype, text("dtype = '", wanted, "' is not quantized."), "dtype",
               "Use 'quint8', 'qint8' or 'qint32'."};
}

Result<nn::QScheme> qscheme_from(const val& name) {
  const std::string wanted = string_of(name);
  const auto scheme = nn::qscheme_from_name(wanted);
  if (scheme) return *scheme;
  return Error{Code::kInvalidOption, text("qscheme = '", wanted, "' is not known."), "qscheme",
               "Use 'per_tensor_affine', 'per_tensor_symmetric', 'per_channel_affine' or "
               "'per_channel_symmetric'."};
}

Result<nn::Backend> backend_from(const val& name) {
  static const simd::EngineClass kClass =
      simd::probe_engine_class();  // the machine does not change
  nn::Backend backend{nn::QEngine::kOnednn, {.engine = kClass}};
  if (name.isUndefined()) return backend;
  const auto engine = nn::qengine_from_name(string_of(name));
  if (!engine) {
    return Error{Code::kInvalidOption, text("engine = '", string_of(name), "' is not known."),
                 "engine", "Use 'x86', 'fbgemm', 'onednn' or 'qnnpack'."};
  }
  backend.engine = *engine;
  return backend;
}

Result<nn::QGrid> grid_from(const val& object) {
  nn::QGrid grid;
  grid.scales = numbers_from<double>(object["scales"]);
  grid.zero_points = numbers_from<std::int64_t>(object["zeroPoints"]);
  // Far outside of any rank stays outside.
  if (object["axis"].isNumber())
    grid.axis = static_cast<int>(std::clamp(object["axis"].as<double>(), -1e9, 1e9));
  OCTAVO_TRY(grid.scheme, qscheme_from(object["scheme"]));
  return grid;
}

Result<nn::QTensor> qtensor_from(const val& wire) {
  OCTAVO_TRY(const nn::ScalarType type, scalar_type_from(wire["dtype"]));
  OCTAVO_TRY(Shape shape, shape_from(wire["shape"]));
  Tensor codes = Tensor::make(nn::code_dtype(type), std::move(shape));
  OCTAVO_CHECK_OK(copy_bytes(wire["bytes"], codes));
  OCTAVO_TRY(nn::QGrid grid, grid_from(wire));
  OCTAVO_CHECK_OK(nn::check_grid(grid, type, codes.shape(), "quantized tensor"));
  const auto format = [&wire](const char* key) {
    return string_of(wire[key]) == nn::memory_format_name(nn::MemoryFormat::kChannelsLast)
               ? nn::MemoryFormat::kChannelsLast
               : nn::MemoryFormat::kContiguous;
  };
  return nn::QTensor::of_storage(std::move(codes), std::move(grid), format("order"),
                                 format("format"));
}

val to_wire(const nn::QTensor& tensor) {
  val wire = to_wire(tensor.storage());
  const nn::QGrid& grid = tensor.grid();
  wire.set("dtype", std::string(nn::scalar_type_name(tensor.dtype())));
  wire.set("scheme", std::string(nn::qscheme_name(grid.scheme)));
  wire.set("scales", to_array(grid.scales));
  wire.set("zeroPoints", to_array(grid.zero_points));
  if (grid.axis) wire.set("axis", *grid.axis);
  wire.set("order", std::string(nn::memory_format_name(tensor.order())));
  wire.set("format", std::string(nn::memory_format_name(tensor.memory_format())));
  return wire;
}

Result<nn::StateDict> state_from(const val& entries) {
  nn::StateDict state;
  const auto count = entries["length"].as<unsigned>();
  for (unsigned i = 0; i < count; ++i) {
    const val wire = entries[i][1];
    std::string key = entries[i][0].as<std::string>();
    if (wire["scheme"].isUndefined()) {
      OCTAVO_TRY(Tensor tensor, tensor_from(wire));
      state.emplace_back(std::move(key), std::move(tensor));
    } else {
      OCTAVO_TRY(nn::QTensor tensor, qtensor_from(wire));
      state.emplace_back(std::move(key), std::move(tensor));
    }
  }
  return state;
}

val to_wire(const nn::StateDict& state) {
  val entries = val::array();
  for (const auto& [key, parameter] : state) {
    val entry = val::array();
    entry.call<void>("push", key);
    entry.call<void>("push", std::visit([](const auto& one) { return to_wire(one); }, parameter));
    entries.call<void>("push", entry);
  }
  return entries;
}

}  // namespace octavo::bindings
