// Options of functions and modules, read from plain objects whose numbers JavaScript has checked.
#pragma once

#include <emscripten/val.h>

#include <array>
#include <cstdint>

#include "nn/functional.h"
#include "nn/wire.h"

namespace octavo::bindings {

inline std::int64_t integer_from(const emscripten::val& options, const char* key) {
  return static_cast<std::int64_t>(options[key].as<double>());
}
inline std::array<std::int64_t, 2> pair_from(const emscripten::val& options, const char* key) {
  const auto numbers = numbers_from<std::int64_t>(options[key]);
  return {numbers[0], numbers[1]};
}

// { kernelSize, stride, padding, dilation: pairs, ceilMode, countIncludePad, divisorOverride? }
nn::functional::Pool2d pool_from(const emscripten::val& options);

}  // namespace octavo::bindings
