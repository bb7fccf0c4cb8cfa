#include "nn/dynamic_quantize.h"

#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "nn/checks.h"

namespace octavo::nn {

Result<QTensor> dynamic_quantize_linear(const Tensor& x) {
  constexpr std::string_view kWhere = "dynamic_quantize_linear";
  if (x.dtype() != DType::kFloat32) {
    return nn_error(Code::kUnsupportedDtype,
                    text("Quantize only works on Float Tensor, got ", dtype_name(x.dtype()), "."),
                    kWhere, "Give a float32 tensor.");
  }
  float lo = 0;
  float hi = 0;
  for (const float value : x.span<float>()) {
    if (!std::isfinite(value)) {
      return nn_error(Code::kNonFiniteSample, text("The tensor holds ", value, "."), kWhere,
                      "Its range has to be finite.");
    }
    lo = std::min(lo, value);
    hi = std::max(hi, value);
  }
  float scale = hi == lo ? 1.0F : (hi - lo) / 255.0F;
  // A range below or beyond what f32 can divide: the nearest scale that it can.
  scale = std::clamp(scale, 0x1p-126F, 0x1.fffffep127F);
  const float zero = std::nearbyint(std::clamp(-lo / scale, 0.0F, 255.0F));
  const auto zero_point = static_cast<std::int64_t>(zero);
  Tensor codes = Tensor::make(DType::kUint8, x.shape());
  kernels::best_row(kernels::quantize_kernels(), {})
      .quantize_u8(x.span<float>().data(), codes.mutable_span<std::uint8_t>().data(),
                   static_cast<std::size_t>(x.elements()),
                   kernel_grid(static_cast<double>(scale), zero_point));
  return QTensor::of_storage(std::move(codes),
                             QGrid::per_tensor(static_cast<double>(scale), zero_point),
                             MemoryFormat::kContiguous);
}

}  // namespace octavo::nn
