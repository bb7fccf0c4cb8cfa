#include "quantize/refine.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <utility>

#include "base/repeat.h"
#include "base/text.h"
#include "kernels/moments/moments.h"
#include "ops/op.h"
#include "passes/qdq.h"
#include "passes/weights.h"
#include "quantize/measure.h"

namespace octavo::quantize {

namespace {

// Wider windows would take seconds a node, and more samples than there are.
constexpr std::size_t kWidest = 1024;
constexpr float kDamping = 0.01F;

template <class G>  // a graph, const or not
auto find_node(G& graph, const std::string& name) {
  const auto found = std::find_if(graph.nodes.begin(), graph.nodes.end(),
                                  [&](const Node& node) { return node.name == name; });
  return found == graph.nodes.end() ? nullptr : &*found;
}

// One group's columns of rows of windows, each less its mean.
std::vector<float> centred(const std::vector<float>& rows, const std::vector<double>& means,
                           const std::vector<std::size_t>& columns) {
  const std::size_t width = means.size();
  std::vector<float> out;
  out.reserve(rows.size() / width * columns.size());
  for (std::size_t at = 0; at < rows.size(); at += width) {
    for (const std::size_t c : columns) out.push_back(rows[at + c] - static_cast<float>(means[c]));
  }
  return out;
}

// The codes of one output channel, at first rounded to the nearest; `real` in units of the scale.
// `moments` is k x k, damped; pairs of a `segment` (1: none) stay safe; `gradient` is scratch.
void descend(std::span<const float> real, std::span<float> codes, const std::vector<float>& moments,
             float largest, std::size_t segment, std::vector<float>& gradient) {
  const std::size_t k = real.size();
  gradient.assign(k, 0.0F);
  for (std::size_t i = 0; i < k; ++i) {
    const float error = codes[i] - real[i];
    if (error != 0) kernels::add_scaled(gradient.data(), moments.data() + i * k, error, k);
  }
  for (std::size_t i = 0; i < k; ++i) {
    const float best = codes[i] - gradient[i] / moments[i * k + i];
    const std::size_t other = passes::pair_of(i, segment, k);
    const auto [low, high] = other == i ? passes::CodeLimits{-largest, largest}
                                        : passes::limits_beside(codes[other], largest);
    const float code = std::clamp(std::nearbyint(best), low, high);
    if (code == codes[i] || !std::isfinite(code)) continue;
    kernels::add_scaled(gradient.data(), moments.data() + i * k, code - codes[i], k);
    codes[i] = code;
  }
}

}  // namespace

// ---- the float network's means ----

WindowMeans::WindowMeans(const Graph& graph) : readers_(graph.values.size()) {
  for (const Node& node : graph.nodes) {
    auto patches = Patches::of(graph, node);
    if (!patches) continue;
    readers_[static_cast<std::size_t>(node.inputs[0])].push_back(node.name);
    entries_.emplace(node.name, Entry{*patches, std::vector<double>(patches->width(), 0.0)});
  }
}

void WindowMeans::observe(const Graph& graph, ValueId id, std::span<const std::byte> bytes,
                          std::size_t sample) {
  for (const std::string& name : readers_[static_cast<std::size_t>(id)]) {
    Entry& entry = entries_.at(name);
    rows_.clear();
    entry.patches.append(graph.value(id), bytes, sample, rows_);
    const std::size_t width = entry.sums.size();
    for (std::size_t i = 0; i < rows_.size(); ++i)
      entry.sums[i % width] += static_cast<double>(rows_[i]);
    entry.count += rows_.size() / width;
  }
}

std::vector<double> WindowMeans::of(const std::string& node) const {
  const auto found = entries_.find(node);
  if (found == entries_.end() || found->second.count == 0) return {};
  std::vector<double> means = found->second.sums;
  for (double& mean : means) mean /= static_cast<double>(found->second.count);
  return means;
}

// ---- the quantized network ----

struct Refinement::Impl {
  Graph qdq;
  const Graph* reference = nullptr;
  const WindowMeans* means = nullptr;
  RefineOptions options;
  Graph lowered;
  std::vector<std::vector<Tensor>> memory;  // by value, by sample
  std::vector<std::size_t> last_use;        // by value: the node that reads it last
  std::size_t samples = 0;
  std::size_t next = 0;
  Fits* fits = nullptr;
  std::vector<std::uint64_t> prints;  // by value: a hash of what it depends on; only with `fits`
  std::size_t fitted = 0;

  std::uint64_t print_of(const Node& node);
  std::uint64_t peak_bytes() const;
  void refine(Node& node);
  // Pairs of a `segment` of weights stay safe; 1: there are none.
  void round_weights(const Patches& patches, const std::vector<float>& rows,
                     const std::vector<double>& input, const std::vector<float>& scale,
                     const Tensor& real, std::size_t segment, Tensor& codes) const;
  std::vector<double> bias_shift(const Node& node, const Node& target, const Patches& patches,
                                 const std::vector<double>& input, const std::vector<float>& scale,
                                 const Tensor& real, const Tensor& codes) const;
  void shift_bias(Node& node, Node& target, const std::vector<double>& shift);
  Status run(const Node& node);
};

Refinement::Refinement(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Refinement::Refinement(Refinement&&) noexcept = default;
Refinement& Refinement::operator=(Refinement&&) noexcept = default;
Refinement::~Refinement() = default;

Result<Refinement> Refinement::create(const Graph& qdq, const Graph& reference,
                                      const WindowMeans& means,
                                      std::span<const std::vector<std::vector<std::byte>>> samples,
                                      const RefineOptions& options, Fits* fits) {
  auto impl = std::make_unique<Impl>();
  impl->qdq = qdq;
  impl->reference = &reference;
  impl->means = &means;
  impl->options = options;
  impl->lowered = qdq;
  impl->samples = samples.size();
  impl->fits = fits;
  Graph& graph = impl->lowered;
  OCTAVO_CHECK_OK(passes::fix_shapes(graph, options.shapes));
  passes::PassContext ignored;
  OCTAVO_CHECK_OK(passes::prepare_for_session(graph, {}, ignored));
  impl->memory.resize(graph.values.size());
  impl->last_use.assign(graph.values.size(), 0);
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    for (const ValueId id : graph.nodes[i].inputs) {
      if (id != kNoValue) impl->last_use[static_cast<std::size_t>(id)] = i;
    }
  }
  if (options.memory_limit != 0) {
    const std::uint64_t needed = impl->peak_bytes();
    if (needed > options.memory_limit) {
      return Error{
          Code::kLimitExceeded,
          text("Fitting weights to ", samples.size(), " samples takes ", needed, " bytes."),
          "",
          "Raise memoryLimit, or fit nothing: weight.rounding = 'nearest' and "
          "biasCorrection = false.",
          {}};
    }
  }
  for (std::size_t k = 0; k < graph.inputs.size(); ++k) {
    const Value& value = graph.value(graph.inputs[k]);
    for (const auto& sample : samples) {
      Tensor tensor = Tensor::make(value.dtype, *value.shape);
      std::memcpy(tensor.mutable_data(), sample[k].data(),
                  std::min(tensor.bytes(), sample[k].size()));
      impl->memory[static_cast<std::size_t>(graph.inputs[k])].push_back(std::move(tensor));
    }
  }
  return Refinement(std::move(impl));
}

// What step() holds at most: values from where they are made to where they are read last, and a
// node's windows, as they are and centred, with their moments.
std::uint64_t Refinement::Impl::peak_bytes() const {
  std::vector<std::uint64_t> held(lowered.values.size(), 0);
  std::uint64_t sum = 0;
  std::uint64_t peak = 0;
  const auto set = [&](ValueId id, bool alive) {
    if (id == kNoValue || lowered.value(id).is_constant()) return;
    const Value& value = lowered.value(id);
    std::uint64_t& bytes = held[static_cast<std::size_t>(id)];
    sum -= bytes;
    bytes = alive ? static_cast<std::uint64_t>(value.shape->elements()) * dtype_size(value.dtype) *
                        samples
                  : 0;
    sum += bytes;
  };
  for (const ValueId id : lowered.inputs) set(id, true);
  for (std::size_t i = 0; i < lowered.nodes.size(); ++i) {
    const Node& node = lowered.nodes[i];
    for (const ValueId id : node.outputs) set(id, true);
    std::uint64_t windows = 0;
    if (const auto patches = Patches::of(lowered, node)) {
      const std::uint64_t moments = std::min(patches->width(), kWidest);
      windows =
          (2 * samples * patches->sampled() * patches->width() + moments * moments) * sizeof(float);
    }
    peak = std::max(peak, sum + windows);
    for (const auto* ids : {&node.inputs, &node.outputs}) {
      for (const ValueId id : *ids) {
        if (id != kNoValue && last_use[static_cast<std::size_t>(id)] <= i) set(id, false);
      }
    }
  }
  return peak;
}

std::size_t Refinement::nodes() const { return impl_->lowered.nodes.size(); }
std::size_t Refinement::fitted() const { return impl_->fitted; }
const Graph& Refinement::graph() const { return impl_->qdq; }

Result<bool> Refinement::step() {
  Impl& impl = *impl_;
  if (impl.next == impl.lowered.nodes.size()) return false;
  Node& node = impl.lowered.nodes[impl.next];
  impl.refine(node);
  OCTAVO_CHECK_OK(impl.run(node));
  const auto release = [&](ValueId id) {
    // Constants that were added on the way have no memory here.
    if (id != kNoValue && static_cast<std::size_t>(id) < impl.memory.size() &&
        impl.last_use[static_cast<std::size_t>(id)] <= impl.next)
      impl.memory[static_cast<std::size_t>(id)].clear();
  };
  for (const ValueId id : node.inputs) release(id);
  for (const ValueId id : node.outputs) release(id);
  return ++impl.next < impl.lowered.nodes.size();
}

Status Refinement::Impl::run(const Node& node) {
  const ops::OpDef* op = ops::find_op(node);
  if (op == nullptr)
    return Error{Code::kUnsupportedOp, "An operator is not known.", describe(node), "", {}};
  OCTAVO_TRY(const ops::Step step, op->prepare(ops::PrepareContext(lowered, node, options.policy)));
  Tensor scratch =
      Tensor::make(DType::kUint8, Shape{static_cast<std::int64_t>(step.scratch_bytes + 64)});
  const auto misfit = reinterpret_cast<std::uintptr_t>(scratch.data()) % 64;
  std::byte* aligned = scratch.mutable_data() + (misfit == 0 ? 0 : 64 - misfit);
  for (std::size_t s = 0; s < samples; ++s) {
    std::vector<const std::byte*> in;
    std::vector<std::byte*> out;
    for (const ValueId id : node.inputs) {
      if (id == kNoValue) {
        in.push_back(nullptr);
        continue;
      }
      const Value& value = lowered.value(id);
      in.push_back(value.constant ? value.constant->data()
                                  : memory[static_cast<std::size_t>(id)][s].data());
    }
    for (const ValueId id : node.outputs) {
      if (id == kNoValue) {
        out.push_back(nullptr);
        continue;
      }
      const Value& value = lowered.value(id);
      auto& own = memory[static_cast<std::size_t>(id)];
      own.push_back(Tensor::make(value.dtype, *value.shape));
      out.push_back(own.back().mutable_data());
    }
    if (step.blocks > 0) step.run({in, out, aligned}, 0, step.blocks);
  }
  return ok_status();
}

// Of a node with the constants that it has before it is fitted. Its name stands for its attributes:
// what lowering makes of them follows from the grids.
std::uint64_t Refinement::Impl::print_of(const Node& node) {
  std::uint64_t hash = fnv1a(std::as_bytes(std::span(node.name)));
  const auto add = [&hash](const auto& values) {
    hash = fnv1a(std::as_bytes(std::span(values)), hash);
  };
  const auto add_grid = [&](const Value& value) {
    hash = (hash ^ static_cast<std::uint64_t>(value.dtype)) * kFnv1aSeed;
    if (!value.quant) return;
    add(value.quant->scale);
    add(value.quant->zero_point);
  };
  prints.resize(lowered.values.size(), kFnv1aSeed);
  for (const ValueId id : node.inputs) {
    if (id == kNoValue) continue;
    const Value& value = lowered.value(id);
    add_grid(value);
    if (value.constant) hash = fnv1a({value.constant->data(), value.constant->bytes()}, hash);
    add(std::vector{prints[static_cast<std::size_t>(id)]});
  }
  for (const ValueId id : node.outputs) {
    if (id != kNoValue) add_grid(lowered.value(id));
  }
  for (const ValueId id : node.outputs) {
    if (id != kNoValue) prints[static_cast<std::size_t>(id)] = hash;
  }
  return hash;
}

void Refinement::Impl::refine(Node& node) {
  const std::uint64_t print = fits == nullptr ? 0 : print_of(node);
  const auto patches = Patches::of(lowered, node);
  Node* target = find_node(qdq, node.name);
  const Node* original = find_node(*reference, node.name);
  if (!patches || target == nullptr || original == nullptr) return;
  if (original->attrs.get_float("alpha", 1) != 1 || original->attrs.get_float("beta", 1) != 1)
    return;
  // Its weights are codes behind a DequantizeLinear.
  const Uses uses(qdq);
  const auto producer = uses.producer_of(target->inputs[1]);
  if (!producer || !passes::is_dequantize(qdq.node(*producer))) return;
  const Node& dequantize = qdq.node(*producer);
  const auto params = passes::params_of(qdq, dequantize);
  Value& coded = qdq.value(dequantize.inputs[0]);
  const auto& real = reference->value(original->inputs[1]).constant;
  if (!params || !coded.constant || coded.dtype != DType::kInt8 || !real ||
      real->dtype() != DType::kFloat32 || real->elements() != coded.constant->elements())
    return;
  std::vector<float> scale = params->scale;
  repeat_single(scale, patches->outputs());

  Fit fit;
  if (fits != nullptr && fits->contains(print)) {
    fit = fits->at(print);
  } else {
    std::vector<float> rows;
    for (std::size_t s = 0; s < samples; ++s) {
      const Tensor& tensor = memory[static_cast<std::size_t>(node.inputs[0])][s];
      patches->append(lowered.value(node.inputs[0]), {tensor.data(), tensor.bytes()}, s, rows);
    }
    if (rows.empty()) return;  // no window, no mean
    std::vector<double> input(patches->width(), 0.0);
    for (std::size_t i = 0; i < rows.size(); ++i)
      input[i % input.size()] += static_cast<double>(rows[i]);
    for (double& mean : input)
      mean *= static_cast<double>(input.size()) / static_cast<double>(rows.size());
    if (options.rounding) {
      fit.codes = Tensor::make(DType::kInt8, coded.constant->shape());
      std::memcpy(fit.codes.mutable_data(), coded.constant->data(), fit.codes.bytes());
      const bool pairs = options.pair_safe && lowered.value(node.inputs[1]).dtype == DType::kInt8;
      const Shape& shape = fit.codes.shape();
      const int axis = passes::weight_channel_axis(*target, shape.rank());
      const std::size_t segment = pairs ? passes::weight_rows(*target, shape, axis).segment : 1;
      round_weights(*patches, rows, input, scale, *real, segment, fit.codes);
    }
    if (options.bias)
      fit.shift = bias_shift(node, *target, *patches, input, scale, *real,
                             options.rounding ? fit.codes : *coded.constant);
    ++fitted;
    if (fits != nullptr) fits->emplace(print, fit);
  }

  if (options.rounding) {
    coded.constant = fit.codes;
    Value& running = lowered.value(node.inputs[1]);
    if (running.dtype == DType::kInt8) {
      running.constant = fit.codes;
    } else {
      const Result<std::vector<Tensor>> floats = ops::evaluate(qdq, dequantize);
      if (floats.ok()) running.constant = (*floats)[0];
    }
  }
  if (!fit.shift.empty()) shift_bias(node, *target, fit.shift);
}

void Refinement::Impl::round_weights(const Patches& patches, const std::vector<float>& rows,
                                     const std::vector<double>& input,
                                     const std::vector<float>& scale, const Tensor& real,
                                     std::size_t segment, Tensor& codes) const {
  const std::size_t inner = patches.channels() / patches.groups();
  const std::size_t width = inner * patches.taps();
  const std::size_t count = rows.size() / patches.width();
  if (width > kWidest || count < 2 * width) return;
  const std::size_t outputs = patches.outputs() / patches.groups();
  std::vector<std::size_t> columns(width);
  std::vector<float> moments(width * width);
  std::vector<float> wanted(width);
  std::vector<float> chosen(width);
  std::vector<float> gradient;
  const auto largest = static_cast<float>(options.largest_code);
  for (std::size_t g = 0; g < patches.groups(); ++g) {
    for (std::size_t t = 0; t < patches.taps(); ++t) {
      for (std::size_t i = 0; i < inner; ++i)
        columns[t * inner + i] = t * patches.channels() + g * inner + i;
    }
    const std::vector<float> data = centred(rows, input, columns);
    kernels::second_moments(data.data(), count, width, moments.data());
    float sum = 0;
    for (std::size_t k = 0; k < width; ++k) sum += moments[k * width + k];
    const float damping = kDamping * sum / static_cast<float>(width);
    if (!(damping > 0) || !std::isfinite(damping)) continue;
    for (std::size_t k = 0; k < width; ++k) moments[k * width + k] += damping;
    for (std::size_t o = g * outputs; o < (g + 1) * outputs; ++o) {
      for (std::size_t t = 0; t < patches.taps(); ++t) {
        for (std::size_t i = 0; i < inner; ++i) {
          const std::size_t at = patches.weight_index(o, i, t);
          wanted[t * inner + i] = real.span<float>()[at] / scale[o];
          chosen[t * inner + i] = static_cast<float>(codes.span<std::int8_t>()[at]);
        }
      }
      descend(wanted, chosen, moments, largest, segment, gradient);
      for (std::size_t t = 0; t < patches.taps(); ++t) {
        for (std::size_t i = 0; i < inner; ++i)
          codes.mutable_span<std::int8_t>()[patches.weight_index(o, i, t)] =
              static_cast<std::int8_t>(chosen[t * inner + i]);
      }
    }
  }
}

// What the mean of each output channel lacks; empty where that is not known, or there is no bias.
std::vector<double> Refinement::Impl::bias_shift(const Node& node, const Node& target,
                                                 const Patches& patches,
                                                 const std::vector<double>& input,
                                                 const std::vector<float>& scale,
                                                 const Tensor& real, const Tensor& codes) const {
  const std::vector<double> wanted = means->of(node.name);
  if (wanted.size() != input.size() || target.input(2) == kNoValue || node.input(2) == kNoValue)
    return {};
  const std::size_t inner = patches.channels() / patches.groups();
  const std::size_t outputs = patches.outputs() / patches.groups();
  std::vector<double> shift(patches.outputs(), 0.0);
  for (std::size_t o = 0; o < shift.size(); ++o) {
    for (std::size_t t = 0; t < patches.taps(); ++t) {
      for (std::size_t i = 0; i < inner; ++i) {
        const std::size_t at = patches.weight_index(o, i, t);
        const std::size_t c = t * patches.channels() + o / outputs * inner + i;
        const auto code = static_cast<double>(codes.span<std::int8_t>()[at]);
        shift[o] += static_cast<double>(real.span<float>()[at]) * wanted[c] -
                    code * static_cast<double>(scale[o]) * input[c];
      }
    }
  }
  return shift;
}

void Refinement::Impl::shift_bias(Node& node, Node& target, const std::vector<double>& shift) {
  Value& running = lowered.value(node.inputs[2]);
  const Uses uses(qdq);
  const auto producer = uses.producer_of(target.inputs[2]);
  if (!producer) {  // a float bias
    const Value& bias = qdq.value(target.inputs[2]);
    if (!bias.constant || bias.dtype != DType::kFloat32 ||
        bias.constant->elements() != static_cast<std::int64_t>(shift.size()))
      return;
    std::vector<float> values = to_floats(*bias.constant);
    for (std::size_t o = 0; o < shift.size(); ++o)
      values[o] = static_cast<float>(static_cast<double>(values[o]) + shift[o]);
    const Tensor corrected = Tensor::of<float>(bias.constant->shape(), values);
    // Other nodes may read the old one.
    target.inputs[2] = qdq.add_constant(qdq.fresh_value_name(bias.name + "_corrected"), corrected);
    node.inputs[2] =
        lowered.add_constant(lowered.fresh_value_name(running.name + "_corrected"), corrected);
    return;
  }
  const Node& dequantize = qdq.node(*producer);
  const auto params = passes::params_of(qdq, dequantize);
  Value& bias = qdq.value(dequantize.inputs[0]);
  if (!params || !bias.constant || bias.dtype != DType::kInt32 || running.dtype != DType::kInt32 ||
      bias.constant->elements() != static_cast<std::int64_t>(shift.size()))
    return;
  Tensor corrected = Tensor::make(DType::kInt32, bias.constant->shape());
  for (std::size_t o = 0; o < shift.size(); ++o) {
    const double unit = static_cast<double>(params->scale[params->scale.size() == 1 ? 0 : o]);
    const double code = static_cast<double>(bias.constant->span<std::int32_t>()[o]);
    corrected.mutable_span<std::int32_t>()[o] = static_cast<std::int32_t>(
        std::clamp(code + std::nearbyint(shift[o] / unit), -0x1p30, 0x1p30));
  }
  bias.constant = corrected;
  running.constant = corrected;
}

}  // namespace octavo::quantize
