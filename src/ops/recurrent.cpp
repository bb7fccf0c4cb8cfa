// LSTM, GRU and RNN (ONNX operator specification, opset 14), in float: each sequence of a batch and
// each direction by itself, step by step.
//
// With x the input, h and c the states before, W and R of a gate, b the sum of its two biases:
//
//   RNN   h' = f(W x + R h + b)
//   LSTM  i, o, f = f(W x + R h + b + P c)    (o: P c')    f = 1 - i with input_forget
//         c' = f * c + i * g(W x + R h + b)    h' = o * h(c')
//   GRU   z, r = f(W x + R h + b)    h' = (1 - z) * g(W x + R (r * h) + b) + z * h
//         linear_before_reset: g(W x + r * (R h + b_R) + b_W)
//
// Weights [direction][gate][unit][x], gates in the order i o f c, z r h.
// Sums go over x and its bias, then over h and its.
#include <algorithm>
#include <cmath>
#include <string>

#include "base/text.h"
#include "ops/activation.h"
#include "ops/element.h"

namespace octavo::ops {

namespace {
constexpr AttrDef kAttrs[] = {
    {"activations", AttrType::kStrings},     {"clip", AttrType::kFloat},
    {"direction", AttrType::kString},        {"hidden_size", AttrType::kInt},
    {"input_forget", AttrType::kInt},        {"layout", AttrType::kInt},
    {"linear_before_reset", AttrType::kInt},
};

using Activation = float (*)(float);
float sigmoid(float x) { return 1.0F / (1.0F + std::exp(-x)); }
float hyperbolic(float x) { return std::tanh(x); }
float rectified(float x) { return x < 0 ? 0.0F : x; }

Activation find_activation(std::string_view name) {
  if (name == "Sigmoid") return &sigmoid;
  if (name == "Tanh") return &hyperbolic;
  if (name == "Relu") return &rectified;
  return nullptr;
}

struct Kind {
  std::int64_t gates;
  std::vector<std::string> activations;  // of one direction, where the node names none
};
Kind kind_of(const Node& node) {
  if (node.op == "LSTM") return {4, {"Sigmoid", "Tanh", "Tanh"}};
  if (node.op == "GRU") return {3, {"Sigmoid", "Tanh"}};
  return {1, {"Tanh"}};
}

// Inputs, in order.
enum : std::size_t { kX, kW, kR, kB, kLengths, kH, kC, kP };

std::int64_t directions_of(const Attrs& attrs) {
  return attrs.get_string("direction", "forward") == "bidirectional" ? 2 : 1;
}

Status infer(InferContext& context) {
  OCTAVO_TRY(const Shape x, context.shape(kX));
  OCTAVO_TRY(const Shape r, context.shape(kR));
  const std::int64_t directions = directions_of(context.attrs());
  const std::int64_t gates = kind_of(context.node()).gates;
  const auto wrong = [&](std::string what) {
    return context.error(Code::kShapeMismatch, std::move(what), "Export the model again.");
  };
  if (x.rank() != 3 || r.rank() != 3 || !r.known())
    return wrong(text("Its input ", x.to_string(), " and recurrent weight ", r.to_string(),
                      " need three axes."));
  const std::int64_t hidden = r[2];
  const bool batch_first = context.attrs().get_int("layout", 0) != 0;
  const std::int64_t sequence = x[batch_first ? 1 : 0];
  const std::int64_t batch = x[batch_first ? 0 : 1];
  const Shape states =
      batch_first ? Shape{batch, directions, hidden} : Shape{directions, batch, hidden};
  const struct {
    std::size_t input;
    Shape shape;
  } expected[] = {{kW, {directions, gates * hidden, x[2]}},
                  {kR, {directions, gates * hidden, hidden}},
                  {kB, {directions, 2 * gates * hidden}},
                  {kLengths, {batch}},
                  {kH, states},
                  {kC, states},
                  {kP, {directions, 3 * hidden}}};
  for (const auto& [i, wanted] : expected) {
    if (i >= context.input_count() || !context.has_input(i)) continue;
    OCTAVO_TRY(const Shape given, context.shape(i));
    bool fits = given.rank() == wanted.rank();
    for (int axis = 0; fits && axis < given.rank(); ++axis)
      fits = given[axis] < 0 || wanted[axis] < 0 || given[axis] == wanted[axis];
    if (!fits)
      return wrong(
          text("Input ", i, " has shape ", given.to_string(), ", not ", wanted.to_string(), "."));
  }
  const DType dtype = context.input(kX).dtype;
  OCTAVO_CHECK_OK(set_output_checked(context, 0, dtype,
                                     batch_first ? Shape{batch, sequence, directions, hidden}
                                                 : Shape{sequence, directions, batch, hidden}));
  for (std::size_t i = 1; i < context.output_count(); ++i) context.set_output(i, dtype, states);
  return ok_status();
}

struct Recurrent {
  std::string_view op;
  std::int64_t gates, directions, sequence, batch, width, hidden;
  bool batch_first, backwards, input_forget, linear_before_reset;
  float clip;
  std::vector<Activation> activations;  // of each direction
  bool has[8] = {};

  // The sums of a sequence's step, and its states.
  struct Memory {
    float *sums, *recurrent, *h, *c;
  };

  static float dot(const float* a, const float* b, std::int64_t n, float sum) {
    for (std::int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
    return sum;
  }
  float clipped(float x) const { return clip > 0 ? std::clamp(x, -clip, clip) : x; }
  float activate(std::int64_t direction, std::size_t which, float x) const {
    const std::size_t of_one = activations.size() / static_cast<std::size_t>(directions);
    return activations[static_cast<std::size_t>(direction) * of_one + which](clipped(x));
  }
  std::int64_t state_at(std::int64_t direction, std::int64_t n) const {
    return (batch_first ? n * directions + direction : direction * batch + n) * hidden;
  }

  // Steps [first, last) of a sequence, from the states that `memory` has, from its beginning on
  // those that are given.
  void run_steps(const StepArgs& args, std::int64_t direction, std::int64_t n, std::int64_t first,
                 std::int64_t last, const Memory& memory) const {
    const auto floats = [&](std::size_t i) { return reinterpret_cast<const float*>(args.in[i]); };
    const std::int64_t rows = gates * hidden;
    const float* w = floats(kW) + direction * rows * width;
    const float* r = floats(kR) + direction * rows * hidden;
    const float* bias = has[kB] ? floats(kB) + direction * 2 * rows : nullptr;
    const float* peepholes = has[kP] ? floats(kP) + direction * 3 * hidden : nullptr;
    const std::int64_t at = state_at(direction, n);
    for (std::int64_t j = 0; first == 0 && j < hidden; ++j) {
      memory.h[j] = has[kH] ? floats(kH)[at + j] : 0.0F;
      memory.c[j] = has[kC] ? floats(kC)[at + j] : 0.0F;
    }
    std::int64_t length = sequence;
    if (has[kLengths])
      length = std::clamp<std::int64_t>(reinterpret_cast<const std::int32_t*>(args.in[kLengths])[n],
                                        0, sequence);
    const bool from_end = backwards || direction == 1;
    for (std::int64_t step = first; step < last; ++step) {
      const std::int64_t t = step >= length ? step : from_end ? length - 1 - step : step;
      float* y = args.out[0] == nullptr
                     ? nullptr
                     : reinterpret_cast<float*>(args.out[0]) +
                           (batch_first ? (n * sequence + t) * directions + direction
                                        : (t * directions + direction) * batch + n) *
                               hidden;
      if (step < length) {
        const float* x = floats(kX) + (batch_first ? n * sequence + t : t * batch + n) * width;
        for (std::int64_t row = 0; row < rows; ++row) {
          memory.sums[row] =
              dot(x, w + row * width, width, 0.0F) + (bias != nullptr ? bias[row] : 0.0F);
        }
        advance(direction, r, bias != nullptr ? bias + rows : nullptr, peepholes, memory);
      }
      if (y != nullptr) {
        for (std::int64_t j = 0; j < hidden; ++j) y[j] = step < length ? memory.h[j] : 0.0F;
      }
    }
    if (last < sequence) return;
    const float* states[] = {nullptr, memory.h, memory.c};
    for (std::size_t i = 1; i < args.out.size(); ++i) {
      if (args.out[i] != nullptr)
        std::copy_n(states[i], hidden, reinterpret_cast<float*>(args.out[i]) + at);
    }
  }

  // From one step's sums over x to the next states.
  void advance(std::int64_t direction, const float* r, const float* bias, const float* peepholes,
               const Memory& memory) const {
    const auto recurrent = [&](std::int64_t row, const float* h) {
      return dot(h, r + row * hidden, hidden, 0.0F) + (bias != nullptr ? bias[row] : 0.0F);
    };
    const auto peep = [&](std::int64_t gate, std::int64_t j, float c) {
      return peepholes == nullptr ? 0.0F : peepholes[gate * hidden + j] * c;
    };
    const std::int64_t before = op == "GRU" ? 2 * hidden : gates * hidden;
    for (std::int64_t row = 0; row < before; ++row) memory.sums[row] += recurrent(row, memory.h);
    if (op == "LSTM") {
      for (std::int64_t j = 0; j < hidden; ++j) {
        const float* sums = memory.sums + j;
        float& c = memory.c[j];
        const float i = activate(direction, 0, sums[0] + peep(0, j, c));
        const float f =
            input_forget ? 1.0F - i : activate(direction, 0, sums[2 * hidden] + peep(2, j, c));
        c = f * c + i * activate(direction, 1, sums[3 * hidden]);
        const float o = activate(direction, 0, sums[hidden] + peep(1, j, c));
        memory.h[j] = o * activate(direction, 2, c);
      }
      return;
    }
    if (op == "RNN") {
      for (std::int64_t j = 0; j < hidden; ++j)
        memory.h[j] = activate(direction, 0, memory.sums[j]);
      return;
    }
    float* z = memory.sums;
    float* reset = memory.sums + hidden;
    float* candidate = memory.sums + 2 * hidden;
    for (std::int64_t j = 0; j < 2 * hidden; ++j) z[j] = activate(direction, 0, z[j]);
    for (std::int64_t j = 0; j < hidden; ++j)
      memory.recurrent[j] = linear_before_reset ? memory.h[j] : reset[j] * memory.h[j];
    for (std::int64_t j = 0; j < hidden; ++j) {
      const float sum = recurrent(2 * hidden + j, memory.recurrent);
      candidate[j] =
          activate(direction, 1, candidate[j] + (linear_before_reset ? reset[j] * sum : sum));
    }
    for (std::int64_t j = 0; j < hidden; ++j)
      memory.h[j] = (1.0F - z[j]) * candidate[j] + z[j] * memory.h[j];
  }
};

Result<Step> prepare(const PrepareContext& context) {
  const Attrs& attrs = context.attrs();
  const Kind kind = kind_of(context.node());
  const Shape& x = context.in_shape(kX);
  Recurrent it;
  for (std::size_t i = 0; i < context.input_count(); ++i) {
    it.has[i] = context.has_input(i);
    const DType wanted = i == kLengths ? DType::kInt32 : DType::kFloat32;
    if (it.has[i] && context.input(i).dtype != wanted)
      return context.error(Code::kUnsupportedDtype,
                           text("Input ", i, " is ", dtype_name(context.input(i).dtype), "."),
                           text("Use ", dtype_name(wanted), "."));
  }
  it.op = kind.gates == 4 ? "LSTM" : kind.gates == 3 ? "GRU" : "RNN";
  it.gates = kind.gates;
  it.directions = directions_of(attrs);
  it.batch_first = attrs.get_int("layout", 0) != 0;
  it.sequence = x[it.batch_first ? 1 : 0];
  it.batch = x[it.batch_first ? 0 : 1];
  it.width = x[2];
  it.hidden = context.in_shape(kR)[2];
  const std::string direction = attrs.get_string("direction", "forward");
  if (direction != "forward" && direction != "reverse" && direction != "bidirectional")
    return context.error(Code::kInvalidModel, text("direction = '", direction, "'."),
                         "Use forward, reverse or bidirectional.");
  it.backwards = direction == "reverse";
  it.input_forget = attrs.get_int("input_forget", 0) != 0;
  it.linear_before_reset = attrs.get_int("linear_before_reset", 0) != 0;
  it.clip = attrs.get_float("clip", 0.0F);
  std::vector<std::string> names;
  if (const Attr* given = attrs.find("activations"))
    names = std::get<std::vector<std::string>>(*given);
  if (names.empty()) {
    for (std::int64_t d = 0; d < it.directions; ++d)
      names.insert(names.end(), kind.activations.begin(), kind.activations.end());
  }
  if (names.size() != kind.activations.size() * static_cast<std::size_t>(it.directions))
    return context.error(Code::kInvalidModel, text("It names ", names.size(), " activations."),
                         text("Name ", kind.activations.size(), " for each direction."));
  for (const std::string& name : names) {
    const Activation activation = find_activation(name);
    if (activation == nullptr)
      return context.error(Code::kUnsupportedAttribute,
                           text("The activation ", name, " is not supported."),
                           "Use Sigmoid, Tanh or Relu.");
    it.activations.push_back(activation);
  }
  Step step;
  step.kernel = "recurrent";
  const std::int64_t sequences = it.hidden == 0 ? 0 : it.directions * it.batch;
  const std::int64_t of_step = it.gates * it.hidden * (it.width + it.hidden);
  step.macs = sequences * it.sequence * of_step;
  step.rounds = step.macs;
  // Sequences are independent; one that takes long is cut between its steps.
  constexpr std::int64_t kLongSequence = 1 << 24;
  std::int64_t length = std::max<std::int64_t>(it.sequence, 1);
  if (it.sequence * of_step > kLongSequence)
    length = std::min(length, std::max<std::int64_t>(1, (kLongSequence >> 4) / of_step));
  const std::int64_t pieces = (std::max<std::int64_t>(it.sequence, 1) + length - 1) / length;
  step.ordered = pieces > 1;
  step.blocks = static_cast<int>(sequences * pieces);
  step.scratch_bytes = static_cast<std::size_t>((it.gates + 3) * it.hidden) * sizeof(float);
  step.run = [it = std::move(it), length, pieces](const StepArgs& args, int first, int last) {
    auto* sums = reinterpret_cast<float*>(args.scratch);
    float* recurrent = sums + it.gates * it.hidden;
    const Recurrent::Memory memory{sums, recurrent, recurrent + it.hidden,
                                   recurrent + 2 * it.hidden};
    for (std::int64_t block = first; block < last; ++block) {
      const std::int64_t one = block / pieces;
      const std::int64_t begin = block % pieces * length;
      it.run_steps(args, one / it.batch, one % it.batch, begin,
                   std::min(begin + length, it.sequence), memory);
    }
  };
  return step;
}

constexpr OpDef recurrent(std::string_view name, int most_inputs, int most_outputs) {
  return {name,
          "",
          14,
          3,
          most_inputs,
          0,
          most_outputs,
          kAttrs,
          LayoutRule::kRowMajor,
          QuantRule::kFloat,
          infer,
          prepare,
          nullptr,
          "activations Sigmoid, Tanh and Relu"};
}
constexpr std::array kDefs{recurrent("GRU", 6, 2), recurrent("LSTM", 8, 3), recurrent("RNN", 6, 2)};
}  // namespace

extern const std::span<const OpDef> kRecurrents;
const std::span<const OpDef> kRecurrents = kDefs;

}  // namespace octavo::ops
