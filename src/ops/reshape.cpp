// Reshape, Flatten, Squeeze, Unsqueeze: the same elements in row-major order under another shape.
#include "base/text.h"
#include "ops/move.h"

namespace octavo::ops {

namespace {
constexpr AttrDef kReshapeAttrs[] = {{"allowzero", AttrType::kInt}};
constexpr AttrDef kFlattenAttrs[] = {{"axis", AttrType::kInt}};

// Row-major elements of the input written row-major under the output's shape.
Result<Step> prepare(const PrepareContext& context) {
  OCTAVO_CHECK_OK(check_same_grid(context));
  const Value& in = context.input(0);
  if (same_order(*in.shape, in.layout)) return alias_step(context);
  Move move;
  move.dims = in.shape->dims();
  move.from_strides = strides_of(in);
  move.to_strides = octavo::strides_of(*in.shape, Layout::kRowMajor);
  return move_step(context, "copy/to-row-major", dtype_size(in.dtype), {std::move(move)});
}

Status infer_reshape(InferContext& context) {
  const DType dtype = context.input(0).dtype;
  OCTAVO_TRY(const Shape in, context.shape(0));
  OCTAVO_TRY(const auto wanted, constant_ints(context, 1));
  if (!wanted) {
    OCTAVO_TRY(const Shape list, context.shape(1));
    if (list.rank() != 1)
      return context.error(Code::kInvalidModel, "The shape has to be a list of integers.");
    // A rank that large is nothing but an attack.
    if (list[0] >= 0 && list[0] <= 64)
      context.set_output(0, dtype, unknown_shape(static_cast<int>(list[0])));
    return ok_status();
  }
  Shape out(*wanted);
  const bool allow_zero = context.attrs().get_int("allowzero", 0) != 0;
  int open = -1;
  for (int axis = 0; axis < out.rank(); ++axis) {
    if (out[axis] == 0 && !allow_zero) {
      if (axis >= in.rank()) {
        return context.error(Code::kShapeMismatch,
                             text("Dimension ", axis, " is to be copied from ", in.to_string(),
                                  ", which does not have it."));
      }
      out[axis] = in[axis];
    } else if (out[axis] == -1) {
      if (open >= 0)
        return context.error(Code::kInvalidModel, text("More than one dimension of ",
                                                       Shape(*wanted).to_string(), " is open."));
      open = axis;
    } else if (out[axis] < 0) {
      return context.error(Code::kInvalidModel,
                           text("A dimension of the shape is ", out[axis], "."));
    }
  }
  const auto mismatch = [&] {
    return context.error(Code::kShapeMismatch,
                         text("A tensor of shape ", in.to_string(), " cannot take the shape [",
                              join(*wanted, ", "), "]."));
  };
  if (open < 0) {
    const auto elements = in.checked_elements();
    if (elements && out.known() && out.checked_elements() != elements) return mismatch();
    return set_output_checked(context, 0, dtype, std::move(out));
  }
  // in / out element by element, leaving out dimensions that both sides copy even when they are
  // unknown.
  Shape in_rest = in, out_rest = out;
  out_rest[open] = 1;
  if (!allow_zero) {
    for (int axis = 0; axis < out.rank() && axis < in.rank(); ++axis) {
      if ((*wanted)[static_cast<std::size_t>(axis)] == 0 && in[axis] != 0)
        in_rest[axis] = out_rest[axis] = 1;
    }
  }
  const auto elements = in_rest.checked_elements();
  const auto others = out_rest.checked_elements();
  if (elements && others) {
    if (*others == 0 ? *elements != 0 : *elements % *others != 0) return mismatch();
    out[open] = *others == 0 ? 0 : *elements / *others;
  }
  return set_output_checked(context, 0, dtype, std::move(out));
}

Status infer_flatten(InferContext& context) {
  OCTAVO_TRY(const Shape in, context.shape(0));
  std::int64_t axis = context.attrs().get_int("axis", 1);
  if (axis < -in.rank() || axis > in.rank()) {
    return context.error(Code::kInvalidModel,
                         text("axis = ", axis, " is out of range for ", in.to_string(), "."));
  }
  if (axis < 0) axis += in.rank();
  Shape outer, inner;
  for (int i = 0; i < in.rank(); ++i) (i < axis ? outer : inner).dims().push_back(in[i]);
  const auto product = [](const Shape& shape) {
    return shape.checked_elements().value_or(kUnknownDim);
  };
  if (in.known() && !in.checked_elements()) {
    return context.error(Code::kLimitExceeded, text("Shape ", in.to_string(), " is too large."));
  }
  context.set_output(0, context.input(0).dtype, Shape{product(outer), product(inner)});
  return ok_status();
}

// The listed axes as flags over `rank` dimensions.
Result<std::vector<bool>> axis_flags(const InferContext& context,
                                     const std::vector<std::int64_t>& axes, int rank) {
  std::vector<bool> flags(static_cast<std::size_t>(rank), false);
  for (const std::int64_t axis : axes) {
    const auto normal = normalize_axis(axis, rank);
    if (!normal)
      return context.error(Code::kInvalidModel,
                           text("Axis ", axis, " is out of range for rank ", rank, "."));
    if (flags[static_cast<std::size_t>(*normal)])
      return context.error(Code::kInvalidModel, text("Axis ", axis, " is named twice."));
    flags[static_cast<std::size_t>(*normal)] = true;
  }
  return flags;
}

Status infer_squeeze(InferContext& context) {
  OCTAVO_TRY(const Shape in, context.shape(0));
  OCTAVO_TRY(const auto axes, constant_ints(context, 1));
  std::vector<bool> squeezed(static_cast<std::size_t>(in.rank()), false);
  if (axes) {
    OCTAVO_TRY(squeezed, axis_flags(context, *axes, in.rank()));
  } else {
    // Without axes the rank depends on which dimensions are 1.
    if (context.has_input(1) || !in.known()) return ok_status();
    for (int i = 0; i < in.rank(); ++i) squeezed[static_cast<std::size_t>(i)] = in[i] == 1;
  }
  Shape out;
  for (int i = 0; i < in.rank(); ++i) {
    if (!squeezed[static_cast<std::size_t>(i)]) {
      out.dims().push_back(in[i]);
    } else if (in[i] > 1 || in[i] == 0) {
      return context.error(Code::kShapeMismatch,
                           text("Axis ", i, " of ", in.to_string(), " is not 1."));
    }
  }
  context.set_output(0, context.input(0).dtype, std::move(out));
  return ok_status();
}

Status infer_unsqueeze(InferContext& context) {
  OCTAVO_TRY(const Shape in, context.shape(0));
  OCTAVO_TRY(const auto axes, constant_ints(context, 1));
  if (!axes) return ok_status();
  if (axes->size() > 64)
    return context.error(Code::kInvalidModel, "More than 64 axes are not supported.");
  const int rank = in.rank() + static_cast<int>(axes->size());
  OCTAVO_TRY(const std::vector<bool> added, axis_flags(context, *axes, rank));
  Shape out;
  int next = 0;
  for (int i = 0; i < rank; ++i)
    out.dims().push_back(added[static_cast<std::size_t>(i)] ? 1 : in[next++]);
  context.set_output(0, context.input(0).dtype, std::move(out));
  return ok_status();
}
}  // namespace

extern const OpDef kReshape;
const OpDef kReshape{"Reshape",
                     "",
                     14,
                     2,
                     2,
                     1,
                     1,
                     kReshapeAttrs,
                     LayoutRule::kAnyToRowMajor,
                     QuantRule::kSameGrid,
                     infer_reshape,
                     prepare,
                     nullptr,
                     "the shape has to be known when the session is made"};

extern const OpDef kFlatten;
const OpDef kFlatten{"Flatten",
                     "",
                     13,
                     1,
                     1,
                     1,
                     1,
                     kFlattenAttrs,
                     LayoutRule::kAnyToRowMajor,
                     QuantRule::kSameGrid,
                     infer_flatten,
                     prepare};

extern const OpDef kSqueeze;
const OpDef kSqueeze{
    "Squeeze",     "",     13, 1, 2, 1, 1, {}, LayoutRule::kAnyToRowMajor, QuantRule::kSameGrid,
    infer_squeeze, prepare};

extern const OpDef kUnsqueeze;
const OpDef kUnsqueeze{
    "Unsqueeze",     "",     13, 2, 2, 1, 1, {}, LayoutRule::kAnyToRowMajor, QuantRule::kSameGrid,
    infer_unsqueeze, prepare};

}  // namespace octavo::ops
