// NonZero: where a tensor is not zero, as int64 [rank, count]: a row of indices an axis, in
// row-major order. Compress: the elements (of an axis, or of the tensor as one list) whose
// condition holds; a shorter condition leaves out the rest.
//
// How many there are, a run alone knows (Value::counted).
#include <algorithm>
#include <cstring>

#include "ops/element.h"

namespace octavo::ops {

namespace {
constexpr AttrDef kCompressAttrs[] = {{"axis", AttrType::kInt}};

// ---- NonZero ----

// A scalar counts as a list of one.
Shape as_list(const Shape& shape) { return shape.rank() == 0 ? Shape{1} : shape; }

Status infer_non_zero(InferContext& context) {
  OCTAVO_TRY(const Shape in, context.shape(0));
  if (load_element(context.input(0).dtype) == nullptr)
    return context.error(Code::kUnsupportedDtype, "It does not read this type of tensor.");
  const std::int64_t most = in.known() ? in.elements() : kUnknownDim;
  return set_counted(context, DType::kInt64, Shape{as_list(in).rank(), kUnknownDim}, most);
}

Result<Step> prepare_non_zero(const PrepareContext& context) {
  const auto count = std::make_shared<std::int64_t>(0);
  const Shape in = as_list(context.in_shape(0));
  Step step;
  step.kernel = "non_zero";
  step.count = count;
  step.run = [count, in, n = in.elements(), load = load_element(context.input(0).dtype)](
                 const StepArgs& args, int, int) {
    std::int64_t found = 0;
    for (std::int64_t i = 0; i < n; ++i) found += load(args.in[0], i) != 0 ? 1 : 0;
    *count = found;
    auto* out = reinterpret_cast<std::int64_t*>(args.out[0]);
    std::int64_t at = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      if (load(args.in[0], i) == 0) continue;
      std::int64_t rest = i;
      for (int axis = in.rank(); axis-- > 0; rest /= in[axis])
        out[axis * found + at] = rest % in[axis];
      ++at;
    }
  };
  return step;
}

// ---- Compress ----

// The tensor around its axis; a list where none is given.
AroundAxis around(const Attrs& attrs, const Shape& in) {
  if (!attrs.has("axis")) return {1, in.elements(), 1};
  return around_axis(in, *normalize_axis(attrs.get_int("axis", 0), in.rank()));
}

Status infer_compress(InferContext& context) {
  OCTAVO_TRY(Shape in, context.shape(0));
  OCTAVO_TRY(const Shape condition, context.shape(1));
  const DType dtype = context.input(0).dtype;
  if (condition.rank() != 1 || context.input(1).dtype != DType::kBool)
    return context.error(Code::kShapeMismatch, "Its condition has to be a list of bool.");
  std::int64_t size = in.known() ? in.elements() : kUnknownDim;
  if (context.attrs().has("axis")) {
    OCTAVO_TRY(const int axis, axis_attribute(context, "axis", 0, in.rank()));
    size = in[axis];
    in[axis] = kUnknownDim;
    // Two open dimensions: nothing is known until the input's shape is.
    if (std::count(in.begin(), in.end(), kUnknownDim) > 1) {
      context.set_output(0, dtype, std::move(in));
      return ok_status();
    }
  } else {
    in = Shape{kUnknownDim};
  }
  const bool known = size >= 0 && condition.known();
  const std::int64_t most = known ? std::min(size, condition[0]) : kUnknownDim;
  return set_counted(context, dtype, std::move(in), most);
}

Result<Step> prepare_compress(const PrepareContext& context) {
  const auto count = std::make_shared<std::int64_t>(0);
  const AroundAxis place = around(context.attrs(), context.in_shape(0));
  Step step;
  step.kernel = "compress";
  step.count = count;
  step.run = [count, place, size = dtype_size(context.input(0).dtype),
              most = std::min(place.n, context.in_shape(1)[0])](const StepArgs& args, int, int) {
    const std::size_t piece = static_cast<std::size_t>(place.inner) * size;
    std::byte* to = args.out[0];
    *count = std::count_if(args.in[1], args.in[1] + most,
                           [](std::byte holds) { return holds != std::byte{0}; });
    for (std::int64_t outer = 0; outer < place.outer; ++outer) {
      for (std::int64_t i = 0; i < most; ++i) {
        if (args.in[1][i] == std::byte{0}) continue;
        std::memcpy(to, args.in[0] + static_cast<std::size_t>(outer * place.n + i) * piece, piece);
        to += piece;
      }
    }
  };
  return step;
}

constexpr std::string_view kNotes = "what follows is planned when it has run";
constexpr OpDef kTable[] = {
    {"NonZero",
     "",
     9,
     1,
     1,
     1,
     1,
     {},
     LayoutRule::kRowMajor,
     QuantRule::kFloat,
     infer_non_zero,
     prepare_non_zero,
     nullptr,
     kNotes},
    {"Compress", "", 9, 2, 2, 1, 1, kCompressAttrs, LayoutRule::kRowMajor, QuantRule::kFloat,
     infer_compress, prepare_compress, nullptr, kNotes},
};
}  // namespace

extern const std::span<const OpDef> kChoices;
const std::span<const OpDef> kChoices = kTable;

}  // namespace octavo::ops
