// Module: the base of layers and models, as torch.nn.Module: named children, a forward of one's
// own, training and evaluation mode, and what quantization hangs onto it.
//
//   class Net final : public Module {
//    public:
//     Net() { add_module("conv", ...); add_module("relu", std::make_unique<ReLU>()); }
//     std::string_view kind() const override { return "Net"; }
//     Result<Value> forward(const Value& x) override {
//       OCTAVO_TRY(const Value y, call("conv", x));
//       return call("relu", y);
//     }
//   };
//
// A forward calls its children by name, since prepare and convert put other modules in their place.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.h"
#include "nn/qconfig.h"
#include "nn/qtensor.h"
#include "tensor/tensor.h"

namespace octavo::nn {

// What flows through a model: floats before a Quantize and after a DeQuantize, codes between them.
using Value = std::variant<Tensor, QTensor>;
// The alternative, or UNSUPPORTED_DTYPE that says what a model lacks.
Result<Tensor> float_value(const Value& value, std::string_view where);
Result<QTensor> quantized_value(const Value& value, std::string_view where);

class Module {
 public:
  struct Child {
    std::string name;
    std::unique_ptr<Module> module;
  };

  Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;
  virtual ~Module() = default;

  virtual std::string_view kind() const = 0;  // torch's class name, or the user's own
  virtual Result<Value> forward(const Value& x) = 0;
  // The gradient of the last forward()'s input, where the module has one (INVALID_STATE otherwise);
  // gradients of parameters are added up in the module. Sequential, Conv2d, Linear, BatchNorm2d,
  // ReLU, ReLU6, Identity, Flatten and the stubs have it.
  virtual Result<Tensor> gradient(const Tensor& grad_out);
  // forward(), and gradient(), with the activation_post_process behind it.
  Result<Value> operator()(const Value& x);
  Result<Tensor> backward(const Tensor& grad_out);

  // Returns the child. A name that is there already is replaced.
  template <class M>
  M& add_module(std::string name, std::unique_ptr<M> module) {
    M& child = *module;
    place(std::move(name), std::move(module));
    return child;
  }
  std::vector<Child>& children() { return children_; }
  const std::vector<Child>& children() const { return children_; }
  // "layer1.conv" for a child's child; INVALID_OPTION with the names there are.
  Result<Module*> child(std::string_view path);
  // The child's operator().
  Result<Value> call(std::string_view name, const Value& x);

  bool training() const { return training_; }
  void train(bool mode = true);  // of the children too
  void eval() { train(false); }

  // What prepare shall put into this module and those below that have none of their own;
  // no_qconfig() (torch: qconfig = None) keeps them float.
  void set_qconfig(QConfig qconfig) {
    qconfig_ = std::make_shared<const QConfig>(std::move(qconfig));
    qconfig_set_ = true;
  }
  void no_qconfig() {
    qconfig_ = nullptr;
    qconfig_set_ = true;
  }
  bool qconfig_set() const { return qconfig_set_; }
  const std::shared_ptr<const QConfig>& qconfig() const { return qconfig_; }
  void inherit_qconfig(std::shared_ptr<const QConfig> qconfig) {
    qconfig_ = std::move(qconfig);
    qconfig_set_ = true;
  }
  void remove_qconfig() {
    qconfig_ = nullptr;
    qconfig_set_ = false;
  }

  // The observer or fake quantization of the output; prepare makes it, convert reads it.
  std::unique_ptr<PostProcess> activation_post_process;

 private:
  void place(std::string name, std::unique_ptr<Module> module);

  std::vector<Child> children_;
  std::shared_ptr<const QConfig> qconfig_;
  bool qconfig_set_ = false;
  bool training_ = true;  // as torch's modules start
};

// Children one after the other; torch.nn.Sequential's names "0", "1", ...
class Sequential final : public Module {
 public:
  Sequential() = default;
  template <class... M>
  explicit Sequential(std::unique_ptr<M>... modules) {
    (append(std::move(modules)), ...);
  }
  template <class M>
  M& append(std::unique_ptr<M> module) {
    return add_module(std::to_string(children().size()), std::move(module));
  }
  std::string_view kind() const override { return "Sequential"; }
  Result<Value> forward(const Value& x) override;
  Result<Tensor> gradient(const Tensor& grad_out) override;
};

}  // namespace octavo::nn
