#include "kernels/moments/moments.h"

#include <algorithm>
#include <array>

#include "simd/isa.h"

namespace octavo::kernels {

namespace {

std::int16_t difference(const std::uint8_t* row, std::size_t c, bool codes_are_signed,
                        std::int32_t zero) {
  if (row == nullptr) return 0;
  const std::int32_t code = codes_are_signed ? static_cast<std::int8_t>(row[c]) : row[c];
  return static_cast<std::int16_t>(code - zero);
}

void pair_codes_from(const std::uint8_t* a, const std::uint8_t* b, std::size_t from, std::size_t n,
                     bool codes_are_signed, std::int32_t zero, std::int16_t* out) {
  for (std::size_t c = from; c < n; ++c) {
    out[2 * c] = difference(a, c, codes_are_signed, zero);
    out[2 * c + 1] = difference(b, c, codes_are_signed, zero);
  }
}

void pair_codes_scalar(const std::uint8_t* a, const std::uint8_t* b, std::size_t n,
                       bool codes_are_signed, std::int32_t zero, std::int16_t* out) {
  pair_codes_from(a, b, 0, n, codes_are_signed, zero, out);
}

void pair_codes_simd128(const std::uint8_t* a, const std::uint8_t* b, std::size_t n,
                        bool codes_are_signed, std::int32_t zero, std::int16_t* out) {
  std::size_t c = 0;
  if (a != nullptr && b != nullptr) {
    // Signed codes become unsigned ones by flipping their highest bit, a shift by 128.
    const v128_t flip = wasm_i8x16_splat(static_cast<std::int8_t>(codes_are_signed ? -128 : 0));
    const v128_t offset =
        wasm_i16x8_splat(static_cast<std::int16_t>(zero + (codes_are_signed ? 128 : 0)));
    for (; c + 16 <= n; c += 16) {
      const v128_t x = wasm_v128_xor(wasm_v128_load(a + c), flip);
      const v128_t y = wasm_v128_xor(wasm_v128_load(b + c), flip);
      const v128_t low =
          wasm_i8x16_shuffle(x, y, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
      const v128_t high =
          wasm_i8x16_shuffle(x, y, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
      std::int16_t* to = out + 2 * c;
      wasm_v128_store(to, wasm_i16x8_sub(wasm_u16x8_extend_low_u8x16(low), offset));
      wasm_v128_store(to + 8, wasm_i16x8_sub(wasm_u16x8_extend_high_u8x16(low), offset));
      wasm_v128_store(to + 16, wasm_i16x8_sub(wasm_u16x8_extend_low_u8x16(high), offset));
      wasm_v128_store(to + 24, wasm_i16x8_sub(wasm_u16x8_extend_high_u8x16(high), offset));
    }
  }
  pair_codes_from(a, b, c, n, codes_are_signed, zero, out);
}

void add_columns_from(const std::int16_t* pairs, std::size_t n, std::size_t from,
                      std::size_t columns, std::int32_t* sums) {
  for (std::size_t c = from; c < columns; ++c) {
    for (std::size_t p = 0; p < n; ++p) {
      const std::int16_t* both = pairs + 2 * (p * columns + c);
      sums[c] += both[0] + both[1];
    }
  }
}

void add_columns_scalar(const std::int16_t* pairs, std::size_t n, std::size_t columns,
                        std::int32_t* sums) {
  add_columns_from(pairs, n, 0, columns, sums);
}

void add_columns_simd128(const std::int16_t* pairs, std::size_t n, std::size_t columns,
                         std::int32_t* sums) {
  const v128_t ones = wasm_i16x8_splat(1);
  std::size_t c = 0;
  for (; c + 8 <= columns; c += 8) {
    v128_t first = wasm_v128_load(sums + c);
    v128_t second = wasm_v128_load(sums + c + 4);
    for (std::size_t p = 0; p < n; ++p) {
      const std::int16_t* at = pairs + 2 * (p * columns + c);
      first = wasm_i32x4_add(first, wasm_i32x4_dot_i16x8(wasm_v128_load(at), ones));
      second = wasm_i32x4_add(second, wasm_i32x4_dot_i16x8(wasm_v128_load(at + 8), ones));
    }
    wasm_v128_store(sums + c, first);
    wasm_v128_store(sums + c + 4, second);
  }
  add_columns_from(pairs, n, c, columns, sums);
}

std::int32_t product(const std::int16_t* x, const std::int16_t* y) {
  return x[0] * y[0] + x[1] * y[1];
}

void add_dense_scalar(const std::int16_t* pairs, std::size_t n, std::size_t columns,
                      std::int32_t* m) {
  for (std::size_t p = 0; p < n; ++p) {
    const std::int16_t* row = pairs + 2 * p * columns;
    for (std::size_t i = 0; i < columns; ++i) {
      for (std::size_t j = i; j < columns; ++j)
        m[i * columns + j] += product(row + 2 * i, row + 2 * j);
    }
  }
}

// Four columns by eight: eight sums, each of four columns j; the pair of column i is in all lanes.
void add_dense_simd128(const std::int16_t* pairs, std::size_t n, std::size_t columns,
                       std::int32_t* m) {
  for (std::size_t i = 0; i < columns; i += 4) {
    for (std::size_t j = i / 8 * 8; j < columns; j += 8) {
      v128_t sums[4][2];
      for (std::size_t r = 0; r < 4; ++r) {
        sums[r][0] = wasm_v128_load(m + (i + r) * columns + j);
        sums[r][1] = wasm_v128_load(m + (i + r) * columns + j + 4);
      }
      const std::int16_t* row = pairs;
      for (std::size_t p = 0; p < n; ++p, row += 2 * columns) {
        const v128_t first = wasm_v128_load(row + 2 * j);
        const v128_t second = wasm_v128_load(row + 2 * j + 8);
        for (std::size_t r = 0; r < 4; ++r) {
          const v128_t both = wasm_v128_load32_splat(row + 2 * (i + r));
          sums[r][0] = wasm_i32x4_add(sums[r][0], wasm_i32x4_dot_i16x8(both, first));
          sums[r][1] = wasm_i32x4_add(sums[r][1], wasm_i32x4_dot_i16x8(both, second));
        }
      }
      for (std::size_t r = 0; r < 4; ++r) {
        wasm_v128_store(m + (i + r) * columns + j, sums[r][0]);
        wasm_v128_store(m + (i + r) * columns + j + 4, sums[r][1]);
      }
    }
  }
}

void add_lanes_scalar(const std::int16_t* pairs, std::size_t n, std::size_t taps,
                      std::size_t channels, std::int32_t* m) {
  for (std::size_t p = 0; p < n; ++p) {
    const std::int16_t* row = pairs + 2 * p * taps * channels;
    for (std::size_t s = 0; s < taps; ++s) {
      for (std::size_t t = s; t < taps; ++t) {
        for (std::size_t c = 0; c < channels; ++c) {
          m[(s * taps + t) * channels + c] +=
              product(row + 2 * (s * channels + c), row + 2 * (t * channels + c));
        }
      }
    }
  }
}

// Taps [s, s + kRows) by [t, t + kColumns) of channels c .. c + 3.
template <std::size_t kRows, std::size_t kColumns>
void add_taps(const std::int16_t* pairs, std::size_t n, std::size_t taps, std::size_t channels,
              std::int32_t* m, std::size_t s, std::size_t t, std::size_t c) {
  v128_t sums[kRows][kColumns];
  std::int32_t* to = m + (s * taps + t) * channels + c;
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t k = 0; k < kColumns; ++k)
      sums[r][k] = wasm_v128_load(to + (r * taps + k) * channels);
  }
  const std::int16_t* left = pairs + 2 * (s * channels + c);
  const std::int16_t* right = pairs + 2 * (t * channels + c);
  for (std::size_t p = 0; p < n; ++p, left += 2 * taps * channels, right += 2 * taps * channels) {
    v128_t x[kRows];
    for (std::size_t r = 0; r < kRows; ++r) x[r] = wasm_v128_load(left + 2 * r * channels);
    for (std::size_t k = 0; k < kColumns; ++k) {
      const v128_t y = wasm_v128_load(right + 2 * k * channels);
      for (std::size_t r = 0; r < kRows; ++r)
        sums[r][k] = wasm_i32x4_add(sums[r][k], wasm_i32x4_dot_i16x8(x[r], y));
    }
  }
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t k = 0; k < kColumns; ++k)
      wasm_v128_store(to + (r * taps + k) * channels, sums[r][k]);
  }
}

void add_lanes_simd128(const std::int16_t* pairs, std::size_t n, std::size_t taps,
                       std::size_t channels, std::int32_t* m) {
  const auto three = [taps](std::size_t tap) { return tap + 3 <= taps; };
  for (std::size_t c = 0; c < channels; c += 4) {
    for (std::size_t s = 0; s < taps; s += three(s) ? 3 : 1) {
      for (std::size_t t = s; t < taps; t += three(t) ? 3 : 1) {
        const auto add = three(s) ? three(t) ? &add_taps<3, 3> : &add_taps<3, 1> : &add_taps<1, 1>;
        add(pairs, n, taps, channels, m, s, t, c);
      }
    }
  }
}

void add_scaled_scalar(float* to, const float* from, float factor, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) to[i] += factor * from[i];
}

void add_scaled_simd128(float* to, const float* from, float factor, std::size_t n) {
  const v128_t factors = wasm_f32x4_splat(factor);
  std::size_t i = 0;
  for (; i + 4 <= n; i += 4) {
    const v128_t added = wasm_f32x4_mul(factors, wasm_v128_load(from + i));
    wasm_v128_store(to + i, wasm_f32x4_add(wasm_v128_load(to + i), added));
  }
  add_scaled_scalar(to + i, from + i, factor, n - i);
}

constexpr std::array kTable{
    MomentsKernel{"moments/scalar", simd::Level::kScalar, &pair_codes_scalar, &add_columns_scalar,
                  &add_dense_scalar, &add_lanes_scalar, &add_scaled_scalar},
    MomentsKernel{"moments/simd128", simd::Level::kSimd128, &pair_codes_simd128,
                  &add_columns_simd128, &add_dense_simd128, &add_lanes_simd128,
                  &add_scaled_simd128},
};

}  // namespace

std::span<const MomentsKernel> moments_kernels() { return kTable; }
const MomentsKernel& moments() { return best_row(moments_kernels(), Policy{}); }

void second_moments(const float* rows, std::size_t n, std::size_t k, float* m) {
  const auto add_scaled = moments().add_scaled;
  std::fill(m, m + k * k, 0.0F);
  // A few rows of m stay in the cache while all rows of data pass by.
  constexpr std::size_t kBlock = 8;
  for (std::size_t first = 0; first < k; first += kBlock) {
    const std::size_t last = std::min(k, first + kBlock);
    for (std::size_t t = 0; t < n; ++t) {
      const float* row = rows + t * k;
      for (std::size_t i = first; i < last; ++i) {
        if (row[i] != 0) add_scaled(m + i * k + first, row + first, row[i], k - first);
      }
    }
  }
  for (std::size_t i = 0; i < k; ++i) {
    for (std::size_t j = 0; j < i; ++j) m[i * k + j] = m[j * k + i];
  }
}

}  // namespace octavo::kernels
