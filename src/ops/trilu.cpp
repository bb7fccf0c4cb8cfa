// Trilu: matrices with zeros below (upper = 1, the default) or above their k-th diagonal.
#include <cstring>

#include "ops/element.h"

namespace octavo::ops {

namespace {
constexpr AttrDef kAttrs[] = {{"upper", AttrType::kInt}};

Status infer(InferContext& context) {
  OCTAVO_TRY(Shape x, context.shape(0));
  if (x.rank() < 2)
    return context.error(Code::kShapeMismatch, "Its input is no matrix.", "Give matrices.");
  OCTAVO_CHECK_OK(one_number(context, 1, DType::kInt64));
  context.set_output(0, context.input(0).dtype, std::move(x));
  return ok_status();
}

Result<Step> prepare(const PrepareContext& context) {
  const Shape& x = context.in_shape(0);
  const std::int64_t rows = x[x.rank() - 2];
  const std::int64_t columns = x[x.rank() - 1];
  Step step;
  step.kernel = "trilu";
  step.in_place = 0;
  step.run = [=, upper = context.attrs().get_int("upper", 1) != 0, n = x.elements(),
              size = dtype_size(context.output().dtype)](const StepArgs& args, int, int) {
    const auto k = number_or<std::int64_t>(args, 1, 0);
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int64_t diagonal = i % columns - i / columns % rows;
      const auto at = static_cast<std::size_t>(i) * size;
      if (upper ? diagonal >= k : diagonal <= k) {
        std::memmove(args.out[0] + at, args.in[0] + at, size);
      } else {
        std::memset(args.out[0] + at, 0, size);
      }
    }
  };
  return step;
}
}  // namespace

extern const OpDef kTrilu;
const OpDef kTrilu{"Trilu",           "",    14,     1, 2, 1, 1, kAttrs, LayoutRule::kRowMajor,
                   QuantRule::kFloat, infer, prepare};

}  // namespace octavo::ops
