// ConvTranspose: any groups, strides, dilations and padding, over channels-last tensors.
//
//   out[y * stride + ky * dilation - pad][m] += in[y][c] * weight[c][m][ky]
//
// Read from the output's side: output rows y with the same (y + pad) mod stride take the same taps,
// so each such phase of an axis is a plain convolution of the input with part of the kernel, at
// offsets that the kernels of Conv take as they are. No multiplication is spent on zeros between
// pixels. A block is one input row's worth of output rows: `stride` rows, each in `stride` phases.
#include <algorithm>
#include <array>
#include <memory>

#include "base/text.h"
#include "kernels/fconv/fconv.h"
#include "kernels/pad/pad.h"
#include "kernels/qconv/qconv.h"
#include "ops/activation.h"
#include "ops/element.h"
#include "ops/matrix.h"
#include "ops/move.h"
#include "ops/window_nd.h"

namespace octavo::ops {

namespace {
constexpr AttrDef kAttrs[] = {kWindowAttrs[0],
                              kWindowAttrs[1],
                              kWindowAttrs[2],
                              kWindowAttrs[3],
                              kWindowAttrs[4],
                              {"group", AttrType::kInt},
                              {"output_padding", AttrType::kInts},
                              {"output_shape", AttrType::kInts}};
constexpr std::int64_t kMaxExtent = std::int64_t{1} << 20;  // of each number of a window

// ONNX's formulas: out = stride * (in - 1) + output_padding + extent - pads, or output_shape, from
// which the pads follow.
Result<std::vector<WindowAxis>> window_of(const Node& node, const Shape& x, const Shape& w) {
  const auto wrong = [&](std::string what, std::string hint = "Export the model again.",
                         Code code = Code::kShapeMismatch) {
    return Error{code,
                 text(what, " (input ", x.to_string(), ", weight ", w.to_string(), ")."),
                 describe(node),
                 std::move(hint),
                 {}};
  };
  const auto too_large = [&](std::string what) {
    return wrong(std::move(what), text("Use ", kMaxExtent, " or less."), Code::kLimitExceeded);
  };
  const auto count = static_cast<std::size_t>(x.rank() - 2);
  const std::vector<std::int64_t> ones(count, 1);
  const std::vector<std::int64_t> zeros(count, 0);
  const std::vector<std::int64_t> strides = node.attrs.get_ints("strides", ones);
  const std::vector<std::int64_t> dilations = node.attrs.get_ints("dilations", ones);
  const std::vector<std::int64_t> pads =
      node.attrs.get_ints("pads", std::vector<std::int64_t>(2 * count, 0));
  const std::vector<std::int64_t> extra = node.attrs.get_ints("output_padding", zeros);
  std::vector<std::int64_t> shape = node.attrs.get_ints("output_shape");
  if (shape.size() == count + 2) shape.erase(shape.begin(), shape.begin() + 2);
  const std::string auto_pad = node.attrs.get_string("auto_pad", "NOTSET");
  const bool upper = auto_pad == "SAME_UPPER";
  const bool same = upper || auto_pad == "SAME_LOWER";
  if (!same && auto_pad != "NOTSET" && auto_pad != "VALID")
    return wrong(text("auto_pad = ", auto_pad, " is not known"));
  if (strides.size() != count || dilations.size() != count || pads.size() != 2 * count ||
      extra.size() != count || (!shape.empty() && shape.size() != count))
    return wrong("Its attributes do not have a number for each spatial axis");
  std::vector<WindowAxis> axes;
  for (std::size_t i = 0; i < count; ++i) {
    WindowAxis a;
    a.in = x[static_cast<int>(i) + 2];
    a.kernel = w[static_cast<int>(i) + 2];
    a.stride = strides[i];
    a.dilation = dilations[i];
    for (const std::int64_t n : {a.kernel, a.stride, a.dilation}) {
      if (n < 1) return wrong(text("A stride, dilation or kernel is ", n));
      if (n > kMaxExtent) return too_large(text("A stride, dilation or kernel is ", n));
    }
    for (const std::int64_t n : {pads[i], pads[i + count], extra[i]}) {
      if (n < 0) return wrong(text("A pad is ", n));
      if (n > kMaxExtent) return too_large(text("A pad is ", n));
    }
    const std::int64_t extent = (a.kernel - 1) * a.dilation + 1;
    if (a.in < 0) {
      a.out = kUnknownDim;
      axes.push_back(a);
      continue;
    }
    if (a.in > kMaxExtent || extent > kMaxExtent)
      return too_large(text("A side is ", a.in, ", the window's ", extent));
    const std::int64_t full = a.stride * (a.in - 1) + extra[i] + extent;
    if (!shape.empty() || same) {
      a.out = shape.empty() ? a.in * a.stride : shape[i];
      if (a.out < 0) return wrong(text("output_shape holds ", a.out));
      if (a.out > kMaxExtent * 16) return too_large(text("output_shape holds ", a.out));
      const std::int64_t total = std::max<std::int64_t>(0, full - a.out);
      a.pad_begin = upper ? total / 2 : total - total / 2;
      a.pad_end = total - a.pad_begin;
    } else {
      if (auto_pad == "NOTSET") {
        a.pad_begin = pads[i];
        a.pad_end = pads[i + count];
      }
      a.out = full - a.pad_begin - a.pad_end;
    }
    if (a.out < 0) return wrong("Its pads take away more than there is");
    axes.push_back(a);
  }
  return axes;
}

Status infer(InferContext& context) {
  OCTAVO_TRY(const Shape x, context.shape(0));
  OCTAVO_TRY(const Shape w, context.shape(1));
  const std::int64_t group = context.attrs().get_int("group", 1);
  const auto mismatch = [&](std::string what) {
    return context.error(
        Code::kShapeMismatch,
        text(what, " (input ", x.to_string(), ", weight ", w.to_string(), ", group ", group, ")."),
        "Export the model again.");
  };
  if (x.rank() < 3 || w.rank() != x.rank())
    return mismatch("Input and weight do not have the same number of axes, at least three");
  if (!w.known())
    return context.error(Code::kDynamicDimension, "The shape of the weight is not known.");
  if (group < 1 || w[0] % group != 0 || w[1] > kMaxElements / group || (x[1] >= 0 && x[1] != w[0]))
    return mismatch("Channels and groups do not go together");
  const std::vector<std::int64_t> kernel = context.attrs().get_ints("kernel_shape");
  if (!kernel.empty() && !std::equal(kernel.begin(), kernel.end(), w.begin() + 2, w.end()))
    return mismatch("kernel_shape is not the weight's");
  if (context.has_input(2)) {
    OCTAVO_TRY(const Shape bias, context.shape(2));
    if (bias.rank() != 1 || (bias[0] >= 0 && bias[0] != w[1] * group))
      return mismatch(text("The bias has shape ", bias.to_string()));
  }
  OCTAVO_TRY(const auto axes, window_of(context.node(), x, w));
  Shape out{x[0], w[1] * group};
  for (const WindowAxis& axis : axes) out.dims().push_back(axis.out);
  return set_output_checked(context, 0, context.input(0).dtype, std::move(out));
}

// One phase of one axis: outputs phase, phase + stride, ... read tap k of `taps` at input index
// i + shift[k], i counting those outputs.
struct Phase {
  std::vector<std::int64_t> taps, shifts;
};
std::vector<Phase> phases_of(const WindowAxis& a) {
  std::vector<Phase> phases(static_cast<std::size_t>(a.stride));
  for (std::int64_t p = 0; p < a.stride; ++p) {
    for (std::int64_t k = 0; k < a.kernel; ++k) {
      const std::int64_t distance = p + a.pad_begin - k * a.dilation;
      if (distance % a.stride != 0) continue;
      phases[static_cast<std::size_t>(p)].taps.push_back(k);
      phases[static_cast<std::size_t>(p)].shifts.push_back(distance / a.stride);
    }
  }
  return phases;
}

struct Reach {
  std::int64_t low = 0, high = 0;  // of all shifts, 0 among them
};
Reach reach_of(const std::vector<Phase>& phases) {
  Reach r;
  for (const Phase& phase : phases) {
    for (const std::int64_t shift : phase.shifts) {
      r.low = std::min(r.low, shift);
      r.high = std::max(r.high, shift);
    }
  }
  return r;
}

// Everything but the arithmetic. Blocks are pairs of an image and a row of places.
struct Plan {
  WindowAxis h, w;
  std::vector<Phase> rows, columns;
  Reach vertical, horizontal;
  std::int64_t batch = 0, channels = 0, group = 1, of_group = 0;  // of_group: outputs of a group
  std::int64_t places_h = 0, places_w = 0;  // outputs of the first phase of each axis
  std::int64_t row_pixels = 0;              // of the bordered copy

  std::int64_t rows_needed() const { return vertical.high - vertical.low + 1; }
  std::size_t scratch_elements() const {
    return static_cast<std::size_t>(rows_needed() * row_pixels * channels);
  }
  kernels::PadGeometry border(std::int64_t element_bytes) const {
    const std::int64_t pixel = channels * element_bytes;
    return {h.in, w.in, -horizontal.low, row_pixels + horizontal.low - w.in, pixel, pixel};
  }
  // Offsets of the taps of a pair of phases in the copy whose first row is `vertical.low`, in
  // elements; one at 0 for a phase without taps.
  std::vector<std::int32_t> offsets(std::size_t row, std::size_t column) const {
    std::vector<std::int32_t> list;
    for (const std::int64_t y : rows[row].shifts) {
      for (const std::int64_t x : columns[column].shifts) {
        list.push_back(static_cast<std::int32_t>(
            ((y - vertical.low) * row_pixels + x - horizontal.low) * channels));
      }
    }
    if (list.empty()) list.push_back(0);
    return list;
  }
  std::size_t segments(std::size_t row, std::size_t column) const {
    return std::max<std::size_t>(1, rows[row].taps.size() * columns[column].taps.size());
  }
  // The weights of one group and pair of phases as [output][tap][input]; zeros without taps.
  template <class T>
  std::vector<T> weights(std::span<const T> all, std::int64_t g, std::size_t row,
                         std::size_t column) const {
    const std::int64_t depth = channels / group;
    std::vector<T> list;
    for (std::int64_t m = 0; m < of_group; ++m) {
      for (const std::int64_t y : rows[row].taps) {
        for (const std::int64_t x : columns[column].taps) {
          for (std::int64_t c = 0; c < depth; ++c) {
            list.push_back(all[static_cast<std::size_t>(
                (((g * depth + c) * of_group + m) * h.kernel + y) * w.kernel + x)]);
          }
        }
      }
    }
    if (list.empty()) list.resize(static_cast<std::size_t>(of_group * depth), T{0});
    return list;
  }
  // Calls visit(x, columns, out_pixel, row phase, column phase) for the pieces of a block; x points
  // into the bordered copy, outputs are `w.stride` pixels apart.
  template <class Visit>
  void run_block(std::int64_t block, const std::byte* image, std::int64_t element_bytes,
                 std::uint8_t fill, std::byte* scratch, Visit&& visit) const {
    const std::int64_t n = block / places_h;
    const std::int64_t place = block % places_h;
    kernels::copy_padded_rows(image + n * h.in * w.in * channels * element_bytes,
                              border(element_bytes), place + vertical.low, rows_needed(), fill,
                              scratch);
    for (std::size_t row = 0; row < rows.size(); ++row) {
      const std::int64_t y = place * h.stride + static_cast<std::int64_t>(row);
      if (y >= h.out) break;
      for (std::size_t column = 0; column < columns.size(); ++column) {
        const auto x = static_cast<std::int64_t>(column);
        if (x >= w.out) break;
        visit((w.out - x + w.stride - 1) / w.stride, (n * h.out + y) * w.out + x, row, column);
      }
    }
  }
};

Result<Step> prepare_float(const PrepareContext& context, const std::shared_ptr<const Plan>& plan) {
  const Plan& p = *plan;
  const Tensor& weight = *context.constant(1);
  const Tensor* bias = context.has_input(2) ? context.constant(2) : nullptr;
  if (weight.dtype() != DType::kFloat32 || (bias != nullptr && bias->dtype() != DType::kFloat32)) {
    return context.error(Code::kUnsupportedDtype,
                         text("A float input meets a weight of ", dtype_name(weight.dtype()), "."),
                         "Use float32.");
  }
  const kernels::FConvKernel& kernel =
      kernels::best_row(kernels::fconv_kernels(), context.policy());
  const std::int64_t depth = p.channels / p.group;
  struct Piece {
    std::vector<std::int32_t> offsets;
    std::vector<std::shared_ptr<const kernels::FConvPacked>> groups;
  };
  Step step;
  step.kernel = kernel.name;
  const auto pieces = std::make_shared<std::vector<Piece>>();
  for (std::size_t row = 0; row < p.rows.size(); ++row) {
    for (std::size_t column = 0; column < p.columns.size(); ++column) {
      Piece piece{p.offsets(row, column), {}};
      for (std::int64_t g = 0; g < p.group; ++g) {
        const std::vector<float> weights = p.weights(weight.span<float>(), g, row, column);
        const auto at = static_cast<std::size_t>(g * p.of_group);
        const auto count = static_cast<std::size_t>(p.of_group);
        piece.groups.push_back(context.hold(
            kernel.pack({static_cast<int>(p.of_group), static_cast<int>(p.segments(row, column)),
                         static_cast<int>(depth)},
                        weights,
                        bias == nullptr ? std::span<const float>{}
                                        : bias->span<float>().subspan(at, count)),
            step));
        step.packed_bytes += piece.groups.back()->bytes();
      }
      pieces->push_back(std::move(piece));
    }
  }
  step.holds_constants = true;
  step.blocks = static_cast<int>(p.batch * p.places_h);
  step.scratch_bytes = p.scratch_elements() * sizeof(float) + 64;
  step.macs = context.in_shape(0).elements() * p.of_group * p.h.kernel * p.w.kernel;
  step.run = [plan, pieces, run = kernel.run, depth](const StepArgs& args, int first, int last) {
    const std::int64_t m = plan->of_group * plan->group;
    for (std::int64_t block = first; block < last; ++block) {
      plan->run_block(
          block, args.in[0], sizeof(float), 0, args.scratch,
          [&](std::int64_t pixels, std::int64_t at, std::size_t row, std::size_t column) {
            const Piece& piece = (*pieces)[row * plan->columns.size() + column];
            kernels::FConvCall call;
            call.pixel_stride = plan->channels;
            call.width = call.pixels = pixels;
            call.segment_offset = piece.offsets.data();
            call.out_stride = m * plan->w.stride;
            call.lo = RealBounds{}.lo;
            call.hi = RealBounds{}.hi;
            for (std::size_t g = 0; g < piece.groups.size(); ++g) {
              const auto i = static_cast<std::int64_t>(g);
              call.x = reinterpret_cast<const float*>(args.scratch) + i * depth;
              call.out = reinterpret_cast<float*>(args.out[0]) + at * m + i * plan->of_group;
              run(*piece.groups[g], call);
            }
          });
    }
  };
  return step;
}

Result<Step> prepare_codes(const PrepareContext& context, const std::shared_ptr<const Plan>& plan) {
  const Plan& p = *plan;
  const Value& x = context.input(0);
  OCTAVO_CHECK_OK(check_codes(context, x));
  const std::int64_t m = p.of_group * p.group;
  OCTAVO_TRY(IntegerWeights weights, integer_weights(context, 1, p.of_group));
  OCTAVO_TRY(const std::vector<std::int32_t> bias, integer_bias(context, 2, m));
  // Scales run along the weight's axis 1: the same for each group.
  if (weights.scale.size() > 1) {
    const std::vector<float> of_group = weights.scale;
    for (std::int64_t g = 1; g < p.group; ++g)
      weights.scale.insert(weights.scale.end(), of_group.begin(), of_group.end());
  }
  OCTAVO_TRY(const std::vector<float> scale, output_scales(context, weights, m));
  const bool x_signed = x.dtype == DType::kInt8;
  const std::int32_t zero_x = x.quant->zero_point[0];
  const std::int64_t depth = p.channels / p.group;
  struct Group {
    const kernels::QConvKernel* kernel;
    std::shared_ptr<const kernels::QConvPacked> packed;
  };
  struct Piece {
    std::vector<std::int32_t> offsets;
    std::vector<Group> groups;
  };
  Step step;
  const auto pieces = std::make_shared<std::vector<Piece>>();
  std::size_t kernel_scratch = 0;
  for (std::size_t row = 0; row < p.rows.size(); ++row) {
    for (std::size_t column = 0; column < p.columns.size(); ++column) {
      const std::vector<std::int32_t> once = p.offsets(row, column);
      Piece piece;
      for (std::size_t i = 0; i < weights.parts.size(); ++i)
        piece.offsets.insert(piece.offsets.end(), once.begin(), once.end());
      const auto segments = static_cast<int>(piece.offsets.size());
      for (std::int64_t g = 0; g < p.group; ++g) {
        IntegerWeights own;
        for (const std::span<const std::int8_t> part : weights.parts)
          own.add(p.weights(part, g, row, column));
        const auto at = static_cast<std::size_t>(g * p.of_group);
        const auto count = static_cast<std::size_t>(p.of_group);
        const kernels::QConvSpec spec{static_cast<int>(p.of_group), segments,
                                      static_cast<int>(depth), x_signed, zero_x};
        const std::span<const std::int8_t> rows =
            own.joined_rows(static_cast<std::int64_t>(once.size()) * depth);
        const kernels::QConvKernel& kernel = kernels::choose_qconv(context.policy(), spec, rows);
        piece.groups.push_back(
            {&kernel, context.hold(kernel.pack(spec, rows,
                                               bias.empty() ? std::span<const std::int32_t>{}
                                                            : std::span(bias).subspan(at, count),
                                               std::span(scale).subspan(at, count)),
                                   step)});
        const kernels::QConvPacked& packed = *piece.groups.back().packed;
        kernel_scratch = std::max(kernel_scratch, packed.scratch_bytes);
        step.packed_bytes += packed.bytes();
        step.kernel = kernel.name;
      }
      pieces->push_back(std::move(piece));
    }
  }
  step.holds_constants = true;
  step.blocks = static_cast<int>(p.batch * p.places_h);
  const std::size_t image_bytes = (p.scratch_elements() + 64 + 63) / 64 * 64;
  step.scratch_bytes = image_bytes + kernel_scratch;
  step.macs = context.in_shape(0).elements() * p.of_group * p.h.kernel * p.w.kernel;
  step.run = [plan, pieces, depth, m, image_bytes, form = output_form(context),
              fill = static_cast<std::uint8_t>(zero_x)](const StepArgs& args, int first, int last) {
    for (std::int64_t block = first; block < last; ++block) {
      plan->run_block(
          block, args.in[0], 1, fill, args.scratch,
          [&](std::int64_t pixels, std::int64_t at, std::size_t row, std::size_t column) {
            const Piece& piece = (*pieces)[row * plan->columns.size() + column];
            kernels::QConvCall call;
            call.pixel_stride = plan->channels;
            call.width = call.pixels = pixels;
            call.segment_offset = piece.offsets.data();
            call.out_stride = m * plan->w.stride;
            call.output = form.output;
            call.zero_y = form.zero;
            call.lo = form.lo;
            call.hi = form.hi;
            call.scratch = args.scratch + image_bytes;
            for (std::size_t g = 0; g < piece.groups.size(); ++g) {
              const auto i = static_cast<std::int64_t>(g);
              call.x = args.scratch + i * depth;
              call.out = args.out[0] + (at * m + i * plan->of_group) * form.element_bytes;
              piece.groups[g].kernel->run(*piece.groups[g].packed, call);
            }
          });
    }
  };
  return step;
}

// Three spatial axes, or a weight or bias that the network computes: the taps of the convolution
// whose gradient this is, from its output's places to its input's elements.
Result<Step> prepare_nd(const PrepareContext& context, std::vector<WindowAxis> axes) {
  const Value& x = context.input(0);
  const Value& y = context.output();
  for (std::size_t i = 0; i < context.input_count(); ++i) {
    if (context.has_input(i) && context.input(i).dtype != DType::kFloat32)
      return needs_dtype(context, context.input(i));
  }
  for (WindowAxis& axis : axes) std::swap(axis.in, axis.out);
  const auto window = std::make_shared<const WindowNd>(std::move(axes), y, x);
  const std::int64_t of_group = context.in_shape(1)[1];
  const std::vector<std::int64_t> from = strides_of(x);
  const std::vector<std::int64_t> to = strides_of(y);
  const std::int64_t inner = to.back();  // between neighbours of a channel
  Step step;
  step.kernel = "conv_transpose/plain";
  step.macs = x.shape->elements() * of_group * window->taps();
  step.scratch_bytes = static_cast<std::size_t>(window->taps()) * sizeof(Tap);
  const std::int64_t depth = (*x.shape)[1] / context.attrs().get_int("group", 1);
  step.rounds = step.macs;
  const LoopBlocks blocks((*y.shape)[0] * (*y.shape)[1], depth * window->places() * window->taps());
  step.blocks = blocks.blocks();
  step.run = [=, outputs = (*y.shape)[1],
              of_channel =
                  y.shape->elements() / std::max<std::int64_t>(1, (*y.shape)[0] * (*y.shape)[1])](
                 const StepArgs& args, int first, int last) {
    auto* taps = reinterpret_cast<Tap*>(args.scratch);
    const auto* weight = reinterpret_cast<const float*>(args.in[1]);
    const auto* bias = args.in.size() > 2 ? reinterpret_cast<const float*>(args.in[2]) : nullptr;
    for (std::int64_t at = blocks.begin(first); at < blocks.begin(last); ++at) {
      const std::int64_t n = at / outputs;
      const std::int64_t m = at % outputs;
      const std::int64_t from_channel = m / of_group * depth;
      const auto* in = reinterpret_cast<const float*>(args.in[0]) + n * from[0];
      auto* channel = reinterpret_cast<float*>(args.out[0]) + n * to[0] + m * to[1];
      for (std::int64_t i = 0; i < of_channel; ++i)
        channel[i * inner] = bias == nullptr ? 0.0F : bias[m];
      for (std::int64_t place = 0; place < window->places(); ++place) {
        const std::int64_t count = window->inside(place, taps);
        for (std::int64_t c = from_channel; c < from_channel + depth; ++c) {
          const float value = in[c * from[1] + window->output_offset(place)];
          const float* row = weight + (c * of_group + m % of_group) * window->taps();
          for (std::int64_t t = 0; t < count; ++t)
            channel[taps[t].offset] += value * row[taps[t].number];
        }
      }
    }
  };
  return step;
}

Result<Step> prepare(const PrepareContext& context) {
  const Value& x = context.input(0);
  const Shape& w = context.in_shape(1);
  OCTAVO_TRY(const auto axes, window_of(context.node(), *x.shape, w));
  const auto two = as_2d(axes);
  if (!two || context.constant(1) == nullptr ||
      (context.has_input(2) && context.constant(2) == nullptr))
    return prepare_nd(context, axes);
  if (context.out_shape().elements() == 0) {
    Step nothing;
    nothing.kernel = "conv_transpose/empty";
    nothing.blocks = 0;
    nothing.run = [](const StepArgs&, int, int) {};
    return nothing;
  }
  if ((*two)[0].stride * (*two)[1].stride > 4096)
    return context.error(Code::kLimitExceeded, "Its strides are too large.",
                         "Use strides whose product is at most 4096.");
  const auto plan = std::make_shared<Plan>();
  Plan& p = *plan;
  p.h = (*two)[0];
  p.w = (*two)[1];
  p.rows = phases_of(p.h);
  p.columns = phases_of(p.w);
  p.vertical = reach_of(p.rows);
  p.horizontal = reach_of(p.columns);
  p.batch = (*x.shape)[0];
  p.channels = (*x.shape)[1];
  p.group = context.attrs().get_int("group", 1);
  p.of_group = w[1];
  p.places_h = (p.h.out + p.h.stride - 1) / p.h.stride;
  p.places_w = (p.w.out + p.w.stride - 1) / p.w.stride;
  p.row_pixels =
      std::max(p.w.in - p.horizontal.low, p.places_w + p.horizontal.high - p.horizontal.low);
  const double bytes = static_cast<double>(p.rows_needed()) * static_cast<double>(p.row_pixels) *
                       static_cast<double>(p.channels) * 4.0;
  if (p.channels == 0 || bytes >= 512.0 * 1024 * 1024) {
    return context.error(Code::kLimitExceeded,
                         text("Its window is too large for ", x.shape->to_string(), "."),
                         "Use a smaller kernel, stride or padding.");
  }
  if (is_quantized_code(x.dtype)) return prepare_codes(context, plan);
  if (x.dtype != DType::kFloat32) return needs_dtype(context, x);
  return prepare_float(context, plan);
}

bool in_two_dimensions(const Graph& graph, const Node& node) {
  const Value& w = graph.value(node.input(1));
  return w.is_constant() && w.shape && w.shape->rank() <= 4;
}
}  // namespace

extern const OpDef kConvTranspose;
const OpDef kConvTranspose{"ConvTranspose",
                           "",
                           11,
                           2,
                           3,
                           1,
                           1,
                           kAttrs,
                           LayoutRule::kChannelsLast,
                           QuantRule::kCompute,
                           infer,
                           prepare,
                           in_two_dimensions,
                           "1-d to 3-d; int8 in 1-d and 2-d with a constant weight"};

}  // namespace octavo::ops
