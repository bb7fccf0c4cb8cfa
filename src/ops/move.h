// Steps that only move elements: Transpose, Slice, Concat, Split, Expand, Tile, layout conversions,
// ...
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "kernels/lut/lut.h"
#include "ops/op.h"

namespace octavo::ops {

// A box of elements copied from an input to an output:
//   out[to + sum_d i_d * to_strides[d]] = in[from + sum_d i_d * from_strides[d]]   for 0 <= i_d <
//   dims[d]
// in elements; a from_stride may be 0 (the element is repeated) or negative.
struct Move {
  std::size_t input = 0, output = 0;
  std::vector<std::int64_t> dims, from_strides, to_strides;
  std::int64_t from = 0, to = 0;
  // Applied to each code on its way, where the two grids differ.
  std::optional<kernels::Table256> table;
  float slope = 0;  // of a table that is nearly a line, so that a faster form is found; else 0
};

// A step that makes all the moves, one after the other or on several threads.
Step move_step(const PrepareContext& context, std::string_view kernel, std::size_t element_size,
               std::vector<Move> moves);

// A step whose output has exactly the bytes of input 0, copied only where memory is not shared.
Step alias_step(const PrepareContext& context);

// Does the tensor's row-major order equal its order in `layout`?
bool same_order(const Shape& shape, Layout layout);

// Strides of a value's elements along its logical axes, as it lies in memory.
inline std::vector<std::int64_t> strides_of(const Value& value) {
  return octavo::strides_of(*value.shape, value.layout);
}

// An error where codes would change their meaning: ops that move codes keep their grid.
Status check_same_grid(const PrepareContext& context);

// Sets the shape and refuses one with too many elements.
Status set_output_checked(InferContext& context, std::size_t i, DType dtype, Shape shape);
// Output 0 with one dimension that a run alone knows, at most `most` (Value::counted).
Status set_counted(InferContext& context, DType dtype, Shape shape, std::int64_t most);

// The elements of input i as int64, where it is a constant of an integer dtype; nothing where it is
// not constant. An error when it is constant but no list of integers (rank above 1).
Result<std::optional<std::vector<std::int64_t>>> constant_ints(const InferContext& context,
                                                               std::size_t i);

// Where the shape that results has `rank` dimensions that are not known.
Shape unknown_shape(int rank);

// ONNX's multidirectional broadcasting of two shapes; unknown dimensions stay unknown unless the
// other side is larger than 1. Nothing when they do not fit.
std::optional<Shape> broadcast_shapes(const Shape& a, const Shape& b);

// Strides of `value` along the axes of `out` when broadcast to it (0 where it repeats).
std::vector<std::int64_t> broadcast_strides(const Value& value, const Shape& out);

}  // namespace octavo::ops
