// DynamicQuantizeLinear, MatMulInteger, ConvInteger: networks that are quantized while they run.
//
// The products are exact sums in int32 of (a - zero_a) * (b - zero_b).
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

Result<Step> prepare_matmul(const PrepareContext& context) {
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
  step.run = [=, zero_a = zero_points(context, 2), zero_b = zero_points(context, 3),
              load_a = load_element(context.input(0).dtype),
              load_b = load_element(context.input(1).dtype)](const StepArgs& args, int, int) {
    walk->run([&](std::int64_t matrix, const std::array<std::int64_t, 2>& at) {
      auto* y = reinterpret_cast<std::int32_t*>(args.out[0]) + matrix * m * n;
      for (std::int64_t i = 0; i < m; ++i) {
        std::fill_n(y + i * n, n, 0);
        for (std::int64_t d = 0; d < k; ++d) {
          const auto left =
              static_cast<std::int32_t>(load_a(args.in[0], at[0] * m * k + i * k + d)) -
              zero_a.at(args, i);
          if (left == 0) continue;
          for (std::int64_t j = 0; j < n; ++j) {
            const auto right =
                static_cast<std::int32_t>(load_b(args.in[1], at[1] * k * n + d * n + j)) -
                zero_b.at(args, j);
            y[i * n + j] += left * right;
          }
        }
      }
    });
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

Result<Step> prepare_conv(const PrepareContext& context) {
  const Value& x = context.input(0);
  const Shape& w = context.in_shape(1);
  OCTAVO_TRY(auto axes, resolve_window(context.node(), *x.shape, kernel_of(w), false));
  const auto window = std::make_shared<const WindowNd>(std::move(axes), x, context.output());
  const std::int64_t of_group = w[0] / context.attrs().get_int("group", 1);
  const std::vector<std::int64_t> from = strides_of(x);
  const std::vector<std::int64_t> to = strides_of(context.output());
  Step step;
  step.kernel = "conv/integer";
  step.macs = context.out_shape().elements() * w[1] * window->taps();
  step.scratch_bytes = static_cast<std::size_t>(window->taps()) * sizeof(Tap);
  step.run = [=, batch = (*x.shape)[0], outputs = w[0], depth = w[1],
              zero_x = zero_points(context, 2), zero_w = zero_points(context, 3),
              load_x = load_element(x.dtype),
              load_w = load_element(context.input(1).dtype)](const StepArgs& args, int, int) {
    auto* taps = reinterpret_cast<Tap*>(args.scratch);
    for (std::int64_t place = 0; place < window->places(); ++place) {
      const std::int64_t count = window->inside(place, taps);
      for (std::int64_t n = 0; n < batch; ++n) {
        for (std::int64_t m = 0; m < outputs; ++m) {
          std::int32_t sum = 0;
          for (std::int64_t c = 0; c < depth; ++c) {
            const std::int64_t channel = n * from[0] + (m / of_group * depth + c) * from[1];
            for (std::int64_t t = 0; t < count; ++t) {
              const auto left =
                  static_cast<std::int32_t>(load_x(args.in[0], channel + taps[t].offset)) -
                  zero_x.at(args, 0);
              const auto right =
                  static_cast<std::int32_t>(
                      load_w(args.in[1], (m * depth + c) * window->taps() + taps[t].number)) -
                  zero_w.at(args, m);
              sum += left * right;
            }
          }
          reinterpret_cast<std::int32_t*>(
              args.out[0])[n * to[0] + m * to[1] + window->output_offset(place)] = sum;
        }
      }
    }
  };
  return step;
}

constexpr std::array kDefs{
    OpDef{"ConvInteger", "", 10, 2, 4, 1, 1, kConvAttrs, LayoutRule::kRowMajor, QuantRule::kFloat,
          infer_conv, prepare_conv, nullptr, "exact sums in int32"},
    OpDef{"DynamicQuantizeLinear",
          "",
          11,
          1,
          1,
          3,
          3,
          {},
          LayoutRule::kRowMajor,
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
