// Observers by torch.ao.quantization's names (2.6), with its numbers: they watch float tensors and
// say with which scale and zero point to quantize them.
//
//   OCTAVO_TRY(auto observer, make_observer("HistogramObserver", {.reduce_range = true}));
//   OCTAVO_CHECK_OK(observer->observe(batch));
//   OCTAVO_TRY(QParams qparams, observer->calculate_qparams());
//
// What they keep of the values is src/calib's; here are the options, the channels and the formulas
// of the scale (calib/qparams.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "nn/qtensor.h"
#include "tensor/tensor.h"

namespace octavo::nn {

// One scale and zero point, or one per channel.
struct QParams {
  std::vector<float> scale;
  std::vector<std::int64_t> zero_point;
  friend bool operator==(const QParams&, const QParams&) = default;
};

// What codes a tensor shall have.
struct QSpec {
  ScalarType dtype = ScalarType::kQuint8;
  QScheme qscheme = QScheme::kPerTensorAffine;
  std::int64_t quant_min = 0;
  std::int64_t quant_max = 255;
  int ch_axis = 0;  // of the per-channel schemes; negative from the end

  friend bool operator==(const QSpec&, const QSpec&) = default;
};

// What sits behind a module's output or a weight while a model is prepared: an observer or a fake
// quantization. torch: activation_post_process.
class PostProcess {
 public:
  PostProcess() = default;
  PostProcess(const PostProcess&) = delete;
  PostProcess& operator=(const PostProcess&) = delete;
  virtual ~PostProcess() = default;

  virtual std::string_view kind() const = 0;  // torch's class name
  virtual const QSpec& spec() const = 0;
  // float32 of any shape; an observer returns it as it is. NaN is an error (NON_FINITE_SAMPLE).
  virtual Result<Tensor> forward(const Tensor& x) = 0;
  // The gradient of the last forward()'s input.
  virtual Result<Tensor> gradient(const Tensor& grad_out) const { return grad_out; }
  // (1, 0) before any value came, as torch's.
  virtual Result<QParams> calculate_qparams() const = 0;
  // Whether calculate_qparams() says something about data.
  virtual bool observed() const = 0;
  // The state as bytes, little-endian. load refuses what save of the same kind did not write
  // (INVALID_STATE) and then leaves the object as it was.
  virtual std::vector<std::byte> save() const = 0;
  virtual Status load(std::span<const std::byte> bytes) = 0;
};

// Derive from it for observers of your own: forward() is observe() and the input again.
class Observer : public PostProcess {
 public:
  Result<Tensor> forward(const Tensor& x) final {
    OCTAVO_CHECK_OK(observe(x));
    return x;
  }
  // One batch. An empty one changes nothing.
  virtual Status observe(const Tensor& x) = 0;
  // As if `other`, of the same kind and options, had been observed here too. Moving averages, which
  // depend on the order of batches, become the mean of the two, weighted by their batches.
  virtual Status merge(const Observer& other) = 0;
  // Forgets all values. torch: reset_min_max_vals.
  virtual void reset() = 0;
  // The ends of what was seen, one a channel, empty before any value; torch's buffers of the name.
  virtual std::vector<float> min_val() const { return {}; }
  virtual std::vector<float> max_val() const { return {}; }
  // HistogramObserver's counts between min_val and max_val; empty for the others.
  virtual std::vector<float> histogram() const { return {}; }
};

// torch's keyword arguments. An observer reads those that its class has in torch.
struct ObserverArgs {
  ScalarType dtype = ScalarType::kQuint8;
  std::optional<QScheme> qscheme = std::nullopt;  // default: per_tensor_affine, per_channel_affine
  bool reduce_range = false;                      // one bit less: 0..127, -64..63
  std::optional<std::int64_t> quant_min = std::nullopt;  // with quant_max, or neither
  std::optional<std::int64_t> quant_max = std::nullopt;
  float eps = std::numeric_limits<float>::epsilon();  // the smallest scale
  double averaging_constant = 0.01;  // MovingAverage*: weight of a new batch, (0, 1]
  int ch_axis = 0;
  int bins = 2048;              // HistogramObserver
  double scale = 1.0;           // FixedQParamsObserver
  std::int64_t zero_point = 0;  // FixedQParamsObserver
};

struct ObserverRow {
  std::string_view name;  // torch's class name
  std::string_view doc;
  Result<std::unique_ptr<Observer>> (*make)(const ObserverRow& row, const ObserverArgs& args);
  std::string_view calib = {};  // what keeps the values: a row of calib::all_observers()
  bool per_channel = false;
};
std::span<const ObserverRow> observer_rows();

// INVALID_OPTION for an unknown name and for arguments that torch refuses, in its words.
Result<std::unique_ptr<Observer>> make_observer(std::string_view name,
                                                const ObserverArgs& args = {});

// quant_min and quant_max for a dtype and torch's arguments (calculate_qmin_qmax).
struct QuantRange {
  std::int64_t min, max;
};
Result<QuantRange> calculate_qmin_qmax(const ObserverArgs& args, std::string_view where);

// A float32 tensor, or UNSUPPORTED_DTYPE.
Status check_float(const Tensor& x, std::string_view where);

}  // namespace octavo::nn
