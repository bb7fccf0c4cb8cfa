// What Conv, Gemm and MatMul share on codes: integer weights and bias, the scales of the outputs, the form of the output.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/qconv/qconv.h"
#include "ops/op.h"

namespace octavo::ops {

struct IntegerWeights {
  std::vector<std::int8_t> codes;  // in the order of the tensor
  std::vector<float> scale;        // one, or one an output channel
};

// Constant int8 weights with zero point 0, or uint8 ones with zero point 128 (the same, shifted).
Result<IntegerWeights> integer_weights(const PrepareContext& context, std::size_t i, std::int64_t channels);

// Constant int32 bias on the grid scale_x * scale_w; empty where the node has none.
Result<std::vector<std::int32_t>> integer_bias(const PrepareContext& context, std::size_t i, std::int64_t channels);

// What sums are multiplied with, f32: scale_x * scale_w[n] / scale_y to codes (ONNX Runtime's order of operations),
// scale_x * scale_w[n] to floats.
Result<std::vector<float>> output_scales(const PrepareContext& context, const IntegerWeights& weights, std::int64_t channels);

struct OutputForm {
  kernels::QConvOutput output;
  std::int32_t zero, lo, hi;  // with the fused activation's bounds
  std::int64_t element_bytes;
};
OutputForm output_form(const PrepareContext& context);

}  // namespace octavo::ops
