#include "nn/observer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "base/text.h"
#include "calib/extremes.h"
#include "calib/observer.h"
#include "calib/qparams.h"
#include "calib/state.h"
#include "nn/runs.h"

namespace octavo::nn {

namespace {

Error invalid_option(std::string what, std::string_view where, std::string hint) {
  return Error{Code::kInvalidOption, std::move(what), std::string(where), std::move(hint)};
}

bool has_nan(std::span<const float> values) {
  bool found = false;
  for (const float value : values) found |= value != value;
  return found;
}

// MinMaxObserver, MovingAverageMinMaxObserver, their per-channel forms, HistogramObserver: a
// calib::Observer a channel, and torch's UniformQuantizationObserverBase around them.
class UniformObserver final : public Observer {
 public:
  UniformObserver(const ObserverRow& row, const ObserverArgs& args, QSpec spec,
                  std::int64_t symmetric_zero)
      : row_(row), spec_(spec), symmetric_zero_(symmetric_zero), eps_(args.eps) {
    options_.averaging_constant = args.averaging_constant;
    options_.bins = args.bins;
    reset();
  }

  std::string_view kind() const override { return row_.name; }
  const QSpec& spec() const override { return spec_; }
  bool observed() const override { return observed_; }

  Status observe(const Tensor& x) override {
    OCTAVO_CHECK_OK(check_float(x, kind()));
    const std::span<const float> values = x.span<float>();
    if (values.empty()) return ok_status();
    if (has_nan(values)) {
      return Error{Code::kNonFiniteSample, "The input has a NaN.", std::string(kind()),
                   "Observe finite values."};
    }
    if (row_.per_channel) return observe_channels(x);
    if (row_.calib == "histogram") return observe_histogram(values);
    channels_.front()->observe(values);
    observed_ = true;
    return ok_status();
  }

  Result<QParams> calculate_qparams() const override {
    if (!observed_) return QParams{{1.0F}, {0}};
    QParams out;
    const calib::UniformCodes codes{spec_.quant_min, spec_.quant_max, symmetric_zero_};
    const calib::Scheme scheme =
        is_symmetric(spec_.qscheme) ? calib::Scheme::kSymmetric : calib::Scheme::kAffine;
    for (std::size_t c = 0; c < channels_.size(); ++c) {
      const calib::Range range = channels_[c]->range();
      const auto refuse = [&](std::string_view problem, std::string_view hint) {
        return Error{Code::kNonFiniteSample,
                     text("The observed range [", range.min, ", ", range.max, "] ", problem, "."),
                     row_.per_channel ? text(kind(), ", channel ", c) : std::string(kind()),
                     std::string(hint)};
      };
      if (!std::isfinite(range.min) || !std::isfinite(range.max)) {
        return refuse(
            "is not finite",
            "Observe finite values, or take a HistogramObserver, which drops infinities.");
      }
      const calib::WideScaleZero grid = calib::torch_qparams(range, codes, scheme, eps_);
      if (!std::isfinite(grid.scale)) {
        return refuse(
            "is wider than float32, and its scale infinite",
            "Scale the values down, or take a symmetric qscheme, which needs half of it.");
      }
      out.scale.push_back(grid.scale);
      out.zero_point.push_back(grid.zero_point);
    }
    return out;
  }

  Status merge(const Observer& other) override {
    const auto* same = dynamic_cast<const UniformObserver*>(&other);
    if (same == nullptr || same->row_.name != row_.name || same->spec_ != spec_ ||
        (observed_ && same->observed_ && same->channels_.size() != channels_.size())) {
      return calib::foreign_merge(kind(), other.kind());
    }
    if (!same->observed_) return ok_status();
    if (!observed_) make_channels(same->channels_.size());
    for (std::size_t c = 0; c < channels_.size(); ++c) {
      OCTAVO_CHECK_OK(channels_[c]->merge(*same->channels_[c]));
    }
    observed_ = true;
    return ok_status();
  }

  void reset() override {
    make_channels(row_.per_channel ? 0 : 1);
    observed_ = false;
  }

  std::vector<float> min_val() const override {
    return each_seen([](const calib::Range& range) { return range.min; });
  }
  std::vector<float> max_val() const override {
    return each_seen([](const calib::Range& range) { return range.max; });
  }
  std::vector<float> histogram() const override {
    if (channels_.empty()) return {};
    const std::span<const float> counts = channels_.front()->histogram();
    return {counts.begin(), counts.end()};
  }

  std::vector<std::byte> save() const override {
    calib::StateWriter out(kind());
    out.put<std::uint8_t>(observed_ ? 1 : 0);
    out.put(static_cast<std::uint32_t>(channels_.size()));
    std::vector<std::byte> states;
    for (const auto& channel : channels_) {
      const std::vector<std::byte> state = channel->save();
      states.insert(states.end(), state.begin(), state.end());
    }
    out.put_all(states);
    return out.take();
  }

  Status load(std::span<const std::byte> bytes) override {
    calib::StateReader in(bytes);
    std::uint8_t observed = 0;
    std::uint32_t count = 0;
    std::vector<std::byte> states;
    // A saved channel has the same size whatever it has seen.
    const std::size_t size = new_channel()->save().size();
    if (!in.name(kind()) || !in.get(observed) || observed > 1 || !in.get(count) ||
        (!row_.per_channel && count != 1) || count > bytes.size() / size ||
        !in.get_all(states, count * size) || !in.at_end()) {
      return calib::foreign_state(kind());
    }
    std::vector<std::unique_ptr<calib::Observer>> channels;
    for (std::size_t c = 0; c < count; ++c) {
      channels.push_back(new_channel());
      OCTAVO_CHECK_OK(channels.back()->load(std::span(states).subspan(c * size, size)));
    }
    channels_ = std::move(channels);
    observed_ = observed == 1;
    return ok_status();
  }

 private:
  std::unique_ptr<calib::Observer> new_channel() const {
    return calib::find_observer(row_.calib)->make(options_);
  }
  void make_channels(std::size_t count) {
    channels_.clear();
    while (channels_.size() < count) channels_.push_back(new_channel());
  }

  // Infinities leave no trace. What float32 cannot divide into bins is refused: torch's histc reads
  // out of bounds there.
  Status observe_histogram(std::span<const float> values) {
    calib::Range finite = observed_ ? channels_.front()->seen()
                                    : calib::Range{std::numeric_limits<float>::infinity(),
                                                   -std::numeric_limits<float>::infinity()};
    for (const float value : values) {
      if (std::isinf(value)) continue;
      finite = {std::min(finite.min, value), std::max(finite.max, value)};
    }
    if (!(finite.min <= finite.max)) return ok_status();
    if (!std::isfinite((finite.max - finite.min) * static_cast<float>(options_.bins))) {
      return Error{Code::kNonFiniteSample,
                   text("The range [", finite.min, ", ", finite.max, "] is too wide for ",
                        options_.bins, " bins in float32."),
                   std::string(kind()), "Scale the values down, or take a MinMaxObserver."};
    }
    channels_.front()->observe(values);
    observed_ = true;
    return ok_status();
  }

  Status observe_channels(const Tensor& x) {
    const std::optional<int> axis = normalize_axis(spec_.ch_axis, x.shape().rank());
    if (!axis) {
      return Error{
          Code::kShapeMismatch,
          text("A tensor of shape ", x.shape().to_string(), " has no axis ", spec_.ch_axis, "."),
          std::string(kind()), "Give a ch_axis that the tensor has."};
    }
    const Runs runs = runs_along(x.shape(), *axis);
    if (observed_ && runs.channels != channels_.size()) {
      return Error{Code::kShapeMismatch,
                   text("The tensor has ", runs.channels, " channels along axis ", *axis,
                        ", earlier ones had ", channels_.size(), "."),
                   std::string(kind()), "Observe tensors with the same number of channels."};
    }
    // Extremes are all that the per-channel classes keep of a batch.
    std::vector<calib::Range> extremes(runs.channels, {std::numeric_limits<float>::infinity(),
                                                       -std::numeric_limits<float>::infinity()});
    for_each_run(runs, [&](std::size_t c, std::size_t at) {
      const calib::Range run = calib::extremes(x.span<float>().subspan(at, runs.inner));
      extremes[c] = {std::min(extremes[c].min, run.min), std::max(extremes[c].max, run.max)};
    });
    if (!observed_) make_channels(runs.channels);
    for (std::size_t c = 0; c < runs.channels; ++c) {
      channels_[c]->observe(std::array{extremes[c].min, extremes[c].max});
    }
    observed_ = true;
    return ok_status();
  }

  template <class End>
  std::vector<float> each_seen(End end) const {
    std::vector<float> out;
    if (!observed_) return out;
    for (const auto& channel : channels_) out.push_back(end(channel->seen()));
    return out;
  }

  const ObserverRow& row_;
  QSpec spec_;
  std::int64_t symmetric_zero_;
  float eps_;
  calib::ObserverOptions options_;
  std::vector<std::unique_ptr<calib::Observer>> channels_;
  bool observed_ = false;
};

std::int64_t floor_half(std::int64_t value) { return value >> 1; }

Result<std::unique_ptr<Observer>> make_uniform(const ObserverRow& row, const ObserverArgs& args) {
  const QScheme qscheme = args.qscheme.value_or(row.per_channel ? QScheme::kPerChannelAffine
                                                                : QScheme::kPerTensorAffine);
  if (is_per_channel(qscheme) != row.per_channel) {
    const std::string_view level = row.per_channel ? "channel" : "tensor";
    return invalid_option(
        text(row.name, "'s qscheme only support torch.per_", level, "_symmetric and torch.per_",
             level, "_affine. but got: torch.", qscheme_name(qscheme)),
        row.name,
        row.per_channel ? "Use MinMaxObserver for one scale a tensor."
                        : "Use PerChannelMinMaxObserver for one scale a channel.");
  }
  if (is_symmetric(qscheme) && args.reduce_range && args.dtype == ScalarType::kQuint8) {
    return invalid_option("Cannot reduce range for symmetric quantization for quint8", row.name,
                          "Use qint8, or per_tensor_affine, or the full range.");
  }
  if (row.calib == "histogram" && args.dtype == ScalarType::kQint32) {
    return invalid_option("HistogramObserver searches a range for 256 codes, not for qint32.",
                          row.name, "Use quint8 or qint8, or MinMaxObserver.");
  }
  if (!(args.eps > 0) || !std::isfinite(args.eps)) {
    return invalid_option(text("eps = ", args.eps, " is not a positive number."), row.name,
                          "torch's default is 2^-23.");
  }
  if (!(args.averaging_constant > 0 && args.averaging_constant <= 1)) {
    return invalid_option(
        text("averaging_constant = ", args.averaging_constant, " is outside (0, 1]."), row.name,
        "torch's default is 0.01.");
  }
  if (args.bins < 1 || args.bins > 1 << 20) {
    return invalid_option(text("bins = ", args.bins, " is outside 1..1048576."), row.name,
                          "torch's default is 2048.");
  }
  OCTAVO_TRY(const QuantRange codes, calculate_qmin_qmax(args, row.name));
  const bool custom = args.quant_min.has_value();
  const std::int64_t middle = custom ? floor_half(codes.min + codes.max) : 128;
  return std::unique_ptr<Observer>(std::make_unique<UniformObserver>(
      row, args, QSpec{args.dtype, qscheme, codes.min, codes.max, args.ch_axis},
      args.dtype == ScalarType::kQuint8 ? middle : 0));
}

// What FixedQParamsObserver, PlaceholderObserver and NoopObserver share: they look at nothing.
class BlindObserver final : public Observer {
 public:
  BlindObserver(const ObserverRow& row, QSpec spec, std::optional<QParams> qparams)
      : row_(row), spec_(spec), qparams_(std::move(qparams)) {}

  std::string_view kind() const override { return row_.name; }
  const QSpec& spec() const override { return spec_; }
  bool observed() const override { return qparams_.has_value(); }
  Status observe(const Tensor& x) override { return check_float(x, kind()); }
  Result<QParams> calculate_qparams() const override {
    if (qparams_) return *qparams_;
    return Error{Code::kInvalidState, text("calculate_qparams should not be called for ", kind()),
                 std::string(kind()),
                 "Use an observer that looks at values, such as MinMaxObserver."};
  }
  Status merge(const Observer& other) override {
    const auto* same = dynamic_cast<const BlindObserver*>(&other);
    if (same == nullptr || same->row_.name != row_.name || same->qparams_ != qparams_)
      return calib::foreign_merge(kind(), other.kind());
    return ok_status();
  }
  void reset() override {}
  std::vector<std::byte> save() const override { return calib::StateWriter(kind()).take(); }
  Status load(std::span<const std::byte> bytes) override {
    calib::StateReader in(bytes);
    if (!in.name(kind()) || !in.at_end()) return calib::foreign_state(kind());
    return ok_status();
  }

 private:
  const ObserverRow& row_;
  QSpec spec_;
  std::optional<QParams> qparams_;
};

Result<std::unique_ptr<Observer>> make_blind(const ObserverRow& row, const ObserverArgs& args) {
  OCTAVO_TRY(const QuantRange codes, calculate_qmin_qmax(args, row.name));
  const QSpec spec{args.dtype, args.qscheme.value_or(QScheme::kPerTensorAffine), codes.min,
                   codes.max, args.ch_axis};
  return std::unique_ptr<Observer>(std::make_unique<BlindObserver>(row, spec, std::nullopt));
}

Result<std::unique_ptr<Observer>> make_fixed(const ObserverRow& row, const ObserverArgs& args) {
  OCTAVO_TRY(const QuantRange codes, calculate_qmin_qmax(args, row.name));
  const auto scale = static_cast<float>(args.scale);
  if (!(scale > 0) || !std::isfinite(scale)) {
    return invalid_option(text("scale = ", args.scale, " is not a positive float32."), row.name,
                          "Give the step between neighbouring codes.");
  }
  if (args.zero_point < codes.min || args.zero_point > codes.max) {
    return invalid_option(
        text("zero_point = ", args.zero_point, " is outside ", codes.min, "..", codes.max, "."),
        row.name, "Give a code of the dtype.");
  }
  const QSpec spec{args.dtype, args.qscheme.value_or(QScheme::kPerTensorAffine), codes.min,
                   codes.max, args.ch_axis};
  return std::unique_ptr<Observer>(
      std::make_unique<BlindObserver>(row, spec, QParams{{scale}, {args.zero_point}}));
}

constexpr std::array kRows{
    ObserverRow{"MinMaxObserver", "The smallest and the largest value.", &make_uniform, "minmax"},
    ObserverRow{"MovingAverageMinMaxObserver",
                "Smallest and largest value of each batch, exponentially averaged.", &make_uniform,
                "movingAverage"},
    ObserverRow{"PerChannelMinMaxObserver", "The smallest and the largest value of each channel.",
                &make_uniform, "minmax", true},
    ObserverRow{"MovingAveragePerChannelMinMaxObserver",
                "Smallest and largest value of each batch and channel, exponentially averaged.",
                &make_uniform, "movingAverage", true},
    ObserverRow{"HistogramObserver",
                "The part of a histogram with the least squared error of quantization.",
                &make_uniform, "histogram"},
    ObserverRow{"FixedQParamsObserver", "A scale and zero point that are given.", &make_fixed},
    ObserverRow{"PlaceholderObserver",
                "Says which dtype a tensor shall have; its grid is found when it runs.",
                &make_blind},
    ObserverRow{"NoopObserver", "Looks at nothing.", &make_blind},
};

}  // namespace

std::span<const ObserverRow> observer_rows() { return kRows; }

Result<std::unique_ptr<Observer>> make_observer(std::string_view name, const ObserverArgs& args) {
  const auto row = std::ranges::find(kRows, name, &ObserverRow::name);
  if (row != kRows.end()) return row->make(*row, args);
  std::vector<std::string_view> names;
  for (const ObserverRow& known : kRows) names.push_back(known.name);
  return invalid_option(text("There is no observer '", name, "'."), "make_observer",
                        text("Supported: ", join(names, ", "), "."));
}

Result<QuantRange> calculate_qmin_qmax(const ObserverArgs& args, std::string_view where) {
  if (args.quant_min.has_value() != args.quant_max.has_value()) {
    return invalid_option("Only one of quant_min and quant_max is given.", where,
                          "Give both or none.");
  }
  if (!args.quant_min) {
    const std::int64_t min = quant_min_of(args.dtype);
    const std::int64_t max = quant_max_of(args.dtype);
    if (!args.reduce_range || args.dtype == ScalarType::kQint32) return QuantRange{min, max};
    return QuantRange{floor_half(min), floor_half(max)};
  }
  const std::int64_t min = *args.quant_min;
  const std::int64_t max = *args.quant_max;
  if (min > 0 || max < 0) {
    return invalid_option("User-specified quantization range must include 0.", where,
                          text("Got quant_min = ", min, ", quant_max = ", max, "."));
  }
  if (min >= max) {
    return invalid_option(
        "qmin must be strictly less than qmax for user-specified quantization range.", where,
        text("Got quant_min = ", min, ", quant_max = ", max, "."));
  }
  if (min < quant_min_of(args.dtype) || max > quant_max_of(args.dtype)) {
    return invalid_option(
        text("quant_min = ", min, ", quant_max = ", max, " is out of bound of ",
             torch_name(args.dtype), "."),
        where, text("Stay within ", quant_min_of(args.dtype), "..", quant_max_of(args.dtype), "."));
  }
  if (!args.reduce_range) return QuantRange{min, max};
  return QuantRange{floor_half(min), floor_half(max)};
}

Status check_float(const Tensor& x, std::string_view where) {
  if (x.dtype() == DType::kFloat32) return ok_status();
  return Error{Code::kUnsupportedDtype,
               text("expected scalar type Float but found ", dtype_name(x.dtype()), "."),
               std::string(where), "Give a float32 tensor; dequantize() a quantized one."};
}

}  // namespace octavo::nn
