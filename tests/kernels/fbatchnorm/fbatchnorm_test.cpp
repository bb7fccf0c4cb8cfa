#include "kernels/fbatchnorm/fbatchnorm.h"

#include <doctest/doctest.h>

#include <cmath>

#include "support/buffers.h"

namespace octavo::kernels {
namespace {

TEST_CASE("fbatchnorm: every row normalizes each channel as defined, byte for byte") {
  for (const std::size_t channels : {1UL, 3UL, 4UL, 5UL, 16UL, 31UL}) {
    const std::vector<float> scale = test::random_floats(channels, 1, 0.1F, 2.0F);
    const std::vector<float> bias = test::random_floats(channels, 2, -1.0F, 1.0F);
    const std::vector<float> mean = test::random_floats(channels, 3, -1.0F, 1.0F);
    const std::vector<float> var = test::random_floats(channels, 4, 0.0F, 2.0F);
    const ChannelAffine affine = fold_batch_norm(scale, bias, mean, var, 1e-5F);
    const std::size_t pixels = 19;
    const std::vector<float> in = test::random_floats(channels * pixels, 5, -3.0F, 3.0F);
    std::vector<float> expected(in.size());
    for (std::size_t i = 0; i < in.size(); ++i) {
      const float product = in[i] * affine.a[i % channels];
      expected[i] = product + affine.b[i % channels];
      const double exact =
          (in[i] - mean[i % channels]) / std::sqrt(var[i % channels] + 1e-5) * scale[i % channels] +
          bias[i % channels];
      CHECK(std::fabs(expected[i] - exact) < 1e-4 * (1 + std::fabs(affine.a[i % channels])));
    }
    for (const FBatchNormKernel& kernel : fbatchnorm_kernels()) {
      CAPTURE(kernel.name);
      test::Guarded<float> out(in.size());
      kernel.channels_last(in.data(), out.data(), pixels, channels, affine.a.data(),
                           affine.b.data());
      CHECK(test::same_bits(out.values(), expected));
      CHECK(out.intact());
      // One plane: the first channel's constants throughout.
      test::Guarded<float> plane(in.size());
      kernel.plane(in.data(), plane.data(), in.size(), affine.a[0], affine.b[0]);
      const std::vector<float> values = plane.values();
      for (std::size_t i = 0; i < in.size(); ++i) {
        const float product = in[i] * affine.a[0];
        CHECK(values[i] == product + affine.b[0]);
      }
      CHECK(plane.intact());
    }
  }
}

}  // namespace
}  // namespace octavo::kernels
