#include "quantize/job.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <map>
#include <utility>
#include <vector>

#include "base/text.h"
#include "kernels/statistics/statistics.h"
#include "ops/op.h"
#include "passes/absorb_bias.h"
#include "passes/equalize.h"
#include "passes/insert_qdq.h"
#include "passes/passes.h"
#include "passes/qdq.h"
#include "passes/tail.h"
#include "quantize/calibration_state.h"
#include "quantize/json.h"
#include "quantize/measure.h"
#include "quantize/options.h"
#include "quantize/refine.h"
#include "quantize/sensitivity.h"

namespace octavo::quantize {

namespace {

constexpr int kStepsAtOnce = 4;  // of a session, between two answers of step()
constexpr std::size_t kKeptBytes = std::size_t{64} << 20;
constexpr std::size_t kHistogramBins = 128;

// One calibrated tensor.
struct Watched {
  std::string name, node, op;  // node: what makes it; empty for an input
  std::string watcher;         // the observer's name; "given" for a range that is an option
  std::unique_ptr<calib::Observer> observer;
  std::unique_ptr<calib::Observer> extremes;  // what was seen, whatever the observer keeps of it
  bool saw_replayed = false;                  // equalization changed nothing of it
  std::optional<calib::Range> range;
  std::optional<ValueId> in_float, in_int8;  // where the evaluation finds it
  ErrorSums sums;
  std::vector<std::uint64_t> histogram, int8_histogram;  // over seen()

  calib::Range seen() const { return (extremes ? extremes : observer)->range(); }
};

// Adds one sample of a value to what its channels (axis 1) have shown; `square` holds sums until it
// is divided by `count`.
struct ChannelSums {
  passes::ChannelStats stats;
  std::size_t count = 0;  // of values a channel

  void add(const Value& value, std::span<const float> values) {
    const auto channels = static_cast<std::size_t>((*value.shape)[1]);
    const auto batch = static_cast<std::size_t>((*value.shape)[0]);
    if (channels == 0 || values.empty()) return;
    stats.largest.resize(channels, 0.0F);
    stats.lowest.resize(channels, INFINITY);
    stats.highest.resize(channels, -INFINITY);
    stats.square.resize(channels, 0.0);
    const std::size_t pixels = values.size() / (batch * channels);
    // Some of many pixels show as much.
    constexpr std::size_t kPixels = 1024;
    const std::size_t step = std::max<std::size_t>(1, pixels / kPixels);
    const std::size_t rows = (pixels + step - 1) / step;
    const auto add_channels = kernels::statistics().channels;
    for (std::size_t n = 0; n < batch; ++n, count += rows) {
      const float* x = values.data() + n * channels * pixels;
      if (value.layout == Layout::kChannelsLast || pixels == 1) {
        add_channels(x, rows, step * channels, channels, stats.lowest.data(), stats.highest.data(),
                     stats.square.data());
        continue;
      }
      for (std::size_t c = 0; c < channels; ++c)
        add_channels(x + c * pixels, rows, step, 1, &stats.lowest[c], &stats.highest[c],
                     &stats.square[c]);
    }
    for (std::size_t c = 0; c < channels; ++c)
      stats.largest[c] = std::max({stats.largest[c], -stats.lowest[c], stats.highest[c]});
  }
  std::vector<double> mean_squares() const {
    std::vector<double> out = stats.square;
    for (double& square : out) square /= static_cast<double>(count);
    return out;
  }
};

struct OutputError {
  std::string name;
  ErrorSums sums;
};

struct WeightError {
  std::string name, node, scheme;
  ErrorSums sums;
  std::uint64_t codes;  // fnv1a of the weights' codes and the bias's
  bool pair_safe;
};

// What `equalize` made of a value's channels: their largest magnitudes.
struct ChannelChange {
  std::vector<float> before, after;
};

enum class Stage {
  kCalibrate,
  kRanges,
  kInsert,
  kRefine,
  kPrepare,
  kEvaluate,
  kSensitivity,
  kDone
};

// The milliseconds of each layer's node in the session, the least of some runs; what was fused into
// a node is in its time.
std::vector<double> layer_times(runtime::Session& session,
                                const std::vector<LayerSensitivity>& layers) {
  constexpr int kRuns = 3;
  std::vector<double> least(layers.size(), INFINITY);
  for (int run = 0; run < kRuns; ++run) {
    session.run_profiled();
    const std::vector<runtime::StepInfo> steps = session.steps();
    for (std::size_t i = 0; i < layers.size(); ++i) {
      double time = 0;
      for (const runtime::StepInfo& step : steps)
        time += step.node == layers[i].node ? step.milliseconds : 0;
      least[i] = std::min(least[i], time);
    }
  }
  return least;
}

}  // namespace

struct QuantizeJob::Impl {
  JobOptions options;
  kernels::Policy policy;
  std::string model_name;
  int opset = 0;  // of the float file
  std::size_t float_bytes = 0, int8_bytes = 0;
  Graph normalized;  // as loaded, for the report's list of nodes
  Graph graph;       // after the float passes
  passes::PassContext context;
  passes::QdqPlan plan;

  std::optional<WindowMeans> means;  // of the float network
  std::optional<Refinement> refinement;
  Fits fits;                   // with options.keep: of all results so far
  std::size_t fitted = 0;      // nodes, for this result
  std::size_t calibrated = 0;  // tensors whose range was searched for, for this result
  std::size_t notes_before_insert = 0;
  std::vector<Watched> retired;           // with options.keep: what is not watched just now
  std::optional<runtime::Session> whole;  // the float session, while a part of it calibrates again
  std::size_t refined_nodes = 0;
  std::int64_t fitted_samples = 0;  // what weights, biases and channels were fitted to
  std::optional<runtime::Session> float_session;           // calibration, then latency
  std::vector<Watched> watched;                            // graph order
  std::vector<std::vector<std::size_t>> watched_by_value;  // of the float session's values
  std::vector<SampleBytes> kept;                           // the first samples
  std::size_t kept_bytes = 0;

  Stage stage = Stage::kCalibrate;
  bool running = false;  // a sample is in the session
  bool failed = false;
  std::optional<Error> sample_error;  // set by the callback
  std::int64_t samples = 0;
  std::size_t next = 0;  // within the stage
  // The number of the sample in the session among those that are fitted to, where it is one.
  std::optional<std::size_t> fitting;
  // Equalization waits for kCorrectionSamples samples; where it changes the network, those are
  // calibrated once more.
  bool settled = false;  // it has done what it does
  std::map<std::string, ChannelSums> channel_sums;
  std::map<std::string, ChannelChange> channel_changes;      // by the name of the equalized value
  std::map<std::string, std::vector<double>> channel_power;  // where weights may be pair safe
  // Kept samples that go through the session again: `observes` for ranges, `fits` for what is
  // fitted to them; as far as the node `last`, where it is known.
  struct Replay {
    std::size_t next, end;
    bool observes;
    bool fits = true;
    std::optional<NodeId> last = std::nullopt;
    bool is_past_last = false;
  };
  std::optional<Replay> replay;
  bool replaying = false;                    // its next sample is in the session
  std::optional<CalibrationState> arriving;  // loaded, to be merged when the replay is over

  std::optional<Graph> quantized;
  std::optional<passes::Tail> tail;  // what follows `graph` and `quantized`
  std::vector<passes::Note> lowering_notes;
  std::optional<runtime::Session> float_kept, int8_kept, int8_session;
  std::vector<WeightError> weights;
  std::vector<OutputError> outputs;
  std::vector<double> float_ms, int8_ms;
  std::int64_t rows = 0, equal_rows = 0;
  std::size_t evaluated = 0;
  std::size_t phase = 0;  // of the sample under evaluation
  std::optional<Sensitivity> sensitivity;
  std::vector<double> float_times, int8_times;  // by layer of `sensitivity`

  Status start(const Model& model);
  Graph whole_quantized() const;
  Status open_float_session(bool same_values = false);
  Result<runtime::Session> float_session_of(Graph part) const;
  void watch();
  Watched watched_tensor(ValueId id);
  void attach_observers();
  Status change(std::string_view options_json);
  Status observe_again();
  bool needs_samples(const Watched& tensor) const {
    return !tensor.range && given_range(tensor.name) == nullptr;
  }
  // How many of the kept samples float and int8 are compared on.
  std::size_t to_evaluate() const {
    return std::min(kept.size(), static_cast<std::size_t>(options.evaluate_samples));
  }
  // Of the equalized network only the report wants to know what its channels show, where it
  // changed.
  bool collects_channels(const std::string& name) const {
    return fitting &&
           (options.pair_safe() || (settled ? channel_changes.contains(name) : options.equalize));
  }
  // The range that was given for a tensor. Equalization, which comes later, renames what it
  // changes.
  const calib::Range* given_range(const std::string& name) const {
    const auto found = options.ranges.find(name);
    return found == options.ranges.end() ? nullptr : &found->second;
  }
  std::unique_ptr<calib::Observer> make_observer(const std::string& tensor) const {
    // Of a range that is given only the report wants to know what was seen.
    if (given_range(tensor) != nullptr) return calib::make_min_max({});
    return calib::find_observer(options.observer_of(tensor))->make(options.observer_options);
  }
  bool knows_all_ranges() const {
    return std::all_of(watched.begin(), watched.end(), [this](const Watched& tensor) {
      return tensor.range || given_range(tensor.name) != nullptr ||
             (options.equalize && given_range(passes::equalized_name(tensor.name)) != nullptr);
    });
  }
  Status check_named_tensors() const;
  void observe_inputs();
  Status settle();
  Status equalize();
  bool carry_over(const passes::Equalized& done, const passes::Absorbed& absorbed,
                  const std::optional<WindowMeans>& before);
  std::optional<NodeId> last_to_observe() const;
  void keep_channel_power();
  void replay_some();
  Status load(CalibrationState state);
  Status merge(const CalibrationState& state);
  Status finish_replay();
  void on_step(NodeId node, std::span<const std::byte* const> made);
  void observe_means(ValueId id, std::span<const std::byte> bytes) {
    if (means && fitting) means->observe(id, bytes, *fitting);
  }
  void observe(ValueId id, std::span<const float> values, const std::string& where);
  Error fail(Error error) {
    failed = true;
    return error;
  }

  // Sessions and kept samples.
  std::size_t held_bytes() const {
    std::size_t sum = kept_bytes;
    for (const auto* session : {&float_session, &whole, &float_kept, &int8_kept, &int8_session}) {
      if (*session) sum += (*session)->arena_bytes() + (*session)->weight_bytes();
    }
    return sum;
  }
  // What the next piece may take; 0: anything.
  std::size_t memory_left() const {
    const std::size_t held = held_bytes();
    if (options.memory_limit == 0) return 0;
    return held < options.memory_limit ? options.memory_limit - held : 1;
  }
  // An error of what was to be made within memory_left().
  Error with_memory(Error error) const {
    if (options.memory_limit != 0 && error.code == Code::kLimitExceeded)
      error.what += text(" Of memoryLimit = ", options.memory_limit, " the job holds ",
                         held_bytes(), " already.");
    return error;
  }

  // How many of the first samples are kept.
  std::int64_t to_keep() const {
    return std::max<std::int64_t>(options.evaluate_samples,
                                  options.fits() ? kCorrectionSamples : 0);
  }
  Status insert();
  void note_mixed_ranges(const std::map<std::string, calib::Range>& ranges);
  Status start_refinement();
  Status prepare_next();
  void measure_weights();
  void evaluate_next();
  void evaluate_tensor(Watched& tensor);
  void evaluate_outputs();
  Status start_sensitivity();
  std::int64_t quantize_total() const {
    return static_cast<std::int64_t>(watched.size() + refined_nodes) + 5;
  }
  Result<Progress> step();

  Json nodes_json() const;
  Json batch_norm_json(const Json& nodes) const;
  Json tensors_json() const;
  Json sensitivity_json() const;
};

QuantizeJob::QuantizeJob(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
QuantizeJob::QuantizeJob(QuantizeJob&&) noexcept = default;
QuantizeJob& QuantizeJob::operator=(QuantizeJob&&) noexcept = default;
QuantizeJob::~QuantizeJob() = default;

Result<QuantizeJob> QuantizeJob::create(const Model& model, std::string_view options_json,
                                        const kernels::Policy& policy) {
  OCTAVO_TRY(JobOptions options, parse_job_options(options_json));
  OCTAVO_CHECK_OK(check_is_float(model));
  auto impl = std::make_unique<Impl>();
  impl->options = std::move(options);
  impl->policy = policy;
  OCTAVO_CHECK_OK(impl->start(model));
  return QuantizeJob(std::move(impl));
}

// ---- calibration ----

Status QuantizeJob::Impl::start(const Model& model) {
  model_name = model.graph().name;
  opset = model.opset();
  float_bytes = model.file_bytes();
  normalized = model.graph();
  OCTAVO_CHECK_OK(check_exclude(normalized, options.qdq.exclude_names, options.qdq.exclude_ops));
  graph = model.graph();
  // What has sizes that only the data of a run decide stays float, out of the job until its end.
  OCTAVO_TRY(tail, passes::cut_tail(graph, options.input_shapes));
  if (options.folds()) {
    if (Result<int> folded = passes::fold_batch_norm(graph, context); !folded.ok())
      return std::move(folded).error();
  } else {
    for (const Node& node : graph.nodes) {
      if (node.op == "BatchNormalization" && node.domain.empty())
        context.notes.push_back(
            {"fold_batch_norm", node.name, node.op,
             text("standalone: asked for by batchNorm = '", options.batch_norm, "'")});
    }
  }
  for (const auto pass : {&passes::fold_scale, &passes::fuse_activation, &passes::eliminate_dead}) {
    if (Result<int> changed = pass(graph, context); !changed.ok())
      return std::move(changed).error();
  }

  if (options.own_structure() && options.qdq.quantize_batch_norm) {
    for (const auto pass : {&passes::split_batch_norm, &passes::eliminate_dead}) {
      if (Result<int> changed = pass(graph, context); !changed.ok())
        return std::move(changed).error();
    }
  }

  return open_float_session();
}

// The QDQ graph with what was cut off.
Graph QuantizeJob::Impl::whole_quantized() const {
  Graph whole_graph = *quantized;
  if (tail) passes::join_tail(whole_graph, *tail);
  return whole_graph;
}

Result<runtime::Session> QuantizeJob::Impl::float_session_of(Graph part) const {
  OCTAVO_CHECK_OK(passes::fix_shapes(part, options.input_shapes));
  passes::PassContext ignored;
  OCTAVO_CHECK_OK(passes::prepare_for_session(part, {}, ignored));
  runtime::SessionOptions session_options;
  session_options.policy = policy;
  session_options.memory_limit = memory_left();
  Result<runtime::Session> session = runtime::Session::create(std::move(part), session_options);
  if (!session.ok()) return with_memory(std::move(session).error());
  return session;
}

// `same_values`: tensors that were watched before hold what they did, on the samples so far too.
Status QuantizeJob::Impl::open_float_session(bool same_values) {
  OCTAVO_TRY(runtime::Session session, float_session_of(graph));
  float_session.emplace(std::move(session));
  if (options.correct_bias) means.emplace(float_session->graph());
  if (!same_values) watched.clear();
  for (Watched& tensor : watched) tensor.saw_replayed = true;
  watch();
  if (same_values) retired.clear();
  attach_observers();
  return ok_status();
}

namespace {

// The values that a session makes or is given, by name.
std::map<std::string, ValueId> made_values(const Graph& graph) {
  std::map<std::string, ValueId> by_name;
  for (const ValueId id : graph.inputs) by_name.emplace(graph.value(id).name, id);
  for (const Node& node : graph.nodes) {
    for (const ValueId id : node.outputs) {
      if (id != kNoValue) by_name.emplace(graph.value(id).name, id);
    }
  }
  return by_name;
}

}  // namespace

// Plans, and watches what the plan wants a range of. Of tensors that were watched before, in the
// same way, what was seen stays.
void QuantizeJob::Impl::watch() {
  const std::map<std::string, ValueId> by_name = made_values(float_session->graph());
  options.qdq.observable = [&by_name](const std::string& name) { return by_name.contains(name); };
  options.qdq.always_bias = options.correct_bias;
  plan = passes::plan_qdq(graph, options.qdq);
  options.qdq.observable = nullptr;
  std::move(watched.begin(), watched.end(), std::back_inserter(retired));
  watched.clear();
  for (const ValueId id : plan.calibrated) watched.push_back(watched_tensor(id));
  if (!options.keep) retired.clear();
}

Watched QuantizeJob::Impl::watched_tensor(ValueId id) {
  const std::string& name = graph.value(id).name;
  const std::string watcher = given_range(name) != nullptr ? "given" : options.observer_of(name);
  Watched tensor;
  const auto known = std::find_if(retired.begin(), retired.end(), [&](const Watched& one) {
    return one.name == name && one.watcher == watcher;
  });
  if (known != retired.end()) {
    tensor = std::move(*known);
    retired.erase(known);
  } else {
    const Uses uses(graph);
    const auto producer = uses.producer_of(id);
    tensor.name = name;
    tensor.node = producer ? graph.node(*producer).name : "";
    tensor.op = producer ? graph.node(*producer).op : "";
    tensor.watcher = watcher;
    tensor.observer = make_observer(name);
    if (tensor.observer->name() != "minmax") tensor.extremes = calib::make_min_max({});
  }
  tensor.sums = {};
  tensor.histogram.assign(kHistogramBins, 0);
  tensor.int8_histogram = tensor.histogram;
  return tensor;
}

// The float session shows every tensor whose range is not known yet what it makes of a sample.
void QuantizeJob::Impl::attach_observers() {
  const Graph& running_graph = float_session->graph();
  const std::map<std::string, ValueId> by_name = made_values(running_graph);
  watched_by_value.assign(running_graph.values.size(), {});
  for (std::size_t i = 0; i < watched.size(); ++i) {
    if (!watched[i].range)
      watched_by_value[static_cast<std::size_t>(by_name.at(watched[i].name))].push_back(i);
  }
  float_session->on_step(
      [this](NodeId node, std::span<const std::byte* const> made) { on_step(node, made); });
}

Status QuantizeJob::Impl::change(std::string_view options_json) {
  if (failed || stage != Stage::kDone || !options.keep) {
    return Error{Code::kInvalidState,
                 "There is nothing that could be changed.",
                 "",
                 "Make the job with keep = true, and wait until it is done.",
                 {}};
  }
  OCTAVO_TRY(const Json changes, parse_options(options_json));
  constexpr std::string_view kKeys[] = {"exclude", "observerOverrides", "sensitivity"};
  OCTAVO_CHECK_OK(OptionReader(changes, "").check(kKeys));
  Json all = effective_options(options);
  all["sensitivity"] = options.sensitivity;
  all["keep"] = true;
  for (const auto& [key, value] : changes.items()) all[key] = value;
  OCTAVO_TRY(JobOptions changed, parse_job_options(dump(all)));
  OCTAVO_CHECK_OK(check_exclude(normalized, changed.qdq.exclude_names, changed.qdq.exclude_ops));
  changed.ranges = options.ranges;
  std::swap(options, changed);
  if (Status status = check_named_tensors(); !status.ok()) {
    std::swap(options, changed);
    return status;
  }

  context.notes.erase(context.notes.begin() + static_cast<std::ptrdiff_t>(notes_before_insert),
                      context.notes.end());
  lowering_notes.clear();
  weights.clear();
  outputs.clear();
  float_ms.clear();
  int8_ms.clear();
  rows = equal_rows = 0;
  evaluated = phase = next = calibrated = fitted = refined_nodes = 0;
  sensitivity.reset();
  watch();
  stage = Stage::kRanges;
  if (std::none_of(watched.begin(), watched.end(),
                   [this](const Watched& tensor) { return needs_samples(tensor); }))
    return ok_status();
  if (Status status = observe_again(); !status.ok()) return fail(std::move(status).error());
  return ok_status();
}

// Calibrates with as much of the network as the tensors without a range depend on.
Status QuantizeJob::Impl::observe_again() {
  Graph part = graph;
  part.outputs.clear();
  for (std::size_t i = 0; i < watched.size(); ++i) {
    if (needs_samples(watched[i]) && !part.is_input(plan.calibrated[i]))
      part.outputs.push_back(plan.calibrated[i]);
  }
  if (part.outputs.empty()) part.outputs.push_back(part.nodes.front().outputs[0]);
  if (Result<int> removed = passes::eliminate_dead(part, context); !removed.ok())
    return std::move(removed).error();
  OCTAVO_TRY(runtime::Session session, float_session_of(std::move(part)));
  whole.emplace(std::move(*float_session));
  float_session.emplace(std::move(session));
  attach_observers();
  stage = Stage::kCalibrate;
  samples = 0;
  return ok_status();
}

void QuantizeJob::Impl::observe_inputs() {
  const Graph& running_graph = float_session->graph();
  for (std::size_t i = 0; i < running_graph.inputs.size(); ++i) {
    const std::span<const std::byte> bytes = float_session->input(i);
    const Value& value = running_graph.value(running_graph.inputs[i]);
    if (value.dtype != DType::kFloat32) continue;
    observe_means(running_graph.inputs[i], bytes);
    observe(running_graph.inputs[i],
            {reinterpret_cast<const float*>(bytes.data()), bytes.size() / sizeof(float)},
            text("input '", value.name, "'"));
  }
}

// With enough samples seen, once: equalizes.
Status QuantizeJob::Impl::settle() {
  if (settled || whole || !options.equalize ||
      kept.size() < static_cast<std::size_t>(kCorrectionSamples))
    return ok_status();
  settled = true;
  return equalize();
}

void QuantizeJob::Impl::keep_channel_power() {
  if (!options.pair_safe()) return;
  for (const auto& [name, sums] : channel_sums) channel_power[name] = sums.mean_squares();
}

// Where that changes the network calibration starts anew.
Status QuantizeJob::Impl::equalize() {
  std::map<std::string, passes::ChannelStats> stats;
  keep_channel_power();
  for (auto& [name, sums] : channel_sums) {
    sums.stats.square = sums.mean_squares();
    stats.emplace(name, std::move(sums.stats));
  }
  channel_sums.clear();
  Graph equalized = graph;
  passes::EqualizeOptions equalize_options;
  equalize_options.per_channel = options.qdq.weight.per_channel;
  passes::Equalized done;
  OCTAVO_TRY(const int evened,
             passes::equalize(equalized, stats, equalize_options, context, &done));
  auto scaled = stats;
  for (const auto& [name, now] : done.stats) scaled.insert_or_assign(name, now);
  passes::Absorbed absorbed;
  OCTAVO_TRY(const int shifted, passes::absorb_bias(equalized, scaled, context, &absorbed));
  if (evened + shifted == 0) return ok_status();
  graph = std::move(equalized);
  for (const Value& value : graph.values) {
    for (const auto& [name, channels] : stats) {
      if (value.name == passes::equalized_name(name))
        channel_changes[value.name].before = channels.largest;
    }
  }
  replay = Replay{0, static_cast<std::size_t>(kCorrectionSamples), true};
  // Factors are powers of two, so what has no factor of its own stays the same to the bit. Where
  // biases moved, the layers behind round other sums: nothing that shows in a range, but states
  // that merge are to give the same bytes, and of more kept samples they observe all anew.
  const bool observed = !arriving && samples == kCorrectionSamples &&
                        (shifted == 0 || to_keep() == kCorrectionSamples);
  const std::optional<WindowMeans> before = std::exchange(means, std::nullopt);
  OCTAVO_CHECK_OK(open_float_session(observed));
  replay->fits = !carry_over(done, absorbed, before);
  if (!observed || replay->fits) return ok_status();
  replay->last = last_to_observe();
  if (!replay->last) replay.reset();
  return ok_status();
}

// What has a factor is what it was times a power of two, to the bit: so is what its channels have
// shown, and the mean of what reads it. False where that cannot be told.
bool QuantizeJob::Impl::carry_over(const passes::Equalized& done, const passes::Absorbed& absorbed,
                                   const std::optional<WindowMeans>& before) {
  for (const auto& [name, exponent] : done.exponent) {
    if (!done.stats.contains(name)) return false;
  }
  // The power of a channel that was shifted would need its mean.
  if (options.pair_safe() && !absorbed.shift.empty()) return false;
  if (means && (!before || !means->carry_over(*before, graph, done.exponent, absorbed.shift)))
    return false;
  for (const auto& [name, now] : done.stats) {
    channel_changes[name].after = now.largest;
    if (options.pair_safe()) channel_power[name] = now.square;
  }
  for (const auto& [name, largest] : absorbed.largest) {
    if (const auto change = channel_changes.find(name); change != channel_changes.end())
      change->second.after = largest;
  }
  return true;
}

// The last node of the session with a value whose range the replayed samples are to show.
std::optional<NodeId> QuantizeJob::Impl::last_to_observe() const {
  const std::vector<Node>& nodes = float_session->graph().nodes;
  for (std::size_t i = nodes.size(); i-- > 0;) {
    for (const ValueId id : nodes[i].outputs) {
      if (id == kNoValue) continue;
      const auto& watchers = watched_by_value[static_cast<std::size_t>(id)];
      if (std::any_of(watchers.begin(), watchers.end(),
                      [this](std::size_t w) { return !watched[w].saw_replayed; }))
        return static_cast<NodeId>(i);
    }
  }
  return std::nullopt;
}

// Some steps of the next kept sample through the session.
void QuantizeJob::Impl::replay_some() {
  if (!replaying) {
    const SampleBytes& sample = kept[replay->next];
    for (std::size_t i = 0; i < sample.size(); ++i)
      std::memcpy(float_session->input(i).data(), sample[i].data(), sample[i].size());
    fitting.reset();
    if (replay->fits && replay->next < static_cast<std::size_t>(kCorrectionSamples))
      fitting = replay->next;
    replay->is_past_last = false;
    observe_inputs();
    replaying = true;
  }
  replaying = float_session->run_some(kStepsAtOnce) && !replay->is_past_last;
  if (!replaying) ++replay->next;
}

Status QuantizeJob::Impl::finish_replay() {
  const bool was_fitting = replay->fits;
  replay.reset();
  fitting.reset();
  if (settled && was_fitting) {
    for (auto& [name, change] : channel_changes) change.after = channel_sums[name].stats.largest;
    keep_channel_power();
    channel_sums.clear();
  }
  const bool first = !settled;
  // What two calibrations saw of one network becomes one's before equalization changes that.
  if (first && arriving && !arriving->basis && arriving->network == hash_network(graph) &&
      samples + arriving->samples == kCorrectionSamples &&
      kept.size() == static_cast<std::size_t>(kCorrectionSamples)) {
    const CalibrationState state = *std::exchange(arriving, std::nullopt);
    OCTAVO_CHECK_OK(merge(state));
  }
  OCTAVO_CHECK_OK(settle());
  if (!arriving) return ok_status();
  if (replay) {  // the samples that have come made equalization change the network
    const std::int64_t total = samples + arriving->samples;
    const bool is_its = first && samples == 0 && hash_network(graph) == arriving->network;
    if (is_its && replay->fits) {
      replay->observes = false;  // the arriving observers have seen these
      return ok_status();
    }
    if (is_its) {
      replay.reset();
      const CalibrationState state = *std::exchange(arriving, std::nullopt);
      return merge(state);
    }
    if (total != static_cast<std::int64_t>(kept.size()) || arriving->basis) {
      return Error{Code::kInvalidState,
                   "Together the two calibrations have enough samples to equalize channels, but "
                   "each was observed before.",
                   "calibration state",
                   text("Give one of them at least ", kCorrectionSamples,
                        " samples, and start the other from its basis (saveCalibration)."),
                   {}};
    }
    replay->end = kept.size();
    samples = total;
    arriving.reset();
    return ok_status();
  }
  const CalibrationState state = *std::exchange(arriving, std::nullopt);
  return merge(state);
}

// ---- saved calibrations ----

Status QuantizeJob::Impl::load(CalibrationState state) {
  const std::size_t before = kept.size();
  if (state.basis && !kept.empty() && kept != state.kept) {
    return Error{Code::kInvalidState,
                 "It continues another calibration than this one.",
                 "calibration state",
                 "Merge into the calibration that its basis was saved from.",
                 {}};
  }
  const Graph& running_graph = float_session->graph();
  for (const SampleBytes& sample : state.kept) {
    bool same = sample.size() == running_graph.inputs.size();
    for (std::size_t i = 0; same && i < sample.size(); ++i)
      same = sample[i].size() == float_session->input(i).size();
    if (!same) {
      return Error{Code::kInvalidState,
                   "Its samples have other inputs than this model.",
                   "calibration state",
                   "Load it with the model and the inputShapes that it was saved with.",
                   {}};
    }
  }
  if (static_cast<std::int64_t>(kept.size()) == samples) {
    for (SampleBytes& sample : state.kept) {
      if (static_cast<std::int64_t>(kept.size()) == to_keep()) break;
      for (const auto& input : sample) kept_bytes += input.size();
      kept.push_back(std::move(sample));
    }
  }
  if (!options.fits() || before == kept.size()) return merge(state);
  arriving = std::move(state);
  replay = Replay{before, kept.size(), false};
  running = true;
  return ok_status();
}

Status QuantizeJob::Impl::merge(const CalibrationState& state) {
  const Error foreign{Code::kInvalidState,
                      "It is the calibration of another network, or of one that other samples "
                      "equalized.",
                      "calibration state",
                      "Load what was saved of this model, and start parts that are merged from one "
                      "basis (saveCalibration).",
                      {}};
  if (state.network != hash_network(graph) || state.tensors.size() != watched.size())
    return foreign;
  // Read first: an error changes nothing.
  std::vector<std::pair<std::unique_ptr<calib::Observer>, std::unique_ptr<calib::Observer>>> read;
  for (std::size_t i = 0; i < watched.size(); ++i) {
    const Watched& own = watched[i];
    const CalibrationState::Tensor& other = state.tensors[i];
    if (own.name != other.name || other.extremes.empty() != (own.extremes == nullptr))
      return foreign;
    auto& [observer, extremes] = read.emplace_back(make_observer(own.name), nullptr);
    OCTAVO_CHECK_OK(observer->load(other.observer));
    if (own.extremes) {
      extremes = calib::make_min_max({});
      OCTAVO_CHECK_OK(extremes->load(other.extremes));
    }
  }
  for (std::size_t i = 0; i < watched.size(); ++i) {
    OCTAVO_CHECK_OK(watched[i].observer->merge(*read[i].first));
    if (watched[i].extremes) OCTAVO_CHECK_OK(watched[i].extremes->merge(*read[i].second));
  }
  samples += state.samples;
  return ok_status();
}

Result<std::vector<std::byte>> QuantizeJob::save_calibration(bool basis) const {
  const Impl& impl = *impl_;
  if (impl.failed || impl.stage != Stage::kCalibrate || impl.running || impl.whole)
    return Error{Code::kInvalidState,
                 "The job is not between two samples.",
                 "",
                 "Save before end_samples(), when a sample is finished.",
                 {}};
  if (basis && impl.options.fits() &&
      static_cast<std::int64_t>(impl.kept.size()) < kCorrectionSamples) {
    return Error{
        Code::kInvalidState,
        text("A basis needs ", kCorrectionSamples, " samples; there are ", impl.kept.size(), "."),
        "",
        "Feed more samples, or switch off what is fitted to them (rounding, "
        "biasCorrection, equalize).",
        {}};
  }
  CalibrationState state;
  state.network = hash_network(impl.graph);
  state.samples = basis ? 0 : impl.samples;
  state.basis = basis || static_cast<std::int64_t>(impl.kept.size()) > impl.samples;
  state.kept = impl.kept;
  for (const Watched& tensor : impl.watched) {
    const auto observer = basis ? impl.make_observer(tensor.name) : nullptr;
    const auto extremes = basis ? calib::make_min_max({}) : nullptr;
    state.tensors.push_back({tensor.name, (basis ? observer : tensor.observer)->save(), {}});
    if (tensor.extremes)
      state.tensors.back().extremes = (basis ? extremes : tensor.extremes)->save();
  }
  return write_state(state);
}

Status QuantizeJob::load_calibration(std::span<const std::byte> bytes) {
  Impl& impl = *impl_;
  if (impl.failed || impl.stage != Stage::kCalibrate || impl.running || impl.whole)
    return Error{Code::kInvalidState,
                 "The job is not between two samples.",
                 "",
                 "Load before end_samples(), when a sample is finished.",
                 {}};
  OCTAVO_TRY(CalibrationState state, read_state(bytes));
  return impl.load(std::move(state));
}

std::vector<std::byte> QuantizeJob::kept_sample(std::size_t i) const {
  std::vector<std::byte> bytes;
  if (i >= impl_->kept.size()) return bytes;
  for (const auto& input : impl_->kept[i]) bytes.insert(bytes.end(), input.begin(), input.end());
  return bytes;
}

// ---- samples ----

void QuantizeJob::Impl::observe(ValueId id, std::span<const float> values,
                                const std::string& where) {
  if (const Value& value = float_session->graph().value(id); collects_channels(value.name)) {
    if (value.shape->rank() >= 2 && (*value.shape)[0] > 0)
      channel_sums[value.name].add(value, values);
  }
  const auto& watchers = watched_by_value[static_cast<std::size_t>(id)];
  const bool seen = std::all_of(watchers.begin(), watchers.end(),
                                [this](std::size_t i) { return watched[i].saw_replayed; });
  if (watchers.empty() || sample_error || (replay && seen)) return;
  const kernels::Extremes extremes = kernels::statistics().extremes(values.data(), values.size());
  if (!extremes.finite) {
    sample_error = Error{Code::kNonFiniteSample,
                         text("Sample ", samples + 1, " makes a NaN or infinite value in '",
                              float_session->graph().value(id).name, "'."),
                         where,
                         "Leave this sample out, or check how it is scaled (mean, std, range).",
                         {}};
    return;
  }
  if (replay && !replay->observes) return;
  for (const std::size_t i : watchers) {
    watched[i].observer->observe(values, extremes);
    if (watched[i].extremes) watched[i].extremes->observe(values, extremes);
  }
}

void QuantizeJob::Impl::on_step(NodeId id, std::span<const std::byte* const> made) {
  const Graph& running_graph = float_session->graph();
  const Node& node = running_graph.node(id);
  if (replay && replay->last == id) replay->is_past_last = true;
  for (std::size_t k = 0; k < node.outputs.size() && k < made.size(); ++k) {
    if (node.outputs[k] == kNoValue || made[k] == nullptr) continue;
    const Value& value = running_graph.value(node.outputs[k]);
    if (value.dtype != DType::kFloat32) continue;
    const auto elements = static_cast<std::size_t>(value.shape->elements());
    observe_means(node.outputs[k], {made[k], elements * sizeof(float)});
    observe(node.outputs[k], {reinterpret_cast<const float*>(made[k]), elements}, describe(node));
  }
}

const Graph& QuantizeJob::graph() const { return impl_->float_session->graph(); }
std::span<std::byte> QuantizeJob::input(std::size_t i) { return impl_->float_session->input(i); }

Status QuantizeJob::begin_sample() {
  Impl& impl = *impl_;
  if (impl.failed || impl.stage != Stage::kCalibrate || impl.running)
    return Error{Code::kInvalidState,
                 "The job does not take a sample now.",
                 "",
                 "Feed samples one after the other, before end_samples().",
                 {}};
  const std::size_t inputs = impl.float_session->graph().inputs.size();
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < inputs; ++i) bytes += impl.float_session->input(i).size();
  impl.fitting.reset();
  if (!impl.whole && static_cast<std::int64_t>(impl.kept.size()) == impl.samples &&
      static_cast<std::int64_t>(impl.kept.size()) < impl.to_keep() &&
      impl.kept_bytes + bytes <= kKeptBytes) {
    if (impl.options.fits() && impl.samples < kCorrectionSamples) impl.fitting = impl.kept.size();
    if (const std::size_t left = impl.memory_left(); left != 0 && bytes > left) {
      return impl.fail(
          impl.with_memory({Code::kLimitExceeded,
                            text("Keeping sample ", impl.samples + 1, " takes ", bytes, " bytes."),
                            "",
                            "Raise memoryLimit.",
                            {}}));
    }
    SampleBytes& sample = impl.kept.emplace_back();
    for (std::size_t i = 0; i < inputs; ++i) {
      const auto from = impl.float_session->input(i);
      sample.emplace_back(from.begin(), from.end());
    }
    impl.kept_bytes += bytes;
  }
  impl.observe_inputs();
  if (impl.sample_error) return impl.fail(*impl.sample_error);
  impl.running = true;
  return ok_status();
}

bool QuantizeJob::sample_finished() const { return !impl_->running; }

Status QuantizeJob::end_samples() {
  Impl& impl = *impl_;
  if (impl.failed || impl.stage != Stage::kCalibrate || impl.running)
    return Error{Code::kInvalidState,
                 "The job is not waiting for samples.",
                 "",
                 "Call end_samples() once, after the last sample is finished.",
                 {}};
  if (impl.samples == 0 && !impl.knows_all_ranges()) {
    return impl.fail(Error{Code::kNoSamples,
                           "Calibration got no samples.",
                           "",
                           "Give at least one; 100 to 200 typical ones make good ranges.",
                           {}});
  }
  if (impl.whole) {
    impl.float_session.emplace(std::move(*impl.whole));
    impl.whole.reset();
  }
  impl.float_session->on_step(nullptr);
  impl.stage = Stage::kRanges;
  impl.next = 0;
  return ok_status();
}

std::optional<std::int64_t> QuantizeJob::samples_wanted() const {
  if (impl_->stage != Stage::kCalibrate) return 0;
  if (!impl_->knows_all_ranges()) return std::nullopt;
  return impl_->to_keep();
}

// ---- quantization ----

// An option for a tensor that there is not would be a misspelt one.
Status QuantizeJob::Impl::check_named_tensors() const {
  const auto check = [this](std::string_view option, const std::string& name) -> Status {
    for (const Graph* known : {&graph, &normalized}) {
      if (std::any_of(known->values.begin(), known->values.end(),
                      [&](const Value& value) { return value.name == name; }))
        return ok_status();
    }
    return invalid_option(text(option, ".", name), "The network has no such tensor.",
                          "The names are those of report.tensors.");
  };
  for (const auto& [name, range] : options.ranges) OCTAVO_CHECK_OK(check("ranges", name));
  for (const auto& [name, observer] : options.observer_overrides)
    OCTAVO_CHECK_OK(check("observerOverrides", name));
  return ok_status();
}

// An integer Concat puts its parts on one grid; where one part is much narrower than another, as
// scores beside boxes in pixels, little is left of it. The report says so at the Concat.
void QuantizeJob::Impl::note_mixed_ranges(const std::map<std::string, calib::Range>& ranges) {
  constexpr float kMixed = 16;  // times as wide: four bits fewer
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    if (!plan.nodes[i].int8 || node.op != "Concat") continue;
    float narrowest = INFINITY;
    float widest = 0;
    for (const ValueId id : node.inputs) {
      const ValueId grid = plan.grid_of[static_cast<std::size_t>(id)];
      const auto found = ranges.find(graph.value(grid == kNoValue ? id : grid).name);
      const float width = found == ranges.end() ? 0 : found->second.max - found->second.min;
      if (!(width > 0)) continue;
      narrowest = std::min(narrowest, width);
      widest = std::max(widest, width);
    }
    if (widest < kMixed * narrowest) continue;
    plan.nodes[i].reason =
        text("int8, on one grid for parts of which one is ", std::round(widest / narrowest),
             " times as wide as another: exclude it to keep them apart");
  }
}

Status QuantizeJob::Impl::insert() {
  std::map<std::string, calib::Range> ranges;
  OCTAVO_CHECK_OK(check_named_tensors());
  for (const Watched& tensor : watched) ranges.emplace(tensor.name, *tensor.range);
  note_mixed_ranges(ranges);
  Graph qdq = graph;
  const std::size_t notes = context.notes.size();
  keep_channel_power();
  options.qdq.channel_power = channel_power;
  OCTAVO_CHECK_OK(passes::insert_qdq(qdq, options.qdq, plan, ranges, context));
  options.qdq.channel_power.clear();
  notes_before_insert = notes;
  qdq.metadata["octavo.quantization"] = dump(effective_options(options));
  quantized.emplace(std::move(qdq));
  return ok_status();
}

// Weights and biases are fitted on the kept samples where there are enough of them.
Status QuantizeJob::Impl::start_refinement() {
  const auto enough = static_cast<std::size_t>(kCorrectionSamples);
  RefineOptions refine;
  refine.rounding = options.refine_rounding;
  refine.bias = options.correct_bias;
  refine.largest_code = options.qdq.weight.largest_code;
  refine.pair_safe = options.pair_safe();
  refine.policy = policy;
  refine.shapes = options.input_shapes;
  if (options.fits() && kept.size() >= enough) fitted_samples = kCorrectionSamples;
  if ((!refine.rounding && !refine.bias) || kept.size() < enough) return ok_status();
  if (!means) means.emplace(Graph());
  refine.memory_limit = memory_left();
  Result<Refinement> made =
      Refinement::create(*quantized, graph, *means, std::span(kept).first(enough), refine,
                         options.keep ? &fits : nullptr);
  if (!made.ok()) return with_memory(std::move(made).error());
  refinement.emplace(std::move(*made));
  refined_nodes = refinement->nodes();
  return ok_status();
}

void QuantizeJob::Impl::measure_weights() {
  const Uses uses(*quantized);
  for (const Node& node : quantized->nodes) {
    if (node.input(1) == kNoValue || passes::input_role(node, 1) != passes::InputRole::kWeight)
      continue;
    const auto producer = uses.producer_of(node.inputs[1]);
    if (!producer || !passes::is_dequantize(quantized->node(*producer))) continue;
    const auto same = std::find_if(graph.nodes.begin(), graph.nodes.end(),
                                   [&](const Node& n) { return n.name == node.name; });
    const Node& dequantize = quantized->node(*producer);
    const auto params = passes::params_of(*quantized, dequantize);
    const Result<std::vector<Tensor>> real = ops::evaluate(*quantized, dequantize);
    if (same == graph.nodes.end() || !params || !real.ok() || real->size() != 1) continue;
    const Value& original = graph.value(same->inputs[1]);
    WeightError error{original.name,
                      node.name,
                      params->is_per_tensor() ? "per_tensor_symmetric" : "per_channel_symmetric",
                      {},
                      kFnv1aSeed,
                      false};
    const Tensor& codes = *quantized->value(dequantize.inputs[0]).constant;
    if (options.pair_safe() && codes.dtype() == DType::kInt8) {
      const int axis = passes::weight_channel_axis(node, codes.shape().rank());
      error.pair_safe = passes::is_pair_safe(codes, passes::weight_rows(node, codes.shape(), axis));
    }
    for (const std::size_t i : {std::size_t{1}, std::size_t{2}}) {
      const auto made = node.input(i) == kNoValue ? std::nullopt : uses.producer_of(node.inputs[i]);
      if (!made) continue;
      const auto& all = quantized->value(quantized->node(*made).inputs[0]).constant;
      if (all) error.codes = fnv1a({all->data(), all->bytes()}, error.codes);
    }
    error.sums.add(original.constant->span<float>(), (*real)[0].span<float>());
    weights.push_back(std::move(error));
  }
}

// One session a call: the float and the int8 one that keep all values, the int8 one that runs at
// full speed.
Status QuantizeJob::Impl::prepare_next() {
  const Model int8 = Model::from_graph(*quantized);
  runtime::SessionOptions session_options;
  session_options.policy = policy;
  session_options.memory_limit = memory_left();
  if (next == 0) {
    const Model exported = Model::from_graph(whole_quantized());
    if (const auto bytes = exported.to_onnx({}); bytes.ok()) int8_bytes = bytes->size();
    if (float_bytes == 0) {
      if (const auto bytes = Model::from_graph(normalized).to_onnx({}); bytes.ok())
        float_bytes = bytes->size();
    }
    Result<runtime::Session> session =
        create_session(int8, options.input_shapes, session_options, &lowering_notes);
    if (!session.ok()) return with_memory(std::move(session).error());
    int8_session.emplace(std::move(*session));
    return ok_status();
  }
  if (to_evaluate() == 0) return ok_status();
  session_options.keep_values = true;
  const Model source = next == 1 ? Model::from_graph(graph) : int8;
  Result<runtime::Session> session = create_session(source, options.input_shapes, session_options);
  if (!session.ok()) return with_memory(std::move(session).error());
  (next == 1 ? float_kept : int8_kept).emplace(std::move(*session));
  for (Watched& tensor : watched)
    (next == 1 ? tensor.in_float : tensor.in_int8) =
        find_tensor((next == 1 ? float_kept : int8_kept)->graph(), tensor.name);
  return ok_status();
}

// Phases of a sample: inputs; float and int8 at full speed; both with all values kept, some steps
// at a time; then one tensor at a time; then the outputs.
void QuantizeJob::Impl::evaluate_next() {
  constexpr std::size_t kFirstTensor = 5;
  constexpr std::size_t kTimed = 3;  // samples
  const auto& sample = kept[evaluated];
  if (phase == 0) {
    for (runtime::Session* session : {&*float_session, &*int8_session, &*float_kept, &*int8_kept}) {
      for (std::size_t i = 0; i < sample.size(); ++i) {
        const auto to = session->input(i);
        std::memcpy(to.data(), sample[i].data(), std::min(to.size(), sample[i].size()));
      }
    }
  } else if (phase == 1) {
    if (evaluated < kTimed) float_ms.push_back(timed_run(*float_session));
  } else if (phase == 2) {
    if (evaluated < kTimed) int8_ms.push_back(timed_run(*int8_session));
  } else if (phase == 3 || phase == 4) {
    if ((phase == 3 ? float_kept : int8_kept)->run_some(kStepsAtOnce)) return;
  } else if (phase - kFirstTensor < watched.size()) {
    evaluate_tensor(watched[phase - kFirstTensor]);
  } else {
    evaluate_outputs();
    ++evaluated;
    phase = 0;
    return;
  }
  ++phase;
}

void QuantizeJob::Impl::evaluate_tensor(Watched& tensor) {
  if (!tensor.in_float) return;
  const calib::Range seen = tensor.seen();
  const float width = seen.max - seen.min;  // infinite where the range is wider than a float
  const float factor = static_cast<float>(kHistogramBins) / width;
  std::uint16_t scratch[4 * kHistogramBins];
  const auto count = [&](std::span<const float> values, std::vector<std::uint64_t>& counts) {
    if (!(width > 0) || !std::isfinite(width) || !std::isfinite(factor)) {
      counts[0] += values.size();
      return;
    }
    const kernels::BinRule rule{.offset = seen.min, .factor = factor, .bins = kHistogramBins};
    kernels::statistics().count(values.data(), values.size(), rule, scratch, counts.data());
  };
  const auto both = [&](std::span<const float> reference, std::span<const float> other) {
    tensor.sums.add(reference, other);
    count(reference, tensor.histogram);
    count(other, tensor.int8_histogram);
  };
  const Reals reference(*float_kept, *tensor.in_float);
  std::vector<float> buffer;
  if (!tensor.in_int8) {
    count(reference.piece(0, reference.size(), buffer), tensor.histogram);
    return;
  }
  if (float_kept->graph().value(*tensor.in_float).layout !=
      int8_kept->graph().value(*tensor.in_int8).layout) {
    both(read_real(*float_kept, *tensor.in_float), read_real(*int8_kept, *tensor.in_int8));
    return;
  }
  const Reals other(*int8_kept, *tensor.in_int8);
  std::vector<float> other_buffer;
  constexpr std::size_t kPiece = 8192;  // stays in the cache
  const std::size_t size = std::min(reference.size(), other.size());
  for (std::size_t first = 0; first < size; first += kPiece) {
    const std::size_t n = std::min(kPiece, size - first);
    both(reference.piece(first, n, buffer), other.piece(first, n, other_buffer));
  }
}

void QuantizeJob::Impl::evaluate_outputs() {
  const Graph& float_graph = float_kept->graph();
  const Graph& int8_graph = int8_kept->graph();
  outputs.resize(float_graph.outputs.size());
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    outputs[i].name = float_graph.value(float_graph.outputs[i]).name;
    const std::vector<float> a = read_real(*float_kept, float_graph.outputs[i]);
    const std::vector<float> b = read_real(*int8_kept, int8_graph.outputs[i]);
    outputs[i].sums.add(a, b);
    if (outputs.size() != 1) continue;  // no classifier: see compare.cpp
    const Shape& shape = *float_graph.value(float_graph.outputs[0]).shape;
    const std::vector<std::int64_t> best_a = top1_rows(a, shape);
    const std::vector<std::int64_t> best_b = top1_rows(b, shape);
    for (std::size_t row = 0; row < best_a.size() && row < best_b.size(); ++row) {
      ++rows;
      equal_rows += best_a[row] == best_b[row] ? 1 : 0;
    }
  }
}

Status QuantizeJob::Impl::start_sensitivity() {
  std::vector<std::string> layers;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const ops::OpDef* op = ops::find_op(graph.nodes[i]);
    // What only moves codes rounds nothing.
    const bool rounds = op != nullptr && op->quant == ops::QuantRule::kCompute;
    if (rounds && (plan.nodes[i].int8 || plan.nodes[i].weights_only))
      layers.push_back(graph.nodes[i].name);
  }
  OCTAVO_TRY(Sensitivity made,
             Sensitivity::create(*quantized, graph, layers, std::span(kept).first(to_evaluate()),
                                 options.input_shapes, policy));
  sensitivity.emplace(std::move(made));
  float_times = layer_times(*float_session, sensitivity->layers());
  int8_times = layer_times(*int8_session, sensitivity->layers());
  return ok_status();
}

Result<Progress> QuantizeJob::Impl::step() {
  if (failed) return Error{Code::kInvalidState, "The job has failed.", "", "Make a new one.", {}};
  switch (stage) {
    case Stage::kCalibrate: {
      if (!running) return Progress{"calibrate", samples, 0};
      if (replay) {
        replay_some();
        if (sample_error) return fail(*sample_error);
        if (!replaying && replay->next == replay->end) {
          if (Status status = finish_replay(); !status.ok()) return fail(std::move(status).error());
          running = replay.has_value();
        }
        return Progress{"calibrate", samples, 0};
      }
      running = float_session->run_some(kStepsAtOnce);
      if (sample_error) return fail(*sample_error);
      if (running) return Progress{"calibrate", samples, 0};
      if (!float_session->status().ok()) return fail(Error(float_session->status().error()));
      fitting.reset();
      ++samples;
      if (Status status = settle(); !status.ok()) return fail(std::move(status).error());
      running = replay.has_value();
      return Progress{"calibrate", samples, 0};
    }
    case Stage::kRanges: {
      if (next < watched.size()) {
        Watched& tensor = watched[next];
        if (const calib::Range* given = given_range(tensor.name); given != nullptr) {
          tensor.range = *given;
        } else if (!tensor.range) {
          tensor.range = tensor.observer->range();
          ++calibrated;
        }
        return Progress{"quantize", static_cast<std::int64_t>(++next), quantize_total()};
      }
      stage = Stage::kInsert;
      return Progress{"quantize", static_cast<std::int64_t>(next), quantize_total()};
    }
    case Stage::kInsert: {
      if (Status status = insert(); !status.ok()) return fail(std::move(status).error());
      if (Status status = start_refinement(); !status.ok()) return fail(std::move(status).error());
      stage = Stage::kRefine;
      return Progress{"quantize", static_cast<std::int64_t>(next), quantize_total()};
    }
    case Stage::kRefine: {
      if (refinement) {
        const Result<bool> more = refinement->step();
        if (!more.ok()) return fail(more.error());
        ++next;
        if (*more) return Progress{"quantize", static_cast<std::int64_t>(next), quantize_total()};
        quantized.emplace(refinement->graph());
        fitted = refinement->fitted();
        refinement.reset();
      }
      measure_weights();
      if (const std::size_t wanted = to_evaluate(); !options.keep && kept.size() > wanted) {
        kept_bytes = kept_bytes / kept.size() * wanted;
        kept.resize(wanted);
      }
      stage = Stage::kPrepare;
      next = 0;
      return Progress{"quantize", quantize_total() - 4, quantize_total()};
    }
    case Stage::kPrepare: {
      if (Status status = prepare_next(); !status.ok()) return fail(std::move(status).error());
      ++next;
      if (next == 3) stage = Stage::kEvaluate;
      return Progress{"quantize", quantize_total() - 4 + static_cast<std::int64_t>(next),
                      quantize_total()};
    }
    case Stage::kEvaluate: {
      const auto total = static_cast<std::int64_t>(to_evaluate());
      if (evaluated < to_evaluate()) {
        evaluate_next();
        return Progress{"evaluate", static_cast<std::int64_t>(evaluated), total};
      }
      float_kept.reset();
      int8_kept.reset();
      if (options.sensitivity && total > 0) {
        if (Status status = start_sensitivity(); !status.ok())
          return fail(std::move(status).error());
      }
      int8_session.reset();
      stage = Stage::kSensitivity;
      next = 0;
      return Progress{"evaluate", total, total};
    }
    case Stage::kSensitivity: {
      if (sensitivity && sensitivity->step())
        return Progress{"sensitivity", static_cast<std::int64_t>(++next),
                        static_cast<std::int64_t>(sensitivity->steps())};
      if (!options.keep) kept.clear();
      stage = Stage::kDone;
      break;
    }
    case Stage::kDone:
      break;
  }
  return Progress{"done", static_cast<std::int64_t>(evaluated),
                  static_cast<std::int64_t>(evaluated)};
}

Result<Progress> QuantizeJob::step() { return impl_->step(); }
Status QuantizeJob::change(std::string_view options_json) { return impl_->change(options_json); }

Model QuantizeJob::take_model() {
  Model model = Model::from_graph(impl_->quantized ? impl_->whole_quantized() : Graph(),
                                  impl_->context.notes);
  return model;
}

// ---- the report ----

namespace {

Json number(const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); }

std::string hexadecimal(std::uint64_t value) {
  std::string digits(16, '0');
  for (std::size_t i = digits.size(); i-- > 0; value >>= 4U)
    digits[i] = "0123456789abcdef"[value & 15U];
  return digits;
}

// "folded into node 'conv1'" -> "conv1"
std::string named_node(const std::string& what) {
  const std::size_t first = what.find('\'');
  const std::size_t last = what.rfind('\'');
  return first == std::string::npos || last <= first ? std::string()
                                                     : what.substr(first + 1, last - first - 1);
}

}  // namespace

Json QuantizeJob::Impl::nodes_json() const {
  std::map<std::string, std::pair<std::string, std::string>> fates;  // node -> fate, reason
  for (std::size_t i = 0; i < graph.nodes.size(); ++i)
    fates[graph.nodes[i].name] = {plan.nodes[i].int8 ? "int8" : "float", plan.nodes[i].reason};
  if (tail) {
    for (const Node& node : tail->graph.nodes)
      fates[node.name] = {"float", std::string(passes::kTailReason)};
  }
  for (const passes::Note& note : context.notes) {
    if (note.what.starts_with("folded into")) fates[note.node] = {"folded", note.what};
    if (note.what.starts_with("fused into")) fates[note.node] = {"fused", note.what};
  }
  for (const passes::Note& note : lowering_notes) {
    if (note.pass != "lower_to_int8") continue;
    // What was planned to stay float has its own reason.
    if (const auto known = fates.find(note.node);
        known != fates.end() && known->second.first == "float")
      continue;
    fates[note.node] = {note.what.starts_with("fused into") ? "fused" : "float", note.what};
  }
  Json out = Json::array();
  for (const Node& node : normalized.nodes) {
    const auto found = fates.find(node.name);
    Json entry{{"name", node.name}, {"op", node.op}};
    entry["fate"] = found == fates.end() ? "removed" : found->second.first;
    entry["reason"] = found == fates.end() ? "nothing reads its result" : found->second.second;
    if (found != fates.end() && (found->second.first == "folded" || found->second.first == "fused"))
      entry["into"] = named_node(found->second.second);
    out.push_back(std::move(entry));
  }
  return out;
}

Json QuantizeJob::Impl::batch_norm_json(const Json& nodes) const {
  Json out = Json::array();
  for (const Json& node : nodes) {
    if (node["op"] != "BatchNormalization") continue;
    Json entry{{"name", node["name"]}, {"fate", node["fate"]}, {"reason", node["reason"]}};
    for (const passes::Note& note : context.notes) {
      // Why it could not be folded tells more than that it has an integer form.
      if (node["fate"] == "int8" && note.pass == "fold_batch_norm" &&
          note.node == node["name"].get<std::string>())
        entry["reason"] = note.what;
    }
    out.push_back(std::move(entry));
  }
  return out;
}

Json QuantizeJob::Impl::tensors_json() const {
  // Grids as they stand in the quantized graph, by the name of the tensor.
  std::map<std::string, const Node*> quantizers;
  for (const Node& node : quantized->nodes) {
    if (!passes::is_quantize(node)) continue;
    std::string name = quantized->value(node.outputs[0]).name;
    constexpr std::string_view kSuffix = "_quantized";
    if (name.ends_with(kSuffix)) name.resize(name.size() - kSuffix.size());
    quantizers.emplace(std::move(name), &node);
  }
  Json out = Json::array();
  for (const Watched& tensor : watched) {
    const calib::Range seen = tensor.seen();
    Json entry{{"name", tensor.name}, {"node", tensor.node}, {"op", tensor.op}};
    entry["dtype"] = options.qdq.activation == DType::kInt8 ? "int8" : "uint8";
    if (const auto found = quantizers.find(tensor.name); found != quantizers.end()) {
      const auto params = passes::params_of(*quantized, *found->second);
      const std::int32_t lowest = options.qdq.activation == DType::kInt8 ? -128 : 0;
      if (params) {
        const float scale = params->scale[0];
        const std::int32_t zero = params->zero_point[0];
        entry["scale"] = scale;
        entry["zeroPoint"] = zero;
        entry["min"] = scale * static_cast<float>(lowest - zero);
        entry["max"] = scale * static_cast<float>(lowest + 255 - zero);
      }
    }
    entry["range"] = {tensor.range->min, tensor.range->max};
    entry["observedMin"] = seen.min;
    entry["observedMax"] = seen.max;
    entry["observer"] = given_range(tensor.name) != nullptr ? "given" : tensor.observer->choice();
    entry["sqnr"] = number(tensor.sums.sqnr());
    if (evaluated > 0) {
      entry["histogram"] = {{"min", seen.min},
                            {"max", seen.max},
                            {"counts", tensor.histogram},
                            {"int8", tensor.int8_histogram}};
    } else {
      entry["histogram"] = nullptr;
    }
    if (const auto change = channel_changes.find(tensor.name); change != channel_changes.end())
      entry["channels"] = {{"before", change->second.before}, {"after", change->second.after}};
    out.push_back(std::move(entry));
  }
  return out;
}

Json QuantizeJob::Impl::sensitivity_json() const {
  if (!sensitivity) return nullptr;
  const auto error = [](const ErrorSums& sums) {
    return Json{{"sqnr", number(sums.sqnr())}, {"relativeRms", sums.relative_rms()}};
  };
  Json out = Json::array();
  for (std::size_t i = 0; i < sensitivity->layers().size(); ++i) {
    const LayerSensitivity& layer = sensitivity->layers()[i];
    out.push_back({{"node", layer.node},
                   {"op", layer.op},
                   {"alone", error(layer.alone)},
                   {"sequence", error(layer.sequence)},
                   {"floatMs", float_times[i]},
                   {"int8Ms", int8_times[i]}});
  }
  return out;
}

std::string QuantizeJob::report_json() const {
  const Impl& impl = *impl_;
  if (!impl.quantized) return "{}";
  Json out{{"version", 1}};
  out["model"] = {{"name", impl.model_name},
                  {"opset", impl.opset},
                  {"floatBytes", impl.float_bytes},
                  {"int8Bytes", impl.int8_bytes}};
  out["options"] = effective_options(impl.options);
  out["samples"] = impl.samples;
  out["fittedSamples"] = impl.fitted_samples;
  out["nodes"] = impl.nodes_json();
  out["batchNorm"] = impl.batch_norm_json(out["nodes"]);
  out["tensors"] = impl.tensors_json();
  out["weights"] = Json::array();
  for (const WeightError& weight : impl.weights) {
    out["weights"].push_back({{"name", weight.name},
                              {"node", weight.node},
                              {"scheme", weight.scheme},
                              {"sqnr", number(weight.sums.sqnr())},
                              {"codes", hexadecimal(weight.codes)}});
    if (impl.options.pair_safe()) out["weights"].back()["pairSafe"] = weight.pair_safe;
  }
  out["outputs"] = Json::array();
  for (const OutputError& output : impl.outputs) {
    out["outputs"].push_back({{"name", output.name},
                              {"sqnr", number(output.sums.sqnr())},
                              {"relativeRms", output.sums.relative_rms()}});
  }
  out["top1Agreement"] =
      impl.rows > 0 ? Json(static_cast<double>(impl.equal_rows) / static_cast<double>(impl.rows))
                    : Json(nullptr);
  out["evaluatedSamples"] = impl.evaluated;
  out["latency"] = {{"floatMs", median(impl.float_ms)}, {"int8Ms", median(impl.int8_ms)}};
  out["sensitivity"] = impl.sensitivity_json();
  out["work"] = {{"calibrated", impl.calibrated},
                 {"fitted", impl.fitted},
                 {"nodesRun", impl.sensitivity ? impl.sensitivity->nodes_run() : 0}};
  return dump(out);
}

}  // namespace octavo::quantize
