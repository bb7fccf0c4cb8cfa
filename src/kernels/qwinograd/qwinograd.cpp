#include "kernels/qwinograd/qwinograd.h"

#include <algorithm>
#include <array>

#include "kernels/qconv/tiles.h"
#include "kernels/qwinograd/rows.h"

namespace octavo::kernels {

namespace {

// ---- scalar: the specification ----

QWinogradPacked pack_scalar(const QWinogradSpec& spec, std::span<const std::int8_t> weights,
                            std::span<const std::int32_t> bias, std::span<const float> scale) {
  QWinogradPacked packed;
  packed.spec = spec;
  packed.direct = std::make_shared<const QConvPacked>(qconv_kernels()[spec.x_signed ? 1 : 0].pack(
      {spec.channels, 9, spec.depth, spec.x_signed, spec.zero_x}, weights, bias, scale));
  return packed;
}

template <class Code>
std::int32_t sum_of(const QWinogradPacked& packed, const Code* image, std::int64_t y,
                    std::int64_t x, std::size_t n) {
  const QWinogradSpec& spec = packed.spec;
  auto acc = static_cast<std::uint32_t>(packed.direct->bias[n]);
  const std::int8_t* w =
      packed.direct->weights.data() + n * 9 * static_cast<std::size_t>(spec.depth);
  for (std::int64_t row = y - spec.top; row < y - spec.top + 3; ++row) {
    for (std::int64_t column = x - spec.left; column < x - spec.left + 3; ++column) {
      const bool inside = row >= 0 && row < spec.height && column >= 0 && column < spec.width;
      for (int c = 0; c < spec.depth; ++c, ++w) {
        const std::int32_t code =
            inside ? image[(row * spec.width + column) * spec.depth + c] : spec.zero_x;
        acc += static_cast<std::uint32_t>(code * *w);
      }
    }
  }
  return static_cast<std::int32_t>(acc);
}

template <class Code>
void run_scalar(const QWinogradPacked& packed, const QWinogradCall& call) {
  const QWinogradSpec& spec = packed.spec;
  const Requantize requantize{call.zero_y, call.lo, call.hi};
  const std::int64_t out_stride = call.out_stride != 0 ? call.out_stride : spec.channels;
  for (std::int64_t tile = call.first_tile; tile < call.last_tile; ++tile) {
    const std::int64_t n_image = tile / spec.tiles_of_image();
    const std::int64_t in_image = tile % spec.tiles_of_image();
    const auto* image =
        reinterpret_cast<const Code*>(call.x) + n_image * spec.height * spec.width * spec.depth;
    const std::int64_t y0 = in_image / spec.tile_columns() * kWinogradTile;
    const std::int64_t x0 = in_image % spec.tile_columns() * kWinogradTile;
    for (std::int64_t y = y0; y < std::min(y0 + kWinogradTile, spec.out_height); ++y) {
      for (std::int64_t x = x0; x < std::min(x0 + kWinogradTile, spec.out_width); ++x) {
        const std::int64_t pixel = (n_image * spec.out_height + y) * spec.out_width + x;
        for (int n = call.first_channel; n < std::min(call.last_channel, spec.channels); ++n) {
          const auto at = static_cast<std::size_t>(n);
          store_one(call.output, call.out, pixel * out_stride + n, sum_of(packed, image, y, x, at),
                    packed.direct->scale[at], requantize);
        }
      }
    }
  }
}

constexpr std::array kScalarRows{
    QWinogradKernel{"qwinograd/scalar-u8", simd::Level::kScalar, false, &pack_scalar,
                    &run_scalar<std::uint8_t>},
    QWinogradKernel{"qwinograd/scalar-s8", simd::Level::kScalar, true, &pack_scalar,
                    &run_scalar<std::int8_t>},
};

}  // namespace

std::span<const QWinogradKernel> qwinograd_kernels() {
  static const std::vector<QWinogradKernel> table = [] {
    std::vector<QWinogradKernel> rows(kScalarRows.begin(), kScalarRows.end());
    rows.insert(rows.end(), qwinograd_tile_rows().begin(), qwinograd_tile_rows().end());
    return rows;
  }();
  return table;
}

std::int64_t winograd_tiles(const QWinogradSpec& spec) {
  constexpr std::int64_t kBytes = 512 * 1024;
  constexpr std::int64_t kBytesOfChannel = 36 * 2;
  // At least so many that transforming the weights for them is an eighth of the work; with the
  // most it is a thirtieth.
  return std::clamp<std::int64_t>(kBytes / kBytesOfChannel / std::max(1, spec.depth) / 4 * 4, 16,
                                  64);
}

ChannelStart winograd_sums(const QWinogradSpec& spec, std::span<const std::int8_t> weights,
                           int part, int channel) {
  const auto depth = static_cast<std::size_t>(spec.depth);
  const auto first = static_cast<std::size_t>(spec.part_begin(part));
  const auto count = static_cast<std::size_t>(spec.part_begin(part + 1)) - first;
  ChannelStart all{};
  for (std::size_t tap = 0; tap < 9; ++tap) {
    const std::size_t at = (static_cast<std::size_t>(channel) * 9 + tap) * depth + first;
    const ChannelStart one = channel_start(weights.subspan(at, count), 0, 0, 0.0F);
    all.sum += one.sum;
    all.magnitude += one.magnitude;
  }
  return all;
}

int winograd_parts(const QWinogradSpec& spec, std::span<const std::int8_t> weights) {
  constexpr int kMostParts = 4;
  QWinogradSpec cut = spec;
  const auto fits = [&] {
    for (int part = 0; part < cut.parts; ++part) {
      for (int n = 0; n < cut.channels; ++n) {
        if (winograd_sums(cut, weights, part, n).magnitude * 255 >= std::int64_t{1} << 26)
          return false;
      }
    }
    return true;
  };
  for (cut.parts = 1; cut.parts <= kMostParts; ++cut.parts) {
    if (fits()) return cut.parts;
  }
  return 0;
}

}  // namespace octavo::kernels
