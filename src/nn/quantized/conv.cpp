#include "nn/quantized/conv.h"

#include <algorithm>
#include <cstring>

#include "base/text.h"
#include "kernels/pad/pad.h"
#include "nn/checks.h"

namespace octavo::nn::quantized {

namespace internal {
const Conv::Kind kConv1d{"Conv1d", "quantized::conv1d", 1, false, false};
const Conv::Kind kConv2d{"Conv2d", "quantized::conv2d", 2, false, false};
const Conv::Kind kConvReLU1d{"ConvReLU1d", "quantized::conv1d_relu", 1, true, false};
const Conv::Kind kConvReLU2d{"ConvReLU2d", "quantized::conv2d_relu", 2, true, false};
const Conv::Kind kConvTranspose2d{"ConvTranspose2d", "quantized::conv_transpose2d", 2, false, true};
}  // namespace internal

namespace {
constexpr std::int64_t kMaxOption = std::int64_t{1} << 15;
constexpr double kMaxBorderedBytes = 512.0 * 1024 * 1024;
constexpr std::int64_t kSlack = 64;  // kernels read past a segment
}  // namespace

// One spatial axis as the kernels see it: windows of `kernel` taps, `dilation` apart, every `step`
// places of a bordered image; input pixel i lies at place i * spread + before.
struct Conv::Axis {
  std::int64_t in, out, kernel, dilation, step, spread, before;

  std::int64_t bordered() const { return (out - 1) * step + (kernel - 1) * dilation + 1; }
  bool plain() const { return before == 0 && spread == 1 && bordered() <= in; }
};

// Every input pixel at its place in the bordered image, those outside left out.
void Conv::spread_pixels(const std::byte* image, std::byte* out, const Axis& h, const Axis& w,
                         std::int64_t channels, std::uint8_t fill) {
  std::memset(out, fill, static_cast<std::size_t>(h.bordered() * w.bordered() * channels));
  for (std::int64_t y = 0; y < h.in; ++y) {
    const std::int64_t to_y = y * h.spread + h.before;
    if (to_y < 0 || to_y >= h.bordered()) continue;
    for (std::int64_t x = 0; x < w.in; ++x) {
      const std::int64_t to_x = x * w.spread + w.before;
      if (to_x < 0 || to_x >= w.bordered()) continue;
      std::memcpy(out + (to_y * w.bordered() + to_x) * channels, image + (y * w.in + x) * channels,
                  static_cast<std::size_t>(channels));
    }
  }
}

std::array<std::int64_t, 2> Conv::kernel_size() const {
  const Shape& shape = weight().shape();
  return {kind_->spatial == 1 ? 1 : shape[2], shape[shape.rank() - 1]};
}

Status Conv::set(QTensor weight, std::optional<Tensor> bias, const ConvOptions& given) {
  ConvOptions options = given;
  if (kind_->spatial == 1) {  // a line is an image of one row
    options.stride[0] = options.dilation[0] = 1;
    options.padding[0] = options.output_padding[0] = 0;
  }
  const auto error = [&](std::string what, std::string hint) {
    return nn_error(Code::kInvalidOption, std::move(what), kind_->module, std::move(hint));
  };
  for (std::size_t i = 0; i < 2; ++i) {
    const std::int64_t smallest = std::min(options.stride[i], options.dilation[i]);
    const std::int64_t largest = std::max(
        {options.stride[i], options.dilation[i], options.padding[i], options.output_padding[i]});
    if (smallest < 1 || std::min(options.padding[i], options.output_padding[i]) < 0 ||
        largest > kMaxOption) {
      return error(text("stride ", options.stride[i], ", padding ", options.padding[i],
                        ", dilation ", options.dilation[i], ", output_padding ",
                        options.output_padding[i], " is not allowed."),
                   text("stride and dilation are at least 1, paddings at least 0, all at most ",
                        kMaxOption, "."));
    }
    const bool fits = kind_->transposed ? options.output_padding[i] <
                                              std::max(options.stride[i], options.dilation[i])
                                        : options.output_padding[i] == 0;
    if (!fits) {
      return error(text("output padding must be smaller than either stride or dilation, but got ",
                        options.output_padding[i], "."),
                   "It is for ConvTranspose2d.");
    }
  }
  const Shape& shape = weight.shape();
  if (shape.rank() != kind_->spatial + 2 || shape.elements() == 0) {
    return error(text("The weight has shape ", shape.to_string(), "."),
                 text("Give ", kind_->spatial + 2, " axes, none of them 0."));
  }
  if (options.groups < 1 || shape[0] % options.groups != 0) {
    return error(text("groups = ", options.groups, " does not divide the ", shape[0],
                      kind_->transposed ? " input channels." : " output channels."),
                 "");
  }
  const std::int64_t out = kind_->transposed ? shape[1] * options.groups : shape[0];
  const std::int64_t in = kind_->transposed ? shape[0] : shape[1] * options.groups;
  if (kind_->transposed && options.groups > 1 && weight.grid().axis) {
    return error("The weight is quantized per channel, and groups > 1.",
                 "Quantize the weight per tensor.");
  }
  OCTAVO_CHECK_OK(set_weight(kind_->module, std::move(weight), std::move(bias),
                             kind_->transposed ? 1 : 0, out));
  options_ = options;
  in_channels_ = in;
  out_channels_ = out;
  return ok_status();
}

// Kernel rows are one segment where their bytes lie together.
bool Conv::joins_taps() const { return options_.groups == 1 && options_.dilation[1] == 1; }

ProductSpec Conv::rearranged() const {
  const auto [kernel_h, kernel_w] = kernel_size();
  const std::int64_t taps = kernel_h * kernel_w;
  const std::int64_t depth = in_channels_ / options_.groups;
  const std::int64_t of_group = out_channels_ / options_.groups;
  const Tensor codes = weight().int_repr();
  const auto from = codes.span<std::int8_t>();
  ProductSpec spec;
  spec.weights.resize(from.size());
  // Channels innermost, as the image has them. A transposed convolution is one over the spread
  // image with its taps turned around.
  for (std::int64_t n = 0; n < out_channels_; ++n) {
    for (std::int64_t t = 0; t < taps; ++t) {
      for (std::int64_t c = 0; c < depth; ++c) {
        const std::int64_t group = n / of_group;
        const std::int64_t at =
            kind_->transposed
                ? ((group * depth + c) * of_group + n % of_group) * taps + (taps - 1 - t)
                : (n * depth + c) * taps + t;
        spec.weights[static_cast<std::size_t>((n * taps + t) * depth + c)] =
            from[static_cast<std::size_t>(at)];
      }
    }
  }
  spec.out_channels = out_channels_;
  spec.groups = options_.groups;
  spec.segments = static_cast<int>(joins_taps() ? kernel_h : taps);
  spec.length = static_cast<int>(joins_taps() ? kernel_w * depth : depth);
  spec.depthwise = depth == 1 && of_group == 1 && options_.groups > 1;
  return spec;
}

Result<Conv::Axis> Conv::axis_of(const QTensor& x, int axis, std::size_t i) const {
  const std::int64_t in = x.shape()[axis];
  const std::int64_t kernel = kernel_size()[i];
  const std::int64_t dilation = options_.dilation[i];
  const std::int64_t stride = options_.stride[i];
  const std::int64_t padding = options_.padding[i];
  const std::int64_t reach = dilation * (kernel - 1);
  const bool transposed = kind_->transposed;
  const std::int64_t span = in + 2 * padding - reach - 1;
  const std::int64_t out =
      transposed ? (in - 1) * stride - 2 * padding + reach + options_.output_padding[i] + 1
      : span < 0 ? 0
                 : span / stride + 1;
  if (in < 1 || out < 1) {
    return nn_error(Code::kShapeMismatch,
                    text("Calculated output size would be too small: input ", x.shape().to_string(),
                         ", kernel ", kernel, ", padding ", padding, ", dilation ", dilation, "."),
                    kind_->op, "Give a larger input or more padding.");
  }
  if (transposed) return Axis{in, out, kernel, dilation, 1, stride, reach - padding};
  return Axis{in, out, kernel, dilation, stride, 1, padding};
}

Result<QTensor> Conv::forward(const QTensor& given) const {
  OCTAVO_CHECK_OK(check_activation(given, kind_->op));
  OCTAVO_CHECK_OK(check_rank(given, kind_->spatial + 2,
                             kind_->spatial == 1 ? "[N, C, L]" : "[N, C, H, W]", kind_->op));
  const Shape& given_shape = given.shape();
  if (given_shape[1] != in_channels_) {
    return nn_error(
        Code::kShapeMismatch,
        text("Given groups=", options_.groups, ", weight of size ", weight().shape().to_string(),
             ", expected input ", given_shape.to_string(), " to have ", in_channels_,
             " channels, but got ", given_shape[1], " channels instead."),
        kind_->op);
  }
  const Shape image_shape =
      kind_->spatial == 1 ? Shape{given_shape[0], given_shape[1], 1, given_shape[2]} : given_shape;
  const QTensor last = given.contiguous(MemoryFormat::kChannelsLast);
  const QTensor x = QTensor::of_storage(last.storage().reshaped(image_shape), given.grid(),
                                        MemoryFormat::kChannelsLast);
  OCTAVO_TRY(const Axis h, axis_of(x, 2, 0));
  OCTAVO_TRY(const Axis w, axis_of(x, 3, 1));
  const std::int64_t channels = in_channels_;
  const Shape out_shape{image_shape[0], out_channels_, h.out, w.out};
  const double bordered_bytes = static_cast<double>(h.bordered()) *
                                static_cast<double>(w.bordered()) * static_cast<double>(channels);
  if (!out_shape.checked_elements() || bordered_bytes > kMaxBorderedBytes) {
    return nn_error(Code::kLimitExceeded,
                    text("The output would be ", out_shape.to_string(), ", its bordered input ",
                         h.bordered(), " x ", w.bordered(), " x ", channels, "."),
                    kind_->op, "Use less padding or a smaller input.");
  }
  OCTAVO_TRY(const std::shared_ptr<const Product> product,
             product_for(x, kind_->relu, kind_->op, [this] { return rearranged(); }));

  const bool plain = h.plain() && w.plain();
  const std::int64_t row_pixels = plain ? w.in : w.bordered();
  Tensor bordered =
      Tensor::make(DType::kUint8, {plain ? 0 : h.bordered() * row_pixels * channels + kSlack});
  const auto fill = static_cast<std::uint8_t>(x.grid().zero_points[0]);
  std::vector<std::int32_t> offsets;
  for (std::int64_t i = 0; i < h.kernel; ++i) {
    for (std::int64_t j = 0; j < (joins_taps() ? 1 : w.kernel); ++j) {
      offsets.push_back(
          static_cast<std::int32_t>((i * h.dilation * row_pixels + j * w.dilation) * channels));
    }
  }
  Tensor codes = Tensor::make(x.storage().dtype(), out_shape);
  for (std::int64_t n = 0; n < image_shape[0]; ++n) {
    const std::byte* image = x.storage().data() + n * h.in * w.in * channels;
    if (!plain) {
      std::byte* to = bordered.mutable_data();
      if (h.spread == 1 && w.spread == 1 && row_pixels >= w.before + w.in) {
        kernels::copy_padded_rows(
            image, {h.in, w.in, w.before, row_pixels - w.before - w.in, channels, channels},
            -h.before, h.bordered(), fill, to);
      } else {
        spread_pixels(image, to, h, w, channels, fill);
      }
      image = to;
    }
    ProductCall call;
    call.x = image;
    call.pixel_stride = w.step * channels;
    call.row_stride = h.step * row_pixels * channels;
    call.width = w.out;
    call.pixels = h.out * w.out;
    call.offsets = offsets.data();
    call.y = codes.mutable_data() + n * call.pixels * out_channels_;
    product->run(call);
  }
  Shape shape = out_shape;
  if (kind_->spatial == 1) shape.dims().erase(shape.dims().begin() + 2);
  return QTensor::of_storage(codes.reshaped(std::move(shape)), output_grid(),
                             MemoryFormat::kChannelsLast);
}

StateDict Conv::state_dict() const {
  return {{"weight", weight()},
          {"bias", bias_or_empty()},
          {"scale", Tensor::scalar<double>(scale())},
          {"zero_point", Tensor::scalar<std::int64_t>(zero_point())}};
}

Status Conv::load_state_dict(const StateDict& state) {
  StateReader reader(state, std::string(kind_->module));
  OCTAVO_TRY(QTensor weight, reader.quantized("weight"));
  OCTAVO_TRY(std::optional<Tensor> bias, reader.optional_float("bias"));
  OCTAVO_TRY(const double scale, reader.number("scale"));
  OCTAVO_TRY(const std::int64_t zero_point, reader.integer("zero_point"));
  OCTAVO_CHECK_OK(reader.finish());
  Conv copy = *this;  // a dict that does not fit leaves the module as it was
  OCTAVO_CHECK_OK(copy.set(std::move(weight), std::move(bias), options_));
  OCTAVO_CHECK_OK(copy.set_output(scale, zero_point));
  *this = std::move(copy);
  return ok_status();
}

}  // namespace octavo::nn::quantized
