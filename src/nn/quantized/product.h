// The integer core of convolutions and linear layers: weights times codes on the qconv and qdwconv
// kernels, and the output stage of torch's engines.
//
//   onednn   y = clamp(rint((f32(acc) * sc[n] + bias[n]) * (1f / s_y) + z_y))
//            sc[n] = (f32)(s_x * s_w[n])
//   qnnpack  y = clamp(rint(f32(acc + bias_q[n]) * m[n]) + z_y)
//            bias_q = quantize(bias, s_x * s_w[n], 0, qint32), m[n] = (s_w[n] * s_x) / s_y in f32
//
//   acc = sum of (x - z_x) * w, exact. With relu the clamp starts at z_y.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/qconv/qconv.h"
#include "kernels/qdwconv/qdwconv.h"
#include "nn/engine.h"
#include "nn/qtensor.h"

namespace octavo::nn::quantized {

struct ProductSpec {
  // [out_channels][segments][length], codes of qint8 with zero point 0.
  std::vector<std::int8_t> weights;
  std::vector<double> weight_scales;  // one, or one a channel
  std::vector<float> bias;            // one a channel, or none
  std::int64_t out_channels = 0, groups = 1;
  int segments = 1, length = 0;
  bool depthwise = false;  // one channel in and out a group: length is 1, segments the taps
  ScalarType dtype = ScalarType::kQuint8;
  double x_scale = 1, y_scale = 1;
  std::int64_t x_zero_point = 0, y_zero_point = 0;
  bool relu = false;
  Backend backend;
};

// Where the codes lie; as qconv's call, for all groups at once.
struct ProductCall {
  const std::byte* x = nullptr;  // 16 readable bytes past the last pixel
  std::int64_t pixel_stride = 0, row_stride = 0, width = 1, pixels = 0;
  const std::int32_t* offsets = nullptr;  // bytes from a pixel to each segment (of group 0)
  std::byte* y = nullptr;                 // dense [pixels][out_channels]
};

// Packed once for one grid of x.
class Product {
 public:
  explicit Product(ProductSpec spec);
  void run(const ProductCall& call) const;

 private:
  void run_sums(const ProductCall& call, std::byte* out, kernels::QConvOutput output,
                std::byte* scratch) const;

  ProductSpec spec_;
  const kernels::QConvKernel* kernel_ = nullptr;
  std::vector<kernels::QConvPacked> packed_;  // one a group
  const kernels::QDwConvKernel* depthwise_kernel_ = nullptr;
  std::optional<kernels::QDwConvPacked> depthwise_;
  std::vector<float> scale_, bias_;  // onednn's output stage
  std::int32_t lo_ = 0, hi_ = 255;
  std::size_t scratch_bytes_ = 0;
};

}  // namespace octavo::nn::quantized
