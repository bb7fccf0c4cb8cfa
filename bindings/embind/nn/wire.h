// Tensors as plain objects of JavaScript, which owns their memory:
//
//   { dtype, shape, bytes }                                             a Tensor, row-major
//   { dtype, shape, bytes, scheme, scales, zeroPoints, axis, format }   a QTensor, as it lies
//
// So the garbage collector sees what a tensor weighs and frees it; the wasm memory holds tensors
// only while a call lasts.
#pragma once

#include <emscripten/val.h>

#include <string>
#include <vector>

#include "base/result.h"
#include "nn/engine.h"
#include "nn/qtensor.h"
#include "nn/state_dict.h"
#include "tensor/tensor.h"

namespace octavo::bindings {

Result<Tensor> tensor_from(const emscripten::val& wire);
Result<nn::QTensor> qtensor_from(const emscripten::val& wire);
emscripten::val to_wire(const Tensor& tensor);
emscripten::val to_wire(const nn::QTensor& tensor);

// [[key, tensor], ...]
Result<nn::StateDict> state_from(const emscripten::val& entries);
emscripten::val to_wire(const nn::StateDict& state);

Result<nn::ScalarType> scalar_type_from(const emscripten::val& name);
Result<nn::QScheme> qscheme_from(const emscripten::val& name);
// { scales, zeroPoints, axis?, scheme }; not checked against a dtype and a shape yet.
Result<nn::QGrid> grid_from(const emscripten::val& object);
// torch's name of an engine (undefined: onednn), with the kernels of this machine.
Result<nn::Backend> backend_from(const emscripten::val& name);

template <class T>
std::vector<T> numbers_from(const emscripten::val& array) {
  const std::vector<double> numbers = emscripten::convertJSArrayToNumberVector<double>(array);
  std::vector<T> out;
  out.reserve(numbers.size());
  for (const double number : numbers) out.push_back(static_cast<T>(number));
  return out;
}

template <class T>
emscripten::val to_array(const std::vector<T>& values) {
  emscripten::val array = emscripten::val::array();
  for (const T value : values) array.call<void>("push", static_cast<double>(value));
  return array;
}

inline Result<emscripten::val> none(const Status& status) {
  if (!status.ok()) return status.error();
  return emscripten::val::undefined();
}

}  // namespace octavo::bindings
