#include "nn/conv_window.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/text.h"

namespace octavo::nn {

namespace {
Error shape_error(std::string_view where, std::string what, std::string hint) {
  return Error{Code::kShapeMismatch, std::move(what), std::string(where), std::move(hint)};
}
}  // namespace

Result<ConvWindow> conv_window(const Shape& x, const Shape& weight,
                               const functional::Conv2dOptions& options) {
  constexpr std::string_view kWhere = "conv2d";
  if (x.rank() != 4)
    return shape_error(kWhere, text("expected 4D input (got ", x.rank(), "D input)"),
                       "Give [N, C, H, W].");
  if (weight.rank() != 4)
    return shape_error(kWhere, text("weight of shape ", weight.to_string(), " is not 4D"),
                       "Give [O, C / groups, kH, kW].");
  ConvWindow w{x[0], x[1], x[2], x[3], weight[0], weight[2], weight[3], weight[1], 0, 0, 0};
  const std::int64_t groups = options.groups;
  if (groups < 1 || w.out_channels % groups != 0 || w.channels != groups * w.group_in) {
    return shape_error(kWhere,
                       text("Given groups=", groups, ", weight of size ", weight.to_string(),
                            ", expected input", x.to_string(), " to have ", groups * w.group_in,
                            " channels, but got ", w.channels, " channels instead"),
                       "Channels of input and output are multiples of groups.");
  }
  w.group_out = w.out_channels / groups;
  const auto along = [&](std::size_t axis, std::int64_t size, std::int64_t kernel) {
    const std::int64_t span = options.dilation[axis] * (kernel - 1) + 1;
    const std::int64_t room = size + 2 * options.padding[axis] - span;
    return room < 0 || kernel < 1 ? 0 : room / options.stride[axis] + 1;
  };
  if (std::min(options.stride[0], options.stride[1]) < 1 ||
      std::min(options.dilation[0], options.dilation[1]) < 1 ||
      std::min(options.padding[0], options.padding[1]) < 0) {
    return Error{Code::kInvalidOption, "non-positive stride or dilation, or negative padding",
                 std::string(kWhere), "Give stride >= 1, dilation >= 1, padding >= 0."};
  }
  w.out_h = along(0, w.height, w.kernel_h);
  w.out_w = along(1, w.width, w.kernel_w);
  if (w.out_h < 1 || w.out_w < 1) {
    return shape_error(kWhere,
                       text("Calculated padded input size is smaller than the kernel: input ",
                            x.to_string(), ", kernel (", w.kernel_h, ", ", w.kernel_w, ")"),
                       "Give a larger input or more padding.");
  }
  if (!w.out_shape().checked_elements() ||
      !Shape{w.padded_height(options), w.padded_width(options), w.channels}.checked_elements()) {
    return Error{
        Code::kLimitExceeded,
        text("The output ", w.out_shape().to_string(), " or the padded input is too large."),
        std::string(kWhere), text("A tensor has at most ", kMaxElements, " elements.")};
  }
  return w;
}

kernels::PadGeometry ConvWindow::border(const functional::Conv2dOptions& options,
                                        std::size_t element_bytes) const {
  const std::int64_t pixel_bytes = static_cast<std::int64_t>(element_bytes) * channels;
  return {height, width, options.padding[1], options.padding[1], pixel_bytes, pixel_bytes};
}

std::vector<std::int32_t> ConvWindow::tap_offsets(const functional::Conv2dOptions& options) const {
  std::vector<std::int32_t> offsets;
  for (std::int64_t ky = 0; ky < kernel_h; ++ky)
    for (std::int64_t kx = 0; kx < kernel_w; ++kx)
      offsets.push_back(static_cast<std::int32_t>(
          (ky * options.dilation[0] * padded_width(options) + kx * options.dilation[1]) *
          channels));
  return offsets;
}

}  // namespace octavo::nn
