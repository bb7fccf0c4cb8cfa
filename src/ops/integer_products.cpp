// DynamicQuantizeLinear, MatMulInteger, ConvInteger: networks that are quantized while they run.
//
// The products are exact sums in int32 of (a - zero_a) * (b - zero_b), modulo 2^32.
//
// With constant weights they run on the kernels of Conv and MatMul, which know the weights' zero
// points but not that of the data, which a run computes. They sum raw codes, and then
//
//   sum of (a - zero_a) * b = sum of a * b - zero_a * sum of b
//
// is taken off, where a convolution's window hangs over the image over those b that lie inside.
#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "ops/activation.h"
#include "ops/element.h"
#include "ops/window_nd.h"

namespace octavo::ops {

namespace {
// ---- DynamicQuantizeLinear ----

Status infer_dynamic(InferContext& context) {
  OCTAVO_TRY(Shape x, context.shape(0));
  context.set_output(0, DType::kUint8, std::move(x));
  context.set_output(1, DType::kFloat32, Shape{});
  context.set_output(2, DType::kUint8, Shape{});
  return ok_status();
}

//   scale = (max(x, 0) - min(x, 0)) / 255;  zero = clamp(rint(-min / scale));  y = clamp(rint(x /
//   scale) + zero)
Result<Step> prepare_dynamic(const PrepareContext& context) {
  const Value& x = context.input(0);
  if (x.dtype != DType::kFloat32) return needs_dtype(context, x);
  Step step;
  step.kernel = "quantize/dynamic";
  step.run = [n = x.shape->elements()](const StepArgs& args, int, int) {
    const auto* in = reinterpret_cast<const float*>(args.in[0]);
    float low = 0;
    float high = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      low = std::min(low, in[i]);
      high = std::max(high, in[i]);
    }
    const float range = high - low;
    const float scale = range == 0 ? 1.0F : range / 255.0F;
    const float zero = std::nearbyint(std::clamp(-low / scale, 0.0F, 255.0F));
    for (std::int64_t i = 0; i < n; ++i) {
      args.out[0][i] =
          static_cast<std::byte>(std::clamp(std::nearbyint(in[i] / scale) + zero, 0.0F, 255.0F));
    }
    if (args.out[1] != nullptr) *reinterpret_cast<float*>(args.out[1]) = scale;
    if (args.out[2] != nullptr) *args.out[2] = static_cast<std::byte>(zero);
  };
  return step;
}

// ---- zero points ----

// One of the whole tensor, one an output channel (or row), or none: 0.
struct ZeroPoints {
  std::size_t input;
  LoadElement load = nullptr;
  std::int64_t count = 0;

  std::int32_t at(const StepArgs& args, std::int64_t i) const {
    return load == nullptr ? 0
                           : static_cast<std::int32_t>(load(args.in[input], count == 1 ? 0 : i));
  }
};
ZeroPoints zero_points(const PrepareContext& context, std::size_t i) {
  if (!context.has_input(i)) return {i};
  return {i, load_element(context.input(i).dtype), context.in_shape(i).elements()};
}

Status check_integers(const InferContext& context, std::int64_t rows, std::int64_t channels) {
  for (std::size_t i = 0; i < 2; ++i) {
    const DType dtype = context.input(i).dtype;
    if (!is_quantized_code(dtype))
      return context.error(Code::kUnsupportedDtype,
                           text("Input ", i, " is ", dtype_name(dtype), "."), "Use uint8 or int8.");
    if (!context.has_input(i + 2)) continue;
    OCTAVO_TRY(const Shape zero, context.shape(i + 2));
    const std::int64_t allowed = i == 0 ? rows : channels;
    const std::int64_t count = zero.known() ? zero.elements() : 1;
    if (context.input(i + 2).dtype != dtype || zero.rank() > 1 ||
        (count != 1 && allowed >= 0 && count != allowed))
      return context.error(
          Code::kShapeMismatch,
          text("The zero point of input ", i, " has shape ", zero.to_string(), "."),
          "Give one, or one a row of the first and one a column of the second.");
  }
  return ok_status();
}

// ---- on the kernels of the quantized operators ----

// The node as `op` on codes with the scale 1 and, for the data, the zero point 0. Nothing where a
// zero point of the weights is not constant.
std::optional<Result<Step>> raw_sums(const PrepareContext& context, std::string_view op,
                                     int channel_axis) {
  if (context.constant(1) == nullptr || (context.has_input(3) && context.constant(3) == nullptr))
    return std::nullopt;
  std::vector<std::int64_t> zeros{0};
  if (context.has_input(3)) zeros = to_int64s(*context.constant(3));
  Graph graph;
  Value x = context.input(0);
  Value w = context.input(1);
  x.quant = QuantParams::per_tensor(1.0F, 0);
  w.quant = QuantParams{std::vector<float>(zeros.size(), 1.0F), {zeros.begin(), zeros.end()}, {}};
  if (zeros.size() > 1) w.quant->axis = channel_axis;
  Node node = context.node();
  node.op = op;
  node.inputs = {graph.add_value(std::move(x)), graph.add_value(std::move(w))};
  node.outputs = {graph.add_value(context.output())};
  graph.nodes.push_back(std::move(node));
  return ops::find_op(op, "")->prepare(context.with(graph, graph.nodes.front()));
}

// Element i of the constant weights, its zero point taken off; `channel` is its output channel.
class Weights {
 public:
  explicit Weights(const PrepareContext& context) : codes_(to_int64s(*context.constant(1))) {
    if (context.has_input(3)) zeros_ = to_int64s(*context.constant(3));
  }
  std::uint32_t at(std::int64_t i, std::int64_t channel) const {
    const std::int64_t zero =
        zeros_.empty() ? 0 : zeros_[zeros_.size() == 1 ? 0 : static_cast<std::size_t>(channel)];
    return static_cast<std::uint32_t>(codes_[static_cast<std::size_t>(i)] - zero);
  }

 private:
  std::vector<std::int64_t> codes_, zeros_;
};

void take_off(std::byte* row, const std::uint32_t* sums, std::int64_t count, std::int32_t zero) {
  auto* y = reinterpret_cast<std::uint32_t*>(row);
  const auto factor = static_cast<std::uint32_t>(zero);
  for (std::int64_t n = 0; n < count; ++n) y[n] -= factor * sums[n];
}

// Behind a step's own blocks others go over all that those have made.
void then_rows(Step& step, const LoopBlocks& rows) {
  step.ordered = true;
  step.blocks += rows.blocks();
}

// ---- MatMulInteger ----

Status infer_matmul(InferContext& context) {
  OCTAVO_TRY(Shape a, context.shape(0));
  OCTAVO_TRY(Shape b, context.shape(1));
  std::optional<Shape> out;
  if (a.rank() >= 2 && b.rank() >= 2) {
    const std::int64_t k = a[a.rank() - 1];
    const std::int64_t m = a[a.rank() - 2];
    const std::int64_t n = b[b.rank() - 1];
    const bool fits = k < 0 || b[b.rank() - 2] < 0 || k == b[b.rank() - 2];
    a.dims().resize(a.dims().size() - 2);
    b.dims().resize(b.dims().size() - 2);
    if (fits) out = broadcast_shapes(a, b);
    if (out) {
      out->dims().push_back(m);
      out->dims().push_back(n);
      OCTAVO_CHECK_OK(check_integers(context, m, n));
    }
  }
  if (!out) {
    return context.error(Code::kShapeMismatch,
                         text("Matrices of shapes ", context.input(0).shape->to_string(), " and ",
                              context.input(1).shape->to_string(), " cannot be multiplied."),
                         "Use two axes or more.");
  }
  return set_output_checked(context, 0, DType::kInt32, std::move(*out));
}

// Where b is a constant matrix; zero points of a may be one a row.
std::optional<Result<Step>> matmul_on_kernels(const PrepareContext& context) {
  if (context.in_shape(1).rank() != 2 || context.out_shape().elements() == 0) return std::nullopt;
  std::optional<Result<Step>> made = raw_sums(context, "MatMul", 1);
  if (!made || !made->ok() || !context.has_input(2)) return made;
  const std::int64_t k = context.in_shape(1)[0];
  const std::int64_t n = context.in_shape(1)[1];
  const std::int64_t m = context.in_shape(0)[context.in_shape(0).rank() - 2];
  const Weights weights(context);
  std::vector<std::uint32_t> sums(static_cast<std::size_t>(n), 0);
  for (std::int64_t d = 0; d < k; ++d) {
    for (std::int64_t j = 0; j < n; ++j)
      sums[static_cast<std::size_t>(j)] += weights.at(d * n + j, j);
  }
  const LoopBlocks rows(context.out_shape().elements() / n, n);
  Step step = std::move(**made);
  step.packed_bytes += sums.size() * sizeof sums[0];
  step.run = [sums = std::move(sums), raw = std::move(step.run), blocks = step.blocks, m, n, rows,
              zero = zero_points(context, 2)](const StepArgs& args, int first, int last) {
    if (first < blocks) raw(args, first, std::min(blocks, last));
    for (std::int64_t row = rows.begin(std::max(first - blocks, 0));
         row < rows.begin(std::max(last - blocks, 0)); ++row)
      take_off(args.out[0] + row * n * 4, sums.data(), n, zero.at(args, row % m));
  };
  then_rows(step, rows);
  step.holds_constants = step.holds_constants && context.constant(2) == nullptr;
  return step;
}

Result<Step> prepare_matmul(const PrepareContext& context) {
  if (std::optional<Result<Step>> fast = matmul_on_kernels(context)) return std::move(*fast);
  const Shape& a = context.in_shape(0);
  const Shape& out = context.out_shape();
  const std::int64_t k = a[a.rank() - 1];
  const std::int64_t m = out[out.rank() - 2];
  const std::int64_t n = out[out.rank() - 1];
  // The batch axes, broadcast; each operand's matrices are dense, so strides count in matrices.
  const Shape batch(std::vector<std::int64_t>(out.begin(), out.end() - 2));
  const auto walk = std::make_shared<Walk<2>>();
  walk->dims = batch.dims();
  walk->count = m * n == 0 ? 0 : batch.elements();
  for (std::size_t i = 0; i < 2; ++i) {
    Value matrices;
    const Shape& shape = context.in_shape(i);
    matrices.shape = Shape(std::vector<std::int64_t>(shape.begin(), shape.end() - 2));
    walk->strides[i] = broadcast_strides(matrices, batch);
  }
  Step step;
  step.kernel = "matmul/integer";
  step.macs = out.elements() * k;
  step.rounds = step.macs;
  // What a row of a times a row of b adds to a row of the output; where there are none, the
  // zeros alone.
  const std::int64_t terms = std::max<std::int64_t>(k, 1);
  const LoopBlocks blocks(walk->count * m * terms, n);
  step.ordered = true;
  step.blocks = blocks.blocks();
  step.run = [=, zero_a = zero_points(context, 2), zero_b = zero_points(context, 3),
              load_a = load_element(context.input(0).dtype),
              load_b = load_element(context.input(1).dtype)](const StepArgs& args, int first,
                                                             int last) {
    for (std::int64_t item = blocks.begin(first); item < blocks.begin(last); ++item) {
      const std::int64_t row = item / terms;
      const std::int64_t matrix = row / m;
      const std::int64_t i = row % m;
      const std::int64_t d = item % terms;
      auto* y = reinterpret_cast<std::int32_t*>(args.out[0]) + row * n;
      if (d == 0) std::fill_n(y, n, 0);
      if (k == 0) continue;
      walk->run(matrix, matrix + 1, [&](std::int64_t, const std::array<std::int64_t, 2>& at) {
        const auto left = static_cast<std::int32_t>(load_a(args.in[0], at[0] * m * k + i * k + d)) -
                          zero_a.at(args, i);
        if (left == 0) return;
        for (std::int64_t j = 0; j < n; ++j) {
          const auto right =
              static_cast<std::int32_t>(load_b(args.in[1], at[1] * k * n + d * n + j)) -
              zero_b.at(args, j);
          y[j] += left * right;
        }
      });
    }
  };
  return step;
}

// ---- ConvInteger ----

constexpr AttrDef kConvAttrs[] = {kWindowAttrs[0], kWindowAttrs[1], kWindowAttrs[2],
                                  kWindowAttrs[3], kWindowAttrs[4], {"group", AttrType::kInt}};

std::vector<std::int64_t> kernel_of(const Shape& weight) {
  return {weight.begin() + 2, weight.end()};
}

Status infer_conv(InferContext& context) {
  OCTAVO_TRY(const Shape x, context.shape(0));
  OCTAVO_TRY(const Shape w, context.shape(1));
  const std::int64_t group = context.attrs().get_int("group", 1);
  if (x.rank() < 3 || w.rank() != x.rank() || !w.known() || group < 1 || w[0] % group != 0 ||
      w[1] > kMaxElements || (x[1] >= 0 && x[1] != w[1] * group)) {
    return context.error(Code::kShapeMismatch,
                         text("Input ", x.to_string(), ", weight ", w.to_string(), " and group ",
                              group, " do not go together."),
                         "Export the model again.");
  }
  OCTAVO_CHECK_OK(check_integers(context, 1, w[0]));
  OCTAVO_TRY(const auto axes, resolve_window(context.node(), x, kernel_of(w), false));
  Shape out{x[0], w[0]};
  for (const WindowAxis& axis : axes) out.dims().push_back(axis.out);
  return set_output_checked(context, 0, DType::kInt32, std::move(out));
}

// The taps of an axis that lie inside the image, of each output; outputs alike are one class.
struct TapClasses {
  std::vector<std::size_t> of_output;
  std::vector<std::pair<std::int64_t, std::int64_t>> taps;  // [first, last)

  explicit TapClasses(const WindowAxis& axis) {
    for (std::int64_t o = 0; o < axis.out; ++o) {
      const auto inside = [&](std::int64_t tap) {
        const std::int64_t at = o * axis.stride - axis.pad_begin + tap * axis.dilation;
        return at >= 0 && at < axis.in;
      };
      std::pair<std::int64_t, std::int64_t> range{0, axis.kernel};
      while (range.first < axis.kernel && !inside(range.first)) ++range.first;
      while (range.second > range.first && !inside(range.second - 1)) --range.second;
      const auto known = std::find(taps.begin(), taps.end(), range);
      of_output.push_back(static_cast<std::size_t>(known - taps.begin()));
      if (known == taps.end()) taps.push_back(range);
    }
  }
};

// Where the weights are constant, over one or two spatial axes of channels-last images.
std::optional<Result<Step>> conv_on_kernels(const PrepareContext& context,
                                            const std::vector<WindowAxis>& axes) {
  const auto two = as_2d(axes);
  const std::int64_t outputs = context.in_shape(1)[0];
  const std::int64_t depth = context.in_shape(1)[1];
  if (!two || context.input(0).layout != Layout::kChannelsLast ||
      context.out_shape().elements() == 0 || context.in_shape(0).elements() == 0)
    return std::nullopt;
  std::optional<Result<Step>> made = raw_sums(context, "Conv", 0);
  if (!made || !made->ok() || !context.has_input(2)) return made;
  const TapClasses rows((*two)[0]);
  const TapClasses columns((*two)[1]);
  const std::int64_t kernel_h = (*two)[0].kernel;
  const std::int64_t kernel_w = (*two)[1].kernel;
  const Weights weights(context);
  std::vector<std::uint32_t> sums;  // [class of rows][class of columns][output channel]
  for (const auto& [top, bottom] : rows.taps) {
    for (const auto& [left, right] : columns.taps) {
      for (std::int64_t n = 0; n < outputs; ++n) {
        std::uint32_t sum = 0;
        for (std::int64_t c = 0; c < depth; ++c) {
          for (std::int64_t i = top; i < bottom; ++i) {
            for (std::int64_t j = left; j < right; ++j)
              sum += weights.at(((n * depth + c) * kernel_h + i) * kernel_w + j, n);
          }
        }
        sums.push_back(sum);
      }
    }
  }
  Step step = std::move(**made);
  step.packed_bytes += sums.size() * sizeof sums[0];
  const auto height = static_cast<std::int64_t>(rows.of_output.size());
  const auto width = static_cast<std::int64_t>(columns.of_output.size());
  const LoopBlocks image_rows(context.in_shape(0)[0] * height, width * outputs);
  step.run = [sums = std::move(sums), raw = std::move(step.run), blocks = step.blocks, outputs,
              height, width, image_rows, row_class = rows.of_output,
              column_class = columns.of_output, column_classes = columns.taps.size(),
              zero = zero_points(context, 2)](const StepArgs& args, int first, int last) {
    if (first < blocks) raw(args, first, std::min(blocks, last));
    for (std::int64_t y = image_rows.begin(std::max(first - blocks, 0));
         y < image_rows.begin(std::max(last - blocks, 0)); ++y) {
      std::byte* pixel = args.out[0] + y * width * outputs * 4;
      for (const std::size_t column : column_class) {
        const std::size_t place =
            row_class[static_cast<std::size_t>(y % height)] * column_classes + column;
        take_off(pixel, sums.data() + place * static_cast<std::size_t>(outputs), outputs,
                 zero.at(args, 0));
        pixel += outputs * 4;
      }
    }
  };
  then_rows(step, image_rows);
  step.holds_constants = step.holds_constants && context.constant(2) == nullptr;
  step.writes_part = false;
  return step;
}

Result<Step> prepare_conv(const PrepareContext& context) {
  const Value& x = context.input(0);
  const Shape& w = context.in_shape(1);
  OCTAVO_TRY(auto axes, resolve_window(context.node(), *x.shape, kernel_of(w), false));
  if (std::optional<Result<Step>> fast = conv_on_kernels(context, axes)) return std::move(*fast);
  const auto window = std::make_shared<const WindowNd>(std::move(axes), x, context.output());
  const std::int64_t of_group = w[0] / context.attrs().get_int("group", 1);
  const std::vector<std::int64_t> from = strides_of(x);
  const std::vector<std::int64_t> to = strides_of(context.output());
  Step step;
  step.kernel = "conv/integer";
  step.macs = context.out_shape().elements() * w[1] * window->taps();
  step.rounds = step.macs;
  const LoopBlocks blocks((*x.shape)[0] * window->places(), w[0] * w[1] * window->taps());
  step.blocks = blocks.blocks();
  step.scratch_bytes = static_cast<std::size_t>(window->taps()) * sizeof(Tap);
  step.run = [=, outputs = w[0], depth = w[1], zero_x = zero_points(context, 2),
              zero_w = zero_points(context, 3), load_x = load_element(x.dtype),
              load_w = load_element(context.input(1).dtype)](const StepArgs& args, int first,
                                                             int last) {
    auto* taps = reinterpret_cast<Tap*>(args.scratch);
    for (std::int64_t at = blocks.begin(first); at < blocks.begin(last); ++at) {
      const std::int64_t n = at / window->places();
      const std::int64_t place = at % window->places();
      const std::int64_t count = window->inside(place, taps);
      for (std::int64_t m = 0; m < outputs; ++m) {
        std::int32_t sum = 0;
        for (std::int64_t c = 0; c < depth; ++c) {
          const std::int64_t channel = n * from[0] + (m / of_group * depth + c) * from[1];
          for (std::int64_t t = 0; t < count; ++t) {
            const auto left =
                static_cast<std::int32_t>(load_x(args.in[0], channel + taps[t].offset)) -
                zero_x.at(args, 0);
            const auto right = static_cast<std::int32_t>(load_w(
                                   args.in[1], (m * depth + c) * window->taps() + taps[t].number)) -
                               zero_w.at(args, m);
            sum += left * right;
          }
        }
        reinterpret_cast<std::int32_t*>(
            args.out[0])[n * to[0] + m * to[1] + window->output_offset(place)] = sum;
      }
    }
  };
  return step;
}

constexpr std::array kDefs{
    OpDef{"ConvInteger", "", 10, 2, 4, 1, 1, kConvAttrs, LayoutRule::kChannelsLast,
          QuantRule::kFloat, infer_conv, prepare_conv, nullptr, "exact sums in int32"},
    OpDef{"DynamicQuantizeLinear",
          "",
          11,
          1,
          1,
          3,
          3,
          {},
          LayoutRule::kFollow,
          QuantRule::kFloat,
          infer_dynamic,
          prepare_dynamic,
          nullptr,
          "uint8"},
    OpDef{"MatMulInteger",
          "",
          10,
          2,
          4,
          1,
          1,
          {},
          LayoutRule::kRowMajor,
          QuantRule::kFloat,
          infer_matmul,
          prepare_matmul,
          nullptr,
          "exact sums in int32"},
};
}  // namespace

extern const std::span<const OpDef> kIntegerProducts;
const std::span<const OpDef> kIntegerProducts = kDefs;

}  // namespace octavo::ops
