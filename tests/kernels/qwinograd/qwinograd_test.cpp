#include "kernels/qwinograd/qwinograd.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "support/buffers.h"

namespace octavo::kernels {
namespace {

struct Problem {
  QWinogradSpec spec;
  std::int64_t batch = 1;
  std::vector<std::uint8_t> x;  // bytes of either sign, the slack at the end
  std::vector<std::int8_t> weights;
  std::vector<std::int32_t> bias;
  std::vector<float> scale;
  std::int32_t zero_y = 0, lo = 0, hi = 255;

  std::size_t outputs() const {
    return static_cast<std::size_t>(batch * spec.out_height * spec.out_width * spec.channels);
  }
  std::int64_t tiles() const { return batch * spec.tiles_of_image(); }
};

struct Size {
  std::int64_t height, width;  // of the output
  std::int64_t top = 1, left = 1, bottom = 1, right = 1;
};

Problem make_problem(bool x_signed, const Size& size, int depth, int channels, std::uint32_t seed) {
  Problem p;
  p.spec = {channels,
            depth,
            x_signed,
            x_signed ? -13 : 121,
            size.height + 2 - size.top - size.bottom,
            size.width + 2 - size.left - size.right,
            size.height,
            size.width,
            size.top,
            size.left};
  p.batch = 1 + seed % 2;
  p.x = test::random_codes<std::uint8_t>(
      static_cast<std::size_t>(p.batch * p.spec.height * p.spec.width * depth + 16), seed);
  p.weights =
      test::random_codes<std::int8_t>(static_cast<std::size_t>(channels * depth * 9), seed + 1);
  test::Random random(seed + 2);
  for (int n = 0; n < channels; ++n) {
    p.bias.push_back(random.range(-5000, 5000));
    p.scale.push_back(random.uniform(0.1F, 2.0F) /
                      (100.0F * std::sqrt(static_cast<float>(9 * depth))));
  }
  p.zero_y = x_signed ? 5 : 130;
  p.lo = x_signed ? -128 : 0;
  p.hi = x_signed ? 127 : 255;
  return p;
}

// The formula of qwinograd.h in 64-bit integers.
std::vector<std::int32_t> plain_sums(const Problem& p) {
  const QWinogradSpec& s = p.spec;
  std::vector<std::int32_t> out;
  for (std::int64_t image = 0; image < p.batch; ++image) {
    for (std::int64_t y = 0; y < s.out_height; ++y) {
      for (std::int64_t x = 0; x < s.out_width; ++x) {
        for (int n = 0; n < s.channels; ++n) {
          std::int64_t acc = p.bias.empty() ? 0 : p.bias[static_cast<std::size_t>(n)];
          for (std::int64_t tap = 0; tap < 9; ++tap) {
            const std::int64_t row = y + tap / 3 - s.top;
            const std::int64_t column = x + tap % 3 - s.left;
            if (row < 0 || row >= s.height || column < 0 || column >= s.width) continue;
            for (int c = 0; c < s.depth; ++c) {
              const std::uint8_t byte = p.x[static_cast<std::size_t>(
                  ((image * s.height + row) * s.width + column) * s.depth + c)];
              const std::int64_t code = s.x_signed && byte > 127 ? byte - 256 : byte;
              acc += (code - s.zero_x) *
                     p.weights[static_cast<std::size_t>((n * 9 + tap) * s.depth + c)];
            }
          }
          out.push_back(static_cast<std::int32_t>(static_cast<std::uint64_t>(acc)));
        }
      }
    }
  }
  return out;
}

// `tiles` and `channels` of a call; 0: all, as far as one call may do them.
template <class T>
std::vector<T> run(const QWinogradKernel& kernel, const Problem& p, QConvOutput output,
                   std::int64_t tiles = 0, int channels = 0) {
  const QWinogradPacked packed = kernel.pack(p.spec, p.weights, p.bias, p.scale);
  std::vector<std::max_align_t> scratch(packed.scratch_bytes / sizeof(std::max_align_t) + 1);
  test::Guarded<T> out(p.outputs());
  QWinogradCall call;
  call.x = reinterpret_cast<const std::byte*>(p.x.data());
  call.out = reinterpret_cast<std::byte*>(out.data());
  call.output = output;
  call.zero_y = p.zero_y;
  call.lo = p.lo;
  call.hi = p.hi;
  call.scratch = reinterpret_cast<std::byte*>(scratch.data());
  if (tiles == 0) tiles = winograd_tiles(p.spec);
  if (channels == 0) channels = p.spec.channels;
  for (std::int64_t tile = 0; tile < p.tiles(); tile += tiles) {
    for (int n = 0; n < p.spec.channels; n += channels) {
      call.first_tile = tile;
      call.last_tile = std::min(tile + tiles, p.tiles());
      call.first_channel = n;
      call.last_channel = n + channels;
      kernel.run(packed, call);
    }
  }
  CHECK(out.intact());
  return out.values();
}

const QWinogradKernel& reference(bool x_signed) { return qwinograd_kernels()[x_signed ? 1 : 0]; }

template <class Check>
void each_row(Check check) {
  for (const QWinogradKernel& kernel : qwinograd_kernels()) {
    CAPTURE(kernel.name);
    check(kernel);
  }
}

void check_sums(const QWinogradKernel& kernel, const Problem& p) {
  CHECK(run<std::int32_t>(kernel, p, QConvOutput::kInt32) == plain_sums(p));
}

// Codes, of the sign of x and of the other one, and floats, against the reference.
void check_outputs(const QWinogradKernel& kernel, const Problem& p) {
  const QWinogradKernel& scalar = reference(kernel.x_signed);
  const QConvOutput codes = p.lo < 0 ? QConvOutput::kInt8 : QConvOutput::kUint8;
  CHECK(run<std::uint8_t>(kernel, p, codes) == run<std::uint8_t>(scalar, p, codes));
  CHECK(test::same_bits(run<float>(kernel, p, QConvOutput::kFloat32),
                        run<float>(scalar, p, QConvOutput::kFloat32)));
}

TEST_CASE("qwinograd: the rows of both byte forms are there, weakest first") {
  const auto rows = qwinograd_kernels();
  REQUIRE(rows.size() >= 4);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    CHECK(rows[i].x_signed == (i % 2 == 1));
    CHECK(rows[i].level == (i < 2 ? simd::Level::kScalar : simd::Level::kSimd128));
  }
}

TEST_CASE("qwinograd: every row gives the formula's sums at sizes around its tiles") {
  each_row([](const QWinogradKernel& kernel) {
    std::uint32_t seed = 1;
    for (const Size& size : {Size{1, 1}, Size{1, 4}, Size{2, 5}, Size{4, 4}, Size{7, 7}, Size{3, 9},
                             Size{9, 3}, Size{8, 13}, Size{25, 12}}) {
      for (const int depth : {1, 2, 3, 7, 8, 9, 16, 20}) {
        for (const int channels : {1, 7, 8, 9, 24}) {
          CAPTURE(size.height);
          CAPTURE(size.width);
          CAPTURE(depth);
          CAPTURE(channels);
          const Problem p = make_problem(kernel.x_signed, size, depth, channels, seed++);
          check_sums(kernel, p);
          check_outputs(kernel, p);
        }
      }
    }
  });
}

TEST_CASE("qwinograd: every border is one of zero points, also beyond a whole tile, and none") {
  each_row([](const QWinogradKernel& kernel) {
    std::uint32_t seed = 500;
    for (const Size& size :
         {Size{6, 7, 0, 0, 0, 0}, Size{6, 7, 2, 2, 2, 2}, Size{5, 5, 0, 1, 2, 0},
          Size{14, 13, 7, 6, 6, 5}, Size{12, 3, 0, 0, 9, 1}, Size{6, 12, 1, 9, 1, 0}}) {
      CAPTURE(size.height);
      CAPTURE(size.width);
      const Problem p = make_problem(kernel.x_signed, size, 9, 9, seed++);
      check_sums(kernel, p);
      check_outputs(kernel, p);
    }
  });
}

TEST_CASE("qwinograd: any cut into calls gives the same bytes") {
  each_row([](const QWinogradKernel& kernel) {
    const Problem p = make_problem(kernel.x_signed, {13, 18}, 12, 29, 7);
    const auto whole = run<std::int32_t>(reference(kernel.x_signed), p, QConvOutput::kInt32);
    for (const std::int64_t tiles : {1, 2, 3, 4, 5, 7, 16}) {
      for (const int channels : {8, 16, 32}) {
        CAPTURE(tiles);
        CAPTURE(channels);
        CHECK(run<std::int32_t>(kernel, p, QConvOutput::kInt32, tiles, channels) == whole);
      }
    }
  });
}

TEST_CASE("qwinograd: extreme codes and weights are exact") {
  each_row([](const QWinogradKernel& kernel) {
    for (const int weight : {-128, -127, 127}) {
      for (const int byte : {0, 127, 128, 255}) {
        CAPTURE(weight);
        CAPTURE(byte);
        Problem p = make_problem(kernel.x_signed, {5, 6}, 12, 9, 8);
        std::fill(p.x.begin(), p.x.end(), static_cast<std::uint8_t>(byte));
        std::fill(p.weights.begin(), p.weights.end(), static_cast<std::int8_t>(weight));
        check_sums(kernel, p);
        check_outputs(kernel, p);
      }
    }
  });
}

// Codes and weights at the ends of their ranges with the signs of a place of the transforms, so
// that its 16 bits are as full as they can be.
TEST_CASE("qwinograd: no place of a transform leaves 16 bits") {
  constexpr int kCodes[6][6] = {{4, 0, -5, 0, 1, 0},  {0, 4, 4, -1, -1, 0}, {0, -4, 4, 1, -1, 0},
                                {0, -2, -1, 2, 1, 0}, {0, 2, -1, -2, 1, 0}, {0, 4, 0, -5, 0, 1}};
  constexpr int kWeights[6][3] = {{6, 0, 0}, {4, 4, 4},  {4, -4, 4},
                                  {1, 2, 4}, {1, -2, 4}, {0, 0, 12}};
  each_row([&](const QWinogradKernel& kernel) {
    Problem p = make_problem(kernel.x_signed, {4, 4, 0, 0, 0, 0}, 8, 8, 2);
    const std::uint8_t least = kernel.x_signed ? 128 : 0;
    const std::uint8_t most = kernel.x_signed ? 127 : 255;
    for (int place = 0; place < 36; ++place) {
      for (const int sign : {-1, 1}) {
        for (std::size_t i = 0; i < 36; ++i) {
          const int factor = sign * kCodes[place / 6][i / 6] * kCodes[place % 6][i % 6];
          std::fill_n(p.x.begin() + static_cast<std::ptrdiff_t>(i * 8), 8,
                      factor > 0 ? most : least);
        }
        for (std::size_t i = 0; i < p.weights.size(); ++i) {
          const auto tap = static_cast<int>(i / 8 % 9);
          const int factor = kWeights[place / 6][tap / 3] * kWeights[place % 6][tap % 3];
          p.weights[i] = factor > 0 ? std::int8_t{127} : std::int8_t{-128};
        }
        check_sums(kernel, p);
      }
    }
  });
}

int parts_of(int channels, std::span<const std::int8_t> weights) {
  QWinogradSpec spec;
  spec.channels = channels;
  spec.depth = static_cast<int>(weights.size()) / 9 / channels;
  return winograd_parts(spec, weights);
}

TEST_CASE("qwinograd: depths around what is taken at a time") {
  each_row([](const QWinogradKernel& kernel) {
    std::uint32_t seed = 900;
    for (const int depth : {31, 32, 33, 47, 64, 65, 100}) {
      for (int parts = 1; parts <= std::min(3, (depth + 31) / 32); ++parts) {
        CAPTURE(depth);
        CAPTURE(parts);
        Problem p = make_problem(kernel.x_signed, {10, 9}, depth, 9, seed++);
        p.spec.parts = parts;
        check_sums(kernel, p);
        check_outputs(kernel, p);
      }
    }
  });
}

TEST_CASE("qwinograd: what is too much for one part is exact in several") {
  each_row([](const QWinogradKernel& kernel) {
    for (const int depth : {240, 480, 900}) {
      CAPTURE(depth);
      Problem p = make_problem(kernel.x_signed, {5, 5}, depth, 8, 31);
      for (const int weight : {127, -128}) {
        std::fill(p.weights.begin(), p.weights.end(), static_cast<std::int8_t>(weight));
        p.spec.parts = parts_of(8, p.weights);
        CHECK(p.spec.parts > 1);
        for (const int byte : {0, 127, 128, 255}) {
          std::fill(p.x.begin(), p.x.end(), static_cast<std::uint8_t>(byte));
          check_sums(kernel, p);
        }
      }
      CHECK(parts_of(1, std::vector<std::int8_t>(9 * 1000, std::int8_t{-128})) == 0);
    }
  });
}

TEST_CASE("qwinograd: sums of a part may lie 2^26 apart, and no further") {
  // 263172 * 255 = 2^26 - 4.
  const std::size_t depth = 240;
  std::vector<std::int8_t> weights(9 * depth, std::int8_t{-128});
  std::int64_t left = 263172;
  for (std::int8_t& w : weights) {
    const std::int64_t magnitude = std::min<std::int64_t>(left, 128);
    w = static_cast<std::int8_t>(-magnitude);
    left -= magnitude;
  }
  REQUIRE(left == 0);
  CHECK(parts_of(1, weights) == 1);
  const auto two = [&](std::int8_t one_more) {
    std::vector<std::int8_t> both(9 * depth, std::int8_t{127});
    both.insert(both.end(), weights.begin(), weights.end());
    std::fill(both.begin(), both.begin() + 400, std::int8_t{0});
    both.back() = one_more;
    return both;
  };
  CHECK(parts_of(2, two(0)) == 1);
  CHECK(parts_of(2, two(1)) == 2);
  CHECK(parts_of(2, two(-1)) == 2);
  each_row([&](const QWinogradKernel& kernel) {
    Problem p = make_problem(kernel.x_signed, {5, 4}, static_cast<int>(depth), 1, 3);
    for (const bool flipped : {false, true}) {
      p.weights = weights;
      // As many of the other sign: the sum of magnitudes is the same, and so is the distance.
      for (std::size_t i = 0; flipped && i < p.weights.size(); ++i)
        if (i % 2 == 1 && p.weights[i] > -128)
          p.weights[i] = static_cast<std::int8_t>(-p.weights[i]);
      for (const int fill : {0, 255, 127, 128, -1}) {
        if (fill >= 0) std::fill(p.x.begin(), p.x.end(), static_cast<std::uint8_t>(fill));
        // Each code where its weight makes the sum the largest, or the least.
        for (std::size_t i = 0; fill < 0 && i < p.x.size(); ++i)
          p.x[i] = static_cast<std::uint8_t>(i * 2654435761U >> 24) > 127 ? 127 : 128;
        check_sums(kernel, p);
      }
    }
  });
}

TEST_CASE("qwinograd: the bounds of a fused activation hold, and the other sign of output") {
  each_row([](const QWinogradKernel& kernel) {
    Problem p = make_problem(kernel.x_signed, {6, 6}, 12, 17, 6);
    p.lo = p.zero_y;
    p.hi = p.zero_y + 60;
    check_outputs(kernel, p);
    p.zero_y = kernel.x_signed ? 255 : 0;
    p.lo = kernel.x_signed ? 0 : -128;
    p.hi = kernel.x_signed ? 255 : 127;
    check_outputs(kernel, p);
  });
}

TEST_CASE("qwinograd: scales and biases beyond all bounds give what the reference gives") {
  each_row([](const QWinogradKernel& kernel) {
    Problem p = make_problem(kernel.x_signed, {6, 6}, 12, 17, 9);
    for (std::size_t i = 0; i < p.scale.size(); ++i) {
      p.scale[i] = i % 3 == 0 ? 1e6F : i % 3 == 1 ? 0.002F : std::numeric_limits<float>::infinity();
      p.bias[i] = i % 2 == 0 ? std::numeric_limits<std::int32_t>::max()
                             : std::numeric_limits<std::int32_t>::min();
    }
    check_sums(kernel, p);
    check_outputs(kernel, p);
    p.bias.clear();
    check_sums(kernel, p);
    check_outputs(kernel, p);
  });
}

}  // namespace
}  // namespace octavo::kernels
