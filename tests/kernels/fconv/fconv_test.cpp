#include "kernels/fconv/fconv.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <utility>

#include "kernels/rows.h"
#include "support/buffers.h"
#include "support/conv_windows.h"

namespace octavo::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Problem {
  FConvSpec spec;
  test::Windows windows;
  std::vector<float> x, weights, bias;
  std::int64_t out_stride = 0;
  float lo = -kInfinity, hi = kInfinity;
  int first_channel = 0, last_channel = 0;  // of the call

  int end_channel() const { return last_channel != 0 ? last_channel : spec.channels; }
};

Problem make_problem(std::int64_t pixels, int channels, int segments, int length,
                     std::uint32_t seed) {
  Problem p;
  p.spec = {channels, segments, length};
  p.windows = test::make_windows(pixels, segments, length);
  p.x = test::random_floats(p.windows.elements + 4, seed, -3.0F, 3.0F);
  p.weights = test::random_floats(static_cast<std::size_t>(channels * segments * length), seed + 1,
                                  -1.0F, 1.0F);
  p.bias = test::random_floats(static_cast<std::size_t>(channels), seed + 2, -1.0F, 1.0F);
  p.out_stride = channels + static_cast<std::int64_t>(seed % 3);
  return p;
}

std::vector<float> run(const FConvKernel& kernel, const Problem& p, bool& intact) {
  const FConvPacked packed = kernel.pack(p.spec, p.weights, p.bias);
  test::Guarded<float> out(
      p.windows.pixels == 0
          ? 0
          : static_cast<std::size_t>((p.windows.pixels - 1) * p.out_stride + p.spec.channels));
  FConvCall call;
  call.x = p.x.data();
  call.pixel_stride = p.windows.pixel_stride;
  call.row_stride = p.windows.row_stride;
  call.width = p.windows.width;
  call.pixels = p.windows.pixels;
  call.segment_offset = p.windows.offsets.data();
  call.out = out.data();
  call.out_stride = p.out_stride;
  call.lo = p.lo;
  call.hi = p.hi;
  call.first_channel = p.first_channel;
  call.last_channel = p.last_channel;
  kernel.run(packed, call);
  intact = out.intact();
  return out.values();
}

// Every product and its sum rounded once, in the order of the formula.
std::vector<float> fused(const Problem& p, std::vector<float> out) {
  for (std::int64_t m = 0; m < p.windows.pixels; ++m) {
    for (int n = p.first_channel; n < p.end_channel(); ++n) {
      float acc = 0.0F;
      for (int s = 0; s < p.spec.segments; ++s) {
        for (int k = 0; k < p.spec.length; ++k) {
          acc = std::fma(
              p.x[p.windows.at(m, static_cast<std::size_t>(s), k)],
              p.weights[static_cast<std::size_t>((n * p.spec.segments + s) * p.spec.length + k)],
              acc);
        }
      }
      if (!p.bias.empty()) acc += p.bias[static_cast<std::size_t>(n)];
      acc = acc < p.lo ? p.lo : acc;
      out[static_cast<std::size_t>(m * p.out_stride + n)] = p.hi < acc ? p.hi : acc;
    }
  }
  return out;
}

void rows_agree(const Problem& p) {
  bool intact = false;
  const std::vector<float> expected = run(fconv_kernels().front(), p, intact);
  for (const FConvKernel& kernel : fconv_kernels()) {
    CAPTURE(kernel.name);
    const std::vector<float> out = run(kernel, p, intact);
    // A fused row rounds all products in one way or all in the other, as the machine does.
    CHECK((test::same_bits(out, expected) ||
           (kernel.fused && test::same_bits(out, fused(p, expected)))));
    CHECK(intact);
  }
}

TEST_CASE("fconv: every row gives the reference's bits at sizes around its tiles") {
  std::uint32_t seed = 1;
  for (const std::int64_t pixels : {0, 1, 5, 6, 7, 13}) {
    for (const int channels : {1, 3, 7, 8, 9, 16, 33}) {
      for (const int segments : {1, 3, 9}) {
        for (const int length : {1, 2, 3, 4, 5, 7, 8, 16, 27, 64}) {
          CAPTURE(pixels);
          CAPTURE(channels);
          CAPTURE(segments);
          CAPTURE(length);
          rows_agree(make_problem(pixels, channels, segments, length, seed++));
        }
      }
    }
  }
}

TEST_CASE("fconv: the reference is the formula") {
  for (const bool with_bias : {true, false}) {
    Problem p = make_problem(13, 9, 3, 27, 50);
    if (!with_bias) p.bias.clear();
    p.lo = -2.0F;
    p.hi = 2.5F;
    bool intact = false;
    const std::vector<float> out = run(fconv_kernels().front(), p, intact);
    int clamped = 0;
    for (std::int64_t m = 0; m < p.windows.pixels; ++m) {
      for (int n = 0; n < p.spec.channels; ++n) {
        double acc = with_bias ? static_cast<double>(p.bias[static_cast<std::size_t>(n)]) : 0.0;
        for (int s = 0; s < p.spec.segments; ++s) {
          for (int k = 0; k < p.spec.length; ++k) {
            acc += static_cast<double>(p.x[p.windows.at(m, static_cast<std::size_t>(s), k)]) *
                   static_cast<double>(p.weights[static_cast<std::size_t>(
                       (n * p.spec.segments + s) * p.spec.length + k)]);
          }
        }
        const double expected = std::fmin(std::fmax(acc, -2.0), 2.5);
        clamped += expected != acc ? 1 : 0;
        CHECK(static_cast<double>(out[static_cast<std::size_t>(m * p.out_stride + n)]) ==
              doctest::Approx(expected).epsilon(1e-5));
      }
    }
    CHECK(clamped > 0);
  }
}

TEST_CASE("fconv: bounds hold in every row, and a NaN passes them") {
  Problem p = make_problem(7, 17, 3, 5, 60);
  p.lo = 0.0F;
  p.hi = 1.0F;
  rows_agree(p);
  p.x[p.windows.at(3, 1, 2)] = std::numeric_limits<float>::quiet_NaN();
  p.x[p.windows.at(6, 2, 4)] = kInfinity;
  rows_agree(p);
  bool intact = false;
  const std::vector<float> out = run(fconv_kernels().back(), p, intact);
  CHECK(std::isnan(out[static_cast<std::size_t>(3 * p.out_stride)]));
}

TEST_CASE("fconv: weights that fill several blocks of the cache, and segments without floats") {
  rows_agree(make_problem(7, 100, 9, 64, 70));
  rows_agree(make_problem(7, 9, 3, 0, 71));
}

TEST_CASE("fconv: a call computes the channels that it is asked for, and touches no others") {
  for (const std::int64_t pixels : {1, 5, 7, 13}) {
    Problem whole = make_problem(pixels, 101, 3, 20, 80);
    bool intact = false;
    const std::vector<float> all = run(fconv_kernels().front(), whole, intact);
    for (const auto& [first, last] : {std::pair{0, 8}, {8, 24}, {40, 96}, {96, 0}, {96, 101}}) {
      CAPTURE(pixels);
      CAPTURE(first);
      Problem part = whole;
      part.first_channel = first;
      part.last_channel = last;
      rows_agree(part);
      const std::vector<float> out = run(fconv_kernels().front(), part, intact);
      for (std::int64_t m = 0; m < pixels; ++m) {
        for (int n = 0; n < 101; ++n) {
          const auto at = static_cast<std::size_t>(m * whole.out_stride + n);
          CHECK((out[at] == all[at]) == (n >= first && n < part.end_channel()));
        }
      }
    }
  }
}

TEST_CASE("fconv: a fused row is taken only where the policy allows it") {
  const auto chosen = [](simd::Level level, bool fused_floats) {
    return best_row(fconv_kernels(), {.engine = {}, .level = level, .fused_floats = fused_floats})
        .name;
  };
  CHECK(chosen(simd::Level::kBest, false) == "fconv/simd128-5x8");
  CHECK(chosen(simd::Level::kSimd128, true) == "fconv/simd128-5x8");
  if (simd::kHasRelaxedRows) CHECK(chosen(simd::Level::kBest, true) == "fconv/relaxed-6x8");
}

}  // namespace
}  // namespace octavo::kernels
