// What Conv, Gemm and MatMul share on codes: integer weights and bias, the scales of the outputs,
// the form of the output.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/qconv/qconv.h"
#include "ops/op.h"

namespace octavo::ops {

// code - zero point = sum of `parts`, each in the order of the tensor. Kernels take weights of 8
// bits with zero point 0, which a difference may leave (uint8 around 121): what is too much goes to
// a second part, a second tap on the same input.
class IntegerWeights {
 public:
  IntegerWeights() = default;
  IntegerWeights(IntegerWeights&&) = default;  // a copy's parts would lie in the original
  IntegerWeights& operator=(IntegerWeights&&) = default;

  std::vector<std::span<const std::int8_t>> parts;  // one, rarely two or three
  std::vector<float> scale;                         // one, or one an output channel

  void add(std::vector<std::int8_t> part);
  // Other numbers, or another order, for part i.
  void replace(std::size_t i, std::vector<std::int8_t> part);
  // Rows of `row` weights (an output channel each) of the first part, each followed by its rows of
  // the other parts; valid as long as this is.
  std::span<const std::int8_t> joined_rows(std::int64_t row);

 private:
  std::vector<std::vector<std::int8_t>> owned_;  // what is not the tensor's own
};

// Constant int8 or uint8 weights with any zero points.
Result<IntegerWeights> integer_weights(const PrepareContext& context, std::size_t i,
                                       std::int64_t channels);

// Constant int32 bias on the grid scale_x * scale_w; empty where the node has none.
Result<std::vector<std::int32_t>> integer_bias(const PrepareContext& context, std::size_t i,
                                               std::int64_t channels);

// What sums are multiplied with, f32: alpha * scale_x * scale_w[n] / scale_y to codes (ONNX
// Runtime's order of operations), alpha * scale_x * scale_w[n] to floats.
Result<std::vector<float>> output_scales(const PrepareContext& context,
                                         const IntegerWeights& weights, std::int64_t channels,
                                         float alpha = 1.0F);

struct OutputForm {
  kernels::QConvOutput output;
  std::int32_t zero, lo, hi;  // with the fused activation's bounds
  std::int64_t element_bytes;
};
OutputForm output_form(const PrepareContext& context);

}  // namespace octavo::ops
