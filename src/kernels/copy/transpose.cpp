#include "kernels/copy/transpose.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "simd/isa.h"

namespace octavo::kernels {

namespace {

// A block of the matrix, element by element.
template <std::size_t kBytes>
void transpose_part(const std::byte* src, std::byte* dst, std::int64_t row_begin,
                    std::int64_t row_end, std::int64_t column_begin, std::int64_t column_end,
                    std::int64_t src_row, std::int64_t dst_row) {
  constexpr auto kSize = static_cast<std::int64_t>(kBytes);
  for (std::int64_t c = column_begin; c < column_end; ++c) {
    for (std::int64_t r = row_begin; r < row_end; ++r) {
      std::memcpy(dst + (c * dst_row + r) * kSize, src + (r * src_row + c) * kSize, kBytes);
    }
  }
}

// Tiles of 32 x 32, so that the lines of both matrices stay in the nearest cache while a tile is
// done.
template <std::size_t kBytes>
void transpose_scalar(const std::byte* src, std::byte* dst, std::int64_t rows, std::int64_t columns,
                      std::int64_t src_row, std::int64_t dst_row) {
  constexpr std::int64_t kTile = 32;
  for (std::int64_t c = 0; c < columns; c += kTile) {
    for (std::int64_t r = 0; r < rows; r += kTile) {
      transpose_part<kBytes>(src, dst, r, std::min(rows, r + kTile), c,
                             std::min(columns, c + kTile), src_row, dst_row);
    }
  }
}

// A square block in registers: kSide rows of kSide elements of kBytes, kSide * kBytes = 16.
template <std::size_t kBytes>
struct Block;

template <>
struct Block<1> {
  static constexpr std::int64_t kSide = 16;
  // Each round interleaves row i with row i + 8; four rounds turn sixteen rows around.
  static void turn(v128_t* rows) {
    for (int round = 0; round < 4; ++round) {
      v128_t next[16];
      for (int i = 0; i < 8; ++i) {
        next[2 * i] = wasm_i8x16_shuffle(rows[i], rows[i + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5,
                                         21, 6, 22, 7, 23);
        next[2 * i + 1] = wasm_i8x16_shuffle(rows[i], rows[i + 8], 8, 24, 9, 25, 10, 26, 11, 27, 12,
                                             28, 13, 29, 14, 30, 15, 31);
      }
      std::copy(next, next + 16, rows);
    }
  }
};

template <>
struct Block<2> {
  static constexpr std::int64_t kSide = 8;
  static void turn(v128_t* rows) {
    for (int round = 0; round < 3; ++round) {
      v128_t next[8];
      for (int i = 0; i < 4; ++i) {
        next[2 * i] = wasm_i16x8_shuffle(rows[i], rows[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
        next[2 * i + 1] = wasm_i16x8_shuffle(rows[i], rows[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
      }
      std::copy(next, next + 8, rows);
    }
  }
};

template <>
struct Block<4> {
  static constexpr std::int64_t kSide = 4;
  static void turn(v128_t* rows) {
    for (int round = 0; round < 2; ++round) {
      v128_t next[4];
      for (int i = 0; i < 2; ++i) {
        next[2 * i] = wasm_i32x4_shuffle(rows[i], rows[i + 2], 0, 4, 1, 5);
        next[2 * i + 1] = wasm_i32x4_shuffle(rows[i], rows[i + 2], 2, 6, 3, 7);
      }
      std::copy(next, next + 4, rows);
    }
  }
};

// Sixteen pixels of three planes: vector kPart of their three.
template <int kPart>
v128_t part_of_pixels(v128_t a, v128_t b, v128_t c) {
  // The third plane's places are filled by the second shuffle.
  constexpr auto first_two = [](int i) {
    const int at = 16 * kPart + i;
    return at % 3 == 1 ? 16 + at / 3 : at / 3;
  };
  constexpr auto third = [](int i) {
    const int at = 16 * kPart + i;
    return at % 3 == 2 ? 16 + at / 3 : i;
  };
  const v128_t ab = wasm_i8x16_shuffle(a, b, first_two(0), first_two(1), first_two(2), first_two(3),
                                       first_two(4), first_two(5), first_two(6), first_two(7),
                                       first_two(8), first_two(9), first_two(10), first_two(11),
                                       first_two(12), first_two(13), first_two(14), first_two(15));
  return wasm_i8x16_shuffle(ab, c, third(0), third(1), third(2), third(3), third(4), third(5),
                            third(6), third(7), third(8), third(9), third(10), third(11), third(12),
                            third(13), third(14), third(15));
}

// The planes of a colour picture to its pixels. Returns how many are done.
std::int64_t interleave_three(const std::byte* src, std::byte* dst, std::int64_t columns,
                              std::int64_t src_row) {
  std::int64_t i = 0;
  for (; i + 16 <= columns; i += 16) {
    const v128_t a = wasm_v128_load(src + i);
    const v128_t b = wasm_v128_load(src + src_row + i);
    const v128_t c = wasm_v128_load(src + 2 * src_row + i);
    wasm_v128_store(dst + 3 * i, part_of_pixels<0>(a, b, c));
    wasm_v128_store(dst + 3 * i + 16, part_of_pixels<1>(a, b, c));
    wasm_v128_store(dst + 3 * i + 32, part_of_pixels<2>(a, b, c));
  }
  return i;
}

template <std::size_t kBytes>
void transpose_simd128(const std::byte* src, std::byte* dst, std::int64_t rows,
                       std::int64_t columns, std::int64_t src_row, std::int64_t dst_row) {
  constexpr std::int64_t kSide = Block<kBytes>::kSide;
  constexpr auto kSize = static_cast<std::int64_t>(kBytes);
  if (kBytes == 1 && rows == 3 && dst_row == 3) {
    const std::int64_t done = interleave_three(src, dst, columns, src_row);
    return transpose_part<kBytes>(src, dst, 0, rows, done, columns, src_row, dst_row);
  }
  const std::int64_t whole_rows = rows - rows % kSide;
  const std::int64_t whole_columns = columns - columns % kSide;
  for (std::int64_t c = 0; c < whole_columns; c += kSide) {
    for (std::int64_t r = 0; r < whole_rows; r += kSide) {
      v128_t block[kSide];
      for (std::int64_t i = 0; i < kSide; ++i)
        block[i] = wasm_v128_load(src + ((r + i) * src_row + c) * kSize);
      Block<kBytes>::turn(block);
      for (std::int64_t i = 0; i < kSide; ++i)
        wasm_v128_store(dst + ((c + i) * dst_row + r) * kSize, block[i]);
    }
  }
  transpose_part<kBytes>(src, dst, whole_rows, rows, 0, whole_columns, src_row, dst_row);
  transpose_part<kBytes>(src, dst, 0, rows, whole_columns, columns, src_row, dst_row);
}

constexpr auto kKernels = std::to_array<TransposeKernel>({
    {"transpose/scalar", simd::Level::kScalar, &transpose_scalar<1>, &transpose_scalar<2>,
     &transpose_scalar<4>, &transpose_scalar<8>},
    // Two elements of eight bytes a vector would save nothing.
    {"transpose/simd128", simd::Level::kSimd128, &transpose_simd128<1>, &transpose_simd128<2>,
     &transpose_simd128<4>, &transpose_scalar<8>},
});

}  // namespace

std::span<const TransposeKernel> transpose_kernels() { return kKernels; }

}  // namespace octavo::kernels
