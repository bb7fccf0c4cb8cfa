#include "nn/quantized/product.h"

#include <algorithm>
#include <span>

#include "kernels/qrequantize/qrequantize.h"
#include "nn/checks.h"

namespace octavo::nn::quantized {

namespace {

constexpr std::int64_t kSumsOfBlock = 32 * 1024;  // 32-bit sums that stay in the cache

double weight_scale(const ProductSpec& spec, std::size_t channel) {
  return spec.weight_scales[spec.weight_scales.size() == 1 ? 0 : channel];
}

}  // namespace

Product::Product(ProductSpec spec) : spec_(std::move(spec)) {
  const auto channels = static_cast<std::size_t>(spec_.out_channels);
  const bool is_signed = spec_.dtype == ScalarType::kQint8;
  const auto zero_x = static_cast<std::int32_t>(spec_.x_zero_point);
  lo_ = static_cast<std::int32_t>(spec_.relu ? spec_.y_zero_point : quant_min_of(spec_.dtype));
  hi_ = static_cast<std::int32_t>(quant_max_of(spec_.dtype));
  std::vector<float> multiplier(channels);
  std::vector<std::int32_t> integer_bias(channels);
  const auto x_scale = static_cast<float>(spec_.x_scale);
  const auto y_scale = static_cast<float>(spec_.y_scale);
  const bool rounds_bias = spec_.backend.engine == QEngine::kQnnpack;
  for (std::size_t n = 0; n < channels; ++n) {
    const auto sum_scale = static_cast<float>(spec_.x_scale * weight_scale(spec_, n));
    const float bias = spec_.bias.empty() ? 0.0F : spec_.bias[n];
    if (rounds_bias) {
      multiplier[n] = static_cast<float>(weight_scale(spec_, n)) * x_scale / y_scale;
      integer_bias[n] = kernels::quantize_torch_value<std::int32_t>(bias, {sum_scale, 0});
    } else {
      scale_.push_back(sum_scale);
      bias_.push_back(bias);
    }
  }
  if (spec_.depthwise && rounds_bias) {
    const kernels::QDwConvSpec taps{static_cast<int>(channels), spec_.segments, is_signed, zero_x};
    depthwise_kernel_ = &kernels::choose_qdwconv(spec_.backend.policy, taps);
    depthwise_ = depthwise_kernel_->pack(taps, spec_.weights, integer_bias, multiplier);
    return;
  }
  const kernels::QConvSpec all{static_cast<int>(channels), spec_.segments, spec_.length, is_signed,
                               zero_x};
  kernel_ = &kernels::choose_qconv(spec_.backend.policy, all, spec_.weights);
  const std::size_t of_group = channels / static_cast<std::size_t>(spec_.groups);
  const std::size_t weights_of_group =
      spec_.weights.size() / static_cast<std::size_t>(spec_.groups);
  for (std::size_t g = 0; g < static_cast<std::size_t>(spec_.groups); ++g) {
    packed_.push_back(
        kernel_->pack({static_cast<int>(of_group), spec_.segments, spec_.length, is_signed, zero_x},
                      std::span(spec_.weights).subspan(g * weights_of_group, weights_of_group),
                      std::span(integer_bias).subspan(g * of_group, of_group),
                      std::span(multiplier).subspan(g * of_group, of_group)));
    scratch_bytes_ = std::max(scratch_bytes_, packed_.back().scratch_bytes);
  }
}

void Product::run_sums(const ProductCall& call, std::byte* out, kernels::QConvOutput output,
                       std::byte* scratch) const {
  kernels::QConvCall all;
  all.pixel_stride = call.pixel_stride;
  all.row_stride = call.row_stride;
  all.width = call.width;
  all.pixels = call.pixels;
  all.segment_offset = call.offsets;
  all.out_stride = spec_.out_channels;
  all.output = output;
  all.zero_y = static_cast<std::int32_t>(spec_.y_zero_point);
  all.lo = lo_;
  all.hi = hi_;
  all.scratch = scratch;
  const std::int64_t element = output == kernels::QConvOutput::kInt32 ? 4 : 1;
  const std::int64_t of_group = spec_.out_channels / spec_.groups;
  // A grouped convolution has one tap a segment, as long as the group's input channels.
  for (std::size_t g = 0; g < packed_.size(); ++g) {
    const auto i = static_cast<std::int64_t>(g);
    all.x = call.x + i * spec_.length;
    all.out = out + i * of_group * element;
    kernel_->run(packed_[g], all);
  }
}

void Product::run(const ProductCall& call) const {
  if (call.pixels == 0) return;
  if (depthwise_) {
    kernels::QDwConvCall all;
    all.x = call.x;
    all.pixel_stride = call.pixel_stride;
    all.row_stride = call.row_stride;
    all.width = call.width;
    all.pixels = call.pixels;
    all.tap_offset = call.offsets;
    all.out = call.y;
    all.out_stride = spec_.out_channels;
    all.zero_y = static_cast<std::int32_t>(spec_.y_zero_point);
    all.lo = lo_;
    all.hi = hi_;
    depthwise_kernel_->run(*depthwise_, all);
    return;
  }
  // Tensors are 16-byte aligned, as scratch has to be.
  Tensor scratch = Tensor::make(DType::kUint8, {static_cast<std::int64_t>(scratch_bytes_)});
  if (scale_.empty()) {
    run_sums(call, call.y,
             spec_.dtype == ScalarType::kQint8 ? kernels::QConvOutput::kInt8
                                               : kernels::QConvOutput::kUint8,
             scratch.mutable_data());
    return;
  }
  // Rows of pixels in blocks: sums, then codes.
  const std::int64_t row_sums = call.width * spec_.out_channels;
  const std::int64_t rows = call.pixels / call.width;
  const std::int64_t rows_of_block =
      std::clamp<std::int64_t>(kSumsOfBlock / row_sums, 1, std::max<std::int64_t>(1, rows));
  std::vector<std::int32_t> sums(static_cast<std::size_t>(rows_of_block * row_sums));
  const kernels::QRequantizeKernel& kernel =
      kernels::best_row(kernels::qrequantize_kernels(), spec_.backend.policy);
  const kernels::QRequantizeParams params{scale_.data(),
                                          bias_.data(),
                                          1.0F / static_cast<float>(spec_.y_scale),
                                          static_cast<std::int32_t>(spec_.y_zero_point),
                                          lo_,
                                          hi_};
  for (std::int64_t row = 0; row < rows; row += rows_of_block) {
    ProductCall block = call;
    block.pixels = std::min(rows_of_block, rows - row) * call.width;
    block.x = call.x + row * call.row_stride;
    run_sums(block, reinterpret_cast<std::byte*>(sums.data()), kernels::QConvOutput::kInt32,
             scratch.mutable_data());
    std::byte* y = call.y + row * row_sums;
    const auto pixels = static_cast<std::size_t>(block.pixels);
    const auto channels = static_cast<std::size_t>(spec_.out_channels);
    if (spec_.dtype == ScalarType::kQint8) {
      kernel.s8(sums.data(), reinterpret_cast<std::int8_t*>(y), pixels, channels, params);
    } else {
      kernel.u8(sums.data(), reinterpret_cast<std::uint8_t*>(y), pixels, channels, params);
    }
  }
}

}  // namespace octavo::nn::quantized
