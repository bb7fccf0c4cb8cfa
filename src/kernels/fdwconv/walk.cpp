// fdwconv on whole images: windows of 3x3, 4 channels at a time along a row of outputs. Each column
// of the window is loaded once for all outputs that it is under, and no border is copied.
//
// Windows of 5x5 stay with the tile of pixels: a walk would add 25 products one after the other,
// too many for a machine to overlap (0.36 against 0.54 Gout/s).
#include <algorithm>
#include <array>

#include "kernels/fdwconv/fdwconv.h"
#include "simd/isa.h"
#include "simd/relaxed.h"

namespace octavo::kernels {

namespace {

constexpr int kLanes = 4;
constexpr int kSize = 3;

int tiles_of(int channels) { return (channels + kLanes - 1) / kLanes; }
int first_channel(int channels, int tile) { return std::min(tile * kLanes, channels - kLanes); }

FDwConvWalk pack(const DwWindow& window, int channels, std::span<const float> weights,
                 std::span<const float> bias) {
  FDwConvWalk packed;
  packed.window = window;
  packed.channels = channels;
  packed.bias.assign(static_cast<std::size_t>(channels), 0.0F);
  std::copy(bias.begin(), bias.end(), packed.bias.begin());
  packed.border.assign(static_cast<std::size_t>(window.border_pixels() * channels), 0.0F);
  const std::int64_t taps = window.kernel_h * window.kernel_w;
  for (int tile = 0; tile < tiles_of(channels); ++tile) {
    const int first = first_channel(channels, tile);
    for (std::int64_t column = 0; column < window.kernel_w; ++column) {
      for (std::int64_t row = 0; row < window.kernel_h; ++row) {
        for (int c = first; c < first + kLanes; ++c) {
          const std::int64_t at = c * taps + row * window.kernel_w + column;
          packed.weights.push_back(weights[static_cast<std::size_t>(at)]);
        }
      }
    }
  }
  return packed;
}

struct Tile {
  static constexpr bool kInPairs = false;
  const v128_t bias, lo, hi;
  float* out;
  const std::int64_t out_step;
  v128_t w[kSize][kSize];
  v128_t v[kSize];

  [[gnu::always_inline]] v128_t start() const { return bias; }
  [[gnu::always_inline]] void load(const std::byte* const (&x)[kSize]) {
    for (int r = 0; r < kSize; ++r) v[r] = wasm_v128_load(x[r]);
  }
  [[gnu::always_inline]] v128_t with(v128_t sum, int column) const {
    for (int r = 0; r < kSize; ++r) sum = simd::relaxed_madd(v[r], w[column][r], sum);
    return sum;
  }
  [[gnu::always_inline]] void finish(v128_t sum) {
    wasm_v128_store(out, wasm_f32x4_pmin(wasm_f32x4_pmax(sum, lo), hi));  // a NaN passes
    out += out_step;
  }
};

template <int kStride>
void run_tile_row(const DwPhase& phase, std::int64_t at, std::int64_t step, const float* weights,
                  Tile tile) {
  for (int i = 0; i < kSize * kSize; ++i)
    tile.w[i / kSize][i % kSize] = wasm_v128_load(weights + kLanes * i);
  walk<kSize, kStride>(phase, at, step, tile);
}

void run(const FDwConvWalk& packed, const FDwConvImage& call) {
  const DwWindow& window = packed.window;
  const int channels = packed.channels;
  constexpr auto kFloat = static_cast<std::int64_t>(sizeof(float));
  const std::int64_t step = window.dilation_w * channels * kFloat;
  const auto* image = reinterpret_cast<const std::byte*>(call.x);
  const auto* border = reinterpret_cast<const std::byte*>(packed.border.data());
  for (std::int64_t y = call.first_row; y < call.last_row; ++y) {
    for (std::int64_t first = 0; first < std::min(window.phases(), window.out_width); ++first) {
      const DwPhase phase = phase_of(window, y, first, image, border, channels * kFloat);
      const float* weights = packed.weights.data();
      for (int number = 0; number < tiles_of(channels);
           ++number, weights += kLanes * kSize * kSize) {
        const int c = first_channel(channels, number);
        const Tile tile{wasm_v128_load(packed.bias.data() + c),
                        wasm_f32x4_splat(call.lo),
                        wasm_f32x4_splat(call.hi),
                        call.out + (y * window.out_width + first) * channels + c,
                        window.phases() * channels,
                        {},
                        {}};
        window.column_stride() == 1 ? run_tile_row<1>(phase, c * kFloat, step, weights, tile)
                                    : run_tile_row<2>(phase, c * kFloat, step, weights, tile);
      }
    }
  }
}

constexpr std::array kTable{
    FDwConvWalker{"fdwconv/relaxed-3x3", simd::Level::kRelaxed, true, kSize, &pack, &run},
};

}  // namespace

std::span<const FDwConvWalker> fdwconv_walkers() {
  return std::span(kTable).first(simd::kHasRelaxedRows ? kTable.size() : 0);
}

const FDwConvWalker* choose_fdwconv_walker(const Policy& policy, const DwWindow& window,
                                           int channels) {
  for (const FDwConvWalker& row : fdwconv_walkers()) {
    const bool allowed = row.level <= policy.level && (policy.fused_floats || !row.fused);
    if (allowed && row.fits(window, channels)) return &row;
  }
  return nullptr;
}

}  // namespace octavo::kernels
