// Where, Equal, Less, Greater: choices and comparisons, elementwise with broadcasting.
//
//   Where: out = condition ? a : b      Equal: out = a == b      Less: a < b      Greater: a > b
#include <algorithm>
#include <cstring>

#include "base/text.h"
#include "ops/move.h"

namespace octavo::ops {

namespace {
// A walk over the output's elements in memory order with an offset for each operand.
template <std::size_t Operands>
struct Walk {
  std::vector<std::int64_t> dims;
  std::array<std::vector<std::int64_t>, Operands> strides;
  std::int64_t count = 0;

  template <class Body>
  void run(Body&& body) const {
    for (std::int64_t i = 0; i < count; ++i) {
      std::array<std::int64_t, Operands> offsets{};
      std::int64_t rest = i;
      for (std::size_t d = dims.size(); d-- > 0;) {
        const std::int64_t index = rest % dims[d];
        rest /= dims[d];
        for (std::size_t k = 0; k < Operands; ++k) offsets[k] += index * strides[k][d];
      }
      body(i, offsets);
    }
  }
};

template <std::size_t Operands>
Walk<Operands> make_walk(const PrepareContext& context) {
  Walk<Operands> walk;
  const Shape& out = context.out_shape();
  const Layout layout = context.output().layout;
  walk.dims = physical_dims(out, layout);
  walk.count = out.elements();
  for (std::size_t k = 0; k < Operands; ++k) {
    const std::vector<std::int64_t> logical = broadcast_strides(context.input(k), out);
    walk.strides[k].resize(logical.size());
    for (int axis = 0; axis < out.rank(); ++axis) {
      walk.strides[k][static_cast<std::size_t>(physical_axis(axis, out.rank(), layout))] =
          logical[static_cast<std::size_t>(axis)];
    }
  }
  return walk;
}

Result<Shape> broadcast_inputs(const InferContext& context) {
  OCTAVO_TRY(Shape out, context.shape(0));
  for (std::size_t i = 1; i < context.input_count(); ++i) {
    OCTAVO_TRY(const Shape in, context.shape(i));
    std::optional<Shape> both = broadcast_shapes(out, in);
    if (!both) {
      return context.error(Code::kShapeMismatch,
                           text("Shapes ", out.to_string(), " and ", in.to_string(),
                                " cannot be broadcast together."));
    }
    out = std::move(*both);
  }
  return out;
}

Status same_dtype(const InferContext& context, std::size_t a, std::size_t b) {
  if (context.input(a).dtype == context.input(b).dtype) return ok_status();
  return context.error(Code::kInvalidModel,
                       text("Input ", a, " is ", dtype_name(context.input(a).dtype), " but input ",
                            b, " is ", dtype_name(context.input(b).dtype), "."));
}

// ---- Where ----

Status infer_where(InferContext& context) {
  OCTAVO_CHECK_OK(same_dtype(context, 1, 2));
  if (context.input(0).dtype != DType::kBool)
    return context.error(Code::kInvalidModel, "The condition is not bool.");
  OCTAVO_TRY(Shape out, broadcast_inputs(context));
  return set_output_checked(context, 0, context.input(1).dtype, std::move(out));
}

Result<Step> prepare_where(const PrepareContext& context) {
  Step step;
  step.kernel = "where";
  step.run = [walk = make_walk<3>(context), size = dtype_size(context.output().dtype)](
                 const StepArgs& args, int, int) {
    walk.run([&](std::int64_t i, const std::array<std::int64_t, 3>& offsets) {
      const std::size_t k = args.in[0][offsets[0]] != std::byte{0} ? 1 : 2;
      std::memcpy(args.out[0] + static_cast<std::size_t>(i) * size,
                  args.in[k] + static_cast<std::size_t>(offsets[k]) * size, size);
    });
  };
  return step;
}

// ---- comparisons ----

struct Equal {
  template <class T>
  bool operator()(T a, T b) const {
    return a == b;
  }
};
struct Less {
  template <class T>
  bool operator()(T a, T b) const {
    return a < b;
  }
};
struct Greater {
  template <class T>
  bool operator()(T a, T b) const {
    return a > b;
  }
};

bool is_comparable(DType dtype) {
  return dtype == DType::kFloat32 || dtype == DType::kInt64 || dtype == DType::kInt32 ||
         dtype == DType::kBool;
}

Status infer_comparison(InferContext& context) {
  OCTAVO_CHECK_OK(same_dtype(context, 0, 1));
  if (!is_comparable(context.input(0).dtype)) {
    return context.error(
        Code::kUnsupportedDtype,
        text("Comparing ", dtype_name(context.input(0).dtype), " is not supported."),
        "Use float32, int64, int32 or bool.");
  }
  OCTAVO_TRY(Shape out, broadcast_inputs(context));
  return set_output_checked(context, 0, DType::kBool, std::move(out));
}

template <class T, class Compare>
Step comparison_step(const PrepareContext& context) {
  Step step;
  step.kernel = "compare";
  step.run = [walk = make_walk<2>(context)](const StepArgs& args, int, int) {
    const auto* a = reinterpret_cast<const T*>(args.in[0]);
    const auto* b = reinterpret_cast<const T*>(args.in[1]);
    walk.run([&](std::int64_t i, const std::array<std::int64_t, 2>& offsets) {
      args.out[0][i] = static_cast<std::byte>(Compare{}(a[offsets[0]], b[offsets[1]]) ? 1 : 0);
    });
  };
  return step;
}

template <class Compare>
Result<Step> prepare_comparison(const PrepareContext& context) {
  switch (context.input(0).dtype) {
    case DType::kFloat32:
      return comparison_step<float, Compare>(context);
    case DType::kInt64:
      return comparison_step<std::int64_t, Compare>(context);
    case DType::kInt32:
      return comparison_step<std::int32_t, Compare>(context);
    default:
      return comparison_step<std::uint8_t, Compare>(context);
  }
}
}  // namespace

extern const OpDef kWhere;
const OpDef kWhere{
    "Where",           "",          16,           3, 3, 1, 1, {}, LayoutRule::kFollow,
    QuantRule::kFloat, infer_where, prepare_where};

extern const OpDef kEqual;
const OpDef kEqual{"Equal",
                   "",
                   13,
                   2,
                   2,
                   1,
                   1,
                   {},
                   LayoutRule::kFollow,
                   QuantRule::kFloat,
                   infer_comparison,
                   prepare_comparison<Equal>};

extern const OpDef kLess;
const OpDef kLess{"Less",
                  "",
                  13,
                  2,
                  2,
                  1,
                  1,
                  {},
                  LayoutRule::kFollow,
                  QuantRule::kFloat,
                  infer_comparison,
                  prepare_comparison<Less>};

extern const OpDef kGreater;
const OpDef kGreater{"Greater",
                     "",
                     13,
                     2,
                     2,
                     1,
                     1,
                     {},
                     LayoutRule::kFollow,
                     QuantRule::kFloat,
                     infer_comparison,
                     prepare_comparison<Greater>};

}  // namespace octavo::ops
