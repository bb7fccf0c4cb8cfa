#include "passes/absorb_bias.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/repeat.h"
#include "passes/channel_product.h"

namespace octavo::passes {

namespace {

constexpr float kLargestWidth = 0.5F;  // of the range, after to before
constexpr float kMargin = 0.25F;

bool is_plain_gemm(const Node& node) {
  return node.attrs.get_float("alpha", 1) == 1 && node.attrs.get_float("beta", 1) == 1;
}
bool pads_nothing(const Node& node) {
  const auto pads = node.attrs.get_ints("pads");
  const std::string how = node.attrs.get_string("auto_pad", "NOTSET");
  return (how == "NOTSET" || how == "VALID") &&
         std::all_of(pads.begin(), pads.end(), [](std::int64_t pad) { return pad == 0; });
}

class Absorber {
 public:
  Absorber(Graph& graph, const std::map<std::string, ChannelStats>& stats)
      : graph_(graph), stats_(stats), uses_(graph) {}

  int run(PassContext& context, Absorbed* done) {
    int changed = 0;
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
      const auto maker = product_of(graph_, i);
      if (!maker || !is_plain_gemm(graph_.nodes[i]) || !readers_absorb(graph_.nodes[i].outputs[0]))
        continue;
      const std::vector<float> shift = choose(graph_.nodes[i]);
      if (shift.empty()) continue;
      std::vector<float> largest = largest_after(graph_.nodes[i], shift);
      move(*maker, shift);
      if (done != nullptr) {
        const std::string& name = graph_.value(graph_.nodes[i].outputs[0]).name;
        done->shift.emplace(name, shift);
        done->largest.emplace(name, std::move(largest));
      }
      context.notes.push_back({"absorb_bias", graph_.nodes[i].name, graph_.nodes[i].op,
                               "its high biases moved into the layers behind"});
      ++changed;
    }
    return changed;
  }

 private:
  bool readers_absorb(ValueId id) const {
    const auto& readers = uses_.readers_of(id);
    return !readers.empty() && !graph_.is_output(id) &&
           std::all_of(readers.begin(), readers.end(), [&](NodeId reader) {
             const Node& node = graph_.node(reader);
             return node.inputs[0] == id &&
                    std::count(node.inputs.begin(), node.inputs.end(), id) == 1 &&
                    product_of(graph_, static_cast<std::size_t>(reader)) && is_plain_gemm(node) &&
                    pads_nothing(node);
           });
  }

  // Of a tensor: it contains 0.
  struct Extent {
    float min = 0, max = 0;
    void add(float low, float high) {
      min = std::min(min, low);
      max = std::max(max, high);
    }
    float width() const { return max - min; }
  };

  // What to take off each channel; nothing where that does not pay.
  std::vector<float> choose(const Node& node) const {
    const auto found = stats_.find(graph_.value(node.outputs[0]).name);
    const std::string activation = node.attrs.get_string("octavo_activation", "");
    if (found == stats_.end() || !(activation.empty() || activation == "Relu")) return {};
    const std::vector<float>& low = found->second.lowest;
    const std::vector<float>& high = found->second.highest;
    if (low.size() != channels_of(graph_.value(node.outputs[0]))) return {};
    Extent before;
    Extent after;
    std::vector<float> shift;
    for (std::size_t c = 0; c < low.size(); ++c) {
      const float width = high[c] - low[c];
      shift.push_back(activation.empty() ? low[c] + width / 2
                                         : std::max(0.0F, low[c] - kMargin * width));
      before.add(low[c], high[c]);
      after.add(low[c] - shift[c], high[c] - shift[c]);
    }
    if (after.width() > kLargestWidth * before.width()) return {};
    return shift;
  }
  std::vector<float> largest_after(const Node& node, const std::vector<float>& shift) const {
    const ChannelStats& stats = stats_.at(graph_.value(node.outputs[0]).name);
    std::vector<float> out;
    for (std::size_t c = 0; c < shift.size(); ++c)
      out.push_back(
          std::max(std::fabs(stats.lowest[c] - shift[c]), std::fabs(stats.highest[c] - shift[c])));
    return out;
  }
  // The bias of a product as floats, one for each output.
  std::vector<float> bias_of(const Product& p) const {
    const ValueId id = graph_.nodes[p.node].input(2);
    if (id == kNoValue) return std::vector<float>(p.outputs, 0.0F);
    std::vector<float> bias = to_floats(*float_constant(graph_, id));
    repeat_single(bias, p.outputs);
    return bias;
  }
  void set_bias(const Product& p, const std::vector<float>& bias) {
    Node& node = graph_.nodes[p.node];
    const std::string name =
        node.input(2) == kNoValue ? node.name + "_bias" : graph_.value(node.inputs[2]).name;
    node.inputs.resize(3, kNoValue);
    node.inputs[2] =
        graph_.add_constant(graph_.fresh_value_name(equalized_name(name)),
                            Tensor::of<float>(Shape{static_cast<std::int64_t>(p.outputs)}, bias));
  }

  void move(const Product& maker, const std::vector<float>& shift) {
    const ValueId id = graph_.nodes[maker.node].outputs[0];
    std::vector<float> bias = bias_of(maker);
    for (std::size_t c = 0; c < shift.size(); ++c) bias[c] -= shift[c];
    set_bias(maker, bias);
    for (const NodeId reader : uses_.readers_of(id)) {
      const Product p = *product_of(graph_, static_cast<std::size_t>(reader));
      const std::span<const float> w =
          float_constant(graph_, graph_.node(reader).inputs[1])->span<float>();
      std::vector<float> given = bias_of(p);
      for (std::size_t o = 0; o < p.outputs; ++o) {
        double sum = 0;
        for (std::size_t i = 0; i < p.inner(); ++i) {
          for (std::size_t t = 0; t < p.taps; ++t)
            sum += static_cast<double>(w[p.index(o, i, t)]) *
                   static_cast<double>(shift[p.first_input(o) + i]);
        }
        given[o] += static_cast<float>(sum);
      }
      set_bias(p, given);
    }
    if (const std::string name = graph_.value(id).name; name != renamed(name))
      graph_.value(id).name = graph_.fresh_value_name(renamed(name));
  }
  // One that was equalized before has its name already.
  static std::string renamed(const std::string& name) {
    return name.ends_with(equalized_name("")) ? name : equalized_name(name);
  }

  Graph& graph_;
  const std::map<std::string, ChannelStats>& stats_;
  const Uses uses_;
};

}  // namespace

Result<int> absorb_bias(Graph& graph, const std::map<std::string, ChannelStats>& stats,
                        PassContext& context, Absorbed* done) {
  const int changed = Absorber(graph, stats).run(context, done);
  if (changed > 0) graph.compact_values();
  return changed;
}

}  // namespace octavo::passes
