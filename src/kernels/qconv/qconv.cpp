#include "kernels/qconv/qconv.h"

#include <array>

#include "kernels/qconv/requantize.h"
#include "kernels/qconv/rows.h"
#include "kernels/qconv/tiles.h"
#include "simd/isa.h"

namespace octavo::kernels {

namespace {

// ---- scalar: the specification ----

QConvPacked pack_scalar(const QConvSpec& spec, std::span<const std::int8_t> weights,
                        std::span<const std::int32_t> bias, std::span<const float> scale) {
  QConvPacked packed = pack_common(spec, weights, bias, scale);
  packed.weights.assign(weights.begin(), weights.end());
  return packed;
}

template <class Code>
void run_scalar(const QConvPacked& packed, const QConvCall& call) {
  const QConvSpec& spec = packed.spec;
  const Requantize requantize{call.zero_y, call.lo, call.hi};
  for (std::int64_t m = 0; m < call.pixels; ++m) {
    const std::byte* pixel = pixel_at(call, m);
    const std::int8_t* w =
        packed.weights.data() + std::int64_t{call.first_channel} * spec.segments * spec.length;
    for (int n = call.first_channel; n < call.end_channel(spec.channels); ++n) {
      auto acc = static_cast<std::uint32_t>(packed.bias[static_cast<std::size_t>(n)]);
      for (int s = 0; s < spec.segments; ++s) {
        const auto* x = reinterpret_cast<const Code*>(pixel + call.segment_offset[s]);
        for (int k = 0; k < spec.length; ++k, ++w) acc += static_cast<std::uint32_t>(x[k] * *w);
      }
      const auto sum = static_cast<std::int32_t>(acc);
      store_one(call.output, call.out, m * call.out_stride + n, sum,
                packed.scale[static_cast<std::size_t>(n)], requantize);
    }
  }
}

using simd::EngineClass;
using simd::Level;

constexpr std::array kScalarRows{
    QConvKernel{"qconv/scalar-u8", Level::kScalar, EngineClass::kNone, false, &pack_scalar,
                &run_scalar<std::uint8_t>, nullptr},
    QConvKernel{"qconv/scalar-s8", Level::kScalar, EngineClass::kNone, true, &pack_scalar,
                &run_scalar<std::int8_t>, nullptr},
};

}  // namespace

std::span<const QConvKernel> qconv_kernels() {
  static const std::vector<QConvKernel> table = [] {
    std::vector<QConvKernel> rows(kScalarRows.begin(), kScalarRows.end());
    for (const auto family : {qconv_dot16_rows(), qconv_direct_rows()})
      rows.insert(rows.end(), family.begin(), family.end());
    return rows;
  }();
  return table;
}

const QConvKernel& choose_qconv(const Policy& policy, const QConvSpec& spec,
                                std::span<const std::int8_t> weights) {
  const QConvKernel* best = nullptr;
  for (const QConvKernel& row : qconv_kernels()) {
    const bool exact = row.engine == EngineClass::kNone || row.engine == policy.engine;
    if (exact && row.x_signed == spec.x_signed && row.level <= policy.level &&
        (row.pays == nullptr || row.pays(spec, weights))) {
      best = &row;
    }
  }
  return *best;
}

}  // namespace octavo::kernels
