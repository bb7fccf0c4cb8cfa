// The functions of two tensors with broadcasting: Add, Sub, Mul, Div, Mod, Pow, PRelu; Sum, Min,
// Max of any number.
//
// On codes Add and Mul are ONNX Runtime's QLinearAdd and QLinearMul (kernels/qadd, kernels/qmul);
// all others are what the float operator gives between DequantizeLinear and QuantizeLinear, by
// tables. On 64-bit integers they serve shape arithmetic.
#include "kernels/felementwise/binary.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>
#include <type_traits>
#include <vector>

#include "base/text.h"
#include "kernels/codes.h"
#include "kernels/felementwise/broadcast.h"
#include "kernels/felementwise/unary.h"
#include "kernels/qadd/qadd.h"
#include "kernels/qmul/qmul.h"
#include "ops/activation.h"
#include "ops/element.h"

namespace octavo::ops {

namespace {

using kernels::Binary;
using kernels::BroadcastPlan;

Status infer_binary(InferContext& context) {
  const Value& first = context.input(0);
  for (std::size_t i = 1; i < context.input_count(); ++i) {
    if (context.input(i).dtype != first.dtype) {
      return context.error(Code::kInvalidModel,
                           text("Input 0 is ", dtype_name(first.dtype), " but input ", i, " is ",
                                dtype_name(context.input(i).dtype), "."));
    }
  }
  if (!first.shape) return ok_status();
  Shape out = *first.shape;
  for (std::size_t i = 1; i < context.input_count(); ++i) {
    if (!context.input(i).shape) return ok_status();
    const std::optional<Shape> both = broadcast_shapes(out, *context.input(i).shape);
    if (!both) {
      return context.error(
          Code::kShapeMismatch,
          text("Shapes ", out.to_string(), " and ", context.input(i).shape->to_string(),
               " cannot be broadcast together."),
          "Dimensions must be equal or 1, counted from the last.");
    }
    out = *both;
  }
  return set_output_checked(context, 0, first.dtype, std::move(out));
}

// PRelu's slope is broadcast to x, never the other way round.
Status infer_prelu(InferContext& context) {
  OCTAVO_TRY(const Shape x, context.shape(0));
  OCTAVO_TRY(const Shape slope, context.shape(1));
  const std::optional<Shape> both = broadcast_shapes(x, slope);
  if (!both || both->rank() != x.rank() || (x.known() && slope.known() && *both != x)) {
    return context.error(Code::kShapeMismatch, text("The slope of shape ", slope.to_string(),
                                                    " does not fit ", x.to_string(), "."));
  }
  context.set_output(0, context.input(0).dtype, x);
  return ok_status();
}

// Dimensions and strides of two operands in the output's memory order.
BroadcastPlan plan_of(const Value& a, const Value& b, const Value& out) {
  const Shape& shape = *out.shape;
  const auto in_memory_order = [&](const std::vector<std::int64_t>& logical) {
    std::vector<std::int64_t> physical(logical.size());
    for (int axis = 0; axis < shape.rank(); ++axis) {
      physical[static_cast<std::size_t>(physical_axis(axis, shape.rank(), out.layout))] =
          logical[static_cast<std::size_t>(axis)];
    }
    return physical;
  };
  return kernels::make_broadcast(physical_dims(shape, out.layout),
                                 in_memory_order(broadcast_strides(a, shape)),
                                 in_memory_order(broadcast_strides(b, shape)));
}

template <class T>
const T* in(const StepArgs& args, std::size_t i) {
  return reinterpret_cast<const T*>(args.in[i]);
}
template <class T>
T* out(const StepArgs& args) {
  return reinterpret_cast<T*>(args.out[0]);
}

// Blocks are small where an operand is broadcast along an inner axis: several make a unit of work.
int blocks_of(const BroadcastPlan& plan) {
  return static_cast<int>(std::min<std::int64_t>(plan.outer, std::numeric_limits<int>::max()));
}

bool same_place(const Value& a, const Value& result) {
  return *a.shape == *result.shape && a.layout == result.layout && !a.is_constant();
}

constexpr std::int64_t kRun = 4096;  // floats that stay in a first-level cache

Result<Step> prepare_float(const PrepareContext& context, Binary op) {
  const Value& result = context.output();
  const kernels::BinaryKernel& kernel = kernels::binary_kernel(op, context.policy());
  Step step;
  step.kernel = kernel.name;
  const RealBounds bounds = real_bounds(context.attrs());
  if (context.input_count() == 2) {
    BroadcastPlan plan = plan_of(context.input(0), context.input(1), result);
    step.blocks = blocks_of(plan);
    if (same_place(context.input(0), result)) step.in_place = 0;
    // Clamped run by run, while they are near; runs are blocks where all walk evenly.
    const bool evenly = plan.outer == 1 && plan.a_step == 1 && plan.b_step == 1;
    if (evenly) step.blocks = static_cast<int>((plan.inner + kRun - 1) / kRun);
    const kernels::UnaryFn clamp =
        context.attrs().has("octavo_activation")
            ? kernels::unary_kernel(kernels::Unary::kClip, context.policy()).run
            : nullptr;
    step.run = [plan = std::move(plan), run = kernel.run, bounds, clamp, evenly](
                   const StepArgs& args, int first, int last) {
      float* y = out<float>(args);
      for (std::int64_t block = first; block < last; ++block) {
        std::int64_t from = block * plan.inner;
        std::int64_t count = plan.inner;
        if (evenly) {
          from = block * kRun;
          count = std::min(kRun, plan.inner - from);
          run(in<float>(args, 0) + from, in<float>(args, 1) + from, y + from,
              static_cast<std::size_t>(count));
        } else {
          kernels::run_broadcast(plan, in<float>(args, 0), in<float>(args, 1), y, block, block + 1,
                                 run);
        }
        if (clamp != nullptr)
          clamp(y + from, y + from, static_cast<std::size_t>(count), {bounds.lo, bounds.hi});
      }
    };
    return step;
  }
  // Sum, Min, Max of one or more than two: the first is spread over the output, then each of the
  // rest joins in place.
  std::vector<BroadcastPlan> plans;
  for (std::size_t i = 0; i < context.input_count(); ++i)
    plans.push_back(plan_of(result, context.input(i), result));
  const auto n = static_cast<std::size_t>(result.shape->elements());
  step.run = [plans = std::move(plans), run = kernel.run, n](const StepArgs& args, int, int) {
    float* y = out<float>(args);
    const kernels::BinaryFn second = [](const float*, const float* b, float* to,
                                        std::size_t count) { std::copy_n(b, count, to); };
    std::fill_n(y, n, 0.0F);
    kernels::run_broadcast(plans[0], static_cast<const float*>(y), in<float>(args, 0), y, 0,
                           plans[0].outer, second);
    for (std::size_t i = 1; i < plans.size(); ++i) {
      kernels::run_broadcast(plans[i], static_cast<const float*>(y), in<float>(args, i), y, 0,
                             plans[i].outer, run);
    }
  };
  return step;
}

// One pair of integers; `lowest` of their type. Sums and products wrap around when they are cut to
// it.
std::int64_t integer_function(Binary op, std::int64_t a, std::int64_t b, std::int64_t lowest) {
  const auto wrapped = [](std::uint64_t value) { return static_cast<std::int64_t>(value); };
  const auto x = static_cast<std::uint64_t>(a);
  const auto y = static_cast<std::uint64_t>(b);
  switch (op) {
    case Binary::kAdd:
      return wrapped(x + y);
    case Binary::kSub:
      return wrapped(x - y);
    case Binary::kMul:
      return wrapped(x * y);
    // Truncating, as ONNX says; the two divisions that C++ leaves undefined give 0.
    case Binary::kDiv:
      return b == 0 || (b == -1 && a == lowest) ? 0 : a / b;
    case Binary::kMin:
      return b < a ? b : a;
    case Binary::kMax:
      return a < b ? b : a;
    case Binary::kMod:
      return b == 0 || b == -1 ? 0 : a % b;
    case Binary::kPow: {
      std::uint64_t power = 1;
      for (std::int64_t i = 0; i < std::min<std::int64_t>(b, 64); ++i) power *= x;
      return wrapped(power);
    }
    case Binary::kPrelu:
      break;
  }
  return a;
}

// Shape arithmetic: one after the other.
Result<Step> prepare_integer(const PrepareContext& context, Binary op) {
  const Value& x = context.input(0);
  if (context.input_count() != 2) return needs_dtype(context, x);
  // Mod's sign is the divisor's, or with fmod = 1 the dividend's.
  const bool floored = op == Binary::kMod && context.attrs().get_int("fmod", 0) == 0;
  const std::size_t size = dtype_size(x.dtype);
  const std::int64_t lowest =
      x.dtype == DType::kUint8 ? 0 : std::numeric_limits<std::int64_t>::min() >> (64 - 8 * size);
  Step step;
  step.kernel = "binary/integer";
  step.run = [walk = broadcast_walk<2>(context), load = load_integer(x.dtype), op, floored, size,
              lowest](const StepArgs& args, int, int) {
    walk->run([&](std::int64_t i, const std::array<std::int64_t, 2>& at) {
      const std::int64_t b = load(args.in[1], at[1]);
      std::int64_t y = integer_function(op, load(args.in[0], at[0]), b, lowest);
      if (floored && y != 0 && (y < 0) != (b < 0)) y += b;
      std::memcpy(args.out[0] + static_cast<std::size_t>(i) * size, &y, size);
    });
  };
  return step;
}

// Tables are of bytes and by bytes: an int8 code stands where its byte does. ONNX Runtime's
// formulas are taken in unsigned codes whatever the session's byte form, so that ties fall alike on
// every engine: bytes of int8 codes have their top bit flipped.
std::uint8_t flip_of(const Value& value) { return value.dtype == DType::kInt8 ? 0x80 : 0; }

kernels::QAddParams unsigned_params(const PrepareContext& context, std::size_t a, std::size_t b,
                                    const CodeBounds& bounds) {
  const std::int32_t shift = flip_of(context.output());
  const auto grid = [shift](const Value& value) {
    return kernels::Grid{grid_of(value).scale, grid_of(value).zero_point + shift};
  };
  return kernels::make_qadd_params(grid(context.input(a)), grid(context.input(b)),
                                   grid(context.output()), bounds.lo + shift, bounds.hi + shift);
}

// rint(sum), between the bounds.
std::uint8_t rounded(float sum, const kernels::QAddParams& p) {
  const auto lo = static_cast<float>(p.lo);
  const auto hi = static_cast<float>(p.hi);
  return static_cast<std::uint8_t>(std::nearbyint(sum < lo ? lo : hi < sum ? hi : sum));
}

// The constant number in input i and another operand of the output's shape: a function of one code.
bool is_scalar(const PrepareContext& context, std::size_t i) {
  const Tensor* constant = context.constant(i);
  return constant != nullptr && constant->elements() == 1 &&
         same_place(context.input(1 - i), context.output());
}
std::uint8_t byte_of(const Tensor& scalar) { return static_cast<std::uint8_t>(*scalar.data()); }

// Adding one constant number. ONNX Runtime on x86 adds the constant to the fixed part first and the
// other operand by a fused multiply-add, which decides ties (MlasQLinearAdd with a scalar, AVX2);
// so does this.
Step constant_sum(const PrepareContext& context, std::size_t scalar, const CodeBounds& bounds) {
  const kernels::QAddParams p = unsigned_params(context, scalar, 1 - scalar, bounds);
  const std::uint8_t flip = flip_of(context.output());
  const std::uint8_t code = byte_of(*context.constant(scalar)) ^ flip;
  const float fixed = p.fixed + static_cast<float>(code) * p.ratio_a;
  kernels::Table256 table{};
  for (std::size_t i = 0; i < 256; ++i)
    table[i ^ flip] = rounded(std::fma(static_cast<float>(i), p.ratio_b, fixed), p) ^ flip;
  return lut_step(context, table, 1 - scalar);
}

// The result of each pair of codes: [a][b].
using PairTable = std::vector<std::uint8_t>;

// Their sum as ONNX Runtime on x86 computes it, by two fused multiply-adds: rint(fma(b, ratio_b,
// fma(a, ratio_a, fixed))).
PairTable sum_table(const kernels::QAddParams& p, std::uint8_t flip) {
  // A product of two floats is exact in double, so one rounding of the double sum is the fused one.
  const auto fused = [](float x, float y, float z) {
    return static_cast<float>(static_cast<double>(x) * static_cast<double>(y) +
                              static_cast<double>(z));
  };
  PairTable table(256 * 256);
  std::array<double, 256> products;
  for (std::size_t b = 0; b < 256; ++b)
    products[b] = static_cast<double>(b) * static_cast<double>(p.ratio_b);
  const auto lo = static_cast<float>(p.lo);
  const auto hi = static_cast<float>(p.hi);
  for (std::size_t a = 0; a < 256; ++a) {
    const auto first = static_cast<double>(fused(static_cast<float>(a), p.ratio_a, p.fixed));
    std::uint8_t* row = table.data() + (a ^ flip) * 256;
    for (std::size_t b = 0; b < 256; ++b) {
      const auto sum = static_cast<float>(products[b] + first);
      // Adding the magic number rounds as nearbyint does, at a third of its time.
      const float magic = (sum < lo ? lo : hi < sum ? hi : sum) + kernels::kRoundMagic;
      row[b ^ flip] = static_cast<std::uint8_t>(
          (std::bit_cast<std::int32_t>(magic) - kernels::kRoundMagicBits) ^ flip);
    }
  }
  return table;
}

// Whether 256 bytes are the same; by words, since WebAssembly's memcmp goes by bytes.
bool same_bytes(const void* a, const std::uint8_t* b) {
  std::array<std::uint64_t, 32> words;
  std::array<std::uint64_t, 32> others;
  std::memcpy(words.data(), a, 256);
  std::memcpy(others.data(), b, 256);
  std::uint64_t different = 0;
  for (std::size_t i = 0; i < words.size(); ++i) different |= words[i] ^ others[i];
  return different == 0;
}

// Whether the kernel gives the table's code for every pair.
template <class T>
bool equals_table(const kernels::QAddKernel& kernel, const kernels::QAddParams& params,
                  const PairTable& table) {
  std::array<T, 256> a;
  std::array<T, 256> b;
  std::array<T, 256> out;
  for (std::size_t i = 0; i < 256; ++i) b[i] = static_cast<T>(static_cast<std::uint8_t>(i));
  for (std::size_t i = 0; i < 256; ++i) {
    std::memset(a.data(), static_cast<int>(i), a.size());
    kernel.run<T>()(a.data(), b.data(), out.data(), 256, params);
    if (!same_bytes(out.data(), table.data() + i * 256)) return false;
  }
  return true;
}

// Constants with which the kernel gives exactly those sums: the fastest of its forms that does,
// with `fixed` as computed or a few last places away, which moves the ties. Proved for all 65,536
// pairs; nothing where none is found.
std::optional<kernels::QAddParams> exact_params(const kernels::QAddKernel& kernel, bool int8,
                                                const kernels::QAddParams& computed,
                                                const kernels::QAddParams& fused,
                                                const PairTable& table) {
  const auto equals = int8 ? equals_table<std::int8_t> : equals_table<std::uint8_t>;
  // `form` of params with `fixed` as computed and a few last places beside it.
  constexpr int kSteps = 6;
  const auto exact_near = [&](const auto& form) -> std::optional<kernels::QAddParams> {
    kernels::QAddParams up = computed;
    kernels::QAddParams down = computed;
    for (int i = 0; i <= kSteps; ++i) {
      for (const kernels::QAddParams& params : {up, down}) {
        const std::optional<kernels::QAddParams> made = form(params);
        if (made && equals(kernel, *made, table)) return made;
      }
      up.fixed = std::nextafter(up.fixed, std::numeric_limits<float>::infinity());
      down.fixed = std::nextafter(down.fixed, -std::numeric_limits<float>::infinity());
    }
    return std::nullopt;
  };
  const bool fuses = kernel.level == simd::Level::kRelaxed && kernels::rows_compute_fused_forms();
  for (int attempt = 0; fuses && attempt < kernels::kOneRoundingAttempts; ++attempt) {
    // Its sums are exact, those of the table are floats of up to 255: steps of what these resolve.
    constexpr int kFewSteps = 3;
    constexpr float kStep = 0x1p-18F;
    for (int i = 0; i <= 2 * kFewSteps; ++i) {
      kernels::QAddParams params = computed;
      params.fixed += kStep * static_cast<float>(i % 2 == 0 ? -(i / 2) : i / 2 + 1);
      const auto made = kernels::with_one_rounding(params, int8 ? -128 : 0, attempt);
      if (made && equals(kernel, *made, table)) return made;
    }
  }
  for (int attempt = 0; attempt < kernels::kUnitAttempts; ++attempt) {
    const std::optional<kernels::QAddParams> units = kernels::in_units(computed, attempt);
    const auto form = [&](const kernels::QAddParams& params) {
      std::optional<kernels::QAddParams> moved = units;
      if (moved) moved->fixed = params.fixed;
      return moved;
    };
    if (const auto exact = exact_near(form)) return exact;
  }
  const auto separate = [](const kernels::QAddParams& params) { return std::optional(params); };
  if (const auto exact = exact_near(separate)) return exact;
  if (fuses && equals(kernel, fused, table)) return fused;
  return std::nullopt;
}

// What the codes stand for.
std::array<float, 256> reals_of(const Value& value) {
  std::array<float, 256> reals;
  for (std::size_t i = 0; i < 256; ++i) {
    const auto byte = static_cast<std::uint8_t>(i);
    reals[i] =
        value.dtype == DType::kInt8
            ? kernels::dequantize_value<std::int8_t>(static_cast<std::int8_t>(byte), grid_of(value))
            : kernels::dequantize_value<std::uint8_t>(byte, grid_of(value));
  }
  return reals;
}
// Their codes again.
void to_codes(const float* reals, std::uint8_t* codes, std::size_t n, DType dtype,
              kernels::Grid grid) {
  for (std::size_t i = 0; i < n; ++i) {
    codes[i] = static_cast<std::uint8_t>(
        dtype == DType::kInt8 ? kernels::quantize_value<std::int8_t>(reals[i], grid)
                              : kernels::quantize_value<std::uint8_t>(reals[i], grid));
  }
}

// op(a, b) of each pair of codes, as the float operator gives it.
PairTable pair_table(const PrepareContext& context, Binary op) {
  const std::array<float, 256> a = reals_of(context.input(0));
  const std::array<float, 256> b = reals_of(context.input(1));
  const Value& out = context.output();
  const kernels::BinaryFn run = kernels::binary_kernel(op, context.policy()).run;
  PairTable table(256 * 256);
  for (std::size_t i = 0; i < 256; ++i) {
    std::array<float, 256> row;
    row.fill(a[i]);
    run(row.data(), b.data(), row.data(), row.size());
    to_codes(row.data(), table.data() + i * 256, row.size(), out.dtype, grid_of(out));
  }
  return table;
}

using Byte = std::uint8_t;
using BytesFn = std::function<void(const Byte*, const Byte*, Byte*, std::size_t)>;

// Calls `run` for the runs of two tensors of codes; int8 ones are taken as bytes.
Step bytes_step(const PrepareContext& context, BytesFn run) {
  BroadcastPlan plan = plan_of(context.input(0), context.input(1), context.output());
  Step step;
  if (plan.outer == 1 && plan.a_step == 1 && plan.b_step == 1) {
    step = step_in_pieces(
        "", plan.inner,
        [run = std::move(run)](const StepArgs& args, std::int64_t from, std::size_t n) {
          run(in<Byte>(args, 0) + from, in<Byte>(args, 1) + from, out<Byte>(args) + from, n);
        });
  } else {
    step.blocks = blocks_of(plan);
    step.run = [plan = std::move(plan), run = std::move(run)](const StepArgs& args, int first,
                                                              int last) {
      kernels::run_broadcast(plan, in<Byte>(args, 0), in<Byte>(args, 1), out<Byte>(args), first,
                             last, run);
    };
  }
  if (same_place(context.input(0), context.output())) step.in_place = 0;
  return step;
}

// A table of pairs as a step; where one operand is a constant number, a table of the other's codes.
Step table_step(const PrepareContext& context, PairTable table) {
  for (std::size_t scalar = 0; scalar < 2; ++scalar) {
    if (!is_scalar(context, scalar)) continue;
    const std::size_t fixed = byte_of(*context.constant(scalar));
    kernels::Table256 codes{};
    for (std::size_t i = 0; i < 256; ++i)
      codes[i] = table[scalar == 0 ? fixed * 256 + i : i * 256 + fixed];
    return lut_step(context, codes, 1 - scalar);
  }
  Step step = bytes_step(
      context, [table = std::move(table)](const Byte* x, const Byte* y, Byte* to, std::size_t n) {
        for (std::size_t i = 0; i < n; ++i) to[i] = table[std::size_t{x[i]} * 256 + y[i]];
      });
  step.kernel = "binary/table";
  step.packed_bytes = 256 * 256;
  return step;
}

// PRelu: a table of the codes for each slope.
Result<Step> slope_tables(const PrepareContext& context) {
  const Value& x = context.input(0);
  const Value& y = context.output();
  const Tensor* slope = context.constant(1);
  if (slope == nullptr || slope->dtype() != DType::kFloat32)
    return context.error(Code::kUnsupportedAttribute, "Its slope is computed by the network.",
                         "Use a constant.");
  std::vector<kernels::Table256> tables;
  for (const float s : slope->span<float>()) {
    std::array<float, 256> reals = reals_of(x);
    for (float& real : reals) real = real < 0 ? s * real : real;
    tables.emplace_back();
    to_codes(reals.data(), tables.back().data(), reals.size(), y.dtype, grid_of(y));
  }
  if (tables.size() == 1) return lut_step(context, tables[0], 0);
  std::vector<std::int32_t> numbers(tables.size());
  std::iota(numbers.begin(), numbers.end(), 0);
  BroadcastPlan plan = plan_of(x, context.input(1), y);
  Step step;
  step.kernel = "prelu/table";
  step.packed_bytes = tables.size() * sizeof tables[0];
  step.blocks = blocks_of(plan);
  step.in_place = 0;
  step.run = [plan = std::move(plan), tables = std::move(tables), numbers = std::move(numbers)](
                 const StepArgs& args, int first, int last) {
    kernels::run_broadcast(
        plan, in<Byte>(args, 0), numbers.data(), out<Byte>(args), first, last,
        [&](const Byte* codes, const std::int32_t* number, Byte* to, std::size_t n) {
          for (std::size_t i = 0; i < n; ++i)
            to[i] = tables[static_cast<std::size_t>(number[i])][codes[i]];
        });
  };
  return step;
}

// Sum of one or more than two: real numbers are added up one input after the other.
Step sum_of_many(const PrepareContext& context) {
  const Value& result = context.output();
  struct Input {
    BroadcastPlan plan;
    std::array<float, 256> reals;
  };
  const auto inputs = std::make_shared<std::vector<Input>>();
  for (std::size_t i = 0; i < context.input_count(); ++i)
    inputs->push_back({plan_of(result, context.input(i), result), reals_of(context.input(i))});
  const auto n = static_cast<std::size_t>(result.shape->elements());
  Step step;
  step.kernel = "sum/table";
  step.scratch_bytes = n * sizeof(float);
  step.run = [inputs = std::move(inputs), n, dtype = result.dtype, grid = grid_of(result)](
                 const StepArgs& args, int, int) {
    auto* sums = reinterpret_cast<float*>(args.scratch);
    std::fill_n(sums, n, 0.0F);
    for (std::size_t k = 0; k < inputs->size(); ++k) {
      const auto& [plan, reals] = (*inputs)[k];
      kernels::run_broadcast(
          plan, static_cast<const float*>(sums), in<Byte>(args, k), sums, 0, plan.outer,
          [&real_of = reals](const float* sum, const Byte* codes, float* to, std::size_t count) {
            for (std::size_t i = 0; i < count; ++i) to[i] = sum[i] + real_of[codes[i]];
          });
    }
    to_codes(sums, out<Byte>(args), n, dtype, grid);
  };
  return step;
}

// The row of a table of kernels, with its constants.
template <class Kernel, class Params>
Step kernel_step(const PrepareContext& context, const Kernel& kernel, const Params& params) {
  const bool int8 = context.output().dtype == DType::kInt8;
  Step step = bytes_step(
      context, [&kernel, params, int8](const Byte* x, const Byte* y, Byte* to, std::size_t n) {
        using Code = std::int8_t;
        if (int8) {
          kernel.s8(reinterpret_cast<const Code*>(x), reinterpret_cast<const Code*>(y),
                    reinterpret_cast<Code*>(to), n, params);
        } else {
          kernel.u8(x, y, to, n, params);
        }
      });
  step.kernel = kernel.name;
  return step;
}

Result<Step> prepare_codes(const PrepareContext& context, Binary op) {
  const std::size_t inputs = context.input_count();
  for (std::size_t i = 0; i < (op == Binary::kPrelu ? 1 : inputs); ++i)
    OCTAVO_CHECK_OK(check_codes(context, context.input(i)));
  OCTAVO_CHECK_OK(check_codes(context, context.output()));
  if (op == Binary::kPrelu) return slope_tables(context);
  if (inputs != 2) {
    if (op == Binary::kAdd) return sum_of_many(context);
    return needs_dtype(context, context.input(0));
  }
  const Value& result = context.output();
  const CodeBounds bounds = code_bounds(context.attrs(), result);
  const bool int8 = result.dtype == DType::kInt8;
  const kernels::Grid a = grid_of(context.input(0));
  const kernels::Grid b = grid_of(context.input(1));
  if (op == Binary::kMul) {
    kernels::QMulParams params =
        kernels::make_qmul_params(a, b, grid_of(result), bounds.lo, bounds.hi);
    params.moved = form_shift(context.attrs());
    const kernels::QMulKernel& mul = kernels::best_row(kernels::qmul_kernels(), context.policy());
    return kernel_step(context, mul, params);
  }
  if (context.node().op == "Add") {
    for (std::size_t i = 0; i < 2; ++i) {
      if (is_scalar(context, i)) return constant_sum(context, i, bounds);
    }
  }
  // ONNX Runtime has no integer Sum.
  PairTable table = context.node().op == "Add"
                        ? sum_table(unsigned_params(context, 0, 1, bounds), flip_of(result))
                        : pair_table(context, op);
  if (op == Binary::kAdd || op == Binary::kSub) {
    const kernels::QAddKernel& add = kernels::best_row(kernels::qadd_kernels(), context.policy());
    kernels::Grid other = b;
    if (op == Binary::kSub) other.scale = -b.scale;  // as make_qsub_params
    const kernels::Grid out = grid_of(result);
    if (const auto exact = exact_params(
            add, int8, kernels::make_qadd_params(a, other, out, bounds.lo, bounds.hi),
            kernels::make_fused_qadd_params(a, other, out, bounds.lo, bounds.hi, int8 ? -128 : 0),
            table))
      return kernel_step(context, add, *exact);
  }
  return table_step(context, std::move(table));
}

Binary function_of(const Node& node) {
  if (node.op == "Sum") return Binary::kAdd;
  return kernels::find_binary(node.op).value_or(Binary::kAdd);  // find_op() led here by such a name
}

Result<Step> prepare_binary(const PrepareContext& context) {
  const Binary op = function_of(context.node());
  const DType dtype = context.input(0).dtype;
  if (dtype == DType::kFloat32) {
    if (op == Binary::kMod && context.attrs().get_int("fmod", 0) == 0)
      return context.error(Code::kInvalidModel, "fmod = 0 is for integers.",
                           "Set fmod = 1 for floats.");
    return prepare_float(context, op);
  }
  // Bytes without a scale are plain numbers.
  if (is_quantized_code(dtype) && (context.input(0).quant || context.output().quant))
    return prepare_codes(context, op);
  if (dtype == DType::kBool || load_integer(dtype) == nullptr)
    return needs_dtype(context, context.input(0));
  return prepare_integer(context, op);
}

constexpr AttrDef kModAttrs[] = {{"fmod", AttrType::kInt}};
constexpr AttrDef kAddAttrs[] = {kActivationAttrs[0], kActivationAttrs[1], kActivationAttrs[2]};

bool constant_divisor(const Graph& graph, const Node& node) {
  return graph.value(node.input(1)).is_constant();
}
// More slopes than channels have would be more tables than they save.
bool few_slopes(const Graph& graph, const Node& node) {
  const auto& slope = graph.value(node.input(1)).constant;
  return slope && slope->dtype() == DType::kFloat32 && slope->elements() <= 4096;
}

constexpr std::array kDefs{
    OpDef{"Add", "", 14, 2, 2, 1, 1, kAddAttrs, LayoutRule::kFollow, QuantRule::kCompute,
          infer_binary, prepare_binary, nullptr, "broadcasting"},
    OpDef{"Div",
          "",
          14,
          2,
          2,
          1,
          1,
          {},
          LayoutRule::kFollow,
          QuantRule::kCompute,
          infer_binary,
          prepare_binary,
          constant_divisor,
          "broadcasting; int8 with a constant divisor"},
    OpDef{"Max",
          "",
          13,
          1,
          -1,
          1,
          1,
          {},
          LayoutRule::kFollow,
          QuantRule::kFloat,
          infer_binary,
          prepare_binary,
          nullptr,
          ""},
    OpDef{"Min",
          "",
          13,
          1,
          -1,
          1,
          1,
          {},
          LayoutRule::kFollow,
          QuantRule::kFloat,
          infer_binary,
          prepare_binary,
          nullptr,
          ""},
    OpDef{"Mod", "", 13, 2, 2, 1, 1, kModAttrs, LayoutRule::kFollow, QuantRule::kFloat,
          infer_binary, prepare_binary, nullptr, "broadcasting"},
    OpDef{"Mul",
          "",
          14,
          2,
          2,
          1,
          1,
          {},
          LayoutRule::kFollow,
          QuantRule::kCompute,
          infer_binary,
          prepare_binary,
          nullptr,
          "broadcasting"},
    OpDef{"PRelu",
          "",
          16,
          2,
          2,
          1,
          1,
          {},
          LayoutRule::kFollow,
          QuantRule::kCompute,
          infer_prelu,
          prepare_binary,
          few_slopes,
          "int8 with constant slopes"},
    OpDef{"Pow",
          "",
          15,
          2,
          2,
          1,
          1,
          {},
          LayoutRule::kFollow,
          QuantRule::kFloat,
          infer_binary,
          prepare_binary,
          nullptr,
          ""},
    OpDef{"Sub",
          "",
          14,
          2,
          2,
          1,
          1,
          {},
          LayoutRule::kFollow,
          QuantRule::kCompute,
          infer_binary,
          prepare_binary,
          nullptr,
          "broadcasting"},
    OpDef{"Sum",
          "",
          13,
          1,
          -1,
          1,
          1,
          {},
          LayoutRule::kFollow,
          QuantRule::kCompute,
          infer_binary,
          prepare_binary,
          nullptr,
          "broadcasting"},
};

}  // namespace

extern const std::span<const OpDef> kBinaries;
const std::span<const OpDef> kBinaries = kDefs;

}  // namespace octavo::ops
