#include "quantize/model.h"

#include <algorithm>

#include "passes/passes.h"
#include "passes/pixels.h"
#include "passes/qdq.h"
#include "passes/tail.h"

namespace octavo::quantize {

Result<Model> Model::load(std::shared_ptr<const std::byte> bytes, std::size_t size,
                          const onnx::ExternalFiles& external, onnx::Unaligned unaligned) {
  OCTAVO_TRY(Graph graph, onnx::import_model(std::move(bytes), size, external, unaligned));
  const int opset = graph.opset;  // normalizing changes the graph's
  passes::PassContext context;
  OCTAVO_CHECK_OK(passes::normalize(graph, context));
  Model model = from_graph(std::move(graph), std::move(context.notes));
  model.file_bytes_ = size;
  for (const auto& [name, file] : external) model.file_bytes_ += file.size;
  model.opset_ = opset;
  return model;
}

Model Model::from_graph(Graph graph, std::vector<passes::Note> notes) {
  Model model;
  model.opset_ = graph.opset;
  model.graph_ = std::move(graph);
  model.notes_ = std::move(notes);
  return model;
}

bool Model::is_quantized() const {
  return std::any_of(graph_.nodes.begin(), graph_.nodes.end(),
                     [](const Node& node) {
                       return passes::is_quantize(node) || passes::is_dequantize(node) ||
                              node.op == "DynamicQuantizeLinear";
                     }) ||
         std::any_of(graph_.values.begin(), graph_.values.end(),
                     [](const Value& value) { return value.quant.has_value(); });
}

namespace {
// How many tails may follow each other. Each is planned by the one before, so they take stack.
constexpr int kMaxTails = 16;

Result<runtime::Session> plan_tail(Graph graph, const runtime::SessionOptions& options, int depth);

Result<runtime::Session> create_session(Graph graph, const passes::InputShapes& shapes,
                                        const runtime::SessionOptions& options,
                                        std::vector<passes::Note>* notes,
                                        const passes::PixelMapping* pixels, int depth) {
  OCTAVO_CHECK_OK(passes::fix_shapes(graph, shapes));
  if (pixels != nullptr) OCTAVO_CHECK_OK(passes::take_pixels(graph, *pixels));
  std::unique_ptr<runtime::Tail> tail;
  if (std::optional<passes::Tail> cut = passes::cut_tail(graph)) {
    if (depth == kMaxTails) {
      return Error{Code::kLimitExceeded,
                   "More than 16 sizes that the data decide follow from each other.",
                   describe(cut->graph.nodes[0]),
                   "Make a result before this node an output of the model, and do what follows "
                   "outside.",
                   {}};
    }
    tail = std::make_unique<runtime::Tail>(
        runtime::Tail{std::move(cut->graph), std::move(cut->decisive), std::move(cut->outputs),
                      &plan_tail, depth + 1});
  }
  passes::PassContext context;
  OCTAVO_CHECK_OK(passes::optimize_float(graph, context));
  // Engines whose dot product takes two signed operands want int8 activations, the others uint8.
  const bool signed_dot = options.policy.level == simd::Level::kRelaxed &&
                          (options.policy.engine == simd::EngineClass::kSdot ||
                           options.policy.engine == simd::EngineClass::kWrap);
  OCTAVO_CHECK_OK(
      passes::prepare_for_session(graph, {signed_dot ? DType::kInt8 : DType::kUint8}, context));
  if (pixels != nullptr) OCTAVO_CHECK_OK(passes::fuse_pixels(graph));
  if (notes != nullptr) notes->insert(notes->end(), context.notes.begin(), context.notes.end());
  // Beside codes, floats are the same bits on every machine. A picture's bytes are none.
  runtime::SessionOptions own = options;
  const Value* picture = pixels != nullptr ? &graph.value(graph.inputs[0]) : nullptr;
  own.policy.fused_floats =
      options.policy.fused_floats &&
      std::none_of(graph.values.begin(), graph.values.end(), [picture](const Value& value) {
        return value.quant.has_value() || (is_quantized_code(value.dtype) && &value != picture);
      });
  return runtime::Session::create(std::move(graph), own, std::move(tail));
}

Result<runtime::Session> plan_tail(Graph graph, const runtime::SessionOptions& options, int depth) {
  return create_session(std::move(graph), {}, options, nullptr, nullptr, depth);
}
}  // namespace

Result<runtime::Session> create_session(const Model& model, const passes::InputShapes& shapes,
                                        const runtime::SessionOptions& options,
                                        std::vector<passes::Note>* notes,
                                        const passes::PixelMapping* pixels) {
  return create_session(model.graph(), shapes, options, notes, pixels, 0);
}

Result<Model> head_of(const Model& model, const passes::InputShapes& shapes) {
  Graph head = model.graph();
  OCTAVO_TRY(const auto tail, passes::cut_tail(head, shapes));
  return tail ? Model::from_graph(std::move(head), model.notes()) : model;
}

}  // namespace octavo::quantize
