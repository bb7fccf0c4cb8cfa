// Resize: images made larger or smaller, by the nearest pixel or by bilinear interpolation.
//
// Between codes the numbers are interpolated that these stand for, and rounded: so does ONNX
// Runtime (1.30), which leaves a linear Resize in float. Ranks 3 and 4 with batch and channels as
// they are have kernels for nearest and linear; every other form is resampled axis by axis.
#include "kernels/resize/resize.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "base/text.h"
#include "kernels/quantize/quantize.h"
#include "ops/element.h"
#include "ops/resample.h"

namespace octavo::ops {

namespace {
constexpr AttrDef kAttrs[] = {
    {"antialias", AttrType::kInt},
    {"coordinate_transformation_mode", AttrType::kString},
    {"cubic_coeff_a", AttrType::kFloat},
    {"exclude_outside", AttrType::kInt},
    {"extrapolation_value", AttrType::kFloat},
    {"mode", AttrType::kString},
    {"nearest_mode", AttrType::kString},
};

constexpr std::string_view kCrop = "tf_crop_and_resize";

// Each side has a table of its length.
constexpr std::int64_t kMaxSide = std::int64_t{1} << 24;

template <class T>
struct Named {
  std::string_view name;
  T value;
};
constexpr Named<kernels::Coordinates> kCoordinates[] = {
    {"half_pixel", kernels::Coordinates::kHalfPixel},
    {"half_pixel_symmetric", kernels::Coordinates::kHalfPixelSymmetric},
    {"pytorch_half_pixel", kernels::Coordinates::kPytorchHalfPixel},
    {"asymmetric", kernels::Coordinates::kAsymmetric},
    {"align_corners", kernels::Coordinates::kAlignCorners},
    {"tf_half_pixel_for_nn", kernels::Coordinates::kTfHalfPixelForNn},
    {kCrop, kernels::Coordinates::kHalfPixel},
};
constexpr Named<kernels::NearestMode> kNearestModes[] = {
    {"round_prefer_floor", kernels::NearestMode::kRoundPreferFloor},
    {"round_prefer_ceil", kernels::NearestMode::kRoundPreferCeil},
    {"floor", kernels::NearestMode::kFloor},
    {"ceil", kernels::NearestMode::kCeil},
};
constexpr Named<Interpolation> kModes[] = {{"nearest", Interpolation::kNearest},
                                           {"linear", Interpolation::kLinear},
                                           {"cubic", Interpolation::kCubic}};

template <class Rows>
auto find_named(const Rows& rows, std::string_view name) {
  return std::find_if(std::begin(rows), std::end(rows),
                      [&](const auto& row) { return row.name == name; });
}

template <class Rows>
Status check_named(const InferContext& context, const Rows& rows, std::string_view attr,
                   std::string_view fallback) {
  const std::string name = context.attrs().get_string(attr, fallback);
  if (find_named(rows, name) != std::end(rows)) return ok_status();
  std::vector<std::string_view> names;
  for (const auto& row : rows) names.push_back(row.name);
  return context.error(Code::kUnsupportedAttribute, text(attr, " = '", name, "' is not supported."),
                       text("Supported: ", join(names, ", "), "."));
}

// Input i where it is there and not empty: ONNX writes an empty tensor for "not given".
const Tensor* given(const Tensor* tensor) {
  return tensor != nullptr && tensor->elements() > 0 ? tensor : nullptr;
}

bool is_cropping(const Attrs& attrs) {
  return attrs.get_string("coordinate_transformation_mode", "half_pixel") == kCrop;
}

Status infer(InferContext& context) {
  OCTAVO_TRY(const Shape in, context.shape(0));
  OCTAVO_CHECK_OK(check_named(context, kModes, "mode", "nearest"));
  OCTAVO_CHECK_OK(
      check_named(context, kCoordinates, "coordinate_transformation_mode", "half_pixel"));
  OCTAVO_CHECK_OK(check_named(context, kNearestModes, "nearest_mode", "round_prefer_floor"));
  if (is_cropping(context.attrs())) {
    const Tensor* roi = context.has_input(1) ? context.constant(1) : nullptr;
    if (roi == nullptr || roi->elements() != 2 * in.rank())
      return context.error(Code::kUnsupportedAttribute,
                           text(kCrop, " needs a constant roi of ", 2 * in.rank(), " numbers."),
                           "Give the start and the end of each axis.");
  }
  const Tensor* scales = given(context.has_input(2) ? context.constant(2) : nullptr);
  const Tensor* sizes = given(context.has_input(3) ? context.constant(3) : nullptr);
  const bool computed = (context.has_input(2) && context.constant(2) == nullptr) ||
                        (context.has_input(3) && context.constant(3) == nullptr);
  Shape out = unknown_shape(in.rank());
  if (scales == nullptr && sizes == nullptr) {
    if (!computed) return context.error(Code::kInvalidModel, "Neither scales nor sizes are given.");
    context.set_output(0, context.input(0).dtype, std::move(out));
    return ok_status();
  }
  for (const Tensor* list : {scales, sizes}) {
    if (list != nullptr && list->elements() != in.rank()) {
      return context.error(
          Code::kInvalidModel,
          text("There are ", list->elements(), " scales or sizes for ", in.rank(), " dimensions."));
    }
  }
  for (int axis = 0; axis < in.rank(); ++axis) {
    if (scales != nullptr) {
      const float scale = to_floats(*scales)[static_cast<std::size_t>(axis)];
      if (!(scale > 0) || !std::isfinite(scale))
        return context.error(Code::kInvalidModel, text("A scale is ", scale, "."));
      if (in[axis] < 0 && sizes == nullptr) continue;
      const double size = std::floor(static_cast<double>(static_cast<float>(in[axis]) * scale));
      if (size > static_cast<double>(kMaxElements))
        return context.error(Code::kLimitExceeded, text("Scale ", scale, " is too large."));
      out[axis] = static_cast<std::int64_t>(size);
    }
    if (sizes != nullptr) {
      out[axis] = to_int64s(*sizes)[static_cast<std::size_t>(axis)];
      if (out[axis] < 0 || (out[axis] > 0 && in[axis] == 0))
        return context.error(Code::kInvalidModel, text("A size is ", out[axis], "."));
    }
  }
  for (int axis = 0; axis < in.rank(); ++axis) {
    if (in[axis] > kMaxSide || out[axis] > kMaxSide) {
      return context.error(Code::kLimitExceeded,
                           text("A side of ", std::max(in[axis], out[axis]), " is too large."));
    }
  }
  return set_output_checked(context, 0, context.input(0).dtype, std::move(out));
}

struct Tables {
  kernels::ResizeGeometry geometry{};
  std::vector<kernels::LinearTap> row_taps, column_taps;
  std::vector<std::int32_t> rows, columns;
  std::size_t pixel_bytes = 0;
  std::size_t in_bytes = 0, out_bytes = 0;  // of an image
  int images = 0, out_h = 0, out_w = 0;
  int strips = 1;  // pieces of an image
};

// ONNX: with scales, they are what coordinates are computed with; with sizes, their quotient is.
// With both (sizes that keep the aspect ratio, and the ratio), the scales.
std::vector<float> scales_of(const PrepareContext& context, const Shape& in, const Shape& out) {
  const Tensor* scales = given(context.has_input(2) ? context.constant(2) : nullptr);
  if (scales != nullptr) return to_floats(*scales);
  std::vector<float> result;
  for (int axis = 0; axis < in.rank(); ++axis)
    result.push_back(static_cast<float>(out[axis]) / static_cast<float>(in[axis]));
  return result;
}

// Is there a kernel for it?
bool has_kernel(const Node& node, const Shape& in, const Shape& out) {
  return (in.rank() == 3 || in.rank() == 4) && in[0] == out[0] && in[1] == out[1] &&
         node.attrs.get_string("mode", "nearest") != "cubic" &&
         node.attrs.get_int("antialias", 0) == 0 && node.attrs.get_int("exclude_outside", 0) == 0 &&
         !is_cropping(node.attrs);
}

Result<Step> prepare_resampling(const PrepareContext& context, const std::vector<float>& scales) {
  const Value& x = context.input(0);
  const Attrs& attrs = context.attrs();
  ResampleForm form;
  form.interpolation = find_named(kModes, attrs.get_string("mode", "nearest"))->value;
  form.coordinates =
      find_named(kCoordinates, attrs.get_string("coordinate_transformation_mode", "half_pixel"))
          ->value;
  form.nearest =
      find_named(kNearestModes, attrs.get_string("nearest_mode", "round_prefer_floor"))->value;
  form.crop = is_cropping(attrs);
  form.antialias = attrs.get_int("antialias", 0) != 0;
  form.exclude_outside = attrs.get_int("exclude_outside", 0) != 0;
  form.cubic_a = attrs.get_float("cubic_coeff_a", -0.75F);
  form.extrapolation = attrs.get_float("extrapolation_value", 0.0F);
  const bool exact =
      form.interpolation == Interpolation::kNearest && load_element(x.dtype) != nullptr;
  if (!exact && (x.dtype != DType::kFloat32))
    return context.error(Code::kUnsupportedDtype,
                         text("This form of it on ", dtype_name(x.dtype), " is not supported."),
                         "Use float32.");
  const std::vector<float> roi = form.crop ? to_floats(*context.constant(1)) : std::vector<float>{};
  std::vector<ResampleAxis> axes;
  const auto rank = static_cast<std::size_t>(x.shape->rank());
  for (std::size_t i = 0; i < rank; ++i) {
    const int axis = static_cast<int>(i);
    ResampleAxis a{static_cast<int>((*x.shape)[axis]), static_cast<int>(context.out_shape()[axis]),
                   scales[i]};
    if (form.crop) {
      a.start = roi[i];
      a.end = roi[i + rank];
    }
    axes.push_back(a);
  }
  return resample_step(context, form, axes);
}

template <class Run>
Step make_step(std::string_view kernel, std::shared_ptr<const Tables> tables, Run run) {
  Step step;
  step.kernel = kernel;
  step.blocks = tables->images * tables->strips;
  step.run = [tables, run](const StepArgs& args, int first, int last) {
    for (int block = first; block < last; ++block) {
      const int image = block / tables->strips, strip = block % tables->strips;
      run(*tables, args, static_cast<std::size_t>(image), tables->out_h * strip / tables->strips,
          tables->out_h * (strip + 1) / tables->strips);
    }
  };
  return step;
}

Step linear_step(const kernels::ResizeKernel& kernel, std::shared_ptr<const Tables> tables) {
  return make_step(kernel.name, std::move(tables),
                   [run = kernel.linear_f32](const Tables& t, const StepArgs& args,
                                             std::size_t image, int first, int end) {
                     run(reinterpret_cast<const float*>(args.in[0] + image * t.in_bytes),
                         reinterpret_cast<float*>(args.out[0] + image * t.out_bytes), t.geometry,
                         first, end);
                   });
}

// Codes as DequantizeLinear, the interpolation and QuantizeLinear would give them, a row at a time.
// Bytes that stand for themselves are cut towards zero.
Step codes_step(const PrepareContext& context, const kernels::ResizeKernel& kernel,
                std::shared_ptr<const Tables> tables) {
  const std::optional<QuantParams>& quant = context.input(0).quant;
  const kernels::Grid grid =
      quant ? kernels::Grid{quant->scale[0], quant->zero_point[0]} : kernels::Grid{};
  const kernels::QuantizeKernel& codes =
      kernels::best_row(kernels::quantize_kernels(), context.policy());
  const std::size_t in_row = tables->pixel_bytes * static_cast<std::size_t>(tables->geometry.in_w);
  const std::size_t out_row = tables->pixel_bytes * static_cast<std::size_t>(tables->out_w);
  const std::size_t padding = 4;  // a step may read up to 16 bytes past the end of a buffer
  Step step = make_step(
      kernel.name, tables,
      [=, rounds = quant.has_value(), run = kernel.linear_f32,
       is_signed = context.input(0).dtype == DType::kInt8, codes = &codes](
          const Tables& t, const StepArgs& args, std::size_t image, int first, int end) {
        const std::byte* in = args.in[0] + image * t.in_bytes;
        std::byte* out = args.out[0] + image * t.out_bytes;
        auto* lines =
            reinterpret_cast<float*>(args.scratch);  // two of the input, one of the output
        float* line = lines + 2 * in_row;
        // Output rows go down the image, so most of the input's are there already.
        std::array<std::int32_t, 2> held = {-1, -1};
        const auto place_of = [&](std::int32_t row, std::int32_t other) {
          if (held[0] == row) return 0;
          if (held[1] == row) return 1;
          const int place = held[0] == other ? 1 : 0;
          held[static_cast<std::size_t>(place)] = row;
          const std::byte* from = in + static_cast<std::size_t>(row) * in_row;
          float* to = lines + static_cast<std::size_t>(place) * in_row;
          if (is_signed) {
            codes->dequantize_s8(reinterpret_cast<const std::int8_t*>(from), to, in_row, grid);
          } else {
            codes->dequantize_u8(reinterpret_cast<const std::uint8_t*>(from), to, in_row, grid);
          }
          return place;
        };
        for (int y = first; y < end; ++y) {
          kernels::LinearTap tap = t.row_taps[static_cast<std::size_t>(y)];
          const std::int32_t lower = tap.lower;
          tap.lower = place_of(lower, tap.upper);
          tap.upper = place_of(tap.upper, lower);
          kernels::ResizeGeometry rows = t.geometry;
          rows.rows = {&tap, 1};
          run(lines, line, rows, 0, 1);
          std::byte* to = out + static_cast<std::size_t>(y) * out_row;
          if (!rounds) {
            for (std::size_t i = 0; i < out_row; ++i)
              to[i] = static_cast<std::byte>(static_cast<int>(line[i]));
          } else if (is_signed) {
            codes->quantize_s8(line, reinterpret_cast<std::int8_t*>(to), out_row, grid);
          } else {
            codes->quantize_u8(line, reinterpret_cast<std::uint8_t*>(to), out_row, grid);
          }
        }
      });
  step.scratch_bytes = (2 * in_row + out_row + padding) * sizeof(float);
  return step;
}

Result<Step> prepare(const PrepareContext& context) {
  OCTAVO_CHECK_OK(check_same_grid(context));
  const Value& value = context.input(0);
  const Shape& in = *value.shape;
  const Shape& out = context.out_shape();
  const std::vector<float> all_scales = scales_of(context, in, out);
  const bool last = value.layout == Layout::kChannelsLast;
  if (value.layout != context.output().layout)
    return context.error(Code::kInternal, "Input and output have different layouts.");
  const bool same =
      std::all_of(all_scales.begin(), all_scales.end(), [](float scale) { return scale == 1.0F; });
  if (out.elements() == 0 || (in == out && same && !is_cropping(context.attrs())))
    return alias_step(context);
  if (!has_kernel(context.node(), in, out)) return prepare_resampling(context, all_scales);
  const std::array<float, 2> scales{in.rank() == 3 ? 1.0F : all_scales[2],
                                    all_scales[all_scales.size() - 1]};

  // Rank 3 is an image of one row. Row-major planes are images of one channel.
  const bool flat = in.rank() == 3;
  const auto tables = std::make_shared<Tables>();
  const int in_h = flat ? 1 : static_cast<int>(in[2]), in_w = static_cast<int>(in[in.rank() - 1]);
  tables->out_h = flat ? 1 : static_cast<int>(out[2]);
  tables->out_w = static_cast<int>(out[out.rank() - 1]);
  const std::int64_t planes = last ? in[0] : in[0] * in[1];
  const int channels = last ? static_cast<int>(in[1]) : 1;
  tables->images = static_cast<int>(planes);
  tables->pixel_bytes = static_cast<std::size_t>(channels) * dtype_size(value.dtype);
  tables->in_bytes =
      static_cast<std::size_t>(in_h) * static_cast<std::size_t>(in_w) * tables->pixel_bytes;
  tables->out_bytes = static_cast<std::size_t>(tables->out_h) *
                      static_cast<std::size_t>(tables->out_w) * tables->pixel_bytes;
  const auto strips = static_cast<std::int64_t>(tables->out_bytes >> 15);
  tables->strips =
      static_cast<int>(std::clamp<std::int64_t>(strips, 1, std::min(16, tables->out_h)));

  const kernels::Coordinates coordinates =
      find_named(kCoordinates,
                 context.attrs().get_string("coordinate_transformation_mode", "half_pixel"))
          ->value;
  if (context.attrs().get_string("mode", "nearest") == "nearest") {
    const kernels::NearestMode mode =
        find_named(kNearestModes, context.attrs().get_string("nearest_mode", "round_prefer_floor"))
            ->value;
    tables->rows =
        flat ? std::vector<std::int32_t>{0}
             : kernels::nearest_indices(in_h, tables->out_h, scales[0], coordinates, mode);
    tables->columns = kernels::nearest_indices(in_w, tables->out_w, scales[1], coordinates, mode);
    return make_step(
        "resize/nearest", tables,
        [in_w](const Tables& t, const StepArgs& args, std::size_t image, int first, int end) {
          kernels::resize_nearest(args.in[0] + image * t.in_bytes,
                                  args.out[0] + image * t.out_bytes, t.pixel_bytes, in_w, t.rows,
                                  t.columns, first, end);
        });
  }
  tables->row_taps = kernels::linear_taps(in_h, tables->out_h, flat ? 1.0F : scales[0],
                                          flat ? kernels::Coordinates::kAsymmetric : coordinates);
  tables->column_taps = kernels::linear_taps(in_w, tables->out_w, scales[1], coordinates);
  tables->geometry = {in_h, in_w, channels, tables->row_taps, tables->column_taps};
  const kernels::ResizeKernel& kernel =
      kernels::best_row(kernels::resize_kernels(), context.policy());
  if (value.dtype == DType::kFloat32) return linear_step(kernel, tables);
  if (value.dtype == DType::kUint8 || value.dtype == DType::kInt8)
    return codes_step(context, kernel, tables);
  return context.error(Code::kUnsupportedDtype,
                       text("mode = linear on ", dtype_name(value.dtype), " is not supported."),
                       "Use float32.");
}

bool on_codes(const Graph& graph, const Node& node) {
  const Value& x = graph.value(node.input(0));
  const Value& y = graph.value(node.output(0));
  return x.shape && y.shape && has_kernel(node, *x.shape, *y.shape);
}
}  // namespace

extern const OpDef kResize;
const OpDef kResize{
    "Resize",
    "",
    13,
    1,
    4,
    1,
    1,
    kAttrs,
    LayoutRule::kChannelsLast,
    QuantRule::kSameGrid,
    infer,
    prepare,
    on_codes,
    "nearest, linear, cubic, antialiased, cropped; int8 for nearest and linear of images"};

}  // namespace octavo::ops
