// Quantized modules, one class for all kinds: a table says how each is made.
#include <emscripten/bind.h>

#include <memory>
#include <type_traits>

#include "base/text.h"
#include "nn/options.h"
#include "nn/quantized/batch_norm.h"
#include "nn/quantized/conv.h"
#include "nn/quantized/linear.h"
#include "nn/wire.h"
#include "outcome.h"

namespace octavo::bindings {

namespace {

using emscripten::val;

Result<nn::Parameter> parameter_from(const val& wire) {
  if (wire["scheme"].isUndefined()) {
    OCTAVO_TRY(Tensor tensor, tensor_from(wire));
    return nn::Parameter(std::move(tensor));
  }
  OCTAVO_TRY(nn::QTensor tensor, qtensor_from(wire));
  return nn::Parameter(std::move(tensor));
}

// { weight?, bias?, runningMean, runningVar, numBatchesTracked, eps, momentum }
Result<nn::BatchNormParameters> batch_norm_from(const val& options) {
  nn::BatchNormParameters parameters;
  if (!options["weight"].isUndefined()) {
    OCTAVO_TRY(parameters.weight, parameter_from(options["weight"]));
  }
  if (!options["bias"].isUndefined()) {
    OCTAVO_TRY(parameters.bias, parameter_from(options["bias"]));
  }
  OCTAVO_TRY(parameters.running_mean, parameter_from(options["runningMean"]));
  OCTAVO_TRY(parameters.running_var, parameter_from(options["runningVar"]));
  parameters.num_batches_tracked = integer_from(options, "numBatchesTracked");
  parameters.eps = options["eps"].as<double>();
  parameters.momentum = options["momentum"].as<double>();
  return parameters;
}

class QuantizedModule {
 public:
  virtual ~QuantizedModule() = default;
  virtual Result<val> forward(const val& x) = 0;
  virtual Result<val> state_dict() = 0;
  virtual Status load_state_dict(const nn::StateDict& state) = 0;
  virtual Result<val> quantize_parameters(const val& options) = 0;
  virtual Result<val> compare_parameters(const val& other, const val& input) = 0;
  virtual std::string kernel() const = 0;
};

// What every module does; of parameters that are quantized anyway, as those of convolutions and
// linear layers are.
template <class Module>
class ModuleOf : public QuantizedModule {
 public:
  explicit ModuleOf(Module module) : module_(std::move(module)) {}

  Result<val> forward(const val& x) override {
    OCTAVO_TRY(const nn::QTensor input, qtensor_from(x));
    OCTAVO_TRY(const nn::QTensor output, module_.forward(input));
    return to_wire(output);
  }
  Result<val> state_dict() override { return to_wire(module_.state_dict()); }
  Status load_state_dict(const nn::StateDict& state) override {
    return module_.load_state_dict(state);
  }
  Result<val> quantize_parameters(const val&) override { return no_parameters(); }
  Result<val> compare_parameters(const val&, const val&) override { return no_parameters(); }
  std::string kernel() const override { return {}; }

 protected:
  static Error no_parameters() {
    return Error{Code::kInvalidState, "The weights of this module are quantized already.",
                 "quantizeParameters", ""};
  }
  Module module_;
};

template <class Module>
class BatchNormModule final : public ModuleOf<Module> {
 public:
  using ModuleOf<Module>::ModuleOf;

  Result<val> quantize_parameters(const val& options) override {
    OCTAVO_TRY(const nn::ScalarType type, scalar_type_from(options["dtype"]));
    OCTAVO_TRY(const auto input, input_from(options["input"]));
    return to_object(module_.quantize_parameters(type, options["perChannel"].as<bool>(), input));
  }
  Result<val> compare_parameters(const val& other, const val& input) override {
    OCTAVO_TRY(const nn::BatchNormParameters parameters, batch_norm_from(other));
    OCTAVO_TRY(const auto x, input_from(input));
    return to_object(module_.compare(parameters, x));
  }
  std::string kernel() const override { return std::string(module_.kernel()); }

 private:
  // { dtype, scale, zeroPoint }
  static Result<nn::quantized::BatchNorm::Input> input_from(const val& input) {
    OCTAVO_TRY(const nn::ScalarType type, scalar_type_from(input["dtype"]));
    return nn::quantized::BatchNorm::Input{type, input["scale"].as<double>(),
                                           integer_from(input, "zeroPoint")};
  }
  static Result<val> to_object(const Result<nn::quantized::ParameterError>& error) {
    if (!error.ok()) return error.error();
    val report = val::object();
    report.set("weight", error->weight);
    report.set("bias", error->bias);
    report.set("runningMean", error->running_mean);
    report.set("runningVar", error->running_var);
    report.set("codes", static_cast<double>(error->codes));
    report.set("codesChanged", static_cast<double>(error->codes_changed));
    report.set("largestChange", error->largest_change);
    return report;
  }

  using ModuleOf<Module>::module_;
};

using Made = Result<std::shared_ptr<QuantizedModule>>;

// The same, with scale and zeroPoint.
template <class Module>
Made make_batch_norm(const val& options) {
  OCTAVO_TRY(nn::BatchNormParameters parameters, batch_norm_from(options));
  OCTAVO_TRY(Module module, Module::from_float(std::move(parameters), options["scale"].as<double>(),
                                               integer_from(options, "zeroPoint")));
  return std::shared_ptr<QuantizedModule>(
      std::make_shared<BatchNormModule<Module>>(std::move(module)));
}

// { weight, bias?, scale, zeroPoint, engine? } and for convolutions { stride, padding, dilation,
// outputPadding: pairs, groups }
template <class Module>
Made make_weighted(const val& options) {
  OCTAVO_TRY(nn::QTensor weight, qtensor_from(options["weight"]));
  std::optional<Tensor> bias;
  if (!options["bias"].isUndefined()) {
    OCTAVO_TRY(bias, tensor_from(options["bias"]));
  }
  const double scale = options["scale"].as<double>();
  const auto zero_point = integer_from(options, "zeroPoint");
  OCTAVO_TRY(const nn::Backend backend, backend_from(options["engine"]));
  auto made = [&]() -> Result<Module> {
    if constexpr (std::is_base_of_v<nn::quantized::Conv, Module>) {
      nn::quantized::ConvOptions conv;
      conv.stride = pair_from(options, "stride");
      conv.padding = pair_from(options, "padding");
      conv.dilation = pair_from(options, "dilation");
      conv.output_padding = pair_from(options, "outputPadding");
      conv.groups = integer_from(options, "groups");
      return Module::from_weights(std::move(weight), std::move(bias), conv, scale, zero_point,
                                  backend);
    } else {
      return Module::from_weights(std::move(weight), std::move(bias), scale, zero_point, backend);
    }
  }();
  if (!made.ok()) return made.error();
  return std::shared_ptr<QuantizedModule>(
      std::make_shared<ModuleOf<Module>>(std::move(made).value()));
}

struct Row {
  std::string_view name;  // torch's class name
  Made (*make)(const val& options);
};
constexpr Row kRows[] = {
    {"BatchNorm1d", &make_batch_norm<nn::quantized::BatchNorm1d>},
    {"BatchNorm2d", &make_batch_norm<nn::quantized::BatchNorm2d>},
    {"BatchNorm3d", &make_batch_norm<nn::quantized::BatchNorm3d>},
    {"BNReLU1d", &make_batch_norm<nn::quantized::BNReLU1d>},
    {"BNReLU2d", &make_batch_norm<nn::quantized::BNReLU2d>},
    {"BNReLU3d", &make_batch_norm<nn::quantized::BNReLU3d>},
    {"Conv1d", &make_weighted<nn::quantized::Conv1d>},
    {"Conv2d", &make_weighted<nn::quantized::Conv2d>},
    {"ConvReLU1d", &make_weighted<nn::quantized::ConvReLU1d>},
    {"ConvReLU2d", &make_weighted<nn::quantized::ConvReLU2d>},
    {"ConvTranspose2d", &make_weighted<nn::quantized::ConvTranspose2d>},
    {"Linear", &make_weighted<nn::quantized::Linear>},
    {"LinearReLU", &make_weighted<nn::quantized::LinearReLU>},
};

// What JavaScript holds.
class Handle {
 public:
  explicit Handle(std::shared_ptr<QuantizedModule> module) : module_(std::move(module)) {}

  static val make(std::string kind, val options) {
    return outcome([&]() -> Result<val> {
      for (const Row& row : kRows) {
        if (row.name != kind) continue;
        OCTAVO_TRY(std::shared_ptr<QuantizedModule> module, row.make(options));
        return val(std::make_shared<Handle>(std::move(module)));
      }
      return Error{Code::kInvalidOption, text("There is no quantized module '", kind, "'."),
                   "nn.quantized", ""};
    });
  }
  val forward(val x) {
    return outcome([&] { return module_->forward(x); });
  }
  val state_dict() {
    return outcome([&] { return module_->state_dict(); });
  }
  val load_state_dict(val entries) {
    return outcome([&]() -> Result<val> {
      OCTAVO_TRY(const nn::StateDict state, state_from(entries));
      return none(module_->load_state_dict(state));
    });
  }
  val quantize_parameters(val options) {
    return outcome([&] { return module_->quantize_parameters(options); });
  }
  val compare_parameters(val other, val input) {
    return outcome([&] { return module_->compare_parameters(other, input); });
  }
  std::string kernel() const { return module_->kernel(); }

 private:
  std::shared_ptr<QuantizedModule> module_;
};

}  // namespace

EMSCRIPTEN_BINDINGS(octavo_nn_modules) {
  emscripten::class_<Handle>("QuantizedModule")
      .smart_ptr<std::shared_ptr<Handle>>("QuantizedModulePtr")
      .class_function("make", &Handle::make)
      .function("forward", &Handle::forward)
      .function("stateDict", &Handle::state_dict)
      .function("loadStateDict", &Handle::load_state_dict)
      .function("quantizeParameters", &Handle::quantize_parameters)
      .function("compareParameters", &Handle::compare_parameters)
      .function("kernel", &Handle::kernel);
}

}  // namespace octavo::bindings
