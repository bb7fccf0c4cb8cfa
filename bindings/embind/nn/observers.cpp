// Observers and fake quantization.
#include <emscripten/bind.h>

#include <memory>

#include "base/text.h"
#include "nn/calibration_range.h"
#include "nn/fake_quantize.h"
#include "nn/observer.h"
#include "nn/wire.h"
#include "outcome.h"

namespace octavo::bindings {

namespace {

using emscripten::val;

template <class T>
void read_number(const val& options, const char* key, T& to) {
  if (options[key].isNumber()) to = static_cast<T>(options[key].as<double>());
}

// torch's keyword arguments in camelCase; what is undefined keeps torch's default.
Result<nn::ObserverArgs> observer_args_from(const val& options) {
  nn::ObserverArgs args;
  if (!options["dtype"].isUndefined()) {
    OCTAVO_TRY(args.dtype, scalar_type_from(options["dtype"]));
  }
  if (!options["qscheme"].isUndefined()) {
    OCTAVO_TRY(args.qscheme, qscheme_from(options["qscheme"]));
  }
  if (!options["reduceRange"].isUndefined()) args.reduce_range = options["reduceRange"].as<bool>();
  for (const auto& [key, bound] :
       {std::pair{"quantMin", &args.quant_min}, std::pair{"quantMax", &args.quant_max}}) {
    if (options[key].isNumber()) *bound = static_cast<std::int64_t>(options[key].as<double>());
  }
  read_number(options, "eps", args.eps);
  read_number(options, "averagingConstant", args.averaging_constant);
  read_number(options, "chAxis", args.ch_axis);
  read_number(options, "bins", args.bins);
  read_number(options, "scale", args.scale);
  read_number(options, "zeroPoint", args.zero_point);
  return args;
}

val to_object(const nn::QParams& qparams) {
  val object = val::object();
  object.set("scale", to_array(qparams.scale));
  object.set("zeroPoint", to_array(qparams.zero_point));
  return object;
}

val to_object(const nn::QSpec& spec) {
  val object = val::object();
  object.set("dtype", std::string(nn::scalar_type_name(spec.dtype)));
  object.set("qscheme", std::string(nn::qscheme_name(spec.qscheme)));
  object.set("quantMin", static_cast<double>(spec.quant_min));
  object.set("quantMax", static_cast<double>(spec.quant_max));
  object.set("chAxis", spec.ch_axis);
  return object;
}

val bytes_of(const std::vector<std::byte>& bytes) {
  return val(emscripten::typed_memory_view(bytes.size(),
                                           reinterpret_cast<const std::uint8_t*>(bytes.data())))
      .call<val>("slice");
}

std::vector<std::byte> bytes_from(const val& array) {
  const auto bytes = emscripten::convertJSArrayToNumberVector<std::uint8_t>(array);
  std::vector<std::byte> out;
  out.reserve(bytes.size());
  for (const std::uint8_t byte : bytes) out.push_back(static_cast<std::byte>(byte));
  return out;
}

// What observers and fake quantizations have in common.
template <class Process>
class ProcessHandle {
 public:
  explicit ProcessHandle(std::unique_ptr<Process> process) : process_(std::move(process)) {}

  val forward(val x) {
    return outcome([&]() -> Result<val> {
      OCTAVO_TRY(const Tensor tensor, tensor_from(x));
      OCTAVO_TRY(const Tensor y, process_->forward(tensor));
      return to_wire(y);
    });
  }
  val calculate_qparams() {
    return outcome([&]() -> Result<val> {
      OCTAVO_TRY(const nn::QParams qparams, process_->calculate_qparams());
      return to_object(qparams);
    });
  }
  val spec() const { return to_object(process_->spec()); }
  bool observed() const { return process_->observed(); }
  val save() const { return bytes_of(process_->save()); }
  val load(val bytes) {
    return outcome([&] { return none(process_->load(bytes_from(bytes))); });
  }

 protected:
  std::unique_ptr<Process> process_;
};

class ObserverHandle final : public ProcessHandle<nn::Observer> {
 public:
  using ProcessHandle::ProcessHandle;

  static val make(std::string name, val options) {
    return outcome([&]() -> Result<val> {
      OCTAVO_TRY(const nn::ObserverArgs args, observer_args_from(options));
      OCTAVO_TRY(auto observer, nn::make_observer(name, args));
      return val(std::make_shared<ObserverHandle>(std::move(observer)));
    });
  }
  val observe(val x) {
    return outcome([&]() -> Result<val> {
      OCTAVO_TRY(const Tensor tensor, tensor_from(x));
      return none(process_->observe(tensor));
    });
  }
  val merge(const ObserverHandle& other) {
    return outcome([&] { return none(process_->merge(*other.process_)); });
  }
  void reset() { process_->reset(); }
  val min_val() const { return to_array(process_->min_val()); }
  val max_val() const { return to_array(process_->max_val()); }
  val histogram() const { return to_array(process_->histogram()); }
};

class FakeQuantizeHandle final : public ProcessHandle<nn::FakeQuantize> {
 public:
  using ProcessHandle::ProcessHandle;

  static val make(std::string observer, val options, bool fused) {
    return outcome([&]() -> Result<val> {
      nn::FakeQuantizeArgs args;
      args.observer = observer;
      OCTAVO_TRY(args.observer_args, observer_args_from(options));
      OCTAVO_TRY(auto fake,
                 fused ? nn::make_fused_fake_quantize(args) : nn::make_fake_quantize(args));
      return val(std::make_shared<FakeQuantizeHandle>(std::move(fake)));
    });
  }
  val backward(val grad) {
    return outcome([&]() -> Result<val> {
      OCTAVO_TRY(const Tensor tensor, tensor_from(grad));
      OCTAVO_TRY(const Tensor out, process_->backward(tensor));
      return to_wire(out);
    });
  }
  void enable_observer(bool enabled) { process_->enable_observer(enabled); }
  void enable_fake_quant(bool enabled) { process_->enable_fake_quant(enabled); }
  bool observer_enabled() const { return process_->observer_enabled(); }
  bool fake_quant_enabled() const { return process_->fake_quant_enabled(); }
  val scale() const { return to_array(process_->scale()); }
  val zero_point() const { return to_array(process_->zero_point()); }
  val min_val() const { return to_array(process_->activation_post_process().min_val()); }
  val max_val() const { return to_array(process_->activation_post_process().max_val()); }
};

val gradients(const nn::LearnableGradients& found) {
  val object = val::object();
  object.set("x", to_wire(found.x));
  object.set("scale", to_array(found.scale));
  object.set("zeroPoint", to_array(found.zero_point));
  return object;
}

class LearnableHandle final : public ProcessHandle<nn::LearnableFakeQuantize> {
 public:
  using ProcessHandle::ProcessHandle;

  static val make(std::string observer, val options) {
    return outcome([&]() -> Result<val> {
      nn::LearnableFakeQuantize::Args args;
      args.fake_quantize.observer = observer;
      OCTAVO_TRY(args.fake_quantize.observer_args, observer_args_from(options));
      read_number(options, "scale", args.scale);
      read_number(options, "zeroPoint", args.zero_point);
      read_number(options, "channelLen", args.channel_len);
      if (!options["useGradScaling"].isUndefined())
        args.use_grad_scaling = options["useGradScaling"].as<bool>();
      OCTAVO_TRY(auto fake, nn::LearnableFakeQuantize::make(args));
      return val(std::make_shared<LearnableHandle>(std::move(fake)));
    });
  }
  val backward(val grad) {
    return outcome([&]() -> Result<val> {
      OCTAVO_TRY(const Tensor tensor, tensor_from(grad));
      OCTAVO_TRY(const nn::LearnableGradients found, process_->backward(tensor));
      return gradients(found);
    });
  }
  void enable_param_learning() { process_->enable_param_learning(); }
  void enable_static_estimate() { process_->enable_static_estimate(); }
  void enable_static_observation() { process_->enable_static_observation(); }
  val scale() const { return to_array(process_->scale()); }
  val zero_point() const { return to_array(process_->zero_point()); }
  // As many of each as there are.
  val set_parameters(val scale, val zero_point) {
    return outcome([&]() -> Result<val> {
      std::vector<float> scales = numbers_from<float>(scale);
      std::vector<float> zero_points = numbers_from<float>(zero_point);
      const std::size_t count = process_->scale().size();
      if (scales.size() != count || zero_points.size() != count) {
        return Error{Code::kShapeMismatch,
                     text("There are ", scales.size(), " scales and ", zero_points.size(),
                          " zero points for ", count, " of each."),
                     "setParameters", "Give as many as `scale` and `zeroPoint` have."};
      }
      process_->scale() = std::move(scales);
      process_->zero_point() = std::move(zero_points);
      return val::undefined();
    });
  }
};

Result<val> to_object(Result<nn::FakeQuantized> result) {
  if (!result.ok()) return result.error();
  val object = val::object();
  object.set("y", to_wire(result->y));
  object.set("mask", to_wire(result->mask));
  return object;
}

val fake_quantize_per_tensor_affine(val x, double scale, double zero_point, double quant_min,
                                    double quant_max) {
  return outcome([&]() -> Result<val> {
    OCTAVO_TRY(const Tensor tensor, tensor_from(x));
    return to_object(nn::fake_quantize_per_tensor_affine(
        tensor, scale, static_cast<std::int64_t>(zero_point), static_cast<std::int64_t>(quant_min),
        static_cast<std::int64_t>(quant_max)));
  });
}

val fake_quantize_per_channel_affine(val x, val scale, val zero_point, double axis,
                                     double quant_min, double quant_max) {
  return outcome([&]() -> Result<val> {
    OCTAVO_TRY(const Tensor tensor, tensor_from(x));
    return to_object(nn::fake_quantize_per_channel_affine(
        tensor, {numbers_from<float>(scale), numbers_from<std::int64_t>(zero_point)},
        static_cast<std::int64_t>(axis), static_cast<std::int64_t>(quant_min),
        static_cast<std::int64_t>(quant_max)));
  });
}

val fake_quantize_backward(val grad, val mask) {
  return outcome([&]() -> Result<val> {
    OCTAVO_TRY(const Tensor out, tensor_from(grad));
    OCTAVO_TRY(const Tensor within, tensor_from(mask));
    OCTAVO_TRY(const Tensor result, nn::fake_quantize_backward(out, within));
    return to_wire(result);
  });
}

// options: { axis?, quantMin, quantMax, gradFactor }
val fake_quantize_learnable_backward(val grad, val x, val scale, val zero_point, val options) {
  return outcome([&]() -> Result<val> {
    OCTAVO_TRY(const Tensor out, tensor_from(grad));
    OCTAVO_TRY(const Tensor in, tensor_from(x));
    std::optional<std::int64_t> axis;
    if (options["axis"].isNumber()) axis = static_cast<std::int64_t>(options["axis"].as<double>());
    OCTAVO_TRY(const nn::LearnableGradients found,
               nn::fake_quantize_learnable_backward(
                   out, in, numbers_from<float>(scale), numbers_from<float>(zero_point), axis,
                   static_cast<std::int64_t>(options["quantMin"].as<double>()),
                   static_cast<std::int64_t>(options["quantMax"].as<double>()),
                   options["gradFactor"].as<double>()));
    return gradients(found);
  });
}

// batches: tensors; options: { symmetric, movingAverage, percentile?, numBins?, numQuantizedBins? }
val calibration_range(std::string method, val batches, val options) {
  return outcome([&]() -> Result<val> {
    std::vector<Tensor> tensors;
    const auto count = batches["length"].as<unsigned>();
    for (unsigned i = 0; i < count; ++i) {
      OCTAVO_TRY(Tensor tensor, tensor_from(batches[i]));
      tensors.push_back(std::move(tensor));
    }
    nn::CalibrationOptions own;
    own.symmetric = options["symmetric"].as<bool>();
    own.moving_average = options["movingAverage"].as<bool>();
    read_number(options, "percentile", own.percentile);
    read_number(options, "numBins", own.bins);
    read_number(options, "numQuantizedBins", own.quantized_bins);
    OCTAVO_TRY(const calib::OrtRange range, nn::calibration_range(method, tensors, own));
    return to_array(std::vector<double>{range.lo, range.hi});
  });
}

// Functions rather than members: a member of the base class would want that class bound too.
template <class Handle>
auto bind_process(const char* name, const char* pointer) {
  return emscripten::class_<Handle>(name)
      .template smart_ptr<std::shared_ptr<Handle>>(pointer)
      .function(
          "forward", +[](Handle& handle, val x) { return handle.forward(x); })
      .function(
          "calculateQParams", +[](Handle& handle) { return handle.calculate_qparams(); })
      .function(
          "spec", +[](Handle& handle) { return handle.spec(); })
      .function(
          "observed", +[](Handle& handle) { return handle.observed(); })
      .function(
          "save", +[](Handle& handle) { return handle.save(); })
      .function(
          "load", +[](Handle& handle, val bytes) { return handle.load(bytes); });
}

}  // namespace

EMSCRIPTEN_BINDINGS(octavo_nn_observers) {
  using emscripten::function;
  bind_process<ObserverHandle>("Observer", "ObserverPtr")
      .class_function("make", &ObserverHandle::make)
      .function("observe", &ObserverHandle::observe)
      .function("merge", &ObserverHandle::merge)
      .function("reset", &ObserverHandle::reset)
      .function("minVal", &ObserverHandle::min_val)
      .function("maxVal", &ObserverHandle::max_val)
      .function("histogram", &ObserverHandle::histogram);
  bind_process<FakeQuantizeHandle>("FakeQuantize", "FakeQuantizePtr")
      .class_function("make", &FakeQuantizeHandle::make)
      .function("backward", &FakeQuantizeHandle::backward)
      .function("enableObserver", &FakeQuantizeHandle::enable_observer)
      .function("enableFakeQuant", &FakeQuantizeHandle::enable_fake_quant)
      .function("observerEnabled", &FakeQuantizeHandle::observer_enabled)
      .function("fakeQuantEnabled", &FakeQuantizeHandle::fake_quant_enabled)
      .function("scale", &FakeQuantizeHandle::scale)
      .function("zeroPoint", &FakeQuantizeHandle::zero_point)
      .function("minVal", &FakeQuantizeHandle::min_val)
      .function("maxVal", &FakeQuantizeHandle::max_val);
  bind_process<LearnableHandle>("LearnableFakeQuantize", "LearnableFakeQuantizePtr")
      .class_function("make", &LearnableHandle::make)
      .function("backward", &LearnableHandle::backward)
      .function("enableParamLearning", &LearnableHandle::enable_param_learning)
      .function("enableStaticEstimate", &LearnableHandle::enable_static_estimate)
      .function("enableStaticObservation", &LearnableHandle::enable_static_observation)
      .function("scale", &LearnableHandle::scale)
      .function("zeroPoint", &LearnableHandle::zero_point)
      .function("setParameters", &LearnableHandle::set_parameters);
  function("fakeQuantizePerTensorAffine", &fake_quantize_per_tensor_affine);
  function("fakeQuantizePerChannelAffine", &fake_quantize_per_channel_affine);
  function("fakeQuantizeBackward", &fake_quantize_backward);
  function("calibrationRange", &calibration_range);
  function("fakeQuantizeLearnableBackward", &fake_quantize_learnable_backward);
}

}  // namespace octavo::bindings
