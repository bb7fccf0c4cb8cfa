// GatherElements and GatherND: elements and slices picked by computed indices.
//
//   GatherElements  out[i0, .., ia, ..] = data[i0, .., indices[i0, .., ia, ..], ..]    (a the axis)
//   GatherND        out[b, i] = data[b, indices[b, i]]  indices' last axis holds an index each
//
// A negative index counts from the end; one that is outside reads zero, as in Gather.
#include <cstring>

#include "base/text.h"
#include "ops/element.h"

namespace octavo::ops {

namespace {
constexpr AttrDef kAxisAttrs[] = {{"axis", AttrType::kInt}};
constexpr AttrDef kBatchAttrs[] = {{"batch_dims", AttrType::kInt}};

Status check_indices(const InferContext& context) {
  if (is_index(context.input(1).dtype)) return ok_status();
  return context.error(Code::kInvalidModel,
                       text("Its indices are ", dtype_name(context.input(1).dtype), "."),
                       "Use int64 or int32.");
}

Status infer_elements(InferContext& context) {
  OCTAVO_TRY(const Shape data, context.shape(0));
  OCTAVO_TRY(const Shape indices, context.shape(1));
  OCTAVO_CHECK_OK(check_indices(context));
  OCTAVO_TRY(const int axis, axis_attribute(context, "axis", 0, data.rank()));
  bool fits = indices.rank() == data.rank();
  for (int d = 0; fits && d < data.rank(); ++d)
    fits = d == axis || data[d] < 0 || indices[d] <= data[d];
  if (!fits) {
    return context.error(Code::kShapeMismatch, text("Indices of shape ", indices.to_string(),
                                                    " do not fit ", data.to_string(), "."));
  }
  return set_output_checked(context, 0, context.input(0).dtype, indices);
}

Result<Step> prepare_elements(const PrepareContext& context) {
  OCTAVO_CHECK_OK(check_same_grid(context));
  const Shape& data = context.in_shape(0);
  const int axis = axis_of(context, "axis", 0, data.rank());
  const auto walk = std::make_shared<Walk<1>>();
  walk->dims = context.out_shape().dims();
  walk->count = context.out_shape().elements();
  walk->strides[0] = strides_of(context.input(0));
  const std::int64_t along = walk->strides[0][static_cast<std::size_t>(axis)];
  walk->strides[0][static_cast<std::size_t>(axis)] = 0;
  Step step;
  step.kernel = "copy/gather-elements";
  step.run = [walk, along, length = data[axis], size = dtype_size(context.output().dtype),
              indices = Indices(context, 1, step)](const StepArgs& args, int, int) {
    indices.begin();
    walk->run([&](std::int64_t i, const std::array<std::int64_t, 1>& offset) {
      const std::int64_t index = indices.at(args, i, length);
      std::byte* to = args.out[0] + static_cast<std::size_t>(i) * size;
      if (index < 0) {
        std::memset(to, 0, size);
      } else {
        std::memcpy(to, args.in[0] + static_cast<std::size_t>(offset[0] + index * along) * size,
                    size);
      }
    });
  };
  return step;
}

Status infer_nd(InferContext& context) {
  OCTAVO_TRY(const Shape data, context.shape(0));
  OCTAVO_TRY(const Shape indices, context.shape(1));
  OCTAVO_CHECK_OK(check_indices(context));
  const std::int64_t batch = context.attrs().get_int("batch_dims", 0);
  const std::int64_t depth = indices.rank() > 0 ? indices[indices.rank() - 1] : 0;
  if (depth == kUnknownDim)
    return context.error(Code::kDynamicDimension, "The length of its indices is not known.",
                         "Give the shapes of the model's inputs.");
  bool fits = batch >= 0 && depth >= 1 && batch < indices.rank() && batch + depth <= data.rank();
  for (int d = 0; fits && d < batch; ++d)
    fits = data[d] < 0 || indices[d] < 0 || data[d] == indices[d];
  if (!fits) {
    return context.error(Code::kShapeMismatch,
                         text("Indices of shape ", indices.to_string(),
                              " with batch_dims = ", batch, " do not fit ", data.to_string(), "."));
  }
  Shape out(std::vector<std::int64_t>(indices.begin(), indices.end() - 1));
  for (std::int64_t d = batch + depth; d < data.rank(); ++d)
    out.dims().push_back(data[static_cast<int>(d)]);
  return set_output_checked(context, 0, context.input(0).dtype, std::move(out));
}

Result<Step> prepare_nd(const PrepareContext& context) {
  OCTAVO_CHECK_OK(check_same_grid(context));
  const Shape& data = context.in_shape(0);
  const Shape& indices = context.in_shape(1);
  const auto batch = static_cast<int>(context.attrs().get_int("batch_dims", 0));
  const auto depth = static_cast<int>(indices[indices.rank() - 1]);
  const std::vector<std::int64_t> strides = strides_of(context.input(0));
  std::int64_t batches = 1;
  for (int d = 0; d < batch; ++d) batches *= data[d];
  std::int64_t of_batch = 1;  // elements of data in one batch
  for (int d = batch; d < data.rank(); ++d) of_batch *= data[d];
  const std::int64_t picks = indices.elements() / depth;
  const std::int64_t slice =
      strides[static_cast<std::size_t>(batch + depth - 1)];  // elements of a pick
  Step step;
  step.kernel = "copy/gather-nd";
  if (context.out_shape().elements() == 0) {
    step.run = [](const StepArgs&, int, int) {};
    return step;
  }
  step.run = [=, dims = data.dims(), places = Indices(context, 1, step),
              bytes = static_cast<std::size_t>(slice) * dtype_size(context.output().dtype),
              element = static_cast<std::int64_t>(dtype_size(context.output().dtype))](
                 const StepArgs& args, int, int) {
    places.begin();
    for (std::int64_t i = 0; i < picks; ++i) {
      std::int64_t offset = i / (picks / batches) * of_batch;
      bool inside = true;
      for (int k = 0; k < depth; ++k) {
        const auto axis = static_cast<std::size_t>(batch + k);
        const std::int64_t index = places.at(args, i * depth + k, dims[axis]);
        inside = inside && index >= 0;
        offset += index * strides[axis];
      }
      std::byte* to = args.out[0] + static_cast<std::size_t>(i) * bytes;
      if (inside) {
        std::memcpy(to, args.in[0] + offset * element, bytes);
      } else {
        std::memset(to, 0, bytes);
      }
    }
  };
  return step;
}
}  // namespace

extern const OpDef kGatherElements;
const OpDef kGatherElements{"GatherElements",
                            "",
                            13,
                            2,
                            2,
                            1,
                            1,
                            kAxisAttrs,
                            LayoutRule::kRowMajor,
                            QuantRule::kSameGrid,
                            infer_elements,
                            prepare_elements};

extern const OpDef kGatherND;
const OpDef kGatherND{
    "GatherND",           "",       13,        2, 2, 1, 1, kBatchAttrs, LayoutRule::kRowMajor,
    QuantRule::kSameGrid, infer_nd, prepare_nd};

}  // namespace octavo::ops
