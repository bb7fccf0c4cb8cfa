// What gives bool: Equal, Greater, GreaterOrEqual, Less, LessOrEqual of two numbers, And, Or, Xor
// of two bools, Not of one, IsNaN and IsInf of a float; elementwise with broadcasting.
#include <cmath>

#include "base/text.h"
#include "ops/activation.h"
#include "ops/element.h"

namespace octavo::ops {

namespace {
enum class Test { kEqual, kGreater, kGreaterOrEqual, kLess, kLessOrEqual, kAnd, kOr, kXor };
struct Row {
  std::string_view name;
  Test test;
};
constexpr std::array kRows{
    Row{"And", Test::kAnd},         Row{"Equal", Test::kEqual},
    Row{"Greater", Test::kGreater}, Row{"GreaterOrEqual", Test::kGreaterOrEqual},
    Row{"Less", Test::kLess},       Row{"LessOrEqual", Test::kLessOrEqual},
    Row{"Or", Test::kOr},           Row{"Xor", Test::kXor},
};
Test test_of(const Node& node) {
  for (const Row& row : kRows) {
    if (row.name == node.op) return row.test;
  }
  return Test::kEqual;  // find_op() led here by one of these names
}

template <class T>
bool holds(Test test, T a, T b) {
  switch (test) {
    case Test::kEqual:
      return a == b;
    case Test::kGreater:
      return a > b;
    case Test::kGreaterOrEqual:
      return a >= b;
    case Test::kLess:
      return a < b;
    case Test::kLessOrEqual:
      return a <= b;
    case Test::kAnd:
      return a != T{0} && b != T{0};
    case Test::kOr:
      return a != T{0} || b != T{0};
    case Test::kXor:
      return (a != T{0}) != (b != T{0});
  }
  return false;
}

Status infer_comparison(InferContext& context) {
  OCTAVO_CHECK_OK(same_dtype(context, 0, 1));
  const DType dtype = context.input(0).dtype;
  if (test_of(context.node()) >= Test::kAnd && dtype != DType::kBool)
    return context.error(Code::kInvalidModel, text("It reads ", dtype_name(dtype), ", not bool."));
  if (load_element(dtype) == nullptr) {
    return context.error(Code::kUnsupportedDtype,
                         text("Comparing ", dtype_name(dtype), " is not supported."),
                         "Use float32, int64, int32, uint8, int8 or bool.");
  }
  OCTAVO_TRY(Shape out, broadcast_inputs(context));
  return set_output_checked(context, 0, DType::kBool, std::move(out));
}

Result<Step> prepare_comparison(const PrepareContext& context) {
  Step step;
  step.kernel = "compare";
  const DType dtype = context.input(0).dtype;
  step.run = [walk = broadcast_walk<2>(context), test = test_of(context.node()),
              number = load_element(dtype),
              integer = load_integer(dtype)](const StepArgs& args, int, int) {
    walk->run([&](std::int64_t i, const std::array<std::int64_t, 2>& at) {
      const bool yes = integer != nullptr
                           ? holds(test, integer(args.in[0], at[0]), integer(args.in[1], at[1]))
                           : holds(test, number(args.in[0], at[0]), number(args.in[1], at[1]));
      args.out[0][i] = static_cast<std::byte>(yes ? 1 : 0);
    });
  };
  return step;
}

// ---- of one ----

Status infer_one(InferContext& context) {
  OCTAVO_TRY(Shape shape, context.shape(0));
  const DType wanted = context.node().op == "Not" ? DType::kBool : DType::kFloat32;
  if (context.input(0).dtype != wanted) {
    return context.error(Code::kUnsupportedDtype,
                         text("It reads ", dtype_name(context.input(0).dtype), "."),
                         text("Use ", dtype_name(wanted), "."));
  }
  context.set_output(0, DType::kBool, std::move(shape));
  return ok_status();
}

Result<Step> prepare_one(const PrepareContext& context) {
  const std::int64_t n = context.out_shape().elements();
  Step step;
  step.kernel = "test";
  if (context.node().op == "Not") {
    step.run = [n](const StepArgs& args, int, int) {
      for (std::int64_t i = 0; i < n; ++i)
        args.out[0][i] = static_cast<std::byte>(args.in[0][i] == std::byte{0} ? 1 : 0);
    };
    return step;
  }
  const bool infinite = context.node().op == "IsInf";
  const bool negative = infinite && context.attrs().get_int("detect_negative", 1) != 0;
  const bool positive = infinite && context.attrs().get_int("detect_positive", 1) != 0;
  step.run = [=](const StepArgs& args, int, int) {
    const auto* x = reinterpret_cast<const float*>(args.in[0]);
    for (std::int64_t i = 0; i < n; ++i) {
      const bool yes =
          infinite ? std::isinf(x[i]) && (x[i] < 0 ? negative : positive) : std::isnan(x[i]);
      args.out[0][i] = static_cast<std::byte>(yes ? 1 : 0);
    }
  };
  return step;
}

constexpr AttrDef kInfAttrs[] = {{"detect_negative", AttrType::kInt},
                                 {"detect_positive", AttrType::kInt}};

constexpr OpDef comparison(std::string_view name, int since) {
  return {name,
          "",
          since,
          2,
          2,
          1,
          1,
          {},
          LayoutRule::kFollow,
          QuantRule::kFloat,
          infer_comparison,
          prepare_comparison};
}
constexpr OpDef of_one(std::string_view name, int since, std::span<const AttrDef> attrs = {}) {
  return {name,      "",         since, 1, 1, 1, 1, attrs, LayoutRule::kFollow, QuantRule::kFloat,
          infer_one, prepare_one};
}
constexpr std::array kDefs{
    comparison("And", 7),
    comparison("Equal", 13),
    comparison("Greater", 13),
    comparison("GreaterOrEqual", 16),
    of_one("IsInf", 10, kInfAttrs),
    of_one("IsNaN", 13),
    comparison("Less", 13),
    comparison("LessOrEqual", 16),
    of_one("Not", 1),
    comparison("Or", 7),
    comparison("Xor", 7),
};
}  // namespace

extern const std::span<const OpDef> kComparisons;
const std::span<const OpDef> kComparisons = kDefs;

}  // namespace octavo::ops
