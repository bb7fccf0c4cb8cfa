// MaxPool, AveragePool, GlobalAveragePool, GlobalMaxPool over channels-last tensors.
//
// One and two spatial axes have kernels; three, and MaxPool with indices, walk their windows place
// by place.
#include <algorithm>
#include <array>
#include <functional>
#include <limits>

#include "base/text.h"
#include "kernels/fpool/fpool.h"
#include "kernels/qpool/qpool.h"
#include "ops/activation.h"
#include "ops/element.h"
#include "ops/window_nd.h"

namespace octavo::ops {

namespace {

bool is_global(const Node& node) { return node.op.starts_with("Global"); }

Result<std::vector<WindowAxis>> window_of(const Node& node, const Shape& input) {
  std::vector<std::int64_t> kernel = node.attrs.get_ints("kernel_shape");
  return resolve_window(node, input, kernel, node.attrs.get_int("ceil_mode", 0) != 0);
}

Status infer_pool(InferContext& context) {
  OCTAVO_TRY(const Shape in, context.shape(0));
  if (is_global(context.node())) {
    if (in.rank() < 3)
      return context.error(Code::kShapeMismatch, text("Its input has shape ", in.to_string(), "."));
    Shape out{in[0], in[1]};
    out.dims().resize(in.dims().size(), 1);
    context.set_output(0, context.input(0).dtype, std::move(out));
    return ok_status();
  }
  OCTAVO_TRY(const auto axes, window_of(context.node(), in));
  Shape out{in[0], in[1]};
  for (const WindowAxis& axis : axes) out.dims().push_back(axis.out);
  if (context.output_count() > 1) context.set_output(1, DType::kInt64, out);
  return set_output_checked(context, 0, context.input(0).dtype, std::move(out));
}

int narrow(std::int64_t n) { return static_cast<int>(n); }

kernels::PoolGeometry geometry_of(const Shape& in, const std::array<WindowAxis, 2>& axes) {
  kernels::PoolGeometry g;
  g.batch = narrow(in[0]);
  g.channels = narrow(in[1]);
  g.in_h = narrow(axes[0].in);
  g.in_w = narrow(axes[1].in);
  g.kernel_h = narrow(axes[0].kernel);
  g.kernel_w = narrow(axes[1].kernel);
  g.stride_h = narrow(axes[0].stride);
  g.stride_w = narrow(axes[1].stride);
  g.dilation_h = narrow(axes[0].dilation);
  g.dilation_w = narrow(axes[1].dilation);
  g.pad_top = narrow(axes[0].pad_begin);
  g.pad_bottom = narrow(axes[0].pad_end);
  g.pad_left = narrow(axes[1].pad_begin);
  g.pad_right = narrow(axes[1].pad_end);
  g.out_h = narrow(axes[0].out);
  g.out_w = narrow(axes[1].out);
  return g;
}

// Global pooling is a window as large as the image.
Result<kernels::PoolGeometry> geometry(const PrepareContext& context) {
  const Shape& in = context.in_shape(0);
  std::vector<WindowAxis> axes;
  if (is_global(context.node())) {
    for (int i = 2; i < in.rank(); ++i) axes.push_back({in[i], 1, in[i], 1, 1, 0, 0});
    // The axes of a global pool are all alike: more than two are one long one.
    if (axes.size() > 2) {
      WindowAxis one;
      for (const WindowAxis& axis : axes) one.in *= axis.in;
      one.kernel = one.in;
      axes = {one};
    }
  } else {
    OCTAVO_TRY(axes, window_of(context.node(), in));
    // Taps behind the padding count as if it went on.
    if (context.attrs().get_int(kClippedWindow, 0) == 0) {
      for (WindowAxis& axis : axes) axis.pad_end += axis.kernel * axis.dilation;
    }
  }
  const auto two = as_2d(axes);
  if (!two) return context.error(Code::kInternal, "Its window has three axes.");
  return geometry_of(in, *two);
}

// A kernel's loop over rows [first, last).
using RunRows = std::function<void(const std::byte* in, std::byte* out,
                                   const kernels::PoolGeometry& geometry, int first, int last)>;

// Blocks are rows, or pieces of rows whose windows take long.
void run_by_rows(Step& step, const kernels::PoolGeometry& g, std::size_t element, RunRows run) {
  constexpr std::int64_t kLongRow = 1 << 17;
  constexpr std::int64_t kLanes = 8;  // of the slower rows of kernels, so that a round takes longer
  const std::int64_t pixel = g.channels * std::int64_t{std::min(g.kernel_h, g.in_h)} *
                                 std::min(g.kernel_w, g.in_w) / kLanes +
                             1;
  const int columns = static_cast<int>(
      std::max<std::int64_t>(1, std::min<std::int64_t>(g.out_w, kLongRow / pixel)));
  const int pieces = (g.out_w + columns - 1) / columns;
  step.rounds = std::int64_t{g.rows()} * g.out_w * pixel;
  step.blocks = g.rows() * pieces;
  step.run = [run = std::move(run), g, element, columns, pieces](const StepArgs& args, int first,
                                                                 int last) {
    if (pieces == 1) return run(args.in[0], args.out[0], g, first, last);
    for (int block = first; block < last; ++block) {
      const int row = block / pieces;
      const int from = block % pieces * columns;
      kernels::PoolGeometry piece = g;
      piece.out_w = std::min(columns, g.out_w - from);
      piece.pad_left -= from * g.stride_w;
      // The kernel takes all rows to be as wide as this one.
      const std::size_t at =
          static_cast<std::size_t>(row) * static_cast<std::size_t>(g.out_w - piece.out_w) +
          static_cast<std::size_t>(from);
      run(args.in[0], args.out[0] + at * static_cast<std::size_t>(g.channels) * element, piece, row,
          row + 1);
    }
  };
}

// Any number of axes, any dtype, with indices; place by place.
Result<Step> prepare_nd(const PrepareContext& context) {
  const Value& in = context.input(0);
  const Value& out = context.output();
  const LoadElement load = load_element(in.dtype);
  const bool is_max = context.node().op == "MaxPool";
  if (load == nullptr || (!is_max && in.dtype != DType::kFloat32)) return needs_dtype(context, in);
  OCTAVO_TRY(auto axes, window_of(context.node(), *in.shape));
  double taps_of_window = 1;
  for (const WindowAxis& axis : axes) taps_of_window *= static_cast<double>(axis.kernel);
  if (taps_of_window > 0x1p24)
    return context.error(Code::kLimitExceeded, "Its window has more than 2^24 taps.",
                         "Use a smaller kernel_shape.");
  const auto window = std::make_shared<const WindowNd>(std::move(axes), in, out);
  const std::vector<std::int64_t> from = strides_of(in);
  const std::vector<std::int64_t> to = strides_of(out);
  const bool include_pad = context.attrs().get_int("count_include_pad", 0) != 0;
  const bool clipped = context.attrs().get_int(kClippedWindow, 0) != 0;
  const bool first_innermost = context.attrs().get_int("storage_order", 0) != 0;
  std::int64_t spatial = 1;
  for (int axis = 2; axis < in.shape->rank(); ++axis) spatial *= (*in.shape)[axis];
  Step step;
  step.kernel = "pool/plain";
  step.scratch_bytes = static_cast<std::size_t>(window->taps()) * sizeof(Tap);
  const std::int64_t channels = (*in.shape)[1];
  const std::int64_t planes = (*in.shape)[0] * channels;
  const LoopBlocks blocks(window->places() * planes, window->taps());
  step.blocks = blocks.blocks();
  step.rounds = window->places() * planes * window->taps();
  step.run = [=, store = store_element(in.dtype)](const StepArgs& args, int first, int last) {
    auto* taps = reinterpret_cast<Tap*>(args.scratch);
    std::int64_t place = -1;  // whose taps they are
    std::int64_t count = 0;
    std::int64_t divisor = 1;
    for (std::int64_t i = blocks.begin(first); i < blocks.begin(last); ++i) {
      if (i / planes != place) {
        place = i / planes;
        count = window->inside(place, taps);
        divisor = !include_pad ? count : clipped ? window->inside_padding(place) : window->taps();
      }
      const std::int64_t plane = i % planes;
      const std::int64_t n = plane / channels;
      const std::int64_t c = plane % channels;
      const std::int64_t start = n * from[0] + c * from[1];
      const std::int64_t at = n * to[0] + c * to[1] + window->output_offset(place);
      std::int64_t best = 0;
      double result = is_max ? -std::numeric_limits<double>::infinity() : 0.0;
      for (std::int64_t t = 0; t < count; ++t) {
        const double value = load(args.in[0], start + taps[t].offset);
        if (!is_max) {
          result += value;
        } else if (value > result || t == 0) {
          result = value;
          best = t;
        }
      }
      store(args.out[0], at, is_max ? result : result / static_cast<double>(divisor));
      if (args.out.size() < 2 || args.out[1] == nullptr) continue;
      reinterpret_cast<std::int64_t*>(args.out[1])[at] =
          plane * spatial + (count == 0 ? 0 : window->index_of(taps[best].offset, first_innermost));
    }
  };
  return step;
}

template <class Code>
Result<Step> prepare_codes(const PrepareContext& context, const kernels::PoolGeometry& g) {
  const Value& in = context.input(0);
  const Value& out = context.output();
  const kernels::QPoolKernel& kernel =
      kernels::best_row(kernels::qpool_kernels(), context.policy());
  const kernels::QPoolFns<Code>& fns = kernel.template fns<Code>();
  Step step;
  step.kernel = kernel.name;
  const std::string& op = context.node().op;
  if (op == "MaxPool" || op == "GlobalMaxPool") {
    OCTAVO_CHECK_OK(check_same_grid(context));
    run_by_rows(step, g, sizeof(Code),
                [run = fns.max](const std::byte* from, std::byte* to,
                                const kernels::PoolGeometry& rows, int first, int last) {
                  run(reinterpret_cast<const Code*>(from), reinterpret_cast<Code*>(to), rows, first,
                      last);
                });
    return step;
  }
  OCTAVO_CHECK_OK(check_codes(context, in));
  OCTAVO_CHECK_OK(check_codes(context, out));
  const CodeBounds range = code_range(out.dtype);
  if (op == "GlobalAveragePool") {
    const auto pixels = static_cast<std::size_t>(g.in_h) * static_cast<std::size_t>(g.in_w);
    const auto channels = static_cast<std::size_t>(g.channels);
    const auto params =
        kernels::make_qglobal_average_params(grid_of(in), grid_of(out), pixels, range.lo, range.hi);
    step.blocks = g.batch;
    step.run = [run = fns.global_average, params, pixels, channels](const StepArgs& args, int first,
                                                                    int last) {
      for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(last); ++i) {
        run(reinterpret_cast<const Code*>(args.in[0]) + i * pixels * channels,
            reinterpret_cast<Code*>(args.out[0]) + i * channels, pixels, channels, params);
      }
    };
    return step;
  }
  const kernels::QAveragePoolParams params{
      grid_of(in), grid_of(out), context.attrs().get_int("count_include_pad", 0) != 0,
      range.lo,    range.hi,     form_shift(context.attrs())};
  run_by_rows(step, g, sizeof(Code),
              [run = fns.average, params](const std::byte* from, std::byte* to,
                                          const kernels::PoolGeometry& rows, int first, int last) {
                run(reinterpret_cast<const Code*>(from), reinterpret_cast<Code*>(to), rows, params,
                    first, last);
              });
  return step;
}

Result<Step> prepare_pool(const PrepareContext& context) {
  const Value& in = context.input(0);
  if (!is_global(context.node()) && (in.shape->rank() > 4 || context.node().output(1) != kNoValue))
    return prepare_nd(context);
  OCTAVO_TRY(const kernels::PoolGeometry g, geometry(context));
  if (in.dtype == DType::kUint8) return prepare_codes<std::uint8_t>(context, g);
  if (in.dtype == DType::kInt8) return prepare_codes<std::int8_t>(context, g);
  if (in.dtype != DType::kFloat32) return needs_dtype(context, in);
  const kernels::FPoolKernel& kernel =
      kernels::best_row(kernels::fpool_kernels(), context.policy());
  Step step;
  step.kernel = kernel.name;
  const std::string& op = context.node().op;
  if (op == "MaxPool" || op == "GlobalMaxPool") {
    run_by_rows(step, g, sizeof(float),
                [run = kernel.max](const std::byte* from, std::byte* to,
                                   const kernels::PoolGeometry& rows, int first, int last) {
                  run(reinterpret_cast<const float*>(from), reinterpret_cast<float*>(to), rows,
                      first, last);
                });
  } else if (op == "GlobalAveragePool") {
    const auto pixels = static_cast<std::size_t>(g.in_h) * static_cast<std::size_t>(g.in_w);
    const auto channels = static_cast<std::size_t>(g.channels);
    step.blocks = g.batch;
    step.run = [run = kernel.global_average, pixels, channels](const StepArgs& args, int first,
                                                               int last) {
      const auto* from = reinterpret_cast<const float*>(args.in[0]);
      auto* to = reinterpret_cast<float*>(args.out[0]);
      for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(last); ++i)
        run(from + i * pixels * channels, to + i * channels, pixels, channels);
    };
  } else {
    const bool include_pad = context.attrs().get_int("count_include_pad", 0) != 0;
    run_by_rows(step, g, sizeof(float),
                [run = kernel.average, include_pad](const std::byte* from, std::byte* to,
                                                    const kernels::PoolGeometry& rows, int first,
                                                    int last) {
                  run(reinterpret_cast<const float*>(from), reinterpret_cast<float*>(to), rows,
                      include_pad, first, last);
                });
  }
  return step;
}

bool in_two_dimensions(const Graph& graph, const Node& node) {
  const Value& x = graph.value(node.input(0));
  return node.output(1) == kNoValue && x.shape && x.shape->rank() <= 4;
}

constexpr AttrDef kMaxAttrs[] = {kWindowAttrs[0],
                                 kWindowAttrs[1],
                                 kWindowAttrs[2],
                                 kWindowAttrs[3],
                                 kWindowAttrs[4],
                                 {"ceil_mode", AttrType::kInt},
                                 {"storage_order", AttrType::kInt}};
constexpr AttrDef kAverageAttrs[] = {kWindowAttrs[0],
                                     kWindowAttrs[1],
                                     kWindowAttrs[2],
                                     kWindowAttrs[3],
                                     kWindowAttrs[4],
                                     {"ceil_mode", AttrType::kInt},
                                     {"count_include_pad", AttrType::kInt},
                                     {kClippedWindow, AttrType::kInt}};

constexpr std::array kDefs{
    OpDef{"AveragePool", "", 11, 1, 1, 1, 1, kAverageAttrs, LayoutRule::kChannelsLast,
          QuantRule::kCompute, infer_pool, prepare_pool, in_two_dimensions,
          "1-d to 3-d; int8 in 1-d and 2-d"},
    OpDef{"GlobalAveragePool",
          "",
          1,
          1,
          1,
          1,
          1,
          {},
          LayoutRule::kChannelsLast,
          QuantRule::kCompute,
          infer_pool,
          prepare_pool,
          nullptr,
          ""},
    OpDef{"GlobalMaxPool",
          "",
          1,
          1,
          1,
          1,
          1,
          {},
          LayoutRule::kChannelsLast,
          QuantRule::kSameGrid,
          infer_pool,
          prepare_pool,
          nullptr,
          ""},
    OpDef{"MaxPool", "", 12, 1, 1, 1, 2, kMaxAttrs, LayoutRule::kChannelsLast, QuantRule::kSameGrid,
          infer_pool, prepare_pool, in_two_dimensions,
          "1-d to 3-d; int8 in 1-d and 2-d, without indices"},
};

}  // namespace

extern const std::span<const OpDef> kPools;
const std::span<const OpDef> kPools = kDefs;

}  // namespace octavo::ops
