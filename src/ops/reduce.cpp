// ReduceMean, ReduceSum, ReduceMax, ReduceMin, ReduceL1, ReduceL2, ReduceProd, ReduceSumSquare,
// ReduceLogSum, ReduceLogSumExp over any axes.
//
// Sums are taken in double, so that the order in which a layout visits the elements does not show.
// On codes ReduceMean is the mean of the real numbers, brought to the output's grid; ReduceMax and
// ReduceMin pick a code.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/text.h"
#include "ops/activation.h"
#include "ops/element.h"

namespace octavo::ops {

namespace {

enum class Reduction { kMean, kSum, kMax, kMin, kL1, kL2, kProd, kSquares, kLogSum, kLogSumExp };
struct Row {
  std::string_view name;
  Reduction reduction;
};
constexpr std::array kRows{
    Row{"ReduceL1", Reduction::kL1},         Row{"ReduceL2", Reduction::kL2},
    Row{"ReduceLogSum", Reduction::kLogSum}, Row{"ReduceLogSumExp", Reduction::kLogSumExp},
    Row{"ReduceMax", Reduction::kMax},       Row{"ReduceMean", Reduction::kMean},
    Row{"ReduceMin", Reduction::kMin},       Row{"ReduceProd", Reduction::kProd},
    Row{"ReduceSum", Reduction::kSum},       Row{"ReduceSumSquare", Reduction::kSquares}};

Reduction reduction_of(const Node& node) {
  for (const Row& row : kRows) {
    if (row.name == node.op) return row.reduction;
  }
  return Reduction::kSum;  // find_op() led here by one of these names
}

// Which axes go: attribute `axes`, or for ReduceSum a constant input; none named: all (or, with
// noop_with_empty_axes, none).
Result<std::vector<bool>> reduced_axes(const Node& node, int rank,
                                       const std::optional<std::vector<std::int64_t>>& input_axes) {
  std::vector<std::int64_t> axes = input_axes ? *input_axes : node.attrs.get_ints("axes");
  std::vector<bool> reduced(static_cast<std::size_t>(rank),
                            axes.empty() && node.attrs.get_int("noop_with_empty_axes", 0) == 0);
  for (const std::int64_t axis : axes) {
    const auto normal = normalize_axis(axis, rank);
    if (!normal)
      return Error{Code::kInvalidModel,
                   text("Axis ", axis, " is out of range for rank ", rank, "."),
                   describe(node),
                   "",
                   {}};
    reduced[static_cast<std::size_t>(*normal)] = true;
  }
  return reduced;
}

Status infer_reduce(InferContext& context) {
  OCTAVO_TRY(const Shape x, context.shape(0));
  std::optional<std::vector<std::int64_t>> input_axes;
  if (context.has_input(1)) {
    OCTAVO_TRY(input_axes, constant_ints(context, 1));
    if (!input_axes)
      return context.error(Code::kUnsupportedAttribute, "Its axes are computed by the network.",
                           "Use constant axes.");
  }
  OCTAVO_TRY(const auto reduced, reduced_axes(context.node(), x.rank(), input_axes));
  Shape out;
  for (int i = 0; i < x.rank(); ++i) {
    if (!reduced[static_cast<std::size_t>(i)]) {
      out.dims().push_back(x[i]);
    } else if (context.attrs().get_int("keepdims", 1) != 0) {
      out.dims().push_back(1);
    }
  }
  context.set_output(0, context.input(0).dtype, std::move(out));
  return ok_status();
}

double start_of(Reduction r) {
  switch (r) {
    case Reduction::kMax:
      return -std::numeric_limits<double>::infinity();
    case Reduction::kMin:
      return std::numeric_limits<double>::infinity();
    case Reduction::kProd:
      return 1.0;
    default:
      return 0.0;
  }
}

// Dims and strides of the kept and of the reduced axes of the input, as it lies in memory; outputs
// are row-major.
struct Axes {
  std::vector<std::int64_t> dims, strides;
  std::int64_t count() const {
    std::int64_t n = 1;
    for (const std::int64_t dim : dims) n *= dim;
    return n;
  }
  // The offset of the i-th combination.
  std::int64_t offset(std::int64_t i) const {
    std::int64_t at = 0;
    for (std::size_t d = dims.size(); d-- > 0;) {
      at += i % dims[d] * strides[d];
      i /= dims[d];
    }
    return at;
  }
};

double joined(Reduction r, double acc, double value) {
  switch (r) {
    case Reduction::kMax:
      return acc < value || std::isnan(value) ? value : acc;
    case Reduction::kMin:
      return value < acc || std::isnan(value) ? value : acc;
    case Reduction::kProd:
      return acc * value;
    case Reduction::kL1:
      return acc + std::fabs(value);
    case Reduction::kL2:
    case Reduction::kSquares:
      return acc + value * value;
    case Reduction::kLogSumExp:
      return acc + std::exp(value);
    default:
      return acc + value;
  }
}

double finished(Reduction r, double acc, std::int64_t n) {
  switch (r) {
    case Reduction::kMean:
      return acc / static_cast<double>(n);
    case Reduction::kL2:
      return std::sqrt(acc);
    case Reduction::kLogSum:
    case Reduction::kLogSumExp:
      return std::log(acc);
    default:
      return acc;
  }
}

// at(i) is element i of the input; on_result(i, value) gets each output.
template <class At, class OnResult>
void reduce(Reduction r, const At& at, const Axes& kept, const Axes& gone,
            const OnResult& on_result) {
  const std::int64_t n = gone.count();
  const std::int64_t outputs = kept.count();
  const std::int64_t run = gone.dims.empty() ? 1 : gone.dims.back();
  const std::int64_t step = gone.dims.empty() ? 0 : gone.strides.back();
  for (std::int64_t i = 0; i < outputs; ++i) {
    const std::int64_t start = kept.offset(i);
    double acc = start_of(r);
    // The exponents are taken from the largest element, so that none overflows.
    double largest = 0;
    if (r == Reduction::kLogSumExp) {
      largest = -std::numeric_limits<double>::infinity();
      for (std::int64_t j = 0; j < n; ++j) largest = std::max(largest, at(start + gone.offset(j)));
      if (std::isinf(largest)) largest = 0;
    }
    for (std::int64_t j = 0; j < n; j += run) {
      std::int64_t x = start + gone.offset(j);
      for (std::int64_t k = 0; k < run; ++k, x += step) acc = joined(r, acc, at(x) - largest);
    }
    on_result(i, largest + finished(r, acc, n));
  }
}

Result<Step> prepare_reduce(const PrepareContext& context) {
  const Value& x = context.input(0);
  const Value& y = context.output();
  std::optional<std::vector<std::int64_t>> input_axes;
  if (context.has_input(1) && context.constant(1) != nullptr)
    input_axes = to_int64s(*context.constant(1));
  OCTAVO_TRY(const auto reduced, reduced_axes(context.node(), x.shape->rank(), input_axes));
  const std::vector<std::int64_t> strides = strides_of(x);
  Axes kept;
  Axes gone;
  for (int i = 0; i < x.shape->rank(); ++i) {
    Axes& side = reduced[static_cast<std::size_t>(i)] ? gone : kept;
    side.dims.push_back((*x.shape)[i]);
    side.strides.push_back(strides[static_cast<std::size_t>(i)]);
  }
  const Reduction r = reduction_of(context.node());
  const StoreElement store = store_element(x.dtype);
  if (store == nullptr) return needs_dtype(context, x);
  Step step;
  step.kernel = "reduce/plain";
  const LoadElement load = load_element(x.dtype);
  if (r == Reduction::kMean && x.quant) {
    OCTAVO_CHECK_OK(check_codes(context, x));
    OCTAVO_CHECK_OK(check_codes(context, y));
    step.run = [=, from = grid_of(x), to = grid_of(y), range = code_range(y.dtype)](
                   const StepArgs& args, int, int) {
      const auto put = [&](std::int64_t i, double mean) {
        const auto real = static_cast<float>((mean - from.zero_point) * from.scale);
        const float code = std::nearbyint(real / to.scale) + static_cast<float>(to.zero_point);
        store(args.out[0], i,
              static_cast<double>(
                  std::clamp(code, static_cast<float>(range.lo), static_cast<float>(range.hi))));
      };
      reduce(
          r, [&](std::int64_t i) { return load(args.in[0], i); }, kept, gone, put);
    };
    return step;
  }
  if (x.quant && r != Reduction::kMax && r != Reduction::kMin) return needs_dtype(context, x);
  OCTAVO_CHECK_OK(check_same_grid(context));
  step.run = [=, is_float = x.dtype == DType::kFloat32](const StepArgs& args, int, int) {
    const auto put = [&](std::int64_t i, double value) { store(args.out[0], i, value); };
    if (is_float) {
      const auto* in = reinterpret_cast<const float*>(args.in[0]);
      reduce(
          r, [in](std::int64_t i) { return static_cast<double>(in[i]); }, kept, gone, put);
    } else {
      reduce(
          r, [&](std::int64_t i) { return load(args.in[0], i); }, kept, gone, put);
    }
  };
  return step;
}

constexpr AttrDef kAxesAttrs[] = {{"axes", AttrType::kInts}, {"keepdims", AttrType::kInt}};
constexpr AttrDef kSumAttrs[] = {{"keepdims", AttrType::kInt},
                                 {"noop_with_empty_axes", AttrType::kInt}};

constexpr OpDef reduction(std::string_view name, QuantRule quant = QuantRule::kFloat) {
  return {name,
          "",
          13,
          1,
          1,
          1,
          1,
          kAxesAttrs,
          LayoutRule::kAnyToRowMajor,
          quant,
          infer_reduce,
          prepare_reduce,
          nullptr,
          "constant axes"};
}
constexpr std::array kDefs{
    reduction("ReduceL1"),
    reduction("ReduceL2"),
    reduction("ReduceLogSum"),
    reduction("ReduceLogSumExp"),
    reduction("ReduceMax", QuantRule::kSameGrid),
    reduction("ReduceMean", QuantRule::kCompute),
    reduction("ReduceMin", QuantRule::kSameGrid),
    reduction("ReduceProd"),
    OpDef{"ReduceSum", "", 13, 1, 2, 1, 1, kSumAttrs, LayoutRule::kAnyToRowMajor, QuantRule::kFloat,
          infer_reduce, prepare_reduce, nullptr, "constant axes"},
    reduction("ReduceSumSquare"),
};

}  // namespace

extern const std::span<const OpDef> kReductions;
const std::span<const OpDef> kReductions = kDefs;

}  // namespace octavo::ops
