// Shape, Size, ConstantOfShape, Range, Expand, Tile: what exporters write to compute shapes and to
// repeat tensors.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "base/text.h"
#include "kernels/copy/copy.h"
#include "ops/move.h"

namespace octavo::ops {

namespace {
constexpr AttrDef kShapeAttrs[] = {{"start", AttrType::kInt}, {"end", AttrType::kInt}};
constexpr AttrDef kConstantOfShapeAttrs[] = {{"value", AttrType::kTensor}};

// ---- Shape ----

// The dimensions that attributes start and end leave of the shape.
std::vector<std::int64_t> shape_slice(const Attrs& attrs, const Shape& shape) {
  const auto clamp = [&](std::int64_t index) {
    return std::clamp<std::int64_t>(index < 0 ? index + shape.rank() : index, 0, shape.rank());
  };
  const std::int64_t first = clamp(attrs.get_int("start", 0));
  const std::int64_t last = clamp(attrs.get_int("end", shape.rank()));
  if (first >= last) return {};
  return {shape.begin() + static_cast<std::ptrdiff_t>(first),
          shape.begin() + static_cast<std::ptrdiff_t>(last)};
}

Status infer_shape(InferContext& context) {
  OCTAVO_TRY(const Shape in, context.shape(0));
  context.set_output(0, DType::kInt64,
                     Shape{static_cast<std::int64_t>(shape_slice(context.attrs(), in).size())});
  return ok_status();
}

Result<Step> prepare_shape(const PrepareContext& context) {
  Step step;
  step.kernel = "shape";
  step.run = [dims = shape_slice(context.attrs(), context.in_shape(0))](const StepArgs& args, int,
                                                                        int) {
    if (!dims.empty()) std::memcpy(args.out[0], dims.data(), dims.size() * sizeof(std::int64_t));
  };
  return step;
}

// ---- Size ----

Status infer_size(InferContext& context) {
  context.set_output(0, DType::kInt64, Shape{});
  return ok_status();
}

Result<Step> prepare_size(const PrepareContext& context) {
  Step step;
  step.kernel = "size";
  step.run = [n = context.in_shape(0).elements()](const StepArgs& args, int, int) {
    std::memcpy(args.out[0], &n, sizeof n);
  };
  return step;
}

// ---- ConstantOfShape ----

// The value that fills, by default the float 0.
Tensor fill_value(const Attrs& attrs) {
  return attrs.get_tensor("value").value_or(Tensor::of<float>(Shape{1}, {0.0F}));
}

Status infer_constant_of_shape(InferContext& context) {
  const Tensor value = fill_value(context.attrs());
  if (value.elements() != 1)
    return context.error(Code::kInvalidModel, "The value has to be one element.");
  OCTAVO_TRY(const auto dims, constant_ints(context, 0));
  if (!dims) return ok_status();
  if (std::any_of(dims->begin(), dims->end(), [](std::int64_t dim) { return dim < 0; })) {
    return context.error(Code::kInvalidModel, text("[", join(*dims, ", "), "] is no shape."));
  }
  return set_output_checked(context, 0, value.dtype(), Shape(*dims));
}

Result<Step> prepare_constant_of_shape(const PrepareContext& context) {
  Step step;
  step.kernel = "fill";
  step.run = [value = fill_value(context.attrs()),
              count = static_cast<std::size_t>(context.out_shape().elements())](
                 const StepArgs& args, int, int) {
    kernels::fill(args.out[0], value.data(), dtype_size(value.dtype()), count);
  };
  return step;
}

// ---- Range ----

// NaN where delta is 0 and there is nothing to go; infinite where there is.
template <class T>
double range_length(T start, T limit, T delta) {
  return std::ceil((static_cast<double>(limit) - static_cast<double>(start)) /
                   static_cast<double>(delta));
}

template <class T>
T first_of(const Tensor& tensor) {
  return tensor.span<T>()[0];
}

Status infer_range(InferContext& context) {
  const DType dtype = context.input(0).dtype;
  const Tensor* parts[3];
  for (std::size_t i = 0; i < 3; ++i) {
    parts[i] = context.constant(i);
    if (context.input(i).dtype != dtype)
      return context.error(Code::kInvalidModel, "start, limit and delta differ in type.");
    if (parts[i] != nullptr && parts[i]->elements() != 1)
      return context.error(Code::kInvalidModel,
                           "start, limit and delta have to be single numbers.");
  }
  if (parts[0] == nullptr || parts[1] == nullptr || parts[2] == nullptr) {
    context.set_output(0, dtype, Shape{kUnknownDim});
    return ok_status();
  }
  double length = 0;
  if (dtype == DType::kInt64) {
    length = range_length(first_of<std::int64_t>(*parts[0]), first_of<std::int64_t>(*parts[1]),
                          first_of<std::int64_t>(*parts[2]));
  } else if (dtype == DType::kInt32) {
    length = range_length(first_of<std::int32_t>(*parts[0]), first_of<std::int32_t>(*parts[1]),
                          first_of<std::int32_t>(*parts[2]));
  } else if (dtype == DType::kFloat32) {
    length = range_length(first_of<float>(*parts[0]), first_of<float>(*parts[1]),
                          first_of<float>(*parts[2]));
  } else {
    return context.error(Code::kUnsupportedDtype,
                         text("Range of ", dtype_name(dtype), " is not supported."),
                         "Use int64, int32 or float32.");
  }
  if (!std::isfinite(length))
    return context.error(Code::kInvalidModel, "Its start, limit and delta give no range.",
                         "delta may not be 0.");
  if (length > static_cast<double>(kMaxElements))
    return context.error(Code::kLimitExceeded,
                         text("The range has ", length, " numbers, more than ", kMaxElements, "."));
  return set_output_checked(context, 0, dtype,
                            Shape{static_cast<std::int64_t>(std::max(length, 0.0))});
}

template <class T>
Step range_step(std::int64_t length) {
  Step step;
  step.kernel = "range";
  step.run = [length](const StepArgs& args, int, int) {
    T start, delta;
    std::memcpy(&start, args.in[0], sizeof start);
    std::memcpy(&delta, args.in[2], sizeof delta);
    auto* out = reinterpret_cast<T*>(args.out[0]);
    if constexpr (std::is_integral_v<T>) {
      // The last sum may go past the limit, and past the type: unsigned numbers may.
      std::uint64_t next = static_cast<std::uint64_t>(start);
      for (std::int64_t i = 0; i < length; ++i, next += static_cast<std::uint64_t>(delta))
        out[i] = static_cast<T>(next);
    } else {
      for (std::int64_t i = 0; i < length; ++i) out[i] = start + static_cast<T>(i) * delta;
    }
  };
  return step;
}

Result<Step> prepare_range(const PrepareContext& context) {
  const std::int64_t length = context.out_shape().elements();
  if (context.output().dtype == DType::kInt64) return range_step<std::int64_t>(length);
  if (context.output().dtype == DType::kInt32) return range_step<std::int32_t>(length);
  return range_step<float>(length);
}

// ---- Expand ----

Status infer_expand(InferContext& context) {
  OCTAVO_TRY(const Shape in, context.shape(0));
  OCTAVO_TRY(const auto dims, constant_ints(context, 1));
  if (!dims) {
    OCTAVO_TRY(const Shape list, context.shape(1));
    if (list.rank() == 1 && list[0] >= 0 && list[0] <= 64) {
      context.set_output(0, context.input(0).dtype,
                         unknown_shape(std::max(in.rank(), static_cast<int>(list[0]))));
    }
    return ok_status();
  }
  const Shape wanted(*dims);
  const bool negative =
      std::any_of(wanted.begin(), wanted.end(), [](std::int64_t dim) { return dim < 0; });
  std::optional<Shape> out = negative ? std::nullopt : broadcast_shapes(in, wanted);
  if (!out) {
    return context.error(
        Code::kShapeMismatch,
        text("Shape ", in.to_string(), " cannot be expanded to [", join(*dims, ", "), "]."));
  }
  return set_output_checked(context, 0, context.input(0).dtype, std::move(*out));
}

Result<Step> prepare_expand(const PrepareContext& context) {
  OCTAVO_CHECK_OK(check_same_grid(context));
  const Shape& out = context.out_shape();
  if (out.elements() == context.in_shape(0).elements()) return alias_step(context);
  Move move;
  move.dims = out.dims();
  move.from_strides = broadcast_strides(context.input(0), out);
  move.to_strides = strides_of(context.output());
  return move_step(context, "copy/expand", dtype_size(context.input(0).dtype), {std::move(move)});
}

// ---- Tile ----

Status infer_tile(InferContext& context) {
  OCTAVO_TRY(const Shape in, context.shape(0));
  OCTAVO_TRY(const auto repeats, constant_ints(context, 1));
  Shape out = unknown_shape(in.rank());
  if (repeats) {
    if (repeats->size() != static_cast<std::size_t>(in.rank())) {
      return context.error(Code::kInvalidModel, text("There are ", repeats->size(), " repeats for ",
                                                     in.rank(), " dimensions."));
    }
    for (int axis = 0; axis < in.rank(); ++axis) {
      const std::int64_t repeat = (*repeats)[static_cast<std::size_t>(axis)];
      if (repeat < 0 || repeat > kMaxElements)
        return context.error(repeat < 0 ? Code::kInvalidModel : Code::kLimitExceeded,
                             text("A repeat is ", repeat, "."));
      if (in[axis] >= 0) out[axis] = in[axis] * repeat;
    }
  }
  return set_output_checked(context, 0, context.input(0).dtype, std::move(out));
}

Result<Step> prepare_tile(const PrepareContext& context) {
  OCTAVO_CHECK_OK(check_same_grid(context));
  const Shape& in = context.in_shape(0);
  const Shape& out = context.out_shape();
  if (in == out) return alias_step(context);
  const std::vector<std::int64_t> from = strides_of(context.input(0)),
                                  to = strides_of(context.output());
  // Each axis is a pair: which copy (the source stands still), and the place inside it.
  Move move;
  for (int axis = 0; axis < in.rank(); ++axis) {
    const auto i = static_cast<std::size_t>(axis);
    move.dims.push_back(in[axis] == 0 ? 0 : out[axis] / in[axis]);
    move.from_strides.push_back(0);
    move.to_strides.push_back(to[i] * in[axis]);
    move.dims.push_back(in[axis]);
    move.from_strides.push_back(from[i]);
    move.to_strides.push_back(to[i]);
  }
  return move_step(context, "copy/tile", dtype_size(context.input(0).dtype), {std::move(move)});
}
}  // namespace

extern const OpDef kShape;
const OpDef kShape{"Shape",
                   "",
                   15,
                   1,
                   1,
                   1,
                   1,
                   kShapeAttrs,
                   LayoutRule::kAnyToRowMajor,
                   QuantRule::kFloat,
                   infer_shape,
                   prepare_shape};

extern const OpDef kSize;
const OpDef kSize{
    "Size",     "",          13, 1, 1, 1, 1, {}, LayoutRule::kAnyToRowMajor, QuantRule::kFloat,
    infer_size, prepare_size};

extern const OpDef kConstantOfShape;
const OpDef kConstantOfShape{"ConstantOfShape",
                             "",
                             9,
                             1,
                             1,
                             1,
                             1,
                             kConstantOfShapeAttrs,
                             LayoutRule::kRowMajor,
                             QuantRule::kFloat,
                             infer_constant_of_shape,
                             prepare_constant_of_shape,
                             nullptr,
                             "constant shape"};

extern const OpDef kRange;
const OpDef kRange{"Range",
                   "",
                   11,
                   3,
                   3,
                   1,
                   1,
                   {},
                   LayoutRule::kRowMajor,
                   QuantRule::kFloat,
                   infer_range,
                   prepare_range,
                   nullptr,
                   "constant bounds; int64, int32, float32"};

extern const OpDef kExpand;
const OpDef kExpand{"Expand",
                    "",
                    13,
                    2,
                    2,
                    1,
                    1,
                    {},
                    LayoutRule::kRowMajor,
                    QuantRule::kSameGrid,
                    infer_expand,
                    prepare_expand,
                    nullptr,
                    "constant shape"};

extern const OpDef kTile;
const OpDef kTile{"Tile",
                  "",
                  13,
                  2,
                  2,
                  1,
                  1,
                  {},
                  LayoutRule::kRowMajor,
                  QuantRule::kSameGrid,
                  infer_tile,
                  prepare_tile,
                  nullptr,
                  "constant repeats"};

}  // namespace octavo::ops
