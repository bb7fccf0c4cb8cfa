#include "quantize/sensitivity.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <utility>

#include "ops/op.h"
#include "passes/qdq.h"
#include "quantize/model.h"

namespace octavo::quantize {

namespace {

bool is_grid_node(const Node& node) {
  return passes::is_quantize(node) || passes::is_dequantize(node);
}

// One node of a QDQ graph as a graph of its own: float inputs, the Q and DQ before it, the node,
// the Q and DQ behind it.
class Excerpt {
 public:
  explicit Excerpt(const Graph& from) : from_(from), uses_(from) {}

  Graph graph(const Node& node) {
    Node copy = node;
    for (ValueId& id : copy.inputs) id = read(id);
    for (ValueId& id : copy.outputs) id = copied(id);
    made_.nodes.push_back(copy);
    for (const ValueId id : node.outputs) {
      if (id != kNoValue) made_.outputs.push_back(behind(id));
    }
    return std::move(made_);
  }

 private:
  ValueId copied(ValueId id) {
    if (id == kNoValue) return id;
    const auto [place, is_new] = ids_.emplace(id, kNoValue);
    if (is_new) place->second = made_.add_value(from_.value(id));
    return place->second;
  }
  void copy_node(const Node& node) {
    Node copy = node;
    for (ValueId& id : copy.inputs) id = copied(id);
    for (ValueId& id : copy.outputs) id = copied(id);
    made_.nodes.push_back(std::move(copy));
  }
  ValueId read(ValueId id) {
    if (id == kNoValue || ids_.contains(id)) return copied(id);
    const ValueId made = copied(id);
    if (from_.value(id).is_constant()) return made;
    const auto producer = uses_.producer_of(id);
    if (producer && is_grid_node(from_.node(*producer))) {
      read(from_.node(*producer).inputs[0]);
      copy_node(from_.node(*producer));
    } else {
      made_.inputs.push_back(made);
    }
    return made;
  }
  // The value that others read in the place of `id`.
  ValueId behind(ValueId id) {
    for (const NodeId reader : uses_.readers_of(id)) {
      const Node& node = from_.node(reader);
      if (!is_grid_node(node)) continue;
      copy_node(node);
      return passes::is_quantize(node) ? behind(node.outputs[0]) : copied(node.outputs[0]);
    }
    return copied(id);
  }

  const Graph& from_;
  Uses uses_;
  Graph made_;
  std::map<ValueId, ValueId> ids_;  // theirs -> ours
};

// A quantized layer by itself, and which values of the float network it reads and makes.
struct Layer {
  runtime::Session session;
  std::vector<ValueId> inputs, outputs;
  std::size_t row;  // of the results
};

struct FloatStep {
  ops::Step step;
  std::optional<Layer> layer;  // the node's quantized form
};

// By value: whether a variant of the network has another one than the float network.
using Flags = std::vector<std::uint8_t>;

}  // namespace

struct Sensitivity::Impl {
  Graph graph;  // float, prepared
  std::vector<FloatStep> steps;
  std::span<const std::vector<std::vector<std::byte>>> samples;
  std::vector<LayerSensitivity> results;
  std::size_t sample = 0, next = 0;  // next: the node
  std::size_t nodes_run = 0;
  Tensor scratch;
  std::vector<Tensor> base;  // the float network's values on this sample
  // Those of variants. What lies behind `next` belongs to the variant that is run just then, so
  // both use the same memory.
  std::vector<Tensor> altered;
  Flags in_sequence;  // all layers before `next` are quantized
  Flags changed;      // the layer at hand is, too, or alone

  Status add_layers(const Graph& qdq, std::span<const std::string> layers,
                    const kernels::Policy& policy);
  const Tensor& read(const Flags* flags, ValueId id) const;
  std::byte* write(Flags* flags, ValueId id);
  void run(std::size_t node, Flags* flags);
  void run_float_network();
  void run_layer(Layer& layer, const Flags* from, Flags& to);
  void run_rest();
  void add_error(ErrorSums& sums) const;
  bool touches(const Node& node, const Flags& flags) const;
};

Sensitivity::Sensitivity(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Sensitivity::Sensitivity(Sensitivity&&) noexcept = default;
Sensitivity& Sensitivity::operator=(Sensitivity&&) noexcept = default;
Sensitivity::~Sensitivity() = default;

Result<Sensitivity> Sensitivity::create(
    const Graph& qdq, const Graph& reference, std::span<const std::string> layers,
    std::span<const std::vector<std::vector<std::byte>>> samples, const passes::InputShapes& shapes,
    const kernels::Policy& policy) {
  auto impl = std::make_unique<Impl>();
  impl->samples = samples;
  impl->graph = Graph(reference);
  Graph& graph = impl->graph;
  OCTAVO_CHECK_OK(passes::fix_shapes(graph, shapes));
  passes::PassContext ignored;
  OCTAVO_CHECK_OK(passes::prepare_for_session(graph, {}, ignored));
  std::size_t scratch_bytes = 0;
  for (const Node& node : graph.nodes) {
    const ops::OpDef* op = ops::find_op(node);
    if (op == nullptr)
      return Error{Code::kUnsupportedOp, "An operator is not known.", describe(node), "", {}};
    OCTAVO_TRY(ops::Step step, op->prepare(ops::PrepareContext(graph, node, policy)));
    scratch_bytes = std::max(scratch_bytes, step.scratch_bytes);
    impl->steps.push_back({std::move(step), std::nullopt});
  }
  impl->scratch = Tensor::make(DType::kUint8, Shape{static_cast<std::int64_t>(scratch_bytes + 64)});
  impl->base.resize(graph.values.size());
  impl->altered.resize(graph.values.size());
  OCTAVO_CHECK_OK(impl->add_layers(qdq, layers, policy));
  return Sensitivity(std::move(impl));
}

Status Sensitivity::Impl::add_layers(const Graph& qdq, std::span<const std::string> layers,
                                     const kernels::Policy& policy) {
  // The float network's value of a name, where it is one of those that are run through.
  const auto find = [this](const std::string& name) -> std::optional<ValueId> {
    for (std::size_t i = 0; i < graph.values.size(); ++i) {
      if (graph.values[i].name == name && graph.values[i].dtype == DType::kFloat32)
        return static_cast<ValueId>(i);
    }
    return std::nullopt;
  };

  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const std::string& name = graph.nodes[i].name;
    const auto quantized = std::find_if(qdq.nodes.begin(), qdq.nodes.end(),
                                        [&](const Node& node) { return node.name == name; });
    if (std::find(layers.begin(), layers.end(), name) == layers.end() ||
        quantized == qdq.nodes.end())
      continue;
    Graph excerpt = Excerpt(qdq).graph(*quantized);
    std::vector<ValueId> inputs;
    std::vector<ValueId> outputs;
    for (const ValueId id : excerpt.inputs) {
      const auto value = find(excerpt.value(id).name);
      if (!value) break;
      excerpt.value(id).shape = graph.value(*value).shape;
      inputs.push_back(*value);
    }
    // The node's own: what bears the name may be a copy in another layout.
    for (const ValueId id : graph.nodes[i].outputs) {
      if (id != kNoValue && graph.value(id).dtype == DType::kFloat32) outputs.push_back(id);
    }
    // Something that the float session's passes took away cannot be put in its place.
    if (inputs.size() != excerpt.inputs.size() || outputs.size() != excerpt.outputs.size())
      continue;
    runtime::SessionOptions options;
    options.policy = policy;
    OCTAVO_TRY(runtime::Session session,
               create_session(Model::from_graph(std::move(excerpt)), {}, options));
    steps[i].layer.emplace(
        Layer{std::move(session), std::move(inputs), std::move(outputs), results.size()});
    results.push_back({name, graph.nodes[i].op, {}, {}});
  }
  return ok_status();
}

// ---- running ----

// A value of the variant that `flags` describe; of the float network without.
const Tensor& Sensitivity::Impl::read(const Flags* flags, ValueId id) const {
  const auto i = static_cast<std::size_t>(id);
  if (graph.value(id).constant) return *graph.value(id).constant;
  return flags != nullptr && (*flags)[i] != 0 ? altered[i] : base[i];
}

std::byte* Sensitivity::Impl::write(Flags* flags, ValueId id) {
  const auto i = static_cast<std::size_t>(id);
  Tensor& tensor = (flags == nullptr ? base : altered)[i];
  if (tensor.data() == nullptr)
    tensor = Tensor::make(graph.value(id).dtype, *graph.value(id).shape);
  if (flags != nullptr) (*flags)[i] = 1;
  return tensor.mutable_data();
}

void Sensitivity::Impl::run(std::size_t node, Flags* flags) {
  std::vector<const std::byte*> in;
  std::vector<std::byte*> out;
  for (const ValueId id : graph.nodes[node].inputs)
    in.push_back(id == kNoValue ? nullptr : read(flags, id).data());
  for (const ValueId id : graph.nodes[node].outputs)
    out.push_back(id == kNoValue ? nullptr : write(flags, id));
  const auto misfit = reinterpret_cast<std::uintptr_t>(scratch.data()) % 64;
  std::byte* aligned = scratch.mutable_data() + (misfit == 0 ? 0 : 64 - misfit);
  const ops::Step& step = steps[node].step;
  if (step.blocks > 0) step.run({in, out, aligned}, 0, step.blocks);
  ++nodes_run;
}

void Sensitivity::Impl::run_float_network() {
  in_sequence.assign(graph.values.size(), 0);
  for (std::size_t k = 0; k < graph.inputs.size(); ++k) {
    const std::vector<std::byte>& bytes = samples[sample][k];
    std::byte* to = write(nullptr, graph.inputs[k]);
    std::memcpy(to, bytes.data(), std::min(read(nullptr, graph.inputs[k]).bytes(), bytes.size()));
  }
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) run(i, nullptr);
}

void Sensitivity::Impl::run_layer(Layer& layer, const Flags* from, Flags& to) {
  for (std::size_t k = 0; k < layer.inputs.size(); ++k) {
    const Value& value = graph.value(layer.inputs[k]);
    const std::vector<float> reals =
        to_row_major(read(from, layer.inputs[k]).span<float>(), *value.shape, value.layout);
    const std::span<std::byte> place = layer.session.input(k);
    std::memcpy(place.data(), reals.data(), std::min(place.size(), reals.size() * sizeof(float)));
  }
  layer.session.run();
  for (std::size_t k = 0; k < layer.outputs.size(); ++k) {
    const Value& value = graph.value(layer.outputs[k]);
    const std::vector<float> reals = from_row_major(
        read_real(layer.session, layer.session.graph().outputs[k]), *value.shape, value.layout);
    std::memcpy(write(&to, layer.outputs[k]), reals.data(), reals.size() * sizeof(float));
  }
}

bool Sensitivity::Impl::touches(const Node& node, const Flags& flags) const {
  return std::any_of(node.inputs.begin(), node.inputs.end(), [&](ValueId id) {
    return id != kNoValue && flags[static_cast<std::size_t>(id)] != 0;
  });
}

// Everything behind node `next` that changed values reach.
void Sensitivity::Impl::run_rest() {
  for (std::size_t i = next + 1; i < graph.nodes.size(); ++i) {
    if (touches(graph.nodes[i], changed)) run(i, &changed);
  }
}

void Sensitivity::Impl::add_error(ErrorSums& sums) const {
  for (const ValueId id : graph.outputs) {
    if (graph.value(id).dtype == DType::kFloat32)
      sums.add(read(nullptr, id).span<float>(), read(&changed, id).span<float>());
  }
}

std::size_t Sensitivity::steps() const { return impl_->steps.size() * impl_->samples.size(); }
std::size_t Sensitivity::nodes_run() const { return impl_->nodes_run; }
const std::vector<LayerSensitivity>& Sensitivity::layers() const { return impl_->results; }

bool Sensitivity::step() {
  Impl& impl = *impl_;
  if (impl.results.empty() || impl.sample == impl.samples.size()) return false;
  if (impl.next == 0) impl.run_float_network();
  const Node& node = impl.graph.nodes[impl.next];
  FloatStep& at = impl.steps[impl.next];
  if (at.layer) {
    LayerSensitivity& result = impl.results[at.layer->row];
    impl.changed.assign(impl.graph.values.size(), 0);
    impl.run_layer(*at.layer, nullptr, impl.changed);
    impl.run_rest();
    impl.add_error(result.alone);

    impl.run_layer(*at.layer, &impl.in_sequence, impl.in_sequence);
    impl.changed = impl.in_sequence;
    impl.run_rest();
    impl.add_error(result.sequence);
  } else if (impl.touches(node, impl.in_sequence)) {
    impl.run(impl.next, &impl.in_sequence);
  }
  if (++impl.next < impl.graph.nodes.size()) return true;
  impl.next = 0;
  return ++impl.sample < impl.samples.size();
}

}  // namespace octavo::quantize
