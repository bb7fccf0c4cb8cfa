// 3x3 convolutions of stride 1 on floats by Winograd's filtering (kernels/fwinograd), where that is
// quicker.
#pragma once

#include <array>
#include <span>

#include "ops/activation.h"
#include "ops/op.h"
#include "ops/window.h"

namespace octavo::ops {

// Asks the shape of one image and nothing else, neither the machine nor the batch: the ranges that
// a calibration finds are the same everywhere, and those of a picture whatever it comes with.
bool float_winograd_pays(const WindowAxis& h, const WindowAxis& w, std::int64_t in,
                         std::int64_t out, std::int64_t group);

// Adds to a step that has the rest what runs: weights [out][in][3][3], in channels-last images.
Step float_winograd_step(const PrepareContext& context, Step step,
                         const std::array<WindowAxis, 2>& axes, std::span<const float> weights,
                         std::span<const float> bias, const RealBounds& bounds);

}  // namespace octavo::ops
