#include "nn/workflow.h"

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "nn/float_modules.h"
#include "nn/functional_dynamic.h"
#include "nn/quantized/activation.h"
#include "nn/quantized/batch_norm.h"
#include "nn/quantized/conv.h"
#include "nn/quantized/linear.h"

namespace octavo::nn {

namespace {

// ---- what the converted modules are, beyond nn/quantized ----

// Takes FloatFunctional's place, so that a model's forward goes on as it was written.
class QFunctional final : public Functional {
 public:
  QFunctional(double scale, std::int64_t zero_point) : layer_(scale, zero_point) {}
  std::string_view kind() const override { return "QFunctional"; }
  Result<Value> add(const Value& a, const Value& b) override {
    return binary(a, b, &quantized::QFunctional::add);
  }
  Result<Value> add_relu(const Value& a, const Value& b) override {
    return binary(a, b, &quantized::QFunctional::add_relu);
  }
  Result<Value> mul(const Value& a, const Value& b) override {
    return binary(a, b, &quantized::QFunctional::mul);
  }
  Result<Value> cat(std::span<const Value> parts, std::int64_t dim) override {
    std::vector<QTensor> tensors;
    for (const Value& part : parts) {
      OCTAVO_TRY(QTensor codes, quantized_value(part, kind()));
      tensors.push_back(std::move(codes));
    }
    OCTAVO_TRY(QTensor y, layer_.cat(tensors, dim));
    return Value(std::move(y));
  }
  Result<Value> add_scalar(const Value& x, double c) override {
    OCTAVO_TRY(const QTensor codes, quantized_value(x, kind()));
    OCTAVO_TRY(QTensor y, layer_.add_scalar(codes, c));
    return Value(std::move(y));
  }
  Result<Value> mul_scalar(const Value& x, double c) override {
    OCTAVO_TRY(const QTensor codes, quantized_value(x, kind()));
    OCTAVO_TRY(QTensor y, layer_.mul_scalar(codes, c));
    return Value(std::move(y));
  }

 private:
  using Op = Result<QTensor> (quantized::QFunctional::*)(const QTensor&, const QTensor&) const;
  Result<Value> binary(const Value& a, const Value& b, Op op) {
    OCTAVO_TRY(const QTensor left, quantized_value(a, kind()));
    OCTAVO_TRY(const QTensor right, quantized_value(b, kind()));
    OCTAVO_TRY(QTensor y, (layer_.*op)(left, right));
    return Value(std::move(y));
  }
  quantized::QFunctional layer_;
};

class DynamicLinear final : public Module {
 public:
  DynamicLinear(QTensor weight, std::optional<Tensor> bias, bool relu)
      : weight_(std::move(weight)), bias_(std::move(bias)), relu_(relu) {}
  std::string_view kind() const override {
    return relu_ ? "DynamicQuantizedLinearReLU" : "DynamicQuantizedLinear";
  }
  Result<Value> forward(const Value& x) override {
    OCTAVO_TRY(const Tensor floats, float_value(x, kind()));
    OCTAVO_TRY(Tensor y, functional::linear_dynamic(floats, weight_, bias_));
    if (relu_) {
      OCTAVO_TRY(y, functional::relu(y));
    }
    return Value(std::move(y));
  }

 private:
  QTensor weight_;
  std::optional<Tensor> bias_;
  bool relu_;
};

class DynamicConv2d final : public Module {
 public:
  DynamicConv2d(QTensor weight, std::optional<Tensor> bias, functional::Conv2dOptions options,
                bool relu)
      : weight_(std::move(weight)), bias_(std::move(bias)), options_(options), relu_(relu) {}
  std::string_view kind() const override {
    return relu_ ? "DynamicQuantizedConvReLU2d" : "DynamicQuantizedConv2d";
  }
  Result<Value> forward(const Value& x) override {
    OCTAVO_TRY(const Tensor floats, float_value(x, kind()));
    OCTAVO_TRY(Tensor y, functional::conv2d_dynamic(floats, weight_, bias_, options_));
    if (relu_) {
      OCTAVO_TRY(y, functional::relu(y));
    }
    return Value(std::move(y));
  }

 private:
  QTensor weight_;
  std::optional<Tensor> bias_;
  functional::Conv2dOptions options_;
  bool relu_;
};

// ---- from float to quantized ----

struct OutputGrid {
  double scale;
  std::int64_t zero_point;
  ScalarType dtype;
};
// What the module's observer found for its output.
Result<OutputGrid> output_grid(const Module& module) {
  const PostProcess* seen = module.activation_post_process.get();
  if (seen == nullptr) {
    return Error{Code::kInvalidState, "The module was not prepared.", "",
                 "Call prepare or prepare_qat before convert."};
  }
  if (!seen->observed()) {
    return Error{Code::kInvalidState, "must run observer before calling calculate_qparams.", "",
                 "Run samples through the prepared model before convert."};
  }
  OCTAVO_TRY(const QParams qparams, seen->calculate_qparams());
  if (qparams.scale.size() != 1) {
    return Error{Code::kInvalidOption,
                 text("The activation's observer is per channel (", seen->kind(), ")."), "",
                 "Activations take one scale a tensor."};
  }
  return OutputGrid{static_cast<double>(qparams.scale[0]), qparams.zero_point[0],
                    seen->spec().dtype};
}

// The weight by the fake quantization that trained with it, or by the qconfig's observer.
Result<QTensor> quantized_weight(const Module& module, const Tensor& weight,
                                 PostProcess* trained_with) {
  if (trained_with != nullptr) return quantize_weight(weight, *trained_with);
  OCTAVO_TRY(const std::unique_ptr<PostProcess> fresh, module.qconfig()->weight());
  return quantize_weight(weight, *fresh);
}

template <class Layer>
std::unique_ptr<Module> hold(std::string_view kind, Layer layer) {
  return std::make_unique<Quantized<Layer>>(kind, std::move(layer));
}

template <class Layer>
Result<std::unique_ptr<Module>> convert_conv(Module& module, const Backend& backend) {
  auto& conv = static_cast<Conv2d&>(module);
  OCTAVO_TRY(const OutputGrid grid, output_grid(module));
  std::optional<Tensor> bias;
  Tensor weight = conv.weight.value;
  if (conv.bias || conv.bn) {
    OCTAVO_TRY(const FusedWeights fused, conv.fused_weights());
    weight = fused.weight;
    bias = fused.bias;
  }
  OCTAVO_TRY(QTensor codes, quantized_weight(module, weight, conv.weight_fake_quant.get()));
  quantized::ConvOptions options;
  options.stride = conv.options.stride;
  options.padding = conv.options.padding;
  options.dilation = conv.options.dilation;
  options.groups = conv.options.groups;
  OCTAVO_TRY(Layer layer, Layer::from_weights(std::move(codes), std::move(bias), options,
                                              grid.scale, grid.zero_point, backend));
  return hold(conv.relu ? "QuantizedConvReLU2d" : "QuantizedConv2d", std::move(layer));
}

template <class Layer>
Result<std::unique_ptr<Module>> convert_linear(Module& module, const Backend& backend) {
  auto& linear = static_cast<Linear&>(module);
  OCTAVO_TRY(const OutputGrid grid, output_grid(module));
  OCTAVO_TRY(QTensor codes,
             quantized_weight(module, linear.weight.value, linear.weight_fake_quant.get()));
  std::optional<Tensor> bias;
  if (linear.bias) bias = linear.bias->value;
  OCTAVO_TRY(Layer layer, Layer::from_weights(std::move(codes), std::move(bias), grid.scale,
                                              grid.zero_point, backend));
  return hold(linear.relu ? "QuantizedLinearReLU" : "QuantizedLinear", std::move(layer));
}

template <class Layer>
Result<std::unique_ptr<Module>> convert_batch_norm(Module& module, const Backend&) {
  auto& bn = static_cast<BatchNorm2d&>(module);
  OCTAVO_TRY(const OutputGrid grid, output_grid(module));
  OCTAVO_TRY(Layer layer, Layer::from_float(bn.parameters(), grid.scale, grid.zero_point));
  return hold(bn.relu ? "QuantizedBNReLU2d" : "QuantizedBatchNorm2d", std::move(layer));
}

Result<std::unique_ptr<Module>> convert_quant_stub(Module& module, const Backend&) {
  OCTAVO_TRY(const OutputGrid grid, output_grid(module));
  return hold("Quantize", quantized::Quantize(grid.scale, grid.zero_point, grid.dtype));
}
Result<std::unique_ptr<Module>> convert_dequant_stub(Module&, const Backend&) {
  return hold("DeQuantize", quantized::DeQuantize());
}
Result<std::unique_ptr<Module>> convert_functional(Module& module, const Backend&) {
  const PostProcess* seen = module.activation_post_process.get();
  if (seen != nullptr && !seen->observed() &&
      static_cast<FloatFunctional&>(module).scalars_used()) {
    return std::unique_ptr<Module>(std::make_unique<QFunctional>(1.0, 0));  // torch's default
  }
  OCTAVO_TRY(const OutputGrid grid, output_grid(module));
  return std::unique_ptr<Module>(std::make_unique<QFunctional>(grid.scale, grid.zero_point));
}

template <class Layer>  // Conv2d, Linear
Status fake_quantize_weight(Module& module) {
  OCTAVO_TRY(static_cast<Layer&>(module).weight_fake_quant, module.qconfig()->weight());
  return ok_status();
}

const std::vector<QuantizationRow>& rows() {
  static const std::vector<QuantizationRow> kRows{
      {"QuantStub", "Quantize", &convert_quant_stub},
      {"DeQuantStub", "DeQuantize", &convert_dequant_stub, nullptr, false},
      {"Conv2d", "QuantizedConv2d", &convert_conv<quantized::Conv2d>,
       &fake_quantize_weight<Conv2d>},
      {"ConvReLU2d", "QuantizedConvReLU2d", &convert_conv<quantized::ConvReLU2d>,
       &fake_quantize_weight<Conv2d>},
      {"ConvBn2d", "QuantizedConv2d", &convert_conv<quantized::Conv2d>,
       &fake_quantize_weight<Conv2d>},
      {"ConvBnReLU2d", "QuantizedConvReLU2d", &convert_conv<quantized::ConvReLU2d>,
       &fake_quantize_weight<Conv2d>},
      {"Linear", "QuantizedLinear", &convert_linear<quantized::Linear>,
       &fake_quantize_weight<Linear>},
      {"LinearReLU", "QuantizedLinearReLU", &convert_linear<quantized::LinearReLU>,
       &fake_quantize_weight<Linear>},
      {"BatchNorm2d", "QuantizedBatchNorm2d", &convert_batch_norm<quantized::BatchNorm2d>},
      {"BNReLU2d", "QuantizedBNReLU2d", &convert_batch_norm<quantized::BNReLU2d>},
      {"FloatFunctional", "QFunctional", &convert_functional},
  };
  return kRows;
}

const QuantizationRow* row_of(const Module& module) {
  const auto row = std::ranges::find(rows(), module.kind(), &QuantizationRow::kind);
  return row == rows().end() ? nullptr : &*row;
}

// ---- fusing ----

Status take_batch_norm(Conv2d& conv, BatchNorm2d& bn, bool qat) {
  conv.bn = std::make_unique<BatchNorm2d>(bn.weight.value.elements(), bn.eps, bn.momentum);
  conv.bn->weight = bn.weight;
  conv.bn->bias = bn.bias;
  conv.bn->running_mean = bn.running_mean;
  conv.bn->running_var = bn.running_var;
  conv.bn->num_batches_tracked = bn.num_batches_tracked;
  if (qat) return ok_status();
  auto fused = conv.fused_weights();
  conv.bn.reset();
  if (!fused.ok()) return fused.error();
  conv.weight.value = fused->weight;
  conv.bias = Trained{fused->bias, {}};
  return ok_status();
}

Status fuse_conv_bn(std::span<Module* const> modules, bool qat) {
  return take_batch_norm(static_cast<Conv2d&>(*modules[0]), static_cast<BatchNorm2d&>(*modules[1]),
                         qat);
}
Status fuse_conv_bn_relu(std::span<Module* const> modules, bool qat) {
  OCTAVO_CHECK_OK(fuse_conv_bn(modules, qat));
  static_cast<Conv2d&>(*modules[0]).relu = true;
  return ok_status();
}
template <class Layer>
Status fuse_relu(std::span<Module* const> modules, bool) {
  static_cast<Layer&>(*modules[0]).relu = true;
  return ok_status();
}

const std::vector<FusionRow>& fusions() {
  static const std::vector<FusionRow> kRows{
      {{"Conv2d", "BatchNorm2d"}, "Conv2d", &fuse_conv_bn},
      {{"Conv2d", "BatchNorm2d", "ReLU"}, "ConvReLU2d", &fuse_conv_bn_relu},
      {{"Conv2d", "ReLU"}, "ConvReLU2d", &fuse_relu<Conv2d>},
      {{"BatchNorm2d", "ReLU"}, "BNReLU2d", &fuse_relu<BatchNorm2d>},
      {{"Linear", "ReLU"}, "LinearReLU", &fuse_relu<Linear>},
  };
  return kRows;
}

Status fuse_one(Module& model, const ModulePaths& paths, bool qat) {
  std::vector<Module*> modules;
  std::vector<std::string_view> kinds;
  for (const std::string& path : paths) {
    OCTAVO_TRY(Module * module, model.child(path));
    modules.push_back(module);
    kinds.push_back(module->kind());
    if (module->training() != qat) {
      return Error{
          Code::kInvalidState,
          qat ? "fuse_modules_qat only works on models in training mode"
              : "fuse_modules only works on models in evaluation mode",
          text("module '", path, "' (", module->kind(), ")"),
          qat ? "Call train() first, or fuse_modules." : "Call eval() first, or fuse_modules_qat."};
    }
  }
  const auto row = std::ranges::find(fusions(), kinds, &FusionRow::kinds);
  if (row == fusions().end()) {
    std::vector<std::string> known;
    for (const FusionRow& one : fusions()) known.push_back(join(one.kinds, " + "));
    return Error{Code::kInvalidOption, text("Cannot fuse modules: (", join(kinds, ", "), ")"),
                 text("modules '", join(paths, "', '"), "'"),
                 text("Supported: ", join(known, "; "), ".")};
  }
  OCTAVO_CHECK_OK(row->fuse(modules, qat));
  for (std::size_t i = 1; i < paths.size(); ++i) {
    const std::size_t dot = paths[i].rfind('.');
    OCTAVO_TRY(Module * parent,
               model.child(dot == std::string::npos ? std::string_view()
                                                    : std::string_view(paths[i]).substr(0, dot)));
    auto identity = std::make_unique<Identity>();
    identity->train(qat);
    parent->add_module(dot == std::string::npos ? paths[i] : paths[i].substr(dot + 1),
                       std::move(identity));
  }
  return ok_status();
}

// ---- walking the tree ----

// body(slot, path) for every module below `model`, children first.
template <class Body>
Status for_each_child(Module& model, const std::string& prefix, Body& body) {
  for (Module::Child& one : model.children()) {
    const std::string path = prefix.empty() ? one.name : text(prefix, ".", one.name);
    OCTAVO_CHECK_OK(for_each_child(*one.module, path, body));
    OCTAVO_CHECK_OK(body(one, path));
  }
  return ok_status();
}

void propagate(Module& module, const std::shared_ptr<const QConfig>& parent) {
  if (!module.qconfig_set()) module.inherit_qconfig(parent);
  for (Module::Child& one : module.children()) propagate(*one.module, module.qconfig());
}

std::string name_of(const std::string& path, const Module& module) {
  return text("module '", path, "' (", module.kind(), ")");
}

Status prepare_tree(Module& model, bool qat) {
  propagate(model, nullptr);
  int prepared = 0;
  auto body = [&](Module::Child& one, const std::string& path) -> Status {
    Module& module = *one.module;
    const QuantizationRow* row = row_of(module);
    if (row == nullptr || module.qconfig() == nullptr) return ok_status();
    ++prepared;
    const auto named = [&](Error error) {
      error.where = error.where.empty() ? name_of(path, module)
                                        : text(name_of(path, module), ", ", error.where);
      return error;
    };
    if (qat && row->fake_quantize_weight != nullptr) {
      if (const Status made = row->fake_quantize_weight(module); !made.ok())
        return named(made.error());
    }
    if (!row->observe) return ok_status();
    auto made = module.qconfig()->activation();
    if (!made.ok()) return named(made.error());
    module.activation_post_process = std::move(made).value();
    return ok_status();
  };
  OCTAVO_CHECK_OK(for_each_child(model, "", body));
  if (prepared > 0) return ok_status();
  return Error{Code::kInvalidState, "None of the submodules got a qconfig.",
               std::string(model.kind()),
               "Call set_qconfig on the model or its children before prepare."};
}

void clean(Module& module) {
  module.remove_qconfig();
  module.activation_post_process.reset();
  for (Module::Child& one : module.children()) clean(*one.module);
}

struct Replacement {
  Module::Child* slot;
  std::unique_ptr<Module> module;
};
void apply(std::vector<Replacement> replacements) {
  for (Replacement& one : replacements) {
    one.module->train(one.slot->module->training());
    one.slot->module = std::move(one.module);
  }
}

}  // namespace

std::span<const FusionRow> fusion_rows() { return fusions(); }
std::span<const QuantizationRow> quantization_rows() { return rows(); }

Status fuse_modules(Module& model, const std::vector<ModulePaths>& modules_to_fuse) {
  for (const ModulePaths& paths : modules_to_fuse) {
    OCTAVO_CHECK_OK(fuse_one(model, paths, false));
  }
  return ok_status();
}
Status fuse_modules_qat(Module& model, const std::vector<ModulePaths>& modules_to_fuse) {
  for (const ModulePaths& paths : modules_to_fuse) {
    OCTAVO_CHECK_OK(fuse_one(model, paths, true));
  }
  return ok_status();
}

Status prepare(Module& model) { return prepare_tree(model, false); }

Status prepare_qat(Module& model) {
  if (!model.training()) {
    return Error{Code::kInvalidState, "prepare_qat only works on models in training mode",
                 std::string(model.kind()), "Call train() first."};
  }
  return prepare_tree(model, true);
}

Status convert(Module& model, const Backend& backend) {
  std::vector<Replacement> replacements;
  std::vector<Error> findings;
  auto body = [&](Module::Child& one, const std::string& path) -> Status {
    const QuantizationRow* row = row_of(*one.module);
    if (row == nullptr || one.module->qconfig() == nullptr) return ok_status();
    auto made = row->convert(*one.module, backend);
    if (made.ok()) {
      replacements.push_back({&one, std::move(made).value()});
      return ok_status();
    }
    Error error = made.error();
    error.where = error.where.empty() ? name_of(path, *one.module)
                                      : text(name_of(path, *one.module), ", ", error.where);
    findings.push_back(std::move(error));
    return ok_status();
  };
  OCTAVO_CHECK_OK(for_each_child(model, "", body));
  if (!findings.empty()) return combine(std::move(findings));
  if (replacements.empty()) {
    return Error{Code::kInvalidState, "No module was prepared.", std::string(model.kind()),
                 "Call set_qconfig and prepare before convert."};
  }
  apply(std::move(replacements));
  clean(model);
  return ok_status();
}

Status quantize_dynamic(Module& model, const std::vector<std::string>& kinds) {
  for (const std::string& kind : kinds) {
    const QuantizationRow* row = nullptr;
    for (const QuantizationRow& one : rows()) {
      if (one.kind == kind && one.fake_quantize_weight != nullptr) row = &one;
    }
    if (row == nullptr || kind.starts_with("ConvBn")) {
      return Error{Code::kInvalidOption, text("Don't know how to quantize ", kind, " dynamically."),
                   "quantize_dynamic", "Supported: Linear, LinearReLU, Conv2d, ConvReLU2d."};
    }
  }
  std::vector<Replacement> replacements;
  auto body = [&](Module::Child& one, const std::string&) -> Status {
    Module& module = *one.module;
    if (std::ranges::find(kinds, module.kind()) == kinds.end()) return ok_status();
    const QConfig qconfig =
        module.qconfig() != nullptr ? *module.qconfig() : from_spec(default_dynamic_qconfig());
    OCTAVO_TRY(const std::unique_ptr<PostProcess> observer, qconfig.weight());
    if (auto* linear = dynamic_cast<Linear*>(&module)) {
      OCTAVO_TRY(QTensor weight, quantize_weight(linear->weight.value, *observer));
      std::optional<Tensor> bias;
      if (linear->bias) bias = linear->bias->value;
      replacements.push_back({&one, std::make_unique<DynamicLinear>(
                                        std::move(weight), std::move(bias), linear->relu)});
    } else {
      auto& conv = static_cast<Conv2d&>(module);
      OCTAVO_TRY(QTensor weight, quantize_weight(conv.weight.value, *observer));
      std::optional<Tensor> bias;
      if (conv.bias) bias = conv.bias->value;
      replacements.push_back(
          {&one, std::make_unique<DynamicConv2d>(std::move(weight), std::move(bias), conv.options,
                                                 conv.relu)});
    }
    return ok_status();
  };
  OCTAVO_CHECK_OK(for_each_child(model, "", body));
  apply(std::move(replacements));
  return ok_status();
}

Result<QTensor> quantize_weight(const Tensor& weight, PostProcess& observer) {
  if (observer.spec().dtype != ScalarType::kQint8) {
    return Error{Code::kInvalidOption, "Weight observer must have a dtype of torch.qint8",
                 std::string(observer.kind()), "Give the qconfig's weight observer dtype qint8."};
  }
  OCTAVO_CHECK_OK(observer.forward(weight));
  OCTAVO_TRY(const QParams qparams, observer.calculate_qparams());
  if (!is_per_channel(observer.spec().qscheme)) {
    return quantize_per_tensor(weight, static_cast<double>(qparams.scale[0]), qparams.zero_point[0],
                               ScalarType::kQint8);
  }
  return quantize_per_channel(weight, {qparams.scale.begin(), qparams.scale.end()},
                              qparams.zero_point, observer.spec().ch_axis, ScalarType::kQint8);
}

}  // namespace octavo::nn
