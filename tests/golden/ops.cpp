// ops: torch's quantized operators.
//
// Where PyTorch has two answers, both are run: onednn's y and qnnpack's y_qnnpack; pools of a
// channels_last input (y) and of a contiguous one (y_nchw). y_fbgemm_model is a model of a third
// engine that nobody ran; ours has two engines, so it is not compared.
#include <array>
#include <optional>

#include "golden/groups.h"
#include "golden/quantized_case.h"
#include "nn/functional.h"
#include "nn/fuse.h"
#include "nn/quantized/activation.h"
#include "nn/quantized/conv.h"
#include "nn/quantized/linear.h"

namespace octavo::golden {

namespace {

namespace F = nn::functional;
using nn::MemoryFormat;
using nn::QTensor;

constexpr std::array kFormats{MemoryFormat::kContiguous, MemoryFormat::kChannelsLast};

QTensor weight_of(Case& c) {
  const std::vector<double> scales = c.numbers("w_scale");
  std::vector<std::int64_t> zeros(scales.size());
  if (c.has("w_zp")) {
    zeros.clear();
    for (const double zero : c.numbers("w_zp")) zeros.push_back(static_cast<std::int64_t>(zero));
  }
  const bool per_channel = c.has("per_channel") ? c.flag("per_channel") : scales.size() > 1;
  return Case::take(
      nn::make_quantized_tensor(c.tensor("w"), scales.size() == 1 && !per_channel
                                                   ? nn::QGrid::per_tensor(scales[0], zeros.at(0))
                                                   : nn::QGrid::per_channel(scales, zeros, 0)));
}

nn::Backend engine_of(const std::string& name) {
  const auto engine = nn::qengine_from_name(name);
  if (!engine) throw std::runtime_error("engine " + name + " is not understood");
  return {*engine, {}};
}

template <class Module, class... Options>
void expect_weighted(Case& c, const QTensor& x, const Options&... options) {
  const auto check = [&](const std::string& key, const std::string& engine) {
    const auto bias = c.has("bias") ? std::optional(c.tensor("bias")) : std::nullopt;
    const auto module =
        Case::take(Module::from_weights(weight_of(c), bias, options..., c.number("out_scale"),
                                        c.integer("out_zp"), engine_of(engine)));
    for (const MemoryFormat format : kFormats)
      expect_codes(c, key, Case::take(module.forward(x.contiguous(format))));
  };
  check("y", c.str("engine"));
  if (c.has("y_qnnpack")) check("y_qnnpack", "qnnpack");
  // The exact sums behind y: they show in it.
  c.ignore({"acc", "y_fbgemm_model"});
}

// An option of both axes, and torch's default where the case has none.
std::array<std::int64_t, 2> both(Case& c, const std::string& key, std::int64_t otherwise) {
  if (!c.has(key)) return {otherwise, otherwise};
  const auto values = c.each(key, 2);
  return {values[0], values[1]};
}

void conv2d(Case& c, const QTensor& x) {
  nn::quantized::ConvOptions options;
  options.stride = both(c, "stride", 1);
  options.padding = both(c, "pad", 0);
  options.dilation = both(c, "dilation", 1);
  options.groups = c.has("groups") ? c.integer("groups") : 1;
  if (c.flag("relu")) {
    expect_weighted<nn::quantized::ConvReLU2d>(c, x, options);
  } else {
    expect_weighted<nn::quantized::Conv2d>(c, x, options);
  }
}

void linear(Case& c, const QTensor& x) {
  if (c.flag("relu")) {
    expect_weighted<nn::quantized::LinearReLU>(c, x);
  } else {
    expect_weighted<nn::quantized::Linear>(c, x);
  }
}

using Binary = Result<QTensor> (*)(const QTensor&, const QTensor&, double, std::int64_t);
void binary(Case& c, Binary f) {
  const QTensor a = quantized(c, "a", "a");
  const QTensor b = quantized(c, "b", "b");
  for (const MemoryFormat format : kFormats) {
    const QTensor y = Case::take(
        f(a.contiguous(format), b.contiguous(format), c.number("out_scale"), c.integer("out_zp")));
    expect_codes(c, "y", y);
    if (c.has("y_qnnpack")) expect_codes(c, "y_qnnpack", y);
  }
}

void cat(Case& c) {
  std::vector<QTensor> parts, last;
  for (std::string key = "a"; c.has(key); ++key[0]) {
    parts.push_back(quantized(c, key, key));
    last.push_back(parts.back().contiguous(MemoryFormat::kChannelsLast));
  }
  const nn::quantized::QFunctional module(c.number("out_scale"), c.integer("out_zp"));
  expect_codes(c, "y", Case::take(module.cat(parts, c.integer("dim"))));
  if (c.has("y_cl")) expect_codes(c, "y_cl", Case::take(module.cat(last, c.integer("dim"))));
}

// A function of one tensor, in both memory formats; the result's grid is the case's.
template <class Function>
void unary(Case& c, const QTensor& x, Function f) {
  for (const MemoryFormat format : kFormats) {
    const QTensor y =
        Case::take(f(x.contiguous(format), c.number("out_scale"), c.integer("out_zp")));
    expect_codes(c, "y", y);
    c.expect_equal("the scale", *y.q_scale(), c.number("out_scale"));
    c.expect_equal("the zero point", static_cast<double>(*y.q_zero_point()), c.number("out_zp"));
  }
}

F::Pool2d pool_of(Case& c) {
  F::Pool2d pool;
  pool.kernel_size = both(c, "k", 1);
  pool.stride = both(c, "stride", 0);
  pool.padding = both(c, "pad", 0);
  pool.dilation = both(c, "dilation", 1);
  pool.ceil_mode = c.has("ceil") && c.flag("ceil");
  return pool;
}

// A pool's y is that of a channels_last input, its y_nchw that of a contiguous one; a maximum has
// one answer.
template <class Pool>
void expect_pooled(Case& c, const QTensor& x, Pool pool) {
  expect_codes(c, "y", Case::take(pool(x.contiguous(MemoryFormat::kChannelsLast))));
  const QTensor y = Case::take(pool(x));
  if (c.has("y_nchw")) {
    expect_codes(c, "y_nchw", y);
  } else if (c.str("kind") == "maxpool") {
    expect_codes(c, "y", y);
  }
}

void fuse(Case& c) {
  const nn::BatchNormToFuse bn{c.tensor("mean"), c.tensor("var"), c.tensor("gamma"),
                               c.tensor("beta"), c.number("eps")};
  const auto bias = c.has("b") ? std::optional(c.tensor("b")) : std::nullopt;
  const nn::FusedWeights fused = Case::take(nn::fuse_conv_bn_weights(c.tensor("w"), bias, bn));
  c.expect("fused_w", fused.weight);
  c.expect("fused_b", fused.bias);
  const std::vector<double> scales = symmetric_scales(fused.weight, true);
  c.expect<float>("w_scale", std::vector<float>(scales.begin(), scales.end()));
  expect_codes(c, "wq", Case::take(quantize_weight(fused.weight, scales, true)));
}

struct Kind {
  std::string_view name;
  void (*run)(Case& c, const QTensor& x);  // x: the input, where there is one
};
constexpr std::array kKinds{
    Kind{"conv2d", &conv2d},
    Kind{"linear", &linear},
    Kind{"relu",
         [](Case& c, const QTensor& q) {
           unary(c, q, [](const QTensor& x, double, std::int64_t) { return F::relu(x); });
         }},
    Kind{"relu6",
         [](Case& c, const QTensor& q) {
           unary(c, q, [](const QTensor& x, double, std::int64_t) {
             return nn::quantized::ReLU6().forward(x);
           });
         }},
    Kind{"clamp",
         [](Case& c, const QTensor& q) {
           unary(c, q, [&c](const QTensor& x, double, std::int64_t) {
             return F::clamp(x, c.number("min"), c.number("max"));
           });
         }},
    Kind{"hardswish",
         [](Case& c, const QTensor& q) {
           unary(c, q, [](const QTensor& x, double scale, std::int64_t zero_point) {
             return nn::quantized::Hardswish(scale, zero_point).forward(x);
           });
         }},
    Kind{"hardsigmoid",
         [](Case& c, const QTensor& q) {
           unary(c, q, [](const QTensor& x, double, std::int64_t) { return F::hardsigmoid(x); });
         }},
    Kind{"sigmoid",
         [](Case& c, const QTensor& q) {
           unary(c, q, [](const QTensor& x, double scale, std::int64_t zero_point) {
             return nn::quantized::Sigmoid(scale, zero_point).forward(x);
           });
         }},
    Kind{"sigmoid_default",
         [](Case& c, const QTensor& q) {
           unary(c, q, [](const QTensor& x, double, std::int64_t) { return F::sigmoid(x); });
         }},
    Kind{"tanh",
         [](Case& c, const QTensor& q) {
           unary(c, q, [](const QTensor& x, double, std::int64_t) { return F::tanh(x); });
         }},
    Kind{"leaky_relu",
         [](Case& c, const QTensor& q) {
           unary(c, q, [&c](const QTensor& x, double scale, std::int64_t zero_point) {
             return nn::quantized::LeakyReLU(scale, zero_point, c.number("negative_slope"))
                 .forward(x);
           });
         }},
    Kind{"elu",
         [](Case& c, const QTensor& q) {
           unary(c, q, [&c](const QTensor& x, double scale, std::int64_t zero_point) {
             return nn::quantized::ELU(scale, zero_point, c.number("alpha")).forward(x);
           });
         }},
    Kind{"maxpool",
         [](Case& c, const QTensor& x) {
           expect_pooled(c, x, [&](const QTensor& in) { return F::max_pool2d(in, pool_of(c)); });
         }},
    Kind{"avgpool",
         [](Case& c, const QTensor& x) {
           F::Pool2d pool = pool_of(c);
           if (c.has("count_include_pad")) pool.count_include_pad = c.flag("count_include_pad");
           for (const char* key : {"divisor", "divisor_override"}) {
             if (c.has(key)) pool.divisor_override = c.integer(key);
           }
           expect_pooled(c, x, [&](const QTensor& in) { return F::avg_pool2d(in, pool); });
           if (c.has("y_qnnpack"))
             expect_codes(c, "y_qnnpack", Case::take(F::avg_pool2d(x, pool, engine_of("qnnpack"))));
         }},
    Kind{"adaptive_avgpool",
         [](Case& c, const QTensor& x) {
           const std::array<std::int64_t, 2> size{c.integer("oh"), c.integer("ow")};
           expect_pooled(c, x, [&](const QTensor& in) { return F::adaptive_avg_pool2d(in, size); });
         }},
    Kind{"mean_hw",
         [](Case& c, const QTensor& q) {
           unary(c, q, [](const QTensor& x, double, std::int64_t) { return F::mean_hw(x); });
         }},
};

struct OtherKind {
  std::string_view name;
  void (*run)(Case& c);
};
constexpr std::array kOtherKinds{
    OtherKind{"add", [](Case& c) { binary(c, &F::add); }},
    OtherKind{"add_relu", [](Case& c) { binary(c, &F::add_relu); }},
    OtherKind{"mul", [](Case& c) { binary(c, &F::mul); }},
    OtherKind{"mul_relu", [](Case& c) { binary(c, &F::mul_relu); }},
    OtherKind{"cat", &cat},
    OtherKind{"fuse_conv_bn", &fuse},
};

}  // namespace

void run_ops(Case& c) {
  const std::string kind = c.str("kind");
  if (c.has("dtype")) scalar_type(c);  // that of the codes, which say it too
  for (const Kind& row : kKinds) {
    if (row.name == kind) return row.run(c, quantized(c, "x", "in"));
  }
  for (const OtherKind& row : kOtherKinds) {
    if (row.name == kind) return row.run(c);
  }
  throw std::runtime_error("kind " + kind + " is not understood");
}

}  // namespace octavo::golden
