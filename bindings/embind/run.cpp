// The classes and functions of every module of the engine: what loads models and runs them.
#include <malloc.h>

#include <optional>
#include <string>
#include <vector>

#include "base/error_codes.h"
#include "handles.h"
#include "ops/op.h"
#include "quantize/plans.h"
#include "runtime/session.h"

namespace octavo::bindings {

namespace {

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

// { source, normalization }, two arrays; nothing for null.
std::optional<passes::PixelMapping> pixels_from(const val& object) {
  if (object.isNull()) return std::nullopt;
  passes::PixelMapping mapping;
  for (const double at : emscripten::convertJSArrayToNumberVector<double>(object["source"]))
    mapping.source.push_back(static_cast<std::int64_t>(at));
  mapping.normalization = emscripten::convertJSArrayToNumberVector<double>(object["normalization"]);
  return mapping;
}

class SessionHandle {
 public:
  explicit SessionHandle(quantize::Plans plans) : plans_(std::move(plans)) {}

  static val create(const ModelHandle& model, const val& shapes, double memory_limit,
                    const val& pixels, bool fixed) {
    return outcome([&]() -> Result<val> {
      runtime::SessionOptions options;
      options.policy = policy();
      options.policy.fused_floats = true;
      options.memory_limit = static_cast<std::size_t>(memory_limit);
      const std::optional<passes::PixelMapping> mapping = pixels_from(pixels);
      OCTAVO_TRY(quantize::Plans plans,
                 quantize::Plans::create(model.model(), shapes_from(shapes), options,
                                         mapping ? &*mapping : nullptr, fixed));
      return val(std::make_shared<SessionHandle>(std::move(plans)));
    });
  }
  // For other shapes of all inputs, from the next input() on.
  val plan_for(const val& shapes) {
    return outcome([&]() -> Result<val> {
      OCTAVO_CHECK_OK(plans_.plan_for(shapes_from(shapes)));
      return val(true);
    });
  }
  val inputs() const { return tensors(plans_.graph(), plans_.graph().inputs); }
  val outputs() const { return tensors(plans_.graph(), plans_.graph().outputs); }
  val input(unsigned i) { return view(session().input(i)); }
  val output(unsigned i) const { return view(session().output(i)); }
  val run_some(int steps) {
    return outcome([&]() -> Result<val> {
      const bool more = session().run_some(steps);
      OCTAVO_CHECK_OK(session().status());
      return val(more);
    });
  }
  val profile() {
    return outcome([&]() -> Result<val> {
      session().run_profiled();
      OCTAVO_CHECK_OK(session().status());
      val list = val::array();
      for (const runtime::StepInfo& step : session().steps()) {
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
    object.set("arenaBytes", static_cast<double>(session().arena_bytes()));
    object.set("lowerBoundBytes", static_cast<double>(session().lower_bound_bytes()));
    object.set("weightBytes", static_cast<double>(session().weight_bytes()));
    return object;
  }

 private:
  runtime::Session& session() { return plans_.session(); }
  const runtime::Session& session() const { return plans_.session(); }

  quantize::Plans plans_;
};

std::string engine_class() { return std::string(simd::engine_class_name(policy().engine)); }

// Before the first session. One thread in a module without threads, and where the system refuses.
int set_threads(int threads, bool caller_sleeps) {
  runtime::set_default_threads(threads, caller_sleeps);
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

EMSCRIPTEN_BINDINGS(octavo_run) {
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
      .function("quantized", &ModelHandle::quantized);

  class_<SessionHandle>("Session")
      .smart_ptr<std::shared_ptr<SessionHandle>>("SessionPtr")
      .class_function("create", &SessionHandle::create)
      .function("planFor", &SessionHandle::plan_for)
      .function("inputs", &SessionHandle::inputs)
      .function("outputs", &SessionHandle::outputs)
      .function("input", &SessionHandle::input)
      .function("output", &SessionHandle::output)
      .function("runSome", &SessionHandle::run_some)
      .function("profile", &SessionHandle::profile)
      .function("memory", &SessionHandle::memory);

  function("engineClass", &engine_class);
  function("setThreads", &set_threads);
  function("startedThreads", &started_threads);
  function("errorCodes", &error_codes);
  function("operators", &operators);
  function("usedBytes", &used_bytes);
}

}  // namespace octavo::bindings
