// The module's face to JavaScript: the classes of quantize/ and runtime/ with views of their
// memory.
//
// Views (input, output) are of the wasm memory as it is now: memory that grows leaves them empty,
// so JavaScript asks for a view each time it reads or writes.
#include <emscripten/bind.h>
#include <malloc.h>

#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error_codes.h"
#include "ops/op.h"
#include "outcome.h"
#include "quantize/compare.h"
#include "quantize/dynamic.h"
#include "quantize/job.h"
#include "quantize/model.h"

namespace octavo::bindings {

namespace {

using emscripten::typed_memory_view;
using emscripten::val;

val view(std::span<const std::byte> bytes) {
  return val(typed_memory_view(bytes.size(), reinterpret_cast<const std::uint8_t*>(bytes.data())));
}

// A copy that JavaScript owns.
val owned(std::span<const std::byte> bytes) { return view(bytes).call<val>("slice"); }

val shape_of(const Value& value) {
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

val tensors(const Graph& graph, const std::vector<ValueId>& ids) {
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
kernels::Policy policy() {
  static const simd::EngineClass engine = simd::probe_engine_class();
  return {.engine = engine, .level = simd::Level::kBest};
}

passes::InputShapes shapes_from(const val& object) {
  passes::InputShapes shapes;
  const val names = val::global("Object").call<val>("keys", object);
  const auto count = names["length"].as<unsigned>();
  for (unsigned i = 0; i < count; ++i) {
    const auto name = names[i].as<std::string>();
    std::vector<std::int64_t> dims;
    for (const double dim : emscripten::convertJSArrayToNumberVector<double>(object[name]))
      dims.push_back(static_cast<std::int64_t>(dim));
    shapes.by_name.emplace(name, Shape(std::move(dims)));
  }
  return shapes;
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
  val summary() const {
    return outcome([&]() -> Result<val> { return val(model_.summary_json()); });
  }
  val to_onnx(const std::string& options) const {
    return outcome([&]() -> Result<val> {
      OCTAVO_TRY(const quantize::ExportOptions parsed, quantize::parse_export_options(options));
      OCTAVO_TRY(const std::vector<std::byte> bytes, model_.to_onnx(parsed));
      return owned(bytes);
    });
  }
  val quantize_dynamic(const std::string& options) const {
    return outcome([&]() -> Result<val> {
      OCTAVO_TRY(quantize::Model made, quantize::quantize_dynamic(model_, options));
      return val(std::make_shared<ModelHandle>(std::move(made)));
    });
  }
  const quantize::Model& model() const { return model_; }

 private:
  quantize::Model model_;
};

class SessionHandle {
 public:
  explicit SessionHandle(runtime::Session session) : session_(std::move(session)) {}

  static val create(const ModelHandle& model, const val& shapes, double memory_limit) {
    return outcome([&]() -> Result<val> {
      runtime::SessionOptions options;
      options.policy = policy();
      options.policy.fused_floats = true;
      options.memory_limit = static_cast<std::size_t>(memory_limit);
      OCTAVO_TRY(runtime::Session session,
                 quantize::create_session(model.model(), shapes_from(shapes), options));
      return val(std::make_shared<SessionHandle>(std::move(session)));
    });
  }
  val inputs() const { return tensors(session_.graph(), session_.graph().inputs); }
  val outputs() const { return tensors(session_.graph(), session_.graph().outputs); }
  val input(unsigned i) { return view(session_.input(i)); }
  val output(unsigned i) const { return view(session_.output(i)); }
  val run_some(int steps) {
    return outcome([&]() -> Result<val> {
      const bool more = session_.run_some(steps);
      OCTAVO_CHECK_OK(session_.status());
      return val(more);
    });
  }
  val profile() {
    return outcome([&]() -> Result<val> {
      session_.run_profiled();
      OCTAVO_CHECK_OK(session_.status());
      val list = val::array();
      for (const runtime::StepInfo& step : session_.steps()) {
        val info = val::object();
        info.set("node", step.node);
        info.set("op", step.op);
        info.set("kernel", std::string(step.kernel));
        info.set("macs", static_cast<double>(step.macs));
        info.set("milliseconds", step.milliseconds);
        list.call<void>("push", info);
      }
      return list;
    });
  }
  val memory() const {
    val object = val::object();
    object.set("arenaBytes", static_cast<double>(session_.arena_bytes()));
    object.set("lowerBoundBytes", static_cast<double>(session_.lower_bound_bytes()));
    object.set("weightBytes", static_cast<double>(session_.weight_bytes()));
    return object;
  }

 private:
  runtime::Session session_;
};

val progress_object(const quantize::Progress& progress) {
  val object = val::object();
  object.set("stage", std::string(progress.stage));
  object.set("done", static_cast<double>(progress.done));
  object.set("total", static_cast<double>(progress.total));
  return object;
}

class JobHandle {
 public:
  explicit JobHandle(quantize::QuantizeJob job) : job_(std::move(job)) {}

  static val create(const ModelHandle& model, const std::string& options) {
    return outcome([&]() -> Result<val> {
      OCTAVO_TRY(quantize::QuantizeJob job,
                 quantize::QuantizeJob::create(model.model(), options, policy()));
      return val(std::make_shared<JobHandle>(std::move(job)));
    });
  }
  val inputs() const { return tensors(job_.graph(), job_.graph().inputs); }
  val input(unsigned i) { return view(job_.input(i)); }
  val begin_sample() {
    return status([&] { return job_.begin_sample(); });
  }
  val end_samples() {
    return status([&] { return job_.end_samples(); });
  }
  val change(const std::string& options) {
    return status([&] { return job_.change(options); });
  }
  val save_calibration(bool basis) const {
    return outcome([&]() -> Result<val> {
      OCTAVO_TRY(const std::vector<std::byte> bytes, job_.save_calibration(basis));
      return owned(bytes);
    });
  }
  val load_calibration(const Bytes& bytes) {
    return status([&] { return job_.load_calibration({bytes.data().get(), bytes.size()}); });
  }
  val kept_sample(unsigned i) const { return owned(job_.kept_sample(i)); }
  bool sample_finished() const { return job_.sample_finished(); }
  double samples_wanted() const {
    const auto count = job_.samples_wanted();
    return count ? static_cast<double>(*count) : std::numeric_limits<double>::infinity();
  }
  val step() {
    return outcome([&]() -> Result<val> {
      OCTAVO_TRY(const quantize::Progress progress, job_.step());
      return progress_object(progress);
    });
  }
  val take_model() {
    return outcome(
        [&]() -> Result<val> { return val(std::make_shared<ModelHandle>(job_.take_model())); });
  }
  val report() const {
    return outcome([&]() -> Result<val> { return val(job_.report_json()); });
  }

 private:
  template <class Call>
  static val status(Call&& call) {
    return outcome([&]() -> Result<val> {
      OCTAVO_CHECK_OK(call());
      return val::undefined();
    });
  }
  quantize::QuantizeJob job_;
};

class ComparisonHandle {
 public:
  explicit ComparisonHandle(quantize::Comparison comparison) : comparison_(std::move(comparison)) {}

  static val create(const ModelHandle& a, const ModelHandle& b, const std::string& options) {
    return outcome([&]() -> Result<val> {
      OCTAVO_TRY(quantize::Comparison comparison,
                 quantize::Comparison::create(a.model(), b.model(), options, policy()));
      return val(std::make_shared<ComparisonHandle>(std::move(comparison)));
    });
  }
  val inputs() const { return tensors(comparison_.graph(), comparison_.graph().inputs); }
  val input(unsigned i) { return view(comparison_.input(i)); }
  val outputs() const { return tensors(comparison_.graph(), comparison_.graph().outputs); }
  val output(bool of_second, unsigned i) const {
    const std::vector<float> values = comparison_.output(of_second, i);
    return owned(std::as_bytes(std::span<const float>(values)));
  }
  val run_sample(double label) {
    return outcome([&]() -> Result<val> {
      OCTAVO_CHECK_OK(comparison_.run_sample(static_cast<std::int64_t>(label)));
      return val::undefined();
    });
  }
  val report() const {
    return outcome([&]() -> Result<val> { return val(comparison_.report_json()); });
  }

 private:
  quantize::Comparison comparison_;
};

std::string engine_class() { return std::string(simd::engine_class_name(policy().engine)); }

// Before the first session. One thread in a module without threads, and where the system refuses.
int set_threads(int threads) {
  runtime::set_default_threads(threads);
  return runtime::default_pool().threads();
}
// Those that have started by now.
int started_threads() { return runtime::default_pool().started(); }
// What is allocated now: with everything closed, as much as before anything was made.
double used_bytes() { return static_cast<double>(mallinfo().uordblks); }

val error_codes() {
  val list = val::array();
  for (const CodeInfo& info : all_codes()) {
    val row = val::object();
    row.set("code", std::string(info.name));
    row.set("meaning", std::string(info.meaning));
    list.call<void>("push", row);
  }
  return list;
}

// The rows of the op table, for the README and the docs.
val operators() {
  val list = val::array();
  for (const ops::OpDef& def : ops::all_ops()) {
    if (def.domain == "octavo") continue;
    val row = val::object();
    row.set("name", std::string(def.name));
    row.set("int8", def.quant != ops::QuantRule::kFloat);
    row.set("notes", std::string(def.notes));
    list.call<void>("push", row);
  }
  return list;
}

}  // namespace

EMSCRIPTEN_BINDINGS(octavo) {
  using emscripten::class_;
  using emscripten::function;

  class_<Bytes>("Bytes")
      .smart_ptr<std::shared_ptr<Bytes>>("BytesPtr")
      .class_function("make", &Bytes::make)
      .function("view", &Bytes::bytes)
      .function("attach", &Bytes::attach);

  class_<ModelHandle>("Model")
      .smart_ptr<std::shared_ptr<ModelHandle>>("ModelPtr")
      .class_function("load", &ModelHandle::load)
      .function("inputs", &ModelHandle::inputs)
      .function("outputs", &ModelHandle::outputs)
      .function("quantized", &ModelHandle::quantized)
      .function("summary", &ModelHandle::summary)
      .function("toONNX", &ModelHandle::to_onnx)
      .function("quantizeDynamic", &ModelHandle::quantize_dynamic);

  class_<SessionHandle>("Session")
      .smart_ptr<std::shared_ptr<SessionHandle>>("SessionPtr")
      .class_function("create", &SessionHandle::create)
      .function("inputs", &SessionHandle::inputs)
      .function("outputs", &SessionHandle::outputs)
      .function("input", &SessionHandle::input)
      .function("output", &SessionHandle::output)
      .function("runSome", &SessionHandle::run_some)
      .function("profile", &SessionHandle::profile)
      .function("memory", &SessionHandle::memory);

  class_<JobHandle>("QuantizeJob")
      .smart_ptr<std::shared_ptr<JobHandle>>("QuantizeJobPtr")
      .class_function("create", &JobHandle::create)
      .function("inputs", &JobHandle::inputs)
      .function("input", &JobHandle::input)
      .function("beginSample", &JobHandle::begin_sample)
      .function("endSamples", &JobHandle::end_samples)
      .function("change", &JobHandle::change)
      .function("saveCalibration", &JobHandle::save_calibration)
      .function("loadCalibration", &JobHandle::load_calibration)
      .function("keptSample", &JobHandle::kept_sample)
      .function("sampleFinished", &JobHandle::sample_finished)
      .function("samplesWanted", &JobHandle::samples_wanted)
      .function("step", &JobHandle::step)
      .function("takeModel", &JobHandle::take_model)
      .function("report", &JobHandle::report);

  class_<ComparisonHandle>("Comparison")
      .smart_ptr<std::shared_ptr<ComparisonHandle>>("ComparisonPtr")
      .class_function("create", &ComparisonHandle::create)
      .function("inputs", &ComparisonHandle::inputs)
      .function("input", &ComparisonHandle::input)
      .function("runSample", &ComparisonHandle::run_sample)
      .function("outputs", &ComparisonHandle::outputs)
      .function("output", &ComparisonHandle::output)
      .function("report", &ComparisonHandle::report);

  function("engineClass", &engine_class);
  function("setThreads", &set_threads);
  function("startedThreads", &started_threads);
  function("errorCodes", &error_codes);
  function("operators", &operators);
  function("usedBytes", &used_bytes);
}

}  // namespace octavo::bindings
