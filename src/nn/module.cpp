#include "nn/module.h"

#include <algorithm>

#include "base/text.h"

namespace octavo::nn {

Result<Tensor> float_value(const Value& value, std::string_view where) {
  if (const auto* tensor = std::get_if<Tensor>(&value)) return *tensor;
  return Error{
      Code::kUnsupportedDtype,
      text("expected a float tensor, got ", torch_name(std::get<QTensor>(value).dtype()), "."),
      std::string(where), "Put a DeQuantStub before it, or convert the module."};
}

Result<QTensor> quantized_value(const Value& value, std::string_view where) {
  if (const auto* tensor = std::get_if<QTensor>(&value)) return *tensor;
  return Error{Code::kUnsupportedDtype, "expected a quantized tensor, got a float one.",
               std::string(where), "Put a QuantStub before it."};
}

Result<Tensor> Module::gradient(const Tensor&) {
  return Error{Code::kInvalidState, text("A ", kind(), " has no gradient here."),
               std::string(kind()), "Write the backward pass of this module yourself."};
}

Result<Value> Module::operator()(const Value& x) {
  OCTAVO_TRY(Value y, forward(x));
  if (!activation_post_process) return y;
  OCTAVO_TRY(const Tensor output, float_value(y, kind()));
  OCTAVO_TRY(Tensor seen, activation_post_process->forward(output));
  return Value(std::move(seen));
}

Result<Tensor> Module::backward(const Tensor& grad_out) {
  if (!activation_post_process) return gradient(grad_out);
  OCTAVO_TRY(const Tensor grad, activation_post_process->gradient(grad_out));
  return gradient(grad);
}

Result<Module*> Module::child(std::string_view path) {
  Module* at = this;
  while (!path.empty()) {
    const std::string_view name = path.substr(0, path.find('.'));
    const auto found = std::ranges::find(at->children_, name, &Child::name);
    if (found == at->children_.end()) {
      std::vector<std::string_view> names;
      for (const Child& one : at->children_) names.push_back(one.name);
      return Error{Code::kInvalidOption, text("There is no child '", name, "'."),
                   std::string(at->kind()), text("Children: ", join(names, ", "), ".")};
    }
    at = found->module.get();
    path = name.size() == path.size() ? std::string_view() : path.substr(name.size() + 1);
  }
  return at;
}

Result<Value> Module::call(std::string_view name, const Value& x) {
  OCTAVO_TRY(Module * module, child(name));
  return (*module)(x);
}

void Module::train(bool mode) {
  training_ = mode;
  for (Child& one : children_) one.module->train(mode);
}

void Module::place(std::string name, std::unique_ptr<Module> module) {
  const auto found = std::ranges::find(children_, name, &Child::name);
  if (found != children_.end()) {
    found->module = std::move(module);
  } else {
    children_.push_back({std::move(name), std::move(module)});
  }
}

Result<Value> Sequential::forward(const Value& x) {
  Value value = x;
  for (const Child& one : children()) {
    OCTAVO_TRY(value, (*one.module)(value));
  }
  return value;
}

Result<Tensor> Sequential::gradient(const Tensor& grad_out) {
  Tensor grad = grad_out;
  for (std::size_t i = children().size(); i-- > 0;) {
    OCTAVO_TRY(grad, children()[i].module->backward(grad));
  }
  return grad;
}

}  // namespace octavo::nn
