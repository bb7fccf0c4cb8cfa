#include "ops/float_winograd.h"

#include "base/ceil_div.h"
#include "kernels/fwinograd/fwinograd.h"
#include "kernels/rows.h"

namespace octavo::ops {

bool float_winograd_pays(const WindowAxis& h, const WindowAxis& w, std::int64_t in,
                         std::int64_t out, std::int64_t group) {
  for (const WindowAxis& axis : {h, w}) {
    if (axis.kernel != 3 || axis.stride != 1 || axis.dilation != 1) return false;
  }
  if (group != 1) return false;
  // What a transformed number and a weight from memory cost, in products, and the pixels that a
  // product of matrices does at once (bench/kernels.cpp).
  constexpr double kTransformed = 10, kWeight = 5;
  constexpr std::int64_t kRows = 6;
  // Less is not worth the memory of the weights.
  constexpr double kWorthwhile = 0.75;
  const auto pairs = static_cast<double>(in) * static_cast<double>(out);
  const std::int64_t tiles = ceil_div(h.out, 4) * ceil_div(w.out, 4);
  const auto rows = static_cast<double>(ceil_div(tiles, kRows) * kRows);
  const double transformed = static_cast<double>(tiles) * static_cast<double>(in + out);
  const double direct = 9 * pairs * (static_cast<double>(h.out * w.out) + kWeight);
  return 36 * ((rows + kWeight) * pairs + kTransformed * transformed) < kWorthwhile * direct;
}

Step float_winograd_step(const PrepareContext& context, Step step,
                         const std::array<WindowAxis, 2>& axes, std::span<const float> weights,
                         std::span<const float> bias, const RealBounds& bounds) {
  const auto& [h, w] = axes;
  const Shape& x = context.in_shape(0);
  const kernels::FWinogradKernel& kernel =
      kernels::best_row(kernels::fwinograd_kernels(), context.policy());
  const auto out = static_cast<int>(context.in_shape(1)[0]);
  auto packed = kernel.pack(
      {static_cast<int>(x[1]), out, x[0], h.in, w.in, h.out, w.out, h.pad_begin, w.pad_begin},
      weights, bias);
  packed.weights = context.hold(std::move(packed.weights), step);
  step.kernel = kernel.name;
  step.blocks = static_cast<int>(packed.pieces());
  step.packed_bytes = packed.bytes();
  step.scratch_bytes = packed.scratch_floats() * sizeof(float);
  step.run = [packed = std::move(packed), run = kernel.run, bounds](const StepArgs& args, int first,
                                                                    int last) {
    run(packed, {reinterpret_cast<const float*>(args.in[0]), reinterpret_cast<float*>(args.out[0]),
                 first, last, reinterpret_cast<float*>(args.scratch), bounds.lo, bounds.hi});
  };
  return step;
}

}  // namespace octavo::ops
