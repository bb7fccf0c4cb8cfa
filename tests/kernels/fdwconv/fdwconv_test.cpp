#include "kernels/fdwconv/fdwconv.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "simd/isa.h"
#include "support/buffers.h"
#include "support/conv_windows.h"
#include "support/dw_images.h"

namespace octavo::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Problem {
  int channels, taps;
  test::Windows windows;  // a tap is a segment of `channels` floats
  std::vector<float> x, weights, bias;
  std::int64_t out_stride = 0;
  float lo = -kInfinity, hi = kInfinity;
};

Problem make_problem(std::int64_t pixels, int channels, int taps, std::uint32_t seed) {
  Problem p{channels, taps, test::make_windows(pixels, taps, channels), {}, {}, {}};
  p.x = test::random_floats(p.windows.elements, seed, -3.0F, 3.0F);
  p.weights = test::random_floats(static_cast<std::size_t>(channels * taps), seed + 1, -1.0F, 1.0F);
  p.bias = test::random_floats(static_cast<std::size_t>(channels), seed + 2, -1.0F, 1.0F);
  p.out_stride = channels + static_cast<std::int64_t>(seed % 3);
  return p;
}

// Every product and its sum rounded once, in the order of the formula.
std::vector<float> fused(const Problem& p, std::vector<float> out) {
  for (std::int64_t m = 0; m < p.windows.pixels; ++m) {
    for (int c = 0; c < p.channels; ++c) {
      float acc = p.bias.empty() ? 0.0F : p.bias[static_cast<std::size_t>(c)];
      for (int t = 0; t < p.taps; ++t) {
        acc = std::fma(p.x[p.windows.at(m, static_cast<std::size_t>(t), c)],
                       p.weights[static_cast<std::size_t>(c * p.taps + t)], acc);
      }
      acc = acc < p.lo ? p.lo : acc;
      out[static_cast<std::size_t>(m * p.out_stride + c)] = p.hi < acc ? p.hi : acc;
    }
  }
  return out;
}

void check(const Problem& p) {
  const FDwConvPacked packed = pack_fdwconv(p.channels, p.taps, p.weights, p.bias);
  std::vector<float> reference;
  for (const FDwConvKernel& kernel : fdwconv_kernels()) {
    CAPTURE(kernel.name);
    test::Guarded<float> out(
        p.windows.pixels == 0
            ? 0
            : static_cast<std::size_t>((p.windows.pixels - 1) * p.out_stride + p.channels));
    FDwConvCall call;
    call.x = p.x.data();
    call.pixel_stride = p.windows.pixel_stride;
    call.row_stride = p.windows.row_stride;
    call.width = p.windows.width;
    call.pixels = p.windows.pixels;
    call.tap_offset = p.windows.offsets.data();
    call.out = out.data();
    call.out_stride = p.out_stride;
    call.lo = p.lo;
    call.hi = p.hi;
    kernel.run(packed, call);
    CHECK(out.intact());
    if (&kernel == &fdwconv_kernels().front()) reference = out.values();
    // A fused row rounds all products in one way or all in the other, as the machine does.
    CHECK((test::same_bits(out.values(), reference) ||
           (kernel.fused && test::same_bits(out.values(), fused(p, reference)))));
  }
  for (std::int64_t m = 0; m < p.windows.pixels; ++m) {
    for (int c = 0; c < p.channels; ++c) {
      double acc = p.bias.empty() ? 0.0 : static_cast<double>(p.bias[static_cast<std::size_t>(c)]);
      for (int t = 0; t < p.taps; ++t) {
        acc += static_cast<double>(p.x[p.windows.at(m, static_cast<std::size_t>(t), c)]) *
               static_cast<double>(p.weights[static_cast<std::size_t>(c * p.taps + t)]);
      }
      const double expected = std::isnan(acc) ? acc
                                              : std::fmin(std::fmax(acc, static_cast<double>(p.lo)),
                                                          static_cast<double>(p.hi));
      const auto y = static_cast<double>(reference[static_cast<std::size_t>(m * p.out_stride + c)]);
      if (std::isnan(expected)) {
        CHECK(std::isnan(y));
      } else {
        CHECK(y == doctest::Approx(expected).epsilon(1e-5));
      }
    }
  }
}

TEST_CASE("fdwconv: every row gives the formula, in the same bits, at sizes around its tiles") {
  std::uint32_t seed = 1;
  for (const std::int64_t pixels : {0, 1, 2, 5, 13}) {
    for (const int channels : {1, 3, 4, 7, 8, 9, 16, 33}) {
      for (const int taps : {1, 3, 9, 25}) {
        CAPTURE(pixels);
        CAPTURE(channels);
        CAPTURE(taps);
        check(make_problem(pixels, channels, taps, seed++));
      }
    }
  }
}

TEST_CASE("fdwconv: bounds hold, a NaN passes them, a bias may be absent") {
  Problem p = make_problem(5, 19, 9, 40);
  p.lo = 0.0F;
  p.hi = 1.0F;
  check(p);
  p.x[p.windows.at(2, 4, 3)] = std::numeric_limits<float>::quiet_NaN();
  check(p);
  p.bias.clear();
  check(p);
}

// An image's outputs, taps added column by column; each product and its sum rounded once or twice.
std::vector<float> walked(const DwWindow& w, int channels, const std::vector<float>& x,
                          const std::vector<float>& weights, const std::vector<float>& bias,
                          float lo, float hi, bool once) {
  std::vector<float> out;
  for (std::int64_t y = 0; y < test::out_height(w, w.top); ++y) {
    for (std::int64_t column = 0; column < w.out_width; ++column) {
      for (int c = 0; c < channels; ++c) {
        float acc = bias.empty() ? 0.0F : bias[static_cast<std::size_t>(c)];
        for (std::int64_t j = 0; j < w.kernel_w; ++j) {
          for (std::int64_t i = 0; i < w.kernel_h; ++i) {
            const std::int64_t pixel = test::pixel_under(w, y, column, i, j);
            const float a = pixel < 0 ? 0.0F : x[static_cast<std::size_t>(pixel * channels + c)];
            const float b =
                weights[static_cast<std::size_t>((c * w.kernel_h + i) * w.kernel_w + j)];
            acc = once ? std::fma(a, b, acc) : acc + a * b;
          }
        }
        acc = acc < lo ? lo : acc;
        out.push_back(hi < acc ? hi : acc);
      }
    }
  }
  return out;
}

TEST_CASE("fdwconv: walks along an image give the formula, whatever the border") {
  std::uint32_t seed = 900;
  for (const FDwConvWalker& walker : fdwconv_walkers()) {
    for (const DwWindow& window : test::dw_windows(walker.size)) {
      const int channels = 4 + static_cast<int>(seed % 6);
      CAPTURE(walker.name);
      CAPTURE(window.stride_w);
      CAPTURE(window.dilation_w);
      CAPTURE(window.width);
      CAPTURE(window.left);
      CAPTURE(window.out_width);
      CAPTURE(channels);
      REQUIRE(walker.fits(window, channels));
      const auto size = static_cast<std::size_t>(window.height * window.width * channels);
      std::vector<float> x = test::random_floats(size, seed, -3.0F, 3.0F);
      if (seed % 4 == 0) x[size / 2] = std::numeric_limits<float>::quiet_NaN();
      const auto taps = static_cast<std::size_t>(walker.size * walker.size * channels);
      const std::vector<float> weights = test::random_floats(taps, seed + 1, -1.0F, 1.0F);
      const std::vector<float> bias = test::random_floats(
          seed % 3 == 0 ? 0 : static_cast<std::size_t>(channels), seed + 2, -1.0F, 1.0F);
      const float lo = seed % 2 == 0 ? -kInfinity : -0.5F;
      const float hi = seed % 2 == 0 ? kInfinity : 1.5F;
      const auto expected = [&](bool once) {
        return walked(window, channels, x, weights, bias, lo, hi, once);
      };
      const FDwConvWalk packed = walker.pack(window, channels, weights, bias);
      test::Guarded<float> out(expected(true).size());
      const std::int64_t height = test::out_height(window, window.top);
      walker.run(packed, {x.data(), out.data(), 0, height / 2, lo, hi});
      walker.run(packed, {x.data(), out.data(), height / 2, height, lo, hi});
      CHECK(out.intact());
      CHECK((test::same_bits(out.values(), expected(true)) ||
             test::same_bits(out.values(), expected(false))));
      ++seed;
    }
  }
}

TEST_CASE("fdwconv: only a float session's policy walks") {
  const DwWindow window{4, 6, 6, 3, 3, 1, 1, 1, 1, 1, 1};
  Policy policy;
  CHECK(choose_fdwconv_walker(policy, window, 8) == nullptr);
  policy.fused_floats = true;
  CHECK((choose_fdwconv_walker(policy, window, 8) != nullptr) == simd::kHasRelaxedRows);
  CHECK(choose_fdwconv_walker(policy, window, 3) == nullptr);
  policy.level = simd::Level::kSimd128;
  CHECK(choose_fdwconv_walker(policy, window, 8) == nullptr);
}

}  // namespace
}  // namespace octavo::kernels
