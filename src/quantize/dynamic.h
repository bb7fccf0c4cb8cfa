// Quantization without samples.
#pragma once

#include <string_view>

#include "base/result.h"
#include "quantize/model.h"

namespace octavo::quantize {

// Gemm, MatMul and Conv with int8 weights (passes/quantize_dynamic.h). Options JSON, all optional:
// { mode: 'dynamic'|'weightOnly',
//   weight: { scheme, scale, reduceRange }  as a QuantizeJob's
//   exclude: as a QuantizeJob's }
// INVALID_STATE where the model is quantized already.
Result<Model> quantize_dynamic(const Model& model, std::string_view options_json);

}  // namespace octavo::quantize
