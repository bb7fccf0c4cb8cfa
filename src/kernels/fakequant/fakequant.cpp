#include "kernels/fakequant/fakequant.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "kernels/codes.h"

namespace octavo::kernels {

namespace {

// q as PyTorch's int64: what does not fit comes out as the lowest.
std::int64_t to_int64(float q) {
  return std::fabs(q) < 0x1p63F ? static_cast<std::int64_t>(q)
                                : std::numeric_limits<std::int64_t>::min();
}

float on_grid(std::int64_t q, const FakeQuantGrid& grid) {
  const std::int64_t code = std::clamp<std::int64_t>(q, grid.code_min, grid.code_max);
  return static_cast<float>(static_cast<double>(code - grid.zero_point) *
                            static_cast<double>(grid.scale));
}

bool inside(std::int64_t q, const FakeQuantGrid& grid) {
  return grid.code_min <= q && q <= grid.code_max;
}

void forward_scalar(const float* x, float* y, std::uint8_t* mask, std::size_t n,
                    const FakeQuantGrid& grid) {
  const float inverse = 1.0F / grid.scale;
  for (std::size_t i = 0; i < n; ++i) {
    const std::int64_t q =
        to_int64(static_cast<float>(grid.zero_point) + std::nearbyint(x[i] * inverse));
    y[i] = on_grid(q, grid);
    mask[i] = inside(q, grid) ? 1 : 0;
  }
}

void backward_scalar(const float* grad_out, const std::uint8_t* mask, float* grad_in,
                     std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) grad_in[i] = grad_out[i] * static_cast<float>(mask[i]);
}

// Codes and multiples of the scale are exact floats below this, and so is their rounding by magic.
bool fits_lanes(const FakeQuantGrid& grid) {
  constexpr auto kLimit = static_cast<std::int32_t>(kRoundMagicLimit) / 2;
  return grid.code_min >= -kLimit && grid.code_max <= kLimit;
}

void forward_simd128(const float* x, float* y, std::uint8_t* mask, std::size_t n,
                     const FakeQuantGrid& grid) {
  if (!fits_lanes(grid)) return forward_scalar(x, y, mask, n, grid);
  const v128_t inverse = wasm_f32x4_splat(1.0F / grid.scale);
  const v128_t scale = wasm_f32x4_splat(grid.scale);
  const v128_t lo = wasm_f32x4_splat(static_cast<float>(grid.code_min - grid.zero_point));
  const v128_t hi = wasm_f32x4_splat(static_cast<float>(grid.code_max - grid.zero_point));
  const v128_t below = wasm_f32x4_sub(lo, wasm_f32x4_splat(1.0F));
  const v128_t above = wasm_f32x4_add(hi, wasm_f32x4_splat(1.0F));
  const v128_t limit = wasm_f32x4_splat(0x1p63F);
  const v128_t magic = wasm_f32x4_splat(kRoundMagic);
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    v128_t in_range[4];
    for (std::size_t j = 0; j < 4; ++j) {
      const v128_t t = wasm_f32x4_mul(wasm_v128_load(x + i + 4 * j), inverse);
      const v128_t finite = wasm_v128_bitselect(t, below, wasm_f32x4_lt(wasm_f32x4_abs(t), limit));
      // One step beyond each end is kept, so that the rounded value says on which side it is.
      const v128_t near = clamp_lanes(finite, below, above);
      const v128_t rounded = wasm_f32x4_sub(wasm_f32x4_add(near, magic), magic);
      in_range[j] = wasm_v128_and(wasm_f32x4_ge(rounded, lo), wasm_f32x4_le(rounded, hi));
      wasm_v128_store(y + i + 4 * j, wasm_f32x4_mul(clamp_lanes(rounded, lo, hi), scale));
    }
    const v128_t all = wasm_i8x16_narrow_i16x8(wasm_i16x8_narrow_i32x4(in_range[0], in_range[1]),
                                               wasm_i16x8_narrow_i32x4(in_range[2], in_range[3]));
    wasm_v128_store(mask + i, wasm_i8x16_neg(all));
  }
  forward_scalar(x + i, y + i, mask + i, n - i, grid);
}

void backward_simd128(const float* grad_out, const std::uint8_t* mask, float* grad_in,
                      std::size_t n) {
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const Codes16<std::uint8_t> kept = load16(mask + i);
    for (std::size_t j = 0; j < 4; ++j) {
      const v128_t factor = wasm_f32x4_convert_i32x4(kept.part[j]);
      wasm_v128_store(grad_in + i + 4 * j,
                      wasm_f32x4_mul(wasm_v128_load(grad_out + i + 4 * j), factor));
    }
  }
  backward_scalar(grad_out + i, mask + i, grad_in + i, n - i);
}

constexpr auto kKernels = std::to_array<FakeQuantKernel>({
    {"fakequant/scalar", simd::Level::kScalar, &forward_scalar, &backward_scalar},
    {"fakequant/simd128", simd::Level::kSimd128, &forward_simd128, &backward_simd128},
});

}  // namespace

std::span<const FakeQuantKernel> fakequant_kernels() { return kKernels; }

FakeQuantGradients fakequant_learnable_backward(const float* x, const float* grad_out,
                                                float* grad_in, std::size_t n,
                                                const FakeQuantGrid& grid, float grad_factor) {
  const float inverse = 1.0F / grid.scale;
  const auto zero = static_cast<float>(grid.zero_point);
  const float at_min = static_cast<float>(grid.code_min) - zero;
  const float at_max = static_cast<float>(grid.code_max) - zero;
  FakeQuantGradients sums;
  for (std::size_t i = 0; i < n; ++i) {
    const std::int64_t q = to_int64(std::nearbyint(zero + x[i] * inverse));
    const float grad = grad_out[i];
    if (inside(q, grid)) {
      sums.scale += static_cast<double>(grad * (on_grid(q, grid) - x[i]) * inverse * grad_factor);
      grad_in[i] = grad;
    } else {
      sums.scale += static_cast<double>(grad * (q < grid.code_min ? at_min : at_max) * grad_factor);
      sums.zero_point += static_cast<double>(-grad * grid.scale * grad_factor);
      grad_in[i] = grad * 0.0F;
    }
  }
  return sums;
}

}  // namespace octavo::kernels
