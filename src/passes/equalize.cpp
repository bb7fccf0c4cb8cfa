#include "passes/equalize.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <set>
#include <utility>

#include "base/repeat.h"
#include "passes/channel_product.h"

namespace octavo::passes {

namespace {

constexpr int kLargestExponent = 12;

class Sets {  // union-find
 public:
  explicit Sets(std::size_t n) : parent_(n) { std::iota(parent_.begin(), parent_.end(), 0U); }
  std::size_t find(std::size_t i) {
    while (parent_[i] != i) i = parent_[i] = parent_[parent_[i]];
    return i;
  }
  void join(std::size_t a, std::size_t b) { parent_[find(a)] = find(b); }

 private:
  std::vector<std::size_t> parent_;
};

class Equalizer {
 public:
  Equalizer(Graph& graph, const std::map<std::string, ChannelStats>& stats,
            const EqualizeOptions& options)
      : graph_(graph),
        stats_(stats),
        options_(options),
        first_(graph.values.size(), 0),
        channels_(graph.values.size(), 0),
        channel_sets_(0),
        value_sets_(graph.values.size()) {}

  int run(PassContext& context, Equalized* done) {
    number_channels();
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) visit(i);
    for (const ValueId id : graph_.inputs) fix(id);
    for (const ValueId id : graph_.outputs) fix(id);
    settle();
    choose_factors();
    keep_where_it_pays();
    return apply(context, done);
  }

 private:
  static std::size_t at(ValueId id) { return static_cast<std::size_t>(id); }
  std::size_t element(ValueId id, std::size_t c) const { return first_[at(id)] + c; }

  void number_channels() {
    std::size_t n = 0;
    for (std::size_t v = 0; v < graph_.values.size(); ++v) {
      first_[v] = n;
      channels_[v] = channels_of(graph_.values[v]);
      n += channels_[v];
    }
    channel_sets_ = Sets(n);
    fixed_.assign(n, false);
    exponent_.assign(n, 0);
  }

  void fix(ValueId id) {
    for (std::size_t c = 0; c < channels_[at(id)]; ++c) fixed_[element(id, c)] = true;
  }
  // Channel `from + c` of a is channel `to + c` of b.
  void join(ValueId a, std::size_t from, ValueId b, std::size_t to, std::size_t count) {
    for (std::size_t c = 0; c < count; ++c)
      channel_sets_.join(element(a, from + c), element(b, to + c));
  }
  bool join_all(ValueId a, ValueId b) {
    if (channels_[at(a)] == 0 || channels_[at(a)] != channels_[at(b)]) return false;
    join(a, 0, b, 0, channels_[at(a)]);
    return true;
  }

  // Relu lets a positive factor through, a clip at a number does not.
  static bool lets_through(const Node& node) {
    return node.attrs.get_string("octavo_activation", "Relu") == "Relu";
  }

  // What ties channels together, and which cannot be scaled at all.
  void visit(std::size_t i) {
    const Node& node = graph_.nodes[i];
    const ValueId out = node.output(0);
    if (const auto product = product_of(graph_, i)) {
      products_.push_back(*product);
      if (!lets_through(node)) fix(out);
      return;
    }
    if (out != kNoValue && node.outputs.size() == 1 && joins(node)) {
      if (!lets_through(node)) fix(out);
      return;
    }
    for (const ValueId id : node.inputs) {
      if (id != kNoValue) fix(id);
    }
    for (const ValueId id : node.outputs) {
      if (id != kNoValue) fix(id);
    }
  }

  bool joins(const Node& node) {
    if (!node.domain.empty()) return false;
    const ValueId x = node.input(0);
    const ValueId y = node.outputs[0];
    constexpr std::string_view kAlike[] = {
        "Relu",          "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool",
        "GlobalMaxPool", "Identity",  "Dropout"};
    if (std::find(std::begin(kAlike), std::end(kAlike), node.op) != std::end(kAlike))
      return join_all(x, y);
    if (node.op == "Flatten" || node.op == "Reshape") {  // of one pixel a channel
      const auto& from = graph_.value(x).shape;
      const auto& to = graph_.value(y).shape;
      if (!from || !to || from->rank() < 3 || to->rank() != 2) return false;
      for (int d = 2; d < from->rank(); ++d) {
        if ((*from)[d] != 1) return false;
      }
      return join_all(x, y);
    }
    if (node.op == "Add") {
      return node.inputs.size() == 2 && graph_.value(x).shape == graph_.value(y).shape &&
             graph_.value(node.inputs[1]).shape == graph_.value(y).shape && join_all(x, y) &&
             join_all(node.inputs[1], y);
    }
    if (node.op == "Concat") return join_concat(node);
    if (node.op == "Slice") return join_slice(node);
    if (node.op == "Pad") return join_pad(node);
    return false;
  }

  bool join_concat(const Node& node) {
    const ValueId y = node.outputs[0];
    if (channels_[at(y)] == 0 || node.attrs.get_int("axis", 0) != 1) return false;
    std::size_t to = 0;
    for (const ValueId id : node.inputs) to += channels_[at(id)];
    if (to != channels_[at(y)]) return false;
    to = 0;
    for (const ValueId id : node.inputs) {
      join(id, 0, y, to, channels_[at(id)]);
      to += channels_[at(id)];
    }
    return true;
  }

  std::optional<std::vector<std::int64_t>> numbers(ValueId id) const {
    if (id == kNoValue || !graph_.value(id).constant) return std::nullopt;
    const Tensor& tensor = *graph_.value(id).constant;
    if (tensor.dtype() == DType::kFloat32) return std::nullopt;
    return to_int64s(tensor);
  }

  // Along other axes than the channels'.
  bool join_slice(const Node& node) {
    const auto axes = numbers(node.input(3));
    if (!axes) return false;
    const auto& shape = graph_.value(node.inputs[0]).shape;
    for (const std::int64_t axis : *axes) {
      if (axis == 1 || !shape || axis + shape->rank() == 1) return false;
    }
    return join_all(node.inputs[0], node.outputs[0]);
  }

  // With zeros, which any factor keeps.
  bool join_pad(const Node& node) {
    const auto pads = numbers(node.input(1));
    const ValueId x = node.inputs[0];
    const ValueId y = node.outputs[0];
    const auto& shape = graph_.value(x).shape;
    if (!pads || !shape || node.attrs.get_string("mode", "constant") != "constant" ||
        pads->size() != 2 * static_cast<std::size_t>(shape->rank()) || node.input(3) != kNoValue)
      return false;
    if (node.input(2) != kNoValue) {
      const Tensor* value = float_constant(graph_, node.input(2));
      if (value == nullptr || value->elements() != 1 || value->span<float>()[0] != 0) return false;
    }
    const std::int64_t before = (*pads)[1];
    if (before < 0 || (*pads)[1 + static_cast<std::size_t>(shape->rank())] < 0 ||
        channels_[at(x)] + static_cast<std::size_t>(before) > channels_[at(y)])
      return false;
    join(x, 0, y, static_cast<std::size_t>(before), channels_[at(x)]);
    return true;
  }

  // Fixed channels fix what they are joined with; values that share a set of channels change
  // together or not at all.
  void settle() {
    const std::size_t n = fixed_.size();
    for (std::size_t e = 0; e < n; ++e) {
      if (fixed_[e]) fixed_[channel_sets_.find(e)] = true;
    }
    std::vector<std::size_t> owner(n, graph_.values.size());
    for (std::size_t v = 0; v < graph_.values.size(); ++v) {
      for (std::size_t c = 0; c < channels_[v]; ++c) {
        std::size_t& known = owner[channel_sets_.find(first_[v] + c)];
        if (known == graph_.values.size()) known = v;
        value_sets_.join(v, known);
      }
    }
  }
  bool is_fixed(std::size_t e) { return fixed_[channel_sets_.find(e)]; }

  const ChannelStats* stats_of(ValueId id) const {
    const auto found = stats_.find(graph_.value(id).name);
    return found == stats_.end() || found->second.largest.size() != channels_[at(id)]
               ? nullptr
               : &found->second;
  }

  // The largest weight behind each input channel (before each output channel) over the largest of
  // all.
  std::vector<float> relative_weights(const Product& p, bool of_inputs) const {
    const std::span<const float> w =
        float_constant(graph_, graph_.nodes[p.node].inputs[1])->span<float>();
    std::vector<float> largest(of_inputs ? p.inputs : p.outputs, 0.0F);
    for (std::size_t o = 0; o < p.outputs; ++o) {
      for (std::size_t i = 0; i < p.inner(); ++i) {
        for (std::size_t t = 0; t < p.taps; ++t) {
          float& slot = largest[of_inputs ? p.first_input(o) + i : o];
          slot = std::max(slot, std::fabs(w[p.index(o, i, t)]));
        }
      }
    }
    const float top = *std::max_element(largest.begin(), largest.end());
    for (float& x : largest) x = top > 0 ? x / top : 0;
    return largest;
  }

  void choose_factors() {
    const std::size_t n = fixed_.size();
    std::vector<float> activation(n, 0.0F);
    std::vector<float> weight(n, 0.0F);
    const auto raise = [&](std::vector<float>& of, std::size_t e, float value) {
      float& slot = of[channel_sets_.find(e)];
      slot = std::max(slot, value);
    };
    for (std::size_t v = 0; v < graph_.values.size(); ++v) {
      const auto id = static_cast<ValueId>(v);
      const ChannelStats* stats = channels_[v] > 0 ? stats_of(id) : nullptr;
      if (stats == nullptr) continue;
      const float top = *std::max_element(stats->largest.begin(), stats->largest.end());
      for (std::size_t c = 0; c < channels_[v] && top > 0; ++c)
        raise(activation, first_[v] + c, stats->largest[c] / top);
    }
    for (const Product& p : products_) {
      const Node& node = graph_.nodes[p.node];
      // A depthwise weight has scales of its own for each channel.
      if (!p.is_depthwise() || !options_.per_channel) {
        const std::vector<float> columns = relative_weights(p, true);
        for (std::size_t c = 0; c < columns.size(); ++c)
          raise(weight, element(node.inputs[0], c), columns[c]);
      }
      if (!options_.per_channel) {
        const std::vector<float> rows = relative_weights(p, false);
        for (std::size_t c = 0; c < rows.size(); ++c)
          raise(activation, element(node.outputs[0], c), rows[c]);
      }
    }
    for (std::size_t e = 0; e < n; ++e) {
      const std::size_t set = channel_sets_.find(e);
      if (fixed_[set] || activation[set] <= 0) continue;
      const float factor =
          weight[set] > 0 ? std::sqrt(activation[set] / weight[set]) : activation[set];
      exponent_[e] = std::clamp(static_cast<int>(std::nearbyint(std::log2(factor))),
                                -kLargestExponent, kLargestExponent);
    }
  }

  int exponent(ValueId id, std::size_t c, bool scaled) const {
    return scaled ? exponent_[element(id, c)] : 0;
  }

  // Mean over the output channels of noise over signal, each at most 1: rounding of the input (one
  // step for all its channels) and of the weights, independent of each other.
  double noise(const Product& p, bool scaled) const {
    const Node& node = graph_.nodes[p.node];
    const ChannelStats* stats = stats_of(node.inputs[0]);
    if (stats == nullptr) return 0;
    const ValueId x = node.inputs[0];
    double range = 0;
    std::vector<double> square(p.inputs);
    for (std::size_t c = 0; c < p.inputs; ++c) {
      const double down = std::ldexp(1.0, -exponent(x, c, scaled));
      range = std::max(range, static_cast<double>(stats->largest[c]) * down);
      square[c] = stats->square[c] * down * down;
    }
    const double input_noise = range * range / (255.0 * 255.0 * 12.0);
    const std::span<const float> w = float_constant(graph_, node.inputs[1])->span<float>();
    std::vector<double> top(p.outputs, 0.0);
    std::vector<double> signal(p.outputs, 0.0);
    std::vector<double> energy(p.outputs, 0.0);
    std::vector<double> inputs(p.outputs, 0.0);
    for (std::size_t o = 0; o < p.outputs; ++o) {
      const int row = exponent(node.outputs[0], o, scaled);
      for (std::size_t i = 0; i < p.inner(); ++i) {
        const std::size_t c = p.first_input(o) + i;
        for (std::size_t t = 0; t < p.taps; ++t) {
          const double value =
              std::ldexp(static_cast<double>(w[p.index(o, i, t)]), exponent(x, c, scaled) - row);
          top[o] = std::max(top[o], std::fabs(value));
          energy[o] += value * value;
          signal[o] += value * value * square[c];
          inputs[o] += square[c];
        }
      }
    }
    const double all = *std::max_element(top.begin(), top.end());
    double sum = 0;
    for (std::size_t o = 0; o < p.outputs; ++o) {
      const double step = (options_.per_channel ? top[o] : all) / 127.0;
      const double total = input_noise * energy[o] + step * step / 12.0 * inputs[o];
      if (total > 0) sum += std::min(1.0, signal[o] > 0 ? total / signal[o] : 1.0);
    }
    return sum / static_cast<double>(p.outputs);
  }

  // Tensors that are scaled together are judged together, by the products that read or make them.
  void keep_where_it_pays() {
    std::map<std::size_t, std::pair<double, double>> noise_of;  // set of values: before, after
    for (const Product& p : products_) {
      const Node& node = graph_.nodes[p.node];
      const double before = noise(p, false);
      const double after = noise(p, true);
      const std::set<std::size_t> touched{value_sets_.find(at(node.inputs[0])),
                                          value_sets_.find(at(node.outputs[0]))};
      for (const std::size_t set : touched) {
        noise_of[set].first += before;
        noise_of[set].second += after;
      }
    }
    for (std::size_t v = 0; v < graph_.values.size(); ++v) {
      const auto found = noise_of.find(value_sets_.find(v));
      const bool pays = found != noise_of.end() &&
                        found->second.second < options_.largest_ratio * found->second.first;
      if (pays) continue;
      for (std::size_t c = 0; c < channels_[v]; ++c) exponent_[first_[v] + c] = 0;
    }
  }

  bool changes(ValueId id) const {
    for (std::size_t c = 0; c < channels_[at(id)]; ++c) {
      if (exponent_[element(id, c)] != 0) return true;
    }
    return false;
  }

  int apply(PassContext& context, Equalized* done) {
    for (const Product& p : products_) {
      Node& node = graph_.nodes[p.node];
      const ValueId x = node.inputs[0];
      const ValueId y = node.outputs[0];
      if (!changes(x) && !changes(y)) continue;
      const Tensor weight = *float_constant(graph_, node.inputs[1]);
      std::vector<float> values = to_floats(weight);
      for (std::size_t o = 0; o < p.outputs; ++o) {
        for (std::size_t i = 0; i < p.inner(); ++i) {
          const int power = exponent(x, p.first_input(o) + i, true) - exponent(y, o, true);
          for (std::size_t t = 0; t < p.taps; ++t) {
            float& value = values[p.index(o, i, t)];
            value = std::ldexp(value, power);
          }
        }
      }
      replace(node.inputs[1], Tensor::of<float>(weight.shape(), values));
      if (node.input(2) == kNoValue || !changes(y)) continue;
      const Tensor bias = *float_constant(graph_, node.inputs[2]);
      std::vector<float> shifts = to_floats(bias);
      repeat_single(shifts, p.outputs);
      for (std::size_t o = 0; o < p.outputs; ++o)
        shifts[o] = std::ldexp(shifts[o], -exponent(y, o, true));
      replace(node.inputs[2],
              Tensor::of<float>(Shape{static_cast<std::int64_t>(p.outputs)}, shifts));
    }
    int changed = 0;
    for (std::size_t v = 0; v < channels_.size(); ++v) {
      const auto id = static_cast<ValueId>(v);
      if (!changes(id)) continue;
      ++changed;
      const ChannelStats* stats = stats_of(id);
      graph_.value(id).name = graph_.fresh_value_name(equalized_name(graph_.value(id).name));
      if (done == nullptr) continue;
      std::vector<int>& powers = done->exponent[graph_.value(id).name];
      for (std::size_t c = 0; c < channels_[v]; ++c) powers.push_back(-exponent(id, c, true));
      if (stats == nullptr) continue;
      ChannelStats& now = done->stats[graph_.value(id).name] = *stats;
      for (std::size_t c = 0; c < channels_[v]; ++c) {
        const int power = powers[c];
        for (auto* of : {&now.largest, &now.lowest, &now.highest})
          if (!of->empty()) (*of)[c] = std::ldexp((*of)[c], power);
        now.square[c] = std::ldexp(now.square[c], 2 * power);
      }
    }
    for (const Product& p : products_) {
      const Node& node = graph_.nodes[p.node];
      if (changes(node.outputs[0]))
        context.notes.push_back({"equalize", node.name, node.op, "its channels were equalized"});
    }
    return changed;
  }

  void replace(ValueId& input, Tensor tensor) {
    const std::string name = equalized_name(graph_.value(input).name);
    input = graph_.add_constant(graph_.fresh_value_name(name), std::move(tensor));
  }

  Graph& graph_;
  const std::map<std::string, ChannelStats>& stats_;
  const EqualizeOptions& options_;
  std::vector<std::size_t> first_, channels_;  // by value: its elements among all channels
  Sets channel_sets_, value_sets_;
  std::vector<bool> fixed_;    // by channel
  std::vector<int> exponent_;  // by channel: what its values are divided by, as a power of two
  std::vector<Product> products_;
};

}  // namespace

Result<int> equalize(Graph& graph, const std::map<std::string, ChannelStats>& stats,
                     const EqualizeOptions& options, PassContext& context, Equalized* done) {
  const int changed = Equalizer(graph, stats, options).run(context, done);
  if (changed > 0) graph.compact_values();
  return changed;
}

}  // namespace octavo::passes
