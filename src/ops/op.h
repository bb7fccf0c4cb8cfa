// The operator table: what each op is called, accepts, infers, and how a session prepares it.
//
// One file an op (or a family that differs in a formula), one line in all_ops.cpp. Ops see the
// canonical form of a node: passes/canonicalize.cpp has turned every opset's spelling (7 to 22)
// into that of opset 17, so no op looks at an opset.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "graph/graph.h"
#include "kernels/policy.h"
#include "ops/shared_weights.h"

namespace octavo::ops {

// ---- shape inference ----

// One node with its graph while shapes are inferred. Inputs' dtypes are known; shapes as far as
// known.
class InferContext {
 public:
  InferContext(Graph& graph, const Node& node) : graph_(graph), node_(node) {}

  const Node& node() const { return node_; }
  const Attrs& attrs() const { return node_.attrs; }
  bool has_input(std::size_t i) const { return node_.input(i) != kNoValue; }
  std::size_t input_count() const { return node_.inputs.size(); }
  std::size_t output_count() const { return node_.outputs.size(); }
  const Value& input(std::size_t i) const { return graph_.value(node_.input(i)); }
  // The constant behind input i, or nullptr.
  const Tensor* constant(std::size_t i) const;
  // The input's shape; an error naming the node when its rank is not known.
  Result<Shape> shape(std::size_t i) const;
  void set_output(std::size_t i, DType dtype, Shape shape);
  // A shape with one open dimension, which is at most `most` (Value::counted).
  void set_counted(std::size_t i, DType dtype, Shape shape, std::int64_t most);
  // An error about this node.
  Error error(Code code, std::string what, std::string hint = "") const;

 private:
  Graph& graph_;
  const Node& node_;
};

// ---- execution ----

// A step may read up to 16 bytes past the end of a buffer (their values are anything) and never
// before its start; it writes only inside.
struct StepArgs {
  std::span<const std::byte* const> in;  // nullptr where absent
  std::span<std::byte* const> out;       // nullptr where absent
  std::byte* scratch;                    // Step::scratch_bytes, 64-byte aligned, one per thread
  // Bytes between two pixels of output 0 where it lies in a larger one; 0: it lies alone.
  std::int64_t out_pixel_bytes = 0;
};

// One node ready to run: weights packed, kernel chosen, nothing allocated at run time.
struct Step {
  std::string_view
      kernel;  // the row that runs, e.g. "qconv/relaxed-usdot"; for profiles and reports
  std::size_t scratch_bytes = 0;
  int blocks = 1;  // independent pieces of work, any order, any thread
  // Blocks go on from what the ones before have left in the outputs and the scratch: they run one
  // after the other, with one scratch; block 0 begins anew.
  bool ordered = false;
  std::function<void(const StepArgs&, int first_block, int last_block)>
      run;  // blocks [first, last)
  std::optional<int>
      alias;  // output 0 has exactly the bytes of this input: no copy if memory is shared
  std::optional<int> in_place;   // `run` also works when output 0 is this input's memory
  std::size_t packed_bytes = 0;  // memory that `run` holds: packed weights, tables
  std::size_t shared_bytes = 0;  // of those, what PrepareContext::hold gave
  bool holds_constants = false;  // `run` reads no input that is a constant: it has packed them all
  bool writes_part = false;      // `run` heeds StepArgs::out_pixel_bytes
  // Of a step that puts its inputs side by side in every pixel of output 0: where in a pixel each
  // begins; -1 for one that is changed on its way. An input that was made there is left.
  std::vector<std::int64_t> parts;
  std::int64_t macs = 0;  // multiply-accumulates, 0 where the word makes no sense
  // Of a plain loop: its rounds, which take nanoseconds each. A run can be given up between the
  // blocks of a long one.
  std::int64_t rounds = 0;
  // Of a counted output 0 (Value::counted): how large the last `run` made its open dimension; the
  // bytes are those of that shape. Null for others.
  std::shared_ptr<const std::int64_t> count;
  // Where the data of a run may be such that there is no result: whether the last `run` has one.
  // Null for others.
  std::shared_ptr<const Status> status;
};

class PrepareContext {
 public:
  // With `weights` the step shares what it packs with those of other plans of the model.
  PrepareContext(const Graph& graph, const Node& node, const kernels::Policy& policy,
                 SharedWeights* weights = nullptr)
      : graph_(graph), node_(node), policy_(policy), weights_(weights) {}

  const Node& node() const { return node_; }
  const Attrs& attrs() const { return node_.attrs; }
  const kernels::Policy& policy() const { return policy_; }
  bool has_input(std::size_t i) const { return node_.input(i) != kNoValue; }
  std::size_t input_count() const { return node_.inputs.size(); }
  std::size_t output_count() const { return node_.outputs.size(); }
  const Value& input(std::size_t i) const { return graph_.value(node_.input(i)); }
  const Value& output(std::size_t i = 0) const { return graph_.value(node_.output(i)); }
  // Known once a session is prepared.
  const Shape& in_shape(std::size_t i) const { return *input(i).shape; }
  const Shape& out_shape(std::size_t i = 0) const { return *output(i).shape; }
  const Tensor* constant(std::size_t i) const;
  // The same for another node, which stands for this one.
  PrepareContext with(const Graph& graph, const Node& node) const {
    return {graph, node, policy_, weights_};
  }
  // Packed weights for `step`, held once by all plans of the model that have packed the same.
  template <class Packed>
  std::shared_ptr<const Packed> hold(std::shared_ptr<const Packed> packed, Step& step) const {
    if (weights_ == nullptr) return packed;
    step.shared_bytes += bytes_of(*packed);
    return weights_->keep(node_.name, std::move(packed));
  }
  template <class Packed>
  std::shared_ptr<const Packed> hold(Packed packed, Step& step) const {
    return hold(std::make_shared<const Packed>(std::move(packed)), step);
  }
  Error error(Code code, std::string what, std::string hint = "") const;

 private:
  const Graph& graph_;
  const Node& node_;
  const kernels::Policy& policy_;
  SharedWeights* weights_;
};

// ---- the table ----

enum class AttrType { kInt, kFloat, kString, kInts, kFloats, kStrings, kTensor };
struct AttrDef {
  std::string_view name;
  AttrType type;
};

// What memory layout an op works in (rank >= 3; others are row-major anyway).
enum class LayoutRule {
  kChannelsLast,  // activations in and out are channels-last (Conv, pools, BatchNormalization,
                  // Resize)
  kFollow,    // any, all activations alike; the output follows (elementwise, Concat, Pad, Slice)
  kRowMajor,  // row-major in and out (MatMul, Gather, Reshape)
  kAnyToRowMajor,  // reads any layout, writes row-major (Transpose, Shape, Flatten where it is
                   // free)
};

// How a quantizer treats an op.
enum class QuantRule {
  kFloat,     // no integer form
  kCompute,   // integer form with its own output grid (Conv, Gemm, Add, Mul, Concat, AveragePool,
              // Sigmoid)
  kSameGrid,  // moves codes: output's scale and zero point are the input's (MaxPool, Reshape,
              // Slice)
};

struct OpDef {
  std::string_view name;
  std::string_view domain;     // "" or "com.microsoft" or "octavo" (internal)
  int since;                   // first opset of the canonical form, for the export's opset
  int min_inputs, max_inputs;  // max -1: variadic
  int min_outputs, max_outputs;
  std::span<const AttrDef> attrs;  // all that the op reads; any other attribute is refused by name
  LayoutRule layout;
  QuantRule quant;
  Status (*infer)(InferContext&);
  // Picks the kernel by dtype (float32, or uint8 / int8 codes with Value::quant) and packs
  // constants.
  Result<Step> (*prepare)(const PrepareContext&);
  // With codes for the data inputs and outputs, can `prepare` make an integer step of this node?
  // Null: whenever quant != kFloat. (E.g. MatMul only with a constant right side.)
  bool (*int8)(const Graph&, const Node&) = nullptr;
  std::string_view notes = "";  // for the op table: limits, in a few words
};

std::span<const OpDef> all_ops();
const OpDef* find_op(std::string_view name, std::string_view domain);
inline const OpDef* find_op(const Node& node) { return find_op(node.op, node.domain); }

// Runs one node whose inputs are all constants, in row-major order (constant folding).
// `macs_left`, where given, is lessened by the products or rounds it takes; LIMIT_EXCEEDED, before
// it runs, where it takes more.
Result<std::vector<Tensor>> evaluate(const Graph& graph, const Node& node,
                                     std::int64_t* macs_left = nullptr);

}  // namespace octavo::ops
