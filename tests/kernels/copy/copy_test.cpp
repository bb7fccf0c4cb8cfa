#include "kernels/copy/copy.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>

#include "support/buffers.h"

namespace octavo::kernels {
namespace {

using Dims = std::vector<std::int64_t>;

std::int64_t product(const Dims& dims) {
  std::int64_t n = 1;
  for (const std::int64_t dim : dims) n *= dim;
  return n;
}

Dims dense(const Dims& dims) {
  Dims strides(dims.size(), 1);
  for (std::size_t d = dims.size(); d-- > 1;) strides[d - 1] = strides[d] * dims[d];
  return strides;
}

// Copies with a plan, in pieces, and compares with the definition. `src_start` lets strides go
// backwards.
void check_copy(const Dims& dims, const Dims& src_strides, const Dims& dst_strides,
                std::int64_t src_size, std::int64_t dst_size, std::int64_t src_start = 0) {
  for (const std::size_t size : {1UL, 2UL, 4UL, 8UL}) {
    const std::vector<std::uint8_t> src =
        test::random_codes<std::uint8_t>(static_cast<std::size_t>(src_size) * size, 3);
    std::vector<std::uint8_t> expected(static_cast<std::size_t>(dst_size) * size, 0xA5);
    for (std::int64_t flat = 0; flat < product(dims); ++flat) {
      std::int64_t rest = flat;
      std::int64_t from = src_start;
      std::int64_t to = 0;
      for (std::size_t d = dims.size(); d-- > 0;) {
        from += rest % dims[d] * src_strides[d];
        to += rest % dims[d] * dst_strides[d];
        rest /= dims[d];
      }
      std::memcpy(expected.data() + static_cast<std::size_t>(to) * size,
                  src.data() + static_cast<std::size_t>(from) * size, size);
    }
    for (const simd::Level level : {simd::Level::kScalar, simd::Level::kSimd128}) {
      CAPTURE(size);
      const CopyPlan plan = CopyPlan::make(dims, src_strides, dst_strides, size, {.level = level});
      test::Guarded<std::uint8_t> out(expected.size());
      const auto* from = reinterpret_cast<const std::byte*>(src.data()) +
                         src_start * static_cast<std::int64_t>(size);
      auto* to = reinterpret_cast<std::byte*>(out.data());
      const std::int64_t half = plan.blocks() / 2;
      plan.run(from, to, half, plan.blocks());
      plan.run(from, to, 0, half);
      CHECK(out.values() == expected);
      CHECK(out.intact());
    }
  }
}

Dims permuted(const Dims& values, const std::vector<std::size_t>& order) {
  Dims out;
  for (const std::size_t i : order) out.push_back(values[i]);
  return out;
}

TEST_CASE("copy: every permutation of four axes") {
  const Dims dims = {3, 18, 5, 7};
  std::vector<std::size_t> order = {0, 1, 2, 3};
  do {
    // Output axis k is input axis order[k].
    const Dims out_dims = permuted(dims, order);
    check_copy(out_dims, permuted(dense(dims), order), dense(out_dims), product(dims),
               product(dims));
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST_CASE("copy: layouts of images, there and back") {
  for (const std::int64_t channels : {1, 3, 4, 16, 17, 40}) {
    for (const std::int64_t plane : {1, 15, 16, 33, 100}) {
      const Dims dims = {2, channels, plane};
      check_copy({2, plane, channels}, {channels * plane, 1, plane},
                 {channels * plane, channels, 1}, product(dims), product(dims));
      check_copy({2, channels, plane}, {channels * plane, 1, channels},
                 {channels * plane, plane, 1}, product(dims), product(dims));
    }
  }
}

TEST_CASE("copy: slices, steps, backwards, repeats, empty and single") {
  check_copy({4, 6}, {20, 1}, {6, 1}, 80, 24);           // slice
  check_copy({4, 6}, {20, 3}, {6, 1}, 80, 24);           // with a step
  check_copy({4, 6}, {-20, -1}, {6, 1}, 80, 24, 79);     // backwards
  check_copy({5, 6, 7}, {0, 1, 0}, {42, 7, 1}, 6, 210);  // repeats (Expand)
  check_copy({3, 4}, {4, 1}, {10, 1}, 12, 30);  // into a part of a wider tensor (Concat, Pad)
  check_copy({3, 4}, {4, 1}, {20, 2}, 12, 60);  // strided destination
  check_copy({}, {}, {}, 1, 1);
  check_copy({1, 1, 1}, {1, 1, 1}, {1, 1, 1}, 1, 1);
  CHECK(CopyPlan::make(Dims{3, 0, 2}, Dims{0, 2, 1}, Dims{0, 2, 1}, 4).blocks() == 0);
}

TEST_CASE("copy: what lies dense on both sides is one memcpy") {
  const Dims dims = {2, 3, 4, 5};
  CHECK(CopyPlan::make(dims, dense(dims), dense(dims), 4).blocks() == 1);
}

TEST_CASE("transpose: every row turns any rectangle around") {
  for (const TransposeKernel& kernel : transpose_kernels()) {
    CAPTURE(kernel.name);
    for (const std::int64_t rows : {1, 3, 4, 15, 16, 17, 33}) {
      for (const std::int64_t columns : {1, 5, 8, 16, 31, 40}) {
        const std::int64_t src_row = columns + 3;
        const std::int64_t dst_row = rows + columns % 2 * 2;  // dense and with gaps
        const auto check = [&](TransposeFn run, std::size_t size) {
          const auto bytes = [&](std::int64_t n) { return static_cast<std::size_t>(n) * size; };
          const std::vector<std::uint8_t> src =
              test::random_codes<std::uint8_t>(bytes(rows * src_row), 9);
          test::Guarded<std::uint8_t> out(bytes(columns * dst_row));
          std::vector<std::uint8_t> expected = out.values();
          for (std::int64_t r = 0; r < rows; ++r) {
            for (std::int64_t c = 0; c < columns; ++c) {
              std::memcpy(expected.data() + bytes(c * dst_row + r),
                          src.data() + bytes(r * src_row + c), size);
            }
          }
          run(reinterpret_cast<const std::byte*>(src.data()),
              reinterpret_cast<std::byte*>(out.data()), rows, columns, src_row, dst_row);
          CHECK(out.values() == expected);
          CHECK(out.intact());
        };
        check(kernel.bytes1, 1);
        check(kernel.bytes2, 2);
        check(kernel.bytes4, 4);
        check(kernel.bytes8, 8);
      }
    }
  }
}

TEST_CASE("fill: every element gets the value") {
  for (const std::size_t size : {1UL, 2UL, 4UL, 8UL}) {
    const std::vector<std::uint8_t> value = test::random_codes<std::uint8_t>(size, 4);
    test::Guarded<std::uint8_t> out(size * 13);
    fill(reinterpret_cast<std::byte*>(out.data()), reinterpret_cast<const std::byte*>(value.data()),
         size, 13);
    const std::vector<std::uint8_t> values = out.values();
    for (std::size_t i = 0; i < values.size(); ++i) CHECK(values[i] == value[i % size]);
    CHECK(out.intact());
  }
}

}  // namespace
}  // namespace octavo::kernels
