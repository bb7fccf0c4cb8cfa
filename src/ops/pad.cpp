// Pad: elements added around (or, where a pad is negative, taken off) along each axis.
//
// constant: the given value, 0 by default; on codes the code of it. reflect: mirrored without the
// edge itself, to and fro where the pad is longer than the axis. edge: the edge repeated. wrap:
// from the other end again.
#include <algorithm>
#include <array>
#include <cstring>

#include "base/text.h"
#include "kernels/copy/copy.h"
#include "ops/move.h"

namespace octavo::ops {

namespace {
constexpr AttrDef kAttrs[] = {{"mode", AttrType::kString}};

Status check_pads(const InferContext& context, const std::vector<std::int64_t>& pads, int rank) {
  if (pads.size() != static_cast<std::size_t>(rank) * 2) {
    return context.error(Code::kShapeMismatch,
                         text("pads has ", pads.size(), " entries for ", rank, " dimensions."));
  }
  for (const std::int64_t pad : pads) {
    if (pad < -kMaxElements || pad > kMaxElements)
      return context.error(Code::kLimitExceeded, text("A pad is ", pad, "."));
  }
  return ok_status();
}

Status infer(InferContext& context) {
  OCTAVO_TRY(const Shape in, context.shape(0));
  const std::string mode = context.attrs().get_string("mode", "constant");
  if (mode != "constant" && mode != "reflect" && mode != "edge" && mode != "wrap") {
    return context.error(Code::kUnsupportedAttribute, text("mode = '", mode, "' is not supported."),
                         "Use constant, reflect, edge or wrap.");
  }
  OCTAVO_TRY(const auto pads, constant_ints(context, 1));
  if (!pads) {
    context.set_output(0, context.input(0).dtype, unknown_shape(in.rank()));
    return ok_status();
  }
  OCTAVO_CHECK_OK(check_pads(context, *pads, in.rank()));
  Shape out = in;
  for (int axis = 0; axis < in.rank(); ++axis) {
    if (in[axis] < 0) continue;
    const std::int64_t before = (*pads)[static_cast<std::size_t>(axis)];
    const std::int64_t after = (*pads)[static_cast<std::size_t>(axis + in.rank())];
    out[axis] = in[axis] + before + after;
    const bool nothing_to_repeat = mode != "constant" && in[axis] == 0 && out[axis] > 0;
    if (out[axis] < 0 || nothing_to_repeat) {
      return context.error(Code::kShapeMismatch,
                           text("Pads ", before, " and ", after, " do not fit dimension ", axis,
                                " of ", in.to_string(), " in mode ", mode, "."));
    }
  }
  return set_output_checked(context, 0, context.input(0).dtype, std::move(out));
}

// The element that fills the border, in the input's dtype.
Result<std::array<std::byte, 8>> fill_element(const PrepareContext& context) {
  std::array<std::byte, 8> element{};
  const DType dtype = context.input(0).dtype;
  const std::optional<QuantParams>& quant = context.input(0).quant;
  const Tensor* value = context.has_input(2) ? context.constant(2) : nullptr;
  if (context.has_input(2) && value == nullptr)
    return context.error(Code::kUnsupportedOp, "The value has to be constant.");
  if (value != nullptr && value->elements() != 1)
    return context.error(Code::kInvalidModel, "The value has to be one element.");
  if (is_quantized_code(dtype) && quant) {
    if (!quant->is_per_tensor())
      return context.error(Code::kUnsupportedAttribute,
                           "Scales per channel are not supported here.");
    const kernels::Grid grid{quant->scale[0], quant->zero_point[0]};
    // A value in codes is a code; a float is a real number.
    const bool is_code = value != nullptr && value->dtype() == dtype;
    const float real = value == nullptr || is_code ? 0.0F : to_floats(*value)[0];
    if (is_code) {
      element[0] = value->data()[0];
    } else {
      element[0] = dtype == DType::kInt8
                       ? static_cast<std::byte>(kernels::quantize_value<std::int8_t>(real, grid))
                       : static_cast<std::byte>(kernels::quantize_value<std::uint8_t>(real, grid));
    }
    return element;
  }
  if (value != nullptr) {
    if (value->dtype() != dtype) {
      return context.error(Code::kInvalidModel, text("The value is ", dtype_name(value->dtype()),
                                                     ", the tensor ", dtype_name(dtype), "."));
    }
    std::memcpy(element.data(), value->data(), dtype_size(dtype));
  }
  return element;
}

// For each index along an axis of the output: the input's index, or -1 for the fill.
std::vector<std::int64_t> source_indices(std::int64_t in, std::int64_t out, std::int64_t before,
                                         const std::string& mode) {
  std::vector<std::int64_t> source(static_cast<std::size_t>(out));
  for (std::int64_t i = 0; i < out; ++i) {
    std::int64_t index = i - before;
    const auto modulo = [&](std::int64_t n) { return ((index % n) + n) % n; };
    if (mode == "reflect" && in > 1) {
      index = modulo(2 * (in - 1));
      if (index >= in) index = 2 * (in - 1) - index;
    } else if (mode == "wrap") {
      index = modulo(in);
    } else if (mode != "constant") {
      index = std::clamp<std::int64_t>(index, 0, in - 1);
    }
    source[static_cast<std::size_t>(i)] = index < 0 || index >= in ? -1 : index;
  }
  return source;
}

// Everything in the output's memory order, outermost first.
struct Geometry {
  std::vector<std::int64_t> dims;                  // all but the innermost axis
  std::vector<std::vector<std::int64_t>> offsets;  // by axis: the input's offset in elements, or -1
  std::vector<std::int64_t> inner;                 // the innermost axis: offset or -1
  std::int64_t run_first = 0, run_length = 0;      // its part that is copied in one piece
  std::int64_t rows = 1;
  std::size_t element_size = 1;
  std::array<std::byte, 8> fill{};
};

void pad_rows(const Geometry& g, const std::byte* in, std::byte* out, std::int64_t first,
              std::int64_t last) {
  const std::size_t size = g.element_size;
  const std::size_t row_bytes = g.inner.size() * size;
  for (std::int64_t row = first; row < last; ++row) {
    std::byte* to = out + static_cast<std::size_t>(row) * row_bytes;
    std::int64_t rest = row, offset = 0;
    bool outside = false;
    for (std::size_t d = g.dims.size(); d-- > 0 && !outside;) {
      const std::int64_t step = g.offsets[d][static_cast<std::size_t>(rest % g.dims[d])];
      rest /= g.dims[d];
      outside = step < 0;
      offset += step;
    }
    if (outside) {
      kernels::fill(to, g.fill.data(), size, g.inner.size());
      continue;
    }
    const std::byte* from = in + static_cast<std::size_t>(offset) * size;
    const auto single = [&](std::size_t i) {
      const std::byte* source =
          g.inner[i] < 0 ? g.fill.data() : from + static_cast<std::size_t>(g.inner[i]) * size;
      std::memcpy(to + i * size, source, size);
    };
    const auto begin = static_cast<std::size_t>(g.run_first),
               length = static_cast<std::size_t>(g.run_length);
    for (std::size_t i = 0; i < begin; ++i) single(i);
    if (length > 0) {
      std::memcpy(to + begin * size, from + static_cast<std::size_t>(g.inner[begin]) * size,
                  length * size);
    }
    for (std::size_t i = begin + length; i < g.inner.size(); ++i) single(i);
  }
}

Result<Step> prepare(const PrepareContext& context) {
  OCTAVO_CHECK_OK(check_same_grid(context));
  const Value& in = context.input(0);
  const Value& out = context.output();
  const int rank = in.shape->rank();
  const Tensor* pads_tensor = context.constant(1);
  if (pads_tensor == nullptr)
    return context.error(Code::kUnsupportedOp, "The pads have to be constant.");
  const std::vector<std::int64_t> pads = to_int64s(*pads_tensor);
  const std::string mode = context.attrs().get_string("mode", "constant");
  if (rank == 0 ||
      (*in.shape == *out.shape && in.layout == out.layout &&
       std::all_of(pads.begin(), pads.end(), [](std::int64_t pad) { return pad == 0; }))) {
    return alias_step(context);
  }
  Geometry g;
  OCTAVO_TRY(g.fill, fill_element(context));
  g.element_size = dtype_size(in.dtype);
  g.dims.resize(static_cast<std::size_t>(rank));
  g.offsets.resize(static_cast<std::size_t>(rank));
  const std::vector<std::int64_t> strides = strides_of(in);
  for (int axis = 0; axis < rank; ++axis) {
    const auto place = static_cast<std::size_t>(physical_axis(axis, rank, out.layout));
    const auto logical = static_cast<std::size_t>(axis);
    g.dims[place] = (*out.shape)[axis];
    g.offsets[place] = source_indices((*in.shape)[axis], (*out.shape)[axis], pads[logical], mode);
    for (std::int64_t& offset : g.offsets[place]) {
      if (offset >= 0) offset *= strides[logical];
    }
  }
  g.inner = std::move(g.offsets.back());
  g.offsets.pop_back();
  g.dims.pop_back();
  for (const std::int64_t dim : g.dims) g.rows *= dim;
  if (g.inner.empty()) g.rows = 0;
  // The longest run of neighbours that starts where the input's own elements start.
  const auto begin = static_cast<std::size_t>(std::clamp<std::int64_t>(
      pads[static_cast<std::size_t>(out.layout == Layout::kChannelsLast && rank >= 3 ? 1
                                                                                     : rank - 1)],
      0, static_cast<std::int64_t>(g.inner.size())));
  std::size_t end = begin;
  while (end < g.inner.size() && g.inner[end] >= 0 &&
         (end == begin || g.inner[end] == g.inner[end - 1] + 1))
    ++end;
  g.run_first = static_cast<std::int64_t>(begin);
  g.run_length = static_cast<std::int64_t>(end - begin);

  Step step;
  step.kernel = "copy/pad";
  const std::int64_t bytes = g.rows * static_cast<std::int64_t>(g.inner.size() * g.element_size);
  step.blocks = static_cast<int>(
      std::clamp<std::int64_t>(bytes >> 15, 1, std::clamp<std::int64_t>(g.rows, 1, 64)));
  step.run = [g = std::move(g), blocks = step.blocks](const StepArgs& args, int first, int last) {
    pad_rows(g, args.in[0], args.out[0], g.rows * first / blocks, g.rows * last / blocks);
  };
  return step;
}
}  // namespace

extern const OpDef kPad;
const OpDef kPad{"Pad",
                 "",
                 13,
                 2,
                 3,
                 1,
                 1,
                 kAttrs,
                 LayoutRule::kFollow,
                 QuantRule::kSameGrid,
                 infer,
                 prepare,
                 nullptr,
                 "constant, reflect, edge, wrap; constant pads"};

}  // namespace octavo::ops
