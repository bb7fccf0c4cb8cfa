#include "quantize/refine.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <utility>

#include "base/repeat.h"
#include "base/text.h"
#include "kernels/moments/moments.h"
#include "kernels/statistics/statistics.h"
#include "ops/op.h"
#include "passes/qdq.h"
#include "passes/weights.h"
#include "quantize/measure.h"

namespace octavo::quantize {

namespace {

// Wider windows would take seconds a node, and more samples than there are.
constexpr std::size_t kWidest = 1024;
constexpr float kDamping = 0.01F;
// One sweep is enough where codes are free; a pair's limit moves with every change of the other.
constexpr int kPairRounds = 2;

template <class G>  // a graph, const or not
auto find_node(G& graph, const std::string& name) {
  const auto found = std::find_if(graph.nodes.begin(), graph.nodes.end(),
                                  [&](const Node& node) { return node.name == name; });
  return found == graph.nodes.end() ? nullptr : &*found;
}

// The windows of a node's input, in all samples.
class Windows {
 public:
  // `samples` are the bytes of the value `input`.
  Windows(const Patches& patches, const Value& input, std::vector<const std::byte*> samples)
      : patches_(patches), input_(input), samples_(std::move(samples)) {
    for (std::size_t s = 0; s < samples_.size(); ++s) patches_.append_places(s, places_);
  }

  std::size_t count() const { return samples_.size() * patches_.sampled(); }
  bool are_codes() const { return input_.dtype != DType::kFloat32; }

  // Which of the input's channels, and where they are among the columns of sums: column t *
  // tap_stride + c is channel first + c at tap t.
  struct Slice {
    std::size_t first, channels, tap_stride, columns;
  };
  // Of codes less their zero point (kernels/moments): sums of columns, and their second moments,
  // not centred, of all pairs of columns or of the taps of each channel.
  enum class Moments { kNone, kDense, kLanes };
  struct Sums {
    std::vector<std::int32_t> columns, moments;
  };
  Sums sums(const Slice& slice, Moments wanted) const;

  // Of floats: sums of all columns; the slice's columns, each less its mean.
  std::vector<double> float_sums() const;
  std::vector<float> centred(const Slice& slice, const std::vector<double>& means) const;

 private:
  // The tap of a window; null outside of the image.
  const std::byte* at(std::size_t window, std::size_t tap) const {
    if (window >= count()) return nullptr;
    const std::ptrdiff_t place = places_[window * patches_.taps() + tap];
    if (place == Patches::kOutside) return nullptr;
    return samples_[window / patches_.sampled()] +
           static_cast<std::size_t>(place) * dtype_size(input_.dtype);
  }

  const Patches& patches_;
  const Value& input_;
  std::vector<const std::byte*> samples_;
  std::vector<std::ptrdiff_t> places_;  // by sample, window, tap
};

// So much of the windows is in the cache while their products are summed.
constexpr std::size_t kBlockBytes = std::size_t{256} << 10;

Windows::Sums Windows::sums(const Slice& slice, Moments wanted) const {
  const kernels::MomentsKernel& kernel = kernels::moments();
  const std::size_t taps = patches_.taps();
  const std::size_t columns = slice.columns;
  Sums out;
  out.columns.assign(columns, 0);
  if (wanted == Moments::kDense) out.moments.assign(columns * columns, 0);
  if (wanted == Moments::kLanes) out.moments.assign(taps * taps * slice.tap_stride, 0);
  const std::size_t block = std::clamp<std::size_t>(kBlockBytes / (4 * columns), 1, 64);
  std::vector<std::int16_t> pairs(2 * block * columns);  // columns of no channel stay zero
  for (std::size_t first = 0; first < count(); first += 2 * block) {
    const std::size_t n = std::min(block, (count() - first + 1) / 2);
    for (std::size_t p = 0; p < n; ++p) {
      for (std::size_t t = 0; t < taps; ++t) {
        const auto row = [&](std::size_t window) -> const std::uint8_t* {
          const std::byte* tap = at(window, t);
          return tap == nullptr ? nullptr
                                : reinterpret_cast<const std::uint8_t*>(tap) + slice.first;
        };
        kernel.pair_codes(row(first + 2 * p), row(first + 2 * p + 1), slice.channels,
                          input_.dtype == DType::kInt8, input_.quant->zero_point[0],
                          pairs.data() + 2 * (p * columns + t * slice.tap_stride));
      }
    }
    kernel.add_columns(pairs.data(), n, columns, out.columns.data());
    if (wanted == Moments::kDense) kernel.add_dense(pairs.data(), n, columns, out.moments.data());
    if (wanted == Moments::kLanes)
      kernel.add_lanes(pairs.data(), n, taps, slice.tap_stride, out.moments.data());
  }
  return out;
}

// Adds the rows of one sample to the sums of their columns.
void add_float_rows(const Patches& patches, std::span<const std::ptrdiff_t> places, const float* x,
                    std::vector<std::ptrdiff_t>& inside, std::vector<double>& sums) {
  for (std::size_t t = 0; t < patches.taps(); ++t) {
    inside.clear();
    for (std::size_t at = t; at < places.size(); at += patches.taps()) {
      if (places[at] != Patches::kOutside) inside.push_back(places[at]);
    }
    kernels::statistics().sum_rows(x, inside, patches.channels(),
                                   sums.data() + t * patches.channels());
  }
}

std::vector<double> Windows::float_sums() const {
  std::vector<double> out(patches_.width(), 0.0);
  std::vector<std::ptrdiff_t> inside;
  const std::size_t each = patches_.sampled() * patches_.taps();
  for (std::size_t s = 0; s < samples_.size(); ++s)
    add_float_rows(patches_, std::span(places_).subspan(s * each, each),
                   reinterpret_cast<const float*>(samples_[s]), inside, out);
  return out;
}

std::vector<float> Windows::centred(const Slice& slice, const std::vector<double>& means) const {
  std::vector<float> out;
  out.reserve(count() * patches_.taps() * slice.channels);
  for (std::size_t window = 0; window < count(); ++window) {
    for (std::size_t t = 0; t < patches_.taps(); ++t) {
      const auto* row = reinterpret_cast<const float*>(at(window, t));
      for (std::size_t c = slice.first; c < slice.first + slice.channels; ++c)
        out.push_back((row == nullptr ? 0 : row[c]) -
                      static_cast<float>(means[t * patches_.channels() + c]));
    }
  }
  return out;
}

// Coordinate descent on e' M e, e = codes - real, with the gradient M e at hand.
class Descent {
 public:
  // `moments` is k x k, damped; `gradient` is scratch.
  Descent(std::span<const float> real, std::span<float> codes, const std::vector<float>& moments,
          std::vector<float>& gradient)
      : codes_(codes), moments_(moments), gradient_(gradient) {
    gradient_.assign(codes.size(), 0.0F);
    for (std::size_t i = 0; i < codes.size(); ++i) {
      if (const float error = codes[i] - real[i]; error != 0) add_row(i, error);
    }
  }

  // Each code to where the sum is least, within what its pair's leaves it.
  void sweep(float largest, std::size_t segment) {
    const std::size_t k = codes_.size();
    for (std::size_t i = 0; i < k; ++i) {
      const float best = codes_[i] - gradient_[i] / moment(i, i);
      const std::size_t other = passes::pair_of(i, segment, k);
      const auto [low, high] = other == i ? passes::CodeLimits{-largest, largest}
                                          : passes::limits_beside(codes_[other], largest);
      move_to(i, std::clamp(std::nearbyint(best), low, high));
    }
  }

  // What one code of a pair at its limit gives, the other takes: neither could move by itself.
  void exchange(float largest, std::size_t segment) {
    const std::size_t k = codes_.size();
    for (std::size_t i = 0; i < k; ++i) {
      const std::size_t other = passes::pair_of(i, segment, k);
      if (other <= i || std::fabs(codes_[i] + codes_[other]) < passes::kPairLimit) continue;
      const float sum = codes_[i] + codes_[other];
      const float curvature = moment(i, i) + moment(other, other) - 2 * moment(i, other);
      const float best = codes_[i] - (gradient_[i] - gradient_[other]) / curvature;
      const float low = sum < 0 ? -largest : sum - largest;
      const float high = sum < 0 ? sum + largest : largest;
      const float code = std::clamp(std::nearbyint(best), low, high);
      if (!std::isfinite(code)) continue;
      move_to(i, code);
      move_to(other, sum - code);
    }
  }

 private:
  float moment(std::size_t i, std::size_t j) const { return moments_[i * codes_.size() + j]; }
  void add_row(std::size_t i, float factor) {
    kernels::moments().add_scaled(gradient_.data(), moments_.data() + i * codes_.size(), factor,
                                  codes_.size());
  }
  void move_to(std::size_t i, float code) {
    if (code == codes_[i] || !std::isfinite(code)) return;
    add_row(i, code - codes_[i]);
    codes_[i] = code;
  }

  std::span<float> codes_;
  const std::vector<float>& moments_;
  std::vector<float>& gradient_;
};

}  // namespace

// ---- the float network's means ----

WindowMeans::WindowMeans(const Graph& graph) : readers_(graph.values.size()) {
  for (const Node& node : graph.nodes) {
    auto patches = Patches::of(graph, node);
    if (!patches) continue;
    readers_[static_cast<std::size_t>(node.inputs[0])].push_back(node.name);
    entries_.emplace(node.name, Entry{graph.value(node.inputs[0]).name, *patches,
                                      std::vector<double>(patches->width(), 0.0)});
  }
}

bool WindowMeans::carry_over(const WindowMeans& before, const Graph& graph,
                             const std::map<std::string, std::vector<int>>& exponent,
                             const std::map<std::string, std::vector<float>>& shift) {
  auto entries = entries_;
  for (auto& [name, entry] : entries) {
    const auto known = before.entries_.find(name);
    const Node* node = find_node(graph, name);
    if (known == before.entries_.end() || node == nullptr ||
        known->second.sums.size() != entry.sums.size())
      return false;
    // The session may have it in another layout, under a name that is made of this one.
    const std::string& input = graph.value(node->inputs[0]).name;
    if (!entry.input.starts_with(input)) return false;
    entry.sums = known->second.sums;
    entry.count = known->second.count;
    const std::size_t channels = entry.patches.channels();
    if (const auto changed = exponent.find(input); changed != exponent.end()) {
      if (changed->second.size() != channels) return false;
      for (std::size_t i = 0; i < entry.sums.size(); ++i)
        entry.sums[i] = std::ldexp(entry.sums[i], changed->second[i % channels]);
    }
    if (const auto lost = shift.find(input); lost != shift.end()) {
      if (lost->second.size() != channels) return false;
      for (std::size_t i = 0; i < entry.sums.size(); ++i)
        entry.sums[i] -=
            static_cast<double>(entry.count) * static_cast<double>(lost->second[i % channels]);
    }
  }
  entries_ = std::move(entries);
  return true;
}

void WindowMeans::observe(ValueId id, std::span<const std::byte> bytes, std::size_t sample) {
  for (const std::string& name : readers_[static_cast<std::size_t>(id)]) {
    Entry& entry = entries_.at(name);
    places_.clear();
    entry.patches.append_places(sample, places_);
    add_float_rows(entry.patches, places_, reinterpret_cast<const float*>(bytes.data()), inside_,
                   entry.sums);
    entry.count += entry.patches.sampled();
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
  std::span<const std::vector<std::vector<std::byte>>> kept;  // by sample, by input
  std::vector<std::vector<Tensor>> memory;                    // by value, by sample
  std::vector<std::size_t> last_use;  // by value: the node that reads it last
  std::size_t next = 0;
  Fits* fits = nullptr;
  std::vector<std::uint64_t> prints;  // by value: a hash of what it depends on; only with `fits`
  std::size_t fitted = 0;

  std::uint64_t print_of(const Node& node);
  std::uint64_t peak_bytes() const;
  void refine(Node& node);
  std::optional<std::size_t> input_number(ValueId id) const;
  std::vector<const std::byte*> values_of(ValueId id) const;
  // The mean window of the node's input, as real numbers, and what is rounded by its second
  // moments.
  struct Rounding {
    std::span<const float> scale;
    const Tensor& real;
    std::size_t segment;  // whose pairs of weights stay safe; 1: there are none
    Tensor& codes;
  };
  std::vector<double> mean_window(const Patches& patches, const Value& input,
                                  const Windows& windows, const Rounding* rounding) const;
  // One group's weights, by its moments, which are damped here.
  void round_group(const Patches& patches, std::size_t group, std::vector<float>& moments,
                   const Rounding& rounding) const;
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
  impl->kept = samples;
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
  return Refinement(std::move(impl));
}

// What step() holds at most: values from where they are made to where they are read last, and what
// a node is fitted by.
std::uint64_t Refinement::Impl::peak_bytes() const {
  std::vector<bool> alive(lowered.values.size(), false);
  const std::uint64_t samples = kept.size();
  std::uint64_t one = 0;  // bytes of a sample
  // Changes what is alive; the answer is by how much.
  const auto set = [&](ValueId id, bool now) -> std::uint64_t {
    if (id == kNoValue || lowered.value(id).is_constant() || input_number(id)) return 0;
    const auto index = static_cast<std::size_t>(id);
    if (alive[index] == now) return 0;
    alive[index] = now;
    const Value& value = lowered.value(id);
    return static_cast<std::uint64_t>(value.shape->elements()) * dtype_size(value.dtype);
  };
  std::uint64_t peak = 0;
  for (std::size_t i = 0; i < lowered.nodes.size(); ++i) {
    const Node& node = lowered.nodes[i];
    std::uint64_t windows = 0;
    if (const auto patches = Patches::of(lowered, node)) {
      const std::uint64_t places = samples * patches->sampled() * patches->taps();
      const std::uint64_t width = patches->channels() / patches->groups() * patches->taps();
      const std::uint64_t moments = width > kWidest ? 0 : width * width;
      const bool floats = lowered.value(node.inputs[0]).dtype == DType::kFloat32;
      windows = places * sizeof(std::ptrdiff_t) + patches->width() * 3 * sizeof(double) +
                2 * moments * patches->groups() * sizeof(float) +
                (floats ? places * width / patches->taps() * sizeof(float) : 2 * kBlockBytes);
    }
    peak = std::max(peak, samples * one + windows);
    const std::uint64_t before = one;
    std::uint64_t made = 0;
    std::uint64_t gone = 0;
    for (const ValueId id : node.outputs) made += set(id, true);
    for (const auto* ids : {&node.inputs, &node.outputs}) {
      for (const ValueId id : *ids) {
        if (id != kNoValue && last_use[static_cast<std::size_t>(id)] <= i) gone += set(id, false);
      }
    }
    one = before + made - gone;
    // What a sample needs no more is let go before the next sample.
    peak = std::max({peak, samples * before + made, samples * one + gone});
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
  return ++impl.next < impl.lowered.nodes.size();
}

// Which of the graph's inputs a value is.
std::optional<std::size_t> Refinement::Impl::input_number(ValueId id) const {
  const auto found = std::find(lowered.inputs.begin(), lowered.inputs.end(), id);
  if (found == lowered.inputs.end()) return std::nullopt;
  return static_cast<std::size_t>(found - lowered.inputs.begin());
}

// A value's bytes, by sample.
std::vector<const std::byte*> Refinement::Impl::values_of(ValueId id) const {
  const auto number = input_number(id);
  std::vector<const std::byte*> out;
  for (std::size_t s = 0; s < kept.size(); ++s)
    out.push_back(number ? kept[s][*number].data()
                         : memory[static_cast<std::size_t>(id)][s].data());
  return out;
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
  for (std::size_t s = 0; s < kept.size(); ++s) {
    std::vector<const std::byte*> in;
    std::vector<std::byte*> out;
    std::vector<Tensor> given;  // inputs of the graph, with the slack that steps may read
    for (const ValueId id : node.inputs) {
      if (id == kNoValue) {
        in.push_back(nullptr);
        continue;
      }
      const Value& value = lowered.value(id);
      if (value.constant) {
        in.push_back(value.constant->data());
      } else if (const auto number = input_number(id)) {
        const auto& bytes = kept[s][*number];
        Tensor& tensor = given.emplace_back(Tensor::make(value.dtype, *value.shape));
        std::memcpy(tensor.mutable_data(), bytes.data(), std::min(tensor.bytes(), bytes.size()));
        in.push_back(tensor.data());
      } else {
        in.push_back(memory[static_cast<std::size_t>(id)][s].data());
      }
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
    for (const auto* ids : {&node.inputs, &node.outputs}) {
      for (const ValueId id : *ids) {
        // Constants that were added on the way have no memory here.
        if (id == kNoValue || static_cast<std::size_t>(id) >= memory.size() ||
            last_use[static_cast<std::size_t>(id)] > next)
          continue;
        auto& own = memory[static_cast<std::size_t>(id)];
        if (s < own.size()) own[s] = Tensor();
      }
    }
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
    const Value& value = lowered.value(node.inputs[0]);
    const Windows windows(*patches, value, values_of(node.inputs[0]));
    if (windows.count() == 0) return;  // no window, no mean
    std::vector<double> input;
    if (options.rounding) {
      fit.codes = Tensor::make(DType::kInt8, coded.constant->shape());
      std::memcpy(fit.codes.mutable_data(), coded.constant->data(), fit.codes.bytes());
      const Shape& shape = fit.codes.shape();
      const int axis = passes::weight_channel_axis(*target, shape.rank());
      const passes::WeightRows rows = passes::weight_rows(*target, shape, axis);
      const bool pairs = options.pair_safe && lowered.value(node.inputs[1]).dtype == DType::kInt8 &&
                         passes::is_pair_safe(fit.codes, rows);
      const std::size_t segment = pairs ? rows.segment : 1;
      const Rounding rounding{scale, *real, segment, fit.codes};
      input = mean_window(*patches, value, windows, &rounding);
    } else {
      input = mean_window(*patches, value, windows, nullptr);
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

std::vector<double> Refinement::Impl::mean_window(const Patches& patches, const Value& input,
                                                  const Windows& windows,
                                                  const Rounding* rounding) const {
  const std::size_t taps = patches.taps();
  const std::size_t inner = patches.channels() / patches.groups();
  const std::size_t width = inner * taps;
  const auto count = static_cast<double>(windows.count());
  const bool rounds = rounding != nullptr && width <= kWidest && windows.count() >= 2 * width;
  std::vector<double> mean(patches.width(), 0.0);
  std::vector<float> moments(rounds ? width * width : 0);

  if (!windows.are_codes()) {
    mean = windows.float_sums();
    for (double& column : mean) column /= count;
    for (std::size_t g = 0; rounds && g < patches.groups(); ++g) {
      const std::vector<float> rows = windows.centred({g * inner, inner, inner, width}, mean);
      kernels::second_moments(rows.data(), windows.count(), width, moments.data());
      round_group(patches, g, moments, *rounding);
    }
    return mean;
  }

  // Sums of codes are exact; the scale is of no account to second moments.
  const auto scale = static_cast<double>(input.quant->scale[0]);
  const auto centre = [count](std::int32_t product, std::int32_t a, std::int32_t b) {
    return static_cast<float>(static_cast<double>(product) -
                              static_cast<double>(a) * static_cast<double>(b) / count);
  };
  // Groups of one channel are summed side by side.
  const bool lanes = inner == 1;
  const std::size_t slices = lanes ? 1 : patches.groups();
  for (std::size_t g = 0; g < slices; ++g) {
    const std::size_t channels = lanes ? patches.channels() : inner;
    const std::size_t stride = lanes ? (channels + 3) / 4 * 4 : inner;
    const std::size_t columns = lanes ? taps * stride : (width + 7) / 8 * 8;
    const auto wanted = !rounds ? Windows::Moments::kNone
                        : lanes ? Windows::Moments::kLanes
                                : Windows::Moments::kDense;
    const Windows::Sums sums = windows.sums({g * inner, channels, stride, columns}, wanted);
    for (std::size_t t = 0; t < taps; ++t) {
      for (std::size_t c = 0; c < channels; ++c)
        mean[t * patches.channels() + g * inner + c] = scale * sums.columns[t * stride + c] / count;
    }
    if (!rounds) continue;
    for (std::size_t c = 0; c < (lanes ? channels : 1); ++c) {
      const auto column = [&](std::size_t i) { return sums.columns[lanes ? i * stride + c : i]; };
      for (std::size_t i = 0; i < width; ++i) {
        for (std::size_t j = i; j < width; ++j) {
          const std::size_t at = lanes ? (i * taps + j) * stride + c : i * columns + j;
          moments[i * width + j] = moments[j * width + i] =
              centre(sums.moments[at], column(i), column(j));
        }
      }
      round_group(patches, lanes ? c : g, moments, *rounding);
    }
  }
  return mean;
}

void Refinement::Impl::round_group(const Patches& patches, std::size_t group,
                                   std::vector<float>& moments, const Rounding& rounding) const {
  const std::size_t inner = patches.channels() / patches.groups();
  const std::size_t width = inner * patches.taps();
  const std::size_t outputs = patches.outputs() / patches.groups();
  float sum = 0;
  for (std::size_t k = 0; k < width; ++k) sum += moments[k * width + k];
  const float damping = kDamping * sum / static_cast<float>(width);
  if (!(damping > 0) || !std::isfinite(damping)) return;
  for (std::size_t k = 0; k < width; ++k) moments[k * width + k] += damping;
  std::vector<float> wanted(width);
  std::vector<float> chosen(width);
  std::vector<float> gradient;
  const std::span<const float> real = rounding.real.span<float>();
  const std::span<std::int8_t> codes = rounding.codes.mutable_span<std::int8_t>();
  for (std::size_t o = group * outputs; o < (group + 1) * outputs; ++o) {
    for (std::size_t t = 0; t < patches.taps(); ++t) {
      for (std::size_t i = 0; i < inner; ++i) {
        const std::size_t at = patches.weight_index(o, i, t);
        wanted[t * inner + i] = real[at] / rounding.scale[o];
        chosen[t * inner + i] = static_cast<float>(codes[at]);
      }
    }
    Descent descent(wanted, chosen, moments, gradient);
    const auto largest = static_cast<float>(options.largest_code);
    descent.sweep(largest, rounding.segment);
    for (int round = 0; round < kPairRounds && rounding.segment > 1; ++round) {
      descent.exchange(largest, rounding.segment);
      descent.sweep(largest, rounding.segment);
    }
    for (std::size_t t = 0; t < patches.taps(); ++t) {
      for (std::size_t i = 0; i < inner; ++i)
        codes[patches.weight_index(o, i, t)] = static_cast<std::int8_t>(chosen[t * inner + i]);
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
