// Softmax and LogSoftmax along one axis, in float.
#include "kernels/softmax/softmax.h"

#include <array>

#include "base/text.h"
#include "ops/activation.h"

namespace octavo::ops {

namespace {

constexpr AttrDef kAttrs[] = {{"axis", AttrType::kInt}};

Status infer_softmax(InferContext& context) {
  OCTAVO_TRY(const Shape x, context.shape(0));
  if (!normalize_axis(context.attrs().get_int("axis", -1), x.rank())) {
    return context.error(Code::kInvalidModel, text("axis = ", context.attrs().get_int("axis", -1),
                                                   " is out of range for ", x.to_string(), "."));
  }
  context.set_output(0, context.input(0).dtype, x);
  return ok_status();
}

Result<Step> prepare_softmax(const PrepareContext& context) {
  const Value& x = context.input(0);
  if (x.dtype != DType::kFloat32) return needs_dtype(context, x);
  const auto axis = normalize_axis(context.attrs().get_int("axis", -1), x.shape->rank());
  if (!axis) return context.error(Code::kInvalidModel, "The axis is out of range.");
  const int physical = physical_axis(*axis, x.shape->rank(), x.layout);
  const std::vector<std::int64_t> dims = physical_dims(*x.shape, x.layout);
  std::size_t outer = 1;
  std::size_t inner = 1;
  for (int i = 0; i < x.shape->rank(); ++i) {
    if (i != physical)
      (i < physical ? outer : inner) *= static_cast<std::size_t>(dims[static_cast<std::size_t>(i)]);
  }
  const auto n = static_cast<std::size_t>(dims[static_cast<std::size_t>(physical)]);
  const kernels::SoftmaxKernel& kernel =
      kernels::best_row(kernels::softmax_kernels(), context.policy());
  Step step;
  step.kernel = kernel.name;
  step.in_place = 0;
  step.run = [run = context.node().op == "Softmax" ? kernel.softmax : kernel.log_softmax, outer, n,
              inner](const StepArgs& args, int, int) {
    run(reinterpret_cast<const float*>(args.in[0]), reinterpret_cast<float*>(args.out[0]), outer, n,
        inner);
  };
  return step;
}

constexpr std::array kDefs{
    OpDef{"LogSoftmax", "", 13, 1, 1, 1, 1, kAttrs, LayoutRule::kFollow, QuantRule::kFloat,
          infer_softmax, prepare_softmax, nullptr, ""},
    OpDef{"Softmax", "", 13, 1, 1, 1, 1, kAttrs, LayoutRule::kFollow, QuantRule::kFloat,
          infer_softmax, prepare_softmax, nullptr, ""},
};

}  // namespace

extern const std::span<const OpDef> kSoftmaxes;
const std::span<const OpDef> kSoftmaxes = kDefs;

}  // namespace octavo::ops
