// Conv: 1-d to 3-d, any groups, strides, dilations and padding, over channels-last tensors.
//
// Depthwise (one input and one output channel a group) runs on qdwconv / fdwconv, its codes of
// single pixels on qbatchnorm, 3x3 windows on qwinograd / fwinograd where that pays, everything
// else on qconv / fconv. These read the image in place: without padding directly, with padding from
// a bordered copy of the rows that a block of output rows needs, made in scratch. A block is a few
// output rows; blocks are independent, and the same thread's neighbours are done in one call.
#include <array>
#include <limits>

#include "base/ceil_div.h"
#include "base/text.h"
#include "kernels/fconv/fconv.h"
#include "kernels/fdwconv/fdwconv.h"
#include "kernels/pad/pad.h"
#include "kernels/qbatchnorm/qbatchnorm.h"
#include "kernels/qconv/qconv.h"
#include "kernels/qconv/requantize.h"
#include "kernels/qdwconv/qdwconv.h"
#include "ops/activation.h"
#include "ops/element.h"
#include "ops/float_winograd.h"
#include "ops/matrix.h"
#include "ops/move.h"
#include "ops/qwinograd.h"
#include "ops/window_nd.h"

namespace octavo::ops {

namespace {

// The least that is handed to a thread, a multiple of the rows of any kernel's tile: a tile that is
// done in part takes as long as a whole one.
constexpr std::int64_t kPixelsOfBlock = 12;
constexpr std::int64_t kPixelsOfCall = 17 * kPixelsOfBlock;  // of a kernel; 14 x 14 are one call
constexpr double kMaxScratchBytes = 512.0 * 1024 * 1024;

std::vector<std::int64_t> kernel_of(const Node& node, const Shape& weight) {
  std::vector<std::int64_t> spatial(
      weight.dims().begin() + std::min<std::ptrdiff_t>(2, weight.rank()), weight.dims().end());
  return node.attrs.get_ints("kernel_shape", std::move(spatial));
}

Status infer_conv(InferContext& context) {
  OCTAVO_TRY(const Shape x, context.shape(0));
  OCTAVO_TRY(const Shape w, context.shape(1));
  const std::int64_t group = context.attrs().get_int("group", 1);
  const auto mismatch = [&](std::string what) {
    return context.error(Code::kShapeMismatch, text(what, " (input ", x.to_string(), ", weight ",
                                                    w.to_string(), ", group ", group, ")."));
  };
  if (x.rank() < 3 || w.rank() != x.rank())
    return mismatch("Input and weight do not have the same number of axes, at least three");
  if (!w.known())
    return context.error(Code::kDynamicDimension, "The shape of the weight is not known.");
  if (group < 1 || w[0] % group != 0)
    return mismatch(text("group = ", group, " does not divide the ", w[0], " output channels"));
  if (x[1] >= 0 && (w[1] > kMaxElements || x[1] != w[1] * group))
    return mismatch("The input's channels are not the weight's times the groups");
  std::vector<std::int64_t> kernel = kernel_of(context.node(), w);
  for (std::size_t i = 0; i < kernel.size(); ++i) {
    if (kernel.size() != w.dims().size() - 2 || kernel[i] != w.dims()[i + 2])
      return mismatch("kernel_shape is not the weight's");
  }
  if (context.has_input(2)) {
    OCTAVO_TRY(const Shape bias, context.shape(2));
    if (bias.rank() != 1 || (bias[0] >= 0 && bias[0] != w[0]))
      return mismatch(text("The bias has shape ", bias.to_string()));
  }
  OCTAVO_TRY(const auto axes, resolve_window(context.node(), x, kernel, false));
  Shape out{x[0], w[0]};
  for (const WindowAxis& axis : axes) out.dims().push_back(axis.out);
  return set_output_checked(context, 0, context.input(0).dtype, std::move(out));
}

// How blocks of output rows read the image: sizes in elements of the image (bytes for codes,
// floats).
struct Windows {
  WindowAxis h, w;
  std::int64_t batch = 0, channels = 0;
  bool padded = false;        // through a bordered copy in scratch
  bool flat = false;          // 1x1, stride 1, no padding: all pixels of all images are one row
  std::int64_t rows = 1;      // output rows of a block
  std::int64_t together = 1;  // most blocks that one call does: weights are read once for all
  std::int64_t blocks = 0;
  std::int64_t row_pixels = 0;  // of the image or of the bordered copy
  std::int64_t left = 0;

  std::int64_t call_rows() const {
    return std::min(rows * together, std::max<std::int64_t>(1, h.out));
  }
  // Not of flat ones.
  std::int64_t call_pixels() const { return call_rows() * w.out; }
  std::int64_t scratch_rows() const {
    return (call_rows() - 1) * h.stride + (h.kernel - 1) * h.dilation + 1;
  }
  // Cuts `count` rows of outputs into blocks and returns their number.
  std::int64_t cut(std::int64_t count, std::int64_t pixels_of_row) {
    const std::int64_t pixels = std::max<std::int64_t>(1, pixels_of_row);
    rows = std::max<std::int64_t>(1, kPixelsOfBlock / pixels);
    together = std::max<std::int64_t>(1, kPixelsOfCall / (rows * pixels));
    return ceil_div(count, rows);
  }
  // The blocks of the next call, where a thread has `count` blocks in a row: calls are of one size.
  std::int64_t of_call(std::int64_t count) const {
    return ceil_div(count, ceil_div(count, together));
  }
  std::size_t scratch_elements() const {
    return padded ? static_cast<std::size_t>(scratch_rows() * row_pixels * channels) : 0;
  }
};

Windows plan_windows(const Shape& x, const std::array<WindowAxis, 2>& axes) {
  Windows p;
  p.h = axes[0];
  p.w = axes[1];
  p.batch = x[0];
  p.channels = x[1];
  const bool has_pads = p.h.pad_begin + p.h.pad_end + p.w.pad_begin + p.w.pad_end > 0;
  p.flat = p.h.kernel * p.w.kernel == 1 && p.h.stride * p.w.stride == 1 && !has_pads;
  if (p.flat) {
    p.blocks = p.cut(p.batch * p.h.out * p.w.out, 1);
    return p;
  }
  p.padded = has_pads;
  p.left = p.w.pad_begin;
  const std::int64_t reach = (p.w.out - 1) * p.w.stride + (p.w.kernel - 1) * p.w.dilation + 1;
  p.row_pixels = p.padded ? std::max(p.left + p.w.in, reach) : p.w.in;
  p.blocks = p.batch * p.cut(p.h.out, p.w.out);
  return p;
}

// How threads share a convolution: blocks of pixels, or, where all pixels are one call and the
// weights many, of channels. Then a thread reads its part of the weights once, however small its
// pieces are, and only the last tile of pixels is done in part (ResNet-18 on two threads: 14.9 to
// 13.3 ms). Of few weights the pixels that a thread has just written count for more.
struct Shares {
  std::int64_t blocks;
  std::int64_t channels = 0;  // of a block; 0: blocks are of pixels

  Shares(const Windows& p, std::int64_t outputs, std::int64_t group, std::size_t weight_bytes)
      : blocks(p.blocks), pixel_blocks_(p.blocks), outputs_(outputs) {
    constexpr std::int64_t kColumns = 8;  // kernels cut channels at multiples of it
    constexpr std::int64_t kMostBlocks = 32;
    constexpr std::int64_t kLeastBlocks = 16;  // so that shares are even enough
    constexpr std::size_t kLeastWeights = 192 * 1024;
    const bool one_call = (p.flat || p.batch == 1) && p.blocks <= p.together;
    if (group != 1 || !one_call || outputs < kLeastBlocks * kColumns ||
        weight_bytes < kLeastWeights) {
      return;
    }
    channels = ceil_div(outputs, kMostBlocks * kColumns) * kColumns;
    blocks = ceil_div(outputs, channels);
  }
  // The blocks of pixels that the calls of blocks [block, last) read.
  std::int64_t first_pixels(std::int64_t block) const { return channels > 0 ? 0 : block; }
  std::int64_t last_pixels(std::int64_t last) const { return channels > 0 ? pixel_blocks_ : last; }
  // Sets the channels of a call that does `done` blocks of pixels; returns the block after it.
  template <class Call>
  std::int64_t take(Call& call, std::int64_t block, std::int64_t last, std::int64_t done) const {
    if (channels == 0) return block + done;
    call.first_channel = static_cast<int>(block * channels);
    call.last_channel = static_cast<int>(std::min(last * channels, outputs_));
    return last;
  }

 private:
  std::int64_t pixel_blocks_, outputs_;
};

// What one call computes: pixels in rows of `width`, read from `x`, written from pixel `first` on.
struct BlockView {
  const std::byte* x;
  std::int64_t pixels, width, first;
  std::int64_t blocks;  // that it does
};

// The call that begins with `block` and does no block from `last` on. element_bytes of the image;
// fill: the byte of the border.
BlockView view_of(const Windows& p, std::int64_t block, std::int64_t last, const std::byte* image,
                  std::int64_t element_bytes, std::uint8_t fill, std::byte* scratch) {
  const std::int64_t pixel_bytes = p.channels * element_bytes;
  if (p.flat) {
    const std::int64_t blocks = p.of_call(last - block);
    const std::int64_t all = p.batch * p.h.out * p.w.out;
    const std::int64_t first = block * p.rows;
    const std::int64_t pixels = std::min(p.rows * blocks, all - first);
    return {image + first * pixel_bytes, pixels, std::max<std::int64_t>(1, pixels), first, blocks};
  }
  const std::int64_t blocks_of_image = p.blocks / p.batch;
  const std::int64_t n = block / blocks_of_image;
  const std::int64_t in_image = block % blocks_of_image;
  const std::int64_t blocks = p.of_call(std::min(last - block, blocks_of_image - in_image));
  const std::int64_t y = in_image * p.rows;
  const std::int64_t rows = std::min(p.rows * blocks, p.h.out - y);
  const std::byte* start = image + n * p.h.in * p.w.in * pixel_bytes;
  const std::int64_t top = y * p.h.stride - p.h.pad_begin;
  if (p.padded) {
    const kernels::PadGeometry geometry{
        p.h.in, p.w.in, p.left, p.row_pixels - p.left - p.w.in, pixel_bytes, pixel_bytes};
    const std::int64_t needed = (rows - 1) * p.h.stride + (p.h.kernel - 1) * p.h.dilation + 1;
    kernels::copy_padded_rows(start, geometry, top, needed, fill, scratch);
    start = scratch;
  } else {
    start += top * p.w.in * pixel_bytes;
  }
  return {start, rows * p.w.out, p.w.out, (n * p.h.out + y) * p.w.out, blocks};
}

// The output rows of blocks [first, last) in one image after the other; `x` and `out` are the
// images' first pixels.
struct ImageRows {
  std::int64_t x, out, first, last;
};
template <class Body>
void each_image(const Windows& p, std::int64_t first, std::int64_t last, Body body) {
  const std::int64_t blocks_of_image = p.blocks / p.batch;
  for (std::int64_t block = first; block < last;) {
    const std::int64_t n = block / blocks_of_image;
    const std::int64_t end = std::min(last, (n + 1) * blocks_of_image);
    body({n * p.h.in * p.w.in, n * p.h.out * p.w.out, (block - n * blocks_of_image) * p.rows,
          std::min((end - n * blocks_of_image) * p.rows, p.h.out)});
    block = end;
  }
}

kernels::DwWindow dw_window(const Windows& p) {
  return {p.h.in,     p.w.in,       p.w.out,      p.h.kernel,    p.w.kernel,   p.h.stride,
          p.w.stride, p.h.dilation, p.w.dilation, p.h.pad_begin, p.w.pad_begin};
}

// Offsets of the taps from a pixel, row by row, in elements.
std::vector<std::int32_t> tap_offsets(const Windows& p) {
  std::vector<std::int32_t> offsets;
  for (std::int64_t i = 0; i < p.h.kernel; ++i) {
    for (std::int64_t j = 0; j < p.w.kernel; ++j) {
      offsets.push_back(static_cast<std::int32_t>(
          (i * p.h.dilation * p.row_pixels + j * p.w.dilation) * p.channels));
    }
  }
  return offsets;
}

// The same places once for each of IntegerWeights::parts.
std::vector<std::int32_t> repeated(const std::vector<std::int32_t>& offsets, std::size_t times) {
  std::vector<std::int32_t> all;
  for (std::size_t i = 0; i < times; ++i) all.insert(all.end(), offsets.begin(), offsets.end());
  return all;
}

// The segments of a window for one group: a kernel row in one piece where its bytes lie together.
struct Segments {
  std::vector<std::int32_t> offsets;
  int length = 0;
  bool joined = false;  // kernel rows
};
Segments segments_of(const Windows& p, std::int64_t group) {
  Segments s;
  const std::int64_t depth = p.channels / group;
  s.joined = group == 1 && p.w.dilation == 1;
  if (!s.joined) {
    s.offsets = tap_offsets(p);
    s.length = static_cast<int>(depth);
    return s;
  }
  s.length = static_cast<int>(p.w.kernel * depth);
  for (std::int64_t i = 0; i < p.h.kernel; ++i) {
    s.offsets.push_back(static_cast<std::int32_t>(i * p.h.dilation * p.row_pixels * p.channels));
  }
  return s;
}

// A convolution over few channels has short segments, each with a rest of a group of four: copied
// one behind the other they are one segment without. Bytes of a run in the copy; 0 where it does
// not pay. MADDUBS keeps its pairs of weights (passes/weights.h), so a run is even.
std::int64_t copied_run(const Segments& s, simd::EngineClass engine) {
  constexpr std::int64_t kMostBytes = 32;
  const std::int64_t run =
      engine == simd::EngineClass::kMaddubs ? (s.length + 1) / 2 * 2 : s.length;
  const auto count = static_cast<std::int64_t>(s.offsets.size());
  const auto groups = [](std::int64_t bytes) { return (bytes + 3) / 4; };
  const bool pays = count > 1 && run <= kMostBytes && groups(run * count) < groups(run) * count;
  return pays ? run : 0;
}
// Rows of runs of `length` weights, each with zeros up to `run`.
std::vector<std::int8_t> widened_runs(std::span<const std::int8_t> weights, std::int64_t length,
                                      std::int64_t run) {
  std::vector<std::int8_t> out;
  for (std::size_t at = 0; at < weights.size(); at += static_cast<std::size_t>(length)) {
    const auto one = weights.subspan(at, static_cast<std::size_t>(length));
    out.insert(out.end(), one.begin(), one.end());
    out.resize(out.size() + static_cast<std::size_t>(run - length));
  }
  return out;
}

// [M][C/g][kH][kW] -> [M][kH][kW][C/g]: channels inside, as the image has them.
template <class T>
std::vector<T> channels_inside(std::span<const T> weight, std::int64_t m, std::int64_t depth,
                               std::int64_t taps) {
  std::vector<T> out(weight.size());
  for (std::int64_t n = 0; n < m; ++n) {
    for (std::int64_t c = 0; c < depth; ++c) {
      for (std::int64_t t = 0; t < taps; ++t) {
        out[static_cast<std::size_t>((n * taps + t) * depth + c)] =
            weight[static_cast<std::size_t>((n * depth + c) * taps + t)];
      }
    }
  }
  return out;
}

// A buffer too large for 32-bit offsets would be larger than any plan that fits into memory.
Status check_extent(const PrepareContext& context, const Windows& p) {
  const double reach = static_cast<double>(p.h.kernel) * static_cast<double>(p.h.dilation) *
                       static_cast<double>(p.row_pixels) * static_cast<double>(p.channels) * 4.0;
  if (reach >= 2.0e9)
    return context.error(Code::kLimitExceeded, "The window spans more than 2 GB.");
  const double scratch = static_cast<double>(p.scratch_rows()) * static_cast<double>(p.row_pixels) *
                         static_cast<double>(p.channels) * 4.0;
  if (p.padded && scratch >= kMaxScratchBytes) {
    return context.error(Code::kLimitExceeded,
                         "A bordered copy of the rows under its window takes more than 512 MB.",
                         "Use smaller pads.");
  }
  return ok_status();
}

Step walking_step(Step step, const Windows& p, const kernels::FDwConvWalker& walker,
                  std::span<const float> weights, std::span<const float> bias,
                  const RealBounds& bounds) {
  step.kernel = walker.name;
  auto packed = walker.pack(dw_window(p), static_cast<int>(p.channels), weights, bias);
  step.packed_bytes = packed.bytes();
  step.run = [p, packed = std::move(packed), run = walker.run, bounds](const StepArgs& args,
                                                                       int first, int last) {
    each_image(p, first, last, [&](const ImageRows& rows) {
      run(packed, {reinterpret_cast<const float*>(args.in[0]) + rows.x * p.channels,
                   reinterpret_cast<float*>(args.out[0]) + rows.out * p.channels, rows.first,
                   rows.last, bounds.lo, bounds.hi});
    });
  };
  return step;
}

Result<Step> prepare_float(const PrepareContext& context, const Windows& p, std::int64_t group) {
  const Tensor& weight = *context.constant(1);
  const Shape& w = weight.shape();
  const std::int64_t m = w[0];
  const std::int64_t taps = p.h.kernel * p.w.kernel;
  const Tensor* bias_tensor = context.has_input(2) ? context.constant(2) : nullptr;
  if (context.has_input(2) && bias_tensor == nullptr)
    return context.error(Code::kUnsupportedAttribute, "Its bias is computed by the network.",
                         "Use a constant bias.");
  if (weight.dtype() != DType::kFloat32 ||
      (bias_tensor != nullptr && bias_tensor->dtype() != DType::kFloat32)) {
    return context.error(Code::kUnsupportedDtype,
                         text("A float input meets a weight of ", dtype_name(weight.dtype()), "."));
  }
  const std::span<const float> bias =
      bias_tensor != nullptr ? bias_tensor->span<float>() : std::span<const float>{};
  const RealBounds bounds = real_bounds(context.attrs());
  Step step;
  step.holds_constants = true;
  step.blocks = static_cast<int>(p.blocks);
  step.macs = context.out_shape().elements() * w[1] * taps;

  if (w[1] == 1 && m == group && p.channels == group) {
    if (const kernels::FDwConvWalker* walker =
            kernels::choose_fdwconv_walker(context.policy(), dw_window(p), static_cast<int>(m))) {
      return walking_step(std::move(step), p, *walker, weight.span<float>(), bias, bounds);
    }
    step.scratch_bytes = p.scratch_elements() * sizeof(float) + (p.padded ? 64 : 0);
    const kernels::FDwConvKernel& kernel =
        kernels::best_row(kernels::fdwconv_kernels(), context.policy());
    step.kernel = kernel.name;
    auto packed = kernels::pack_fdwconv(static_cast<int>(m), static_cast<int>(taps),
                                        weight.span<float>(), bias);
    step.packed_bytes = packed.bytes();
    step.run = [p, packed = std::move(packed), run = kernel.run, offsets = tap_offsets(p), bounds](
                   const StepArgs& args, int first, int last) {
      for (std::int64_t block = first; block < last;) {
        const BlockView view = view_of(p, block, last, args.in[0], sizeof(float), 0, args.scratch);
        block += view.blocks;
        kernels::FDwConvCall call;
        call.x = reinterpret_cast<const float*>(view.x);
        call.pixel_stride = p.w.stride * p.channels;
        call.row_stride = p.flat ? 0 : p.h.stride * p.row_pixels * p.channels;
        call.width = view.width;
        call.pixels = view.pixels;
        call.tap_offset = offsets.data();
        call.out = reinterpret_cast<float*>(args.out[0]) + view.first * p.channels;
        call.out_stride = p.channels;
        call.lo = bounds.lo;
        call.hi = bounds.hi;
        run(packed, call);
      }
    };
    return step;
  }

  if (float_winograd_pays(p.h, p.w, p.channels, m, group)) {
    return float_winograd_step(context, std::move(step), {p.h, p.w}, weight.span<float>(), bias,
                               bounds);
  }
  step.scratch_bytes = p.scratch_elements() * sizeof(float) + (p.padded ? 64 : 0);
  const kernels::FConvKernel& kernel =
      kernels::best_row(kernels::fconv_kernels(), context.policy());
  step.kernel = kernel.name;
  const Segments segments = segments_of(p, group);
  const std::int64_t of_group = m / group;
  std::vector<float> moved;
  if (taps > 1) moved = channels_inside(weight.span<float>(), m, w[1], taps);
  const std::span<const float> inside = taps > 1 ? moved : weight.span<float>();
  const auto weights_of_group = static_cast<std::size_t>(of_group * w[1] * taps);
  std::vector<std::shared_ptr<const kernels::FConvPacked>> packed;
  for (std::int64_t g = 0; g < group; ++g) {
    const kernels::FConvSpec spec{static_cast<int>(of_group),
                                  static_cast<int>(segments.offsets.size()), segments.length};
    packed.push_back(context.hold(
        kernel.pack(
            spec, inside.subspan(static_cast<std::size_t>(g) * weights_of_group, weights_of_group),
            bias.empty() ? bias
                         : bias.subspan(static_cast<std::size_t>(g * of_group),
                                        static_cast<std::size_t>(of_group))),
        step));
    step.packed_bytes += packed.back()->bytes();
  }
  const Shares shares(p, m, group, step.packed_bytes);
  step.blocks = static_cast<int>(shares.blocks);
  step.run = [p, shares, packed = std::move(packed), run = kernel.run, offsets = segments.offsets,
              bounds, m, of_group, depth = w[1]](const StepArgs& args, int first, int last) {
    for (std::int64_t block = first; block < last;) {
      const BlockView view = view_of(p, shares.first_pixels(block), shares.last_pixels(last),
                                     args.in[0], sizeof(float), 0, args.scratch);
      kernels::FConvCall call;
      block = shares.take(call, block, last, view.blocks);
      call.pixel_stride = p.w.stride * p.channels;
      call.row_stride = p.flat ? 0 : p.h.stride * p.row_pixels * p.channels;
      call.width = view.width;
      call.pixels = view.pixels;
      call.segment_offset = offsets.data();
      call.out_stride = m;
      call.lo = bounds.lo;
      call.hi = bounds.hi;
      for (std::size_t g = 0; g < packed.size(); ++g) {
        const auto i = static_cast<std::int64_t>(g);
        call.x = reinterpret_cast<const float*>(view.x) + i * depth;
        call.out = reinterpret_cast<float*>(args.out[0]) + view.first * m + i * of_group;
        run(*packed[g], call);
      }
    }
  };
  return step;
}

// A depthwise convolution of single pixels, as a BatchNormalization becomes in a file: each channel
// is a function of one code, so it runs on the rows that are proved equal to its table.
Step affine_step(const PrepareContext& context, const Windows& p, const IntegerWeights& weights,
                 std::span<const std::int32_t> bias, std::span<const float> scale,
                 const OutputForm& form) {
  const auto channels = static_cast<std::size_t>(p.channels);
  const bool x_signed = context.input(0).dtype == DType::kInt8;
  const kernels::Requantize requantize{form.zero, form.lo, form.hi};
  kernels::QBatchNormSpec spec;
  spec.code = x_signed ? kernels::CodeType::kInt8 : kernels::CodeType::kUint8;
  spec.zero_in = context.input(0).quant->zero_point[0];
  spec.zero_out = form.zero;
  spec.relu = form.lo == form.zero;
  std::vector<std::uint8_t> tables(channels * 256);
  for (std::size_t c = 0; c < channels; ++c) {
    std::int32_t weight = 0;
    for (const auto& part : weights.parts) weight += part[c];
    spec.alpha.push_back(static_cast<float>(weight) * scale[c]);
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const auto code = static_cast<std::uint8_t>(byte);
      const std::int64_t q = x_signed ? static_cast<std::int8_t>(code) : code;
      const std::int64_t sum = (bias.empty() ? 0 : bias[c]) + (q - spec.zero_in) * weight;
      tables[c * 256 + byte] = static_cast<std::uint8_t>(
          kernels::requantize_one(static_cast<std::int32_t>(sum), scale[c], requantize));
    }
  }
  spec.beta.resize(channels);
  kernels::QBatchNormPlan plan = kernels::QBatchNormPlan::of_tables(
      spec, tables, kernels::ChannelOrder::kChannelsLast, context.policy());
  Step step;
  step.kernel = plan.kernel();
  step.holds_constants = true;
  step.blocks = static_cast<int>(p.blocks);
  step.macs = context.out_shape().elements();
  step.in_place = 0;
  step.run = [p, plan = std::move(plan)](const StepArgs& args, int first, int last) {
    const std::int64_t pixels = p.batch * p.h.out * p.w.out;
    plan.run_pixels(reinterpret_cast<const std::uint8_t*>(args.in[0]),
                    reinterpret_cast<std::uint8_t*>(args.out[0]),
                    static_cast<std::size_t>(first * p.rows),
                    static_cast<std::size_t>(std::min(last * p.rows, pixels)));
  };
  return step;
}

struct PackedGroups {
  std::vector<std::shared_ptr<const kernels::QConvPacked>> groups;
  std::size_t scratch_bytes = 0;  // the most that one takes
};

// The weights of each group, spec.channels rows each; `step` is told what they take.
PackedGroups pack_groups(const PrepareContext& context, const kernels::QConvKernel& kernel,
                         const kernels::QConvSpec& spec, std::int64_t group,
                         std::span<const std::int8_t> weights, std::span<const std::int32_t> bias,
                         std::span<const float> scale, Step& step) {
  PackedGroups packed;
  const std::size_t of_group = weights.size() / static_cast<std::size_t>(group);
  const auto count = static_cast<std::size_t>(spec.channels);
  for (std::size_t g = 0; g < static_cast<std::size_t>(group); ++g) {
    packed.groups.push_back(
        context.hold(kernel.pack(spec, weights.subspan(g * of_group, of_group),
                                 bias.empty() ? bias : bias.subspan(g * count, count),
                                 scale.subspan(g * count, count)),
                     step));
    packed.scratch_bytes = std::max(packed.scratch_bytes, packed.groups.back()->scratch_bytes);
    step.packed_bytes += packed.groups.back()->bytes();
  }
  return packed;
}

Result<Step> prepare_codes(const PrepareContext& context, const Windows& p, std::int64_t group) {
  const Value& x = context.input(0);
  const Value& out = context.output();
  const Shape& w = context.in_shape(1);
  const std::int64_t m = w[0];
  const std::int64_t taps = p.h.kernel * p.w.kernel;
  OCTAVO_CHECK_OK(check_codes(context, x));
  OCTAVO_TRY(IntegerWeights weights, integer_weights(context, 1, m));
  OCTAVO_TRY(const std::vector<std::int32_t> bias, integer_bias(context, 2, m));
  OCTAVO_TRY(const std::vector<float> scale, output_scales(context, weights, m));
  const bool x_signed = x.dtype == DType::kInt8;
  const std::int32_t zero_x = x.quant->zero_point[0];
  const OutputForm form = output_form(context);
  Step step;
  step.holds_constants = true;
  step.blocks = static_cast<int>(p.blocks);
  step.macs = context.out_shape().elements() * w[1] * taps;
  const auto fill = static_cast<std::uint8_t>(zero_x);

  if (w[1] == 1 && m == group && p.channels == group && out.dtype == x.dtype) {
    if (p.flat) return affine_step(context, p, weights, bias, scale, form);
    std::vector<std::int32_t> offsets = repeated(tap_offsets(p), weights.parts.size());
    const kernels::QDwConvSpec spec{static_cast<int>(m), static_cast<int>(offsets.size()), x_signed,
                                    zero_x, dw_window(p)};
    const kernels::QDwConvKernel& kernel = kernels::choose_qdwconv(context.policy(), spec);
    step.kernel = kernel.name;
    auto packed = kernel.pack(spec, weights.joined_rows(taps), bias, scale);
    step.packed_bytes = packed.bytes();
    if (kernel.run_image != nullptr) {
      step.run = [p, packed = std::move(packed), run = kernel.run_image, form](
                     const StepArgs& args, int first, int last) {
        each_image(p, first, last, [&](const ImageRows& rows) {
          kernels::QDwConvImage call;
          call.x = args.in[0] + rows.x * p.channels;
          call.out = args.out[0] + rows.out * p.channels;
          call.first_row = rows.first;
          call.last_row = rows.last;
          call.zero_y = form.zero;
          call.lo = form.lo;
          call.hi = form.hi;
          run(packed, call);
        });
      };
      return step;
    }
    step.scratch_bytes = p.scratch_elements() + (p.padded ? 64 : 0);
    step.run = [p, packed = std::move(packed), run = kernel.run, offsets = std::move(offsets), form,
                fill](const StepArgs& args, int first, int last) {
      for (std::int64_t block = first; block < last;) {
        const BlockView view = view_of(p, block, last, args.in[0], 1, fill, args.scratch);
        block += view.blocks;
        kernels::QDwConvCall call;
        call.x = view.x;
        call.pixel_stride = p.w.stride * p.channels;
        call.row_stride = p.flat ? 0 : p.h.stride * p.row_pixels * p.channels;
        call.width = view.width;
        call.pixels = view.pixels;
        call.tap_offset = offsets.data();
        call.out = args.out[0] + view.first * p.channels;
        call.out_stride = p.channels;
        call.zero_y = form.zero;
        call.lo = form.lo;
        call.hi = form.hi;
        run(packed, call);
      }
    };
    return step;
  }

  Segments segments = segments_of(p, group);
  const std::int64_t of_group = m / group;
  segments.offsets = repeated(segments.offsets, weights.parts.size());
  for (std::size_t i = 0; i < weights.parts.size() && taps > 1; ++i)
    weights.replace(i, channels_inside(weights.parts[i], m, w[1], taps));
  const std::span<const std::int8_t> plain = weights.joined_rows(w[1] * taps);
  std::span<const std::int8_t> inside = plain;
  const std::int64_t run_bytes =
      group == 1 && !p.flat ? copied_run(segments, context.policy().engine) : 0;
  const auto runs = static_cast<std::int64_t>(segments.offsets.size());
  std::vector<std::int8_t> widened;
  if (run_bytes > 0) {
    widened = widened_runs(inside, segments.length, run_bytes);
    inside = widened;
  }
  const kernels::QConvSpec all_groups =
      run_bytes > 0 ? kernels::QConvSpec{static_cast<int>(m), 1, static_cast<int>(runs * run_bytes),
                                         x_signed, zero_x}
                    : kernels::QConvSpec{static_cast<int>(m), static_cast<int>(runs),
                                         segments.length, x_signed, zero_x};
  const kernels::QConvKernel& kernel = kernels::choose_qconv(context.policy(), all_groups, inside);
  if (group == 1 && weights.parts.size() == 1) {
    if (auto winograd = winograd_step(context, p.h, p.w, plain, bias, scale, form, kernel))
      return std::move(*winograd);
  }
  step.kernel = kernel.name;
  kernels::QConvSpec spec = all_groups;
  spec.channels = static_cast<int>(of_group);
  PackedGroups made = pack_groups(context, kernel, spec, group, inside, bias, scale, step);
  // The bordered rows, slack for kernels that read past a segment, then the kernel's own scratch.
  const auto with_slack = [](std::int64_t bytes) {
    return static_cast<std::size_t>(bytes == 0 ? 0 : (bytes + 64 + 63) / 64 * 64);
  };
  const std::size_t image_bytes =
      with_slack(p.padded ? static_cast<std::int64_t>(p.scratch_elements()) : 0);
  const std::size_t window_bytes = with_slack(p.call_pixels() * runs * run_bytes);
  step.scratch_bytes = image_bytes + window_bytes + made.scratch_bytes;
  step.writes_part = form.element_bytes == 1;
  const Shares shares(p, m, group, step.packed_bytes);
  step.blocks = static_cast<int>(shares.blocks);
  step.run = [p, shares, packed = std::move(made.groups), run = kernel.run,
              offsets = segments.offsets, form, fill, m, of_group, depth = w[1],
              length = segments.length, run_bytes, image_bytes,
              window_bytes](const StepArgs& args, int first, int last) {
    for (std::int64_t block = first; block < last;) {
      const BlockView view = view_of(p, shares.first_pixels(block), shares.last_pixels(last),
                                     args.in[0], 1, fill, args.scratch);
      kernels::QConvCall call;
      block = shares.take(call, block, last, view.blocks);
      call.pixel_stride = p.w.stride * p.channels;
      call.row_stride = p.flat ? 0 : p.h.stride * p.row_pixels * p.channels;
      call.width = view.width;
      call.pixels = view.pixels;
      call.segment_offset = offsets.data();
      call.out_stride = args.out_pixel_bytes != 0 ? args.out_pixel_bytes : m;
      call.output = form.output;
      call.zero_y = form.zero;
      call.lo = form.lo;
      call.hi = form.hi;
      call.scratch = args.scratch + image_bytes + window_bytes;
      const std::byte* pixels = view.x;
      if (run_bytes > 0) {
        static constexpr std::int32_t kStart[] = {0};
        std::byte* windows = args.scratch + image_bytes;
        kernels::copy_windows(
            {call.pixel_stride, call.row_stride, call.width, offsets, length, run_bytes}, pixels,
            view.pixels, windows);
        pixels = windows;
        call.pixel_stride = run_bytes * static_cast<std::int64_t>(offsets.size());
        call.row_stride = 0;
        call.width = std::max<std::int64_t>(1, view.pixels);
        call.segment_offset = kStart;
      }
      for (std::size_t g = 0; g < packed.size(); ++g) {
        const auto i = static_cast<std::int64_t>(g);
        call.x = pixels + i * depth;
        call.out = args.out[0] + (view.first * call.out_stride + i * of_group) * form.element_bytes;
        run(*packed[g], call);
      }
    }
  };
  return step;
}

// Codes in three spatial axes: a plane of outputs reads as many planes of the image as the kernel
// is deep, copied with their borders one behind the other, and each row of taps of each is a
// segment.
Result<Step> prepare_volume(const PrepareContext& context, const std::vector<WindowAxis>& axes,
                            std::int64_t group) {
  const Value& x = context.input(0);
  const Shape& w = context.in_shape(1);
  const WindowAxis& d = axes[0];
  const WindowAxis& h = axes[1];
  const WindowAxis& v = axes[2];
  const std::int64_t m = w[0];
  const std::int64_t depth = w[1];
  const std::int64_t channels = depth * group;
  const std::int64_t taps = d.kernel * h.kernel * v.kernel;
  OCTAVO_CHECK_OK(check_codes(context, x));
  OCTAVO_TRY(IntegerWeights weights, integer_weights(context, 1, m));
  OCTAVO_TRY(const std::vector<std::int32_t> bias, integer_bias(context, 2, m));
  OCTAVO_TRY(const std::vector<float> scale, output_scales(context, weights, m));
  const std::int64_t rows = (h.out - 1) * h.stride + (h.kernel - 1) * h.dilation + 1;
  const std::int64_t row_pixels =
      std::max(v.pad_begin + v.in, (v.out - 1) * v.stride + (v.kernel - 1) * v.dilation + 1);
  const double copied = static_cast<double>(d.kernel) * static_cast<double>(rows) *
                        static_cast<double>(row_pixels) * static_cast<double>(channels);
  if (copied >= kMaxScratchBytes) {
    return context.error(Code::kLimitExceeded,
                         "A bordered copy of the planes under its window takes more than 512 MB.",
                         "Use a smaller image.");
  }
  const std::int64_t plane_bytes = rows * row_pixels * channels;
  const bool joined = group == 1 && v.dilation == 1;
  std::vector<std::int32_t> once;
  for (std::int64_t z = 0; z < d.kernel; ++z) {
    for (std::int64_t i = 0; i < h.kernel; ++i) {
      const std::int64_t row = z * plane_bytes + i * h.dilation * row_pixels * channels;
      for (std::int64_t j = 0; j < (joined ? 1 : v.kernel); ++j)
        once.push_back(static_cast<std::int32_t>(row + j * v.dilation * channels));
    }
  }
  std::vector<std::int32_t> offsets = repeated(once, weights.parts.size());
  for (std::size_t i = 0; i < weights.parts.size(); ++i)
    weights.replace(i, channels_inside(weights.parts[i], m, depth, taps));
  const std::span<const std::int8_t> inside = weights.joined_rows(depth * taps);
  const std::int64_t of_group = m / group;
  const kernels::QConvSpec spec{static_cast<int>(of_group), static_cast<int>(offsets.size()),
                                static_cast<int>(joined ? v.kernel * depth : depth),
                                x.dtype == DType::kInt8, x.quant->zero_point[0]};
  const kernels::QConvKernel& kernel = kernels::choose_qconv(context.policy(), spec, inside);
  Step step;
  step.kernel = kernel.name;
  step.holds_constants = true;
  step.blocks = static_cast<int>((*x.shape)[0] * d.out);
  step.macs = context.out_shape().elements() * depth * taps;
  PackedGroups made = pack_groups(context, kernel, spec, group, inside, bias, scale, step);
  const auto image_bytes = static_cast<std::size_t>((d.kernel * plane_bytes + 64 + 63) / 64 * 64);
  step.scratch_bytes = image_bytes + made.scratch_bytes;
  step.run = [=, packed = std::move(made.groups), run = kernel.run, offsets = std::move(offsets),
              form = output_form(context),
              fill = static_cast<std::uint8_t>(x.quant->zero_point[0])](const StepArgs& args,
                                                                        int first, int last) {
    const std::int64_t plane_of_image = h.in * v.in * channels;
    const kernels::PadGeometry geometry{
        h.in, v.in, v.pad_begin, row_pixels - v.pad_begin - v.in, channels, channels};
    for (std::int64_t block = first; block < last; ++block) {
      const std::int64_t n = block / d.out;
      for (std::int64_t z = 0; z < d.kernel; ++z) {
        const std::int64_t plane = block % d.out * d.stride - d.pad_begin + z * d.dilation;
        std::byte* to = args.scratch + z * plane_bytes;
        if (plane < 0 || plane >= d.in) {
          std::fill_n(to, plane_bytes, std::byte{fill});
        } else {
          kernels::copy_padded_rows(args.in[0] + (n * d.in + plane) * plane_of_image, geometry,
                                    -h.pad_begin, rows, fill, to);
        }
      }
      kernels::QConvCall call;
      call.pixel_stride = v.stride * channels;
      call.row_stride = h.stride * row_pixels * channels;
      call.width = v.out;
      call.pixels = h.out * v.out;
      call.segment_offset = offsets.data();
      call.out_stride = m;
      call.output = form.output;
      call.zero_y = form.zero;
      call.lo = form.lo;
      call.hi = form.hi;
      call.scratch = args.scratch + image_bytes;
      for (std::size_t g = 0; g < packed.size(); ++g) {
        const auto i = static_cast<std::int64_t>(g);
        call.x = args.scratch + i * depth;
        call.out = args.out[0] + (block * h.out * v.out * m + i * of_group) * form.element_bytes;
        run(*packed[g], call);
      }
    }
  };
  return step;
}

// Floats in three spatial axes, or a weight or bias that the network computes: place by place.
Result<Step> prepare_nd(const PrepareContext& context, const std::vector<WindowAxis>& axes) {
  const Value& x = context.input(0);
  const Shape& w = context.in_shape(1);
  for (std::size_t i = 0; i < context.input_count(); ++i) {
    if (context.has_input(i) && context.input(i).dtype != DType::kFloat32)
      return needs_dtype(context, context.input(i));
  }
  const auto window = std::make_shared<const WindowNd>(axes, x, context.output());
  const std::int64_t of_group = w[0] / context.attrs().get_int("group", 1);
  const std::vector<std::int64_t> from = strides_of(x);
  const std::vector<std::int64_t> to = strides_of(context.output());
  const RealBounds bounds = real_bounds(context.attrs());
  Step step;
  step.kernel = "conv/plain";
  step.macs = context.out_shape().elements() * w[1] * window->taps();
  step.scratch_bytes = static_cast<std::size_t>(window->taps()) * sizeof(Tap);
  step.rounds = step.macs;
  const LoopBlocks blocks((*x.shape)[0] * window->places(), w[0] * w[1] * window->taps());
  step.blocks = blocks.blocks();
  step.run = [=, outputs = w[0], depth = w[1]](const StepArgs& args, int first, int last) {
    auto* taps = reinterpret_cast<Tap*>(args.scratch);
    const auto* weight = reinterpret_cast<const float*>(args.in[1]);
    const auto* bias = args.in.size() > 2 ? reinterpret_cast<const float*>(args.in[2]) : nullptr;
    for (std::int64_t at = blocks.begin(first); at < blocks.begin(last); ++at) {
      const std::int64_t n = at / window->places();
      const std::int64_t place = at % window->places();
      const std::int64_t count = window->inside(place, taps);
      for (std::int64_t m = 0; m < outputs; ++m) {
        float sum = bias == nullptr ? 0.0F : bias[m];
        for (std::int64_t c = 0; c < depth; ++c) {
          const auto* in = reinterpret_cast<const float*>(args.in[0]) + n * from[0] +
                           (m / of_group * depth + c) * from[1];
          const float* row = weight + (m * depth + c) * window->taps();
          for (std::int64_t t = 0; t < count; ++t) sum += in[taps[t].offset] * row[taps[t].number];
        }
        sum = sum < bounds.lo ? bounds.lo : bounds.hi < sum ? bounds.hi : sum;
        reinterpret_cast<float*>(
            args.out[0])[n * to[0] + m * to[1] + window->output_offset(place)] = sum;
      }
    }
  };
  return step;
}

Result<Step> prepare_conv(const PrepareContext& context) {
  const Value& x = context.input(0);
  OCTAVO_TRY(const auto axes,
             resolve_window(context.node(), *x.shape,
                            kernel_of(context.node(), context.in_shape(1)), false));
  const auto two = as_2d(axes);
  const bool computed =
      context.constant(1) == nullptr || (context.has_input(2) && context.constant(2) == nullptr);
  if (!two && !computed && is_quantized_code(x.dtype) &&
      context.out_shape().elements() * x.shape->elements() != 0)
    return prepare_volume(context, axes, context.attrs().get_int("group", 1));
  if (!two || computed) return prepare_nd(context, axes);
  const Windows windows = plan_windows(*x.shape, *two);
  OCTAVO_CHECK_OK(check_extent(context, windows));
  const std::int64_t group = context.attrs().get_int("group", 1);
  if (x.shape->dims()[0] == 0) {
    Step nothing;
    nothing.kernel = "conv/empty";
    nothing.blocks = 0;
    nothing.run = [](const StepArgs&, int, int) {};
    return nothing;
  }
  if (context.out_shape().elements() == 0 || x.shape->elements() == 0) {
    return context.error(Code::kShapeMismatch,
                         text("There is nothing to convolve: input ", x.shape->to_string(), "."),
                         "Give an input without empty axes.");
  }
  if (is_quantized_code(x.dtype)) return prepare_codes(context, windows, group);
  if (x.dtype != DType::kFloat32) return needs_dtype(context, x);
  return prepare_float(context, windows, group);
}

bool conv_int8(const Graph& graph, const Node& node) {
  const Value& w = graph.value(node.input(1));
  return w.shape && w.shape->rank() <= 5;
}

constexpr AttrDef kAttrs[] = {kWindowAttrs[0],     kWindowAttrs[1],     kWindowAttrs[2],
                              kWindowAttrs[3],     kWindowAttrs[4],     {"group", AttrType::kInt},
                              kActivationAttrs[0], kActivationAttrs[1], kActivationAttrs[2]};

}  // namespace

extern const OpDef kConv;
const OpDef kConv{"Conv",
                  "",
                  11,
                  2,
                  3,
                  1,
                  1,
                  kAttrs,
                  LayoutRule::kChannelsLast,
                  QuantRule::kCompute,
                  infer_conv,
                  prepare_conv,
                  conv_int8,
                  "1-d to 3-d; int8 with a constant weight"};

}  // namespace octavo::ops
