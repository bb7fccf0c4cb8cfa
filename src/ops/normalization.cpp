// InstanceNormalization, LayerNormalization, GroupNormalization: elements brought to mean 0 and
// variance 1, then scaled and shifted; and LRN.
//
//   y = (x - mean) / sqrt(variance + epsilon) * scale + bias      over one row of x at a time
//
// A row is a channel of an image (Instance), everything from an axis on (Layer), or the channels of
// a group (Group). Sums are taken in double, so their order does not show.
#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "ops/activation.h"
#include "ops/element.h"

namespace octavo::ops {

namespace {
constexpr AttrDef kInstanceAttrs[] = {{"epsilon", AttrType::kFloat}};
constexpr AttrDef kLayerAttrs[] = {
    {"axis", AttrType::kInt}, {"epsilon", AttrType::kFloat}, {"stash_type", AttrType::kInt}};
constexpr AttrDef kGroupAttrs[] = {
    {"epsilon", AttrType::kFloat}, {"num_groups", AttrType::kInt}, {"stash_type", AttrType::kInt}};

// x as [rows][length]; the parameters of element j of row r are at
// (r % cycle * step + j / spread) % (their number).
struct Rows {
  std::int64_t rows = 0, length = 0;
  std::int64_t cycle = 1, step = 0, spread = 1;
  std::int64_t parameters = 0;  // elements of scale and of bias
};

// Nothing where the shapes do not go together; what is not known is taken to fit.
std::optional<Rows> rows_of(const Node& node, const Shape& x, const Shape& scale) {
  Rows r;
  const auto product = [&](int first, int last) {
    std::int64_t n = 1;
    for (int d = first; d < last; ++d) n *= x[d];
    return n;
  };
  if (node.op == "LayerNormalization") {
    const auto axis = normalize_axis(node.attrs.get_int("axis", -1), x.rank());
    if (!axis) return std::nullopt;
    r.length = product(*axis, x.rank());
    r.rows = product(0, *axis);
    if (scale.rank() > x.rank() - *axis) return std::nullopt;
  } else {
    if (x.rank() < 3) return std::nullopt;
    const bool instance = node.op == "InstanceNormalization";
    const std::int64_t groups = instance ? x[1] : node.attrs.get_int("num_groups", 0);
    const std::int64_t spatial = product(2, x.rank());
    if (!instance && (groups < 1 || x[1] % groups != 0)) return std::nullopt;
    r.cycle = std::max<std::int64_t>(1, groups);
    r.rows = x[0] * groups;
    const std::int64_t channels = groups == 0 ? 0 : x[1] / groups;  // of a group
    r.length = channels * spatial;
    // GroupNormalization's parameters are a number a group before opset 21, a number a channel
    // since.
    const bool per_group = scale.rank() == 1 && scale[0] == groups;
    r.step = per_group ? 1 : channels;
    r.spread = std::max<std::int64_t>(1, per_group ? r.length : spatial);
  }
  return r;
}

bool parameters_fit(const Node& node, const Rows& rows, const Shape& x, const Shape& parameter) {
  std::int64_t n = 1;
  for (const std::int64_t dim : parameter) n *= dim;
  if (node.op == "LayerNormalization") return n == rows.length || n == 1;
  return parameter.rank() == 1 && (n == x[1] || n == rows.cycle);
}

Status infer_normalization(InferContext& context) {
  OCTAVO_TRY(const Shape x, context.shape(0));
  OCTAVO_TRY(const Shape scale, context.shape(1));
  const auto wrong = [&] {
    return context.error(
        Code::kShapeMismatch,
        text("Input ", x.to_string(), " and scale ", scale.to_string(), " do not go together."),
        "Export the model again.");
  };
  const Node& node = context.node();
  if (x.known() && scale.known()) {
    const auto rows = rows_of(node, x, scale);
    if (!rows || !parameters_fit(node, *rows, x, scale)) return wrong();
    if (context.has_input(2)) {
      OCTAVO_TRY(const Shape bias, context.shape(2));
      if (bias.known() && bias != scale) return wrong();
    }
  }
  context.set_output(0, context.input(0).dtype, x);
  if (context.output_count() > 1) {
    const auto axis = normalize_axis(context.attrs().get_int("axis", -1), x.rank());
    if (!axis) return wrong();
    Shape kept = x;
    for (int d = *axis; d < x.rank(); ++d) kept[d] = 1;
    context.set_output(1, DType::kFloat32, kept);
    context.set_output(2, DType::kFloat32, std::move(kept));
  }
  return ok_status();
}

Result<Step> prepare_normalization(const PrepareContext& context) {
  const Value& x = context.input(0);
  for (std::size_t i = 0; i < context.input_count(); ++i) {
    if (context.has_input(i) && context.input(i).dtype != DType::kFloat32)
      return needs_dtype(context, context.input(i));
  }
  const auto rows = rows_of(context.node(), *x.shape, context.in_shape(1));
  if (!rows) return context.error(Code::kShapeMismatch, "Its parameters do not fit its input.");
  Rows r = *rows;
  r.parameters = context.in_shape(1).elements();
  const auto epsilon = static_cast<double>(context.attrs().get_float("epsilon", 1e-5F));
  Step step;
  step.kernel = "normalize";
  step.in_place = 0;
  step.blocks = static_cast<int>(r.rows);
  step.run = [r, epsilon](const StepArgs& args, int first, int last) {
    const auto* scale = reinterpret_cast<const float*>(args.in[1]);
    const auto* bias = args.in.size() > 2 ? reinterpret_cast<const float*>(args.in[2]) : nullptr;
    for (std::int64_t row = first; row < last; ++row) {
      const auto* in = reinterpret_cast<const float*>(args.in[0]) + row * r.length;
      auto* out = reinterpret_cast<float*>(args.out[0]) + row * r.length;
      double sum = 0;
      for (std::int64_t j = 0; j < r.length; ++j) sum += static_cast<double>(in[j]);
      const double mean = sum / static_cast<double>(r.length);
      double squares = 0;
      for (std::int64_t j = 0; j < r.length; ++j) {
        const double d = static_cast<double>(in[j]) - mean;
        squares += d * d;
      }
      const double inverse = 1.0 / std::sqrt(squares / static_cast<double>(r.length) + epsilon);
      for (std::int64_t j = 0; j < r.length; ++j) {
        const std::int64_t p = (row % r.cycle * r.step + j / r.spread) % r.parameters;
        const double y = (static_cast<double>(in[j]) - mean) * inverse;
        const double scaled = y * static_cast<double>(scale[p]);
        out[j] =
            static_cast<float>(bias == nullptr ? scaled : scaled + static_cast<double>(bias[p]));
      }
      const auto put = [&](std::size_t i, double value) {
        if (args.out.size() > i && args.out[i] != nullptr)
          reinterpret_cast<float*>(args.out[i])[row] = static_cast<float>(value);
      };
      put(1, mean);
      put(2, inverse);
    }
  };
  return step;
}

// ---- LRN ----

constexpr AttrDef kLrnAttrs[] = {{"alpha", AttrType::kFloat},
                                 {"beta", AttrType::kFloat},
                                 {"bias", AttrType::kFloat},
                                 {"size", AttrType::kInt}};

Status infer_lrn(InferContext& context) {
  OCTAVO_TRY(Shape x, context.shape(0));
  if (x.rank() < 2)
    return context.error(Code::kShapeMismatch, text("Its input has shape ", x.to_string(), "."));
  if (context.attrs().get_int("size", 0) < 1)
    return context.error(Code::kInvalidModel,
                         text("size = ", context.attrs().get_int("size", 0), "."),
                         "Use 1 or more.");
  context.set_output(0, context.input(0).dtype, std::move(x));
  return ok_status();
}

// out[c] = x[c] / (bias + alpha / size * sum of x[k]^2)^beta, k the `size` channels around c
// (Krizhevsky, Sutskever, Hinton 2012).
Result<Step> prepare_lrn(const PrepareContext& context) {
  const Value& x = context.input(0);
  if (x.dtype != DType::kFloat32) return needs_dtype(context, x);
  const AroundAxis a = around_axis(*x.shape, 1);
  const std::int64_t size = context.attrs().get_int("size", 1);
  const auto alpha = static_cast<double>(context.attrs().get_float("alpha", 0.0001F));
  const auto beta = static_cast<double>(context.attrs().get_float("beta", 0.75F));
  const auto bias = static_cast<double>(context.attrs().get_float("bias", 1.0F));
  Step step;
  step.kernel = "lrn";
  step.blocks = static_cast<int>(a.outer);
  step.run = [=](const StepArgs& args, int first, int last) {
    for (std::int64_t image = first; image < last; ++image) {
      const auto* in = reinterpret_cast<const float*>(args.in[0]) + image * a.n * a.inner;
      auto* out = reinterpret_cast<float*>(args.out[0]) + image * a.n * a.inner;
      for (std::int64_t c = 0; c < a.n; ++c) {
        const std::int64_t from = std::max<std::int64_t>(0, c - (size - 1) / 2);
        const std::int64_t to = std::min(a.n, c + size / 2 + 1);
        for (std::int64_t i = 0; i < a.inner; ++i) {
          double squares = 0;
          for (std::int64_t k = from; k < to; ++k) {
            const auto value = static_cast<double>(in[k * a.inner + i]);
            squares += value * value;
          }
          const double base = bias + alpha / static_cast<double>(size) * squares;
          out[c * a.inner + i] =
              static_cast<float>(static_cast<double>(in[c * a.inner + i]) / std::pow(base, beta));
        }
      }
    }
  };
  return step;
}

constexpr std::array kDefs{
    OpDef{"GroupNormalization", "", 21, 3, 3, 1, 1, kGroupAttrs, LayoutRule::kRowMajor,
          QuantRule::kFloat, infer_normalization, prepare_normalization},
    OpDef{"InstanceNormalization", "", 6, 3, 3, 1, 1, kInstanceAttrs, LayoutRule::kRowMajor,
          QuantRule::kFloat, infer_normalization, prepare_normalization},
    OpDef{"LRN", "", 13, 1, 1, 1, 1, kLrnAttrs, LayoutRule::kRowMajor, QuantRule::kFloat, infer_lrn,
          prepare_lrn},
    OpDef{"LayerNormalization", "", 17, 2, 3, 1, 3, kLayerAttrs, LayoutRule::kRowMajor,
          QuantRule::kFloat, infer_normalization, prepare_normalization},
};
}  // namespace

extern const std::span<const OpDef> kNormalizations;
const std::span<const OpDef> kNormalizations = kDefs;

}  // namespace octavo::ops
