// ReduceMean, ReduceSum, ReduceMax, ReduceMin, ReduceL2, ReduceProd over any axes, in float.
//
// Sums are taken in double, so that the order in which a layout visits the elements does not show.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <type_traits>

#include "base/text.h"
#include "ops/activation.h"
#include "ops/move.h"

namespace octavo::ops {

namespace {

enum class Reduction { kMean, kSum, kMax, kMin, kL2, kProd };
struct Row {
  std::string_view name;
  Reduction reduction;
};
constexpr std::array kRows{Row{"ReduceL2", Reduction::kL2},     Row{"ReduceMax", Reduction::kMax},
                           Row{"ReduceMean", Reduction::kMean}, Row{"ReduceMin", Reduction::kMin},
                           Row{"ReduceProd", Reduction::kProd}, Row{"ReduceSum", Reduction::kSum}};

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

template <class T>
void reduce(Reduction r, const T* in, T* out, const Axes& kept, const Axes& gone,
            std::int64_t first, std::int64_t last) {
  const std::int64_t n = gone.count();
  const std::int64_t run = gone.dims.empty() ? 1 : gone.dims.back();
  const std::int64_t step = gone.dims.empty() ? 0 : gone.strides.back();
  for (std::int64_t i = first; i < last; ++i) {
    const T* start = in + kept.offset(i);
    double acc = start_of(r);
    for (std::int64_t j = 0; j < n; j += run) {
      const T* x = start + gone.offset(j);
      for (std::int64_t k = 0; k < run; ++k, x += step) {
        const auto value = static_cast<double>(*x);
        switch (r) {
          case Reduction::kMax:
            acc = acc < value || std::isnan(value) ? value : acc;
            break;
          case Reduction::kMin:
            acc = value < acc || std::isnan(value) ? value : acc;
            break;
          case Reduction::kProd:
            acc *= value;
            break;
          case Reduction::kL2:
            acc += value * value;
            break;
          default:
            acc += value;
        }
      }
    }
    if (r == Reduction::kMean) acc /= static_cast<double>(n);
    if (r == Reduction::kL2) acc = std::sqrt(acc);
    if constexpr (std::is_integral_v<T>) {
      constexpr double kLimit = 0x1p63;  // what does not fit saturates; the mean of nothing is 0
      acc = std::isnan(acc) ? 0.0 : acc;
      out[i] = acc >= kLimit   ? std::numeric_limits<T>::max()
               : acc < -kLimit ? std::numeric_limits<T>::min()
                               : static_cast<T>(acc);
    } else {
      out[i] = static_cast<T>(acc);
    }
  }
}

Result<Step> prepare_reduce(const PrepareContext& context) {
  const Value& x = context.input(0);
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
  Step step;
  step.kernel = "reduce/plain";
  const std::int64_t outputs = kept.count();
  if (x.dtype == DType::kFloat32) {
    step.run = [=](const StepArgs& args, int, int) {
      reduce(r, reinterpret_cast<const float*>(args.in[0]), reinterpret_cast<float*>(args.out[0]),
             kept, gone, 0, outputs);
    };
  } else if (x.dtype == DType::kInt64) {
    step.run = [=](const StepArgs& args, int, int) {
      reduce(r, reinterpret_cast<const std::int64_t*>(args.in[0]),
             reinterpret_cast<std::int64_t*>(args.out[0]), kept, gone, 0, outputs);
    };
  } else {
    return needs_dtype(context, x);
  }
  return step;
}

constexpr AttrDef kAxesAttrs[] = {{"axes", AttrType::kInts}, {"keepdims", AttrType::kInt}};
constexpr AttrDef kSumAttrs[] = {{"keepdims", AttrType::kInt},
                                 {"noop_with_empty_axes", AttrType::kInt}};

constexpr OpDef reduction(std::string_view name) {
  return {name,
          "",
          13,
          1,
          1,
          1,
          1,
          kAxesAttrs,
          LayoutRule::kAnyToRowMajor,
          QuantRule::kFloat,
          infer_reduce,
          prepare_reduce,
          nullptr,
          ""};
}
constexpr std::array kDefs{
    reduction("ReduceL2"),
    reduction("ReduceMax"),
    reduction("ReduceMean"),
    reduction("ReduceMin"),
    reduction("ReduceProd"),
    OpDef{"ReduceSum", "", 13, 1, 2, 1, 1, kSumAttrs, LayoutRule::kAnyToRowMajor, QuantRule::kFloat,
          infer_reduce, prepare_reduce, nullptr, "constant axes"},
};

}  // namespace

extern const std::span<const OpDef> kReductions;
const std::span<const OpDef> kReductions = kDefs;

}  // namespace octavo::ops
