// nn::quantized::Conv1d, Conv2d, ConvTranspose2d (torch.ao.nn.quantized) and ConvReLU1d, ConvReLU2d
// (torch.ao.nn.intrinsic.quantized). product.h has the arithmetic of both engines.
//
// x [N, C, H, W] (Conv1d: [N, C, L]) quint8 or qint8, per tensor; padding is the code of 0, x's
// zero point. y has x's dtype and memory format, and the module's scale and zero point. torch's
// onednn engine takes quint8 only; here both engines take both.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "nn/quantized/weighted.h"

namespace octavo::nn::quantized {

// Height, then width; Conv1d takes the second numbers.
struct ConvOptions {
  std::array<std::int64_t, 2> stride{1, 1}, padding{0, 0}, dilation{1, 1};
  std::array<std::int64_t, 2> output_padding{0, 0};  // ConvTranspose2d only
  std::int64_t groups = 1;
};

// The common part; take one of the classes below.
class Conv : public Weighted {
 public:
  struct Kind {
    std::string_view module, op;
    int spatial;
    bool relu, transposed;
  };

  std::int64_t in_channels() const { return in_channels_; }
  std::int64_t out_channels() const { return out_channels_; }
  const ConvOptions& options() const { return options_; }

  // y [N, out_channels, H', W'], H' = floor((H + 2 padding - dilation (k - 1) - 1) / stride) + 1,
  // or transposed (H - 1) stride - 2 padding + dilation (k - 1) + output_padding + 1.
  Result<QTensor> forward(const QTensor& x) const;

  // weight, bias (empty for none), scale, zero_point.
  StateDict state_dict() const;
  Status load_state_dict(const StateDict& state);

 protected:
  explicit Conv(const Kind& kind) : kind_(&kind) {}
  Status set(QTensor weight, std::optional<Tensor> bias, const ConvOptions& options);

 private:
  struct Axis;
  Result<Axis> axis_of(const QTensor& x, int axis, std::size_t i) const;
  static void spread_pixels(const std::byte* image, std::byte* out, const Axis& h, const Axis& w,
                            std::int64_t channels, std::uint8_t fill);
  ProductSpec rearranged() const;
  bool joins_taps() const;
  std::array<std::int64_t, 2> kernel_size() const;

  const Kind* kind_;
  ConvOptions options_;
  std::int64_t in_channels_ = 0, out_channels_ = 0;
};

namespace internal {
extern const Conv::Kind kConv1d, kConv2d, kConvReLU1d, kConvReLU2d, kConvTranspose2d;
}

template <const Conv::Kind& kKind>
class ConvOf : public Conv {
 public:
  // weight: qint8 [out_channels, in_channels / groups, kH, kW] (Conv1d: [.., .., k]), per tensor or
  // per channel along axis 0; ConvTranspose2d: [in_channels, out_channels / groups, kH, kW], per
  // channel along axis 1 where groups = 1. bias: float32 [out_channels]. What torch's from_float
  // and from_reference make of a float module: a quantized weight and an output grid.
  static Result<ConvOf> from_weights(QTensor weight, std::optional<Tensor> bias,
                                     const ConvOptions& options, double scale,
                                     std::int64_t zero_point, const Backend& backend = {}) {
    ConvOf module;
    OCTAVO_CHECK_OK(module.set(std::move(weight), std::move(bias), options));
    OCTAVO_CHECK_OK(module.set_output(scale, zero_point));
    module.set_backend(backend);
    return module;
  }

 private:
  ConvOf() : Conv(kKind) {}
};

using Conv1d = ConvOf<internal::kConv1d>;
using Conv2d = ConvOf<internal::kConv2d>;
using ConvReLU1d = ConvOf<internal::kConvReLU1d>;
using ConvReLU2d = ConvOf<internal::kConvReLU2d>;
using ConvTranspose2d = ConvOf<internal::kConvTranspose2d>;

}  // namespace octavo::nn::quantized
