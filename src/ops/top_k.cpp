// TopK, ArgMax, ArgMin: the largest (or smallest) elements along an axis, and where they are.
//
// Codes are in the order of what they stand for. Of equal elements the first comes first; ArgMax
// and ArgMin take the last with select_last_index.
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/sort.h"
#include "base/text.h"
#include "ops/activation.h"
#include "ops/element.h"

namespace octavo::ops {

namespace {
constexpr AttrDef kTopAttrs[] = {
    {"axis", AttrType::kInt}, {"largest", AttrType::kInt}, {"sorted", AttrType::kInt}};
constexpr AttrDef kArgAttrs[] = {
    {"axis", AttrType::kInt}, {"keepdims", AttrType::kInt}, {"select_last_index", AttrType::kInt}};

// What is sorted by: a NaN counts as the largest, so that there is an order.
double key(double value) {
  return std::isnan(value) ? std::numeric_limits<double>::infinity() : value;
}

Status check_dtype(const InferContext& context) {
  if (load_element(context.input(0).dtype) != nullptr) return ok_status();
  return context.error(Code::kUnsupportedDtype,
                       text("Its input is ", dtype_name(context.input(0).dtype), "."),
                       "Use float32, int64, int32, uint8 or int8.");
}

Status infer_top(InferContext& context) {
  OCTAVO_TRY(Shape out, context.shape(0));
  OCTAVO_CHECK_OK(check_dtype(context));
  OCTAVO_TRY(const int axis, axis_attribute(context, "axis", -1, out.rank()));
  OCTAVO_TRY(const auto k, constant_ints(context, 1));
  if (k && k->size() != 1) return context.error(Code::kInvalidModel, "k has to be one number.");
  if (k && ((*k)[0] < 0 || (out[axis] >= 0 && (*k)[0] > out[axis]))) {
    return context.error(Code::kShapeMismatch,
                         text("k = ", (*k)[0], " is not between 0 and ", out[axis], "."));
  }
  out[axis] = k ? (*k)[0] : kUnknownDim;
  context.set_output(0, context.input(0).dtype, out);
  context.set_output(1, DType::kInt64, std::move(out));
  return ok_status();
}

Result<Step> prepare_top(const PrepareContext& context) {
  const Value& x = context.input(0);
  const int axis = axis_of(context, "axis", -1, x.shape->rank());
  const AroundAxis a = around_axis(*x.shape, axis);
  const std::int64_t k = context.out_shape()[axis];
  const bool largest = context.attrs().get_int("largest", 1) != 0;
  // Runs of a row are sorted one by one, then merged: at any result it is known which comes next,
  // so both fall apart into pieces.
  constexpr std::int64_t kRun = 1 << 12;
  const std::int64_t runs = (a.n + kRun - 1) / kRun;
  const std::int64_t pieces = runs + (k + kRun - 1) / kRun;
  const std::int64_t rounds_of_piece = std::min(a.n, kRun) * 16;
  const std::int64_t count = context.out_shape().elements() == 0 ? 0 : a.outer * a.inner * pieces;
  const LoopBlocks blocks(count, rounds_of_piece);
  Step step;
  step.kernel = "top_k";
  step.ordered = true;
  step.blocks = blocks.blocks();
  step.rounds = count * rounds_of_piece;
  step.scratch_bytes = static_cast<std::size_t>(a.n + 2 * runs + 1) * sizeof(std::int32_t);
  step.run = [=, load = load_element(x.dtype), store = store_element(x.dtype)](
                 const StepArgs& args, int first_block, int last_block) {
    auto* order = reinterpret_cast<std::int32_t*>(args.scratch);
    std::int32_t* next = order + a.n;  // of each run the place of what it has next
    std::int32_t* heap = next + runs;  // runs that have something, the best on top
    std::int32_t& open = heap[runs];   // how many
    for (std::int64_t at = blocks.begin(first_block); at < blocks.begin(last_block); ++at) {
      const std::int64_t row = at / pieces;
      const std::int64_t piece = at % pieces;
      const std::int64_t from = row / a.inner * a.n * a.inner + row % a.inner;
      const std::int64_t to = row / a.inner * k * a.inner + row % a.inner;
      const auto before = [&](std::int32_t i, std::int32_t j) {
        const double p = key(load(args.in[0], from + i * a.inner));
        const double q = key(load(args.in[0], from + j * a.inner));
        if (p != q) return largest ? p > q : p < q;
        return i < j;
      };
      const auto ahead = [&](std::int32_t p, std::int32_t q) {
        return before(order[next[p]], order[next[q]]);
      };
      if (piece < runs) {
        // The best of the run go to its end, where the heap of the others leaves room.
        const std::int64_t begin = piece * kRun;
        const std::int64_t length = std::min(a.n - begin, kRun);
        std::int32_t* run = order + begin;
        for (std::int64_t i = 0; i < length; ++i)
          heap_push(run, i, static_cast<std::int32_t>(begin + i), before);
        for (std::int64_t i = length; i > std::max<std::int64_t>(length - k, 0); --i)
          run[i - 1] = heap_pop(run, i, before);
        next[piece] = static_cast<std::int32_t>(begin + length - 1);
        open = static_cast<std::int32_t>(piece);
        heap_push(heap, open++, static_cast<std::int32_t>(piece), ahead);
        continue;
      }
      const std::int64_t begin = (piece - runs) * kRun;
      for (std::int64_t i = begin; i < std::min(k, begin + kRun); ++i) {
        const std::int32_t run = heap_pop(heap, open--, ahead);
        const std::int32_t found = order[next[run]];
        if (args.out[0] != nullptr)
          store(args.out[0], to + i * a.inner, load(args.in[0], from + found * a.inner));
        if (args.out.size() > 1 && args.out[1] != nullptr)
          reinterpret_cast<std::int64_t*>(args.out[1])[to + i * a.inner] = found;
        const std::int64_t end = std::min(a.n, (run + 1) * kRun);
        if (--next[run] >= std::max(run * kRun, end - k)) heap_push(heap, open++, run, ahead);
      }
    }
  };
  return step;
}

Status infer_arg(InferContext& context) {
  OCTAVO_TRY(Shape out, context.shape(0));
  OCTAVO_CHECK_OK(check_dtype(context));
  OCTAVO_TRY(const int axis, axis_attribute(context, "axis", 0, out.rank()));
  if (out[axis] == 0)
    return context.error(Code::kShapeMismatch, text("Axis ", axis, " of its input is empty."));
  if (context.attrs().get_int("keepdims", 1) != 0) {
    out[axis] = 1;
  } else {
    out.dims().erase(out.dims().begin() + axis);
  }
  context.set_output(0, DType::kInt64, std::move(out));
  return ok_status();
}

Result<Step> prepare_arg(const PrepareContext& context) {
  const Value& x = context.input(0);
  const int axis = axis_of(context, "axis", 0, x.shape->rank());
  const AroundAxis a = around_axis(*x.shape, axis);
  const bool largest = context.node().op == "ArgMax";
  const bool last = context.attrs().get_int("select_last_index", 0) != 0;
  Step step;
  step.kernel = "arg";
  step.run = [=, load = load_element(x.dtype)](const StepArgs& args, int, int) {
    for (std::int64_t row = 0; row < a.outer * a.inner; ++row) {
      const std::int64_t from = row / a.inner * a.n * a.inner + row % a.inner;
      std::int64_t best = 0;
      double found = load(args.in[0], from);
      for (std::int64_t i = 1; i < a.n; ++i) {
        const double value = load(args.in[0], from + i * a.inner);
        if (largest ? value > found : value < found) {
          best = i;
          found = value;
        } else if (last && value == found) {
          best = i;
        }
      }
      reinterpret_cast<std::int64_t*>(args.out[0])[row] = best;
    }
  };
  return step;
}

constexpr OpDef arg(std::string_view name) {
  return {
      name,      "",         13, 1, 1, 1, 1, kArgAttrs, LayoutRule::kRowMajor, QuantRule::kCompute,
      infer_arg, prepare_arg};
}
constexpr std::array kDefs{
    arg("ArgMax"),
    arg("ArgMin"),
    OpDef{"TopK", "", 11, 2, 2, 1, 2, kTopAttrs, LayoutRule::kRowMajor, QuantRule::kFloat,
          infer_top, prepare_top, nullptr, "constant k"},
};
}  // namespace

extern const std::span<const OpDef> kSelections;
const std::span<const OpDef> kSelections = kDefs;

}  // namespace octavo::ops
