// Post-training quantization as a job that its caller drives: feed samples, step, take the result.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "quantize/model.h"

namespace octavo::quantize {

struct Progress {
  std::string_view stage;  // "calibrate" | "quantize" | "evaluate" | "sensitivity" | "done"
  std::int64_t done = 0;
  std::int64_t total = 0;  // 0: unknown
};

// Life: create; for each sample { write every input(i); begin_sample(); step() until
// stage_finished() }; end_samples(); step() until Progress.stage is "done"; take_model(),
// report_json(). An error leaves the job unusable, the model and everything else untouched.
// Dropping the job aborts it.
class QuantizeJob {
 public:
  // Options JSON (all optional; unknown keys and bad values are INVALID_OPTION with the allowed
  // ones listed):
  // { target: 'octavo'|'onnxruntime',
  //   activation: { observer: 'mse'|'percentile'|'minmax'|'movingAverage'|'histogram'|'entropy'
  //                   |'auto',
  //                 percentile: 99.999, averagingConstant: 0.01, numBins: 128,
  //                 numQuantizedBins: 128, dtype: 'quint8'|'qint8' },
  //   weight: { scheme: 'per_channel_symmetric'|'per_tensor_symmetric', scale: 'max'|'mse',
  //             reduceRange: false, pairSafe: false|true|'auto', rounding: 'secondMoment'|'nearest'
  //             },
  //   equalize: true, biasCorrection: true,
  //   batchNorm: 'auto'|'fold'|'quantized'|'float',
  //   exclude: (string glob that names a node or more | { opType: string })[],
  //   inputShapes: { [input]: number[] },
  //   observerOverrides: { [tensor]: observer },
  //   ranges: { [tensor]: [lowest, highest] }  known already: these are not searched for
  //   export: see parse_export_options; only checked, so that a mistake shows before the work
  //   evaluateSamples: 8,
  //   sensitivity: false,   measure what each layer costs by itself, on the evaluated samples
  //   keep: false,          keep what change() needs
  //   memoryLimit: bytes that sessions, kept samples and fitting may take together; 0: no limit.
  //     LIMIT_EXCEEDED above it, before they are taken }
  static Result<QuantizeJob> create(const Model& model, std::string_view options_json,
                                    const kernels::Policy& policy);
  QuantizeJob(QuantizeJob&&) noexcept;
  QuantizeJob& operator=(QuantizeJob&&) noexcept;
  ~QuantizeJob();

  // The calibration session's inputs, in the order of graph().inputs.
  const Graph& graph() const;
  std::span<std::byte> input(std::size_t i);
  Status begin_sample();
  Status end_samples();  // NO_SAMPLES when there was none, unless every range is known
  // How many samples can still matter to the model or the report: nothing for all there are, since
  // a range is searched for; otherwise those that are fitted to or evaluated on.
  std::optional<std::int64_t> samples_wanted() const;
  // What calibration has seen, as bytes; between samples only (INVALID_STATE). With `basis` its
  // first samples without the observations: a job that loads them, in another worker, fits to those
  // and observes its own, so that both can be merged.
  Result<std::vector<std::byte>> save_calibration(bool basis) const;
  // As if the samples of a saved calibration of this model and these options came now; step() until
  // sample_finished() afterwards. INVALID_STATE where that cannot be: bytes of another model,
  // another observer, or two calibrations whose channels were equalized after different samples.
  // Equal to one job that saw all samples, for observers whose merge is (calib/observer.h).
  Status load_calibration(std::span<const std::byte> bytes);
  // The bytes of kept sample `i`, one input after the other; none past the last one.
  std::vector<std::byte> kept_sample(std::size_t i) const;
  // Does a bounded piece of work (a few milliseconds to a layer).
  Result<Progress> step();
  bool sample_finished() const;

  // Decides otherwise in a finished job that was made with `keep`: { exclude, observerOverrides,
  // sensitivity }, each in the place of the one before. The job goes back to where that matters and
  // has the result of a new one with these options, but only what depends on them is computed: a
  // tensor's range is searched for where its observer is new (samples_wanted() says whether samples
  // are needed for that; then feed all and end_samples(), otherwise step() at once), and a layer is
  // fitted anew where something before it changed.
  Status change(std::string_view options_json);

  Model take_model();               // the QDQ graph
  std::string report_json() const;  // see report.h

 private:
  struct Impl;
  explicit QuantizeJob(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace octavo::quantize
