#include "ops/resample.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "ops/element.h"

namespace octavo::ops {

namespace {
// Output i is the sum over `width` taps of weight * in[index]; all weights 0 and `outside` set
// where it lies beyond the picture.
struct Taps {
  int axis = 0;  // in memory order
  std::int64_t in = 1, out = 1, outer = 1, inner = 1;
  std::size_t width = 1;
  std::vector<std::int32_t> indices;
  std::vector<float> weights;
  std::vector<bool> outside;
};

float cubic(float x, float a) {
  x = std::fabs(x);
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
  return 0;
}

float place(const ResampleForm& form, const ResampleAxis& a, int i) {
  if (!form.crop) return kernels::original_coordinate(i, a.in, a.out, a.scale, form.coordinates);
  const auto last = static_cast<float>(a.in - 1);
  if (a.out == 1) return 0.5F * (a.start + a.end) * last;
  return a.start * last +
         static_cast<float>(i) * (a.end - a.start) * last / static_cast<float>(a.out - 1);
}

Taps taps_of(const ResampleForm& form, const ResampleAxis& a) {
  Taps taps;
  taps.in = a.in;
  taps.out = a.out;
  const bool by_nearest = form.interpolation == Interpolation::kNearest;
  const float support = by_nearest                                    ? 0.0F
                        : form.interpolation == Interpolation::kCubic ? 2.0F
                                                                      : 1.0F;
  const float shrink = form.antialias && !by_nearest ? std::min(a.scale, 1.0F) : 1.0F;
  // Taps run from floor(x) + first, symmetric around the gap behind floor(x).
  const int first = by_nearest ? 0 : static_cast<int>(std::floor(-support / shrink)) + 1;
  taps.width = by_nearest ? 1 : static_cast<std::size_t>(2 - 2 * first);
  for (int i = 0; i < a.out; ++i) {
    const float x = place(form, a, i);
    const bool outside = form.crop && (x < 0 || x > static_cast<float>(a.in - 1));
    taps.outside.push_back(outside);
    const float base = by_nearest ? kernels::nearest_whole(x, form.nearest) : std::floor(x);
    float sum = 0;
    std::vector<float> weights;
    for (std::size_t t = 0; t < taps.width; ++t) {
      const float at = base + static_cast<float>(first) + static_cast<float>(t);
      const float distance = (at - x) * shrink;
      float weight = by_nearest ? 1.0F
                     : form.interpolation == Interpolation::kCubic
                         ? cubic(distance, form.cubic_a)
                         : std::max(0.0F, 1.0F - std::fabs(distance));
      if (form.exclude_outside && !by_nearest && (at < 0 || at >= static_cast<float>(a.in)))
        weight = 0;
      sum += weight;
      weights.push_back(weight);
      taps.indices.push_back(
          static_cast<std::int32_t>(std::clamp(at, 0.0F, static_cast<float>(a.in - 1))));
    }
    const bool normalized = (form.antialias || form.exclude_outside) && sum != 0;
    for (const float weight : weights)
      taps.weights.push_back(outside ? 0.0F : normalized ? weight / sum : weight);
  }
  return taps;
}

// Rows [first, last) of outer * out, each of `inner` numbers.
void resample(const Taps& taps, float extrapolation, const float* in, float* out,
              std::int64_t first, std::int64_t last) {
  for (std::int64_t row = first; row < last; ++row) {
    const std::int64_t o = row / taps.out;
    const auto place = static_cast<std::size_t>(row % taps.out);
    float* to = out + row * taps.inner;
    std::fill_n(to, taps.inner, taps.outside[place] ? extrapolation : 0.0F);
    for (std::size_t t = 0; t < taps.width; ++t) {
      const float weight = taps.weights[place * taps.width + t];
      if (weight == 0) continue;
      const float* from = in + (o * taps.in + taps.indices[place * taps.width + t]) * taps.inner;
      for (std::int64_t k = 0; k < taps.inner; ++k) to[k] += weight * from[k];
    }
  }
}
}  // namespace

Step resample_step(const PrepareContext& context, const ResampleForm& form,
                   const std::vector<ResampleAxis>& axes) {
  const Value& x = context.input(0);
  const int rank = x.shape->rank();
  std::vector<std::int64_t> dims = physical_dims(*x.shape, x.layout);
  auto passes = std::make_shared<std::vector<Taps>>();
  std::int64_t elements = x.shape->elements();
  std::int64_t largest = elements;
  for (int axis = 0; axis < rank; ++axis) {
    const ResampleAxis& a = axes[static_cast<std::size_t>(axis)];
    if (a.in == a.out && a.scale == 1) continue;  // as ONNX Runtime, whatever the crop
    Taps taps = taps_of(form, a);
    const int place = physical_axis(axis, rank, x.layout);
    for (int d = 0; d < rank; ++d) {
      if (d != place) (d < place ? taps.outer : taps.inner) *= dims[static_cast<std::size_t>(d)];
    }
    dims[static_cast<std::size_t>(place)] = a.out;
    elements = taps.outer * taps.out * taps.inner;
    largest = std::max(largest, elements);
    passes->push_back(std::move(taps));
  }
  Step step;
  step.kernel = "resize/resample";
  step.scratch_bytes = 2 * static_cast<std::size_t>(largest) * sizeof(float);
  // Reading, a pass an axis, and writing follow each other in blocks of their own.
  std::vector<LoopBlocks> stages{LoopBlocks(x.shape->elements(), 1)};
  step.rounds = x.shape->elements() + elements;
  for (const Taps& taps : *passes) {
    const std::int64_t of_row = static_cast<std::int64_t>(taps.width) * taps.inner;
    stages.emplace_back(taps.outer * taps.out, of_row);
    step.rounds += taps.outer * taps.out * of_row;
  }
  stages.emplace_back(elements, 1);
  step.ordered = true;
  step.blocks = 0;
  for (const LoopBlocks& stage : stages) step.blocks += stage.blocks();
  step.run = [=, extrapolation = form.extrapolation, load = load_element(x.dtype),
              store = store_element(x.dtype)](const StepArgs& args, int first, int last) {
    auto* from = reinterpret_cast<float*>(args.scratch);
    float* to = from + largest;
    int begin = 0;  // of the stage
    for (std::size_t s = 0; s < stages.size(); ++s) {
      const LoopBlocks& stage = stages[s];
      const auto inside = [&](int block) { return std::clamp(block - begin, 0, stage.blocks()); };
      const std::int64_t start = stage.begin(inside(first));
      const std::int64_t end = stage.begin(inside(last));
      if (s == 0) {
        for (std::int64_t i = start; i < end; ++i)
          from[i] = static_cast<float>(load(args.in[0], i));
      } else if (s < stages.size() - 1) {
        resample((*passes)[s - 1], extrapolation, from, to, start, end);
        std::swap(from, to);
      } else {
        for (std::int64_t i = start; i < end; ++i)
          store(args.out[0], i, static_cast<double>(from[i]));
      }
      begin += stage.blocks();
    }
  };
  return step;
}

}  // namespace octavo::ops
