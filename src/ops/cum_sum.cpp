// CumSum: running sums along an axis, forwards or from the end, with or without the element itself.
#include "base/text.h"
#include "ops/element.h"

namespace octavo::ops {

namespace {
constexpr AttrDef kAttrs[] = {{"exclusive", AttrType::kInt}, {"reverse", AttrType::kInt}};

Status infer(InferContext& context) {
  OCTAVO_TRY(Shape x, context.shape(0));
  OCTAVO_TRY(const auto axis, constant_ints(context, 1));
  if (!axis)
    return context.error(Code::kUnsupportedAttribute, "Its axis is computed by the network.",
                         "Use a constant axis.");
  if (axis->size() != 1 || !normalize_axis((*axis)[0], x.rank()))
    return context.error(Code::kInvalidModel, text("axis = ", join(*axis, ", "),
                                                   " is out of range for ", x.to_string(), "."));
  if (load_element(context.input(0).dtype) == nullptr)
    return context.error(Code::kUnsupportedDtype,
                         text("Its input is ", dtype_name(context.input(0).dtype), "."),
                         "Use float32, int64 or int32.");
  context.set_output(0, context.input(0).dtype, std::move(x));
  return ok_status();
}

Result<Step> prepare(const PrepareContext& context) {
  const Value& x = context.input(0);
  const Tensor* axis = context.constant(1);
  if (axis == nullptr)
    return context.error(Code::kUnsupportedAttribute, "Its axis is computed by the network.",
                         "Use a constant axis.");
  AroundAxis a =
      around_axis(*x.shape, normalize_axis(to_int64s(*axis)[0], x.shape->rank()).value_or(0));
  a.n = std::max<std::int64_t>(a.n, 1);  // of no elements there are no blocks
  const bool exclusive = context.attrs().get_int("exclusive", 0) != 0;
  const bool reverse = context.attrs().get_int("reverse", 0) != 0;
  Step step;
  step.kernel = "cum_sum";
  step.ordered = true;
  step.rounds = x.shape->elements();
  step.scratch_bytes = sizeof(double);  // the sum of the row so far
  const LoopBlocks blocks(step.rounds, 1);
  step.blocks = blocks.blocks();
  step.run = [=, load = load_element(x.dtype), store = store_element(x.dtype)](
                 const StepArgs& args, int first, int last) {
    auto& sum = *reinterpret_cast<double*>(args.scratch);
    std::int64_t row = blocks.begin(first) / a.n;
    std::int64_t i = blocks.begin(first) % a.n;
    for (std::int64_t left = blocks.begin(last) - blocks.begin(first); left > 0; --left) {
      if (i == 0) sum = 0;
      const std::int64_t at =
          (row / a.inner * a.n + (reverse ? a.n - 1 - i : i)) * a.inner + row % a.inner;
      const double next = sum + load(args.in[0], at);
      store(args.out[0], at, exclusive ? sum : next);
      sum = next;
      if (++i < a.n) continue;
      i = 0;
      ++row;
    }
  };
  return step;
}
}  // namespace

extern const OpDef kCumSum;
const OpDef kCumSum{"CumSum",
                    "",
                    14,
                    2,
                    2,
                    1,
                    1,
                    kAttrs,
                    LayoutRule::kRowMajor,
                    QuantRule::kFloat,
                    infer,
                    prepare,
                    nullptr,
                    "constant axis"};

}  // namespace octavo::ops
