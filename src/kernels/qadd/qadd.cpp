#include "kernels/qadd/qadd.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "kernels/codes.h"
#include "simd/relaxed.h"

namespace octavo::kernels {

QAddParams make_qadd_params(Grid a, Grid b, Grid out, std::int32_t lo, std::int32_t hi) {
  const float ratio_a = a.scale / out.scale;
  const float ratio_b = b.scale / out.scale;
  const float shift =
      ratio_a * static_cast<float>(a.zero_point) + ratio_b * static_cast<float>(b.zero_point);
  return {static_cast<float>(out.zero_point) - shift, ratio_a, ratio_b, lo, hi};
}

QAddParams make_qsub_params(Grid a, Grid b, Grid out, std::int32_t lo, std::int32_t hi) {
  b.scale = -b.scale;
  return make_qadd_params(a, b, out, lo, hi);
}

namespace {

// Both ratios as multiples of one unit, together at most `most` and each a 16-bit number; of the
// form `form`. Among the denominators of an attempt one is a quotient of the ratios less than f32
// resolves away, for nearly all ratios.
std::optional<QAddParams> in_units_of(QAddParams params, QAddForm form, int most_together,
                                      int attempt) {
  const bool a_is_larger = std::fabs(params.ratio_a) >= std::fabs(params.ratio_b);
  const double larger = a_is_larger ? params.ratio_a : params.ratio_b;
  // A file may have any scale: quotients of these are infinite, or 0.
  if (!std::isfinite(larger) || larger == 0) return std::nullopt;
  const double quotient = (a_is_larger ? params.ratio_b : params.ratio_a) / larger;
  const int largest_times =
      std::min<int>(std::numeric_limits<std::int16_t>::max(),
                    static_cast<int>(most_together / (1 + std::fabs(quotient))));
  const int denominators = largest_times / 2 / kUnitAttempts;
  const int most = largest_times - attempt * denominators;
  int best = most;
  double best_error = 1;
  for (int times = most; times > most - denominators; --times) {
    const double exact = quotient * times;
    const double error = std::fabs(exact - std::nearbyint(exact));
    if (error < best_error) {
      best_error = error;
      best = times;
    }
  }
  auto other = static_cast<int>(std::nearbyint(quotient * best));
  if (form == QAddForm::kOneRounding) {  // no other rounding hides that of the unit
    const int common = std::gcd(best, other);
    best /= common;
    other /= common;
  }
  params.form = form;
  params.unit = static_cast<float>(larger / best);
  params.times_a = static_cast<std::int16_t>(best);
  params.times_b = static_cast<std::int16_t>(other);
  if (!a_is_larger) std::swap(params.times_a, params.times_b);
  const float largest = std::fabs(params.fixed) + 510.0F * static_cast<float>(std::fabs(larger));
  if (!(largest < kRoundMagicLimit / 2) || params.unit == 0) return std::nullopt;
  return params;
}

constexpr std::int32_t kShifts = 1 << 18;

double fraction(double x) { return x - std::floor(x); }

// i >= 0, below kShifts, for which x - i * step is a little above a whole number. Steps that go
// down by less and less of a whole come from two neighbours, one just above a whole number and one
// just below (as in the continued fraction of `step`; the three distance theorem).
std::int32_t shift_to_multiple(double x, double step) {
  struct Step {
    std::int32_t count;
    double by;
  };
  Step down{1, fraction(step)};
  Step up{1, 1 - down.by};
  double rest = fraction(x);
  std::int32_t i = 0;
  while (down.by > 0 && up.by > 0 && down.count + up.count < kShifts) {
    for (; rest >= down.by && i + down.count < kShifts; rest -= down.by) i += down.count;
    if (up.by > down.by) {
      up = {up.count + down.count, up.by - down.by};
    } else {
      down = {up.count + down.count, down.by - up.by};
    }
  }
  return i;
}

}  // namespace

std::optional<QAddParams> in_units(QAddParams params, int attempt) {
  constexpr int kAny = 2 * std::numeric_limits<std::int16_t>::max();
  return in_units_of(params, QAddForm::kUnits, kAny, attempt);
}

std::optional<QAddParams> with_one_rounding(QAddParams params, std::int32_t lowest, int attempt) {
  // Of 255 times that, and of the choice of shifts beside it, there are less than 2^23.
  constexpr int kMostTogether = 31'800;
  static_assert(255 * kMostTogether + kShifts < 1 << 23);
  auto form = in_units_of(params, QAddForm::kOneRounding, kMostTogether, attempt / 3);
  if (!form) return std::nullopt;
  // The unit's own last place tilts all sums.
  const float end = attempt % 3 == 1 ? 0 : std::numeric_limits<float>::infinity();
  if (attempt % 3 != 0) form->unit = std::nextafter(form->unit, end);
  // Sums and shift lie in [-2^22, 2^22), where m + them is exact.
  const auto least = [lowest](int times) { return times * (times < 0 ? lowest + 255 : lowest); };
  const auto limit = static_cast<std::int32_t>(kRoundMagicLimit);
  const std::int32_t first = -limit - least(form->times_a) - least(form->times_b);
  // What the product is short of; in doubles it is exact. Floats of its size lie half a code apart
  // or more, but each shift by one takes a unit away.
  const double unit = form->unit;
  const double exact =
      double{kRoundMagic} - (double{kRoundMagic} + first) * unit + double{params.fixed};
  const auto at_first = static_cast<float>(exact);
  const double ulp = std::nextafter(std::fabs(at_first), std::numeric_limits<float>::infinity()) -
                     std::fabs(at_first);
  const std::int32_t more = shift_to_multiple(exact / ulp, unit / ulp);
  form->shift = first + more;
  form->fixed = static_cast<float>(exact - more * unit);
  return form;
}

bool rows_compute_fused_forms() {
  static const bool once = simd::rounds_products_once();  // the machine does not change
  return once;
}

QAddParams make_fused_qadd_params(Grid a, Grid b, Grid out, std::int32_t lo, std::int32_t hi,
                                  std::int32_t lowest) {
  a.zero_point -= lowest;
  b.zero_point -= lowest;
  out.zero_point -= lowest;
  QAddParams params = make_qadd_params(a, b, out, lo, hi);
  params.form = QAddForm::kFused;
  return params;
}

namespace {

template <class Code>
Code add_one(Code a, Code b, const QAddParams& p) {
  const auto lo = static_cast<float>(p.lo);
  const auto hi = static_cast<float>(p.hi);
  switch (p.form) {
    case QAddForm::kSeparate: {
      const float first = p.fixed + static_cast<float>(a) * p.ratio_a;
      const float sum = first + static_cast<float>(b) * p.ratio_b;
      return static_cast<Code>(round_clamped(sum, lo, hi));
    }
    case QAddForm::kUnits: {
      const float units = static_cast<float>(a * p.times_a + b * p.times_b);
      return static_cast<Code>(round_clamped(p.fixed + units * p.unit, lo, hi));
    }
    case QAddForm::kOneRounding: {
      const auto units = static_cast<float>(a * p.times_a + b * p.times_b + p.shift);
      const float code = std::fma(kRoundMagic + units, p.unit, p.fixed) - kRoundMagic;
      return static_cast<Code>(std::clamp(static_cast<std::int32_t>(code), p.lo, p.hi));
    }
    case QAddForm::kFused: {
      const float first = std::fma(static_cast<float>(a - kLowest<Code>), p.ratio_a, p.fixed);
      const float sum = std::fma(static_cast<float>(b - kLowest<Code>), p.ratio_b, first);
      constexpr auto kFirst = static_cast<float>(kLowest<Code>);
      return static_cast<Code>(round_clamped(sum, lo - kFirst, hi - kFirst) + kLowest<Code>);
    }
  }
  return a;  // unreachable: all forms are above
}

template <class Code>
void add_scalar(const Code* a, const Code* b, Code* out, std::size_t n, const QAddParams& params) {
  const QAddParams p = params;
  for (std::size_t i = 0; i < n; ++i) out[i] = add_one(a[i], b[i], p);
}

// kBounded: every sum is below 2^22, so it rounds without a clamp and the narrowing saturates.
template <class Code, bool kBounded>
void add_simd(const Code* a, const Code* b, Code* out, std::size_t n, const QAddParams& p) {
  const v128_t fixed = wasm_f32x4_splat(p.fixed);
  const v128_t ratio_a = wasm_f32x4_splat(p.ratio_a);
  const v128_t ratio_b = wasm_f32x4_splat(p.ratio_b);
  const v128_t lo = wasm_f32x4_splat(static_cast<float>(p.lo));
  const v128_t hi = wasm_f32x4_splat(static_cast<float>(p.hi));
  const v128_t lo_code = splat_code<Code>(p.lo);
  const v128_t hi_code = splat_code<Code>(p.hi);
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const Codes16<Code> x = load16(a + i);
    const Codes16<Code> y = load16(b + i);
    v128_t sum[4];
    for (std::size_t j = 0; j < 4; ++j) {
      const v128_t first =
          wasm_f32x4_add(fixed, wasm_f32x4_mul(wasm_f32x4_convert_i32x4(x.part[j]), ratio_a));
      v128_t t =
          wasm_f32x4_add(first, wasm_f32x4_mul(wasm_f32x4_convert_i32x4(y.part[j]), ratio_b));
      if constexpr (!kBounded) t = clamp_lanes(t, lo, hi);
      sum[j] = round_to_int(t);
    }
    const v128_t codes = narrow16<Code>(sum[0], sum[1], sum[2], sum[3]);
    wasm_v128_store(out + i, min_codes<Code>(max_codes<Code>(codes, lo_code), hi_code));
  }
  for (; i < n; ++i) out[i] = add_one(a[i], b[i], p);
}

v128_t alternating(std::int16_t a, std::int16_t b) {
  return wasm_i16x8_make(a, b, a, b, a, b, a, b);
}

// Sixteen pairs of codes, as neighbours in 16-bit lanes.
template <class Code>
Codes16<Code> load_pairs16(const Code* a, const Code* b) {
  const v128_t x0 = extend8(a);
  const v128_t x1 = extend8(a + 8);
  const v128_t y0 = extend8(b);
  const v128_t y1 = extend8(b + 8);
  return {{wasm_i16x8_shuffle(x0, y0, 0, 8, 1, 9, 2, 10, 3, 11),
           wasm_i16x8_shuffle(x0, y0, 4, 12, 5, 13, 6, 14, 7, 15),
           wasm_i16x8_shuffle(x1, y1, 0, 8, 1, 9, 2, 10, 3, 11),
           wasm_i16x8_shuffle(x1, y1, 4, 12, 5, 13, 6, 14, 7, 15)}};
}

template <class Code>
void add_units(const Code* a, const Code* b, Code* out, std::size_t n, const QAddParams& p) {
  const v128_t times = alternating(p.times_a, p.times_b);
  const v128_t unit = wasm_f32x4_splat(p.unit);
  const v128_t fixed = wasm_f32x4_splat(p.fixed);
  const v128_t magic = simd::from_memory(wasm_f32x4_splat(kRoundMagic));
  const v128_t magic_bits = simd::from_memory(wasm_i32x4_splat(kRoundMagicBits));
  const v128_t lo_code = splat_code<Code>(p.lo);
  const v128_t hi_code = splat_code<Code>(p.hi);
  const auto sum4 = [&](v128_t pairs) {
    const v128_t units = wasm_f32x4_convert_i32x4(wasm_i32x4_dot_i16x8(pairs, times));
    const v128_t sum = wasm_f32x4_add(fixed, wasm_f32x4_mul(units, unit));
    return wasm_i32x4_sub(wasm_f32x4_add(sum, magic), magic_bits);
  };
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const auto [pairs] = load_pairs16(a + i, b + i);
    const v128_t codes =
        narrow16<Code>(sum4(pairs[0]), sum4(pairs[1]), sum4(pairs[2]), sum4(pairs[3]));
    wasm_v128_store(out + i, min_codes<Code>(max_codes<Code>(codes, lo_code), hi_code));
  }
  for (; i < n; ++i) out[i] = add_one(a[i], b[i], p);
}

// kWhole: the bounds are those of the codes, where narrowing saturates.
template <class Code, bool kWhole>
void add_with_one_rounding(const Code* a, const Code* b, Code* out, std::size_t n,
                           const QAddParams& p) {
  const v128_t times = alternating(p.times_a, p.times_b);
  // As an integer added to the sum it is m + (sum + shift) as a float.
  const v128_t shift = simd::from_memory(wasm_i32x4_splat(kRoundMagicBits + p.shift));
  const v128_t unit = wasm_f32x4_splat(p.unit);
  const v128_t fixed = wasm_f32x4_splat(p.fixed);
  const v128_t magic_bits = simd::from_memory(wasm_i32x4_splat(kRoundMagicBits));
  const v128_t lo_code = splat_code<Code>(p.lo);
  const v128_t hi_code = splat_code<Code>(p.hi);
  const auto sum4 = [&](v128_t pairs) {
    const v128_t units = wasm_i32x4_add(wasm_i32x4_dot_i16x8(pairs, times), shift);
    return wasm_i32x4_sub(simd::relaxed_fma(units, unit, fixed), magic_bits);
  };
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const auto [pairs] = load_pairs16(a + i, b + i);
    v128_t codes = narrow16<Code>(sum4(pairs[0]), sum4(pairs[1]), sum4(pairs[2]), sum4(pairs[3]));
    if constexpr (!kWhole) codes = min_codes<Code>(max_codes<Code>(codes, lo_code), hi_code);
    wasm_v128_store(out + i, codes);
  }
  for (; i < n; ++i) out[i] = add_one(a[i], b[i], p);
}

template <class Code>
void add_fused(const Code* a, const Code* b, Code* out, std::size_t n, const QAddParams& p) {
  const v128_t fixed = wasm_f32x4_splat(p.fixed);
  const v128_t ratio_a = wasm_f32x4_splat(p.ratio_a);
  const v128_t ratio_b = wasm_f32x4_splat(p.ratio_b);
  const v128_t lo = wasm_f32x4_splat(static_cast<float>(p.lo - kLowest<Code>));
  const v128_t hi = wasm_f32x4_splat(static_cast<float>(p.hi - kLowest<Code>));
  const v128_t flip = splat_code<Code>(kLowest<Code>);
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const Codes16<std::uint8_t> x =
        split16<std::uint8_t>(wasm_v128_xor(wasm_v128_load(a + i), flip));
    const Codes16<std::uint8_t> y =
        split16<std::uint8_t>(wasm_v128_xor(wasm_v128_load(b + i), flip));
    v128_t sum[4];
    for (std::size_t j = 0; j < 4; ++j) {
      const v128_t first = simd::relaxed_fma(wasm_f32x4_convert_i32x4(x.part[j]), ratio_a, fixed);
      const v128_t t = simd::relaxed_fma(wasm_f32x4_convert_i32x4(y.part[j]), ratio_b, first);
      sum[j] = round_to_int(clamp_lanes(t, lo, hi));
    }
    wasm_v128_store(out + i,
                    wasm_v128_xor(narrow16<std::uint8_t>(sum[0], sum[1], sum[2], sum[3]), flip));
  }
  for (; i < n; ++i) out[i] = add_one(a[i], b[i], p);
}

template <class Code>
void add_simd128(const Code* a, const Code* b, Code* out, std::size_t n, const QAddParams& params) {
  const QAddParams p = params;
  if (p.form == QAddForm::kUnits) return add_units(a, b, out, n, p);
  if (p.form != QAddForm::kSeparate) return add_scalar(a, b, out, n, p);
  const float largest = std::fabs(p.fixed) + 255.0F * (std::fabs(p.ratio_a) + std::fabs(p.ratio_b));
  if (largest < kRoundMagicLimit / 2) {
    add_simd<Code, true>(a, b, out, n, p);
  } else {
    add_simd<Code, false>(a, b, out, n, p);
  }
}

template <class Code>
void add_relaxed(const Code* a, const Code* b, Code* out, std::size_t n, const QAddParams& params) {
  const QAddParams p = params;
  if (p.form == QAddForm::kFused) return add_fused(a, b, out, n, p);
  if (p.form != QAddForm::kOneRounding) return add_simd128(a, b, out, n, p);
  if (p.lo == kLowest<Code> && p.hi == kHighest<Code>) {
    add_with_one_rounding<Code, true>(a, b, out, n, p);
  } else {
    add_with_one_rounding<Code, false>(a, b, out, n, p);
  }
}

constexpr auto kKernels = std::to_array<QAddKernel>({
    {"qadd/scalar", simd::Level::kScalar, &add_scalar<std::uint8_t>, &add_scalar<std::int8_t>},
    {"qadd/simd128", simd::Level::kSimd128, &add_simd128<std::uint8_t>, &add_simd128<std::int8_t>},
    {"qadd/relaxed", simd::Level::kRelaxed, &add_relaxed<std::uint8_t>, &add_relaxed<std::int8_t>},
});

}  // namespace

std::span<const QAddKernel> qadd_kernels() {
  return std::span(kKernels).first(kKernels.size() - (simd::kHasRelaxedRows ? 0 : 1));
}

}  // namespace octavo::kernels
