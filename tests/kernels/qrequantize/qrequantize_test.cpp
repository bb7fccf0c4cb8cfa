#include "kernels/qrequantize/qrequantize.h"

#include <doctest/doctest.h>

#include <limits>

#include "support/buffers.h"

namespace octavo::kernels {
namespace {

template <class Code>
std::vector<Code> run(QRequantizeFn<Code> fn, const std::vector<std::int32_t>& acc,
                      std::size_t channels, const QRequantizeParams& params) {
  test::Guarded<Code> out(acc.size());
  fn(acc.data(), out.data(), channels == 0 ? 0 : acc.size() / channels, channels, params);
  CHECK(out.intact());
  return out.values();
}

std::vector<std::int32_t> random_sums(std::size_t n) {
  test::Random random(5);
  std::vector<std::int32_t> sums(n);
  for (std::int32_t& sum : sums) sum = random.range(-200000, 200000);
  if (n > 3) {
    sums[0] = std::numeric_limits<std::int32_t>::max();
    sums[1] = std::numeric_limits<std::int32_t>::min();
  }
  return sums;
}

TEST_CASE("qrequantize: every row equals the reference") {
  for (const QRequantizeKernel& kernel : qrequantize_kernels()) {
    CAPTURE(kernel.name);
    for (const std::size_t channels : test::kAwkwardSizes) {
      for (const float size : {1e-4F, 1e30F}) {
        const auto scale = test::random_floats(channels, 1, size / 10, size);
        const auto bias = test::random_floats(channels, 2, -3, 3);
        const auto acc = random_sums(3 * channels);
        const QRequantizeParams u8{scale.data(), bias.data(), 40.0F, 100, 100, 255};
        CHECK(run(kernel.u8, acc, channels, u8) ==
              run(qrequantize_kernels().front().u8, acc, channels, u8));
        const QRequantizeParams s8{scale.data(), bias.data(), 40.0F, -7, -128, 127};
        CHECK(run(kernel.s8, acc, channels, s8) ==
              run(qrequantize_kernels().front().s8, acc, channels, s8));
      }
    }
  }
}

TEST_CASE("qrequantize: rounds ties to even after the zero point, and saturates") {
  const std::vector<float> scale{0.5F, 1.0F, 1.0F, 1e38F};
  const std::vector<float> bias{0.0F, 0.25F, -1e9F, 0.0F};
  const QRequantizeParams params{scale.data(), bias.data(), 2.0F, 3, 0, 255};
  // (5 * .5) * 2 + 3 = 8; (1 + .25) * 2 + 3 = 5.5 -> 6
  CHECK(run<std::uint8_t>(qrequantize_kernels().front().u8, {5, 1, 7, 100}, 4, params) ==
        std::vector<std::uint8_t>{8, 6, 0, 255});
}

}  // namespace
}  // namespace octavo::kernels
