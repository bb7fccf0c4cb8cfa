#include "ops/qwinograd.h"

#include <algorithm>

#include "base/ceil_div.h"
#include "kernels/qwinograd/qwinograd.h"

namespace octavo::ops {

namespace {

using simd::EngineClass;

// For threads. Blocks of one strip of tiles cost more than the strip: its codes are transformed
// again by every call that takes some of them (4 instead of 8: 1 to 3 % on two threads).
constexpr std::int64_t kBlocksWanted = 4;
constexpr int kChannelsOfTile = 8;

// ---- what a convolution costs, in products of qconv's 16-bit row ----

// Of one product of a direct row; measured in GMAC/s on one machine: 34 (16 bits), 53 and more
// (pairs of bytes), 88 (USDOT, which is x86). What SDOT is to products of 16 bits on its machines
// is not known.
double direct_cost(EngineClass engine) {
  switch (engine) {
    case EngineClass::kNone:
      return 1.0;
    case EngineClass::kMaddubs:
    case EngineClass::kWrap:
      return 0.6;
    case EngineClass::kUsdot:
      return 0.385;
    default:
      return 0.0;
  }
}
constexpr double kProductsOfTile = 36;
constexpr double kInputTransform = 255;   // a tile and input channel
constexpr double kOutputTransform = 380;  // a tile and output channel
constexpr double kWeightTransform = 75;   // a strip, input and output channel
constexpr double kMargin = 0.95;          // of the direct cost, from which on it pays

struct Cut {
  std::int64_t tiles, of_strip, strips, parts;
  int part_channels;
};

// Strips of tiles as even as possible, then, where they are few, parts of the channels.
Cut cut(std::int64_t tiles, std::int64_t most, int channels) {
  Cut c{};
  c.tiles = tiles;
  c.of_strip = std::min(ceil_div(ceil_div(tiles, ceil_div(tiles, most)), 4) * 4, most);
  c.strips = ceil_div(tiles, c.of_strip);
  const std::int64_t columns = ceil_div(channels, kChannelsOfTile);
  const std::int64_t wanted = std::clamp<std::int64_t>(kBlocksWanted / c.strips, 1, columns);
  c.part_channels = static_cast<int>(ceil_div(columns, wanted)) * kChannelsOfTile;
  c.parts = ceil_div(channels, c.part_channels);
  return c;
}

const kernels::QWinogradKernel* row_for(const kernels::Policy& policy, bool x_signed) {
  const kernels::QWinogradKernel* best = nullptr;
  for (const kernels::QWinogradKernel& row : kernels::qwinograd_kernels()) {
    if (row.level != simd::Level::kScalar && row.level <= policy.level && row.x_signed == x_signed)
      best = &row;
  }
  return best;
}

}  // namespace

std::optional<Step> winograd_step(const PrepareContext& context, const WindowAxis& h,
                                  const WindowAxis& w, std::span<const std::int8_t> weights,
                                  std::span<const std::int32_t> bias, std::span<const float> scale,
                                  const OutputForm& form, const kernels::QConvKernel& direct) {
  const auto plain = [](const WindowAxis& axis) {
    return axis.kernel == 3 && axis.stride == 1 && axis.dilation == 1;
  };
  if (!plain(h) || !plain(w)) return std::nullopt;
  const Shape& x = context.in_shape(0);
  const int channels = static_cast<int>(context.in_shape(1)[0]);
  kernels::QWinogradSpec spec{channels,
                              static_cast<int>(x[1]),
                              direct.x_signed,
                              context.input(0).quant->zero_point[0],
                              h.in,
                              w.in,
                              h.out,
                              w.out,
                              h.pad_begin,
                              w.pad_begin};
  const kernels::QWinogradKernel* row = row_for(context.policy(), direct.x_signed);
  if (row == nullptr) return std::nullopt;
  const Cut c = cut(x[0] * spec.tiles_of_image(), kernels::winograd_tiles(spec), channels);
  const auto whole_vectors = [](int count) { return static_cast<double>((count + 7) / 8 * 8); };
  const double depth = whole_vectors(spec.depth);
  const double outputs = whole_vectors(channels);
  const double products = static_cast<double>(spec.depth) * outputs;
  const auto tiles = static_cast<double>(c.tiles);
  Step step;
  step.macs = context.out_shape().elements() * x[1] * 9;
  const auto pays = [&](int parts) {
    const double cost = tiles * (kProductsOfTile * products + kInputTransform * depth +
                                 kOutputTransform * outputs * parts) +
                        static_cast<double>(c.strips) * kWeightTransform * products;
    return cost <= kMargin * direct_cost(direct.engine) * static_cast<double>(step.macs);
  };
  if (!pays(1)) return std::nullopt;
  spec.parts = kernels::winograd_parts(spec, weights);
  if (spec.parts == 0 || !pays(spec.parts)) return std::nullopt;
  auto packed = row->pack(spec, weights, bias, scale);
  packed.direct = context.hold(std::move(packed.direct), step);
  step.kernel = row->name;
  step.holds_constants = true;
  step.blocks = static_cast<int>(c.strips * c.parts);
  step.packed_bytes = packed.bytes();
  step.writes_part = form.element_bytes == 1;
  step.scratch_bytes = packed.scratch_bytes;
  step.run = [c, packed = std::move(packed), run = row->run, form](const StepArgs& args, int first,
                                                                   int last) {
    for (std::int64_t block = first; block < last;) {
      const std::int64_t strip = block / c.parts;
      const std::int64_t end = std::min<std::int64_t>(last, (strip + 1) * c.parts);
      kernels::QWinogradCall call;
      call.x = args.in[0];
      call.out = args.out[0];
      call.out_stride = args.out_pixel_bytes;
      call.first_tile = strip * c.of_strip;
      call.last_tile = std::min(call.first_tile + c.of_strip, c.tiles);
      call.first_channel = static_cast<int>(block - strip * c.parts) * c.part_channels;
      call.last_channel = static_cast<int>(end - strip * c.parts) * c.part_channels;
      call.output = form.output;
      call.zero_y = form.zero;
      call.lo = form.lo;
      call.hi = form.hi;
      call.scratch = args.scratch;
      run(packed, call);
      block = end;
    }
  };
  return step;
}

}  // namespace octavo::ops
