#include "passes/pixels.h"

#include "base/text.h"
#include "passes/qdq.h"

namespace octavo::passes {

Status take_pixels(Graph& graph, const PixelMapping& mapping) {
  const auto refused = [](const std::string& where, std::string what) {
    return Error{Code::kShapeMismatch,
                 std::move(what),
                 where,
                 "Pixels are for a network with one float32 input of 1 or 3 channels, [N, C, H, W] "
                 "or [N, H, W, C]; give tensors to others.",
                 {}};
  };
  if (graph.inputs.size() != 1)
    return refused("", text("The model has ", graph.inputs.size(), " inputs."));
  const ValueId old = graph.inputs[0];
  const std::string name = graph.value(old).name;
  const Shape shape = *graph.value(old).shape;
  const std::int64_t channels =
      mapping.source.empty() ? 1 : static_cast<std::int64_t>(mapping.source.size());
  const bool second = shape.rank() == 4 && shape[1] == channels;
  const bool last = shape.rank() == 4 && shape[3] == channels;
  if ((!second && !last) || graph.value(old).dtype != DType::kFloat32) {
    return refused(text("input '", name, "'"),
                   text("It is ", dtype_name(graph.value(old).dtype), " ", shape.to_string(),
                        ", no picture of ", channels, " channels."));
  }
  Value bytes;
  bytes.name = name;
  bytes.dtype = DType::kUint8;
  bytes.shape =
      second ? Shape{shape[0], shape[2], shape[3], 4} : Shape{shape[0], shape[1], shape[2], 4};
  graph.value(old).name = graph.fresh_value_name(name + "_float");
  graph.value(old).dim_names.clear();
  Tensor normalization = Tensor::of<double>({channels, 4}, mapping.normalization);
  Node node;
  node.op = "Pixels";
  node.domain = "octavo";
  node.name = graph.fresh_node_name(name + "_pixels");
  node.attrs.set("source", mapping.source);
  node.attrs.set("normalization", std::move(normalization));
  node.attrs.set("axis", std::int64_t{second ? 1 : 3});
  graph.inputs[0] = graph.add_value(std::move(bytes));
  node.inputs = {graph.inputs[0]};
  node.outputs = {old};
  graph.nodes.insert(graph.nodes.begin(), std::move(node));
  return ok_status();
}

Result<int> fuse_pixels(Graph& graph) {
  int changes = 0;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    if (graph.nodes[i].op != "Pixels" || graph.nodes[i].domain != "octavo") continue;
    while (true) {
      const ValueId made = graph.nodes[i].outputs[0];
      const Uses uses(graph);
      const auto& readers = uses.readers_of(made);
      if (graph.is_output(made) || readers.size() != 1) break;
      const Node& reader = graph.node(readers[0]);
      const std::optional<QuantParams>& quant = graph.value(reader.outputs[0]).quant;
      const bool moves = reader.domain == "octavo" && reader.op == "ToChannelsLast";
      if (!moves && !(is_quantize(reader) && quant && quant->is_per_tensor())) break;
      graph.nodes[i].outputs = reader.outputs;
      const auto gone = static_cast<std::size_t>(readers[0]);
      graph.remove_nodes([&](std::size_t at) { return at == gone; });
      ++changes;
    }
  }
  return changes;
}

}  // namespace octavo::passes
