// Cast: elements converted to another dtype.
//
// Floats to integers are cut toward zero; what does not fit saturates and NaN gives 0 (ONNX leaves
// both open). Integers to narrower integers wrap. To bool: is it not zero.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "base/text.h"
#include "ops/move.h"

namespace octavo::ops {

namespace {
constexpr AttrDef kAttrs[] = {{"to", AttrType::kInt}};

template <class To, class From>
To cast_value(From value) {
  if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    // 2^digits is exact as a float; the largest integer itself may not be.
    const auto limit = std::ldexp(From{1}, std::numeric_limits<To>::digits);
    if (std::isnan(value)) return 0;
    if (value >= limit) return std::numeric_limits<To>::max();
    if (value < (std::is_signed_v<To> ? -limit : From{0})) return std::numeric_limits<To>::min();
  }
  return static_cast<To>(value);
}

using CastFn = void (*)(const std::byte* in, std::byte* out, std::int64_t first, std::int64_t last);

template <class From, class To>
void cast_elements(const std::byte* in, std::byte* out, std::int64_t first, std::int64_t last) {
  const auto* from = reinterpret_cast<const From*>(in);
  auto* to = reinterpret_cast<To*>(out);
  for (std::int64_t i = first; i < last; ++i) to[i] = cast_value<To>(from[i]);
}

template <class From>
void cast_to_bool(const std::byte* in, std::byte* out, std::int64_t first, std::int64_t last) {
  const auto* from = reinterpret_cast<const From*>(in);
  for (std::int64_t i = first; i < last; ++i)
    out[i] = static_cast<std::byte>(from[i] != From{0} ? 1 : 0);
}

template <class From>
CastFn cast_from(DType to) {
  switch (to) {
    case DType::kFloat32:
      return cast_elements<From, float>;
    case DType::kFloat64:
      return cast_elements<From, double>;
    case DType::kUint8:
      return cast_elements<From, std::uint8_t>;
    case DType::kInt8:
      return cast_elements<From, std::int8_t>;
    case DType::kInt32:
      return cast_elements<From, std::int32_t>;
    case DType::kUint32:
      return cast_elements<From, std::uint32_t>;
    case DType::kInt64:
      return cast_elements<From, std::int64_t>;
    case DType::kBool:
      return cast_to_bool<From>;
    default:
      return nullptr;
  }
}

// nullptr where the pair is not supported.
CastFn cast_function(DType from, DType to) {
  switch (from) {
    case DType::kFloat32:
      return cast_from<float>(to);
    case DType::kFloat64:
      return cast_from<double>(to);
    case DType::kBool:
    case DType::kUint8:
      return cast_from<std::uint8_t>(to);
    case DType::kInt8:
      return cast_from<std::int8_t>(to);
    case DType::kInt32:
      return cast_from<std::int32_t>(to);
    case DType::kUint32:
      return cast_from<std::uint32_t>(to);
    case DType::kInt64:
      return cast_from<std::int64_t>(to);
    default:
      return nullptr;
  }
}

Status infer(InferContext& context) {
  OCTAVO_TRY(Shape shape, context.shape(0));
  const DType from = context.input(0).dtype;
  const std::optional<DType> to = dtype_from_onnx(context.attrs().get_int("to", 0));
  if (!to || (from != *to && cast_function(from, *to) == nullptr)) {
    return context.error(Code::kUnsupportedDtype,
                         text("Cast from ", dtype_name(from), " to ",
                              to ? dtype_name(*to) : "an unknown type", " is not supported."),
                         "Supported: float32, float64, uint8, int8, int32, uint32, int64, bool.");
  }
  context.set_output(0, *to, std::move(shape));
  return ok_status();
}

Result<Step> prepare(const PrepareContext& context) {
  const Value& in = context.input(0);
  const Value& out = context.output();
  const bool ordered = in.layout == out.layout || same_order(*in.shape, Layout::kChannelsLast);
  if (!ordered) return context.error(Code::kInternal, "Input and output have different layouts.");
  if (in.dtype == out.dtype) return alias_step(context);
  const CastFn cast = cast_function(in.dtype, out.dtype);
  if (cast == nullptr) return context.error(Code::kUnsupportedDtype, "The cast is not supported.");
  const std::int64_t count = in.shape->elements();
  Step step;
  step.kernel = "cast";
  step.blocks = static_cast<int>(std::clamp<std::int64_t>(count >> 15, 1, 64));
  step.run = [cast, count, blocks = step.blocks](const StepArgs& args, int first, int last) {
    cast(args.in[0], args.out[0], count * first / blocks, count * last / blocks);
  };
  return step;
}
}  // namespace

extern const OpDef kCast;
const OpDef kCast{
    "Cast",
    "",
    13,
    1,
    1,
    1,
    1,
    kAttrs,
    LayoutRule::kFollow,
    QuantRule::kFloat,
    infer,
    prepare,
    nullptr,
    "float32, float64, uint8, int8, int32, uint32, int64, bool; half floats are float32"};

}  // namespace octavo::ops
