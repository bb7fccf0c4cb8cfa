// Kernel windows of Conv and pools: attributes resolved to numbers for two spatial axes (one:
// height 1).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "ops/op.h"

namespace octavo::ops {

inline constexpr AttrDef kWindowAttrs[] = {{"auto_pad", AttrType::kString},
                                           {"dilations", AttrType::kInts},
                                           {"kernel_shape", AttrType::kInts},
                                           {"pads", AttrType::kInts},
                                           {"strides", AttrType::kInts}};

// AveragePool, set for opsets from 19 on: a mean over a window that ends behind the padding is
// divided by the taps inside image and padding. Before, and so in the canonical form, it is divided
// by all taps of the window.
inline constexpr std::string_view kClippedWindow = "octavo_clipped_window";

// One spatial axis.
struct WindowAxis {
  std::int64_t in = 1, out = 1, kernel = 1, stride = 1, dilation = 1, pad_begin = 0, pad_end = 0;
};

// The axes of a window over `input` ([N, C, spatial...]); sizes that are not known give unknown
// outputs. ceil_mode rounds outputs up, where the last window still starts inside the image or its
// left padding. Formulas: ONNX operator specification, Conv and MaxPool.
Result<std::vector<WindowAxis>> resolve_window(const Node& node, const Shape& input,
                                               const std::vector<std::int64_t>& kernel,
                                               bool ceil_mode);

// Whether the last window ends behind the padding, as ceil_mode may make it.
bool overhangs(const WindowAxis& axis);

// The same as two axes (height, width); nothing for more than two spatial axes.
std::optional<std::array<WindowAxis, 2>> as_2d(const std::vector<WindowAxis>& axes);

}  // namespace octavo::ops
