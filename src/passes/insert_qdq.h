// Turns a float graph into a QDQ graph: which nodes become int8, which tensors need a range, and
// the QuantizeLinear / DequantizeLinear nodes that say so, placed where onnxruntime's
// quantize_static places them.
//
//   activations   per tensor, affine, from the range (calib::ort_qparams)
//   weights       int8, symmetric, per output channel or per tensor (passes/weights.h)
//   bias          int32, scale = sx * sw, code = round(b / (sx * sw)) in f64
//   moved codes   (MaxPool, Reshape, ...) output on the input's grid
//   BatchNormalization   one node between DequantizeLinear and QuantizeLinear; its shift is rounded
//                 to the bias grid of the 1x1 depthwise convolution that the export writes, so
//                 that both give the same codes
//
// Where that keeps more of the network (QdqOptions), float results are not rounded to 8 bits at
// all: the last product and the pooling before it stay float, the product's weights int8.
//
// A tensor that an int8 node makes is read by everyone through Q and DQ; one that a float node or
// the caller makes is read through Q and DQ by int8 nodes only.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "calib/qparams.h"
#include "graph/graph.h"
#include "passes/pass.h"
#include "passes/weights.h"

namespace octavo::passes {

struct QdqOptions {
  DType activation = DType::kUint8;  // or kInt8
  WeightOptions weight;
  bool quantize_batch_norm = true;         // a BatchNormalization that is left becomes int8
  bool always_bias = false;                // an integer product without a bias gets one of zeros
  bool float_head = false;                 // the last product and the pooling before it give floats
  bool share_grids = false;                // what only a Concat reads is made on the Concat's grid
  std::vector<std::string> exclude_names;  // globs: * any run of characters, ? one
  std::vector<std::string> exclude_ops;
  // Whether a range of this tensor can be had; empty: of every tensor.
  std::function<bool(const std::string& value_name)> observable;
  // By value, where they are known: the mean squares of its channels (passes/weights.h).
  std::map<std::string, std::vector<double>> channel_power;
};

struct NodePlan {
  bool int8 = false;
  bool weights_only = false;  // a float node with int8 weights
  std::string reason;         // "int8: ..." or why it stays float
};
struct QdqPlan {
  std::vector<NodePlan> nodes;  // by node index
  // By value: whose grid its codes lie on; kNoValue where it is not quantized.
  std::vector<ValueId> grid_of;
  // Values with a grid of their own that are no constants, in graph order.
  std::vector<ValueId> calibrated;
};

// `graph` is normalized, float, after the float passes; shapes may be unknown.
QdqPlan plan_qdq(const Graph& graph, const QdqOptions& options);

// `ranges` by value name, for every calibrated value of the plan (INTERNAL where one is missing).
Status insert_qdq(Graph& graph, const QdqOptions& options, const QdqPlan& plan,
                  const std::map<std::string, calib::Range>& ranges, PassContext& context);

bool glob_matches(std::string_view pattern, std::string_view name);

}  // namespace octavo::passes
