#include "nn/functional_dynamic.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "base/text.h"
#include "calib/extremes.h"
#include "calib/qparams.h"
#include "kernels/qconv/qconv.h"
#include "kernels/quantize/quantize.h"
#include "nn/conv_window.h"
#include "nn/dynamic_quantize.h"
#include "nn/observer.h"
#include "nn/runs.h"

namespace octavo::nn::functional {

namespace {

Result<calib::Range> range_of(const Tensor& x) {
  constexpr std::string_view kWhere = "linear_dynamic";
  OCTAVO_CHECK_OK(check_float(x, kWhere));
  const std::span<const float> values = x.span<float>();
  if (!std::ranges::all_of(values, [](float value) { return std::isfinite(value); })) {
    return Error{Code::kNonFiniteSample, "The input has a NaN or an infinity.", std::string(kWhere),
                 "Give finite values."};
  }
  return values.empty() ? calib::Range{} : calib::extremes(values);
}

Status check_weight(const QTensor& weight, int rank, const std::optional<Tensor>& bias,
                    std::string_view where) {
  const auto refuse = [&](std::string what, std::string hint) {
    return Error{Code::kUnsupportedDtype, std::move(what), std::string(where), std::move(hint)};
  };
  if (weight.dtype() != ScalarType::kQint8 || weight.shape().rank() != rank)
    return refuse(text("expected a ", rank, "D torch.qint8 weight, got ",
                       weight.shape().to_string(), " of ", torch_name(weight.dtype())),
                  "Quantize the weight to qint8.");
  const QGrid& grid = weight.grid();
  if (!std::ranges::all_of(grid.zero_points, [](std::int64_t zero) { return zero == 0; }) ||
      (grid.axis && *grid.axis != 0))
    return refuse("The weight has zero points other than 0, or channels along another axis than 0.",
                  "Quantize it symmetrically, per tensor or along axis 0.");
  if (bias) {
    OCTAVO_CHECK_OK(check_float(*bias, where));
    if (bias->shape() != Shape{weight.shape()[0]})
      return Error{Code::kShapeMismatch,
                   text("bias should contain ", weight.shape()[0], " elements not ",
                        bias->shape().to_string()),
                   std::string(where), "Give one number an output channel."};
  }
  return ok_status();
}

// f32(acc) * scale[n] of channels [first, first + count) into out.
struct PackedProduct {
  const kernels::QConvKernel* kernel;
  kernels::QConvPacked packed;
};
PackedProduct packed(std::span<const std::int8_t> weights, const kernels::QConvSpec& spec,
                     const QGrid& weight_grid, std::int64_t first, float x_scale) {
  std::vector<float> scales;
  for (std::int64_t n = first; n < first + spec.channels; ++n) {
    const double own = weight_grid.scales[weight_grid.axis ? static_cast<std::size_t>(n) : 0];
    scales.push_back(static_cast<float>(static_cast<double>(x_scale) * own));
  }
  const kernels::QConvKernel& kernel = kernels::choose_qconv({}, spec, weights);
  return {&kernel, kernel.pack(spec, weights, {}, scales)};
}

void run(const PackedProduct& product, kernels::QConvCall call) {
  const std::size_t scratch_bytes = product.packed.scratch_bytes;
  std::vector<std::byte> scratch(scratch_bytes + 16);
  void* aligned = scratch.data();
  std::size_t room = scratch.size();
  call.scratch = static_cast<std::byte*>(std::align(16, scratch_bytes, aligned, room));
  call.output = kernels::QConvOutput::kFloat32;
  product.kernel->run(product.packed, call);
}

// out [rows][channels] += bias.
void add_bias(Tensor& out, const std::optional<Tensor>& bias) {
  if (!bias) return;
  auto to = out.mutable_span<float>();
  const auto channels = static_cast<std::size_t>(bias->elements());
  for (std::size_t i = 0; i < to.size(); ++i) to[i] += bias->span<float>()[i % channels];
}

const kernels::QuantizeKernel& quantize_kernel() {
  return kernels::best_row(kernels::quantize_kernels(), {});
}

}  // namespace

Result<DynamicGrid> choose_qparams_dynamic(const Tensor& x, bool reduce_range) {
  OCTAVO_TRY(const calib::Range range, range_of(x));
  const calib::ChosenQParams chosen =
      calib::choose_quantization_params(range, {0, reduce_range ? 127 : 255}, false);
  return DynamicGrid{static_cast<float>(chosen.scale), chosen.zero_point};
}

Result<Tensor> linear_dynamic(const Tensor& x, const QTensor& weight,
                              const std::optional<Tensor>& bias, bool reduce_range) {
  constexpr std::string_view kWhere = "linear_dynamic";
  OCTAVO_CHECK_OK(check_weight(weight, 2, bias, kWhere));
  OCTAVO_TRY(const DynamicGrid grid, choose_qparams_dynamic(x, reduce_range));
  const std::int64_t out_features = weight.shape()[0];
  const std::int64_t in_features = weight.shape()[1];
  const int rank = x.shape().rank();
  if (rank < 1 || x.shape()[rank - 1] != in_features) {
    return Error{Code::kShapeMismatch,
                 text("The last axis of the input ", x.shape().to_string(), " has not ",
                      in_features, " elements."),
                 std::string(kWhere), "Give [..., in_features]."};
  }
  Tensor codes = Tensor::make(DType::kUint8, x.shape());
  quantize_kernel().quantize_torch_u8(
      x.span<float>().data(), codes.mutable_span<std::uint8_t>().data(),
      static_cast<std::size_t>(x.elements()), {grid.scale, grid.zero_point});
  Shape shape = x.shape();
  shape[rank - 1] = out_features;
  Tensor out = Tensor::make(DType::kFloat32, shape);
  const std::int64_t rows = in_features == 0 ? 0 : x.elements() / in_features;
  if (rows == 0) return out;
  const std::int32_t offset = 0;
  kernels::QConvCall call;
  call.x = codes.data();
  call.pixel_stride = in_features;
  call.width = rows;
  call.pixels = rows;
  call.segment_offset = &offset;
  call.out = out.mutable_data();
  call.out_stride = out_features;
  run(packed(weight.storage().span<std::int8_t>(),
             {static_cast<int>(out_features), 1, static_cast<int>(in_features), false,
              grid.zero_point},
             weight.grid(), 0, grid.scale),
      call);
  add_bias(out, bias);
  return out;
}

Result<Tensor> conv2d_dynamic(const Tensor& x, const QTensor& weight,
                              const std::optional<Tensor>& bias, const Conv2dOptions& options) {
  OCTAVO_CHECK_OK(check_weight(weight, 4, bias, "conv2d_dynamic"));
  OCTAVO_TRY(const ConvWindow w, conv_window(x.shape(), weight.shape(), options));
  OCTAVO_TRY(const QTensor codes, dynamic_quantize_linear(x));
  const QTensor image = codes.contiguous(MemoryFormat::kChannelsLast);
  const auto zero_x = static_cast<std::int32_t>(image.grid().zero_points[0]);
  const Tensor oihw = weight.contiguous().storage();
  const std::vector<std::int32_t> offsets = w.tap_offsets(options);
  std::vector<PackedProduct> groups;
  for (std::int64_t g = 0; g < options.groups; ++g) {
    groups.push_back(packed(w.taps_first(oihw.span<std::int8_t>(), g),
                            {static_cast<int>(w.group_out), static_cast<int>(offsets.size()),
                             static_cast<int>(w.group_in), false, zero_x},
                            weight.grid(), g * w.group_out,
                            static_cast<float>(image.grid().scales[0])));
  }
  Tensor out = Tensor::make(DType::kFloat32, w.out_shape());
  const kernels::PadGeometry border = w.border(options, 1);
  const std::int64_t rows = w.padded_height(options);
  Tensor bordered = Tensor::make(DType::kUint8, Shape{rows, w.padded_width(options), w.channels});
  for (std::int64_t n = 0; n < w.batch; ++n) {
    kernels::copy_padded_rows(image.storage().data() + n * w.height * w.width * w.channels, border,
                              -options.padding[0], rows, static_cast<std::uint8_t>(zero_x),
                              bordered.mutable_data());
    for (std::int64_t g = 0; g < options.groups; ++g) {
      kernels::QConvCall call;
      call.x = bordered.data() + g * w.group_in;
      call.pixel_stride = options.stride[1] * w.channels;
      call.row_stride = options.stride[0] * w.padded_width(options) * w.channels;
      call.width = w.out_w;
      call.pixels = w.out_h * w.out_w;
      call.segment_offset = offsets.data();
      call.out =
          out.mutable_data() +
          static_cast<std::size_t>(n * w.out_h * w.out_w * w.out_channels + g * w.group_out) *
              sizeof(float);
      call.out_stride = w.out_channels;
      run(groups[static_cast<std::size_t>(g)], call);
    }
  }
  add_bias(out, bias);
  return reorder(out, MemoryFormat::kChannelsLast, MemoryFormat::kContiguous);
}

}  // namespace octavo::nn::functional
