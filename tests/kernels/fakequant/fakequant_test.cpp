#include "kernels/fakequant/fakequant.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "support/buffers.h"

namespace octavo::kernels {
namespace {

using test::Guarded;
using test::random_floats;

constexpr FakeQuantGrid kGrids[] = {
    {0.1F, 0, 0, 255},
    {0.05F, 128, 0, 255},
    {0.25F, -3, -128, 127},
    {1.0F, 7, 0, 15},
    {0.033F, -64, -64, 63},
    {3e-7F, 255, 0, 255},
    {1e-38F, 0, -128, 127},
    {1e38F, 0, -128, 127},
    {2e-6F, 5, -2000000, 2000000},
    {1e-4F, 9, -4194304, 12},
    {1e-9F, 0, -2147483647 - 1, 2147483647},
};

// Ordinary values, ties, both sides of both ends, and what is not finite.
std::vector<float> hard_floats(std::size_t n, const FakeQuantGrid& grid) {
  std::vector<float> values = random_floats(n, 3, -300 * grid.scale, 300 * grid.scale);
  const float infinity = std::numeric_limits<float>::infinity();
  const auto real = [&grid](double code) {
    return static_cast<float>((code - grid.zero_point) * static_cast<double>(grid.scale));
  };
  const std::vector<float> special = {0.0F,
                                      -0.0F,
                                      0.5F * grid.scale,
                                      1.5F * grid.scale,
                                      -2.5F * grid.scale,
                                      real(grid.code_min),
                                      real(grid.code_min - 0.5),
                                      real(grid.code_min - 0.51),
                                      real(grid.code_min - 1.0),
                                      real(grid.code_max),
                                      real(grid.code_max + 0.5),
                                      real(grid.code_max + 0.51),
                                      real(grid.code_max + 1.0),
                                      1e30F,
                                      -1e30F,
                                      infinity,
                                      -infinity,
                                      std::numeric_limits<float>::quiet_NaN(),
                                      1e-40F};
  for (std::size_t i = 0; i < n; i += 2) values[i] = special[i / 2 % special.size()];
  return values;
}

TEST_CASE("fakequant: every row equals the reference") {
  const FakeQuantKernel& reference = fakequant_kernels().front();
  for (const FakeQuantKernel& kernel : fakequant_kernels()) {
    CAPTURE(kernel.name);
    for (const FakeQuantGrid& grid : kGrids) {
      CAPTURE(grid.scale);
      for (const std::size_t n : test::kAwkwardSizes) {
        const std::vector<float> x = hard_floats(n, grid);
        Guarded<float> y(n);
        Guarded<std::uint8_t> mask(n);
        std::vector<float> expected(n);
        std::vector<std::uint8_t> expected_mask(n);
        kernel.forward(x.data(), y.data(), mask.data(), n, grid);
        reference.forward(x.data(), expected.data(), expected_mask.data(), n, grid);
        CHECK(test::same_bits(y.values(), expected));
        CHECK(mask.values() == expected_mask);
        CHECK(y.intact());
        CHECK(mask.intact());

        Guarded<float> grad(n);
        std::vector<float> expected_grad(n);
        kernel.backward(x.data(), expected_mask.data(), grad.data(), n);
        reference.backward(x.data(), expected_mask.data(), expected_grad.data(), n);
        CHECK(test::same_bits(grad.values(), expected_grad));
        CHECK(grad.intact());
      }
    }
  }
}

TEST_CASE("fakequant: values are on the grid, and inside it within half a step") {
  for (const FakeQuantKernel& kernel : fakequant_kernels()) {
    const FakeQuantGrid grid{0.25F, 10, 0, 63};
    const std::vector<float> x = {-2.5F, -2.6F, -2.7F, 0.1F, 0.125F, 0.375F, 13.25F, 13.3F, 13.4F};
    std::vector<float> y(x.size());
    std::vector<std::uint8_t> mask(x.size());
    kernel.forward(x.data(), y.data(), mask.data(), x.size(), grid);
    CHECK(y == std::vector<float>{-2.5F, -2.5F, -2.5F, 0.0F, 0.0F, 0.5F, 13.25F, 13.25F, 13.25F});
    CHECK(mask == std::vector<std::uint8_t>{1, 1, 0, 1, 1, 1, 1, 1, 0});
  }
}

// The formulas of the header, each sample by hand.
TEST_CASE("fakequant: learnable gradients") {
  const FakeQuantGrid grid{0.5F, 2, 0, 7};  // real numbers -1 .. 2.5
  const std::vector<float> x = {0.6F, -3.0F, 4.0F, -1.0F};
  const std::vector<float> grad_out = {2.0F, 3.0F, 5.0F, 7.0F};
  std::vector<float> grad_in(x.size());
  const FakeQuantGradients sums =
      fakequant_learnable_backward(x.data(), grad_out.data(), grad_in.data(), 4, grid, 1.0F);
  CHECK(grad_in == std::vector<float>{2.0F, 0.0F, 0.0F, 7.0F});
  // (0.5 - 0.6) / 0.5 * 2, (0 - 2) * 3, (7 - 2) * 5, 0
  const float inner = 2.0F * (0.5F - 0.6F) * 2.0F;
  CHECK(sums.scale == static_cast<double>(inner) - 6.0 + 25.0);
  CHECK(sums.zero_point == -(3.0 + 5.0) * 0.5);
  const FakeQuantGradients quarter =
      fakequant_learnable_backward(x.data(), grad_out.data(), grad_in.data(), 4, grid, 0.25F);
  CHECK(quarter.scale == sums.scale / 4);
  CHECK(quarter.zero_point == sums.zero_point / 4);
}

}  // namespace
}  // namespace octavo::kernels
