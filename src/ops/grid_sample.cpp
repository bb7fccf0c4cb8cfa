// GridSample: a picture read at the places that a grid names, by the nearest pixel, bilinear or
// bicubic interpolation; torch.nn.functional.grid_sample for two spatial axes.
//
//   out[n, c, y, x] = in[n, c] at (grid[n, y, x, 1], grid[n, y, x, 0]), -1 and 1 the picture's
//   edges
#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "ops/activation.h"
#include "ops/element.h"

namespace octavo::ops {

namespace {
constexpr AttrDef kAttrs[] = {{"align_corners", AttrType::kInt},
                              {"mode", AttrType::kString},
                              {"padding_mode", AttrType::kString}};

enum class Mode { kNearest, kLinear, kCubic };
enum class Padding { kZeros, kBorder, kReflection };

std::optional<Mode> mode_of(const Attrs& attrs) {
  const std::string mode = attrs.get_string("mode", "linear");
  if (mode == "nearest") return Mode::kNearest;
  if (mode == "linear" || mode == "bilinear") return Mode::kLinear;
  if (mode == "cubic" || mode == "bicubic") return Mode::kCubic;
  return std::nullopt;
}
std::optional<Padding> padding_of(const Attrs& attrs) {
  const std::string padding = attrs.get_string("padding_mode", "zeros");
  if (padding == "zeros") return Padding::kZeros;
  if (padding == "border") return Padding::kBorder;
  if (padding == "reflection") return Padding::kReflection;
  return std::nullopt;
}

Status infer(InferContext& context) {
  OCTAVO_TRY(const Shape x, context.shape(0));
  OCTAVO_TRY(const Shape grid, context.shape(1));
  if (x.rank() != 4 || grid.rank() != 4 || grid[3] != 2 ||
      (x[0] >= 0 && grid[0] >= 0 && x[0] != grid[0])) {
    return context.error(
        Code::kShapeMismatch,
        text("A grid of shape ", grid.to_string(), " does not fit ", x.to_string(), "."),
        "Two spatial axes are supported.");
  }
  if (!mode_of(context.attrs()))
    return context.error(Code::kUnsupportedAttribute,
                         text("mode = '", context.attrs().get_string("mode", ""), "'."),
                         "Supported: nearest, linear (bilinear), cubic (bicubic).");
  if (!padding_of(context.attrs()))
    return context.error(
        Code::kUnsupportedAttribute,
        text("padding_mode = '", context.attrs().get_string("padding_mode", ""), "'."),
        "Supported: zeros, border, reflection.");
  return set_output_checked(context, 0, context.input(0).dtype,
                            Shape{x[0], x[1], grid[1], grid[2]});
}

struct Sampler {
  Mode mode;
  Padding padding;
  bool align;
  std::int64_t h, w;

  // -1 .. 1 as a place in pixels.
  float place(float g, std::int64_t size) const {
    const auto n = static_cast<float>(size);
    return align ? (g + 1.0F) / 2.0F * (n - 1.0F) : ((g + 1.0F) * n - 1.0F) / 2.0F;
  }
  // Mirrored at the picture's edges: between them with align_corners, half a pixel outside without.
  float reflected(float x, std::int64_t size) const {
    const float low = align ? 0.0F : -0.5F;
    const float high = align ? static_cast<float>(size - 1) : static_cast<float>(size) - 0.5F;
    const float range = high - low;
    if (!(range > 0) || !std::isfinite(x)) return 0.0F;
    const float away = std::fabs(x - low);
    const float turns = std::floor(away / range);
    const float rest = away - turns * range;
    return std::fmod(turns, 2.0F) == 0.0F ? low + rest : high - rest;
  }
  float padded(float x, std::int64_t size) const {
    if (padding == Padding::kReflection) x = reflected(x, size);
    if (padding == Padding::kZeros || std::isnan(x)) return x;
    return std::clamp(x, 0.0F, static_cast<float>(size - 1));
  }
  // A pixel, by the padding where it lies outside.
  float pixel(const float* plane, float y, float x) const {
    y = padded(y, h);
    x = padded(x, w);
    if (!(y >= 0 && x >= 0 && y < static_cast<float>(h) && x < static_cast<float>(w))) return 0;
    return plane[static_cast<std::int64_t>(y) * w + static_cast<std::int64_t>(x)];
  }
  static void weights_of(Mode mode, float t, float (&weights)[4]) {
    constexpr float a = -0.75F;
    const auto near = [](float d) { return ((a + 2) * d - (a + 3)) * d * d + 1; };
    const auto far = [](float d) { return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a; };
    if (mode == Mode::kCubic) {
      weights[0] = far(1 + t);
      weights[1] = near(t);
      weights[2] = near(1 - t);
      weights[3] = far(2 - t);
    } else {
      weights[0] = weights[3] = 0;
      weights[1] = 1 - t;
      weights[2] = t;
    }
  }
  float sample(const float* plane, float gy, float gx) const {
    float y = place(gy, h);
    float x = place(gx, w);
    if (mode == Mode::kNearest) return pixel(plane, std::nearbyint(y), std::nearbyint(x));
    if (mode == Mode::kLinear) {
      y = padded(y, h);
      x = padded(x, w);
    }
    if (!std::isfinite(y) || !std::isfinite(x)) return 0;
    const float top = std::floor(y);
    const float left = std::floor(x);
    float wy[4];
    float wx[4];
    weights_of(mode, y - top, wy);
    weights_of(mode, x - left, wx);
    float sum = 0;
    for (int i = 0; i < 4; ++i) {
      float row = 0;
      for (int j = 0; j < 4; ++j) {
        if (wy[i] == 0 || wx[j] == 0) continue;
        row +=
            wx[j] * pixel(plane, top + static_cast<float>(i - 1), left + static_cast<float>(j - 1));
      }
      sum += wy[i] * row;
    }
    return sum;
  }
};

Result<Step> prepare(const PrepareContext& context) {
  const Shape& x = context.in_shape(0);
  const Shape& out = context.out_shape();
  for (std::size_t i = 0; i < 2; ++i) {
    if (context.input(i).dtype != DType::kFloat32) return needs_dtype(context, context.input(i));
  }
  const Sampler sampler{*mode_of(context.attrs()), *padding_of(context.attrs()),
                        context.attrs().get_int("align_corners", 0) != 0, x[2], x[3]};
  Step step;
  step.kernel = "grid_sample";
  constexpr std::int64_t kRoundsOfSample = 64;
  const LoopBlocks blocks(out.elements(), kRoundsOfSample);
  step.rounds = out.elements() * kRoundsOfSample;
  step.blocks = blocks.blocks();
  step.run = [sampler, channels = x[1], places = out[2] * out[3], blocks](const StepArgs& args,
                                                                          int first, int last) {
    for (std::int64_t o = blocks.begin(first); o < blocks.begin(last); ++o) {
      const std::int64_t plane = o / places;
      const auto* grid =
          reinterpret_cast<const float*>(args.in[1]) + (plane / channels * places + o % places) * 2;
      reinterpret_cast<float*>(args.out[0])[o] =
          sampler.sample(reinterpret_cast<const float*>(args.in[0]) + plane * sampler.h * sampler.w,
                         grid[1], grid[0]);
    }
  };
  return step;
}
}  // namespace

extern const OpDef kGridSample;
const OpDef kGridSample{"GridSample",
                        "",
                        20,
                        2,
                        2,
                        1,
                        1,
                        kAttrs,
                        LayoutRule::kRowMajor,
                        QuantRule::kFloat,
                        infer,
                        prepare,
                        nullptr,
                        "two spatial axes"};

}  // namespace octavo::ops
