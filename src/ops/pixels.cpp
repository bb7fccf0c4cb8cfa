// octavo::Pixels: RGBA bytes [N, H, W, 4] as the input of a network, float32 [N, C, H, W] or
// [N, H, W, C] (`axis`: where C stands, 1 or 3), or codes of it where the output has a grid:
//
//   y[c] = (byte(source[c]) * scale[c] + low[c] - mean[c]) / std[c]
//
// in double, rounded once to float32; `normalization` is float64 [C, 4]: scale, low, mean, std. An
// empty `source` makes one channel of grey, 0.299 R + 0.587 G + 0.114 B in place of the byte. Codes
// are those that QuantizeLinear gives of the float. Only passes/pixels makes these nodes.
#include <array>
#include <cmath>
#include <type_traits>

#include "kernels/quantize/quantize.h"
#include "ops/move.h"
#include "ops/op.h"

namespace octavo::ops {

namespace {
constexpr AttrDef kAttrs[] = {
    {"source", AttrType::kInts}, {"normalization", AttrType::kTensor}, {"axis", AttrType::kInt}};
constexpr std::int64_t kBytesOfPixel = 4;
constexpr std::size_t kBytes = 256;

struct Mapping {
  std::vector<std::int64_t> source;
  std::vector<double> normalization;
  int axis = 1;

  explicit Mapping(const Attrs& attrs)
      : source(attrs.get_ints("source")), axis(static_cast<int>(attrs.get_int("axis", 1))) {
    const std::optional<Tensor> given = attrs.get_tensor("normalization");
    if (given && given->dtype() == DType::kFloat64)
      normalization.assign(given->span<double>().begin(), given->span<double>().end());
  }
  bool grey() const { return source.empty(); }
  std::size_t channels() const { return grey() ? 1 : source.size(); }
  bool sound() const {
    bool bytes = true;
    for (const std::int64_t at : source) bytes = bytes && at >= 0 && at < kBytesOfPixel;
    return bytes && channels() <= kBytesOfPixel && normalization.size() == 4 * channels() &&
           (axis == 1 || axis == 3);
  }
  float value(std::size_t c, double byte) const {
    const double* n = normalization.data() + 4 * c;
    return static_cast<float>((byte * n[0] + n[1] - n[2]) / n[3]);
  }
};

Status infer(InferContext& context) {
  const Mapping mapping(context.attrs());
  if (!mapping.sound())
    return context.error(Code::kUnsupportedAttribute, "Its attributes name no pixels.");
  OCTAVO_TRY(const Shape x, context.shape(0));
  if (x.rank() != 4 || x[3] != kBytesOfPixel || context.input(0).dtype != DType::kUint8)
    return context.error(Code::kShapeMismatch, "Its input is not RGBA bytes [N, H, W, 4].");
  const auto channels = static_cast<std::int64_t>(mapping.channels());
  return set_output_checked(
      context, 0, DType::kFloat32,
      mapping.axis == 1 ? Shape{x[0], channels, x[1], x[2]} : Shape{x[0], x[1], x[2], channels});
}

template <class T>
T element_of(float value, const kernels::Grid& grid) {
  if constexpr (std::is_same_v<T, float>) {
    return value;
  } else {
    return kernels::quantize_value<T>(value, grid);
  }
}

template <class T>
Step pixels_step(const PrepareContext& context, Mapping mapping, const kernels::Grid& grid) {
  const Shape& x = context.in_shape(0);
  const std::vector<std::int64_t> strides = strides_of(context.output());
  const std::array<std::int64_t, 4> to =  // of an image, a channel, a row, a column
      mapping.axis == 1 ? std::array{strides[0], strides[1], strides[2], strides[3]}
                        : std::array{strides[0], strides[3], strides[1], strides[2]};
  std::vector<T> table(mapping.source.size() * kBytes);
  for (std::size_t i = 0; i < table.size(); ++i)
    table[i] = element_of<T>(mapping.value(i / kBytes, static_cast<double>(i % kBytes)), grid);
  Step step;
  step.kernel = "pixels/table";
  step.blocks = static_cast<int>(x[0] * x[1]);
  step.packed_bytes = table.size() * sizeof(T);
  step.run = [to, grid, height = x[1], width = x[2], mapping = std::move(mapping),
              table = std::move(table)](const StepArgs& args, int first, int last) {
    for (std::int64_t row = first; row < last; ++row) {
      const auto* in =
          reinterpret_cast<const std::uint8_t*>(args.in[0]) + row * width * kBytesOfPixel;
      T* out = reinterpret_cast<T*>(args.out[0]) + row / height * to[0] + row % height * to[2];
      for (std::size_t c = 0; c < mapping.source.size(); ++c) {
        const T* of_channel = table.data() + c * kBytes;
        const std::uint8_t* byte = in + mapping.source[c];
        T* place = out + static_cast<std::int64_t>(c) * to[1];
        for (std::int64_t i = 0; i < width; ++i)
          place[i * to[3]] = of_channel[byte[i * kBytesOfPixel]];
      }
      for (std::int64_t i = 0; i < (mapping.grey() ? width : 0); ++i) {
        const std::uint8_t* rgb = in + i * kBytesOfPixel;
        out[i * to[3]] =
            element_of<T>(mapping.value(0, 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]), grid);
      }
    }
  };
  return step;
}

Result<Step> prepare(const PrepareContext& context) {
  Mapping mapping(context.attrs());
  const Value& out = context.output();
  if (!out.quant) return pixels_step<float>(context, std::move(mapping), {});
  const kernels::Grid grid{out.quant->scale[0], out.quant->zero_point[0]};
  return out.dtype == DType::kInt8 ? pixels_step<std::int8_t>(context, std::move(mapping), grid)
                                   : pixels_step<std::uint8_t>(context, std::move(mapping), grid);
}
}  // namespace

extern const OpDef kPixels;
const OpDef kPixels{"Pixels",          "octavo", 1,      1, 1, 1, 1, kAttrs, LayoutRule::kRowMajor,
                    QuantRule::kFloat, infer,    prepare};

}  // namespace octavo::ops
