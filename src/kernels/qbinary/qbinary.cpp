#include "kernels/qbinary/qbinary.h"

#include <array>

#include "kernels/codes.h"

namespace octavo::kernels {

QBinaryParams make_torch_add_params(Grid a, Grid b, Grid out, std::int32_t lo, std::int32_t hi) {
  return {a, b, 1.0F / out.scale, out.zero_point, lo, hi};
}
QBinaryParams make_torch_mul_params(Grid a, Grid b, Grid out, std::int32_t lo, std::int32_t hi) {
  return {a, b, a.scale * b.scale * (1.0F / out.scale), out.zero_point, lo, hi};
}

namespace {

// In units of the output grid; `x`, `y` are a - zero_a, b - zero_b.
struct Add {
  static float one(std::int32_t x, std::int32_t y, const QBinaryParams& p) {
    return (p.a.scale * static_cast<float>(x) + p.b.scale * static_cast<float>(y)) * p.factor;
  }
  v128_t scale_a, scale_b, factor;
  explicit Add(const QBinaryParams& p)
      : scale_a(wasm_f32x4_splat(p.a.scale)),
        scale_b(wasm_f32x4_splat(p.b.scale)),
        factor(wasm_f32x4_splat(p.factor)) {}
  v128_t four(v128_t x, v128_t y) const {
    const v128_t sum = wasm_f32x4_add(wasm_f32x4_mul(scale_a, wasm_f32x4_convert_i32x4(x)),
                                      wasm_f32x4_mul(scale_b, wasm_f32x4_convert_i32x4(y)));
    return wasm_f32x4_mul(sum, factor);
  }
};
struct Mul {
  static float one(std::int32_t x, std::int32_t y, const QBinaryParams& p) {
    return static_cast<float>(x * y) * p.factor;
  }
  v128_t factor;
  explicit Mul(const QBinaryParams& p) : factor(wasm_f32x4_splat(p.factor)) {}
  v128_t four(v128_t x, v128_t y) const {
    return wasm_f32x4_mul(wasm_f32x4_convert_i32x4(wasm_i32x4_mul(x, y)), factor);
  }
};

template <class Op, class Code>
Code one_code(Code a, Code b, const QBinaryParams& p) {
  const float t = Op::one(static_cast<std::int32_t>(a) - p.a.zero_point,
                          static_cast<std::int32_t>(b) - p.b.zero_point, p);
  return static_cast<Code>(round_clamped(t, static_cast<float>(p.lo - p.zero_out),
                                         static_cast<float>(p.hi - p.zero_out)) +
                           p.zero_out);
}

template <class Op, class Code>
void run_scalar(const Code* a, const Code* b, Code* out, std::size_t n,
                const QBinaryParams& params) {
  const QBinaryParams p = params;
  for (std::size_t i = 0; i < n; ++i) out[i] = one_code<Op>(a[i], b[i], p);
}

template <class Op, class Code>
void run_simd128(const Code* a, const Code* b, Code* out, std::size_t n,
                 const QBinaryParams& params) {
  const QBinaryParams p = params;
  const Op op(p);
  const v128_t zero_a = wasm_i32x4_splat(p.a.zero_point);
  const v128_t zero_b = wasm_i32x4_splat(p.b.zero_point);
  const v128_t zero_out = wasm_i32x4_splat(p.zero_out);
  const v128_t lo = wasm_f32x4_splat(static_cast<float>(p.lo - p.zero_out));
  const v128_t hi = wasm_f32x4_splat(static_cast<float>(p.hi - p.zero_out));
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const Codes16<Code> x = load16(a + i);
    const Codes16<Code> y = load16(b + i);
    v128_t part[4];
    for (std::size_t j = 0; j < 4; ++j) {
      const v128_t t =
          op.four(wasm_i32x4_sub(x.part[j], zero_a), wasm_i32x4_sub(y.part[j], zero_b));
      part[j] = wasm_i32x4_add(round_to_int(clamp_lanes(t, lo, hi)), zero_out);
    }
    wasm_v128_store(out + i, narrow16<Code>(part[0], part[1], part[2], part[3]));
  }
  for (; i < n; ++i) out[i] = one_code<Op>(a[i], b[i], p);
}

constexpr auto kKernels = std::to_array<QBinaryKernel>({
    {"qbinary/scalar", simd::Level::kScalar, &run_scalar<Add, std::uint8_t>,
     &run_scalar<Add, std::int8_t>, &run_scalar<Mul, std::uint8_t>, &run_scalar<Mul, std::int8_t>},
    {"qbinary/simd128", simd::Level::kSimd128, &run_simd128<Add, std::uint8_t>,
     &run_simd128<Add, std::int8_t>, &run_simd128<Mul, std::uint8_t>,
     &run_simd128<Mul, std::int8_t>},
});

}  // namespace

std::span<const QBinaryKernel> qbinary_kernels() { return kKernels; }

}  // namespace octavo::kernels
