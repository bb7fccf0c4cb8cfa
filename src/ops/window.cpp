#include "ops/window.h"

#include <algorithm>

#include "base/text.h"

namespace octavo::ops {

namespace {
constexpr std::int64_t kMaxExtent =
    std::int64_t{1} << 24;  // of kernel, stride, dilation and pads: products stay small

Error window_error(const Node& node, Code code, std::string what, std::string hint = "") {
  return {code, std::move(what), describe(node), std::move(hint), {}};
}
}  // namespace

Result<std::vector<WindowAxis>> resolve_window(const Node& node, const Shape& input,
                                               const std::vector<std::int64_t>& kernel,
                                               bool ceil_mode) {
  const int spatial = input.rank() - 2;
  if (spatial < 1) {
    return window_error(node, Code::kShapeMismatch,
                        text("Its input has shape ", input.to_string(),
                             "; it needs batch, channels and at least one more axis."));
  }
  const auto count = static_cast<std::size_t>(spatial);
  const std::vector<std::int64_t> ones(count, 1);
  const std::vector<std::int64_t> strides = node.attrs.get_ints("strides", ones);
  const std::vector<std::int64_t> dilations = node.attrs.get_ints("dilations", ones);
  const std::vector<std::int64_t> pads =
      node.attrs.get_ints("pads", std::vector<std::int64_t>(2 * count, 0));
  const std::string auto_pad = node.attrs.get_string("auto_pad", "NOTSET");
  const bool same_upper = auto_pad == "SAME_UPPER";
  const bool same = same_upper || auto_pad == "SAME_LOWER";
  if (!same && auto_pad != "NOTSET" && auto_pad != "VALID" && !auto_pad.empty()) {
    return window_error(node, Code::kUnsupportedAttribute,
                        text("auto_pad = ", auto_pad, " is not known."),
                        "Use NOTSET, VALID, SAME_UPPER or SAME_LOWER.");
  }
  const auto check = [&](std::string_view name, const std::vector<std::int64_t>& values,
                         std::size_t wanted, std::int64_t least) -> Status {
    if (values.size() != wanted) {
      return window_error(node, Code::kShapeMismatch,
                          text(name, " has ", values.size(), " numbers for ", spatial,
                               " spatial axes of ", input.to_string(), "."));
    }
    for (const std::int64_t value : values) {
      if (value < least)
        return window_error(node, Code::kUnsupportedAttribute, text(name, " holds ", value, "."),
                            text("Use ", least, " or more."));
      if (value > kMaxExtent)
        return window_error(node, Code::kLimitExceeded,
                            text(name, " holds ", value, ", more than ", kMaxExtent, "."));
    }
    return ok_status();
  };
  OCTAVO_CHECK_OK(check("kernel_shape", kernel, count, 1));
  OCTAVO_CHECK_OK(check("strides", strides, count, 1));
  OCTAVO_CHECK_OK(check("dilations", dilations, count, 1));
  OCTAVO_CHECK_OK(check("pads", pads, 2 * count, 0));
  std::vector<WindowAxis> axes;
  std::int64_t taps = 1;
  for (std::size_t i = 0; i < count; ++i) {
    taps *= kernel[i];
    if (taps > kMaxElements)
      return window_error(node, Code::kLimitExceeded,
                          text("Its window has more than ", kMaxElements, " taps."));
    WindowAxis axis;
    axis.in = input[static_cast<int>(i) + 2];
    axis.kernel = kernel[i];
    axis.stride = strides[i];
    axis.dilation = dilations[i];
    if (auto_pad == "NOTSET" || auto_pad.empty()) {
      axis.pad_begin = pads[i];
      axis.pad_end = pads[i + count];
    }
    if (axis.kernel * axis.dilation > kMaxExtent)
      return window_error(node, Code::kLimitExceeded,
                          text("Kernel times dilation is ", axis.kernel * axis.dilation,
                               ", more than ", kMaxExtent, "."));
    const std::int64_t extent = (axis.kernel - 1) * axis.dilation + 1;
    if (axis.in < 0) {
      axis.out = kUnknownDim;
    } else if (same) {
      axis.out = (axis.in + axis.stride - 1) / axis.stride;
      const std::int64_t total =
          std::max<std::int64_t>(0, (axis.out - 1) * axis.stride + extent - axis.in);
      axis.pad_begin = same_upper ? total / 2 : total - total / 2;
      axis.pad_end = total - axis.pad_begin;
    } else {
      const std::int64_t room = axis.in + axis.pad_begin + axis.pad_end - extent;
      if (room < 0) {
        return window_error(
            node, Code::kShapeMismatch,
            text("The window of ", extent, " does not fit into ", axis.in, " with padding ",
                 axis.pad_begin, " and ", axis.pad_end, " (input ", input.to_string(), ")."),
            "Give a larger input.");
      }
      axis.out = (ceil_mode ? room + axis.stride - 1 : room) / axis.stride + 1;
      // A window may not begin in the padding behind the image.
      if (ceil_mode && (axis.out - 1) * axis.stride >= axis.in + axis.pad_begin) --axis.out;
    }
    axes.push_back(axis);
  }
  return axes;
}

bool overhangs(const WindowAxis& axis) {
  return (axis.out - 1) * axis.stride + (axis.kernel - 1) * axis.dilation + 1 >
         axis.pad_begin + axis.in + axis.pad_end;
}

std::optional<std::array<WindowAxis, 2>> as_2d(const std::vector<WindowAxis>& axes) {
  if (axes.size() == 1) return std::array{WindowAxis{}, axes[0]};
  if (axes.size() == 2) return std::array{axes[0], axes[1]};
  return std::nullopt;
}

}  // namespace octavo::ops
