// Elements of any dtype read and written one by one, and walks over strided tensors: for ops whose
// time does not matter, so that one loop serves all dtypes and ranks.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/lut/lut.h"
#include "ops/move.h"

namespace octavo::ops {

// Element i as a double. Integers beyond 2^53 lose their last bits.
using LoadElement = double (*)(const std::byte* data, std::int64_t i);
// The number as an element: integers saturate, NaN gives 0.
using StoreElement = void (*)(std::byte* data, std::int64_t i, double value);
// nullptr where the dtype is none of float32, int64, int32, uint32, uint8, int8, bool.
LoadElement load_element(DType dtype);
StoreElement store_element(DType dtype);

// Element i of an integer dtype (or bool) exactly; nullptr for others.
using LoadInteger = std::int64_t (*)(const std::byte* data, std::int64_t i);
LoadInteger load_integer(DType dtype);

// int64 or int32.
inline bool is_index(DType dtype) { return dtype == DType::kInt64 || dtype == DType::kInt32; }
// Indices that a step reads, of int64 or int32. What is computed at run time may be anything: the
// first one outside its axis is the step's status.
class Indices {
 public:
  Indices(const PrepareContext& context, std::size_t input, Step& step);
  void begin() const { state_->status = ok_status(); }
  // Index i, counted from the end where it is negative; -1 where it is outside [0, size).
  std::int64_t at(const StepArgs& args, std::int64_t i, std::int64_t size) const;

 private:
  struct State {
    std::size_t input;
    LoadInteger load;
    std::string where;
    Status status;
  };
  std::shared_ptr<State> state_;
};

// A row-major walk over `dims` with an offset for each operand.
template <std::size_t Operands>
struct Walk {
  std::vector<std::int64_t> dims;
  std::array<std::vector<std::int64_t>, Operands> strides;
  std::int64_t count = 0;

  // body(i, offsets), i counting the places.
  template <class Body>
  void run(Body&& body) const {
    run(0, count, body);
  }
  // Of the places [first, last).
  template <class Body>
  void run(std::int64_t first, std::int64_t last, Body&& body) const {
    for (std::int64_t i = first; i < last; ++i) {
      std::array<std::int64_t, Operands> offsets{};
      std::int64_t rest = i;
      for (std::size_t d = dims.size(); d-- > 0;) {
        const std::int64_t index = rest % dims[d];
        rest /= dims[d];
        for (std::size_t k = 0; k < Operands; ++k) offsets[k] += index * strides[k][d];
      }
      body(i, offsets);
    }
  }
};

// Over the output in its memory order; the first inputs are broadcast to it. Shared, so that a step
// that holds it is cheap to copy.
template <std::size_t Operands>
std::shared_ptr<const Walk<Operands>> broadcast_walk(const PrepareContext& context) {
  auto made = std::make_shared<Walk<Operands>>();
  Walk<Operands>& walk = *made;
  const Shape& out = context.out_shape();
  const Layout layout = context.output().layout;
  walk.dims = physical_dims(out, layout);
  walk.count = out.elements();
  for (std::size_t k = 0; k < Operands; ++k) {
    const std::vector<std::int64_t> logical = broadcast_strides(context.input(k), out);
    walk.strides[k].resize(logical.size());
    for (int axis = 0; axis < out.rank(); ++axis) {
      walk.strides[k][static_cast<std::size_t>(physical_axis(axis, out.rank(), layout))] =
          logical[static_cast<std::size_t>(axis)];
    }
  }
  return made;
}

// The shape to which all inputs are broadcast together, or an error that names two that do not fit.
Result<Shape> broadcast_inputs(const InferContext& context);

// A row-major tensor as [outer][n][inner] around one axis.
struct AroundAxis {
  std::int64_t outer = 1, n = 1, inner = 1;
};
AroundAxis around_axis(const Shape& shape, int axis);

// The attribute (or its default) as an axis of a tensor of this rank; an error naming it otherwise.
Result<int> axis_attribute(const InferContext& context, std::string_view name,
                           std::int64_t fallback, int rank);
// The same of a node whose shapes have been inferred, so the axis is right.
int axis_of(const PrepareContext& context, std::string_view name, std::int64_t fallback, int rank);

// An error unless input i is absent or one number of this type.
Status one_number(const InferContext& context, std::size_t i, DType dtype);
// Input i of a step: absent, or its first number.
template <class T>
T number_or(const StepArgs& args, std::size_t i, T absent) {
  return i < args.in.size() && args.in[i] != nullptr ? *reinterpret_cast<const T*>(args.in[i])
                                                     : absent;
}

// An error unless the two inputs have one dtype.
Status same_dtype(const InferContext& context, std::size_t a, std::size_t b);

// A plain loop over `count` results of so many rounds each, cut into blocks of tens of
// microseconds (longer ones where there would be more than a number counts): threads share them,
// and a run can be given up between them.
class LoopBlocks {
 public:
  LoopBlocks(std::int64_t count, std::int64_t rounds_of_one)
      : count_(count),
        each_(std::max(kRounds / std::max<std::int64_t>(1, rounds_of_one), count / kMost + 1)) {}
  int blocks() const { return static_cast<int>((count_ + each_ - 1) / each_); }
  // The first result of a block, and of the one behind the last.
  std::int64_t begin(int block) const { return std::min(count_, block * each_); }

 private:
  static constexpr std::int64_t kRounds = 1 << 14;
  static constexpr std::int64_t kMost = 1 << 30;
  std::int64_t count_, each_;
};

// A step over `n` elements that do not depend on each other: body(args, from, count), in pieces.
template <class Body>
Step step_in_pieces(std::string_view kernel, std::int64_t n, Body body) {
  const LoopBlocks pieces(n, 1);
  Step step;
  step.kernel = kernel;
  step.blocks = pieces.blocks();
  step.run = [pieces, body = std::move(body)](const StepArgs& args, int first, int last) {
    const std::int64_t from = pieces.begin(first);
    body(args, from, static_cast<std::size_t>(pieces.begin(last) - from));
  };
  return step;
}

// The table's code for each code of input `from`, which has the output's shape.
Step lut_step(const PrepareContext& context, const kernels::Table256& table, std::size_t from);

}  // namespace octavo::ops
