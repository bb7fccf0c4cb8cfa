// Softmax and LogSoftmax along one axis, in float; Softmax on codes too, as ONNX Runtime's
// QLinearSoftmax:
//
//   y = clamp(rint(e(x) * floor(1 / scale_y) / sum of e) + zero_y)   e(x) = exp((x - max) *
//   scale_x)
//
// in f32, sums in the order of the axis. (For int8 that operator wraps around where a share is 1
// and the grid ends at it; this saturates.)
#include "kernels/softmax/softmax.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/text.h"
#include "kernels/felementwise/math.h"
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

// [outer][n][inner] codes, normalized along n. In unsigned codes: the top bit of int8 ones is
// flipped.
Step on_codes(const PrepareContext& context, std::size_t outer, std::size_t n, std::size_t inner) {
  const bool int8 = context.input(0).dtype == DType::kInt8;
  const std::uint8_t flip = int8 ? 0x80 : 0;
  const kernels::Grid to = grid_of(context.output());
  // By how far a code lies below the largest. All are scaled up, as there, and by the logarithm of
  // a float, which decides where a share lies half-way between two codes.
  std::array<float, 256> powers;
  const double scale = grid_of(context.input(0)).scale;
  const float room = std::numeric_limits<float>::max() / static_cast<float>(n);
  const auto log_room = static_cast<float>(kernels::log_f64(static_cast<double>(room)));
  const double up = std::max(0.0, static_cast<double>(log_room) - 5.0) / scale;
  for (std::size_t i = 0; i < 256; ++i) {
    const double exponent = (0.0 - static_cast<double>(i) + up) * scale;
    powers[i] = static_cast<float>(kernels::exp_f64(exponent));
  }
  Step step;
  step.kernel = "softmax/table";
  step.in_place = 0;
  step.run = [=, steps = std::floor(1.0F / to.scale),
              zero = static_cast<float>(to.zero_point + flip)](const StepArgs& args, int, int) {
    for (std::size_t row = 0; row < outer * inner; ++row) {
      const std::size_t at = row / inner * n * inner + row % inner;
      const auto* in = reinterpret_cast<const std::uint8_t*>(args.in[0]) + at;
      auto* out = reinterpret_cast<std::uint8_t*>(args.out[0]) + at;
      int largest = 0;
      for (std::size_t i = 0; i < n; ++i) largest = std::max(largest, in[i * inner] ^ flip);
      const auto power = [&](std::size_t i) {
        return powers[static_cast<std::size_t>(largest - (in[i * inner] ^ flip))];
      };
      float sum = 0;
      for (std::size_t i = 0; i < n; ++i) sum += power(i);
      for (std::size_t i = 0; i < n; ++i) {
        const float code = std::nearbyint(power(i) * steps / sum) + zero;
        out[i * inner] = static_cast<std::uint8_t>(std::clamp(code, 0.0F, 255.0F)) ^ flip;
      }
    }
  };
  return step;
}

Result<Step> prepare_softmax(const PrepareContext& context) {
  const Value& x = context.input(0);
  const bool coded = is_quantized_code(x.dtype) && context.node().op == "Softmax";
  if (x.dtype != DType::kFloat32 && !coded) return needs_dtype(context, x);
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
  if (coded) {
    OCTAVO_CHECK_OK(check_codes(context, x));
    OCTAVO_CHECK_OK(check_codes(context, context.output()));
    return on_codes(context, outer, n, inner);
  }
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
    OpDef{"Softmax", "", 13, 1, 1, 1, 1, kAttrs, LayoutRule::kFollow, QuantRule::kCompute,
          infer_softmax, prepare_softmax, nullptr,
          "left in float when quantizing; a table on codes in models quantized elsewhere"},
};

}  // namespace

extern const std::span<const OpDef> kSoftmaxes;
const std::span<const OpDef> kSoftmaxes = kDefs;

}  // namespace octavo::ops
