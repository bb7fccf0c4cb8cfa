#include "ops/move.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>

#include "base/sort.h"
#include "base/text.h"
#include "kernels/copy/copy.h"
#include "kernels/qbatchnorm/qbatchnorm.h"

namespace octavo::ops {

namespace {
// A copy through a table: dimensions ordered by the output's memory, the innermost run at once
// where both sides are contiguous.
struct TablePlan {
  std::vector<std::int64_t> dims, from, to;  // outer loops
  std::int64_t rows = 0, n = 0, from_step = 0, to_step = 0;
  kernels::Table256 table;
  kernels::QBatchNormPlan map;  // the table as a plane's function: one grid to another is a line

  void run(const std::byte* in, std::byte* out, std::int64_t first, std::int64_t last) const {
    const auto* source = reinterpret_cast<const std::uint8_t*>(in);
    auto* target = reinterpret_cast<std::uint8_t*>(out);
    for (std::int64_t row = first; row < last; ++row) {
      std::int64_t rest = row, from_offset = 0, to_offset = 0;
      for (std::size_t d = dims.size(); d-- > 0;) {
        const std::int64_t i = rest % dims[d];
        rest /= dims[d];
        from_offset += i * from[d];
        to_offset += i * to[d];
      }
      if (from_step == 1 && to_step == 1) {
        map.run_planes(source + from_offset, target + to_offset, static_cast<std::size_t>(n), 0, 1);
        continue;
      }
      for (std::int64_t i = 0; i < n; ++i) {
        target[to_offset + i * to_step] = table[source[from_offset + i * from_step]];
      }
    }
  }
};

TablePlan make_table_plan(const Move& move, DType dtype, const kernels::Policy& policy) {
  TablePlan plan;
  plan.table = *move.table;
  kernels::QBatchNormSpec spec;
  spec.code = dtype == DType::kInt8 ? kernels::CodeType::kInt8 : kernels::CodeType::kUint8;
  spec.alpha = {move.slope};
  spec.beta = {0};
  plan.map =
      kernels::QBatchNormPlan::of_tables(spec, plan.table, kernels::ChannelOrder::kPlanes, policy);
  const auto order = sorted_indices(move.dims.size(), [&](std::size_t a, std::size_t b) {
    return move.to_strides[a] > move.to_strides[b];
  });
  for (const std::size_t d : order) {
    if (move.dims[d] == 1) continue;
    if (!plan.dims.empty() && plan.from.back() == move.dims[d] * move.from_strides[d] &&
        plan.to.back() == move.dims[d] * move.to_strides[d]) {
      plan.dims.back() *= move.dims[d];
      plan.from.back() = move.from_strides[d];
      plan.to.back() = move.to_strides[d];
      continue;
    }
    plan.dims.push_back(move.dims[d]);
    plan.from.push_back(move.from_strides[d]);
    plan.to.push_back(move.to_strides[d]);
  }
  plan.n = plan.from_step = plan.to_step = 1;
  if (!plan.dims.empty()) {
    plan.n = plan.dims.back();
    plan.from_step = plan.from.back();
    plan.to_step = plan.to.back();
    plan.dims.pop_back();
    plan.from.pop_back();
    plan.to.pop_back();
  }
  plan.rows = plan.n == 0 ? 0 : 1;
  for (const std::int64_t dim : plan.dims) plan.rows *= dim;
  return plan;
}

// One move made ready: its share of the step's blocks is [first_block, first_block + blocks).
struct Ready {
  std::size_t input, output;
  std::ptrdiff_t from, to;  // bytes
  kernels::CopyPlan copy;
  std::optional<TablePlan> table;
  std::int64_t units;  // of work, cut evenly into `blocks`
  int first_block, blocks;
};

// Blocks below this many bytes cost more to hand out than to run.
constexpr std::int64_t kBlockBytes = 32 << 10;
constexpr std::int64_t kMaxBlocks = 64;
}  // namespace

Step move_step(const PrepareContext& context, std::string_view kernel, std::size_t element_size,
               std::vector<Move> moves) {
  auto ready = std::make_shared<std::vector<Ready>>();
  int blocks = 0;
  for (const Move& move : moves) {
    const std::int64_t elements =
        std::accumulate(move.dims.begin(), move.dims.end(), std::int64_t{1}, std::multiplies<>());
    if (elements == 0) continue;
    const auto byte_offset = [element_size](std::int64_t element) {
      return static_cast<std::ptrdiff_t>(element) * static_cast<std::ptrdiff_t>(element_size);
    };
    Ready item{move.input,
               move.output,
               byte_offset(move.from),
               byte_offset(move.to),
               {},
               std::nullopt,
               0,
               blocks,
               0};
    if (move.table) {
      item.table = make_table_plan(move, context.output(move.output).dtype, context.policy());
      item.units = item.table->rows;
    } else {
      item.copy = kernels::CopyPlan::make(move.dims, move.from_strides, move.to_strides,
                                          element_size, context.policy());
      item.units = item.copy.blocks();
    }
    item.blocks = static_cast<int>(
        std::clamp(elements * static_cast<std::int64_t>(element_size) / kBlockBytes,
                   std::int64_t{1}, std::min(item.units, kMaxBlocks)));
    blocks += item.blocks;
    ready->push_back(std::move(item));
  }

  Step step;
  step.kernel = kernel;
  step.blocks = std::max(blocks, 1);
  step.run = [ready](const StepArgs& args, int first, int last) {
    for (const Ready& item : *ready) {
      const int begin = std::max(first - item.first_block, 0);
      const int end = std::min(last - item.first_block, item.blocks);
      if (begin >= end) continue;
      const std::int64_t first_unit = item.units * begin / item.blocks;
      const std::int64_t last_unit = item.units * end / item.blocks;
      const std::byte* from = args.in[item.input] + item.from;
      std::byte* to = args.out[item.output] + item.to;
      if (from == to) continue;  // made in its place (Step::parts)
      if (item.table) {
        item.table->run(from, to, first_unit, last_unit);
      } else {
        item.copy.run(from, to, first_unit, last_unit);
      }
    }
  };
  return step;
}

Step alias_step(const PrepareContext& context) {
  const auto bytes =
      static_cast<std::size_t>(context.out_shape().elements()) * dtype_size(context.output().dtype);
  Step step;
  step.kernel = "alias";
  step.alias = 0;
  step.run = [bytes](const StepArgs& args, int, int) {
    if (bytes > 0 && args.in[0] != args.out[0]) std::memcpy(args.out[0], args.in[0], bytes);
  };
  return step;
}

bool same_order(const Shape& shape, Layout layout) {
  if (layout == Layout::kRowMajor || shape.rank() < 3 || shape[1] <= 1) return true;
  std::int64_t spatial = 1;
  for (int axis = 2; axis < shape.rank(); ++axis) spatial *= shape[axis];
  return spatial <= 1 || shape[0] == 0;
}

Status check_same_grid(const PrepareContext& context) {
  const std::optional<QuantParams>& in = context.input(0).quant;
  if (!in) return ok_status();
  for (std::size_t i = 0; i < context.output_count(); ++i) {
    if (context.node().output(i) == kNoValue) continue;
    const std::optional<QuantParams>& out = context.output(i).quant;
    if (out && *out != *in) {
      return context.error(Code::kInternal,
                           "The scales of input and output differ in an op that moves codes.");
    }
  }
  return ok_status();
}

Status set_output_checked(InferContext& context, std::size_t i, DType dtype, Shape shape) {
  if (shape.known() && !shape.checked_elements()) {
    return context.error(Code::kLimitExceeded,
                         text("The result would have shape ", shape.to_string(), ", more than ",
                              kMaxElements, " elements."));
  }
  context.set_output(i, dtype, std::move(shape));
  return ok_status();
}

Status set_counted(InferContext& context, DType dtype, Shape shape, std::int64_t most) {
  Shape largest = shape;
  std::replace(largest.dims().begin(), largest.dims().end(), kUnknownDim, most);
  OCTAVO_CHECK_OK(set_output_checked(context, 0, dtype, std::move(largest)));
  context.set_counted(0, dtype, std::move(shape), most);
  return ok_status();
}

Result<std::optional<std::vector<std::int64_t>>> constant_ints(const InferContext& context,
                                                               std::size_t i) {
  const Tensor* tensor = context.has_input(i) ? context.constant(i) : nullptr;
  if (tensor == nullptr) return std::optional<std::vector<std::int64_t>>();
  if (tensor->shape().rank() > 1 || tensor->dtype() == DType::kFloat32) {
    return context.error(
        Code::kInvalidModel,
        text("Input ", i, " has to be a list of integers, not ", describe(context.input(i)), "."));
  }
  return std::optional(to_int64s(*tensor));
}

Shape unknown_shape(int rank) {
  return Shape(std::vector<std::int64_t>(static_cast<std::size_t>(rank), kUnknownDim));
}

std::optional<Shape> broadcast_shapes(const Shape& a, const Shape& b) {
  const int rank = std::max(a.rank(), b.rank());
  Shape out = unknown_shape(rank);
  for (int axis = 0; axis < rank; ++axis) {
    const int a_axis = axis - (rank - a.rank());
    const int b_axis = axis - (rank - b.rank());
    const std::int64_t x = a_axis < 0 ? 1 : a[a_axis];
    const std::int64_t y = b_axis < 0 ? 1 : b[b_axis];
    if (x == y || y == 1) {
      out[axis] = x;
    } else if (x == 1) {
      out[axis] = y;
    } else if (x < 0 || y < 0) {
      out[axis] = std::max(x, y);  // the known one is above 1 (or 0), so it wins
    } else {
      return std::nullopt;
    }
  }
  return out;
}

std::vector<std::int64_t> broadcast_strides(const Value& value, const Shape& out) {
  const std::vector<std::int64_t> own = strides_of(value);
  std::vector<std::int64_t> strides(static_cast<std::size_t>(out.rank()), 0);
  const int missing = out.rank() - value.shape->rank();
  for (int axis = missing; axis < out.rank(); ++axis) {
    if ((*value.shape)[axis - missing] == 1) continue;
    strides[static_cast<std::size_t>(axis)] = own[static_cast<std::size_t>(axis - missing)];
  }
  return strides;
}

}  // namespace octavo::ops
