// QConfig: which observer or fake quantization a module's output and weight get.
// torch.ao.quantization.qconfig (2.6), by its names.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "nn/fake_quantize.h"
#include "nn/observer.h"

namespace octavo::nn {

// Makes a fresh one for each tensor. Any function will do; from_spec() makes the common ones.
using PostProcessFactory = std::function<Result<std::unique_ptr<PostProcess>>()>;

struct QConfig {
  PostProcessFactory activation, weight;
};

// torch's class.with_args(...): an observer by its name, or fake quantization over one.
struct PostProcessSpec {
  enum class Kind : std::uint8_t { kObserver, kFakeQuantize, kFusedMovingAvgObsFakeQuantize };
  Kind kind = Kind::kObserver;
  std::string observer = "MinMaxObserver";
  ObserverArgs args = {};
};
Result<std::unique_ptr<PostProcess>> make_post_process(const PostProcessSpec& spec);
PostProcessFactory from_spec(PostProcessSpec spec);

// The same as data, for bindings and for those who change one argument of a default.
struct QConfigSpec {
  PostProcessSpec activation, weight;
};
QConfig from_spec(const QConfigSpec& spec);

// backend: 'fbgemm', 'x86', 'onednn', 'qnnpack'; INVALID_OPTION in torch's words for another one.
//   fbgemm, x86: Histogram quint8 with reduce_range, PerChannelMinMax qint8 symmetric
//   onednn:      the same over the full range
//   qnnpack:     Histogram quint8, MinMax qint8 symmetric
Result<QConfigSpec> get_default_qconfig(std::string_view backend = "x86");
// version 1 (torch's default): FusedMovingAvgObsFakeQuantize; version 0: FakeQuantize; over moving
// averages, in the same dtypes and ranges.
Result<QConfigSpec> get_default_qat_qconfig(std::string_view backend = "x86", int version = 1);

QConfigSpec default_qconfig();              // MinMax quint8 0..127, MinMax qint8 symmetric
QConfigSpec default_dynamic_qconfig();      // Placeholder quint8, MinMax qint8 symmetric
QConfigSpec per_channel_dynamic_qconfig();  // Placeholder quint8, PerChannelMinMax qint8 symmetric

}  // namespace octavo::nn
