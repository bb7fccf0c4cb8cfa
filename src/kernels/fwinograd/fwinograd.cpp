// Packing, the reference and the table: little of a session's time, so compiled for size.
#include "kernels/fwinograd/fwinograd.h"

#include <algorithm>
#include <array>

#include "base/ceil_div.h"
#include "kernels/fwinograd/tiles.h"
#include "kernels/rows.h"
#include "simd/isa.h"

namespace octavo::kernels {

namespace {

using namespace fwinograd;

constexpr double kRoot = 1.41421356237309504880;  // of 2

// What is done together, so that it stays in a second-level cache (bench/kernels.cpp): tiles, a
// multiple of the pixels of fconv's tile or nearly, and output channels.
constexpr std::int64_t kStrip = 18;
constexpr int kBlock = 64;

// A row for each point, in the order of the transforms.
constexpr double kG[kSide][3] = {{1, 0, 0},
                                 {-2.0 / 3, -kRoot / 3, -1.0 / 3},
                                 {-2.0 / 3, kRoot / 3, -1.0 / 3},
                                 {1.0 / 6, kRoot / 6, 1.0 / 3},
                                 {1.0 / 6, -kRoot / 6, 1.0 / 3},
                                 {0, 0, 1}};

using Filters = std::vector<float>;  // [out][in] of one place

// The places of a row.
void transform_filters(std::span<const float> weights, int row, std::span<Filters, kSide> places) {
  const auto& g = kG[row];
  for (std::size_t pair = 0; pair < weights.size() / 9; ++pair) {
    const float* w = weights.data() + 9 * pair;
    double along[3];
    for (int j = 0; j < 3; ++j) along[j] = g[0] * w[j] + g[1] * w[3 + j] + g[2] * w[6 + j];
    for (std::size_t j = 0; j < kSide; ++j) {
      places[j][pair] =
          static_cast<float>(along[0] * kG[j][0] + along[1] * kG[j][1] + along[2] * kG[j][2]);
    }
  }
}

FWinogradPacked pack(const FWinogradSpec& spec, std::span<const float> weights,
                     std::span<const float> bias, const FConvKernel& products) {
  FWinogradPacked packed;
  packed.spec = spec;
  packed.products = &products;
  packed.bias.assign(static_cast<std::size_t>(spec.out), 0.0F);
  std::copy(bias.begin(), bias.end(), packed.bias.begin());
  packed.blocks = static_cast<int>(ceil_div(spec.out, kBlock));
  packed.block = static_cast<int>(ceil_div(ceil_div(spec.out, packed.blocks), 8) * 8);
  packed.strips = ceil_div(spec.tiles(), kStrip);
  const std::int64_t pixels = products.pixels;
  packed.strip = ceil_div(ceil_div(spec.tiles(), packed.strips), pixels) * pixels;
  packed.strips = ceil_div(spec.tiles(), packed.strip);

  std::vector<FConvPacked> parts(static_cast<std::size_t>(packed.blocks * kPlaces));
  std::array<Filters, kSide> places;
  places.fill(Filters(weights.size() / 9));
  for (int i = 0; i < kSide; ++i) {
    transform_filters(weights, i, places);
    for (int b = 0; b < packed.blocks; ++b) {
      const int channels = std::min(packed.block, spec.out - b * packed.block);
      for (int j = 0; j < kSide; ++j) {
        const auto of_block = std::span<const float>(places[static_cast<std::size_t>(j)])
                                  .subspan(static_cast<std::size_t>(b * packed.block * spec.in),
                                           static_cast<std::size_t>(channels * spec.in));
        parts[static_cast<std::size_t>(b * kPlaces + i * kSide + j)] =
            products.pack({channels, 1, spec.in}, of_block, {});
      }
    }
  }
  packed.weights = std::make_shared<const std::vector<FConvPacked>>(std::move(parts));
  return packed;
}

// A row multiplies with fconv's of the same kind.
template <simd::Level kLevel, bool kFused>
FWinogradPacked pack_for(const FWinogradSpec& spec, std::span<const float> weights,
                         std::span<const float> bias) {
  return pack(spec, weights, bias,
              best_row(fconv_kernels(), {.engine = {}, .level = kLevel, .fused_floats = kFused}));
}

struct One {
  static constexpr int kLanes = 1;
  float v;
  static One load(const float* p) { return {*p}; }
  static One all(float x) { return {x}; }
  void store(float* p) const { *p = v; }
  One clamped(One lo, One hi) const {
    const float y = v < lo.v ? lo.v : v;  // a NaN passes
    return {hi.v < y ? hi.v : y};
  }
  friend One operator+(One a, One b) { return {a.v + b.v}; }
  friend One operator-(One a, One b) { return {a.v - b.v}; }
  friend One operator*(float a, One b) { return {a * b.v}; }
};

void run_scalar(const FWinogradPacked& packed, const FWinogradCall& call) {
  run_tiles<One>(packed, call);
}

void run_vectors(const FWinogradPacked& packed, const FWinogradCall& call) {
  const FWinogradSpec& spec = packed.spec;
  const int last_block = spec.out - (packed.blocks - 1) * packed.block;
  std::min(spec.in, last_block) < 4 ? run_scalar(packed, call) : run_by_fours(packed, call);
}

constexpr std::array kTable{
    FWinogradKernel{"fwinograd/scalar", simd::Level::kScalar, false,
                    &pack_for<simd::Level::kScalar, false>, &run_scalar},
    FWinogradKernel{"fwinograd/simd128", simd::Level::kSimd128, false,
                    &pack_for<simd::Level::kSimd128, false>, &run_vectors},
    FWinogradKernel{"fwinograd/relaxed", simd::Level::kRelaxed, true,
                    &pack_for<simd::Level::kRelaxed, true>, &run_vectors},
};

}  // namespace

std::size_t FWinogradPacked::scratch_floats() const {
  return static_cast<std::size_t>(
      kPlaces * (pixel_stride_of_place(*this) + product_stride_of_place(*this) + spec.in));
}

std::size_t FWinogradPacked::bytes() const {
  std::size_t sum = bias.size() * sizeof(float);
  for (const FConvPacked& part : *weights) sum += part.bytes();
  return sum;
}

std::span<const FWinogradKernel> fwinograd_kernels() {
  return std::span(kTable).first(kTable.size() - (simd::kHasRelaxedRows ? 0 : 1));
}

}  // namespace octavo::kernels
