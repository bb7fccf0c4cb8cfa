// NonZero: where a tensor is not zero, as int64 [rank, count]: a row of indices an axis, in
// row-major order. A scalar counts as a list of one.
//
// How many there are, a run alone knows (Value::counted).
#include <algorithm>

#include "ops/element.h"

namespace octavo::ops {

namespace {
Status infer(InferContext& context) {
  OCTAVO_TRY(const Shape in, context.shape(0));
  if (load_element(context.input(0).dtype) == nullptr)
    return context.error(Code::kUnsupportedDtype, "It does not read this type of tensor.");
  return set_counted(context, DType::kInt64, Shape{std::max(in.rank(), 1), kUnknownDim},
                     in.known() ? in.elements() : kUnknownDim);
}

Result<Step> prepare(const PrepareContext& context) {
  const auto count = std::make_shared<std::int64_t>(0);
  Step step;
  step.kernel = "non_zero";
  step.count = count;
  step.run = [count, in = context.in_shape(0), load = load_element(context.input(0).dtype)](
                 const StepArgs& args, int, int) {
    const std::int64_t n = in.elements();
    std::int64_t found = 0;
    for (std::int64_t i = 0; i < n; ++i) found += load(args.in[0], i) != 0 ? 1 : 0;
    *count = found;
    auto* out = reinterpret_cast<std::int64_t*>(args.out[0]);
    for (std::int64_t i = 0; i < n; ++i) {
      if (load(args.in[0], i) == 0) continue;
      std::int64_t rest = i;
      for (int axis = in.rank(); axis-- > 0;) {
        out[axis * found] = rest % in[axis];
        rest /= in[axis];
      }
      if (in.rank() == 0) *out = 0;
      ++out;
    }
  };
  return step;
}
}  // namespace

extern const OpDef kNonZero;
const OpDef kNonZero{"NonZero",
                     "",
                     9,
                     1,
                     1,
                     1,
                     1,
                     {},
                     LayoutRule::kRowMajor,
                     QuantRule::kFloat,
                     infer,
                     prepare,
                     nullptr,
                     "what follows is planned when it has run"};

}  // namespace octavo::ops
