// Where: out = condition ? a : b, elementwise with broadcasting.
#include <cstring>

#include "ops/element.h"

namespace octavo::ops {

namespace {
Status infer(InferContext& context) {
  OCTAVO_CHECK_OK(same_dtype(context, 1, 2));
  if (context.input(0).dtype != DType::kBool)
    return context.error(Code::kInvalidModel, "The condition is not bool.");
  OCTAVO_TRY(Shape out, broadcast_inputs(context));
  return set_output_checked(context, 0, context.input(1).dtype, std::move(out));
}

Result<Step> prepare(const PrepareContext& context) {
  Step step;
  step.kernel = "where";
  step.run = [walk = broadcast_walk<3>(context), size = dtype_size(context.output().dtype)](
                 const StepArgs& args, int, int) {
    walk->run([&](std::int64_t i, const std::array<std::int64_t, 3>& offsets) {
      const std::size_t k = args.in[0][offsets[0]] != std::byte{0} ? 1 : 2;
      std::memcpy(args.out[0] + static_cast<std::size_t>(i) * size,
                  args.in[k] + static_cast<std::size_t>(offsets[k]) * size, size);
    });
  };
  return step;
}
}  // namespace

extern const OpDef kWhere;
const OpDef kWhere{"Where",           "",    16,     3, 3, 1, 1, {}, LayoutRule::kFollow,
                   QuantRule::kFloat, infer, prepare};

}  // namespace octavo::ops
