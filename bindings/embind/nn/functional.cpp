// Functions on quantized tensors, by name: a table says how each reads its options.
#include "nn/functional.h"

#include <emscripten/bind.h>

#include "base/text.h"
#include "nn/fuse.h"
#include "nn/options.h"
#include "nn/wire.h"
#include "outcome.h"

namespace octavo::bindings {

namespace {

namespace F = nn::functional;
using emscripten::val;
using nn::QTensor;
using Inputs = std::vector<QTensor>;
using Out = Result<QTensor>;

double scale_of(const val& o) { return o["scale"].as<double>(); }
std::int64_t zero_of(const val& o) { return integer_from(o, "zeroPoint"); }
template <Result<QTensor> (*kFunction)(const QTensor&)>
Out plain(const Inputs& x, const val&) {
  return kFunction(x[0]);
}
template <Result<QTensor> (*kFunction)(const QTensor&, double, std::int64_t)>
Out onto_grid(const Inputs& x, const val& o) {
  return kFunction(x[0], scale_of(o), zero_of(o));
}
template <Result<QTensor> (*kFunction)(const QTensor&, const QTensor&, double, std::int64_t)>
Out binary(const Inputs& x, const val& o) {
  return kFunction(x[0], x[1], scale_of(o), zero_of(o));
}

struct Row {
  std::string_view name;
  std::size_t inputs;  // 0: any number
  Out (*run)(const Inputs& x, const val& options);
};
constexpr Row kRows[] = {
    {"relu", 1, &plain<&F::relu>},
    {"relu6", 1, &plain<&F::relu6>},
    {"hardsigmoid", 1, &plain<&F::hardsigmoid>},
    {"tanh", 1, &plain<&F::tanh>},
    {"hardswish", 1, &onto_grid<&F::hardswish>},
    {"sigmoid", 1,
     [](const Inputs& x, const val& o) {
       return o["scale"].isNumber() ? F::sigmoid(x[0], scale_of(o), zero_of(o)) : F::sigmoid(x[0]);
     }},
    {"clamp", 1,
     [](const Inputs& x, const val& o) {
       return F::clamp(x[0], o["min"].as<double>(), o["max"].as<double>());
     }},
    {"leakyRelu", 1,
     [](const Inputs& x, const val& o) {
       return F::leaky_relu(x[0], o["negativeSlope"].as<double>(), scale_of(o), zero_of(o));
     }},
    {"elu", 1,
     [](const Inputs& x, const val& o) {
       return F::elu(x[0], o["alpha"].as<double>(), scale_of(o), zero_of(o));
     }},
    {"softmax", 1,
     [](const Inputs& x, const val& o) {
       return F::softmax(x[0], integer_from(o, "dim"), scale_of(o), zero_of(o));
     }},
    {"add", 2, &binary<&F::add>},
    {"addRelu", 2, &binary<&F::add_relu>},
    {"mul", 2, &binary<&F::mul>},
    {"mulRelu", 2, &binary<&F::mul_relu>},
    {"addScalar", 1,
     [](const Inputs& x, const val& o) { return F::add_scalar(x[0], o["c"].as<double>()); }},
    {"mulScalar", 1,
     [](const Inputs& x, const val& o) { return F::mul_scalar(x[0], o["c"].as<double>()); }},
    {"cat", 0,
     [](const Inputs& x, const val& o) {
       return F::cat(x, integer_from(o, "dim"), scale_of(o), zero_of(o));
     }},
    {"maxPool1d", 1,
     [](const Inputs& x, const val& o) { return F::max_pool1d(x[0], pool_from(o)); }},
    {"maxPool2d", 1,
     [](const Inputs& x, const val& o) { return F::max_pool2d(x[0], pool_from(o)); }},
    {"avgPool2d", 1,
     [](const Inputs& x, const val& o) -> Out {
       OCTAVO_TRY(const nn::Backend backend, backend_from(o["engine"]));
       return F::avg_pool2d(x[0], pool_from(o), backend);
     }},
    {"adaptiveAvgPool2d", 1,
     [](const Inputs& x, const val& o) {
       return F::adaptive_avg_pool2d(x[0], pair_from(o, "outputSize"));
     }},
    {"meanHw", 1,
     [](const Inputs& x, const val& o) { return F::mean_hw(x[0], o["keepdim"].as<bool>()); }},
    {"interpolate", 1,
     [](const Inputs& x, const val& o) {
       const bool nearest = o["mode"].as<std::string>() == "nearest";
       return F::interpolate(x[0], pair_from(o, "size"),
                             nearest ? F::InterpolateMode::kNearest : F::InterpolateMode::kBilinear,
                             o["alignCorners"].as<bool>());
     }},
    {"flatten", 1,
     [](const Inputs& x, const val& o) { return F::flatten(x[0], integer_from(o, "startDim")); }},
};

val functional(std::string name, val tensors, val options) {
  return outcome([&]() -> Result<val> {
    Inputs inputs;
    const auto count = tensors["length"].as<unsigned>();
    for (unsigned i = 0; i < count; ++i) {
      OCTAVO_TRY(QTensor input, qtensor_from(tensors[i]));
      inputs.push_back(std::move(input));
    }
    for (const Row& row : kRows) {
      if (row.name != name || (row.inputs != 0 && row.inputs != inputs.size())) continue;
      OCTAVO_TRY(const QTensor y, row.run(inputs, options));
      return to_wire(y);
    }
    return Error{Code::kInvalidOption,
                 text("There is no function '", name, "' of ", inputs.size(), " tensors."),
                 "nn.functional", ""};
  });
}

// torch.nn.utils.fusion.fuse_conv_bn_weights. bn: { runningMean, runningVar, weight, bias, eps };
// bias: a tensor or undefined.
val fuse_conv_bn_weights(val weight, val bias, val bn) {
  return outcome([&]() -> Result<val> {
    OCTAVO_TRY(const Tensor w, tensor_from(weight));
    std::optional<Tensor> b;
    if (!bias.isUndefined()) {
      OCTAVO_TRY(b, tensor_from(bias));
    }
    OCTAVO_TRY(Tensor mean, tensor_from(bn["runningMean"]));
    OCTAVO_TRY(Tensor var, tensor_from(bn["runningVar"]));
    OCTAVO_TRY(Tensor gamma, tensor_from(bn["weight"]));
    OCTAVO_TRY(Tensor beta, tensor_from(bn["bias"]));
    OCTAVO_TRY(const nn::FusedWeights fused,
               nn::fuse_conv_bn_weights(w, b, {mean, var, gamma, beta, bn["eps"].as<double>()}));
    val object = val::object();
    object.set("weight", to_wire(fused.weight));
    object.set("bias", to_wire(fused.bias));
    return object;
  });
}

}  // namespace

F::Pool2d pool_from(const val& options) {
  F::Pool2d pool;
  pool.kernel_size = pair_from(options, "kernelSize");
  pool.stride = pair_from(options, "stride");
  pool.padding = pair_from(options, "padding");
  pool.dilation = pair_from(options, "dilation");
  pool.ceil_mode = options["ceilMode"].as<bool>();
  pool.count_include_pad = options["countIncludePad"].as<bool>();
  if (options["divisorOverride"].isNumber())
    pool.divisor_override = integer_from(options, "divisorOverride");
  return pool;
}

EMSCRIPTEN_BINDINGS(octavo_nn_functional) {
  emscripten::function("functional", &functional);
  emscripten::function("fuseConvBnWeights", &fuse_conv_bn_weights);
}

}  // namespace octavo::bindings
