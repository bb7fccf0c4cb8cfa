// Functions on float tensors and their gradients, by name: what float modules compute while a model
// is observed or trained, and the dynamically quantized ones, which take and give floats.
#include <emscripten/bind.h>

#include "base/text.h"
#include "nn/functional_dynamic.h"
#include "nn/functional_float.h"
#include "nn/options.h"
#include "nn/wire.h"
#include "outcome.h"

namespace octavo::bindings {

namespace {

namespace F = nn::functional;
using emscripten::val;
using Outputs = Result<std::vector<Tensor>>;

Outputs one(Result<Tensor> y) {
  if (!y.ok()) return y.error();
  return std::vector<Tensor>{std::move(y).value()};
}
Outputs three(const Result<F::LayerGradients>& gradients) {
  if (!gradients.ok()) return gradients.error();
  return std::vector<Tensor>{gradients->x, gradients->weight, gradients->bias};
}

// { stride, padding, dilation: pairs, groups }
F::Conv2dOptions conv_of(const val& o) {
  return {pair_from(o, "stride"), pair_from(o, "padding"), pair_from(o, "dilation"),
          integer_from(o, "groups")};
}

// The tensors of a call; an undefined one is a bias that is not there.
class Inputs {
 public:
  static Result<Inputs> from(const val& wires) {
    Inputs inputs;
    const auto count = wires["length"].as<unsigned>();
    for (unsigned i = 0; i < count; ++i) {
      std::optional<Tensor> tensor;
      if (!wires[i].isUndefined()) {
        OCTAVO_TRY(tensor, tensor_from(wires[i]));
      }
      inputs.tensors_.push_back(std::move(tensor));
    }
    return inputs;
  }
  const Tensor& operator[](std::size_t i) const { return *tensors_[i]; }
  const std::optional<Tensor>& maybe(std::size_t i) const { return tensors_[i]; }
  std::vector<Tensor> all() const {
    std::vector<Tensor> out;
    for (const std::optional<Tensor>& tensor : tensors_) out.push_back(*tensor);
    return out;
  }

 private:
  std::vector<std::optional<Tensor>> tensors_;
};

struct Row {
  std::string_view name;
  Outputs (*run)(const Inputs& in, const val& options);
};
constexpr Row kRows[] = {
    {"conv2d", [](const Inputs& in,
                  const val& o) { return one(F::conv2d(in[0], in[1], in.maybe(2), conv_of(o))); }},
    {"conv2dBackward",
     [](const Inputs& in, const val& o) {
       return three(F::conv2d_backward(in[0], in[1], in[2], conv_of(o)));
     }},
    {"linear",
     [](const Inputs& in, const val&) { return one(F::linear(in[0], in[1], in.maybe(2))); }},
    {"linearBackward",
     [](const Inputs& in, const val&) { return three(F::linear_backward(in[0], in[1], in[2])); }},
    // x, mean, variance, weight, bias
    {"batchNorm",
     [](const Inputs& in, const val& o) {
       return one(F::batch_norm(in[0], in[1], in[2], in[3], in[4], o["eps"].as<double>()));
     }},
    {"batchStatistics",
     [](const Inputs& in, const val&) -> Outputs {
       OCTAVO_TRY(const F::BatchStatistics batch, F::batch_statistics(in[0]));
       return std::vector<Tensor>{batch.mean, batch.var};
     }},
    // gradOutput, x, mean, variance, weight
    {"batchNormBackward",
     [](const Inputs& in, const val& o) {
       return three(F::batch_norm_backward(in[0], in[1], in[2], in[3], in[4], o["eps"].as<double>(),
                                           o["fromBatch"].as<bool>()));
     }},
    {"elu",
     [](const Inputs& in, const val& o) { return one(F::elu(in[0], o["alpha"].as<double>())); }},
    {"sigmoid", [](const Inputs& in, const val&) { return one(F::sigmoid(in[0])); }},
    {"softmax",
     [](const Inputs& in, const val& o) { return one(F::softmax(in[0], integer_from(o, "dim"))); }},
    {"maxPool2d",
     [](const Inputs& in, const val& o) { return one(F::max_pool2d(in[0], pool_from(o))); }},
    {"avgPool2d",
     [](const Inputs& in, const val& o) { return one(F::avg_pool2d(in[0], pool_from(o))); }},
    {"adaptiveAvgPool2d",
     [](const Inputs& in, const val& o) {
       return one(F::adaptive_avg_pool2d(in[0], pair_from(o, "outputSize")));
     }},
    {"add", [](const Inputs& in, const val&) { return one(F::add(in[0], in[1])); }},
    {"mul", [](const Inputs& in, const val&) { return one(F::mul(in[0], in[1])); }},
    {"cat",
     [](const Inputs& in, const val& o) { return one(F::cat(in.all(), integer_from(o, "dim"))); }},
    // options.weight: a QTensor
    {"linearDynamic",
     [](const Inputs& in, const val& o) -> Outputs {
       OCTAVO_TRY(const nn::QTensor weight, qtensor_from(o["weight"]));
       return one(F::linear_dynamic(in[0], weight, in.maybe(1), o["reduceRange"].as<bool>()));
     }},
    {"conv2dDynamic",
     [](const Inputs& in, const val& o) -> Outputs {
       OCTAVO_TRY(const nn::QTensor weight, qtensor_from(o["weight"]));
       return one(F::conv2d_dynamic(in[0], weight, in.maybe(1), conv_of(o)));
     }},
};

val float_function(std::string name, val tensors, val options) {
  return outcome([&]() -> Result<val> {
    OCTAVO_TRY(const Inputs inputs, Inputs::from(tensors));
    for (const Row& row : kRows) {
      if (row.name != name) continue;
      OCTAVO_TRY(const std::vector<Tensor> outputs, row.run(inputs, options));
      val array = val::array();
      for (const Tensor& output : outputs) array.call<void>("push", to_wire(output));
      return array;
    }
    return Error{Code::kInvalidOption, text("There is no float function '", name, "'."), "nn", ""};
  });
}

}  // namespace

EMSCRIPTEN_BINDINGS(octavo_nn_floats) { emscripten::function("floatFunction", &float_function); }

}  // namespace octavo::bindings
