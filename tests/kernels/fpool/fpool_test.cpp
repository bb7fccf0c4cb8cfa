#include "kernels/fpool/fpool.h"

#include <doctest/doctest.h>

#include <limits>

#include "support/buffers.h"
#include "support/pool_geometries.h"

namespace octavo::kernels {
namespace {

struct Expected {
  std::vector<float> max, average, padded_average;
};

Expected by_definition(const std::vector<float>& in, const PoolGeometry& g) {
  Expected out;
  for (int row = 0; row < g.rows(); ++row) {
    const int n = row / g.out_h;
    const int y = row % g.out_h;
    for (int x = 0; x < g.out_w; ++x) {
      for (int c = 0; c < g.channels; ++c) {
        float max = std::numeric_limits<float>::lowest();
        float sum = 0.0F;
        int inside = 0;
        int padded = 0;
        for (int i = 0; i < g.kernel_h; ++i) {
          for (int j = 0; j < g.kernel_w; ++j) {
            const int iy = y * g.stride_h - g.pad_top + i * g.dilation_h;
            const int ix = x * g.stride_w - g.pad_left + j * g.dilation_w;
            if (iy < g.in_h + g.pad_bottom && ix < g.in_w + g.pad_right) ++padded;
            if (iy < 0 || iy >= g.in_h || ix < 0 || ix >= g.in_w) continue;
            const float v =
                in[static_cast<std::size_t>(((n * g.in_h + iy) * g.in_w + ix) * g.channels + c)];
            max = std::max(max, v);
            sum += v;
            ++inside;
          }
        }
        out.max.push_back(max);
        out.average.push_back(sum / static_cast<float>(inside));
        out.padded_average.push_back(sum / static_cast<float>(padded));
      }
    }
  }
  return out;
}

TEST_CASE("fpool: every row pools each window as defined, byte for byte") {
  for (const PoolGeometry& g : test::pool_geometries({1, 3, 4, 5, 8, 17})) {
    const std::vector<float> in = test::random_floats(
        static_cast<std::size_t>(g.batch * g.in_h * g.in_w * g.channels), 3, -2.0F, 2.0F);
    const Expected expected = by_definition(in, g);
    for (const FPoolKernel& kernel : fpool_kernels()) {
      CAPTURE(kernel.name);
      CAPTURE(g.channels);
      test::Guarded<float> out(expected.max.size());
      kernel.max(in.data(), out.data(), g, 0, 2);
      kernel.max(in.data(), out.data(), g, 2, g.rows());
      CHECK(test::same_bits(out.values(), expected.max));
      kernel.average(in.data(), out.data(), g, false, 0, g.rows());
      CHECK(test::same_bits(out.values(), expected.average));
      kernel.average(in.data(), out.data(), g, true, 0, g.rows());
      CHECK(test::same_bits(out.values(), expected.padded_average));
      CHECK(out.intact());
    }
  }
}

TEST_CASE("fpool: every row averages whole images in the order of the pixels") {
  for (const std::size_t channels : {1UL, 3UL, 4UL, 7UL, 16UL}) {
    for (const std::size_t pixels : {1UL, 5UL, 49UL}) {
      const std::vector<float> in = test::random_floats(channels * pixels, 8, -1.0F, 3.0F);
      std::vector<float> expected(channels, 0.0F);
      for (std::size_t i = 0; i < in.size(); ++i) expected[i % channels] += in[i];
      for (float& value : expected) value /= static_cast<float>(pixels);
      for (const FPoolKernel& kernel : fpool_kernels()) {
        CAPTURE(kernel.name);
        test::Guarded<float> out(channels);
        kernel.global_average(in.data(), out.data(), pixels, channels);
        CHECK(test::same_bits(out.values(), expected));
        CHECK(out.intact());
      }
    }
  }
}

}  // namespace
}  // namespace octavo::kernels
