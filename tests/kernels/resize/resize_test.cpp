#include "kernels/resize/resize.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "support/buffers.h"

namespace octavo::kernels {
namespace {

using Indices = std::vector<std::int32_t>;

TEST_CASE("resize: nearest indices follow ONNX's coordinate and rounding modes") {
  CHECK(nearest_indices(2, 4, 2.0F, Coordinates::kAsymmetric, NearestMode::kFloor) ==
        Indices{0, 0, 1, 1});
  CHECK(nearest_indices(2, 4, 2.0F, Coordinates::kAsymmetric, NearestMode::kCeil) ==
        Indices{0, 1, 1, 1});
  CHECK(nearest_indices(2, 4, 2.0F, Coordinates::kHalfPixel, NearestMode::kRoundPreferFloor) ==
        Indices{0, 0, 1, 1});
  // x = 0.5 is a tie.
  CHECK(nearest_indices(2, 4, 2.0F, Coordinates::kAsymmetric, NearestMode::kRoundPreferFloor) ==
        Indices{0, 0, 1, 1});
  CHECK(nearest_indices(2, 4, 2.0F, Coordinates::kAsymmetric, NearestMode::kRoundPreferCeil) ==
        Indices{0, 1, 1, 1});
  CHECK(nearest_indices(4, 8, 2.0F, Coordinates::kAlignCorners, NearestMode::kRoundPreferFloor) ==
        Indices{0, 0, 1, 1, 2, 2, 3, 3});
  CHECK(nearest_indices(5, 1, 0.2F, Coordinates::kPytorchHalfPixel, NearestMode::kFloor) ==
        Indices{0});
  CHECK(nearest_indices(5, 1, 0.2F, Coordinates::kHalfPixel, NearestMode::kFloor) == Indices{2});
  CHECK(nearest_indices(5, 2, 0.4F, Coordinates::kTfHalfPixelForNn, NearestMode::kFloor) ==
        Indices{1, 3});
  CHECK(nearest_indices(4, 3, 0.8F, Coordinates::kHalfPixelSymmetric,
                        NearestMode::kRoundPreferFloor) == Indices{0, 1, 3});
  CHECK(nearest_indices(3, 3, 1.0F, Coordinates::kHalfPixel, NearestMode::kCeil) ==
        Indices{0, 1, 2});
}

TEST_CASE("resize: linear weights sum to one and never read outside") {
  for (const Coordinates coordinates :
       {Coordinates::kHalfPixel, Coordinates::kHalfPixelSymmetric, Coordinates::kPytorchHalfPixel,
        Coordinates::kAsymmetric, Coordinates::kAlignCorners}) {
    for (const int in : {1, 2, 5, 16}) {
      for (const int out : {1, 3, 5, 32, 47}) {
        const float scale = static_cast<float>(out) / static_cast<float>(in);
        for (const LinearTap& tap : linear_taps(in, out, scale, coordinates)) {
          CHECK(tap.lower >= 0);
          CHECK(tap.upper < in);
          CHECK((tap.upper == tap.lower + 1 || tap.upper == in - 1));
          CHECK(std::fabs(tap.weight_lower + tap.weight_upper - 1.0F) < 1e-6F);
        }
      }
    }
  }
}

TEST_CASE("resize: doubling with half-pixel centres mixes one quarter and three quarters") {
  const std::vector<LinearTap> taps = linear_taps(2, 4, 2.0F, Coordinates::kHalfPixel);
  const std::vector<float> in = {10.0F, 20.0F};
  const std::vector<LinearTap> one_row = linear_taps(1, 1, 1.0F, Coordinates::kHalfPixel);
  const ResizeGeometry geometry{1, 2, 1, one_row, taps};
  std::vector<float> out(4);
  resize_kernels().front().linear_f32(in.data(), out.data(), geometry, 0, 1);
  CHECK(out == std::vector<float>{10.0F, 12.5F, 17.5F, 20.0F});
}

TEST_CASE("resize: nearest copies pixels of any size") {
  for (const std::size_t pixel_bytes : {1UL, 3UL, 4UL, 12UL, 64UL}) {
    const std::vector<std::uint8_t> in = test::random_codes<std::uint8_t>(4 * 3 * pixel_bytes, 2);
    const Indices rows = {0, 0, 1, 3, 2};
    const Indices columns = {2, 0, 1, 1};
    std::vector<std::uint8_t> expected;
    for (const std::int32_t y : rows) {
      for (const std::int32_t x : columns) {
        for (std::size_t b = 0; b < pixel_bytes; ++b) {
          expected.push_back(in[static_cast<std::size_t>(y * 3 + x) * pixel_bytes + b]);
        }
      }
    }
    test::Guarded<std::byte> out(expected.size());
    resize_nearest(reinterpret_cast<const std::byte*>(in.data()), out.data(), pixel_bytes, 3, rows,
                   columns, 0, 2);
    resize_nearest(reinterpret_cast<const std::byte*>(in.data()), out.data(), pixel_bytes, 3, rows,
                   columns, 2, 5);
    CHECK(std::memcmp(out.values().data(), expected.data(), expected.size()) == 0);
    CHECK(out.intact());
  }
}

TEST_CASE("resize: every row equals the reference") {
  const std::vector<LinearTap> rows = linear_taps(5, 13, 2.6F, Coordinates::kHalfPixel);
  const std::vector<LinearTap> columns = linear_taps(7, 4, 4.0F / 7.0F, Coordinates::kAlignCorners);
  for (const std::size_t channels : {1UL, 3UL, 4UL, 15UL, 16UL, 17UL, 40UL}) {
    const std::vector<float> in = test::random_floats(5 * 7 * channels, 1, -3.0F, 3.0F);
    const ResizeGeometry geometry{5, 7, static_cast<int>(channels), rows, columns};
    std::vector<float> expected(13 * 4 * channels);
    resize_kernels().front().linear_f32(in.data(), expected.data(), geometry, 0, 13);
    for (const ResizeKernel& kernel : resize_kernels()) {
      CAPTURE(kernel.name);
      CAPTURE(channels);
      test::Guarded<float> out(expected.size());
      kernel.linear_f32(in.data(), out.data(), geometry, 0, 6);
      kernel.linear_f32(in.data(), out.data(), geometry, 6, 13);
      CHECK(test::same_bits(out.values(), expected));
      CHECK(out.intact());
    }
  }
}

}  // namespace
}  // namespace octavo::kernels
