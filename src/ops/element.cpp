#include "ops/element.h"

#include <cmath>
#include <limits>
#include <optional>
#include <type_traits>

#include "base/text.h"

namespace octavo::ops {

namespace {
template <class T>
double load(const std::byte* data, std::int64_t i) {
  return static_cast<double>(reinterpret_cast<const T*>(data)[i]);
}

template <class T>
std::int64_t load_exactly(const std::byte* data, std::int64_t i) {
  return reinterpret_cast<const T*>(data)[i];
}

template <class T>
void store(std::byte* data, std::int64_t i, double value) {
  T& element = reinterpret_cast<T*>(data)[i];
  if constexpr (std::is_integral_v<T>) {
    // 2^digits is exact as a double; the largest integer itself may not be.
    const double limit = std::ldexp(1.0, std::numeric_limits<T>::digits);
    const double lowest = std::is_signed_v<T> ? -limit : 0.0;
    element = std::isnan(value) ? T{0}
              : value >= limit  ? std::numeric_limits<T>::max()
              : value < lowest  ? std::numeric_limits<T>::min()
                                : static_cast<T>(value);
  } else {
    element = static_cast<T>(value);
  }
}

struct Row {
  DType dtype;
  LoadElement load;
  StoreElement store;
  LoadInteger load_integer;
};
constexpr std::array kRows{
    Row{DType::kFloat32, load<float>, store<float>, nullptr},
    Row{DType::kInt64, load<std::int64_t>, store<std::int64_t>, load_exactly<std::int64_t>},
    Row{DType::kInt32, load<std::int32_t>, store<std::int32_t>, load_exactly<std::int32_t>},
    Row{DType::kUint32, load<std::uint32_t>, store<std::uint32_t>, load_exactly<std::uint32_t>},
    Row{DType::kUint8, load<std::uint8_t>, store<std::uint8_t>, load_exactly<std::uint8_t>},
    Row{DType::kInt8, load<std::int8_t>, store<std::int8_t>, load_exactly<std::int8_t>},
    Row{DType::kBool, load<std::uint8_t>, store<std::uint8_t>, load_exactly<std::uint8_t>},
};
const Row* row_of(DType dtype) {
  for (const Row& row : kRows) {
    if (row.dtype == dtype) return &row;
  }
  return nullptr;
}
}  // namespace

LoadElement load_element(DType dtype) {
  const Row* row = row_of(dtype);
  return row == nullptr ? nullptr : row->load;
}
StoreElement store_element(DType dtype) {
  const Row* row = row_of(dtype);
  return row == nullptr ? nullptr : row->store;
}

LoadInteger load_integer(DType dtype) {
  const Row* row = row_of(dtype);
  return row == nullptr ? nullptr : row->load_integer;
}

Indices::Indices(const PrepareContext& context, std::size_t input, Step& step)
    : state_(std::make_shared<State>(State{input, load_integer(context.input(input).dtype),
                                           describe(context.node()), ok_status()})) {
  step.status = {state_, &state_->status};
}

std::int64_t Indices::at(const StepArgs& args, std::int64_t i, std::int64_t size) const {
  State& state = *state_;
  const std::int64_t index = state.load(args.in[state.input], i);
  if (index >= -size && index < size) return index < 0 ? index + size : index;
  if (state.status.ok()) {
    state.status = Error{Code::kShapeMismatch,
                         text("Index ", index, " is outside of an axis of ", size, "."),
                         state.where,
                         "Look at what the model computes its indices from.",
                         {}};
  }
  return -1;
}

Result<Shape> broadcast_inputs(const InferContext& context) {
  OCTAVO_TRY(Shape out, context.shape(0));
  for (std::size_t i = 1; i < context.input_count(); ++i) {
    OCTAVO_TRY(const Shape in, context.shape(i));
    std::optional<Shape> both = broadcast_shapes(out, in);
    if (!both) {
      return context.error(Code::kShapeMismatch,
                           text("Shapes ", out.to_string(), " and ", in.to_string(),
                                " cannot be broadcast together."),
                           "Dimensions must be equal or 1, counted from the last.");
    }
    out = std::move(*both);
  }
  return out;
}

AroundAxis around_axis(const Shape& shape, int axis) {
  AroundAxis a;
  for (int i = 0; i < shape.rank(); ++i)
    (i < axis ? a.outer : i == axis ? a.n : a.inner) *= shape[i];
  return a;
}

Result<int> axis_attribute(const InferContext& context, std::string_view name,
                           std::int64_t fallback, int rank) {
  const std::int64_t given = context.attrs().get_int(name, fallback);
  if (const auto axis = normalize_axis(given, rank)) return *axis;
  return context.error(Code::kInvalidModel,
                       text(name, " = ", given, " is out of range for rank ", rank, "."),
                       "Export the model again.");
}

int axis_of(const PrepareContext& context, std::string_view name, std::int64_t fallback, int rank) {
  return normalize_axis(context.attrs().get_int(name, fallback), rank).value_or(0);
}

Status one_number(const InferContext& context, std::size_t i, DType dtype) {
  if (!context.has_input(i)) return ok_status();
  const Value& value = context.input(i);
  const bool one = !value.shape || !value.shape->known() || value.shape->elements() == 1;
  if (one && value.dtype == dtype) return ok_status();
  return context.error(Code::kInvalidModel,
                       text("Input ", i, " has to be one number of ", dtype_name(dtype), "."));
}

Status same_dtype(const InferContext& context, std::size_t a, std::size_t b) {
  if (context.input(a).dtype == context.input(b).dtype) return ok_status();
  return context.error(Code::kInvalidModel,
                       text("Input ", a, " is ", dtype_name(context.input(a).dtype), " but input ",
                            b, " is ", dtype_name(context.input(b).dtype), "."),
                       "Export the model again.");
}

Step lut_step(const PrepareContext& context, const kernels::Table256& table, std::size_t from) {
  const kernels::LutKernel& kernel = kernels::best_row(kernels::lut_kernels(), context.policy());
  Step step = step_in_pieces(
      kernel.name, context.out_shape().elements(),
      [run = kernel.run, table, from](const StepArgs& args, std::int64_t first, std::size_t n) {
        run(reinterpret_cast<const std::uint8_t*>(args.in[from]) + first,
            reinterpret_cast<std::uint8_t*>(args.out[0]) + first, n, table.data());
      });
  step.in_place = static_cast<int>(from);
  return step;
}

}  // namespace octavo::ops
