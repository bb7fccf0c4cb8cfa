// Split: a tensor cut into pieces along an axis.
#include <numeric>

#include "base/text.h"
#include "ops/move.h"

namespace octavo::ops {

namespace {
constexpr AttrDef kAttrs[] = {{"axis", AttrType::kInt}};

Status infer(InferContext& context) {
  OCTAVO_TRY(const Shape in, context.shape(0));
  const auto axis = normalize_axis(context.attrs().get_int("axis", 0), in.rank());
  if (!axis) {
    return context.error(Code::kInvalidModel, text("axis = ", context.attrs().get_int("axis", 0),
                                                   " is out of range for ", in.to_string(), "."));
  }
  const std::int64_t size = in[*axis];
  const auto pieces = static_cast<std::int64_t>(context.output_count());
  std::vector<std::int64_t> parts(context.output_count(), kUnknownDim);
  OCTAVO_TRY(const auto given, constant_ints(context, 1));
  if (given) {
    parts = *given;
    std::int64_t sum = 0;
    bool valid = parts.size() == context.output_count();
    for (const std::int64_t part : parts) {
      valid = valid && part >= 0 && part <= kMaxElements - sum;
      if (valid) sum += part;
    }
    if (!valid || (size >= 0 && sum != size)) {
      return context.error(Code::kShapeMismatch,
                           text("split = [", join(parts, ", "), "] does not cut the ", size,
                                " of axis ", *axis, " into ", pieces, " outputs."));
    }
  } else if (!context.has_input(1) && size >= 0) {
    if (size % pieces != 0) {
      return context.error(Code::kShapeMismatch,
                           text("Axis ", *axis, " of ", in.to_string(), " cannot be cut into ",
                                pieces, " equal parts."));
    }
    for (std::int64_t& part : parts) part = size / pieces;
  }
  for (std::size_t i = 0; i < parts.size(); ++i) {
    Shape out = in;
    out[*axis] = parts[i];
    context.set_output(i, context.input(0).dtype, std::move(out));
  }
  return ok_status();
}

Result<Step> prepare(const PrepareContext& context) {
  OCTAVO_CHECK_OK(check_same_grid(context));
  const Value& in = context.input(0);
  const auto axis = normalize_axis(context.attrs().get_int("axis", 0), in.shape->rank());
  if (!axis) return context.error(Code::kInvalidModel, "The axis is out of range.");
  // An output that nobody names still takes its place: with a given split by its length, else by
  // the even one.
  std::vector<std::int64_t> parts(
      context.output_count(),
      (*in.shape)[*axis] / static_cast<std::int64_t>(context.output_count()));
  if (context.has_input(1)) {
    const Tensor* given = context.constant(1);
    if (given == nullptr)
      return context.error(Code::kUnsupportedOp, "The lengths have to be constant.");
    parts = to_int64s(*given);
  }
  const std::vector<std::int64_t> strides = strides_of(in);
  std::vector<Move> moves;
  std::int64_t position = 0;
  for (std::size_t i = 0; i < context.output_count(); ++i) {
    if (context.node().output(i) != kNoValue) {
      Move move;
      move.output = i;
      move.dims = context.out_shape(i).dims();
      move.from_strides = strides;
      move.to_strides = strides_of(context.output(i));
      move.from = position * strides[static_cast<std::size_t>(*axis)];
      moves.push_back(std::move(move));
    }
    position += parts[i];
  }
  return move_step(context, "copy/split", dtype_size(in.dtype), std::move(moves));
}
}  // namespace

extern const OpDef kSplit;
const OpDef kSplit{"Split",
                   "",
                   13,
                   1,
                   2,
                   1,
                   -1,
                   kAttrs,
                   LayoutRule::kFollow,
                   QuantRule::kSameGrid,
                   infer,
                   prepare,
                   nullptr,
                   "constant lengths"};

}  // namespace octavo::ops
