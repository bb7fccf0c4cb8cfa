// Gather: slices of a tensor picked by index along an axis.
//
//   out[outer, i, inner] = data[outer, indices[i], inner];  a negative index counts from the end
#include <cstring>

#include "base/text.h"
#include "ops/element.h"

namespace octavo::ops {

namespace {
constexpr AttrDef kAttrs[] = {{"axis", AttrType::kInt}};

Status infer(InferContext& context) {
  OCTAVO_TRY(const Shape data, context.shape(0));
  OCTAVO_TRY(const Shape indices, context.shape(1));
  const DType index_type = context.input(1).dtype;
  if (index_type != DType::kInt64 && index_type != DType::kInt32) {
    return context.error(Code::kUnsupportedDtype, text("Indices are ", dtype_name(index_type), "."),
                         "Use int64 or int32.");
  }
  const auto axis = normalize_axis(context.attrs().get_int("axis", 0), data.rank());
  if (!axis) {
    return context.error(Code::kInvalidModel, text("axis = ", context.attrs().get_int("axis", 0),
                                                   " is out of range for ", data.to_string(), "."));
  }
  Shape out;
  for (int i = 0; i < *axis; ++i) out.dims().push_back(data[i]);
  for (const std::int64_t dim : indices) out.dims().push_back(dim);
  for (int i = *axis + 1; i < data.rank(); ++i) out.dims().push_back(data[i]);
  return set_output_checked(context, 0, context.input(0).dtype, std::move(out));
}

// Data as [outer][axis][inner] in bytes, row-major.
struct Geometry {
  std::size_t outer = 1, axis = 0, inner = 1, count = 0;
};

void gather(const Geometry& g, const Indices& indices, const StepArgs& args) {
  indices.begin();
  std::byte* out = args.out[0];
  for (std::size_t o = 0; o < g.outer; ++o) {
    for (std::size_t i = 0; i < g.count; ++i, out += g.inner) {
      const std::int64_t index =
          indices.at(args, static_cast<std::int64_t>(i), static_cast<std::int64_t>(g.axis));
      if (index < 0) {
        std::memset(out, 0, g.inner);
      } else {
        std::memcpy(out, args.in[0] + (o * g.axis + static_cast<std::size_t>(index)) * g.inner,
                    g.inner);
      }
    }
  }
}

Result<Step> prepare(const PrepareContext& context) {
  OCTAVO_CHECK_OK(check_same_grid(context));
  const Shape& data = context.in_shape(0);
  const auto axis = normalize_axis(context.attrs().get_int("axis", 0), data.rank());
  if (!axis) return context.error(Code::kInvalidModel, "The axis is out of range.");
  const std::int64_t size = data[*axis];
  if (const Tensor* indices = context.constant(1)) {
    for (const std::int64_t index : to_int64s(*indices)) {
      if (index < -size || index >= size) {
        return context.error(Code::kInvalidModel,
                             text("Index ", index, " is out of range for axis ", *axis, " of ",
                                  data.to_string(), "."));
      }
    }
  }
  Geometry g;
  for (int i = 0; i < *axis; ++i) g.outer *= static_cast<std::size_t>(data[i]);
  for (int i = *axis + 1; i < data.rank(); ++i) g.inner *= static_cast<std::size_t>(data[i]);
  g.inner *= dtype_size(context.input(0).dtype);
  g.axis = static_cast<std::size_t>(size);
  g.count = static_cast<std::size_t>(context.in_shape(1).elements());
  if (context.out_shape().elements() == 0) g.outer = 0;
  Step step;
  step.kernel = "copy/gather";
  step.run = [g, indices = Indices(context, 1, step)](const StepArgs& args, int, int) {
    gather(g, indices, args);
  };
  return step;
}
}  // namespace

extern const OpDef kGather;
const OpDef kGather{
    "Gather", "",     13, 2, 2, 1, 1, kAttrs, LayoutRule::kRowMajor, QuantRule::kSameGrid,
    infer,    prepare};

}  // namespace octavo::ops
