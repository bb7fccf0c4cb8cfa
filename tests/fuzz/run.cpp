// Models run, are quantized and run again. What would take long is left out: it is slow, not wrong.
#include <algorithm>
#include <optional>

#include "fuzz/fuzz.h"
#include "quantize/job.h"
#include "quantize/json.h"
#include "quantize/model.h"
#include "quantize/plans.h"
#include "support/damage.h"

using namespace octavo;
using quantize::Model;

std::span<const ops::OpDef> fuzz::mutator_ops() { return ops::all_ops(); }

namespace {

constexpr std::int64_t kMaxMacs = 1'000'000;
// A step goes over its results in nanoseconds an element, some of them several times, and with
// sanitizers slower still: a session of two megabytes answers in milliseconds.
constexpr std::size_t kMaxBytes = std::size_t{2} << 20;

// Open dimensions are `open`.
passes::InputShapes shapes_of(const Graph& graph, std::int64_t open = 2) {
  passes::InputShapes shapes;
  for (const ValueId id : graph.inputs) {
    const Value& value = graph.value(id);
    if (!value.shape || value.shape->known()) continue;
    Shape shape = *value.shape;
    for (std::int64_t& dim : shape.dims()) dim = dim < 0 ? open : dim;
    shapes.by_name[value.name] = std::move(shape);
  }
  return shapes;
}

std::string job_options(const passes::InputShapes& shapes) {
  quantize::Json options;
  options["inputShapes"] = quantize::Json::object();
  for (const auto& [name, shape] : shapes.by_name) options["inputShapes"][name] = shape.dims();
  return quantize::dump(options);
}

// Numbers that mean something in every data type: small integers, or floats around 0.
void fill(const Value& value, std::span<std::byte> bytes, unsigned seed) {
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = std::byte{0};
  const std::size_t size = dtype_size(value.dtype);
  for (std::size_t i = 0; i + size <= bytes.size(); i += size) {
    const unsigned random = (static_cast<unsigned>(i) + seed) * 2654435761U >> 24;
    if (value.dtype == DType::kFloat32) {
      const float number = (static_cast<float>(random) - 128) / 64;
      std::memcpy(&bytes[i], &number, sizeof number);
    } else {
      bytes[i] = static_cast<std::byte>(random & 1);
    }
  }
}

// The session, where it is small enough to be run.
std::optional<runtime::Session> small_session(const Model& model,
                                              const passes::InputShapes& shapes) {
  runtime::SessionOptions options;
  options.memory_limit = kMaxBytes;
  auto session = quantize::create_session(model, shapes, options);
  if (!session.ok()) {
    fuzz::check_error(session.error());
    return std::nullopt;
  }
  std::int64_t macs = 0;
  for (const runtime::StepInfo& step : session->steps()) {
    if (step.macs > kMaxMacs) return std::nullopt;
    macs += step.macs;
  }
  if (macs > kMaxMacs) return std::nullopt;
  return std::move(*session);
}

void run(runtime::Session& session) {
  const Graph& graph = session.graph();
  for (std::size_t i = 0; i < graph.inputs.size(); ++i)
    fill(graph.value(graph.inputs[i]), session.input(i), 0);
  session.run();
  if (!session.status().ok()) fuzz::check_error(session.status().error());
}

Status calibrate(quantize::QuantizeJob& job) {
  const Graph& graph = job.graph();
  for (unsigned sample = 0; sample < 2; ++sample) {
    for (std::size_t i = 0; i < graph.inputs.size(); ++i)
      fill(graph.value(graph.inputs[i]), job.input(i), sample);
    OCTAVO_CHECK_OK(job.begin_sample());
    while (!job.sample_finished()) {
      OCTAVO_TRY([[maybe_unused]] const auto progress, job.step());
    }
  }
  OCTAVO_CHECK_OK(job.end_samples());
  for (std::string_view stage; stage != "done";) {
    OCTAVO_TRY(const auto progress, job.step());
    stage = progress.stage;
  }
  return ok_status();
}

void quantize_and_run(const Model& model, const passes::InputShapes& shapes) {
  auto job = quantize::QuantizeJob::create(model, job_options(shapes), {});
  if (!job.ok()) return fuzz::check_error(job.error());
  if (const Status done = calibrate(*job); !done.ok()) return fuzz::check_error(done.error());
  fuzz::check(!job->report_json().empty(), "a job has a report");
  if (auto session = small_session(job->take_model(), shapes)) run(*session);
}

// One session that is planned anew: another size, and the first again, as a new session has it.
void replan(const Model& model) {
  runtime::SessionOptions options;
  options.memory_limit = kMaxBytes;
  auto plans = quantize::Plans::create(model, {}, options);
  if (!plans.ok()) return fuzz::check_error(plans.error());
  for (const std::int64_t open : {5, 2}) {
    const passes::InputShapes shapes = shapes_of(model.graph(), open);
    auto fresh = small_session(model, shapes);
    if (!fresh) return;
    if (const Status planned = plans->plan_for(shapes); !planned.ok())
      return fuzz::check_error(planned.error());
    run(*fresh);
    run(plans->session());
    if (!fresh->status().ok()) continue;
    fuzz::check(plans->session().status().ok(), "a plan runs where a new session does");
    for (std::size_t i = 0; i < fresh->graph().outputs.size(); ++i)
      fuzz::check(test::same_output(*fresh, plans->session(), i),
                  "a plan gives what a new session gives");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto model = Model::load(fuzz::exact_bytes(data, size), size, {}, onnx::Unaligned::kMove);
  if (!model.ok()) {
    fuzz::check_error(model.error());
    return 0;
  }
  const passes::InputShapes shapes = shapes_of(model->graph());
  auto session = small_session(*model, shapes);
  if (!session) return 0;
  run(*session);
  if (!model->is_quantized()) quantize_and_run(*model, shapes);
  if (!shapes.by_name.empty()) replan(*model);
  return 0;
}
