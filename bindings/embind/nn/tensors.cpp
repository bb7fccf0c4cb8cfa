// Quantized tensors: torch.quantize_per_tensor and its kin, as functions of plain objects.
#include <emscripten/bind.h>

#include "base/error_codes.h"
#include "nn/wire.h"
#include "outcome.h"
#include "simd/engine_class.h"

namespace octavo::bindings {

namespace {

using emscripten::val;

template <class T>
Result<val> wired(Result<T> result) {
  if (!result.ok()) return result.error();
  return to_wire(*result);
}

// x: a Tensor; grid: { scales, zeroPoints, axis?, scheme }, the axis possibly from the end.
val quantize(val x, val grid, val dtype) {
  return outcome([&]() -> Result<val> {
    OCTAVO_TRY(const Tensor tensor, tensor_from(x));
    OCTAVO_TRY(const nn::ScalarType type, scalar_type_from(dtype));
    OCTAVO_TRY(nn::QGrid own, grid_from(grid));
    if (own.axis) own.axis = normalize_axis(*own.axis, tensor.shape().rank()).value_or(*own.axis);
    return wired(nn::quantize(tensor, own, type));
  });
}

// codes: a Tensor; grid: { scales, zeroPoints, axis?, scheme }.
val make_quantized(val codes, val grid) {
  return outcome([&]() -> Result<val> {
    OCTAVO_TRY(const Tensor tensor, tensor_from(codes));
    OCTAVO_TRY(const nn::QGrid own, grid_from(grid));
    return wired(nn::make_quantized_tensor(tensor, own));
  });
}

template <class Function>
val of_qtensor(const val& x, Function function) {
  return outcome([&]() -> Result<val> {
    OCTAVO_TRY(const nn::QTensor tensor, qtensor_from(x));
    return function(tensor);
  });
}

val dequantize(val x) {
  return of_qtensor(x, [](const nn::QTensor& q) { return to_wire(q.dequantize()); });
}
val int_repr(val x) {
  return of_qtensor(x, [](const nn::QTensor& q) { return to_wire(q.int_repr()); });
}
val contiguous(val x, bool channels_last) {
  return of_qtensor(x, [channels_last](const nn::QTensor& q) {
    return to_wire(q.contiguous(channels_last ? nn::MemoryFormat::kChannelsLast
                                              : nn::MemoryFormat::kContiguous));
  });
}
val print(val x) {
  return of_qtensor(x, [](const nn::QTensor& q) { return val(q.to_string()); });
}

std::string engine_class() {
  return std::string(simd::engine_class_name(simd::probe_engine_class()));
}

// Of the whole module: it grows, and never shrinks.
double memory_bytes() { return static_cast<double>(__builtin_wasm_memory_size(0)) * 65536; }

}  // namespace

EMSCRIPTEN_BINDINGS(octavo_nn_tensors) {
  using emscripten::function;
  function("quantize", &quantize);
  function("makeQuantized", &make_quantized);
  function("dequantize", &dequantize);
  function("intRepr", &int_repr);
  function("contiguous", &contiguous);
  function("print", &print);
  function("engineClass", &engine_class);
  function("memoryBytes", &memory_bytes);
}

}  // namespace octavo::bindings
