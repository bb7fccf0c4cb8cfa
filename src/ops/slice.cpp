// Slice: a box with steps cut out of a tensor.
#include <algorithm>

#include "base/text.h"
#include "ops/move.h"

namespace octavo::ops {

namespace {
// out[i] = in[start + i * step] for i < length, along one axis.
struct Range {
  std::int64_t start, step, length;
};

// ONNX Slice-13: negative starts and ends count from the end, both are clamped, steps may be
// negative.
Range clamp_range(std::int64_t start, std::int64_t end, std::int64_t step, std::int64_t size) {
  const auto from_end = [size](std::int64_t index) { return index < 0 ? index + size : index; };
  if (step > 0) {
    start = std::clamp(from_end(start), std::int64_t{0}, size);
    end = std::clamp(from_end(end), std::int64_t{0}, size);
    const std::int64_t span = end - start;
    return {start, step, span <= 0 ? 0 : (span - 1) / step + 1};
  }
  start = std::clamp(from_end(start), std::int64_t{-1}, size - 1);
  end = std::clamp(from_end(end), std::int64_t{-1}, size - 1);
  const std::int64_t span = start - end;
  // -(step + 1) + 1 without the overflow that -INT64_MIN would be.
  const std::uint64_t magnitude = static_cast<std::uint64_t>(-(step + 1)) + 1;
  return {start, step,
          span <= 0
              ? 0
              : static_cast<std::int64_t>(static_cast<std::uint64_t>(span - 1) / magnitude) + 1};
}

struct Bounds {
  std::vector<std::int64_t> starts, ends, axes, steps;
};

// Fills in default axes and steps; an error text when the lists do not go together.
std::string complete(Bounds& bounds, bool has_axes, bool has_steps, int rank) {
  const std::size_t count = bounds.starts.size();
  if (!has_axes) {
    for (std::size_t i = 0; i < count; ++i) bounds.axes.push_back(static_cast<std::int64_t>(i));
  }
  if (!has_steps) bounds.steps.assign(count, 1);
  if (bounds.ends.size() != count || bounds.axes.size() != count || bounds.steps.size() != count) {
    return "starts, ends, axes and steps have different lengths.";
  }
  std::vector<bool> seen(static_cast<std::size_t>(rank), false);
  for (std::size_t i = 0; i < count; ++i) {
    const auto axis = normalize_axis(bounds.axes[i], rank);
    if (!axis) return text("Axis ", bounds.axes[i], " is out of range for rank ", rank, ".");
    if (seen[static_cast<std::size_t>(*axis)]) return text("Axis ", *axis, " is named twice.");
    seen[static_cast<std::size_t>(*axis)] = true;
    bounds.axes[i] = *axis;
    if (bounds.steps[i] == 0) return "A step is 0.";
  }
  return "";
}

Status infer(InferContext& context) {
  OCTAVO_TRY(const Shape in, context.shape(0));
  const DType dtype = context.input(0).dtype;
  OCTAVO_TRY(const auto starts, constant_ints(context, 1));
  OCTAVO_TRY(const auto ends, constant_ints(context, 2));
  OCTAVO_TRY(const auto axes, constant_ints(context, 3));
  OCTAVO_TRY(const auto steps, constant_ints(context, 4));
  if (!starts || !ends || (context.has_input(3) && !axes) || (context.has_input(4) && !steps)) {
    context.set_output(0, dtype, unknown_shape(in.rank()));
    return ok_status();
  }
  Bounds bounds{*starts, *ends, axes.value_or(std::vector<std::int64_t>{}),
                steps.value_or(std::vector<std::int64_t>{})};
  if (std::string wrong = complete(bounds, axes.has_value(), steps.has_value(), in.rank());
      !wrong.empty()) {
    return context.error(Code::kInvalidModel, std::move(wrong));
  }
  Shape out = in;
  for (std::size_t i = 0; i < bounds.axes.size(); ++i) {
    std::int64_t& dim = out[static_cast<int>(bounds.axes[i])];
    if (dim >= 0) dim = clamp_range(bounds.starts[i], bounds.ends[i], bounds.steps[i], dim).length;
  }
  context.set_output(0, dtype, std::move(out));
  return ok_status();
}

Result<Step> prepare(const PrepareContext& context) {
  OCTAVO_CHECK_OK(check_same_grid(context));
  const Value& in = context.input(0);
  Bounds bounds;
  std::vector<std::int64_t>* lists[] = {&bounds.starts, &bounds.ends, &bounds.axes, &bounds.steps};
  for (std::size_t i = 0; i < 4; ++i) {
    if (!context.has_input(i + 1)) continue;
    const Tensor* list = context.constant(i + 1);
    if (list == nullptr)
      return context.error(Code::kUnsupportedOp,
                           "Starts, ends, axes and steps have to be constant.");
    *lists[i] = to_int64s(*list);
  }
  if (std::string wrong =
          complete(bounds, context.has_input(3), context.has_input(4), in.shape->rank());
      !wrong.empty()) {
    return context.error(Code::kInvalidModel, std::move(wrong));
  }
  Move move;
  move.dims = context.out_shape().dims();
  move.from_strides = strides_of(in);
  move.to_strides = strides_of(context.output());
  for (std::size_t i = 0; i < bounds.axes.size(); ++i) {
    const auto axis = static_cast<std::size_t>(bounds.axes[i]);
    const Range range = clamp_range(bounds.starts[i], bounds.ends[i], bounds.steps[i],
                                    (*in.shape)[static_cast<int>(axis)]);
    if (range.length == 0) continue;  // nothing is copied
    move.from += range.start * move.from_strides[axis];
    // A step beyond the size with one element is never taken; the product may not even fit.
    if (range.length > 1) move.from_strides[axis] *= range.step;
  }
  if (*in.shape == context.out_shape() && move.from == 0 && in.layout == context.output().layout &&
      move.from_strides == strides_of(in)) {
    return alias_step(context);
  }
  return move_step(context, "copy/slice", dtype_size(in.dtype), {std::move(move)});
}
}  // namespace

extern const OpDef kSlice;
const OpDef kSlice{"Slice",
                   "",
                   13,
                   3,
                   5,
                   1,
                   1,
                   {},
                   LayoutRule::kFollow,
                   QuantRule::kSameGrid,
                   infer,
                   prepare,
                   nullptr,
                   "constant bounds"};

}  // namespace octavo::ops
