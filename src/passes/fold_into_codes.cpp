// fold_into_codes: what stands per channel behind a Conv or Gemm whose weight has codes becomes
// part of the weight's scales and of the bias. The codes stay.
//
//   (conv(x, s[c] * q) + b[c]) * gamma[c] + beta[c]  =  conv(x, (s[c] * gamma[c]) * q) + b'[c]
//   b'[c] = b[c] * gamma[c] + beta[c]
//
// So are networks exported that were trained with fake quantization and folded
// BatchNormalization: torch.ao.nn.intrinsic.qat.ConvBn2d quantizes w * gamma / sqrt(var + eps),
// divides what the convolution gives by that factor and normalizes it, which comes to a shift
// (Jacob et al. 2018, section 3.2, with Krishnamoorthi, arXiv 1806.08342, section 3.2.2). Left as
// it is the convolution would be float, since its result is not what is quantized.
//
// Factors that are negative or 0 stay: a scale is positive.
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/repeat.h"
#include "base/text.h"
#include "ops/op.h"
#include "passes/channel_affine.h"
#include "passes/passes.h"
#include "passes/qdq.h"

namespace octavo::passes {

namespace {

// The float numbers of a constant, or of one behind a DequantizeLinear.
std::optional<std::vector<float>> reals_of(const Graph& graph, const Uses& uses, ValueId id) {
  if (const auto& constant = graph.value(id).constant)
    return constant->dtype() == DType::kFloat32 ? std::optional(to_floats(*constant))
                                                : std::nullopt;
  const auto producer = uses.producer_of(id);
  if (!producer || !is_dequantize(graph.node(*producer)) ||
      !graph.value(graph.node(*producer).inputs[0]).is_constant())
    return std::nullopt;
  Result<std::vector<Tensor>> result = ops::evaluate(graph, graph.node(*producer));
  if (!result.ok() || result->size() != 1) return std::nullopt;
  return to_floats(result->front());
}

// A product whose weight is dequantized from constant codes, or from a constant that is quantized.
struct CodedProduct {
  std::size_t node, dequantize;
  QuantParams params;  // of the weight, a scale for each output channel
};

std::optional<CodedProduct> product_of(const Graph& graph, const Uses& uses, ValueId result) {
  const auto producer = uses.producer_of(result);
  if (!producer || graph.is_output(result) || uses.readers_of(result).size() != 1)
    return std::nullopt;
  const Node& node = graph.node(*producer);
  const bool plain_gemm = node.op == "Gemm" && node.attrs.get_float("alpha", 1) == 1 &&
                          node.attrs.get_float("beta", 1) == 1;
  if (!node.domain.empty() || (node.op != "Conv" && !plain_gemm) ||
      node.attrs.has("octavo_activation"))
    return std::nullopt;
  const auto dequantize = uses.producer_of(node.inputs[1]);
  if (!dequantize || !is_dequantize(graph.node(*dequantize))) return std::nullopt;
  const Node& dq = graph.node(*dequantize);
  const auto codes = uses.producer_of(dq.inputs[0]);
  const bool constant = graph.value(dq.inputs[0]).is_constant() ||
                        (codes && is_quantize(graph.node(*codes)) &&
                         graph.value(graph.node(*codes).inputs[0]).is_constant());
  const auto& shape = graph.value(dq.inputs[0]).shape;
  std::optional<QuantParams> params = params_of(graph, dq);
  if (!constant || !shape || shape->rank() < 2 || !params) return std::nullopt;
  const int axis = weight_channel_axis(node, shape->rank());
  if (params->axis && *params->axis != axis) return std::nullopt;
  const auto channels = static_cast<std::size_t>((*shape)[axis]);
  if (params->scale.size() == 1) {
    repeat_single(params->scale, channels);
    repeat_single(params->zero_point, channels);
  }
  params->axis = axis;
  return CodedProduct{static_cast<std::size_t>(*producer), static_cast<std::size_t>(*dequantize),
                      std::move(*params)};
}

// Folds into the product; false where its scales would not stay positive numbers.
bool fold_into(Graph& graph, const Uses& uses, const CodedProduct& product,
               const ChannelAffine& affine) {
  const Node node = graph.nodes[product.node];
  const std::size_t channels = product.params.scale.size();
  std::vector<float> bias(channels, 0.0F);
  if (node.input(2) != kNoValue) {
    const auto reals = reals_of(graph, uses, node.input(2));
    if (!reals || (reals->size() != channels && reals->size() != 1)) return false;
    for (std::size_t c = 0; c < channels; ++c) bias[c] = (*reals)[reals->size() == 1 ? 0 : c];
  }
  QuantParams params = product.params;
  for (std::size_t c = 0; c < channels; ++c) {
    params.scale[c] *= affine.factor[c];
    bias[c] = bias[c] * affine.factor[c] + affine.shift[c];
    if (!(params.scale[c] > 0) || !std::isfinite(params.scale[c]) || !std::isfinite(bias[c]))
      return false;
  }

  // A DequantizeLinear of its own: others may read the old one. It takes its place before the node.
  const Node& old = graph.nodes[product.dequantize];
  const Shape per_channel{static_cast<std::int64_t>(channels)};
  const std::string weight = graph.value(node.inputs[1]).name;
  const auto add = [&](std::string_view base, Tensor tensor) {
    return graph.add_constant(graph.fresh_value_name(base), std::move(tensor));
  };
  const ValueId scale =
      add(text(weight, "_scale_folded"), Tensor::of<float>(per_channel, params.scale));
  const DType dtype = graph.value(old.inputs[0]).dtype;
  Tensor zeros = Tensor::make(dtype, per_channel);
  for (std::size_t c = 0; c < channels; ++c) {
    if (dtype == DType::kInt8) {
      zeros.mutable_span<std::int8_t>()[c] = static_cast<std::int8_t>(params.zero_point[c]);
    } else {
      zeros.mutable_span<std::uint8_t>()[c] = static_cast<std::uint8_t>(params.zero_point[c]);
    }
  }
  const ValueId zero = add(text(weight, "_zero_point_folded"), std::move(zeros));
  const ValueId shift = add(text(node.name, "_bias_folded"), Tensor::of<float>(per_channel, bias));
  Value real;
  real.name = graph.fresh_value_name(text(weight, "_folded"));
  real.dtype = DType::kFloat32;
  real.shape = graph.value(node.inputs[1]).shape;
  const ValueId made = graph.add_value(std::move(real));
  Node dequantize = make_qdq(graph, "DequantizeLinear", text(old.name, "_folded"), old.inputs[0],
                             scale, zero, made);
  dequantize.attrs.set("axis", static_cast<std::int64_t>(*params.axis));
  Node& changed = graph.nodes[product.node];
  changed.inputs.resize(3, kNoValue);
  changed.inputs[1] = made;
  changed.inputs[2] = shift;
  graph.nodes.insert(graph.nodes.begin() + static_cast<std::ptrdiff_t>(product.node),
                     std::move(dequantize));
  return true;
}

}  // namespace

Result<int> fold_into_codes(Graph& graph, PassContext& context) {
  Uses uses(graph);
  int changes = 0;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const ValueId input = affine_input(graph, graph.nodes[i]);
    if (input == kNoValue) continue;
    const auto product = product_of(graph, uses, input);
    if (!product) continue;
    const auto affine = channel_affine(graph, graph.nodes[i],
                                       static_cast<std::int64_t>(product->params.scale.size()));
    if (!affine || !fold_into(graph, uses, *product, *affine)) continue;
    Node& maker = graph.nodes[product->node + 1];
    Node& folded = graph.nodes[i + 1];
    maker.outputs[0] = folded.outputs[0];
    context.notes.push_back(
        {"fold_into_codes", folded.name, folded.op, text("folded into node '", maker.name, "'")});
    graph.nodes.erase(graph.nodes.begin() + static_cast<std::ptrdiff_t>(i + 1));
    uses = Uses(graph);
    ++changes;
  }
  if (changes > 0) graph.compact_values();
  return changes;
}

}  // namespace octavo::passes
