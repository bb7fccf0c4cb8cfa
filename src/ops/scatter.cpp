// ScatterElements and ScatterND: a copy of a tensor with elements or slices put in at computed
// places, or joined with what is there (reduction = add, mul, min, max).
//
//   ScatterElements  out[i0, .., indices[i0, .., ia, ..], ..] = updates[i0, .., ia, ..]
//   ScatterND        out[indices[i]] = updates[i]     indices' last axis holds an index each
//
// Updates are made in their order; one whose index is outside is left out.
#include <algorithm>
#include <cstring>

#include "base/text.h"
#include "ops/element.h"

namespace octavo::ops {

namespace {
constexpr AttrDef kElementsAttrs[] = {{"axis", AttrType::kInt}, {"reduction", AttrType::kString}};
constexpr AttrDef kNdAttrs[] = {{"reduction", AttrType::kString}};

enum class Join { kReplace, kAdd, kMul, kMin, kMax };
struct Row {
  std::string_view name;
  Join join;
};
constexpr Row kJoins[] = {{"none", Join::kReplace},
                          {"add", Join::kAdd},
                          {"mul", Join::kMul},
                          {"min", Join::kMin},
                          {"max", Join::kMax}};
std::optional<Join> join_of(const Attrs& attrs) {
  const std::string name = attrs.get_string("reduction", "none");
  for (const Row& row : kJoins) {
    if (row.name == name) return row.join;
  }
  return std::nullopt;
}

Status check(const InferContext& context) {
  OCTAVO_CHECK_OK(same_dtype(context, 0, 2));
  if (!is_index(context.input(1).dtype))
    return context.error(Code::kInvalidModel,
                         text("Its indices are ", dtype_name(context.input(1).dtype), "."),
                         "Use int64 or int32.");
  const auto join = join_of(context.attrs());
  if (!join)
    return context.error(
        Code::kUnsupportedAttribute,
        text("reduction = '", context.attrs().get_string("reduction", ""), "' is not supported."),
        "Supported: none, add, mul, min, max.");
  if (*join != Join::kReplace && load_element(context.input(0).dtype) == nullptr)
    return context.error(Code::kUnsupportedDtype,
                         text("Its data is ", dtype_name(context.input(0).dtype), "."),
                         "Use float32, int64, int32, uint8 or int8.");
  return ok_status();
}

// Joins `count` elements of `from` into `to`.
struct Joiner {
  Join join;
  std::size_t size;
  LoadElement load;
  StoreElement store;

  Joiner(const PrepareContext& context)
      : join(*join_of(context.attrs())),
        size(dtype_size(context.output().dtype)),
        load(load_element(context.output().dtype)),
        store(store_element(context.output().dtype)) {}

  void operator()(const std::byte* updates, std::int64_t from, std::byte* out, std::int64_t to,
                  std::int64_t count) const {
    if (join == Join::kReplace) {
      std::memcpy(out + static_cast<std::size_t>(to) * size,
                  updates + static_cast<std::size_t>(from) * size,
                  static_cast<std::size_t>(count) * size);
      return;
    }
    for (std::int64_t i = 0; i < count; ++i) {
      const double a = load(out, to + i);
      const double b = load(updates, from + i);
      store(out, to + i,
            join == Join::kAdd   ? a + b
            : join == Join::kMul ? a * b
            : join == Join::kMin ? std::min(a, b)
                                 : std::max(a, b));
    }
  }
};

void copy_data(const StepArgs& args, std::size_t bytes) {
  if (bytes > 0 && args.out[0] != args.in[0]) std::memcpy(args.out[0], args.in[0], bytes);
}
std::size_t bytes_of(const PrepareContext& context) {
  return static_cast<std::size_t>(context.out_shape().elements()) *
         dtype_size(context.output().dtype);
}

// The output is like the data, where indices and updates fit it.
Status infer_output(InferContext& context, bool fits, const Shape& data, const Shape& indices,
                    const Shape& updates) {
  if (!fits) {
    return context.error(Code::kShapeMismatch,
                         text("Indices of shape ", indices.to_string(), " and updates of ",
                              updates.to_string(), " do not fit ", data.to_string(), "."));
  }
  context.set_output(0, context.input(0).dtype, data);
  return ok_status();
}

Status infer_elements(InferContext& context) {
  OCTAVO_TRY(const Shape data, context.shape(0));
  OCTAVO_TRY(const Shape indices, context.shape(1));
  OCTAVO_TRY(const Shape updates, context.shape(2));
  OCTAVO_CHECK_OK(check(context));
  OCTAVO_TRY(const int axis, axis_attribute(context, "axis", 0, data.rank()));
  bool fits = indices.rank() == data.rank() && (indices == updates || !indices.known());
  for (int d = 0; fits && d < data.rank(); ++d)
    fits = d == axis || data[d] < 0 || indices[d] <= data[d];
  return infer_output(context, fits, data, indices, updates);
}

Result<Step> prepare_elements(const PrepareContext& context) {
  const Shape& data = context.in_shape(0);
  const int axis = axis_of(context, "axis", 0, data.rank());
  const auto walk = std::make_shared<Walk<1>>();
  walk->dims = context.in_shape(1).dims();
  walk->count = context.in_shape(1).elements();
  walk->strides[0] = strides_of(context.input(0));
  const std::int64_t along = walk->strides[0][static_cast<std::size_t>(axis)];
  walk->strides[0][static_cast<std::size_t>(axis)] = 0;
  Step step;
  step.kernel = "scatter/elements";
  step.run = [walk, along, length = data[axis], joiner = Joiner(context),
              indices = Indices(context, 1, step),
              bytes = bytes_of(context)](const StepArgs& args, int, int) {
    indices.begin();
    copy_data(args, bytes);
    walk->run([&](std::int64_t i, const std::array<std::int64_t, 1>& offset) {
      const std::int64_t index = indices.at(args, i, length);
      if (index >= 0) joiner(args.in[2], i, args.out[0], offset[0] + index * along, 1);
    });
  };
  return step;
}

Status infer_nd(InferContext& context) {
  OCTAVO_TRY(const Shape data, context.shape(0));
  OCTAVO_TRY(const Shape indices, context.shape(1));
  OCTAVO_TRY(const Shape updates, context.shape(2));
  OCTAVO_CHECK_OK(check(context));
  const std::int64_t depth = indices.rank() > 0 ? indices[indices.rank() - 1] : 0;
  bool fits = depth >= 1 && depth <= data.rank() &&
              updates.rank() == indices.rank() - 1 + data.rank() - static_cast<int>(depth);
  for (int d = 0; fits && d < updates.rank(); ++d) {
    const std::int64_t wanted = d < indices.rank() - 1
                                    ? indices[d]
                                    : data[d - (indices.rank() - 1) + static_cast<int>(depth)];
    fits = wanted < 0 || updates[d] < 0 || wanted == updates[d];
  }
  return infer_output(context, fits, data, indices, updates);
}

Result<Step> prepare_nd(const PrepareContext& context) {
  const Shape& indices = context.in_shape(1);
  const std::int64_t depth = indices[indices.rank() - 1];
  const std::vector<std::int64_t> strides = strides_of(context.input(0));
  const std::int64_t slice = strides[static_cast<std::size_t>(depth - 1)];
  const std::int64_t updates = context.in_shape(2).elements() == 0 ? 0 : indices.elements() / depth;
  Step step;
  step.kernel = "scatter/nd";
  step.run = [=, dims = context.in_shape(0).dims(), joiner = Joiner(context),
              places = Indices(context, 1, step),
              bytes = bytes_of(context)](const StepArgs& args, int, int) {
    places.begin();
    copy_data(args, bytes);
    for (std::int64_t i = 0; i < updates; ++i) {
      std::int64_t to = 0;
      bool inside = true;
      for (std::int64_t k = 0; k < depth; ++k) {
        const auto axis = static_cast<std::size_t>(k);
        const std::int64_t index = places.at(args, i * depth + k, dims[axis]);
        inside = inside && index >= 0;
        to += index * strides[axis];
      }
      if (inside) joiner(args.in[2], i * slice, args.out[0], to, slice);
    }
  };
  return step;
}
}  // namespace

extern const OpDef kScatterElements;
const OpDef kScatterElements{"ScatterElements",
                             "",
                             16,
                             3,
                             3,
                             1,
                             1,
                             kElementsAttrs,
                             LayoutRule::kRowMajor,
                             QuantRule::kFloat,
                             infer_elements,
                             prepare_elements};

extern const OpDef kScatterND;
const OpDef kScatterND{
    "ScatterND",       "",       16,        3, 3, 1, 1, kNdAttrs, LayoutRule::kRowMajor,
    QuantRule::kFloat, infer_nd, prepare_nd};

}  // namespace octavo::ops
