// What the whole engine has beside run.cpp: quantization, comparison, summaries, export.
#include <limits>
#include <string>
#include <vector>

#include "handles.h"
#include "quantize/compare.h"
#include "quantize/dynamic.h"
#include "quantize/job.h"

namespace octavo::bindings {

namespace {

// A copy that JavaScript owns.
val owned(std::span<const std::byte> bytes) { return view(bytes).call<val>("slice"); }

val summary(const ModelHandle& model) {
  return outcome([&]() -> Result<val> { return val(model.model().summary_json()); });
}

val to_onnx(const ModelHandle& model, const std::string& options) {
  return outcome([&]() -> Result<val> {
    OCTAVO_TRY(const quantize::ExportOptions parsed, quantize::parse_export_options(options));
    OCTAVO_TRY(const std::vector<std::byte> bytes, model.model().to_onnx(parsed));
    return owned(bytes);
  });
}

val quantize_dynamic(const ModelHandle& model, const std::string& options) {
  return outcome([&]() -> Result<val> {
    OCTAVO_TRY(quantize::Model made, quantize::quantize_dynamic(model.model(), options));
    return val(std::make_shared<ModelHandle>(std::move(made)));
  });
}

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

}  // namespace

EMSCRIPTEN_BINDINGS(octavo_quantize) {
  using emscripten::class_;
  using emscripten::function;

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

  function("summary", &summary);
  function("toONNX", &to_onnx);
  function("quantizeDynamic", &quantize_dynamic);
}

}  // namespace octavo::bindings
