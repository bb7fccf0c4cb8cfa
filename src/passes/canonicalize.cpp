#include "passes/canonicalize.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>

#include "base/limits.h"
#include "base/text.h"
#include "ops/op.h"
#include "ops/window.h"
#include "passes/qoperator.h"

namespace octavo::passes {

namespace {

constexpr std::string_view kFlattened = "octavo_flattened";

class Rewriter {
 public:
  explicit Rewriter(Graph& graph) : graph_(graph) {
    for (const Value& value : graph_.values) value_names_.insert(value.name);
  }

  Status run() {
    check_inputs();
    std::vector<Node> nodes = std::move(graph_.nodes);
    graph_.nodes.clear();
    for (Node& node : nodes) rewrite(std::move(node));
    if (!findings_.empty()) return combine(std::move(findings_));
    spread_grids(graph_);
    return ok_status();
  }

 private:
  using Rewrite = void (Rewriter::*)(Node&);
  struct Row {
    std::string_view op;
    int first, last;  // opsets in which the spelling differs
    Rewrite rewrite;
  };

  void refuse(const Node& node, Code code, std::string what, std::string hint) {
    if (findings_.size() < kMaxFindings)
      findings_.push_back({code, std::move(what), describe(node), std::move(hint), {}});
    node_refused_ = true;
  }
  void refuse_attribute(const Node& node, std::string what, std::string hint = "") {
    refuse(node, Code::kUnsupportedAttribute, std::move(what), std::move(hint));
  }

  ValueId constant(const Node& node, std::string_view role, Tensor tensor) {
    const std::string base = text(node.name, "_", role);
    std::string name = base;
    for (int i = 1; !value_names_.insert(name).second; ++i) name = text(base, "_", i);
    return graph_.add_constant(std::move(name), std::move(tensor));
  }
  ValueId unused_output(const Node& node) {
    Value value;
    value.name = text(node.name, "_unused");
    for (int i = 1; !value_names_.insert(value.name).second; ++i)
      value.name = text(node.name, "_unused_", i);
    return graph_.add_value(std::move(value));
  }
  ValueId ints(const Node& node, std::string_view role, const std::vector<std::int64_t>& values) {
    return constant(node, role,
                    Tensor::of(Shape{static_cast<std::int64_t>(values.size())}, values));
  }
  const Tensor* constant_input(const Node& node, std::size_t i) const {
    const ValueId id = node.input(i);
    if (id == kNoValue) return nullptr;
    const Value& value = graph_.value(id);
    return value.constant ? &*value.constant : nullptr;
  }
  static void set_input(Node& node, std::size_t i, ValueId id) {
    if (node.inputs.size() <= i) node.inputs.resize(i + 1, kNoValue);
    node.inputs[i] = id;
  }
  bool output_used(const Node& node, std::size_t i) {
    if (!readers_) readers_.emplace(count_readers());
    const ValueId id = node.output(i);
    return id != kNoValue && (*readers_)[static_cast<std::size_t>(id)] > 0;
  }
  // Counted over the nodes still to come and those done: both are in place while one is rewritten.
  std::vector<int> count_readers() const { return reader_counts_; }

 public:
  void set_reader_counts(std::vector<int> counts) { reader_counts_ = std::move(counts); }

 private:
  void check_inputs() {
    for (Value& value : graph_.values) {
      if (value.dtype == DType::kFloat16 || value.dtype == DType::kBfloat16)
        value.dtype = DType::kFloat32;
    }
    for (const ValueId id : graph_.inputs) {
      const Value& value = graph_.value(id);
      constexpr std::array kAllowed{DType::kFloat32, DType::kUint8, DType::kInt8, DType::kInt32,
                                    DType::kUint32,  DType::kInt64, DType::kBool};
      if (std::find(kAllowed.begin(), kAllowed.end(), value.dtype) != kAllowed.end()) continue;
      findings_.push_back({Code::kUnsupportedDtype,
                           text("The model takes ", dtype_name(value.dtype), "."),
                           text("input '", value.name, "'"),
                           "float32 is supported.",
                           {}});
    }
  }

  void rewrite(Node node) {
    node_refused_ = false;
    dropped_ = false;
    for (const auto& [name, attr] : node.attrs) {
      if (name.starts_with("octavo_"))
        refuse_attribute(node, text("Attribute '", name, "' is reserved."));
    }
    if (node_refused_) return;
    if (node.domain == "com.microsoft" || node.op.starts_with("QLinear")) {
      if (!quantized_operator(node)) return;
    }
    for (const Row& row : rows()) {
      if (row.op != node.op || !node.domain.empty() || graph_.opset < row.first ||
          graph_.opset > row.last)
        continue;
      if (node.output(0) == kNoValue || (node.op != "Constant" && node.input(0) == kNoValue))
        break;  // check() names it
      (this->*row.rewrite)(node);
    }
    fused_operator(node);
    if (node_refused_ || dropped_) return;
    check(node);
    if (node_refused_) return;
    graph_.nodes.push_back(std::move(node));
    if (graph_.opset >= 18) infer_shape(graph_.nodes.back());
  }

  // From opset 18 on some spellings (Pad's axes, Split's num_outputs) need the shape of what they
  // read, and a file need not state it.
  void infer_shape(const Node& node) {
    for (const ValueId id : node.inputs) {
      if (id != kNoValue &&
          (!graph_.value(id).shape || graph_.value(id).dtype == DType::kUndefined))
        return;
    }
    ops::InferContext context(graph_, node);
    // What is wrong with the node is said when shapes are inferred.
    if (const Status inferred = ops::find_op(node)->infer(context); !inferred.ok()) return;
  }

  // ---- is it supported at all ----

  void check(Node& node) {
    const ops::OpDef* def = ops::find_op(node);
    if (def == nullptr || def->domain == "octavo") {
      refuse(node, Code::kUnsupportedOp,
             text("The operator ", node.domain.empty() ? "" : node.domain + ".", node.op,
                  " (opset ", graph_.opset, ") is not supported."),
             hint_for(node.op));
      return;
    }
    // Whoever has no output that has to be there may lack the first.
    if (def->min_outputs == 0 && !node.outputs.empty() && node.outputs[0] == kNoValue)
      node.outputs[0] = unused_output(node);
    const auto inputs = static_cast<int>(node.inputs.size());
    const auto outputs = static_cast<int>(node.outputs.size());
    bool complete =
        inputs >= def->min_inputs && (def->max_inputs < 0 || inputs <= def->max_inputs) &&
        outputs >= def->min_outputs && (def->max_outputs < 0 || outputs <= def->max_outputs);
    for (int i = 0; complete && i < def->min_inputs; ++i)
      complete = node.input(static_cast<std::size_t>(i)) != kNoValue;
    // Variadic ops have no gaps.
    for (int i = 0; complete && def->max_inputs < 0 && i < inputs; ++i)
      complete = node.input(static_cast<std::size_t>(i)) != kNoValue;
    if (!complete || node.output(0) == kNoValue) {
      refuse(node, Code::kInvalidModel,
             text("It has ", inputs, " inputs and ", outputs, " outputs, which ", node.op,
                  " does not allow."),
             "Export the model again.");
      return;
    }
    for (const auto& [name, attr] : node.attrs) {
      if (name == kFlattened) continue;
      const auto known =
          std::find_if(def->attrs.begin(), def->attrs.end(),
                       [&, &wanted = name](const ops::AttrDef& a) { return a.name == wanted; });
      if (known == def->attrs.end()) {
        refuse_attribute(node, text("Attribute '", name, "' is not supported."),
                         def->attrs.empty() ? text(node.op, " is supported without attributes.")
                                            : text("Supported for ", node.op, ": ",
                                                   join(names_of(def->attrs), ", "), "."));
      } else if (attr.index() != static_cast<std::size_t>(known->type)) {
        refuse(node, Code::kInvalidModel, text("Attribute '", name, "' is of the wrong type."),
               "Export the model again.");
      }
    }
  }

  static std::vector<std::string_view> names_of(std::span<const ops::AttrDef> attrs) {
    std::vector<std::string_view> names;
    for (const ops::AttrDef& attr : attrs) {
      if (!attr.name.starts_with("octavo_")) names.push_back(attr.name);
    }
    return names;
  }

  std::string hint_for(std::string_view op) {
    if (op == "If" || op == "Loop" || op == "Scan")
      return "Export with fixed control flow, or simplify the model with onnxsim.";
    if (supported_.empty()) {
      std::vector<std::string_view> names;
      for (const ops::OpDef& def : ops::all_ops()) {
        if (def.domain.empty()) names.push_back(def.name);
      }
      supported_ = text("Supported: ", join(names, ", "), ".");
    }
    return supported_;
  }

  // ---- spellings ----

  static std::span<const Row> rows() {
    constexpr int kEver = std::numeric_limits<int>::max();
    static constexpr std::array kRows{
        Row{"Constant", 1, kEver, &Rewriter::constant_node},
        Row{"Dropout", 1, kEver, &Rewriter::dropout},
        Row{"Clip", 1, 10, &Rewriter::clip},
        Row{"Pad", 1, 10, &Rewriter::pad_attributes},
        Row{"Pad", 18, kEver, &Rewriter::pad_axes},
        Row{"Slice", 1, 9, &Rewriter::slice},
        Row{"Squeeze", 1, 12, &Rewriter::axes_to_input},
        Row{"Unsqueeze", 1, 12, &Rewriter::axes_to_input},
        Row{"ReduceSum", 1, 12, &Rewriter::axes_to_input},
        Row{"ReduceL1", 18, kEver, &Rewriter::axes_to_attribute},
        Row{"ReduceL2", 18, kEver, &Rewriter::axes_to_attribute},
        Row{"ReduceLogSum", 18, kEver, &Rewriter::axes_to_attribute},
        Row{"ReduceLogSumExp", 18, kEver, &Rewriter::axes_to_attribute},
        Row{"ReduceMax", 18, kEver, &Rewriter::axes_to_attribute},
        Row{"ReduceMean", 18, kEver, &Rewriter::axes_to_attribute},
        Row{"ReduceMin", 18, kEver, &Rewriter::axes_to_attribute},
        Row{"ReduceProd", 18, kEver, &Rewriter::axes_to_attribute},
        Row{"ReduceSumSquare", 18, kEver, &Rewriter::axes_to_attribute},
        Row{"GridSample", 16, 19, &Rewriter::grid_sample},
        Row{"GroupNormalization", 18, 20, &Rewriter::group_normalization},
        Row{"Scatter", 1, kEver, &Rewriter::scatter},
        Row{"TopK", 1, 9, &Rewriter::top_k},
        Row{"Split", 1, 12, &Rewriter::split_attribute},
        Row{"Split", 18, kEver, &Rewriter::split_num_outputs},
        Row{"Upsample", 1, 9, &Rewriter::upsample},
        Row{"Resize", 10, 10, &Rewriter::resize_10},
        Row{"Resize", 11, kEver, &Rewriter::resize},
        Row{"Softmax", 1, 12, &Rewriter::softmax},
        Row{"LogSoftmax", 1, 12, &Rewriter::softmax},
        Row{"BatchNormalization", 1, kEver, &Rewriter::batch_normalization},
        Row{"Cast", 1, kEver, &Rewriter::cast},
        Row{"AveragePool", 19, kEver, &Rewriter::average_pool},
        Row{"Mean", 1, kEver, &Rewriter::mean},
        Row{"MaxPool", 8, kEver, &Rewriter::max_pool},
        Row{"QuantizeLinear", 19, kEver, &Rewriter::quantize_linear},
        Row{"DequantizeLinear", 21, kEver, &Rewriter::quantize_linear},
    };
    return kRows;
  }

  void constant_node(Node& node) {
    std::optional<Tensor> tensor = node.attrs.get_tensor("value");
    const Attr* attr = node.attrs.size() == 1 ? &node.attrs.begin()->second : nullptr;
    if (!tensor && attr != nullptr) {
      if (const auto* f = std::get_if<float>(attr)) tensor = Tensor::scalar(*f);
      if (const auto* i = std::get_if<std::int64_t>(attr)) tensor = Tensor::scalar(*i);
      if (const auto* list = std::get_if<std::vector<float>>(attr))
        tensor = Tensor::of(Shape{static_cast<std::int64_t>(list->size())}, *list);
      if (const auto* list = std::get_if<std::vector<std::int64_t>>(attr))
        tensor = Tensor::of(Shape{static_cast<std::int64_t>(list->size())}, *list);
    }
    if (!tensor || node.output(0) == kNoValue) {
      refuse_attribute(node, "It holds no number or tensor.",
                       "Strings and sparse tensors are not supported.");
      return;
    }
    Value& value = graph_.value(node.outputs[0]);
    value.dtype = tensor->dtype();
    value.shape = tensor->shape();
    value.constant = std::move(tensor);
    dropped_ = true;
  }

  void dropout(Node& node) {
    const Tensor* training = constant_input(node, 2);
    const bool trains = training != nullptr
                            ? training->elements() == 1 && to_int64s(*training)[0] != 0
                            : node.input(2) != kNoValue;
    if (trains || output_used(node, 1)) {
      refuse_attribute(node, trains ? "It drops values, as in training." : "Its mask is used.",
                       "Export the model in evaluation mode (model.eval()).");
      return;
    }
    node.op = "Identity";
    node.inputs.resize(1);
    node.outputs.resize(1);
    node.attrs = {};
  }

  void clip(Node& node) {
    const float none = std::numeric_limits<float>::max();
    set_input(node, 1, constant(node, "min", Tensor::scalar(node.attrs.get_float("min", -none))));
    set_input(node, 2, constant(node, "max", Tensor::scalar(node.attrs.get_float("max", none))));
    node.attrs.erase("min");
    node.attrs.erase("max");
  }

  void pad_attributes(Node& node) {
    set_input(node, 1, ints(node, "pads", node.attrs.get_ints("pads")));
    set_input(node, 2,
              constant(node, "value", Tensor::scalar(node.attrs.get_float("value", 0.0F))));
    node.attrs.erase("pads");
    node.attrs.erase("value");
  }

  // Opset 18 may name the padded axes; 17 wants all of them.
  void pad_axes(Node& node) {
    if (node.inputs.size() < 4) return;
    const Tensor* axes = constant_input(node, 3);
    const Tensor* pads = constant_input(node, 1);
    const Value& x = graph_.value(node.inputs[0]);
    if (axes == nullptr || pads == nullptr || !x.shape) {
      refuse_attribute(
          node, "Its axes are computed by the network, or the rank of its input is not stated.",
          "Simplify the model with onnxsim.");
      return;
    }
    const std::vector<std::int64_t> which = to_int64s(*axes);
    const std::vector<std::int64_t> given = to_int64s(*pads);
    std::vector<std::int64_t> all(static_cast<std::size_t>(2 * x.shape->rank()), 0);
    for (std::size_t i = 0; i < which.size(); ++i) {
      const auto axis = normalize_axis(which[i], x.shape->rank());
      if (!axis || given.size() != 2 * which.size()) {
        refuse(node, Code::kInvalidModel, "Its axes and pads do not fit its input.",
               "Export the model again.");
        return;
      }
      all[static_cast<std::size_t>(*axis)] = given[i];
      all[static_cast<std::size_t>(*axis + x.shape->rank())] = given[i + which.size()];
    }
    node.inputs[1] = ints(node, "pads", all);
    node.inputs.resize(3);
    while (node.inputs.back() == kNoValue) node.inputs.pop_back();
  }

  void slice(Node& node) {
    const std::vector<std::int64_t> starts = node.attrs.get_ints("starts");
    std::vector<std::int64_t> axes = node.attrs.get_ints("axes");
    if (axes.empty()) {
      for (std::size_t i = 0; i < starts.size(); ++i) axes.push_back(static_cast<std::int64_t>(i));
    }
    set_input(node, 1, ints(node, "starts", starts));
    set_input(node, 2, ints(node, "ends", node.attrs.get_ints("ends")));
    set_input(node, 3, ints(node, "axes", axes));
    for (const char* name : {"starts", "ends", "axes"}) node.attrs.erase(name);
  }

  void axes_to_input(Node& node) {
    if (node.attrs.has("axes")) set_input(node, 1, ints(node, "axes", node.attrs.get_ints("axes")));
    node.attrs.erase("axes");
  }

  void axes_to_attribute(Node& node) {
    const bool keeps_all = node.attrs.get_int("noop_with_empty_axes", 0) != 0;
    node.attrs.erase("noop_with_empty_axes");
    std::vector<std::int64_t> axes;
    if (node.inputs.size() > 1) {
      const Tensor* given = constant_input(node, 1);
      if (given == nullptr) {
        refuse_attribute(node, "Its axes are computed by the network.",
                         "Simplify the model with onnxsim.");
        return;
      }
      axes = to_int64s(*given);
      node.inputs.resize(1);
    }
    if (!axes.empty()) {
      node.attrs.set("axes", axes);
    } else if (keeps_all) {
      node.op = "Identity";
      node.attrs = {};
    }
  }

  void grid_sample(Node& node) {
    const std::string mode = node.attrs.get_string("mode", "bilinear");
    node.attrs.set("mode", mode == "bilinear"  ? std::string("linear")
                           : mode == "bicubic" ? std::string("cubic")
                                               : mode);
  }

  // Scale and bias of a group become those of its channels, where both are known.
  void group_normalization(Node& node) {
    const std::optional<Shape> shape = graph_.value(node.inputs[0]).shape;
    const std::int64_t groups = node.attrs.get_int("num_groups", 0);
    for (const std::size_t i : {std::size_t{1}, std::size_t{2}}) {
      const Tensor* given = constant_input(node, i);
      if (given == nullptr || given->dtype() != DType::kFloat32 || given->elements() != groups ||
          !shape || shape->rank() < 2 || groups < 1 || (*shape)[1] % groups != 0)
        continue;
      std::vector<float> each;
      for (const float value : to_floats(*given))
        each.insert(each.end(), static_cast<std::size_t>((*shape)[1] / groups), value);
      node.inputs[i] =
          constant(node, i == 1 ? "scale" : "bias", Tensor::of(Shape{(*shape)[1]}, each));
    }
  }

  // A Sum, then a division.
  void mean(Node& node) {
    const auto count = static_cast<float>(node.inputs.size());
    const ValueId sum = float_value(node, "sum");
    graph_.nodes.push_back({node.name + "_Sum", "Sum", "", std::move(node.inputs), {sum}, {}});
    node.op = "Div";
    node.inputs = {sum, constant(node, "count", Tensor::scalar(count))};
  }

  // What ONNX Runtime's optimizer writes into the models that it saves: a Conv with a sum and an
  // activation behind it, x * Sigmoid(alpha * x), and Gelu before ONNX had one.
  void fused_operator(Node& node) {
    if (node.domain != "com.microsoft" || node.output(0) == kNoValue || node.input(0) == kNoValue)
      return;
    const bool quick = node.op == "QuickGelu";
    const bool conv = node.op == "FusedConv";
    if (quick || conv || node.op == "Gelu") node.domain.clear();
    if (quick) {
      const ValueId x = node.inputs[0];
      const float alpha = node.attrs.get_float("alpha", 1.702F);
      node.op = "Mul";
      node.inputs.push_back(constant(node, "alpha", Tensor::scalar(alpha)));
      node.attrs = {};
      then(node, "Sigmoid");
      then(node, "Mul");
      node.inputs.push_back(x);
    } else if (conv) {
      const std::string activation = node.attrs.get_string("activation", "");
      const std::vector<float> params = node.attrs.get_floats("activation_params");
      const ValueId sum = node.input(3);
      node.op = "Conv";
      node.attrs.erase("activation");
      node.attrs.erase("activation_params");
      if (node.inputs.size() > 3) node.inputs.resize(3);
      if (sum != kNoValue) {
        then(node, "Add");
        node.inputs.push_back(sum);
      }
      if (activation.empty()) return;
      then(node, activation);
      for (std::size_t i = 0; i < params.size(); ++i) {
        if (activation == "Clip") {
          node.inputs.push_back(constant(node, i == 0 ? "min" : "max", Tensor::scalar(params[i])));
        } else {
          node.attrs.set(i == 0 ? "alpha" : "beta", params[i]);
        }
      }
    }
  }
  // Another operator takes the result of what the node is so far, and is the node from there on.
  void then(Node& node, std::string_view op) {
    Node before = node;
    before.outputs = {float_value(node, before.op)};
    before.name = graph_.value(before.outputs[0]).name;
    check(before);
    node.op = op;
    node.inputs = before.outputs;
    node.attrs = {};
    graph_.nodes.push_back(std::move(before));
  }
  void scatter(Node& node) { node.op = "ScatterElements"; }  // its name until opset 10

  void top_k(Node& node) {
    set_input(node, 1, ints(node, "k", {node.attrs.get_int("k", 0)}));
    node.attrs.erase("k");
  }

  void split_attribute(Node& node) {
    if (node.attrs.has("split"))
      set_input(node, 1, ints(node, "split", node.attrs.get_ints("split")));
    node.attrs.erase("split");
  }
  // The number of outputs says it; pieces of different lengths (the last is shorter) are spelled
  // out.
  void split_num_outputs(Node& node) {
    const auto pieces = static_cast<std::int64_t>(node.outputs.size());
    if (!node.attrs.has("num_outputs")) return;
    if (node.attrs.get_int("num_outputs", 0) != pieces) {
      refuse(node, Code::kInvalidModel,
             text("num_outputs = ", node.attrs.get_int("num_outputs", 0), ", but it has ", pieces,
                  " outputs."),
             "Export the model again.");
      return;
    }
    node.attrs.erase("num_outputs");
    const std::optional<Shape>& shape = graph_.value(node.inputs[0]).shape;
    const auto axis =
        shape ? normalize_axis(node.attrs.get_int("axis", 0), shape->rank()) : std::nullopt;
    if (!axis || (*shape)[*axis] < 0 || (*shape)[*axis] % pieces == 0) return;
    const std::int64_t size = (*shape)[*axis];
    const std::int64_t length = (size + pieces - 1) / pieces;
    std::vector<std::int64_t> lengths;
    for (std::int64_t i = 0; i < pieces; ++i)
      lengths.push_back(std::clamp<std::int64_t>(size - i * length, 0, length));
    set_input(node, 1, ints(node, "split", lengths));
  }

  // Opset 7: scales are an attribute; 9: an input. Coordinates are x / scale, rounded down.
  void upsample(Node& node) {
    ValueId scales = node.input(1);
    if (node.attrs.has("scales")) {
      const std::vector<float> list = node.attrs.get_floats("scales");
      scales =
          constant(node, "scales", Tensor::of(Shape{static_cast<std::int64_t>(list.size())}, list));
    }
    node.attrs.erase("scales");
    become_resize(node, scales);
  }
  void resize_10(Node& node) { become_resize(node, node.input(1)); }
  void become_resize(Node& node, ValueId scales) {
    node.op = "Resize";
    node.inputs = {node.input(0), kNoValue, scales};
    const std::string mode = node.attrs.get_string("mode", "nearest");
    node.attrs.set("mode", mode == "bilinear" ? std::string("linear") : mode);
    node.attrs.set("coordinate_transformation_mode", std::string("asymmetric"));
    node.attrs.set("nearest_mode", std::string("floor"));
  }
  void resize(Node& node) {
    const bool crops = node.attrs.get_string("coordinate_transformation_mode", "half_pixel") ==
                       "tf_crop_and_resize";
    if (!crops && node.inputs.size() > 1) node.inputs[1] = kNoValue;  // nothing else reads the roi
    const std::string policy = node.attrs.get_string("keep_aspect_ratio_policy", "stretch");
    node.attrs.erase("keep_aspect_ratio_policy");
    if (node.attrs.get_int("antialias", 0) == 0) node.attrs.erase("antialias");
    const bool has_axes = node.attrs.has("axes");
    const bool has_sizes = node.input(3) != kNoValue;
    if (!has_axes && (policy == "stretch" || !has_sizes)) return;
    // All axes are spelled out; sizes that keep the aspect ratio need the input's.
    const std::optional<Shape> shape = graph_.value(node.inputs[0]).shape;
    const Tensor* list = constant_input(node, has_sizes ? 3 : 2);
    std::vector<std::int64_t> axes = node.attrs.get_ints("axes");
    node.attrs.erase("axes");
    if (shape && !has_axes) {
      for (int axis = 0; axis < shape->rank(); ++axis) axes.push_back(axis);
    }
    bool fits = list != nullptr && shape && (!has_sizes || shape->known()) &&
                list->elements() == static_cast<std::int64_t>(axes.size());
    for (std::int64_t& axis : axes) {
      const auto normal = shape ? normalize_axis(axis, shape->rank()) : std::nullopt;
      fits = fits && normal;
      axis = normal.value_or(0);
    }
    if (!fits) {
      refuse_attribute(node, "Its axes need an input of known shape and constant sizes or scales.",
                       "Give scales or sizes for all axes.");
      return;
    }
    const auto rank = static_cast<std::size_t>(shape->rank());
    if (has_sizes) {
      std::vector<std::int64_t> sizes = shape->dims();
      const std::vector<std::int64_t> given = to_int64s(*list);
      float scale = 0;
      for (std::size_t i = 0; i < axes.size(); ++i) {
        const auto axis = static_cast<std::size_t>(axes[i]);
        const float ratio = static_cast<float>(given[i]) / static_cast<float>(sizes[axis]);
        scale = i == 0                   ? ratio
                : policy == "not_larger" ? std::min(scale, ratio)
                                         : std::max(scale, ratio);
      }
      for (std::size_t i = 0; i < axes.size(); ++i) {
        auto& size = sizes[static_cast<std::size_t>(axes[i])];
        size = policy == "stretch" ? given[i]
                                   : static_cast<std::int64_t>(std::clamp(
                                         std::floor(scale * static_cast<float>(size) + 0.5F), 0.0F,
                                         static_cast<float>(kMaxElements)));
      }
      node.inputs[3] = ints(node, "sizes", sizes);
      if (policy != "stretch") {
        std::vector<float> scales(rank, 1.0F);
        for (const std::int64_t axis : axes) scales[static_cast<std::size_t>(axis)] = scale;
        node.inputs[2] = constant(
            node, "scales", Tensor::of(Shape{static_cast<std::int64_t>(rank)}, std::move(scales)));
      }
    } else {
      std::vector<float> scales(rank, 1.0F);
      for (std::size_t i = 0; i < axes.size(); ++i)
        scales[static_cast<std::size_t>(axes[i])] = to_floats(*list)[i];
      node.inputs[2] =
          constant(node, "scales", Tensor::of(Shape{static_cast<std::int64_t>(rank)}, scales));
    }
    const Tensor* roi = crops ? constant_input(node, 1) : nullptr;
    if (roi != nullptr && roi->elements() == static_cast<std::int64_t>(2 * axes.size())) {
      std::vector<float> region(2 * rank, 0.0F);
      std::fill_n(region.begin() + static_cast<std::ptrdiff_t>(rank), rank, 1.0F);
      for (std::size_t i = 0; i < axes.size(); ++i) {
        const auto axis = static_cast<std::size_t>(axes[i]);
        region[axis] = to_floats(*roi)[i];
        region[axis + rank] = to_floats(*roi)[i + axes.size()];
      }
      node.inputs[1] =
          constant(node, "roi", Tensor::of(Shape{static_cast<std::int64_t>(2 * rank)}, region));
    }
  }

  void softmax(Node& node) {
    if (!node.attrs.has("axis")) node.attrs.set("axis", std::int64_t{1});
    node.attrs.set(std::string(kFlattened), std::int64_t{1});
  }

  void batch_normalization(Node& node) {
    bool trains = node.attrs.get_int("training_mode", 0) != 0;
    for (std::size_t i = 1; i < node.outputs.size(); ++i) trains = trains || output_used(node, i);
    if (trains)
      refuse_attribute(node, "It normalizes with the batch's own statistics, as in training.",
                       "Export the model in evaluation mode (model.eval()).");
    node.outputs.resize(1);
    if (graph_.opset < 9 && node.attrs.get_int("spatial", 1) == 0) {
      by_position(node);
      return;
    }
    node.attrs.erase("spatial");
    node.attrs.erase("training_mode");
  }

  // spatial = 0: a scale and a shift for each element of a sample, so Mul and Add.
  void by_position(Node& node) {
    std::array<std::vector<double>, 4> parameters;  // scale, shift, mean, variance
    for (std::size_t i = 0; i < 4; ++i) {
      const Tensor* given = constant_input(node, i + 1);
      if (given == nullptr || given->dtype() != DType::kFloat32 ||
          given->shape() != graph_.value(node.inputs[1]).constant->shape()) {
        refuse_attribute(node, text("Its parameter ", i + 1, " is no float constant that fits."),
                         "Export the model in evaluation mode (model.eval()).");
        return;
      }
      const auto values = given->span<float>();
      parameters[i].assign(values.begin(), values.end());
    }
    const Shape shape = graph_.value(node.inputs[1]).constant->shape();
    std::vector<float> factor;
    std::vector<float> shift;
    const auto epsilon = static_cast<double>(node.attrs.get_float("epsilon", 1e-5F));
    for (std::size_t i = 0; i < parameters[0].size(); ++i) {
      const double a = parameters[0][i] / std::sqrt(parameters[3][i] + epsilon);
      factor.push_back(static_cast<float>(a));
      shift.push_back(static_cast<float>(parameters[1][i] - parameters[2][i] * a));
    }
    const ValueId scaled = float_value(node, "scaled");
    graph_.nodes.push_back({node.name + "_Mul",
                            "Mul",
                            "",
                            {node.inputs[0], constant(node, "factor", Tensor::of(shape, factor))},
                            {scaled},
                            {}});
    node.op = "Add";
    node.inputs = {scaled, constant(node, "shift", Tensor::of(shape, shift))};
    node.attrs = {};
  }

  // Half floats are float32 here, from the file's weights on.
  void cast(Node& node) {
    node.attrs.erase("saturate");  // for 8-bit floats only, which are refused by `to`
    const std::int64_t to = node.attrs.get_int("to", 0);
    if (to == static_cast<std::int64_t>(DType::kFloat16) ||
        to == static_cast<std::int64_t>(DType::kBfloat16))
      node.attrs.set("to", static_cast<std::int64_t>(DType::kFloat32));
  }

  void average_pool(Node& node) {
    if (node.attrs.get_int("ceil_mode", 0) != 0 &&
        node.attrs.get_int("count_include_pad", 0) != 0) {
      node.attrs.set(std::string(ops::kClippedWindow), std::int64_t{1});
    }
  }

  void max_pool(Node& node) {
    if (output_used(node, 1)) return;
    node.attrs.erase("storage_order");  // of the indices
    node.outputs.resize(1);
  }

  void quantize_linear(Node& node) {
    node.attrs.erase("saturate");
    if (node.attrs.get_int("block_size", 0) == 0) node.attrs.erase("block_size");
    if (node.attrs.get_int("output_dtype", 0) == 0) node.attrs.erase("output_dtype");
  }

  // ---- quantized operators: the float op on codes ----

  // False: nothing more to do with the node.
  bool quantized_operator(Node& node) {
    const std::span<const QOperator> rows = qoperators();
    const auto found = std::find_if(rows.begin(), rows.end(),
                                    [&](const QOperator& row) { return row.op == node.op; });
    if (node.op == "QLinearSoftmax") return softmax_on_codes(node);
    if (found == rows.end()) {
      // Microsoft's QuantizeLinear and DequantizeLinear are ONNX's.
      if (node.op == "QuantizeLinear" || node.op == "DequantizeLinear") node.domain.clear();
      return true;
    }
    const QOperator& q = *found;
    std::vector<ValueId> inputs;
    if (q.output_first) {
      for (std::size_t i = 2; i + 2 < node.inputs.size(); i += 3) {
        if (!take_input(node, i, std::nullopt)) return false;
        inputs.push_back(node.inputs[i]);
      }
    }
    for (int i = 0; i < q.data; ++i) {
      const auto at = static_cast<std::size_t>(3 * i);
      const bool weight = q.weight_last && i == 1;
      if (!take_input(node, at, weight ? std::optional<int>(weight_axis(node)) : std::nullopt))
        return false;
      inputs.push_back(node.inputs[at]);
    }
    if (q.bias >= 0 && node.input(static_cast<std::size_t>(q.bias)) != kNoValue)
      inputs.push_back(bias_on_grid(node, node.input(static_cast<std::size_t>(q.bias)), inputs));
    const auto output_at = static_cast<std::size_t>(q.output_at);
    if (node.input(output_at) == kNoValue) {
      refuse_attribute(node, "It gives floats.", "Give it an output scale and zero point.");
      return false;
    }
    if (node.output(0) == kNoValue || !take_grid(node, node.outputs[0], output_at, std::nullopt))
      return false;
    if (node.attrs.get_int("channels_last", 0) != 0) {
      refuse_attribute(node, "channels_last = 1 is not supported.",
                       "Save the model without ONNX Runtime's layout optimizations.");
      return false;
    }
    node.attrs.erase("channels_last");
    node.op = std::string(q.plain);
    node.domain.clear();
    node.inputs = std::move(inputs);
    return true;
  }

  // The int32 bias of codes `x_w` with what it stands for: scale = sx * sw.
  ValueId bias_on_grid(const Node& node, ValueId bias, const std::vector<ValueId>& x_w) {
    QuantParams params = *graph_.value(x_w[1]).quant;
    const float factor = graph_.value(x_w[0]).quant->scale[0] * node.attrs.get_float("alpha", 1.0F);
    for (float& scale : params.scale) scale *= factor;
    params.zero_point.assign(params.scale.size(), 0);
    if (params.axis) params.axis = 0;
    // Layers that share a bias may give it different scales.
    const Value& shared = graph_.value(bias);
    if (shared.quant && *shared.quant != params && shared.constant)
      bias = constant(node, "bias", *shared.constant);
    graph_.value(bias).quant = std::move(params);
    return bias;
  }

  ValueId float_value(const Node& node, std::string_view role) {
    Value value;
    value.name = text(node.name, "_", role);
    for (int i = 1; !value_names_.insert(value.name).second; ++i)
      value.name = text(node.name, "_", role, "_", i);
    value.dtype = DType::kFloat32;
    return graph_.add_value(std::move(value));
  }

  // Softmax between a DequantizeLinear and a QuantizeLinear.
  bool softmax_on_codes(const Node& node) {
    for (const std::size_t i : {std::size_t{0}, std::size_t{1}, std::size_t{3}}) {
      if (node.input(i) != kNoValue && node.output(0) != kNoValue) continue;
      refuse(node, Code::kInvalidModel, "An input is missing.", "Export the model again.");
      return false;
    }
    const ValueId real = float_value(node, "real");
    const ValueId shares = float_value(node, "shares");
    Node softmax{node.name, "Softmax", "", {real}, {shares}, {}};
    softmax.attrs.set("axis", node.attrs.get_int("axis", -1));
    if (node.attrs.get_int("opset", graph_.opset) < 13)
      softmax.attrs.set(std::string(kFlattened), std::int64_t{1});
    graph_.nodes.push_back({node.name + "_DequantizeLinear",
                            "DequantizeLinear",
                            "",
                            {node.input(0), node.input(1), node.input(2)},
                            {real},
                            {}});
    graph_.nodes.push_back(std::move(softmax));
    graph_.nodes.push_back({node.name + "_QuantizeLinear",
                            "QuantizeLinear",
                            "",
                            {shares, node.input(3), node.input(4)},
                            {node.output(0)},
                            {}});
    return false;
  }

  // Where a weight with scales per channel has its output channels.
  int weight_axis(const Node& node) const {
    if (node.op == "QLinearConv") return 0;
    return node.op == "QGemm" && node.attrs.get_int("transB", 0) != 0 ? 0 : 1;
  }

  // Input i with its scale and zero point behind it.
  bool take_input(const Node& node, std::size_t i, std::optional<int> axis) {
    if (node.input(i) != kNoValue) return take_grid(node, node.inputs[i], i + 1, axis);
    refuse(node, Code::kInvalidModel, "An input is missing.", "Export the model again.");
    return false;
  }

  // Scale and zero point at inputs i and i + 1 become the value's.
  bool take_grid(const Node& node, ValueId id, std::size_t i, std::optional<int> axis) {
    const Tensor* scale = constant_input(node, i);
    const Tensor* zero = constant_input(node, i + 1);
    if (scale == nullptr || scale->dtype() != DType::kFloat32 || scale->elements() < 1 ||
        (node.input(i + 1) != kNoValue && zero == nullptr)) {
      refuse_attribute(node, "A scale or zero point is computed by the network.", "Use constants.");
      return false;
    }
    if (zero != nullptr && !is_quantized_code(zero->dtype())) {
      refuse(node, Code::kUnsupportedDtype,
             text("It works on codes of ", dtype_name(zero->dtype()), "."),
             "uint8 and int8 are supported.");
      return false;
    }
    QuantParams params;
    params.scale.assign(scale->span<float>().begin(), scale->span<float>().end());
    params.zero_point.assign(params.scale.size(), 0);
    if (zero != nullptr) {
      const std::vector<std::int64_t> points = to_int64s(*zero);
      if (points.empty() || (points.size() != 1 && points.size() != params.scale.size())) {
        refuse(node, Code::kInvalidModel,
               text("It has ", params.scale.size(), " scales and ", points.size(), " zero points."),
               "Export the model again.");
        return false;
      }
      for (std::size_t k = 0; k < params.scale.size(); ++k)
        params.zero_point[k] = static_cast<std::int32_t>(points[points.size() == 1 ? 0 : k]);
    }
    if (params.scale.size() != 1) params.axis = axis;
    if (params.scale.size() != 1 && !axis) {
      refuse_attribute(node, "An activation has scales per channel.",
                       "Activations are quantized per tensor.");
      return false;
    }
    Value& value = graph_.value(id);
    if (value.quant && *value.quant != params) {
      refuse_attribute(node, text("Tensor '", value.name, "' is read with two different scales."),
                       "Give each tensor one scale.");
      return false;
    }
    value.quant = std::move(params);
    if (!value.is_constant()) value.dtype = zero != nullptr ? zero->dtype() : DType::kUint8;
    return true;
  }

  Graph& graph_;
  std::set<std::string, std::less<>> value_names_;
  std::vector<Error> findings_;
  std::string supported_;  // made when the first operator is refused
  std::vector<int> reader_counts_;
  std::optional<std::vector<int>> readers_;
  bool node_refused_ = false;
  bool dropped_ = false;
};

std::vector<int> count_readers(const Graph& graph) {
  std::vector<int> counts(graph.values.size(), 0);
  for (const Node& node : graph.nodes) {
    for (const ValueId id : node.inputs) {
      if (id != kNoValue) ++counts[static_cast<std::size_t>(id)];
    }
  }
  for (const ValueId id : graph.outputs) ++counts[static_cast<std::size_t>(id)];
  return counts;
}

}  // namespace

Status canonicalize(Graph& graph) {
  Rewriter rewriter(graph);
  rewriter.set_reader_counts(count_readers(graph));
  return rewriter.run();
}

Status resolve_flattened_softmax(Graph& graph) {
  std::vector<Node> nodes = std::move(graph.nodes);
  graph.nodes.clear();
  std::vector<Error> findings;
  for (Node& node : nodes) {
    if (!node.attrs.has(kFlattened)) {
      graph.nodes.push_back(std::move(node));
      continue;
    }
    const Value& x = graph.value(node.input(0));
    if (!x.shape) {  // asked again when the shapes are fixed
      graph.nodes.push_back(std::move(node));
      continue;
    }
    const int rank = x.shape->rank();
    const auto axis = normalize_axis(node.attrs.get_int("axis", 1), rank);
    if (!axis) {
      findings.push_back({Code::kInvalidModel,
                          text("axis = ", node.attrs.get_int("axis", 1), " is out of range for ",
                               x.shape->to_string(), "."),
                          describe(node),
                          "",
                          {}});
      continue;
    }
    node.attrs.erase(kFlattened);
    // Behind the axis there may be nothing, or only single elements: then flattening changes
    // nothing.
    bool same = true;
    for (int i = *axis + 1; i < rank; ++i) same = same && (*x.shape)[i] == 1;
    if (same) {
      node.attrs.set("axis", static_cast<std::int64_t>(*axis));
      graph.nodes.push_back(std::move(node));
      continue;
    }
    // Flatten -> Softmax over the last axis -> Reshape to Shape(x).
    const auto temporary = [&](std::string_view role, DType dtype) {
      Value value;
      value.name = graph.fresh_value_name(text(node.name, "_", role));
      value.dtype = dtype;
      return graph.add_value(std::move(value));
    };
    const DType dtype = x.dtype;
    const ValueId flat = temporary("flat", dtype);
    const ValueId shares = temporary("shares", dtype);
    const ValueId shape = temporary("shape", DType::kInt64);
    Attrs flatten;
    flatten.set("axis", static_cast<std::int64_t>(*axis));
    Attrs last;
    last.set("axis", std::int64_t{-1});
    const ValueId in = node.inputs[0];
    graph.nodes.push_back(
        {node.name + "_flatten", "Flatten", "", {in}, {flat}, std::move(flatten)});
    graph.nodes.push_back({node.name, node.op, "", {flat}, {shares}, std::move(last)});
    graph.nodes.push_back({node.name + "_shape", "Shape", "", {in}, {shape}, {}});
    graph.nodes.push_back(
        {node.name + "_reshape", "Reshape", "", {shares, shape}, node.outputs, {}});
  }
  if (!findings.empty()) return combine(std::move(findings));
  return ok_status();
}

}  // namespace octavo::passes
