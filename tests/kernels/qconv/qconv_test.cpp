#include "kernels/qconv/qconv.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <utility>

#include "kernels/qconv/requantize.h"
#include "support/buffers.h"
#include "support/conv_windows.h"

namespace octavo::kernels {
namespace {

struct Problem {
  QConvSpec spec;
  test::Windows windows;
  std::vector<std::uint8_t> x;  // bytes of either sign, the slack at the end
  std::vector<std::int8_t> weights;
  std::vector<std::int32_t> bias;
  std::vector<float> scale;
  std::int64_t out_stride = 0;
  std::int32_t zero_y = 0, lo = 0, hi = 255;
  int first_channel = 0, last_channel = 0;  // of the call
};

Problem make_problem(bool x_signed, std::int64_t pixels, int channels, int segments, int length,
                     std::uint32_t seed) {
  Problem p;
  p.spec = {channels, segments, length, x_signed, x_signed ? -13 : 121};
  p.windows = test::make_windows(pixels, segments, length);
  p.x = test::random_codes<std::uint8_t>(p.windows.elements + 16, seed);
  const auto n = static_cast<std::size_t>(channels);
  p.weights =
      test::random_codes<std::int8_t>(n * static_cast<std::size_t>(segments * length), seed + 1);
  test::Random random(seed + 2);
  for (std::size_t i = 0; i < n; ++i) {
    p.bias.push_back(random.range(-5000, 5000));
    p.scale.push_back(random.uniform(0.1F, 2.0F) /
                      (100.0F * std::sqrt(static_cast<float>(segments * length))));
  }
  p.out_stride = channels + static_cast<std::int64_t>(seed % 3);
  p.zero_y = x_signed ? 5 : 130;
  p.lo = x_signed ? -128 : 0;
  p.hi = x_signed ? 127 : 255;
  return p;
}

// The formula of qconv.h in 64-bit integers and doubles.
std::int32_t sum_of(const Problem& p, std::int64_t m, int n) {
  std::int64_t acc = p.bias.empty() ? 0 : p.bias[static_cast<std::size_t>(n)];
  for (int s = 0; s < p.spec.segments; ++s) {
    for (int k = 0; k < p.spec.length; ++k) {
      const std::uint8_t byte = p.x[p.windows.at(m, static_cast<std::size_t>(s), k)];
      const std::int64_t code = p.spec.x_signed && byte > 127 ? byte - 256 : byte;
      acc += (code - p.spec.zero_x) *
             p.weights[static_cast<std::size_t>((n * p.spec.segments + s) * p.spec.length + k)];
    }
  }
  return static_cast<std::int32_t>(static_cast<std::uint64_t>(acc));
}
std::int32_t code_of(const Problem& p, std::int32_t sum, int n) {
  const float product = static_cast<float>(sum) * p.scale[static_cast<std::size_t>(n)];
  if (std::isnan(product)) return p.lo;
  return static_cast<std::int32_t>(
      std::clamp(std::nearbyint(static_cast<double>(product)) + p.zero_y, static_cast<double>(p.lo),
                 static_cast<double>(p.hi)));
}

// Elements of the output in memory order; those between two pixels, and of channels that the call
// does not compute, are left as they were.
template <class T, class Element>
std::vector<T> naive(const Problem& p, const std::vector<T>& untouched, Element element) {
  std::vector<T> out = untouched;
  for (std::int64_t m = 0; m < p.windows.pixels; ++m) {
    for (int n = p.first_channel; n < (p.last_channel != 0 ? p.last_channel : p.spec.channels); ++n)
      out[static_cast<std::size_t>(m * p.out_stride + n)] = element(sum_of(p, m, n), n);
  }
  return out;
}

template <class T, class Element>
void check_output(const QConvKernel& kernel, const Problem& p, QConvOutput output,
                  Element element) {
  const QConvPacked packed = kernel.pack(p.spec, p.weights, p.bias, p.scale);
  std::vector<std::max_align_t> scratch(packed.scratch_bytes / sizeof(std::max_align_t) + 1);
  const auto size =
      p.windows.pixels == 0
          ? 0
          : static_cast<std::size_t>((p.windows.pixels - 1) * p.out_stride + p.spec.channels);
  test::Guarded<T> out(size);
  QConvCall call;
  call.x = reinterpret_cast<const std::byte*>(p.x.data());
  call.pixel_stride = p.windows.pixel_stride;
  call.row_stride = p.windows.row_stride;
  call.width = p.windows.width;
  call.pixels = p.windows.pixels;
  call.segment_offset = p.windows.offsets.data();
  call.out = reinterpret_cast<std::byte*>(out.data());
  call.out_stride = p.out_stride;
  call.output = output;
  call.zero_y = p.zero_y;
  call.lo = p.lo;
  call.hi = p.hi;
  call.scratch = reinterpret_cast<std::byte*>(scratch.data());
  call.first_channel = p.first_channel;
  call.last_channel = p.last_channel;
  const std::vector<T> untouched = out.values();
  kernel.run(packed, call);
  CHECK(test::same_bits(out.values(), naive<T>(p, untouched, element)));
  CHECK(out.intact());
}

void check_codes(const QConvKernel& kernel, const Problem& p) {
  if (p.spec.x_signed) {
    check_output<std::int8_t>(kernel, p, QConvOutput::kInt8, [&](std::int32_t sum, int n) {
      return static_cast<std::int8_t>(code_of(p, sum, n));
    });
  } else {
    check_output<std::uint8_t>(kernel, p, QConvOutput::kUint8, [&](std::int32_t sum, int n) {
      return static_cast<std::uint8_t>(code_of(p, sum, n));
    });
  }
}

template <class Check>
void each_row(Check check) {
  for (const QConvKernel& kernel : qconv_kernels()) {
    if (!test::runs_here(kernel.engine)) continue;
    CAPTURE(kernel.name);
    check(kernel);
  }
}

TEST_CASE("qconv: every row gives the formula's codes at sizes around its tiles") {
  each_row([](const QConvKernel& kernel) {
    std::uint32_t seed = 1;
    for (const std::int64_t pixels : {0, 1, 5, 6, 7, 13}) {
      for (const int channels : {1, 3, 7, 8, 9, 16, 33}) {
        for (const int segments : {1, 3, 9}) {
          for (const int length : {1, 2, 3, 4, 5, 7, 8, 16, 27, 64}) {
            CAPTURE(pixels);
            CAPTURE(channels);
            CAPTURE(segments);
            CAPTURE(length);
            check_codes(kernel,
                        make_problem(kernel.x_signed, pixels, channels, segments, length, seed++));
          }
        }
      }
    }
  });
}

TEST_CASE("qconv: long sums and many pixels, which rows take in parts") {
  struct Size {
    std::int64_t pixels;
    int segments, length;
  };
  constexpr Size kSizes[] = {{1, 1, 1026}, {4, 1, 1024}, {6, 1, 1025}, {5, 1, 1026},
                             {49, 3, 700}, {52, 3, 342}, {209, 1, 2},  {211, 3, 131}};
  each_row([&](const QConvKernel& kernel) {
    std::uint32_t seed = 100;
    for (const Size& size : kSizes) {
      CAPTURE(size.pixels);
      CAPTURE(size.length);
      for (const int channels : {8, 20}) {
        check_codes(kernel, make_problem(kernel.x_signed, size.pixels, channels, size.segments,
                                         size.length, seed++));
      }
    }
  });
}

TEST_CASE("qconv: calls whose pixels two shapes share while they race are exact") {
  each_row([&](const QConvKernel& kernel) {
    // 2^20 products and more, with pixels that are no whole number of tiles.
    const Problem p = make_problem(kernel.x_signed, 131, 72, 1, 113, 40);
    for (int call = 0; call < 3; ++call) check_codes(kernel, p);
  });
}

TEST_CASE("qconv: every row gives sums and floats where they are asked for") {
  each_row([](const QConvKernel& kernel) {
    for (const int channels : {1, 7, 8, 20}) {
      CAPTURE(channels);
      const Problem p = make_problem(kernel.x_signed, 7, channels, 3, 27, 77);
      check_output<std::int32_t>(kernel, p, QConvOutput::kInt32,
                                 [](std::int32_t sum, int) { return sum; });
      check_output<float>(kernel, p, QConvOutput::kFloat32, [&](std::int32_t sum, int n) {
        return static_cast<float>(sum) * p.scale[static_cast<std::size_t>(n)];
      });
    }
  });
}

TEST_CASE("qconv: the byte form of the output is free") {
  each_row([](const QConvKernel& kernel) {
    Problem p = make_problem(kernel.x_signed, 9, 17, 3, 12, 5);
    p.zero_y = 0;
    p.lo = -128;
    p.hi = 127;
    check_output<std::int8_t>(kernel, p, QConvOutput::kInt8, [&](std::int32_t sum, int n) {
      return static_cast<std::int8_t>(code_of(p, sum, n));
    });
    p.zero_y = 255;
    p.lo = 0;
    p.hi = 255;
    check_output<std::uint8_t>(kernel, p, QConvOutput::kUint8, [&](std::int32_t sum, int n) {
      return static_cast<std::uint8_t>(code_of(p, sum, n));
    });
  });
}

TEST_CASE("qconv: the bounds of a fused activation hold") {
  each_row([](const QConvKernel& kernel) {
    Problem p = make_problem(kernel.x_signed, 9, 17, 3, 12, 6);
    p.lo = p.zero_y;
    p.hi = p.zero_y + 60;
    check_codes(kernel, p);
  });
}

TEST_CASE("qconv: extreme codes and weights are exact") {
  each_row([](const QConvKernel& kernel) {
    for (const int weight : {-128, -127, 127}) {
      for (const int byte : {0, 127, 128, 255}) {
        CAPTURE(weight);
        CAPTURE(byte);
        Problem p = make_problem(kernel.x_signed, 7, 9, 2, 33, 8);
        std::fill(p.x.begin(), p.x.end(), static_cast<std::uint8_t>(byte));
        std::fill(p.weights.begin(), p.weights.end(), static_cast<std::int8_t>(weight));
        check_codes(kernel, p);
        check_output<std::int32_t>(kernel, p, QConvOutput::kInt32,
                                   [](std::int32_t sum, int) { return sum; });
      }
    }
  });
}

TEST_CASE("qconv: a channel starts from the sum of its weights, whatever their number") {
  for (const std::size_t length :
       {std::size_t{0}, std::size_t{1}, std::size_t{15}, std::size_t{16}, std::size_t{17},
        std::size_t{79}, std::size_t{65536}, std::size_t{65537}, std::size_t{200'003}}) {
    for (const int kind : {0, 1, 2}) {  // all of the least, all of the largest, mixed
      std::vector<std::int8_t> weights(length);
      std::int64_t sum = 0;
      std::int64_t magnitude = 0;
      for (std::size_t i = 0; i < length; ++i) {
        weights[i] = kind == 0   ? std::int8_t{-128}
                     : kind == 1 ? std::int8_t{127}
                                 : static_cast<std::int8_t>(i * 2654435761U >> 24);
        sum += weights[i];
        magnitude += std::abs(static_cast<int>(weights[i]));
      }
      const auto bias = static_cast<std::int32_t>(static_cast<std::uint64_t>(1000 - 121 * sum));
      CHECK(channel_start(weights, 1000, 121, 1e-12F).bias == bias);
      // Just bounded, and just not: |acc| is at most 255 times the magnitudes and the bias.
      const double most = 255.0 * static_cast<double>(magnitude) + 1000;
      const auto limit = static_cast<float>((kRoundMagicLimit - 1.0) / most);
      CHECK(channel_start(weights, 1000, 121, limit * 0.999F).bounded == (most < 2147483648.0));
      CHECK(!channel_start(weights, 1000, 121, limit * 1.001F).bounded);
    }
  }
}

TEST_CASE("qconv: scales whose products leave the range of the rounding trick saturate") {
  each_row([](const QConvKernel& kernel) {
    Problem p = make_problem(kernel.x_signed, 13, 24, 3, 16, 9);
    CHECK(kernel.pack(p.spec, p.weights, p.bias, p.scale).bounded);
    for (std::size_t i = 0; i < p.scale.size(); ++i)
      p.scale[i] = i % 3 == 0 ? 1e6F : i % 3 == 1 ? 0.002F : std::numeric_limits<float>::infinity();
    CHECK(!kernel.pack(p.spec, p.weights, p.bias, p.scale).bounded);
    check_codes(kernel, p);
    // A sum of 0 times infinity is NaN, which is the lowest code.
    std::fill(p.weights.begin(), p.weights.end(), std::int8_t{0});
    std::fill(p.bias.begin(), p.bias.end(), 0);
    check_codes(kernel, p);
  });
}

TEST_CASE("qconv: products close to the end of the rounding trick's range round as the formula") {
  each_row([](const QConvKernel& kernel) {
    Problem p = make_problem(kernel.x_signed, 13, 9, 1, 4, 10);
    // |acc| <= 255 * 4 * 128 + |bias|; ties and their neighbours, near 2^22 and near 0.
    for (const float scale : {31.0F, 32.5F, 0.5F, 0.25F}) {
      CAPTURE(scale);
      std::fill(p.scale.begin(), p.scale.end(), scale);
      check_codes(kernel, p);
    }
  });
}

TEST_CASE("qconv: sums wrap modulo 2^32") {
  each_row([](const QConvKernel& kernel) {
    Problem p = make_problem(kernel.x_signed, 7, 9, 3, 16, 11);
    for (std::size_t i = 0; i < p.bias.size(); ++i)
      p.bias[i] = i % 2 == 0 ? std::numeric_limits<std::int32_t>::max()
                             : std::numeric_limits<std::int32_t>::min();
    check_output<std::int32_t>(kernel, p, QConvOutput::kInt32,
                               [](std::int32_t sum, int) { return sum; });
    check_codes(kernel, p);
  });
}

TEST_CASE("qconv: without a bias it is zero") {
  each_row([](const QConvKernel& kernel) {
    Problem p = make_problem(kernel.x_signed, 7, 9, 3, 16, 12);
    p.bias.clear();
    check_codes(kernel, p);
  });
}

TEST_CASE("qconv: weights that fill several blocks of the cache are all used") {
  each_row([](const QConvKernel& kernel) {
    check_codes(kernel, make_problem(kernel.x_signed, 7, 100, 9, 160, 13));
  });
}

TEST_CASE("qconv: a call computes the channels that it is asked for, and touches no others") {
  each_row([](const QConvKernel& kernel) {
    for (const std::int64_t pixels : {1, 5, 7, 13}) {
      for (const auto& [first, last] : {std::pair{0, 8}, {8, 24}, {40, 96}, {96, 0}, {96, 101}}) {
        CAPTURE(pixels);
        CAPTURE(first);
        Problem p = make_problem(kernel.x_signed, pixels, 101, 3, 40, 21);
        p.first_channel = first;
        p.last_channel = last;
        check_codes(kernel, p);
      }
    }
  });
}

TEST_CASE("qconv: segments without bytes leave the bias") {
  each_row([](const QConvKernel& kernel) {
    check_codes(kernel, make_problem(kernel.x_signed, 7, 9, 3, 0, 14));
  });
}

// Weights of at most `most` in magnitude.
void shrink(Problem& p, int most) {
  for (std::int8_t& w : p.weights) w = static_cast<std::int8_t>(w * most / 128);
}

TEST_CASE("qconv: weights that a row takes without residuals, or only few of them, are exact too") {
  each_row([](const QConvKernel& kernel) {
    std::uint32_t seed = 100;
    for (const std::int64_t pixels : {1, 3, 4, 5, 6, 7, 9}) {
      for (const int length : {1, 3, 4, 5, 8, 9, 12, 16, 20, 64}) {
        for (const int most : {32, 64, 127}) {
          CAPTURE(pixels);
          CAPTURE(length);
          CAPTURE(most);
          Problem p = make_problem(kernel.x_signed, pixels, 19, 2, length, seed++);
          shrink(p, most);
          check_codes(kernel, p);
          p.weights[p.weights.size() / 2] = 127;
          p.weights.back() = -128;
          check_codes(kernel, p);
          // All codes at the end of their range, where sums of 16 bits would overflow first.
          std::fill(p.x.begin(), p.x.end(), kernel.x_signed ? 128 : 255);
          check_codes(kernel, p);
        }
      }
    }
  });
}

TEST_CASE("qconv: sums of pairs and quads are exact up to the last weight that is allowed") {
  each_row([](const QConvKernel& kernel) {
    for (const int first : {-128, -127, -65, -64, -1, 0, 1, 63, 64, 65, 127}) {
      for (const int second : {-128, -64, -63, -1, 0, 1, 63, 64, 65, 127}) {
        CAPTURE(first);
        CAPTURE(second);
        for (const bool quads : {false, true}) {
          Problem p = make_problem(kernel.x_signed, 6, 8, 1, 16, 300);
          for (std::size_t i = 0; i < p.weights.size(); ++i) {
            const int w = i % 2 == 0 ? first : second;
            p.weights[i] = static_cast<std::int8_t>(quads ? w / 2 : w);
          }
          std::fill(p.x.begin(), p.x.end(), kernel.x_signed ? 128 : 255);
          check_codes(kernel, p);
        }
      }
    }
  });
}

TEST_CASE("qconv: whether residuals pay is asked of channels all over the layer") {
  if (!simd::kHasRelaxedRows) return;
  const auto chosen = [](int begin, int end) {  // the channels whose weights do not fit
    Problem p = make_problem(false, 1, 400, 1, 64, 16);
    for (int n = 0; n < 400; ++n) {
      for (int k = 0; k < 64; ++k) {
        std::int8_t& w = p.weights[static_cast<std::size_t>(n * 64 + k)];
        w = n >= begin && n < end ? std::int8_t{127} : static_cast<std::int8_t>(w / 2);
      }
    }
    return choose_qconv({simd::EngineClass::kMaddubs, simd::Level::kBest}, p.spec, p.weights).name;
  };
  CHECK(chosen(0, 0) == "qconv/relaxed-maddubs");
  CHECK(chosen(0, 24) == "qconv/relaxed-maddubs");
  for (const int begin : {0, 100, 200, 300}) {
    CAPTURE(begin);
    CHECK(chosen(begin, begin + 100) == "qconv/simd128-dot16-u8");
  }
}

TEST_CASE("qconv: a residual step takes three pairs of weights of four channels") {
  for (const QConvKernel& kernel : qconv_kernels()) {
    if (kernel.engine != simd::EngineClass::kMaddubs) continue;
    Problem p = make_problem(kernel.x_signed, 6, 8, 2, 18, 500);
    std::fill(p.weights.begin(), p.weights.end(), std::int8_t{0});
    const auto steps = [&] { return kernel.pack(p.spec, p.weights, p.bias, p.scale).residuals; };
    const auto set_pair = [&](int channel, int segment, int k, int a, int b) {
      std::int8_t* w = p.weights.data() + (channel * 2 + segment) * 18 + k;
      w[0] = static_cast<std::int8_t>(a);
      w[1] = static_cast<std::int8_t>(b);
    };
    set_pair(0, 1, 4, 100, 29);
    set_pair(1, 1, 6, -128, -128);
    set_pair(3, 1, 8, 65, 64);
    REQUIRE(steps().size() == 1);
    CHECK(steps()[0].segment == 1);
    CHECK(steps()[0].k == 5);
    check_codes(kernel, p);
    set_pair(4, 1, 4, 100, 29);  // the next four channels
    CHECK(steps().size() == 2);
    set_pair(0, 0, 16, 100, 29);  // another segment, whose last pair it is
    CHECK(steps().size() == 3);
    // Residuals of -127 and -128 cannot be a pair of one step: the second goes into the next pair.
    set_pair(0, 1, 4, -128, -127);
    set_pair(0, 1, 6, -128, -128);
    CHECK(steps().size() == 3);
    // Nor can a third beside it then.
    set_pair(0, 1, 8, -128, -128);
    CHECK(steps().size() == 4);
    std::fill(p.x.begin(), p.x.end(), std::uint8_t{255});
    check_codes(kernel, p);
  }
}

TEST_CASE("qconv: one pixel by many channels is exact in every part of its tiles") {
  each_row([](const QConvKernel& kernel) {
    for (const int channels : {39, 40, 41, 48, 100}) {
      for (const int length : {3, 4, 33}) {
        CAPTURE(channels);
        CAPTURE(length);
        check_codes(kernel, make_problem(kernel.x_signed, 1, channels, 2, length, 400));
      }
    }
  });
}

TEST_CASE("qconv: the chosen row fits engine, level and byte form") {
  using simd::EngineClass;
  using simd::Level;
  const auto chosen = [](EngineClass engine, Level level, bool x_signed, int most) {
    Problem p = make_problem(x_signed, 1, 8, 1, 64, 15);
    shrink(p, most);
    return choose_qconv({engine, level}, p.spec, p.weights).name;
  };
  CHECK(chosen(EngineClass::kNone, Level::kScalar, false, 127) == "qconv/scalar-u8");
  CHECK(chosen(EngineClass::kUsdot, Level::kScalar, true, 127) == "qconv/scalar-s8");
  CHECK(chosen(EngineClass::kNone, Level::kBest, false, 127) == "qconv/simd128-dot16-u8");
  CHECK(chosen(EngineClass::kUsdot, Level::kSimd128, false, 127) == "qconv/simd128-dot16-u8");
  // Many weights that do not fit into pairs of 16 bits.
  CHECK(chosen(EngineClass::kMaddubs, Level::kBest, false, 127) == "qconv/simd128-dot16-u8");
  if (simd::kHasRelaxedRows) {
    CHECK(chosen(EngineClass::kUsdot, Level::kBest, false, 127) == "qconv/relaxed-usdot");
    CHECK(chosen(EngineClass::kSdot, Level::kBest, true, 127) == "qconv/relaxed-sdot");
    CHECK(chosen(EngineClass::kMaddubs, Level::kBest, false, 64) == "qconv/relaxed-maddubs");
    CHECK(chosen(EngineClass::kWrap, Level::kBest, true, 127) == "qconv/relaxed-wrap");
  }
  // Signed codes on a USDOT engine take the row that is right there.
  CHECK(chosen(EngineClass::kUsdot, Level::kBest, true, 127) == "qconv/simd128-dot16-s8");
}

}  // namespace
}  // namespace octavo::kernels
