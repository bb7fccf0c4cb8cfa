#include "kernels/fwinograd/fwinograd.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "kernels/rows.h"
#include "simd/isa.h"
#include "support/buffers.h"

namespace octavo::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Problem {
  FWinogradSpec spec;
  std::vector<float> x, weights, bias;
  float lo = -kInfinity, hi = kInfinity;

  std::size_t outputs() const {
    return static_cast<std::size_t>(spec.batch * spec.out_height * spec.out_width * spec.out);
  }
  // A pixel's channel; zero outside of the image.
  float pixel(std::int64_t image, std::int64_t row, std::int64_t column, int channel) const {
    row -= spec.top;
    column -= spec.left;
    if (row < 0 || row >= spec.height || column < 0 || column >= spec.width) return 0.0F;
    return x[static_cast<std::size_t>(
        ((image * spec.height + row) * spec.width + column) * spec.in + channel)];
  }
  float weight(int out, int in, int i, int j) const {
    return weights[static_cast<std::size_t>(((out * spec.in + in) * 3 + i) * 3 + j)];
  }
};

Problem make_problem(const FWinogradSpec& spec, std::uint32_t seed) {
  Problem p;
  p.spec = spec;
  p.x = test::random_floats(
      static_cast<std::size_t>(spec.batch * spec.height * spec.width * spec.in), seed, -3.0F, 3.0F);
  p.weights =
      test::random_floats(static_cast<std::size_t>(spec.out * spec.in * 9), seed + 1, -1.0F, 1.0F);
  if (seed % 3 != 0)
    p.bias = test::random_floats(static_cast<std::size_t>(spec.out), seed + 2, -1.0F, 1.0F);
  return p;
}

// Runs the pieces in `parts` calls.
std::vector<float> run(const FWinogradKernel& kernel, const Problem& p, std::int64_t parts,
                       bool& intact) {
  const FWinogradPacked packed = kernel.pack(p.spec, p.weights, p.bias);
  std::vector<float> scratch(packed.scratch_floats());
  test::Guarded<float> out(p.outputs());
  FWinogradCall call;
  call.x = p.x.data();
  call.out = out.data();
  call.scratch = scratch.data();
  call.lo = p.lo;
  call.hi = p.hi;
  for (std::int64_t part = 0; part < parts; ++part) {
    call.first = packed.pieces() * part / parts;
    call.last = packed.pieces() * (part + 1) / parts;
    kernel.run(packed, call);
  }
  intact = out.intact();
  return out.values();
}

using Line = std::vector<float>;

// The header's formulas, on one row or column.
Line of_pixels(const Line& d) {
  const float e = d[4] - 2.0F * d[2];
  const float f = static_cast<float>(std::sqrt(0.5)) * (d[3] - 2.0F * d[1]);
  const float g = d[4] - 0.5F * d[2];
  const float h = static_cast<float>(std::sqrt(2.0)) * (d[3] - 0.5F * d[1]);
  return {(d[0] + d[4]) - 2.5F * d[2], e + f, e - f, g + h, g - h, (d[1] + d[5]) - 2.5F * d[3]};
}
Line of_products(const Line& p) {
  const float s = p[1] + p[2];
  const float d = p[1] - p[2];
  const float z = p[3] + p[4];
  const float w = p[3] - p[4];
  const auto over_r = static_cast<float>(std::sqrt(0.5));
  return {p[0] + (s + z), over_r * (d + 2.0F * w), 0.5F * s + 2.0F * z,
          over_r * (0.5F * d + 4.0F * w) + p[5]};
}

// Columns first, then rows, of a matrix [side][side].
template <class Transform>
Line both_ways(const Line& matrix, std::size_t side, Transform transform) {
  std::vector<Line> columns;
  for (std::size_t j = 0; j < side; ++j) {
    Line column;
    for (std::size_t i = 0; i < side; ++i) column.push_back(matrix[i * side + j]);
    columns.push_back(transform(column));
  }
  Line out;
  for (std::size_t i = 0; i < columns[0].size(); ++i) {
    Line row;
    for (const Line& column : columns) row.push_back(column[i]);
    const Line done = transform(row);
    out.insert(out.end(), done.begin(), done.end());
  }
  return out;
}

// G w G^T, each number rounded once, with the interpolation points and their norms written out.
Line of_filter(const Problem& p, int out, int in) {
  const double r = std::sqrt(2.0);
  std::vector<std::vector<double>> g{{1, 0, 0}};
  for (const double point : {1 / r, -1 / r, r, -r}) {
    double norm = point;  // the product of its distances to the other finite points
    for (const double other : {1 / r, -1 / r, r, -r}) {
      if (other != point) norm *= point - other;
    }
    g.push_back({1 / norm, point / norm, point * point / norm});
  }
  g.push_back({0, 0, 1});
  Line u;
  for (const auto& a : g) {
    for (const auto& b : g) {
      double sum = 0;
      for (int i = 0; i < 3; ++i) {
        for (int j = 0; j < 3; ++j)
          sum += a[static_cast<std::size_t>(i)] * b[static_cast<std::size_t>(j)] *
                 static_cast<double>(p.weight(out, in, i, j));
      }
      u.push_back(static_cast<float>(sum));
    }
  }
  return u;
}

template <class Sum>
void each_output(const Problem& p, Sum sum) {
  for (std::int64_t image = 0; image < p.spec.batch; ++image) {
    for (std::int64_t row = 0; row < p.spec.out_height; ++row) {
      for (std::int64_t column = 0; column < p.spec.out_width; ++column) {
        for (int n = 0; n < p.spec.out; ++n) sum(image, row, column, n);
      }
    }
  }
}

std::vector<double> direct(const Problem& p) {
  std::vector<double> out;
  each_output(p, [&](std::int64_t image, std::int64_t row, std::int64_t column, int n) {
    double sum = p.bias.empty() ? 0.0 : static_cast<double>(p.bias[static_cast<std::size_t>(n)]);
    for (int c = 0; c < p.spec.in; ++c) {
      for (int i = 0; i < 3; ++i) {
        for (int j = 0; j < 3; ++j) {
          sum += static_cast<double>(p.pixel(image, row + i, column + j, c)) *
                 static_cast<double>(p.weight(n, c, i, j));
        }
      }
    }
    out.push_back(sum);
  });
  return out;
}

double largest_error(const std::vector<float>& out, const std::vector<double>& expected) {
  double lo = 0, hi = 0, worst = 0;
  for (std::size_t i = 0; i < out.size(); ++i) {
    lo = std::min(lo, expected[i]);
    hi = std::max(hi, expected[i]);
    worst = std::max(worst, std::abs(static_cast<double>(out[i]) - expected[i]));
  }
  return worst / (hi - lo);
}

// The header's formula; each product and its sum over c rounded once or twice.
std::vector<float> formula(const Problem& p, bool once) {
  const FWinogradSpec& spec = p.spec;
  constexpr std::size_t kSide = 6;
  std::vector<float> out(p.outputs());
  std::vector<Line> filters;
  for (int n = 0; n < spec.out; ++n) {
    for (int c = 0; c < spec.in; ++c) filters.push_back(of_filter(p, n, c));
  }
  for (std::int64_t tile = 0; tile < spec.tiles(); ++tile) {
    const std::int64_t image = tile / (spec.tile_rows() * spec.tile_columns());
    const std::int64_t top = tile / spec.tile_columns() % spec.tile_rows() * 4;
    const std::int64_t left = tile % spec.tile_columns() * 4;
    std::vector<Line> pixels;
    for (int c = 0; c < spec.in; ++c) {
      Line d;
      for (int i = 0; i < 6; ++i) {
        for (int j = 0; j < 6; ++j) d.push_back(p.pixel(image, top + i, left + j, c));
      }
      pixels.push_back(both_ways(d, kSide, of_pixels));
    }
    for (int n = 0; n < spec.out; ++n) {
      Line products(kSide * kSide, 0.0F);
      for (int c = 0; c < spec.in; ++c) {
        const Line& v = pixels[static_cast<std::size_t>(c)];
        const Line& u = filters[static_cast<std::size_t>(n * spec.in + c)];
        for (std::size_t i = 0; i < products.size(); ++i)
          products[i] = once ? std::fma(v[i], u[i], products[i]) : products[i] + v[i] * u[i];
      }
      const Line y = both_ways(products, kSide, of_products);
      for (int i = 0; i < 4 && top + i < spec.out_height; ++i) {
        for (int j = 0; j < 4 && left + j < spec.out_width; ++j) {
          float value = y[static_cast<std::size_t>(i * 4 + j)];
          value += p.bias.empty() ? 0.0F : p.bias[static_cast<std::size_t>(n)];
          value = value < p.lo ? p.lo : value;
          value = p.hi < value ? p.hi : value;
          out[static_cast<std::size_t>(
              ((image * spec.out_height + top + i) * spec.out_width + left + j) * spec.out + n)] =
              value;
        }
      }
    }
  }
  return out;
}

void rows_agree(const Problem& p) {
  const std::vector<float> expected = formula(p, false);
  for (const FWinogradKernel& kernel : fwinograd_kernels()) {
    for (const std::int64_t parts : {1, 3}) {
      CAPTURE(kernel.name);
      CAPTURE(parts);
      bool intact = false;
      const std::vector<float> out = run(kernel, p, parts, intact);
      // A fused row rounds all products in one way or all in the other, as the machine does.
      CHECK((test::same_bits(out, expected) ||
             (kernel.fused && test::same_bits(out, formula(p, true)))));
      CHECK(intact);
    }
  }
}

// An image with `border` zeros on each side.
FWinogradSpec spec_of(int in, int out, std::int64_t height, std::int64_t width, std::int64_t border,
                      std::int64_t batch = 1) {
  return {in,     out,   batch, height, width, height + 2 * border - 2, width + 2 * border - 2,
          border, border};
}

TEST_CASE("fwinograd: every row gives the formula's bits, whatever the size and the channels") {
  std::uint32_t seed = 1;
  for (const int more : {0, 4}) {
    for (const std::int64_t height : {1, 3, 4, 9}) {
      for (const std::int64_t width : {1, 2, 5, 8, 14}) {
        for (const std::int64_t border : {0, 1, 2}) {
          if (height + 2 * border < 3 || width + 2 * border < 3) continue;
          const int in = 1 + more + static_cast<int>(seed % 9);
          const int out = 1 + more + static_cast<int>(seed % 11);
          CAPTURE(height);
          CAPTURE(width);
          CAPTURE(border);
          CAPTURE(in);
          CAPTURE(out);
          Problem p = make_problem(spec_of(in, out, height, width, border), seed++);
          if (seed % 2 == 0) {
            p.lo = -0.5F;
            p.hi = 1.5F;
          }
          rows_agree(p);
        }
      }
    }
  }
}

TEST_CASE("fwinograd: borders of one side, several images, strips and blocks of channels") {
  FWinogradSpec spec = spec_of(5, 67, 9, 10, 1, 2);
  rows_agree(make_problem(spec, 201));
  spec.top = 2;  // and none at the bottom
  spec.left = 0;
  rows_agree(make_problem(spec, 202));
  rows_agree(make_problem(spec_of(130, 34, 17, 16, 1), 203));
  // Wider than any tile reaches: some read zeros only.
  spec = spec_of(4, 4, 2, 2, 9);
  rows_agree(make_problem(spec, 204));
}

TEST_CASE("fwinograd: sums lie as near to those in double as a direct convolution's") {
  // About twice what was found; the usual points of interpolation exceed them.
  for (const auto& [in, bound] : {std::pair{16, 6e-7}, {64, 1e-6}, {256, 2e-6}}) {
    CAPTURE(in);
    const Problem p = make_problem(spec_of(in, 16, 16, 16, 1), 300);
    bool intact = false;
    const std::vector<double> expected = direct(p);
    for (const FWinogradKernel& kernel : fwinograd_kernels())
      CHECK(largest_error(run(kernel, p, 1, intact), expected) < bound);
  }
}

TEST_CASE("fwinograd: a NaN passes the bounds") {
  Problem p = make_problem(spec_of(8, 8, 8, 8, 1), 400);
  p.lo = 0.0F;
  p.hi = 6.0F;
  p.x[static_cast<std::size_t>((3 * 8 + 5) * 8 + 2)] = std::numeric_limits<float>::quiet_NaN();
  rows_agree(p);
  bool intact = false;
  const std::vector<float> out = run(fwinograd_kernels().back(), p, 1, intact);
  CHECK(std::isnan(out[(3 * 8 + 5) * 8]));
  CHECK(!std::isnan(out[0]));
}

TEST_CASE("fwinograd: a fused row is taken only where the policy allows it") {
  const auto chosen = [](simd::Level level, bool fused_floats) {
    return best_row(fwinograd_kernels(),
                    {.engine = {}, .level = level, .fused_floats = fused_floats})
        .name;
  };
  CHECK(chosen(simd::Level::kBest, false) == "fwinograd/simd128");
  CHECK(chosen(simd::Level::kSimd128, true) == "fwinograd/simd128");
  if (simd::kHasRelaxedRows) CHECK(chosen(simd::Level::kBest, true) == "fwinograd/relaxed");
}

}  // namespace
}  // namespace octavo::kernels
