#include "nn/observer.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "nn/calibration_range.h"

namespace octavo::nn {
namespace {

Tensor tensor(const std::vector<float>& values) {
  return Tensor::of(Shape{static_cast<std::int64_t>(values.size())}, values);
}

std::unique_ptr<Observer> make(std::string_view name, const ObserverArgs& args = {}) {
  auto made = make_observer(name, args);
  REQUIRE(made.ok());
  return std::move(made).value();
}

TEST_CASE("every observer: no data gives scale 1 and zero point 0, or says that it has none") {
  for (const ObserverRow& row : observer_rows()) {
    CAPTURE(row.name);
    const auto observer = make(row.name);
    CHECK(observer->kind() == row.name);
    CHECK(observer->observe(tensor({})).ok());
    const auto qparams = observer->calculate_qparams();
    if (row.name == "PlaceholderObserver" || row.name == "NoopObserver") {
      REQUIRE_FALSE(qparams.ok());
      CHECK(qparams.error().what ==
            "calculate_qparams should not be called for " + std::string(row.name));
    } else {
      CHECK(*qparams == QParams{{1.0F}, {0}});
    }
  }
}

TEST_CASE("every observer: forward returns its input, a saved state goes on, foreign ones do not") {
  const Tensor first = Tensor::of(Shape{2, 3}, std::vector<float>{-1, 2, 3, 0.5F, -4, 8});
  const Tensor second = Tensor::of(Shape{2, 3}, std::vector<float>{5, 2, -3, 0.25F, 7, 1});
  for (const ObserverRow& row : observer_rows()) {
    CAPTURE(row.name);
    const auto whole = make(row.name);
    const auto a = make(row.name);
    const auto b = make(row.name);
    REQUIRE(whole->forward(first).ok());
    CHECK(whole->forward(second)->data() == second.data());
    REQUIRE(a->observe(first).ok());
    const std::vector<std::byte> state = a->save();
    REQUIRE(b->load(state).ok());
    REQUIRE(b->observe(second).ok());
    CHECK(b->min_val() == whole->min_val());
    CHECK(b->max_val() == whole->max_val());
    CHECK(b->histogram() == whole->histogram());
    CHECK(b->observed() == whole->observed());

    for (std::size_t size = 0; size < state.size(); size += 1 + size / 5)
      CHECK_FALSE(b->load(std::span(state).first(size)).ok());
    for (const ObserverRow& other : observer_rows()) {
      if (other.name == row.name) continue;
      CHECK_FALSE(b->load(make(other.name)->save()).ok());
      CHECK_FALSE(b->merge(*make(other.name)).ok());
    }
    CHECK(b->max_val() == whole->max_val());

    b->reset();
    CHECK(b->min_val().empty());
  }
}

TEST_CASE("merging observers of parts equals one of the whole") {
  const Tensor first = Tensor::of(Shape{2, 3}, std::vector<float>{-1, 2, 3, 0.5F, -4, 8});
  const Tensor second = Tensor::of(Shape{2, 3}, std::vector<float>{5, 2, -3, 0.25F, 7, 1});
  for (const std::string_view name : {"MinMaxObserver", "PerChannelMinMaxObserver"}) {
    CAPTURE(name);
    const auto whole = make(name);
    const auto a = make(name);
    const auto b = make(name);
    const auto empty = make(name);
    REQUIRE(whole->observe(first).ok());
    REQUIRE(whole->observe(second).ok());
    REQUIRE(a->observe(second).ok());
    REQUIRE(b->observe(first).ok());
    REQUIRE(a->merge(*b).ok());
    REQUIRE(a->merge(*empty).ok());
    REQUIRE(empty->merge(*a).ok());
    CHECK(a->min_val() == whole->min_val());
    CHECK(empty->max_val() == whole->max_val());
  }
}

TEST_CASE("per-channel observers: any axis, one channel count") {
  const Tensor x = Tensor::of(Shape{2, 3, 2}, std::vector<float>{0, 1, 2, 3, 4, 5,  //
                                                                 -6, 7, 8, -9, 10, 11});
  const auto last = make("PerChannelMinMaxObserver", {.ch_axis = -1});
  REQUIRE(last->observe(x).ok());
  CHECK(last->min_val() == std::vector<float>{-6, -9});
  CHECK(last->max_val() == std::vector<float>{10, 11});
  const auto middle = make("PerChannelMinMaxObserver", {.ch_axis = 1});
  REQUIRE(middle->observe(x).ok());
  CHECK(middle->min_val() == std::vector<float>{-6, -9, 4});
  CHECK(middle->max_val() == std::vector<float>{7, 8, 11});
  const auto other = middle->observe(Tensor::of(Shape{1, 2}, std::vector<float>{1, 2}));
  REQUIRE_FALSE(other.ok());
  CHECK(other.error().what == "The tensor has 2 channels along axis 1, earlier ones had 3.");
  const auto far = make("PerChannelMinMaxObserver", {.ch_axis = 3});
  CHECK(far->observe(x).error().code == Code::kShapeMismatch);
}

TEST_CASE("quant_min, quant_max and eps") {
  const auto sixteen = make("MinMaxObserver", {.quant_min = 0, .quant_max = 15});
  REQUIRE(sixteen->observe(tensor({-1, 2})).ok());
  CHECK(*sixteen->calculate_qparams() == QParams{{3.0F / 15.0F}, {5}});
  // A symmetric quint8 with codes of the user's own has the middle, rounded down, as its zero.
  const auto middle =
      make("MinMaxObserver",
           {.qscheme = QScheme::kPerTensorSymmetric, .quant_min = 0, .quant_max = 127});
  REQUIRE(middle->observe(tensor({-1, 2})).ok());
  CHECK(*middle->calculate_qparams() == QParams{{2.0F / 63.5F}, {63}});
  const auto coarse = make("MinMaxObserver", {.eps = 0.5F});
  REQUIRE(coarse->observe(tensor({0, 1})).ok());
  CHECK(coarse->calculate_qparams()->scale.front() == 0.5F);
  const auto wide = make("MinMaxObserver", {.dtype = ScalarType::kQint32});
  REQUIRE(wide->observe(tensor({-1, 1})).ok());
  CHECK(wide->calculate_qparams()->scale.front() == std::numeric_limits<float>::epsilon());
  const auto fixed = make("FixedQParamsObserver", {.scale = 1.0 / 256, .zero_point = 0});
  CHECK(*fixed->calculate_qparams() == QParams{{1.0F / 256}, {0}});
}

TEST_CASE("what torch refuses is refused in its words") {
  struct Refusal {
    std::string_view name;
    ObserverArgs args;
    std::string_view what;
  };
  const Refusal refusals[] = {
      {"MinMaxObserver",
       {.qscheme = QScheme::kPerTensorSymmetric, .reduce_range = true},
       "Cannot reduce range for symmetric quantization for quint8"},
      {"PerChannelMinMaxObserver",
       {.qscheme = QScheme::kPerChannelSymmetric, .reduce_range = true},
       "Cannot reduce range for symmetric quantization for quint8"},
      {"HistogramObserver",
       {.qscheme = QScheme::kPerChannelAffine},
       "HistogramObserver's qscheme only support torch.per_tensor_symmetric and "
       "torch.per_tensor_affine. but got: torch.per_channel_affine"},
      {"PerChannelMinMaxObserver",
       {.qscheme = QScheme::kPerTensorAffine},
       "PerChannelMinMaxObserver's qscheme only support torch.per_channel_symmetric and "
       "torch.per_channel_affine. but got: torch.per_tensor_affine"},
      {"MinMaxObserver",
       {.quant_min = 1, .quant_max = 255},
       "User-specified quantization range must include 0."},
      {"MinMaxObserver",
       {.quant_min = 0, .quant_max = 0},
       "qmin must be strictly less than qmax for user-specified quantization range."},
      {"MinMaxObserver",
       {.dtype = ScalarType::kQint8, .quant_min = 0, .quant_max = 255},
       "quant_min = 0, quant_max = 255 is out of bound of torch.qint8."},
      {"MinMaxObserver", {.quant_min = 0}, "Only one of quant_min and quant_max is given."},
      {"MinMaxObserver", {.eps = 0.0F}, "eps = 0 is not a positive number."},
      {"MovingAverageMinMaxObserver",
       {.averaging_constant = 0},
       "averaging_constant = 0 is outside (0, 1]."},
      {"HistogramObserver", {.bins = 0}, "bins = 0 is outside 1..1048576."},
      {"HistogramObserver",
       {.dtype = ScalarType::kQint32},
       "HistogramObserver searches a range for 256 codes, not for qint32."},
      {"FixedQParamsObserver", {.zero_point = 256}, "zero_point = 256 is outside 0..255."},
      {"FixedQParamsObserver", {.scale = 1e-50}, "scale = 1e-50 is not a positive float32."},
      {"MiniMaxObserver", {}, "There is no observer 'MiniMaxObserver'."},
  };
  for (const Refusal& refusal : refusals) {
    const auto made = make_observer(refusal.name, refusal.args);
    REQUIRE_FALSE(made.ok());
    CHECK(made.error().code == Code::kInvalidOption);
    CHECK(made.error().what == refusal.what);
    CHECK_FALSE(made.error().hint.empty());
  }
}

TEST_CASE(
    "every observer: values at the ends of float32 give a finite scale, or a range too wide") {
  const float most = std::numeric_limits<float>::max();
  for (const ObserverRow& row : observer_rows()) {
    if (row.calib.empty()) continue;
    for (const float end : {1e-38F, 1e30F, 1e38F, most}) {
      for (const bool symmetric : {false, true}) {
        CAPTURE(row.name);
        CAPTURE(end);
        ObserverArgs args;
        if (symmetric)
          args.qscheme =
              row.per_channel ? QScheme::kPerChannelSymmetric : QScheme::kPerTensorSymmetric;
        const auto observer = make(row.name, args);
        const Tensor x = Tensor::of(Shape{1, 4}, std::vector<float>{-end, 0, end / 2, end});
        const Status seen = observer->observe(x);
        if (!seen.ok()) {  // a histogram has bins to make
          CHECK(row.calib == "histogram");
          CHECK(seen.error().what.find("too wide for 2048 bins") != std::string::npos);
          CHECK_FALSE(observer->observed());
          continue;
        }
        const auto qparams = observer->calculate_qparams();
        if (!qparams.ok()) {
          CHECK(end == most);
          CHECK_FALSE(symmetric);
          CHECK(qparams.error().what.find("wider than float32") != std::string::npos);
          continue;
        }
        CHECK(std::isfinite(qparams->scale[0]));
        CHECK(qparams->scale[0] > 0);
      }
    }
  }
}

TEST_CASE("NaN, infinities and other dtypes") {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const std::string_view name : {"MinMaxObserver", "HistogramObserver"}) {
    CAPTURE(name);
    const auto observer = make(name);
    const auto nan = observer->observe(tensor({1, std::numeric_limits<float>::quiet_NaN()}));
    REQUIRE_FALSE(nan.ok());
    CHECK(nan.error().code == Code::kNonFiniteSample);
    CHECK_FALSE(observer->observed());
    REQUIRE(observer->observe(tensor({infinity, 1, -2})).ok());
    const auto qparams = observer->calculate_qparams();
    if (name == "HistogramObserver") {
      CHECK(qparams->scale.front() <= 3.0F / 255.0F);
    } else {
      REQUIRE_FALSE(qparams.ok());
      CHECK(qparams.error().what == "The observed range [-2, inf] is not finite.");
    }
    CHECK(observer->observe(Tensor::of(Shape{1}, std::vector<std::int32_t>{1})).error().what ==
          "expected scalar type Float but found int32.");
  }
  const auto only_infinite = make("HistogramObserver");
  REQUIRE(only_infinite->observe(tensor({infinity, -infinity})).ok());
  CHECK_FALSE(only_infinite->observed());
}

// The numbers are ONNX Runtime's in tests/golden; here are what it is given.
TEST_CASE("calibration_range: batches, defaults, and what it refuses") {
  const std::vector<Tensor> batches{tensor({-1, 2}), tensor({}), tensor({-3, 1})};
  const auto range = [&](std::string_view method, const CalibrationOptions& options = {}) {
    const auto found = calibration_range(method, batches, options);
    REQUIRE(found.ok());
    return std::vector<double>{found->lo, found->hi};
  };
  CHECK(range("MinMax") == std::vector<double>{-3, 2});
  CHECK(range("MinMax", {.symmetric = true}) == std::vector<double>{-3, 3});
  // The empty batch is none.
  CHECK(range("MinMax", {.moving_average = true}) == std::vector<double>{-2, 1.5});
  CHECK(range("Distribution") == std::vector<double>{-3, 3});
  CHECK(range("Percentile") == range("Percentile", {.bins = 2048}));
  CHECK(range("Entropy") == range("Entropy", {.bins = 128}));
  const auto code = [&](std::string_view method, const std::vector<Tensor>& given,
                        const CalibrationOptions& options = {}) {
    const auto found = calibration_range(method, given, options);
    REQUIRE_FALSE(found.ok());
    return found.error().code;
  };
  CHECK(code("Mean", batches) == Code::kInvalidOption);
  CHECK(code("MinMax", {}) == Code::kNoSamples);
  CHECK(code("MinMax", {tensor({})}) == Code::kNoSamples);
  CHECK(code("MinMax", {tensor({1, std::nanf("")})}) == Code::kNonFiniteSample);
  CHECK(code("MinMax", {Tensor::make(DType::kInt8, Shape{2})}) == Code::kUnsupportedDtype);
  CHECK(code("Percentile", batches, {.percentile = 0}) == Code::kInvalidOption);
  CHECK(code("Percentile", batches, {.bins = 1}) == Code::kInvalidOption);
  CHECK(code("Entropy", batches, {.bins = 64}) == Code::kInvalidOption);
}

}  // namespace
}  // namespace octavo::nn
