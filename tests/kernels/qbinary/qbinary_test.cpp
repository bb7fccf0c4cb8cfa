#include "kernels/qbinary/qbinary.h"

#include <doctest/doctest.h>

#include "support/buffers.h"

namespace octavo::kernels {
namespace {

template <class Code>
std::vector<Code> run(QBinaryFn<Code> fn, const std::vector<Code>& a, const std::vector<Code>& b,
                      const QBinaryParams& params) {
  test::Guarded<Code> out(a.size());
  fn(a.data(), b.data(), out.data(), a.size(), params);
  CHECK(out.intact());
  return out.values();
}

template <class Code>
void rows_agree(QBinaryFn<Code> QBinaryKernel::*fn, const QBinaryParams& params) {
  const QBinaryKernel& reference = qbinary_kernels().front();
  for (const QBinaryKernel& kernel : qbinary_kernels()) {
    CAPTURE(kernel.name);
    std::vector<Code> a, b;
    test::all_pairs(a, b);
    CHECK(run(kernel.*fn, a, b, params) == run(reference.*fn, a, b, params));
    for (const std::size_t n : test::kAwkwardSizes) {
      const auto x = test::random_codes<Code>(n, 1);
      const auto y = test::random_codes<Code>(n, 2);
      CHECK(run(kernel.*fn, x, y, params) == run(reference.*fn, x, y, params));
    }
  }
}

TEST_CASE("qbinary: every row equals the reference for every pair of codes") {
  const Grid grids[][3] = {{{0.021F, 120}, {0.034F, 90}, {0.05F, 111}},
                           {{1.0F, 0}, {1.0F, 0}, {2.0F, 0}},
                           {{1e-20F, 3}, {1e20F, 7}, {1e-10F, 100}},
                           {{3e38F, 3}, {3e38F, 7}, {1e-38F, 100}}};
  for (const auto& grid : grids) {
    for (const int lo : {0, 111}) {
      rows_agree<std::uint8_t>(&QBinaryKernel::add_u8,
                               make_torch_add_params(grid[0], grid[1], grid[2], lo, 255));
      rows_agree<std::uint8_t>(&QBinaryKernel::mul_u8,
                               make_torch_mul_params(grid[0], grid[1], grid[2], lo, 255));
      rows_agree<std::int8_t>(&QBinaryKernel::add_s8,
                              make_torch_add_params(grid[0], grid[1], grid[2], lo - 128, 127));
      rows_agree<std::int8_t>(&QBinaryKernel::mul_s8,
                              make_torch_mul_params(grid[0], grid[1], grid[2], lo - 128, 127));
    }
  }
}

TEST_CASE("qbinary: sums and products on the output grid, ties to even before the zero point") {
  const QBinaryKernel& reference = qbinary_kernels().front();
  // 0.5 * 10 + 0.25 * 6 = 6.5 -> 6, + 101
  CHECK(run<std::uint8_t>(reference.add_u8, {13}, {10},
                          make_torch_add_params({0.5F, 3}, {0.25F, 4}, {1.0F, 101}, 0, 255)) ==
        std::vector<std::uint8_t>{107});
  CHECK(run<std::int8_t>(reference.mul_s8, {-5}, {10},
                         make_torch_mul_params({0.5F, 3}, {0.25F, 4}, {1.0F, 10}, -128, 127)) ==
        std::vector<std::int8_t>{4});
}

}  // namespace
}  // namespace octavo::kernels
