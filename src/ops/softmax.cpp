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

// [outer][n][inner] codes, normalized along n.
template <class T>
Step on_codes(const PrepareContext& context, std::size_t outer, std::size_t n, std::size_t inner) {
  const kernels::Grid from = grid_of(context.input(0));
  const kernels::Grid to = grid_of(context.output());
  // By how far a code lies below the largest. All are scaled up, as there, which moves roundings.
  std::array<float, 256> powers;
  const double scale = from.scale;
  const float room = std::numeric_limits<float>::max() / static_cast<float>(n);
  const double up = std::max(0.0, kernels::log_f64(room) - 5.0) / scale;
  for (std::size_t i = 0; i < 256; ++i) {
    const double exponent = (0.0 - static_cast<double>(i) + up) * scale;
    powers[i] = static_cast<float>(kernels::exp_f64(exponent));
  }
  Step step;
  step.kernel = "softmax/table";
  step.in_place = 0;
  step.run = [=, range = code_range(context.output().dtype)](const StepArgs& args, int, int) {
    const float steps = std::floor(1.0F / to.scale);
    for (std::size_t row = 0; row < outer * inner; ++row) {
      const std::size_t at = row / inner * n * inner + row % inner;
      const T* in = reinterpret_cast<const T*>(args.in[0]) + at;
      T* out = reinterpret_cast<T*>(args.out[0]) + at;
      std::int32_t largest = std::numeric_limits<T>::min();
      for (std::size_t i = 0; i < n; ++i) largest = std::max<std::int32_t>(largest, in[i * inner]);
      const auto power = [&](std::size_t i) {
        return powers[static_cast<std::size_t>(largest - in[i * inner])];
      };
      float sum = 0;
      for (std::size_t i = 0; i < n; ++i) sum += power(i);
      for (std::size_t i = 0; i < n; ++i) {
        const float code =
            std::nearbyint(power(i) * steps / sum) + static_cast<float>(to.zero_point);
        out[i * inner] = static_cast<T>(
            std::clamp(code, static_cast<float>(range.lo), static_cast<float>(range.hi)));
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
    return x.dtype == DType::kInt8 ? on_codes<std::int8_t>(context, outer, n, inner)
                                   : on_codes<std::uint8_t>(context, outer, n, inner);
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
