// What JavaScript holds of models and sessions, for whichever module it loads.
//
// Views (input, output) are of the wasm memory as it is now: memory that grows leaves them empty,
// so JavaScript asks for a view each time it reads or writes.
#pragma once

#include <emscripten/bind.h>

#include <memory>
#include <span>
#include <string>

#include "outcome.h"
#include "quantize/model.h"

namespace octavo::bindings {

using emscripten::typed_memory_view;
using emscripten::val;

inline val view(std::span<const std::byte> bytes) {
  return val(typed_memory_view(bytes.size(), reinterpret_cast<const std::uint8_t*>(bytes.data())));
}

inline val shape_of(const Value& value) {
  val shape = val::array();
  if (!value.shape) return shape;
  for (int axis = 0; axis < value.shape->rank(); ++axis) {
    const auto i = static_cast<std::size_t>(axis);
    if ((*value.shape)[axis] >= 0) {
      shape.call<void>("push", static_cast<double>((*value.shape)[axis]));
    } else {
      const bool named = i < value.dim_names.size() && !value.dim_names[i].empty();
      shape.call<void>("push", named ? value.dim_names[i] : std::string("?"));
    }
  }
  return shape;
}

inline val tensors(const Graph& graph, const std::vector<ValueId>& ids) {
  val list = val::array();
  for (const ValueId id : ids) {
    const Value& value = graph.value(id);
    val info = val::object();
    info.set("name", value.name);
    info.set("type", std::string(dtype_name(value.dtype)));
    info.set("shape", shape_of(value));
    list.call<void>("push", info);
  }
  return list;
}

// Found once: the machine does not change.
inline kernels::Policy policy() {
  static const simd::EngineClass engine = simd::probe_engine_class();
  return {.engine = engine, .level = simd::Level::kBest};
}

// Bytes that JavaScript fills and one model then owns.
class Bytes {
 public:
  static val make(double size) {
    return outcome([&]() -> Result<val> {
      auto bytes = std::make_shared<Bytes>();
      bytes->size_ = static_cast<std::size_t>(size);
      // Aligned as the largest element, so that tensors can be views of the file.
      bytes->data_ = std::shared_ptr<std::byte>(
          static_cast<std::byte*>(::operator new (bytes->size_ + 16, std::align_val_t{16})),
          [](std::byte* p) { ::operator delete (p, std::align_val_t{16}); });
      return val(bytes);
    });
  }
  val bytes() const { return view({data_.get(), size_}); }
  // A further file that these bytes, a model, name.
  void attach(const std::string& name, const Bytes& file) {
    external_.insert_or_assign(name, onnx::FileBytes{file.data_, file.size_});
  }
  const std::shared_ptr<std::byte>& data() const { return data_; }
  std::size_t size() const { return size_; }
  const onnx::ExternalFiles& external() const { return external_; }

 private:
  std::shared_ptr<std::byte> data_;
  std::size_t size_ = 0;
  onnx::ExternalFiles external_;
};

class ModelHandle {
 public:
  explicit ModelHandle(quantize::Model model) : model_(std::move(model)) {}

  static val load(const Bytes& bytes) {
    return outcome([&]() -> Result<val> {
      OCTAVO_TRY(quantize::Model model,
                 quantize::Model::load(bytes.data(), bytes.size(), bytes.external(),
                                       onnx::Unaligned::kMove));
      return val(std::make_shared<ModelHandle>(std::move(model)));
    });
  }
  val inputs() const { return tensors(model_.graph(), model_.graph().inputs); }
  val outputs() const { return tensors(model_.graph(), model_.graph().outputs); }
  bool quantized() const { return model_.is_quantized(); }
  const quantize::Model& model() const { return model_; }

 private:
  quantize::Model model_;
};

}  // namespace octavo::bindings
