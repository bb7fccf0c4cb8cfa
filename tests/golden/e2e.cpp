// e2e: a small network that torch prepared, calibrated and converted (FX graph mode), node by node:
// QuantStub, Conv + BN + ReLU, a BatchNorm of its own, a depthwise Conv + BN, add_relu around it,
// adaptive_avg_pool2d, flatten, Linear. Weights come from the float network; the grids of the
// activations are torch's, as recorded.
#include <functional>
#include <map>
#include <numeric>
#include <optional>

#include "golden/groups.h"
#include "golden/quantized_case.h"
#include "nn/functional.h"
#include "nn/fuse.h"
#include "nn/quantized/activation.h"
#include "nn/quantized/batch_norm.h"
#include "nn/quantized/conv.h"
#include "nn/quantized/linear.h"

namespace octavo::golden {

namespace {

using nn::QTensor;

class Network {
 public:
  explicit Network(Case& c) : c_(c) {
    const auto engine = nn::qengine_from_name(c.str("engine"));
    if (!engine) throw std::runtime_error("engine " + c.str("engine") + " is not understood");
    backend_.engine = *engine;
  }

  // Runs node i on what came before.
  QTensor node(const std::string& key) {
    const std::string name = c_.str(key);
    scale_ = c_.number(key + "_scale");
    zero_point_ = c_.integer(key + "_zp");
    if (name == "quantize_per_tensor") {
      return Case::take(nn::quantized::Quantize(scale_, zero_point_, nn::ScalarType::kQuint8)
                            .forward(c_.tensor("x")));
    }
    const QTensor& x = results_.at("last");
    if (name == "c1") return conv(x, "c1", "b1");
    if (name == "c2") return conv(x, "c2", "b2");
    if (name == "bn") return batch_norm(x);
    if (name == "fc") return linear(x);
    // The shortcut leads around the BatchNorm and the depthwise convolution.
    if (name == "add_relu")
      return Case::take(
          nn::quantized::QFunctional(scale_, zero_point_).add_relu(x, results_.at("c1")));
    if (name == "adaptive_avg_pool2d") {
      const Shape out = c_.shape(key);
      return Case::take(nn::functional::adaptive_avg_pool2d(x, {out[2], out[3]}));
    }
    if (name == "flatten") return Case::take(nn::functional::flatten(x));
    throw std::runtime_error("node " + name + " is not understood");
  }

  void run() {
    int i = 0;
    for (; c_.has("node_" + std::to_string(i)); ++i) {
      const std::string key = "node_" + std::to_string(i);
      const QTensor y = node(key);
      expect_codes(c_, key, y);
      c_.expect_equal(key + "_scale", *y.q_scale(), scale_);
      c_.expect_equal(key + "_zp", static_cast<double>(*y.q_zero_point()),
                      static_cast<double>(zero_point_));
      results_.insert_or_assign("last", y);
      results_.insert_or_assign(c_.str(key), y);
    }
    c_.expect("y", nn::quantized::DeQuantize().forward(results_.at("last")));
  }

 private:
  // The float weight on torch's grid; what came out is compared too.
  QTensor weight(const Tensor& real, const std::string& layer) {
    const bool per_channel = c_.shape("ws_" + layer).elements() > 1;
    const std::vector<double> scales = symmetric_scales(real, per_channel);
    c_.expect<double>("ws_" + layer, scales);
    QTensor weight = Case::take(quantize_weight(real, scales, per_channel));
    expect_codes(c_, "w_" + layer, weight);
    return weight;
  }

  QTensor conv(const QTensor& x, const std::string& layer, const std::string& bn) {
    const auto norm = [&](const char* name) { return c_.tensor("float_" + bn + "." + name); };
    const nn::FusedWeights fused = Case::take(nn::fuse_conv_bn_weights(
        c_.tensor("float_" + layer + ".weight"), bias_of(layer),
        {norm("running_mean"), norm("running_var"), norm("weight"), norm("bias"), 1e-5}));
    c_.expect("b_" + layer, fused.bias);
    const QTensor codes = weight(fused.weight, layer);
    // The stride and the padding show in the recorded sizes alone. Where several fit them, the
    // network's are those that come nearest to the recorded codes; the smallest of equals.
    const std::string key = "node_" + std::to_string(index_of(layer));
    const Shape out = c_.shape(key);
    const Tensor want = c_.tensor(key);
    std::optional<QTensor> best;
    std::int64_t fewest = want.elements() + 1;
    for (const Steps& h : steps(x.shape()[2], codes.shape()[2], out[2])) {
      for (const Steps& w : steps(x.shape()[3], codes.shape()[3], out[3])) {
        nn::quantized::ConvOptions options;
        options.stride = {h.stride, w.stride};
        options.padding = {h.padding, w.padding};
        options.groups = x.shape()[1] / codes.shape()[1];
        const QTensor y = conv_with(x, codes, fused.bias, options);
        const Tensor got = y.int_repr();
        if (got.shape() != out) throw std::runtime_error(key + " has shape " + out.to_string());
        const auto wrong = std::inner_product(
            got.span<std::uint8_t>().begin(), got.span<std::uint8_t>().end(),
            want.span<std::uint8_t>().begin(), std::int64_t{0}, std::plus(), std::not_equal_to());
        if (wrong >= fewest) continue;
        fewest = wrong;
        best = y;
      }
    }
    if (!best) throw std::runtime_error(key + " has sizes that no stride of " + layer + " gives");
    return *best;
  }

  QTensor conv_with(const QTensor& x, const QTensor& codes, const Tensor& bias,
                    const nn::quantized::ConvOptions& options) {
    if (fused_relu()) {
      return Case::take(Case::take(nn::quantized::ConvReLU2d::from_weights(
                                       codes, bias, options, scale_, zero_point_, backend_))
                            .forward(x));
    }
    return Case::take(Case::take(nn::quantized::Conv2d::from_weights(codes, bias, options, scale_,
                                                                     zero_point_, backend_))
                          .forward(x));
  }

  // A range that a ReLU left begins at 0, which is the lowest code; where that is chance, a ReLU
  // changes nothing.
  bool fused_relu() const { return zero_point_ == 0; }

  struct Steps {
    std::int64_t stride, padding;
  };
  // What makes `out` positions of `in` with a kernel: same padding, else any; the smallest first.
  static std::vector<Steps> steps(std::int64_t in, std::int64_t kernel, std::int64_t out) {
    std::vector<Steps> all;
    const auto add = [&](std::int64_t padding) {
      for (std::int64_t stride = 1; stride <= in + 2 * padding; ++stride) {
        if (in + 2 * padding >= kernel && (in + 2 * padding - kernel) / stride + 1 == out)
          all.push_back({stride, padding});
        // One position is that of any larger stride too.
        if (out == 1 && !all.empty()) break;
      }
    };
    add(kernel / 2);
    for (std::int64_t padding = 0; all.empty() && padding < kernel; ++padding) add(padding);
    return all;
  }

  std::optional<Tensor> bias_of(const std::string& layer) {
    const std::string key = "float_" + layer + ".bias";
    return c_.has(key) ? std::optional(c_.tensor(key)) : std::nullopt;
  }

  QTensor batch_norm(const QTensor& x) {
    nn::BatchNormParameters bn;
    const auto read = [&](const std::string& name) {
      const Tensor own = c_.tensor("bn_" + name);
      c_.expect("float_bn." + name, own);
      return own;
    };
    bn.weight = read("weight");
    bn.bias = read("bias");
    bn.running_mean = read("running_mean");
    bn.running_var = read("running_var");
    if (fused_relu()) {
      return Case::take(
          Case::take(nn::quantized::BNReLU2d::from_float(bn, scale_, zero_point_)).forward(x));
    }
    return Case::take(
        Case::take(nn::quantized::BatchNorm2d::from_float(bn, scale_, zero_point_)).forward(x));
  }

  QTensor linear(const QTensor& x) {
    const std::optional<Tensor> bias = bias_of("fc");
    if (bias) c_.expect("b_fc", *bias);
    return Case::take(
        Case::take(nn::quantized::Linear::from_weights(weight(c_.tensor("float_fc.weight"), "fc"),
                                                       bias, scale_, zero_point_, backend_))
            .forward(x));
  }

  int index_of(const std::string& name) {
    for (int i = 0; c_.has("node_" + std::to_string(i)); ++i) {
      if (c_.str("node_" + std::to_string(i)) == name) return i;
    }
    throw std::runtime_error("there is no node " + name);
  }

  Case& c_;
  nn::Backend backend_;
  std::map<std::string, QTensor> results_;
  double scale_ = 1;
  std::int64_t zero_point_ = 0;
};

}  // namespace

void run_e2e(Case& c) {
  if (c.str("kind") != "fx")
    throw std::runtime_error("kind " + c.str("kind") + " is not understood");
  if (c.has("backend")) c.str("backend");
  Network(c).run();
  // What torch's float network answers, and what it was calibrated on: the eager workflow's tests
  // read those.
  c.ignore({"y_float"});
  for (int i = 0; c.has("cal" + std::to_string(i)); ++i) c.ignore({"cal" + std::to_string(i)});
}

}  // namespace octavo::golden
