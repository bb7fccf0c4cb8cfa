// A loaded network: the facade that bindings, the quantizer and the tools work with.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "graph/graph.h"
#include "onnx/import.h"
#include "passes/pass.h"
#include "passes/pipelines.h"
#include "passes/pixels.h"
#include "runtime/session.h"

namespace octavo::quantize {

struct ExportOptions {
  int opset = 17;  // 13 to 21; raised where an op came later
  // How a standalone int8 BatchNormalization is written: "depthwise" | "batchnorm" | "muladd".
  std::string batch_norm = "depthwise";
  // How integer nodes are written: "qdq", between DequantizeLinear and QuantizeLinear, which every
  // runtime reads; "qoperator", as QLinearConv, com.microsoft.QLinearAdd and the like where there
  // is such an operator.
  std::string format = "qdq";
};
Result<ExportOptions> parse_export_options(std::string_view json);

// A normalized graph (passes::normalize). Copies share the weights.
class Model {
 public:
  // `bytes` and the external files stay alive as long as any tensor views them; what `unaligned`
  // allows is onnx/import.h's.
  static Result<Model> load(std::shared_ptr<const std::byte> bytes, std::size_t size,
                            const onnx::ExternalFiles& external = {},
                            onnx::Unaligned unaligned = onnx::Unaligned::kCopy);
  static Model from_graph(Graph graph, std::vector<passes::Note> notes = {});

  const Graph& graph() const { return graph_; }
  const std::vector<passes::Note>& notes() const { return notes_; }
  bool is_quantized() const;  // quantizes or has integer codes
  // Size of the file that the model was loaded from; 0 for one that was not.
  std::size_t file_bytes() const { return file_bytes_; }
  int opset() const { return opset_; }  // the file's

  // { name, producer, opset, metadata, quantized, parameters, bytes, macs,
  //   inputs: [{ name, type, shape: (number|string)[] }], outputs: [same],
  //   nodes: [{ name, op, output, shape, macs, plan: 'int8'|'float'|'folded'|'fused', reason }] }
  // `plan` says what quantizeStatic with default options would make of the node. Inputs' unknown
  // dimensions count as 1; macs are null where the network cannot work at that size, a shape where
  // nothing is known of it.
  std::string summary_json() const;
  // metadata_props say what made the file: "octavo.export" the options here, "octavo.quantization"
  // those of the QuantizeJob that the model comes from.
  Result<std::vector<std::byte>> to_onnx(const ExportOptions& options) const;

 private:
  Graph graph_;
  std::vector<passes::Note> notes_;
  std::size_t file_bytes_ = 0;
  int opset_ = 0;  // the file's
};

// Fixes the shapes, optimizes, lowers and plans: a float or a quantized model, ready to run. What
// has sizes that only the data decide is planned in the runs (runtime::Tail).
// `notes`, where given, gets what the passes did. With `pixels` the only input takes RGBA bytes.
Result<runtime::Session> create_session(const Model& model, const passes::InputShapes& shapes,
                                        const runtime::SessionOptions& options,
                                        std::vector<passes::Note>* notes = nullptr,
                                        const passes::PixelMapping* pixels = nullptr);

// The model as far as the data of a run decide no sizes (passes/tail.h), with results that are read
// behind there as outputs.
Result<Model> head_of(const Model& model, const passes::InputShapes& shapes);

}  // namespace octavo::quantize
