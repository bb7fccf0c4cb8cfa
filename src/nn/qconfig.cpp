#include "nn/qconfig.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "base/text.h"

namespace octavo::nn {

namespace {

struct BackendRow {
  std::string_view name;
  bool reduce_range;  // of activations: FBGEMM's 16-bit sums can overflow with 8 bits
  bool per_channel_weights;
};
constexpr std::array kBackends{
    BackendRow{"fbgemm", true, true},
    BackendRow{"x86", true, true},
    BackendRow{"qnnpack", false, false},
    BackendRow{"onednn", false, true},
};

Result<BackendRow> find_backend(std::string_view name) {
  const auto row = std::ranges::find(kBackends, name, &BackendRow::name);
  if (row != kBackends.end()) return *row;
  std::vector<std::string_view> names;
  for (const BackendRow& known : kBackends) names.push_back(known.name);
  return Error{Code::kInvalidOption, text("backend: ", name, " not supported."), "",
               text("backend must be one of ", join(names, ", "), ".")};
}

// Symmetric int8, as every default has its weights.
ObserverArgs weight_args(bool per_channel) {
  ObserverArgs args;
  args.dtype = ScalarType::kQint8;
  args.qscheme = per_channel ? QScheme::kPerChannelSymmetric : QScheme::kPerTensorSymmetric;
  return args;
}
PostProcessSpec weight_observer(bool per_channel) {
  return {PostProcessSpec::Kind::kObserver,
          per_channel ? "PerChannelMinMaxObserver" : "MinMaxObserver", weight_args(per_channel)};
}
PostProcessSpec placeholder() {
  ObserverArgs args;
  args.quant_min = 0;
  args.quant_max = 255;
  return {PostProcessSpec::Kind::kObserver, "PlaceholderObserver", args};
}

}  // namespace

Result<std::unique_ptr<PostProcess>> make_post_process(const PostProcessSpec& spec) {
  if (spec.kind == PostProcessSpec::Kind::kObserver) {
    OCTAVO_TRY(std::unique_ptr<Observer> observer, make_observer(spec.observer, spec.args));
    return std::unique_ptr<PostProcess>(std::move(observer));
  }
  const FakeQuantizeArgs args{spec.observer, spec.args};
  OCTAVO_TRY(std::unique_ptr<FakeQuantize> fake, spec.kind == PostProcessSpec::Kind::kFakeQuantize
                                                     ? make_fake_quantize(args)
                                                     : make_fused_fake_quantize(args));
  return std::unique_ptr<PostProcess>(std::move(fake));
}

PostProcessFactory from_spec(PostProcessSpec spec) {
  return [spec = std::move(spec)] { return make_post_process(spec); };
}

QConfig from_spec(const QConfigSpec& spec) {
  return {from_spec(spec.activation), from_spec(spec.weight)};
}

Result<QConfigSpec> get_default_qconfig(std::string_view backend) {
  OCTAVO_TRY(const BackendRow row, find_backend(backend));
  QConfigSpec spec;
  spec.activation.observer = "HistogramObserver";
  spec.activation.args.reduce_range = row.reduce_range;
  spec.weight = weight_observer(row.per_channel_weights);
  return spec;
}

Result<QConfigSpec> get_default_qat_qconfig(std::string_view backend, int version) {
  OCTAVO_TRY(const BackendRow row, find_backend(backend));
  if (version != 0 && version != 1) {
    return Error{Code::kInvalidOption,
                 text("Version number: ", version, " in get_default_qat_qconfig is not supported."),
                 "", "Version number must be 0 or 1."};
  }
  QConfigSpec spec;
  spec.activation.observer = "MovingAverageMinMaxObserver";
  spec.activation.args.reduce_range = row.reduce_range;
  spec.activation.args.quant_min = 0;
  spec.activation.args.quant_max = 255;
  spec.weight.observer = row.per_channel_weights ? "MovingAveragePerChannelMinMaxObserver"
                                                 : "MovingAverageMinMaxObserver";
  spec.weight.args = weight_args(row.per_channel_weights);
  spec.weight.args.quant_min = -128;
  spec.weight.args.quant_max = 127;
  spec.activation.kind = spec.weight.kind =
      version == 0 ? PostProcessSpec::Kind::kFakeQuantize
                   : PostProcessSpec::Kind::kFusedMovingAvgObsFakeQuantize;
  return spec;
}

QConfigSpec default_qconfig() {
  ObserverArgs activation;
  activation.quant_min = 0;
  activation.quant_max = 127;
  return {{PostProcessSpec::Kind::kObserver, "MinMaxObserver", activation}, weight_observer(false)};
}
QConfigSpec default_dynamic_qconfig() { return {placeholder(), weight_observer(false)}; }
QConfigSpec per_channel_dynamic_qconfig() { return {placeholder(), weight_observer(true)}; }

}  // namespace octavo::nn
