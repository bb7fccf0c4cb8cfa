// Resampling along the axes of a tensor one after the other, by weights: the forms of Resize that
// have no kernel of their own (cubic, antialiased, cropped, any rank and axis).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/resize/coordinates.h"
#include "ops/op.h"

namespace octavo::ops {

enum class Interpolation { kNearest, kLinear, kCubic };

struct ResampleForm {
  Interpolation interpolation = Interpolation::kNearest;
  kernels::Coordinates coordinates = kernels::Coordinates::kHalfPixel;
  kernels::NearestMode nearest = kernels::NearestMode::kRoundPreferFloor;
  bool crop = false;  // tf_crop_and_resize
  bool antialias = false, exclude_outside = false;
  float cubic_a = -0.75F, extrapolation = 0;
};

// One axis. With `crop` the region [start, end] of it, 0 and 1 its ends.
struct ResampleAxis {
  int in = 1, out = 1;
  float scale = 1, start = 0, end = 1;
};

// By axis of the tensor; those where nothing changes are left alone. Weights follow ONNX's
// reference: a cubic kernel is Keys' with parameter a; antialiasing stretches the filter by 1 /
// scale.
Step resample_step(const PrepareContext& context, const ResampleForm& form,
                   const std::vector<ResampleAxis>& axes);

}  // namespace octavo::ops
