// OneHot: a new axis of `depth` elements, all `off` but the `on` at the index; negative indices
// count from the end, one outside [-depth, depth) marks nothing.
#include <cmath>
#include <cstring>

#include "base/text.h"
#include "ops/element.h"

namespace octavo::ops {

namespace {
constexpr AttrDef kAttrs[] = {{"axis", AttrType::kInt}};

Status infer(InferContext& context) {
  OCTAVO_TRY(Shape out, context.shape(0));
  OCTAVO_TRY(const int axis, axis_attribute(context, "axis", -1, out.rank() + 1));
  const std::optional<Shape>& values = context.input(2).shape;
  const LoadElement load = load_element(context.input(1).dtype);
  bool fits = load != nullptr && load_element(context.input(0).dtype) != nullptr &&
              !(values && values->known() && values->elements() != 2);
  std::int64_t depth = kUnknownDim;
  if (const Tensor* constant = context.constant(1); constant != nullptr && fits) {
    const double given = constant->elements() == 1 ? load(constant->data(), 0) : 0;
    if (given > static_cast<double>(kMaxElements))
      return context.error(Code::kLimitExceeded,
                           text("A depth of ", given, " is more than ", kMaxElements, "."));
    fits = given >= 1;
    depth = fits ? static_cast<std::int64_t>(given) : 0;
  }
  if (!fits)
    return context.error(Code::kInvalidModel, "Its indices, depth and values do not fit.",
                         "Give numbers, a positive depth, and two values: off, on.");
  out.dims().insert(out.dims().begin() + axis, depth);
  return set_output_checked(context, 0, context.input(2).dtype, std::move(out));
}

Result<Step> prepare(const PrepareContext& context) {
  const Shape& out = context.out_shape();
  const AroundAxis a = around_axis(out, axis_of(context, "axis", -1, out.rank()));
  Step step;
  step.kernel = "one_hot";
  step.run = [a, load = load_element(context.input(0).dtype),
              size = dtype_size(context.output().dtype)](const StepArgs& args, int, int) {
    std::byte* to = args.out[0];
    for (std::int64_t o = 0; o < a.outer; ++o) {
      for (std::int64_t d = 0; d < a.n; ++d) {
        for (std::int64_t i = 0; i < a.inner; ++i, to += size) {
          const double index = load(args.in[0], o * a.inner + i);
          const double wanted = static_cast<double>(index < 0 ? d - a.n : d);
          std::memcpy(to, args.in[2] + (std::trunc(index) == wanted ? size : 0), size);
        }
      }
    }
  };
  return step;
}
}  // namespace

extern const OpDef kOneHot;
const OpDef kOneHot{"OneHot",
                    "",
                    11,
                    3,
                    3,
                    1,
                    1,
                    kAttrs,
                    LayoutRule::kRowMajor,
                    QuantRule::kFloat,
                    infer,
                    prepare,
                    nullptr,
                    "constant depth"};

}  // namespace octavo::ops
