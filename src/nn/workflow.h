// Eager-mode quantization of a tree of modules, as torch.ao.quantization (2.6):
//
//   post-training   fuse_modules, set_qconfig, prepare, run samples through it, convert
//   aware training  fuse_modules_qat, set_qconfig, prepare_qat, the user's training loop, eval,
//   convert dynamic         quantize_dynamic
//
// All of them change the model in place (torch: inplace = True). What becomes what is in the two
// tables below.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "nn/engine.h"
#include "nn/module.h"

namespace octavo::nn {

// A sequence that fuse_modules makes one module of; the rest of it become Identity.
struct FusionRow {
  std::vector<std::string_view> kinds;
  std::string_view fused;  // kind() afterwards, when evaluating
  Status (*fuse)(std::span<Module* const> modules, bool qat);
};
std::span<const FusionRow> fusion_rows();

// A float module and what prepare, prepare_qat and convert do to it.
struct QuantizationRow {
  std::string_view kind;  // its kind(), as prepared
  std::string_view quantized;
  // The quantized module, from one that has been prepared and has seen data.
  Result<std::unique_ptr<Module>> (*convert)(Module& module, const Backend& backend);
  // Gives its weight a fake quantization (prepare_qat); none for modules without a weight.
  Status (*fake_quantize_weight)(Module& module) = nullptr;
  bool observe = true;  // its output gets the qconfig's activation
};
std::span<const QuantizationRow> quantization_rows();

// Paths of children, "features.conv1", in their order. fuse_modules wants a model in eval() and
// folds BatchNorm into convolutions; fuse_modules_qat wants one in train() and keeps it beside
// them. A sequence that is no row is an error that lists the rows.
using ModulePaths = std::vector<std::string>;
Status fuse_modules(Module& model, const std::vector<ModulePaths>& modules_to_fuse);
Status fuse_modules_qat(Module& model, const std::vector<ModulePaths>& modules_to_fuse);

// Puts the qconfig's activation behind every module that has a row and a qconfig, its own or one
// inherited. INVALID_STATE where no module has one.
Status prepare(Module& model);
// The same for a model in train(), with fake quantization of weights too.
Status prepare_qat(Module& model);
// Replaces every prepared module by its quantized one and removes qconfigs and observers. All or
// nothing: modules that were not prepared or saw no data are reported together, and then nothing
// has changed.
Status convert(Module& model, const Backend& backend = {});

// Replaces modules of these kinds ("Linear", "LinearReLU", "Conv2d", "ConvReLU2d") by ones with
// int8 weights (default_dynamic_qconfig, or the modules' own qconfig) that quantize their input as
// it comes: linear layers by torch's rule, convolutions by ONNX's (functional_dynamic.h).
Status quantize_dynamic(Module& model, const std::vector<std::string>& kinds = {"Linear"});

// The weight as convert quantizes it: shown to `observer`, then on its grid. INVALID_OPTION where
// that is not qint8.
Result<QTensor> quantize_weight(const Tensor& weight, PostProcess& observer);

// A layer of nn/quantized in a tree: what convert makes.
template <class Layer>
class Quantized final : public Module {
 public:
  Quantized(std::string_view kind, Layer layer) : kind_(kind), layer_(std::move(layer)) {}
  std::string_view kind() const override { return kind_; }
  Result<Value> forward(const Value& x) override {
    if constexpr (requires(const QTensor& codes) { layer_.forward(codes); }) {
      OCTAVO_TRY(const QTensor codes, quantized_value(x, kind_));
      return to_value(layer_.forward(codes));
    } else {  // Quantize
      OCTAVO_TRY(const Tensor floats, float_value(x, kind_));
      return to_value(layer_.forward(floats));
    }
  }
  Layer& layer() { return layer_; }

 private:
  static Result<Value> to_value(Result<QTensor> y) {
    OCTAVO_TRY(QTensor codes, std::move(y));
    return Value(std::move(codes));
  }
  static Result<Value> to_value(Tensor y) { return Value(std::move(y)); }  // DeQuantize

  std::string_view kind_;
  Layer layer_;
};
// The layer in a converted module: layer_of<quantized::BatchNorm2d>(*model.child("bn").value()), or
// null where it is another one.
template <class Layer>
Layer* layer_of(Module& module) {
  auto* holder = dynamic_cast<Quantized<Layer>*>(&module);
  return holder == nullptr ? nullptr : &holder->layer();
}

}  // namespace octavo::nn
