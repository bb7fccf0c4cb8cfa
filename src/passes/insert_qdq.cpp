#include "passes/insert_qdq.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "base/repeat.h"
#include "base/text.h"
#include "graph/verify.h"
#include "ops/op.h"
#include "passes/qdq.h"

namespace octavo::passes {

bool glob_matches(std::string_view pattern, std::string_view name) {
  // The last star seen takes one more character whenever the rest does not fit.
  std::size_t p = 0;
  std::size_t n = 0;
  std::size_t star = std::string_view::npos;
  std::size_t resume = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = n;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n])) {
      ++p;
      ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

namespace {

const Tensor* float_constant(const Graph& graph, ValueId id) {
  if (id == kNoValue) return nullptr;
  const Value& value = graph.value(id);
  return value.constant && value.constant->dtype() == DType::kFloat32 ? &*value.constant : nullptr;
}

bool is_batch_norm(const Node& node) {
  return node.op == "BatchNormalization" && node.domain.empty();
}

// Why the node's weights and bias have no integer form, or nothing.
std::string weight_obstacle(const Graph& graph, const Node& node) {
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    const ValueId id = node.inputs[i];
    if (id == kNoValue) continue;
    const InputRole role = input_role(node, i);
    if (role != InputRole::kWeight && role != InputRole::kBias) continue;
    const Tensor* tensor = float_constant(graph, id);
    if (tensor == nullptr)
      return text("its input '", graph.value(id).name, "' is not a float constant");
    if (role == InputRole::kWeight && tensor->shape().rank() < 2)
      return text("its weights have rank ", tensor->shape().rank());
    if (role == InputRole::kBias) {
      const Tensor& weights = *graph.value(node.input(1)).constant;
      const std::int64_t channels =
          weights.shape()[weight_channel_axis(node, weights.shape().rank())];
      if (tensor->elements() != channels && tensor->elements() != 1)
        return text("its bias does not have one element a channel");
    }
  }
  return {};
}

// Have tables on codes, for models that were quantized elsewhere; a quantizer leaves them alone
// because their slope or their jumps make one code's error large (ONNX Runtime leaves most of them
// float too).
constexpr std::string_view kSteep[] = {
    "Acos",    "Acosh", "Asin",  "Atanh",          "Ceil",       "Cos",    "Cosh", "Exp",
    "Floor",   "Log",   "Round", "Sign",           "Reciprocal", "Shrink", "Sin",  "Sinh",
    "Softmax", "Sqrt",  "Tan",   "ThresholdedRelu"};

std::string stays_float(const Graph& graph, const Node& node, const QdqOptions& options) {
  const ops::OpDef* def = ops::find_op(node);
  if (node.domain.empty() &&
      std::find(std::begin(kSteep), std::end(kSteep), node.op) != std::end(kSteep))
    return text("float: 8 bits are too few for ", node.op);
  if (def == nullptr || def->quant == ops::QuantRule::kFloat)
    return text("float: ", node.op, " has no integer form");
  for (const std::string& op : options.exclude_ops) {
    if (op == node.op) return text("float: op type '", op, "' is excluded");
  }
  for (const std::string& pattern : options.exclude_names) {
    if (glob_matches(pattern, node.name)) return text("float: excluded by '", pattern, "'");
  }
  if (is_batch_norm(node) && !options.quantize_batch_norm)
    return "float: asked for by the batchNorm option";
  bool activation = false;
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    const ValueId id = node.inputs[i];
    if (id == kNoValue || input_role(node, i) != InputRole::kData) continue;
    if (graph.value(id).dtype != DType::kFloat32)
      return text("float: it works on ", dtype_name(graph.value(id).dtype), " values");
    activation = activation || !graph.value(id).is_constant();
  }
  if (!activation) return "float: it reads no activation";
  for (const ValueId id : node.outputs) {
    if (id != kNoValue && graph.value(id).dtype != DType::kFloat32)
      return text("float: it makes ", dtype_name(graph.value(id).dtype), " values");
  }
  if (std::string obstacle = weight_obstacle(graph, node); !obstacle.empty())
    return text("float: ", obstacle);
  if (node.op == "Gemm" && node.attrs.get_int("transA", 0) != 0)
    return "float: transA = 1 has no integer form";
  if (is_batch_norm(node) && !batch_norm_affine(graph, node))
    return "float: its parameters are not float constants";
  // Gemm's alpha and beta go into the parameters on the way.
  Node plain = node;
  if (node.op == "Gemm") {
    plain.attrs.erase("alpha");
    plain.attrs.erase("beta");
  }
  if (def->int8 != nullptr && !def->int8(graph, plain))
    return "float: this form of it has no integer kernel";
  return {};
}

// The nodes that make a network's answer from its last features: a product (Gemm, MatMul), what
// pools for it, the elementwise steps behind it, and the Concat that joins several answers: boxes
// in pixels and scores up to 1 on one grid would leave nothing of the scores. In float they cost
// next to nothing, and no answer is rounded to one of 256 values.
class Head {
 public:
  explicit Head(const Graph& graph)
      : graph_(graph),
        uses_(graph),
        inside_(graph.nodes.size(), false),
        past_product_(graph.nodes.size(), false) {
    for (std::size_t i = graph.nodes.size(); i-- > 0;) visit(i);
  }

  enum class Part { kNone, kProduct, kJoin, kOther };
  Part part(std::size_t i) const {
    const Node& node = graph_.nodes[i];
    if (!inside_[i] || moves(node)) return Part::kNone;
    return is_product(node) ? Part::kProduct : joins(node) ? Part::kJoin : Part::kOther;
  }

 private:
  // A product of more weights, or of more rows, would be missed as an integer one.
  static constexpr std::int64_t kMostWeights = std::int64_t{1} << 22;
  static constexpr std::int64_t kMostRows = 16;

  static bool moves(const Node& node) {
    const ops::OpDef* def = ops::find_op(node);
    return def != nullptr && def->quant == ops::QuantRule::kSameGrid;
  }
  static bool pools(const Node& node) {
    return node.op == "GlobalAveragePool" || node.op == "AveragePool";
  }
  static bool joins(const Node& node) { return node.op == "Concat" && node.domain.empty(); }
  static bool is_product(const Node& node) { return node.op == "Gemm" || node.op == "MatMul"; }

  bool small_product(const Node& node) const {
    const Tensor* weights = float_constant(graph_, node.input(1));
    if (weights == nullptr || weights->shape().rank() != 2) return false;
    const auto& out = graph_.value(node.outputs[0]).shape;
    if (weights->elements() > kMostWeights || !out) return false;
    std::int64_t rows = 1;
    for (int d = 0; d + 1 < out->rank(); ++d) {
      if ((*out)[d] > kMostRows || ((*out)[d] < 0 && d > 0)) return false;
      if ((*out)[d] > 0) rows *= (*out)[d];  // a batch that is not known counts as one
    }
    return rows <= kMostRows;
  }
  // Reads one activation and works on each element of it.
  bool elementwise(const Node& node) const {
    if (is_product(node) || pools(node) || input_role(node, 1) == InputRole::kWeight ||
        is_batch_norm(node) || node.op == "Concat")
      return false;
    int activations = 0;
    for (const ValueId id : node.inputs)
      activations += id != kNoValue && !graph_.value(id).is_constant() ? 1 : 0;
    return activations == 1;
  }

  void visit(std::size_t i) {
    const Node& node = graph_.nodes[i];
    bool past = false;
    for (const ValueId id : node.outputs) {
      if (id == kNoValue) continue;
      for (const NodeId reader : uses_.readers_of(id)) {
        const auto r = static_cast<std::size_t>(reader);
        if (!inside_[r]) return;
        past = past || past_product_[r];
      }
      if (uses_.readers_of(id).empty() && !graph_.is_output(id)) return;
    }
    if (is_product(node)) {
      if (past || !small_product(node)) return;
      past = true;
    } else if (pools(node)) {
      past = true;
    } else if (joins(node)) {
      if (past) return;  // it joins features, not answers
    } else if (!moves(node) && (past || !elementwise(node))) {
      return;
    }
    inside_[i] = true;
    past_product_[i] = past;
  }

  const Graph& graph_;
  const Uses uses_;
  std::vector<bool> inside_;        // by node
  std::vector<bool> past_product_;  // by node: it, or something behind it, multiplies or pools
};

// What only a Concat on codes reads is made on its grid: one rounding instead of two, and nothing
// to convert. By value: that Concat's output, or kNoValue.
std::vector<ValueId> shared_grids(const Graph& graph, const QdqPlan& plan) {
  std::vector<ValueId> shared(graph.values.size(), kNoValue);
  const Uses uses(graph);
  for (std::size_t i = graph.nodes.size(); i-- > 0;) {
    const Node& node = graph.nodes[i];
    if (!plan.nodes[i].int8 || node.op != "Concat" || !node.domain.empty()) continue;
    const ValueId outer = shared[static_cast<std::size_t>(node.outputs[0])];
    for (const ValueId id : node.inputs) {
      const auto producer = uses.producer_of(id);
      if (!producer || graph.is_output(id) || uses.readers_of(id).size() != 1) continue;
      const ops::OpDef* def = ops::find_op(graph.node(*producer));
      if (!plan.nodes[static_cast<std::size_t>(*producer)].int8 || def == nullptr ||
          def->quant != ops::QuantRule::kCompute)
        continue;
      shared[static_cast<std::size_t>(id)] = outer != kNoValue ? outer : node.outputs[0];
    }
  }
  return shared;
}

}  // namespace

QdqPlan plan_qdq(const Graph& graph, const QdqOptions& options) {
  QdqPlan plan;
  plan.nodes.resize(graph.nodes.size());
  const Uses uses(graph);
  const auto same_grid = [&](const Node& node) {
    const ops::OpDef* def = ops::find_op(node);
    return def != nullptr && def->quant == ops::QuantRule::kSameGrid;
  };
  std::optional<Head> head;
  if (options.float_head) head.emplace(graph);
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    std::string reason = stays_float(graph, node, options);
    const Head::Part part = head && reason.empty() ? head->part(i) : Head::Part::kNone;
    if (part == Head::Part::kProduct) {
      plan.nodes[i].weights_only = true;
      reason = "float: its result is the network's answer; int8 weights";
    } else if (part == Head::Part::kJoin) {
      reason = "float: it joins answers, which keep grids of their own";
    } else if (part == Head::Part::kOther) {
      reason = "float: it makes the network's answer from its last features";
    }
    if (reason.empty() && options.observable) {
      const auto missing = [&](ValueId id) {
        return id != kNoValue && !graph.value(id).is_constant() &&
               !options.observable(graph.value(id).name);
      };
      const bool ranges_known =
          std::none_of(node.outputs.begin(), node.outputs.end(), missing) &&
          (node.inputs.empty() || !missing(node.inputs[0])) &&
          (input_role(node, 1) != InputRole::kData || !missing(node.input(1)));
      if (!ranges_known) reason = "float: it works on values that do not depend on the samples";
    }
    plan.nodes[i].int8 = reason.empty();
    plan.nodes[i].reason = std::move(reason);
  }

  // A node that only moves values is int8 where its input has codes anyway, or where codes are
  // wanted behind it.
  std::vector<bool> wanted(graph.values.size(), false);  // read as codes
  for (std::size_t i = graph.nodes.size(); i-- > 0;) {
    const Node& node = graph.nodes[i];
    if (!plan.nodes[i].int8) continue;
    const bool moves = same_grid(node);
    const bool behind = std::any_of(node.outputs.begin(), node.outputs.end(), [&](ValueId id) {
      return id != kNoValue && wanted[static_cast<std::size_t>(id)];
    });
    if (moves && !behind) continue;
    for (std::size_t k = 0; k < node.inputs.size(); ++k) {
      if (node.inputs[k] != kNoValue && input_role(node, k) == InputRole::kData)
        wanted[static_cast<std::size_t>(node.inputs[k])] = true;
    }
  }
  plan.grid_of.assign(graph.values.size(), kNoValue);
  const std::vector<ValueId> shared = options.share_grids
                                          ? shared_grids(graph, plan)
                                          : std::vector<ValueId>(graph.values.size(), kNoValue);
  const auto give_grid = [&](ValueId id) {
    ValueId& grid = plan.grid_of[static_cast<std::size_t>(id)];
    if (grid != kNoValue) return;
    grid = shared[static_cast<std::size_t>(id)];
    if (grid != kNoValue) return;
    grid = id;
    if (!graph.value(id).is_constant()) plan.calibrated.push_back(id);
  };
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    if (!plan.nodes[i].int8) continue;
    const bool moves = same_grid(node);
    if (moves) {
      const auto coded = [&](ValueId id) {
        return plan.grid_of[static_cast<std::size_t>(id)] != kNoValue ||
               wanted[static_cast<std::size_t>(id)];
      };
      if (!coded(node.inputs[0])) {
        plan.nodes[i].int8 = false;
        plan.nodes[i].reason = "float: it moves values between float nodes";
        continue;
      }
    }
    for (std::size_t k = 0; k < node.inputs.size(); ++k) {
      if (node.inputs[k] != kNoValue && input_role(node, k) == InputRole::kData)
        give_grid(node.inputs[k]);
    }
    for (const ValueId id : node.outputs) {
      if (id == kNoValue) continue;
      if (moves) {
        plan.grid_of[static_cast<std::size_t>(id)] =
            plan.grid_of[static_cast<std::size_t>(node.inputs[0])];
      } else {
        give_grid(id);
      }
    }
    plan.nodes[i].reason = moves                 ? "int8: moves codes"
                           : is_batch_norm(node) ? "int8: standalone BatchNorm2d"
                                                 : "int8";
  }
  return plan;
}

namespace {

// The smallest scales with which a bias has codes within 2^30: of a channel without weights, or
// nearly so.
std::vector<float> least_scales(const std::vector<float>& bias, float input_scale,
                                bool per_channel) {
  std::vector<float> least;
  for (const float b : bias) least.push_back(std::fabs(b) / (input_scale * 0x1p30F));
  if (!per_channel && !least.empty()) least = {*std::max_element(least.begin(), least.end())};
  return least;
}

class Inserter {
 public:
  Inserter(Graph& graph, const QdqOptions& options, const QdqPlan& plan,
           const std::map<std::string, calib::Range>& ranges)
      : graph_(graph),
        options_(options),
        plan_(plan),
        ranges_(ranges),
        dequantized_(graph.values.size(), kNoValue) {}

  Status run() {
    OCTAVO_CHECK_OK(choose_grids());
    std::vector<Node> nodes = std::move(graph_.nodes);
    graph_.nodes.clear();
    for (const ValueId id : graph_.inputs) {
      if (grid(id) != kNoValue) add_pair(id, id);
    }
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      Node node = std::move(nodes[i]);
      if (!plan_.nodes[i].int8) {
        // A float node keeps reading what a float node or the caller makes.
        for (ValueId& id : node.inputs) {
          if (id != kNoValue && made_by_int8(id)) id = dequantized_[static_cast<std::size_t>(id)];
        }
        if (plan_.nodes[i].weights_only) quantize_weights_only(node);
        const std::vector<ValueId> outputs = node.outputs;
        graph_.nodes.push_back(std::move(node));
        for (const ValueId id : outputs) {
          if (id != kNoValue && grid(id) != kNoValue) add_pair(id, id);
        }
        continue;
      }
      add_int8(std::move(node));
    }
    return ok_status();
  }

 private:
  ValueId grid(ValueId id) const {
    const auto i = static_cast<std::size_t>(id);
    return i < plan_.grid_of.size() ? plan_.grid_of[i] : kNoValue;
  }
  const calib::ScaleZero& qparams(ValueId id) const { return grids_.at(grid(id)).params; }
  bool made_by_int8(ValueId id) const {
    const auto i = static_cast<std::size_t>(id);
    return i < from_int8_.size() && from_int8_[i];
  }

  Status choose_grids() {
    from_int8_.assign(graph_.values.size(), false);
    const calib::CodeRange codes = calib::code_range(options_.activation, false);
    for (std::size_t i = 0; i < plan_.grid_of.size(); ++i) {
      const ValueId root = plan_.grid_of[i];
      if (root == kNoValue || grids_.count(root) != 0) continue;
      const Value& value = graph_.value(root);
      calib::Range range;
      if (value.constant) {
        for (const float x : value.constant->span<float>())
          range = {std::min(range.min, x), std::max(range.max, x)};
      } else {
        const auto found = ranges_.find(value.name);
        if (found == ranges_.end())
          return Error{Code::kInternal,
                       "A tensor to be quantized was not observed.",
                       describe(value),
                       "",
                       {}};
        range = found->second;
      }
      grids_[root].params = calib::ort_qparams(range, codes, calib::Scheme::kAffine);
    }
    return ok_status();
  }

  ValueId add_constant(const std::string& name, Tensor tensor) {
    return graph_.add_constant(graph_.fresh_value_name(name), std::move(tensor));
  }
  Tensor zero_tensor(std::int32_t zero_point) const {
    return options_.activation == DType::kInt8
               ? Tensor::scalar(static_cast<std::int8_t>(zero_point))
               : Tensor::scalar(static_cast<std::uint8_t>(zero_point));
  }

  // The scale and zero point constants of a grid, made once.
  std::pair<ValueId, ValueId> grid_constants(ValueId root) {
    Grid& entry = grids_.at(root);
    if (entry.scale == kNoValue) {
      const std::string name = graph_.value(root).name;
      entry.scale = add_constant(text(name, "_scale"), Tensor::scalar(entry.params.scale));
      entry.zero_point =
          add_constant(text(name, "_zero_point"), zero_tensor(entry.params.zero_point));
    }
    return {entry.scale, entry.zero_point};
  }

  ValueId add_value(const std::string& name, DType dtype, const std::optional<Shape>& shape) {
    Value value;
    value.name = graph_.fresh_value_name(name);
    value.dtype = dtype;
    value.shape = shape;
    return graph_.add_value(std::move(value));
  }

  // Q and DQ behind `source`; what readers of `planned` take is remembered.
  void add_pair(ValueId source, ValueId planned, ValueId result = kNoValue) {
    const auto [scale, zero_point] = grid_constants(grid(planned));
    const std::string name = graph_.value(planned).name;
    const std::optional<Shape> shape = graph_.value(planned).shape;
    const ValueId codes = add_value(text(name, "_quantized"), options_.activation, shape);
    if (result == kNoValue) result = add_value(text(name, "_dequantized"), DType::kFloat32, shape);
    graph_.nodes.push_back(make_qdq(graph_, "QuantizeLinear", text(name, "_QuantizeLinear"), source,
                                    scale, zero_point, codes));
    graph_.nodes.push_back(make_qdq(graph_, "DequantizeLinear", text(name, "_DequantizeLinear"),
                                    codes, scale, zero_point, result));
    dequantized_[static_cast<std::size_t>(planned)] = result;
  }

  // A constant in an activation's place: its codes and a DQ.
  ValueId constant_as_codes(ValueId id) {
    if (dequantized_[static_cast<std::size_t>(id)] != kNoValue)
      return dequantized_[static_cast<std::size_t>(id)];
    const Tensor tensor = *graph_.value(id).constant;
    const std::string name = graph_.value(id).name;
    const calib::ScaleZero params = qparams(id);
    Tensor codes = Tensor::make(options_.activation, tensor.shape());
    for (std::size_t i = 0; i < tensor.span<float>().size(); ++i) {
      const std::int32_t code = quantize_one(tensor.span<float>()[i], params.scale,
                                             params.zero_point, options_.activation);
      codes.mutable_data()[i] = static_cast<std::byte>(code & 255);
    }
    const auto [scale, zero_point] = grid_constants(grid(id));
    const ValueId coded = add_constant(text(name, "_quantized"), std::move(codes));
    const ValueId result = add_value(text(name, "_dequantized"), DType::kFloat32, tensor.shape());
    graph_.nodes.push_back(make_qdq(graph_, "DequantizeLinear", text(name, "_DequantizeLinear"),
                                    coded, scale, zero_point, result));
    dequantized_[static_cast<std::size_t>(id)] = result;
    return result;
  }

  // A constant int8 or int32 tensor with scales per channel, behind a DQ. The name is a copy: that
  // of a value would move with the values that are added.
  ValueId parameter(std::string name, Tensor codes, const std::vector<float>& scale, int axis) {
    const DType dtype = codes.dtype();
    const Shape shape = codes.shape();
    const bool per_channel = scale.size() > 1;
    const Shape scale_shape =
        per_channel ? Shape{static_cast<std::int64_t>(scale.size())} : Shape{};
    const ValueId coded = add_constant(text(name, "_quantized"), std::move(codes));
    const ValueId scales =
        add_constant(text(name, "_scale"), Tensor::of<float>(scale_shape, scale));
    const ValueId zeros = add_constant(text(name, "_zero_point"), Tensor::make(dtype, scale_shape));
    const ValueId result = add_value(text(name, "_dequantized"), DType::kFloat32, shape);
    Node node = make_qdq(graph_, "DequantizeLinear", text(name, "_DequantizeLinear"), coded, scales,
                         zeros, result);
    if (per_channel) node.attrs.set("axis", static_cast<std::int64_t>(axis));
    graph_.nodes.push_back(std::move(node));
    return result;
  }

  // int8 weights of a node that computes in float.
  void quantize_weights_only(Node& node) {
    const Tensor weights = *graph_.value(node.inputs[1]).constant;
    const int axis = weight_channel_axis(node, weights.shape().rank());
    WeightOptions options = options_.weight;
    options.pair_safe = PairSafe::kNo;  // float products add no pairs
    const QuantizedWeight quantized =
        quantize_weight(weights, weight_rows(node, weights.shape(), axis), options, {});
    node.inputs[1] =
        parameter(graph_.value(node.inputs[1]).name, quantized.codes, quantized.scale, axis);
  }

  void quantize_parameters(Node& node) {
    const Tensor original = *graph_.value(node.inputs[1]).constant;
    const int axis = weight_channel_axis(node, original.shape().rank());
    const auto channels = static_cast<std::size_t>(original.shape()[axis]);
    const float input_scale = qparams(node.inputs[0]).scale;
    std::vector<float> bias;
    if (node.input(2) != kNoValue) {
      bias = to_floats(*graph_.value(node.input(2)).constant);
      repeat_single(bias, channels);
    }
    if (bias.empty() && options_.always_bias && node.op != "MatMul") {
      bias.assign(channels, 0.0F);
      node.inputs.resize(3, kNoValue);
      node.inputs[2] = add_constant(text(node.name, "_bias"),
                                    Tensor::of<float>(Shape{original.shape()[axis]}, bias));
    }
    Tensor weights = original;
    if (node.op == "Gemm") {
      // alpha and beta go into the parameters.
      const float alpha = node.attrs.get_float("alpha", 1);
      const float beta = node.attrs.get_float("beta", 1);
      if (alpha != 1) {
        std::vector<float> values = to_floats(original);
        for (float& value : values) value *= alpha;
        weights = Tensor::of<float>(original.shape(), values);
      }
      for (float& value : bias) value *= beta;
      node.attrs.erase("alpha");
      node.attrs.erase("beta");
    }
    WeightOptions options = options_.weight;
    options.per_channel =
        options.per_channel && (node.op != "MatMul" || original.shape().rank() == 2);
    const auto step = static_cast<double>(input_scale);
    InputPower power{.channels = {}, .noise = step * step / 12};
    if (const auto known = options_.channel_power.find(graph_.value(node.inputs[0]).name);
        known != options_.channel_power.end())
      power.channels = known->second;
    const QuantizedWeight quantized =
        quantize_weight(weights, weight_rows(node, original.shape(), axis), options,
                        least_scales(bias, input_scale, options.per_channel), power);
    const std::string name = graph_.value(node.inputs[1]).name;
    const std::string bias_name = bias.empty() ? std::string() : graph_.value(node.inputs[2]).name;
    node.inputs[1] = parameter(name, quantized.codes, quantized.scale, axis);
    if (bias.empty()) return;

    std::vector<float> bias_scale;
    for (const float scale : quantized.scale) bias_scale.push_back(input_scale * scale);
    Tensor codes = Tensor::make(DType::kInt32, Shape{static_cast<std::int64_t>(channels)});
    for (std::size_t c = 0; c < channels; ++c) {
      const double unit = static_cast<double>(bias_scale[bias_scale.size() == 1 ? 0 : c]);
      codes.mutable_span<std::int32_t>()[c] = static_cast<std::int32_t>(std::clamp(
          std::nearbyint(static_cast<double>(bias[c]) / unit), -2147483648.0, 2147483647.0));
    }
    node.inputs[2] = parameter(bias_name, std::move(codes), bias_scale, 0);
  }

  // Rounds the shift to the bias grid of the depthwise form, and nudges it by the few units that
  // make both forms give the same code for every input code.
  void snap_batch_norm(Node& node, const calib::ScaleZero& x, const calib::ScaleZero& y) {
    const std::optional<BatchNormAffine> affine = batch_norm_affine(graph_, node);
    if (!affine) return;
    std::vector<float> shift(affine->alpha.size());
    for (std::size_t c = 0; c < shift.size(); ++c) {
      const DepthwiseChannel depthwise = depthwise_of(affine->alpha[c], affine->beta[c], x.scale);
      const float unit = x.scale * depthwise.weight_scale;
      const double ratio = static_cast<double>(x.scale) / static_cast<double>(y.scale);
      const auto alpha = static_cast<float>(static_cast<double>(affine->alpha[c]) * ratio);
      const float multiplier = unit / y.scale;
      const auto equal = [&](std::int32_t bias, float real_shift) {
        const auto beta =
            static_cast<float>(static_cast<double>(real_shift) / static_cast<double>(y.scale));
        for (std::int32_t code = 0; code < 256; ++code) {
          const std::int32_t d =
              code - (x.zero_point + (options_.activation == DType::kInt8 ? 128 : 0));
          const float one = std::nearbyint(std::fma(alpha, static_cast<float>(d), beta));
          const float other =
              std::nearbyint(static_cast<float>(depthwise.weight * d + bias) * multiplier);
          if (std::clamp(one, -512.0F, 512.0F) != std::clamp(other, -512.0F, 512.0F)) return false;
        }
        return true;
      };
      constexpr std::int32_t kFarthest = 4;
      std::int32_t chosen = depthwise.bias;
      for (std::int32_t step = 0; step <= 2 * kFarthest; ++step) {
        const std::int32_t nudge = step % 2 == 0 ? -(step / 2) : (step + 1) / 2;
        const std::int32_t bias = depthwise.bias + nudge;
        if (equal(bias,
                  static_cast<float>(static_cast<double>(bias) * static_cast<double>(unit)))) {
          chosen = bias;
          break;
        }
      }
      shift[c] = static_cast<float>(static_cast<double>(chosen) * static_cast<double>(unit));
    }
    const Shape shape{static_cast<std::int64_t>(shift.size())};
    const auto channels = shift.size();
    node.inputs[2] = add_constant(text(graph_.value(node.inputs[2]).name, "_snapped"),
                                  Tensor::of<float>(shape, shift));
    node.inputs[3] = add_constant(text(graph_.value(node.inputs[3]).name, "_zero"),
                                  Tensor::of<float>(shape, std::vector<float>(channels, 0.0F)));
  }

  void add_int8(Node node) {
    const ValueId first = node.inputs[0];
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      const ValueId id = node.inputs[i];
      if (id == kNoValue || input_role(node, i) != InputRole::kData) continue;
      if (i == 0) continue;
      node.inputs[i] = graph_.value(id).is_constant() ? constant_as_codes(id)
                                                      : dequantized_[static_cast<std::size_t>(id)];
    }
    if (input_role(node, 1) == InputRole::kWeight) quantize_parameters(node);
    if (is_batch_norm(node)) snap_batch_norm(node, qparams(first), qparams(node.outputs[0]));
    node.inputs[0] = graph_.value(first).is_constant()
                         ? constant_as_codes(first)
                         : dequantized_[static_cast<std::size_t>(first)];

    std::vector<std::pair<ValueId, ValueId>> made;  // what the node makes now, the planned value
    for (ValueId& id : node.outputs) {
      if (id == kNoValue) continue;
      const ValueId planned = id;
      from_int8_[static_cast<std::size_t>(planned)] = true;
      if (graph_.is_output(planned)) {
        // The graph output keeps its name and becomes the DQ's result.
        const Value& value = graph_.value(planned);
        id = add_value(text(value.name, "_float"), DType::kFloat32, value.shape);
      }
      made.emplace_back(id, planned);
    }
    graph_.nodes.push_back(std::move(node));
    for (const auto& [source, planned] : made)
      add_pair(source, planned, source == planned ? kNoValue : planned);
  }

  struct Grid {
    calib::ScaleZero params;
    ValueId scale = kNoValue, zero_point = kNoValue;
  };
  Graph& graph_;
  const QdqOptions& options_;
  const QdqPlan& plan_;
  const std::map<std::string, calib::Range>& ranges_;
  std::map<ValueId, Grid> grids_;
  std::vector<ValueId> dequantized_;  // by planned value
  std::vector<bool> from_int8_;
};

}  // namespace

Status insert_qdq(Graph& graph, const QdqOptions& options, const QdqPlan& plan,
                  const std::map<std::string, calib::Range>& ranges, PassContext& context) {
  for (std::size_t i = 0; i < graph.nodes.size(); ++i)
    context.notes.push_back(
        {"insert_qdq", graph.nodes[i].name, graph.nodes[i].op, plan.nodes[i].reason});
  OCTAVO_CHECK_OK(Inserter(graph, options, plan, ranges).run());
  graph.compact_values();
  return verify(graph);
}

}  // namespace octavo::passes
