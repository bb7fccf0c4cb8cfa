// Trilu: matrices with zeros below (upper = 1, the default) or above their k-th diagonal.
#include <cstring>

#include "base/text.h"
#include "ops/element.h"

namespace octavo::ops {

namespace {
constexpr AttrDef kAttrs[] = {{"upper", AttrType::kInt}};

Status infer(InferContext& context) {
  OCTAVO_TRY(Shape x, context.shape(0));
  if (x.rank() < 2)
    return context.error(Code::kShapeMismatch, text("Its input has shape ", x.to_string(), "."),
                         "Give matrices.");
  if (context.has_input(1)) {
    OCTAVO_TRY(const Shape k, context.shape(1));
    if (context.input(1).dtype != DType::kInt64 || (k.known() && k.elements() != 1))
      return context.error(Code::kInvalidModel, "k has to be one int64.");
  }
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
    const std::int64_t k = args.in.size() > 1 && args.in[1] != nullptr
                               ? *reinterpret_cast<const std::int64_t*>(args.in[1])
                               : 0;
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
