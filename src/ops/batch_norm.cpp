// BatchNormalization (inference): one multiplication and one addition a channel.
//
// On codes it is PyTorch's quantized::batch_norm2d (kernels/qbatchnorm), the operator that Octavo
// is named after.
#include <algorithm>

#include "base/text.h"
#include "kernels/fbatchnorm/fbatchnorm.h"
#include "kernels/felementwise/unary.h"
#include "kernels/qbatchnorm/qbatchnorm.h"
#include "ops/activation.h"

namespace octavo::ops {

namespace {

constexpr AttrDef kAttrs[] = {{"epsilon", AttrType::kFloat},
                              {"momentum", AttrType::kFloat},
                              {"training_mode", AttrType::kInt},
                              kActivationAttrs[0],
                              kActivationAttrs[1],
                              kActivationAttrs[2]};
constexpr std::int64_t kPixelsOfBlock = 1024;

Status infer_batch_norm(InferContext& context) {
  OCTAVO_TRY(const Shape x, context.shape(0));
  if (x.rank() < 1)
    return context.error(Code::kShapeMismatch, text("Its input has shape ", x.to_string(),
                                                    "; it needs batch and channels."));
  const std::int64_t channels = x.rank() == 1 ? 1 : x[1];  // a batch alone has one channel
  for (std::size_t i = 1; i < 5; ++i) {
    OCTAVO_TRY(const Shape parameter, context.shape(i));
    if (parameter.rank() != 1 || (parameter[0] >= 0 && channels >= 0 && parameter[0] != channels)) {
      return context.error(Code::kShapeMismatch,
                           text("Parameter ", i, " has shape ", parameter.to_string(),
                                " for an input of shape ", x.to_string(), "."));
    }
  }
  context.set_output(0, context.input(0).dtype, x);
  return ok_status();
}

Result<Step> prepare_batch_norm(const PrepareContext& context) {
  const Value& x = context.input(0);
  const Value& out = context.output();
  for (std::size_t i = 1; i < 5; ++i) {
    if (context.constant(i) == nullptr || context.constant(i)->dtype() != DType::kFloat32) {
      return context.error(Code::kUnsupportedAttribute,
                           text("Its parameter ", i, " is not a float constant."),
                           "Export the model in evaluation mode.");
    }
  }
  const auto parameter = [&](std::size_t i) { return context.constant(i)->span<float>(); };
  const float epsilon = context.attrs().get_float("epsilon", 1e-5F);
  const auto channels = static_cast<std::int64_t>(parameter(1).size());
  const std::int64_t pixels = channels == 0 ? 0 : x.shape->elements() / channels;
  Step step;
  step.in_place = 0;
  step.holds_constants = true;
  step.blocks = static_cast<int>((pixels + kPixelsOfBlock - 1) / kPixelsOfBlock);
  if (is_quantized_code(x.dtype)) {
    OCTAVO_CHECK_OK(check_codes(context, x));
    OCTAVO_CHECK_OK(check_codes(context, out));
    if (out.dtype != x.dtype) return needs_dtype(context, out);
    const kernels::FusedBatchNorm fused = kernels::fuse_batch_norm_params(
        {parameter(1), parameter(2), parameter(3), parameter(4), static_cast<double>(epsilon)},
        static_cast<double>(x.quant->scale[0]), static_cast<double>(out.quant->scale[0]));
    kernels::QBatchNormSpec spec;
    spec.code = x.dtype == DType::kInt8 ? kernels::CodeType::kInt8 : kernels::CodeType::kUint8;
    spec.alpha = fused.alpha;
    spec.beta = fused.beta;
    spec.zero_in = x.quant->zero_point[0];
    spec.zero_out = out.quant->zero_point[0];
    // Bounds other than the saturation's and a Relu's are clamped to afterwards.
    const CodeBounds range = code_range(out.dtype);
    const CodeBounds bounds = code_bounds(context.attrs(), out);
    spec.relu = bounds.lo == spec.zero_out && bounds.lo != range.lo;
    const bool clamps = (bounds.lo != range.lo && !spec.relu) || bounds.hi != range.hi;
    kernels::QBatchNormPlan plan =
        kernels::QBatchNormPlan::make(spec, kernels::ChannelOrder::kChannelsLast, context.policy());
    step.kernel = plan.kernel();
    step.run = [plan = std::move(plan), pixels, channels, clamps, bounds, code = out.dtype](
                   const StepArgs& args, int first, int last) {
      const std::int64_t from = first * kPixelsOfBlock;
      const std::int64_t to = std::min(last * kPixelsOfBlock, pixels);
      plan.run_pixels(reinterpret_cast<const std::uint8_t*>(args.in[0]),
                      reinterpret_cast<std::uint8_t*>(args.out[0]), static_cast<std::size_t>(from),
                      static_cast<std::size_t>(to));
      if (!clamps) return;
      for (std::byte* y = args.out[0] + from * channels; y != args.out[0] + to * channels; ++y) {
        const std::int32_t q =
            code == DType::kInt8 ? static_cast<std::int8_t>(*y) : static_cast<std::uint8_t>(*y);
        *y = static_cast<std::byte>(std::clamp(q, bounds.lo, bounds.hi) & 255);
      }
    };
    return step;
  }
  if (x.dtype != DType::kFloat32) return needs_dtype(context, x);
  const kernels::FBatchNormKernel& kernel =
      kernels::best_row(kernels::fbatchnorm_kernels(), context.policy());
  step.kernel = kernel.name;
  step.run = [affine = kernels::fold_batch_norm(parameter(1), parameter(2), parameter(3),
                                                parameter(4), epsilon),
              run = kernel.channels_last, pixels, channels, bounds = real_bounds(context.attrs()),
              clamp = context.attrs().has("octavo_activation")
                          ? kernels::unary_kernel(kernels::Unary::kClip, context.policy()).run
                          : nullptr](const StepArgs& args, int first, int last) {
    const std::int64_t from = first * kPixelsOfBlock;
    const std::int64_t count = std::min(last * kPixelsOfBlock, pixels) - from;
    run(reinterpret_cast<const float*>(args.in[0]) + from * channels,
        reinterpret_cast<float*>(args.out[0]) + from * channels, static_cast<std::size_t>(count),
        static_cast<std::size_t>(channels), affine.a.data(), affine.b.data());
    if (clamp == nullptr) return;
    auto* y = reinterpret_cast<float*>(args.out[0]) + from * channels;
    clamp(y, y, static_cast<std::size_t>(count * channels), {bounds.lo, bounds.hi});
  };
  return step;
}

}  // namespace

extern const OpDef kBatchNormalization;
const OpDef kBatchNormalization{"BatchNormalization",
                                "",
                                15,
                                5,
                                5,
                                1,
                                1,
                                kAttrs,
                                LayoutRule::kChannelsLast,
                                QuantRule::kCompute,
                                infer_batch_norm,
                                prepare_batch_norm,
                                nullptr,
                                "inference; int8 equal to torch's quantized BatchNorm2d"};

}  // namespace octavo::ops
