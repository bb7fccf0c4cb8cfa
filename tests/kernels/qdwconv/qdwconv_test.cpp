#include "kernels/qdwconv/qdwconv.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "support/buffers.h"
#include "support/conv_windows.h"
#include "support/dw_images.h"

namespace octavo::kernels {
namespace {

struct Problem {
  QDwConvSpec spec;
  test::Windows windows;  // a tap is a segment of `channels` bytes
  std::vector<std::uint8_t> x;
  std::vector<std::int8_t> weights;
  std::vector<std::int32_t> bias;
  std::vector<float> scale;
  std::int64_t out_stride = 0;
  std::int32_t zero_y = 0, lo = 0, hi = 255;
};

Problem make_problem(bool x_signed, std::int64_t pixels, int channels, int taps,
                     std::uint32_t seed) {
  Problem p;
  p.spec = {channels, taps, x_signed, x_signed ? 9 : 100};
  p.windows = test::make_windows(pixels, taps, channels);
  p.x = test::random_codes<std::uint8_t>(p.windows.elements + 16, seed);
  p.weights = test::random_codes<std::int8_t>(static_cast<std::size_t>(channels * taps), seed + 1);
  test::Random random(seed + 2);
  for (int c = 0; c < channels; ++c) {
    p.bias.push_back(random.range(-5000, 5000));
    p.scale.push_back(random.uniform(0.1F, 2.0F) / (100.0F * std::sqrt(static_cast<float>(taps))));
  }
  p.out_stride = channels + static_cast<std::int64_t>(seed % 3);
  p.zero_y = x_signed ? 5 : 130;
  p.lo = x_signed ? -128 : 0;
  p.hi = x_signed ? 127 : 255;
  return p;
}

// The formula's last line, in doubles.
std::int32_t code_of(const Problem& p, std::int64_t acc, int c) {
  const auto sum = static_cast<std::int32_t>(static_cast<std::uint64_t>(acc));
  const float product = static_cast<float>(sum) * p.scale[static_cast<std::size_t>(c)];
  if (std::isnan(product)) return p.lo;
  return static_cast<std::int32_t>(
      std::clamp(std::nearbyint(static_cast<double>(product)) + p.zero_y, static_cast<double>(p.lo),
                 static_cast<double>(p.hi)));
}

// A code's distance from the zero point.
std::int64_t centered(const Problem& p, std::uint8_t byte) {
  return (p.spec.x_signed && byte > 127 ? byte - 256 : byte) - p.spec.zero_x;
}

// The formula of qdwconv.h in 64-bit integers.
std::int32_t naive(const Problem& p, std::int64_t m, int c) {
  std::int64_t acc = p.bias.empty() ? 0 : p.bias[static_cast<std::size_t>(c)];
  for (int t = 0; t < p.spec.taps; ++t) {
    acc += centered(p, p.x[p.windows.at(m, static_cast<std::size_t>(t), c)]) *
           p.weights[static_cast<std::size_t>(c * p.spec.taps + t)];
  }
  return code_of(p, acc, c);
}

void check(const Problem& p) {
  const auto size =
      p.windows.pixels == 0
          ? 0
          : static_cast<std::size_t>((p.windows.pixels - 1) * p.out_stride + p.spec.channels);
  for (const QDwConvKernel& kernel : qdwconv_kernels()) {
    if (!test::runs_here(kernel.engine) || !kernel.fits(p.spec)) continue;
    CAPTURE(kernel.name);
    const bool takes_windows = kernel.run != nullptr;
    REQUIRE(takes_windows);  // nothing is said of an image
    const QDwConvPacked packed = kernel.pack(p.spec, p.weights, p.bias, p.scale);
    test::Guarded<std::uint8_t> out(size);
    std::vector<std::uint8_t> expected = out.values();
    for (std::int64_t m = 0; m < p.windows.pixels; ++m) {
      for (int c = 0; c < p.spec.channels; ++c)
        expected[static_cast<std::size_t>(m * p.out_stride + c)] =
            static_cast<std::uint8_t>(naive(p, m, c));
    }
    QDwConvCall call;
    call.x = reinterpret_cast<const std::byte*>(p.x.data());
    call.pixel_stride = p.windows.pixel_stride;
    call.row_stride = p.windows.row_stride;
    call.width = p.windows.width;
    call.pixels = p.windows.pixels;
    call.tap_offset = p.windows.offsets.data();
    call.out = reinterpret_cast<std::byte*>(out.data());
    call.out_stride = p.out_stride;
    call.zero_y = p.zero_y;
    call.lo = p.lo;
    call.hi = p.hi;
    kernel.run(packed, call);
    CHECK(out.values() == expected);
    CHECK(out.intact());
  }
}

Problem make_image(bool x_signed, const DwWindow& window, int channels, std::uint32_t seed) {
  const auto taps = static_cast<int>(window.kernel_h * window.kernel_w);
  Problem p = make_problem(x_signed, 0, channels, taps, seed);
  p.spec.window = window;
  const auto elements = static_cast<std::size_t>(window.height * window.width * channels);
  p.x = test::random_codes<std::uint8_t>(elements + 16, seed);
  return p;
}

// Runs the rows that take images, in two calls; how many ran.
int check_image(const Problem& p) {
  const DwWindow& w = p.spec.window;
  const std::int64_t height = test::out_height(w, w.top);
  const int channels = p.spec.channels;
  std::vector<std::uint8_t> expected;
  for (std::int64_t y = 0; y < height; ++y) {
    for (std::int64_t x = 0; x < w.out_width; ++x) {
      for (int c = 0; c < channels; ++c) {
        std::int64_t acc = p.bias[static_cast<std::size_t>(c)];
        for (int t = 0; t < p.spec.taps; ++t) {
          const std::int64_t pixel = test::pixel_under(w, y, x, t / w.kernel_w, t % w.kernel_w);
          if (pixel >= 0)
            acc += centered(p, p.x[static_cast<std::size_t>(pixel * channels + c)]) *
                   p.weights[static_cast<std::size_t>(c * p.spec.taps + t)];
        }
        expected.push_back(static_cast<std::uint8_t>(code_of(p, acc, c)));
      }
    }
  }
  int count = 0;
  for (const QDwConvKernel& kernel : qdwconv_kernels()) {
    if (!test::runs_here(kernel.engine) || !kernel.fits(p.spec)) continue;
    if (kernel.run_image == nullptr) continue;
    CAPTURE(kernel.name);
    const QDwConvPacked packed = kernel.pack(p.spec, p.weights, p.bias, p.scale);
    test::Guarded<std::uint8_t> out(expected.size());
    QDwConvImage call;
    call.x = reinterpret_cast<const std::byte*>(p.x.data());
    call.out = reinterpret_cast<std::byte*>(out.data());
    call.zero_y = p.zero_y;
    call.lo = p.lo;
    call.hi = p.hi;
    for (const auto& [first, last] :
         {std::pair{std::int64_t{0}, height / 2}, {height / 2, height}}) {
      call.first_row = first;
      call.last_row = last;
      kernel.run_image(packed, call);
    }
    CHECK(out.values() == expected);
    CHECK(out.intact());
    ++count;
  }
  return count;
}

TEST_CASE("qdwconv: every row gives the formula's codes at sizes around its tiles") {
  std::uint32_t seed = 1;
  for (const bool x_signed : {false, true}) {
    for (const std::int64_t pixels : {0, 1, 2, 3, 5, 6, 7, 13}) {
      for (const int channels : {1, 3, 7, 8, 9, 15, 16, 17, 33}) {
        for (const int taps : {1, 2, 3, 4, 9, 25}) {
          CAPTURE(x_signed);
          CAPTURE(pixels);
          CAPTURE(channels);
          CAPTURE(taps);
          check(make_problem(x_signed, pixels, channels, taps, seed++));
        }
      }
    }
  }
}

TEST_CASE("qdwconv: rows that keep columns give the formula's codes, whatever the border") {
  std::uint32_t seed = 500;
  for (const bool x_signed : {false, true}) {
    for (const int size : {3, 5}) {
      for (const DwWindow& window : test::dw_windows(size)) {
        const int channels = 8 + static_cast<int>(seed % 13);
        CAPTURE(x_signed);
        CAPTURE(size);
        CAPTURE(window.stride_w);
        CAPTURE(window.dilation_w);
        CAPTURE(window.width);
        CAPTURE(window.left);
        CAPTURE(window.out_width);
        CAPTURE(channels);
        Problem p = make_image(x_signed, window, channels, seed++);
        const int rows = check_image(p);
        if (size == 3) CHECK(rows > 0);
        // All weights alike do not fit into pairs of 16 bits, three of a smaller size do.
        const int weights[] = {-128, -86, 85, 86, 127};
        std::fill(p.weights.begin(), p.weights.end(), static_cast<std::int8_t>(weights[seed % 5]));
        std::fill(p.x.begin(), p.x.end(), x_signed ? 128 : 255);
        check_image(p);
      }
    }
  }
}

TEST_CASE("qdwconv: images of more rows than a tile does together are done to the last one") {
  std::uint32_t seed = 900;
  for (const std::int64_t width : {2, 14, 40, 130}) {
    for (const std::int64_t stride : {1, 2}) {
      for (const std::int64_t height : {15, 17, 35}) {
        CAPTURE(width);
        CAPTURE(stride);
        CAPTURE(height);
        DwWindow window;
        window.height = height;
        window.width = width;
        window.out_width = (width + stride - 1) / stride;
        window.kernel_h = window.kernel_w = 3;
        window.stride_h = window.stride_w = stride;
        window.top = window.left = 1;
        CHECK(check_image(make_image(false, window, 20, seed++)) > 0);
      }
    }
  }
}

TEST_CASE("qdwconv: windows with kept columns saturate and clamp as the formula does") {
  for (const bool x_signed : {false, true}) {
    Problem p = make_image(x_signed, {5, 6, 6, 3, 3, 1, 1, 1, 1, 1, 1}, 17, 7);
    p.lo = p.zero_y - 3;
    p.hi = p.zero_y + 50;
    check_image(p);
    for (std::size_t i = 0; i < p.scale.size(); ++i)
      p.scale[i] = i % 3 == 0 ? 1e6F : i % 3 == 1 ? 0.002F : std::numeric_limits<float>::infinity();
    check_image(p);
  }
}

TEST_CASE("qdwconv: windows that a walk cannot take are left to rows for any taps") {
  const DwWindow good{4, 6, 6, 3, 3, 1, 1, 1, 1, 1, 1};
  const auto walks = [](DwWindow w, int taps, int channels) {
    const QDwConvSpec spec{channels, taps, false, 0, w};
    return std::any_of(qdwconv_kernels().begin(), qdwconv_kernels().end(),
                       [&](const QDwConvKernel& kernel) {
                         return kernel.run_image != nullptr && kernel.fits(spec);
                       });
  };
  const auto changed = [&](auto member, std::int64_t value) {
    DwWindow w = good;
    w.*member = value;
    return w;
  };
  CHECK(walks(good, 9, 8));
  CHECK(!walks(good, 18, 8));  // weights in two parts
  CHECK(!walks(good, 9, 7));
  CHECK(!walks(changed(&DwWindow::left, 3), 9, 8));
  CHECK(!walks(changed(&DwWindow::out_width, 8), 9, 8));  // three columns beyond the right end
  CHECK(!walks(changed(&DwWindow::kernel_h, 2), 9, 8));
  CHECK(!walks(changed(&DwWindow::stride_w, 3), 9, 8));
  CHECK(!walks({}, 9, 8));
}

TEST_CASE("qdwconv: the chosen row fits engine, level, byte form and window") {
  using simd::EngineClass;
  using simd::Level;
  const auto chosen = [](EngineClass engine, Level level, bool x_signed, int size, int stride,
                         int dilation, int channels = 8) {
    const DwWindow window{9, 9, 3, size, size, stride, stride, dilation, dilation, 0, 0};
    return choose_qdwconv({engine, level}, {channels, size * size, x_signed, 0, window}).name;
  };
  CHECK(chosen(EngineClass::kUsdot, Level::kScalar, false, 3, 1, 1) == "qdwconv/scalar");
  CHECK(chosen(EngineClass::kNone, Level::kBest, false, 3, 1, 1) == "qdwconv/simd128-3x3-u8");
  CHECK(chosen(EngineClass::kWrap, Level::kBest, true, 3, 2, 1) == "qdwconv/simd128-3x3-s8");
  CHECK(chosen(EngineClass::kNone, Level::kBest, false, 5, 1, 1) == "qdwconv/simd128-5x5-u8");
  CHECK(chosen(EngineClass::kUsdot, Level::kBest, false, 1, 1, 1) == "qdwconv/simd128-pairs");
  CHECK(chosen(EngineClass::kUsdot, Level::kBest, false, 3, 3, 1) == "qdwconv/simd128-pairs");
  CHECK(chosen(EngineClass::kUsdot, Level::kBest, false, 3, 1, 1, 7) == "qdwconv/simd128-pairs");
  CHECK(chosen(EngineClass::kMaddubs, Level::kBest, false, 5, 1, 1) == "qdwconv/simd128-5x5-u8");
  if (simd::kHasRelaxedRows) {
    CHECK(chosen(EngineClass::kUsdot, Level::kBest, false, 3, 2, 1) == "qdwconv/relaxed-usdot-3x3");
    CHECK(chosen(EngineClass::kUsdot, Level::kBest, false, 5, 1, 1) == "qdwconv/relaxed-usdot-5x5");
    CHECK(chosen(EngineClass::kSdot, Level::kBest, true, 3, 2, 2) == "qdwconv/relaxed-sdot-3x3");
    CHECK(chosen(EngineClass::kMaddubs, Level::kBest, false, 3, 1, 3) ==
          "qdwconv/relaxed-maddubs-3x3");
  }
}

TEST_CASE("qdwconv: extreme codes and weights are exact") {
  for (const bool x_signed : {false, true}) {
    for (const int weight : {-128, 127}) {
      for (const int byte : {0, 127, 128, 255}) {
        Problem p = make_problem(x_signed, 5, 11, 9, 3);
        std::fill(p.x.begin(), p.x.end(), static_cast<std::uint8_t>(byte));
        std::fill(p.weights.begin(), p.weights.end(), static_cast<std::int8_t>(weight));
        check(p);
      }
    }
  }
}

TEST_CASE("qdwconv: the bounds of a fused activation hold") {
  for (const bool x_signed : {false, true}) {
    Problem p = make_problem(x_signed, 5, 17, 9, 4);
    p.lo = p.zero_y;
    p.hi = p.zero_y + 50;
    check(p);
  }
}

TEST_CASE("qdwconv: scales whose products leave the range of the rounding trick saturate") {
  for (const bool x_signed : {false, true}) {
    Problem p = make_problem(x_signed, 5, 17, 9, 5);
    for (const QDwConvKernel& kernel : qdwconv_kernels())
      CHECK((!kernel.fits(p.spec) || kernel.pack(p.spec, p.weights, p.bias, p.scale).bounded));
    for (std::size_t i = 0; i < p.scale.size(); ++i)
      p.scale[i] = i % 3 == 0 ? 1e6F : i % 3 == 1 ? 0.002F : std::numeric_limits<float>::infinity();
    for (const QDwConvKernel& kernel : qdwconv_kernels())
      CHECK((!kernel.fits(p.spec) || !kernel.pack(p.spec, p.weights, p.bias, p.scale).bounded));
    check(p);
    std::fill(p.weights.begin(), p.weights.end(), std::int8_t{0});
    std::fill(p.bias.begin(), p.bias.end(), 0);
    check(p);
  }
}

TEST_CASE("qdwconv: sums wrap modulo 2^32, and without a bias it is zero") {
  Problem p = make_problem(false, 5, 17, 9, 6);
  for (std::size_t i = 0; i < p.bias.size(); ++i)
    p.bias[i] = i % 2 == 0 ? std::numeric_limits<std::int32_t>::max()
                           : std::numeric_limits<std::int32_t>::min();
  check(p);
  p.bias.clear();
  check(p);
}

}  // namespace
}  // namespace octavo::kernels
