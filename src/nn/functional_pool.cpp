// Pools, means over windows, interpolation and flatten.
#include <algorithm>
#include <numeric>

#include "base/text.h"
#include "kernels/qpool/qpool.h"
#include "kernels/qwindow/qwindow.h"
#include "kernels/resize/resize.h"
#include "nn/checks.h"
#include "nn/functional.h"
#include "nn/pool_window.h"

namespace octavo::nn::functional {

namespace {

// `x` where it has `rank` dimensions; where it has one less, as torch takes it too, a batch of it.
QTensor batched(const QTensor& x, int rank) {
  if (x.shape().rank() + 1 != rank) return x;
  std::vector<std::int64_t> dims(x.shape().begin(), x.shape().end());
  dims.insert(dims.begin(), 1);
  return QTensor::of_storage(x.int_repr().reshaped(Shape(std::move(dims))), x.grid(),
                             MemoryFormat::kContiguous);
}
// `y` of batched(x), with as many dimensions as `x`.
QTensor as_given(QTensor y, const QTensor& x) {
  if (y.shape().rank() == x.shape().rank()) return y;
  const std::vector<std::int64_t> dims(y.shape().begin() + 1, y.shape().end());
  return QTensor::of_storage(y.int_repr().reshaped(Shape(dims)), y.grid(),
                             MemoryFormat::kContiguous);
}

// torch's is_contiguous(ChannelsLast): tensors of one channel or one pixel are both, [C, H, W]
// never.
bool is_channels_last(const QTensor& x) {
  const Shape& shape = x.shape();
  if (shape.rank() != 4) return false;
  return x.memory_format() == MemoryFormat::kChannelsLast || shape[1] == 1 ||
         shape[2] * shape[3] == 1;
}

constexpr std::int64_t kMaxPixels = std::int64_t{1} << 23;  // their sum fits 32 bits

// One image after another through a kernel: run(in, out) on channels-last codes.
template <class Run>
QTensor each_image(const QTensor& x, std::int64_t out_h, std::int64_t out_w, Run run) {
  const QTensor in = x.contiguous(MemoryFormat::kChannelsLast);
  const Shape& shape = x.shape();
  Tensor codes = Tensor::make(x.storage().dtype(), {shape[0], shape[1], out_h, out_w});
  if (codes.elements() != 0 && x.numel() != 0) {
    for_code(x.dtype(), [&]<class Code>(Code) {
      for (std::int64_t n = 0; n < shape[0]; ++n) {
        run(codes_of<Code>(in) + n * shape[1] * shape[2] * shape[3],
            codes.mutable_span<Code>().data() + n * shape[1] * out_h * out_w);
      }
    });
  }
  return QTensor::of_storage(std::move(codes), x.grid(), MemoryFormat::kChannelsLast)
      .contiguous(x.memory_format());
}

// Codes of channels-last images to their means over `rows` by `columns`.
QTensor window_means(const QTensor& x, const std::vector<kernels::WindowSpan>& rows,
                     const std::vector<kernels::WindowSpan>& columns,
                     const std::vector<float>& factors, kernels::QWindowParams params) {
  params.lo = static_cast<std::int32_t>(quant_min_of(x.dtype()));
  params.hi = static_cast<std::int32_t>(quant_max_of(x.dtype()));
  const kernels::QWindowGeometry geometry{x.shape()[3], x.shape()[1], rows, columns,
                                          factors.data()};
  const kernels::QWindowKernel& kernel = kernels::best_row(kernels::qwindow_kernels(), {});
  return each_image(x, static_cast<std::int64_t>(rows.size()),
                    static_cast<std::int64_t>(columns.size()),
                    [&]<class Code>(const Code* in, Code* out) {
                      if constexpr (std::is_signed_v<Code>) {
                        kernel.s8(in, out, geometry, params);
                      } else {
                        kernel.u8(in, out, geometry, params);
                      }
                    });
}

// factor(row window index, column window index) for every window.
template <class Factor>
std::vector<float> factors_of(std::size_t rows, std::size_t columns, Factor factor) {
  std::vector<float> factors;
  factors.reserve(rows * columns);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < columns; ++c) factors.push_back(factor(r, c));
  }
  return factors;
}

// Per-tensor 8-bit codes [N, C, H, W] with pixels, and few enough of them for 32-bit sums.
Status check_image(const QTensor& x, std::string_view where) {
  OCTAVO_CHECK_OK(check_activation(x, where));
  OCTAVO_CHECK_OK(check_rank(x, 4, "[N, C, H, W]", where));
  const Shape& shape = x.shape();
  if (shape[2] == 0 || shape[3] == 0) {
    return nn_error(
        Code::kShapeMismatch,
        text("Expected input with non-zero spatial dimensions, got ", shape.to_string(), "."),
        where);
  }
  if (shape[2] * shape[3] >= kMaxPixels) {
    return nn_error(Code::kLimitExceeded, text("The image has ", shape[2] * shape[3], " pixels."),
                    where, text("It may have ", kMaxPixels - 1, "."));
  }
  return ok_status();
}

}  // namespace

Result<QTensor> max_pool2d(const QTensor& input, const Pool2d& pool) {
  constexpr std::string_view kWhere = "quantized::max_pool2d";
  const QTensor x = batched(input, 4);
  OCTAVO_CHECK_OK(check_image(x, kWhere));
  OCTAVO_TRY(const PoolAxis h, pool_axis(x.shape(), 2, pool, true, kWhere));
  OCTAVO_TRY(const PoolAxis w, pool_axis(x.shape(), 3, pool, true, kWhere));
  kernels::PoolGeometry g;
  const auto small = [](std::int64_t value) { return static_cast<int>(value); };
  g.in_h = small(h.in), g.in_w = small(w.in), g.channels = small(x.shape()[1]);
  g.kernel_h = small(h.kernel), g.kernel_w = small(w.kernel);
  g.stride_h = small(h.stride), g.stride_w = small(w.stride);
  g.dilation_h = small(h.dilation), g.dilation_w = small(w.dilation);
  g.pad_top = g.pad_bottom = small(h.padding);
  g.pad_left = g.pad_right = small(w.padding);
  g.out_h = small(h.out), g.out_w = small(w.out);
  const kernels::QPoolKernel& kernel = kernels::best_row(kernels::qpool_kernels(), {});
  const QTensor y = each_image(x, h.out, w.out, [&]<class Code>(const Code* in, Code* out) {
    kernel.fns<Code>().max(in, out, g, 0, g.rows());
  });
  return as_given(y, input);
}

Result<QTensor> max_pool1d(const QTensor& input, const Pool2d& pool) {
  const QTensor x = batched(input, 3);
  OCTAVO_CHECK_OK(check_rank(x, 3, "[N, C, L]", "quantized::max_pool1d"));
  const Shape& shape = x.shape();
  const QTensor image = QTensor::of_storage(x.storage().reshaped({shape[0], shape[1], 1, shape[2]}),
                                            x.grid(), x.order(), x.memory_format());
  Pool2d line = pool;
  line.kernel_size[0] = line.stride[0] = line.dilation[0] = 1;
  line.padding[0] = 0;
  OCTAVO_TRY(const QTensor y, max_pool2d(image, line));
  return as_given(QTensor::of_storage(y.storage().reshaped({shape[0], shape[1], y.shape()[3]}),
                                      y.grid(), y.order(), y.memory_format()),
                  input);
}

Result<QTensor> avg_pool2d(const QTensor& input, const Pool2d& pool, const Backend& backend) {
  constexpr std::string_view kWhere = "quantized::avg_pool2d";
  const QTensor x = batched(input, 4);
  OCTAVO_CHECK_OK(check_image(x, kWhere));
  OCTAVO_TRY(const PoolAxis h, pool_axis(x.shape(), 2, pool, false, kWhere));
  OCTAVO_TRY(const PoolAxis w, pool_axis(x.shape(), 3, pool, false, kWhere));
  if (pool.divisor_override && *pool.divisor_override == 0) {
    return nn_error(Code::kInvalidOption, "divisor must be not zero.", kWhere, "");
  }
  std::vector<std::int64_t> padded_rows, padded_columns;
  const auto rows = pool_spans(h, padded_rows);
  const auto columns = pool_spans(w, padded_columns);
  const auto factors = factors_of(rows.size(), columns.size(), [&](std::size_t r, std::size_t c) {
    const std::int64_t divisor = pool.divisor_override    ? *pool.divisor_override
                                 : pool.count_include_pad ? padded_rows[r] * padded_columns[c]
                                                          : length(rows[r]) * length(columns[c]);
    // A window of padding alone, which ceil_mode can make, has the mean 0.
    return divisor == 0 ? 0.0F : 1.0F / static_cast<float>(divisor);
  });
  const auto zero = static_cast<std::int32_t>(x.grid().zero_points[0]);
  kernels::QWindowParams params;
  params.offset = zero;
  if (is_channels_last(input) || backend.engine == QEngine::kQnnpack) {
    params.after = zero;
  } else {
    params.before = static_cast<float>(zero);
  }
  return as_given(window_means(x, rows, columns, factors, params), input);
}

Result<QTensor> adaptive_avg_pool2d(const QTensor& input, std::array<std::int64_t, 2> output_size) {
  constexpr std::string_view kWhere = "quantized::adaptive_avg_pool2d";
  const QTensor x = batched(input, 4);
  OCTAVO_CHECK_OK(check_image(x, kWhere));
  if (output_size[0] < 1 || output_size[1] < 1 ||
      !Shape{x.shape()[0], x.shape()[1], output_size[0], output_size[1]}.checked_elements()) {
    return nn_error(Code::kInvalidOption,
                    text("output_size is ", output_size[0], " x ", output_size[1], "."), kWhere,
                    "Give at least 1 x 1.");
  }
  // Window i covers floor(i * in / out) to ceil((i + 1) * in / out).
  const auto spans = [](std::int64_t in, std::int64_t out) {
    std::vector<kernels::WindowSpan> all;
    for (std::int64_t i = 0; i < out; ++i) {
      all.push_back({static_cast<std::int32_t>(i * in / out),
                     static_cast<std::int32_t>(((i + 1) * in + out - 1) / out)});
    }
    return all;
  };
  const auto rows = spans(x.shape()[2], output_size[0]);
  const auto columns = spans(x.shape()[3], output_size[1]);
  const bool last = is_channels_last(input);
  const auto factors = factors_of(rows.size(), columns.size(), [&](std::size_t r, std::size_t c) {
    const std::int64_t height = length(rows[r]);
    const std::int64_t width = length(columns[c]);
    return last ? 1.0F / static_cast<float>(height * width)
                : 1.0F / static_cast<float>(height) / static_cast<float>(width);
  });
  kernels::QWindowParams params;
  if (last) {
    params.offset = params.after = static_cast<std::int32_t>(x.grid().zero_points[0]);
  }
  return as_given(window_means(x, rows, columns, factors, params), input);
}

Result<QTensor> mean_hw(const QTensor& x, bool keepdim) {
  constexpr std::string_view kWhere = "mean";
  OCTAVO_CHECK_OK(check_image(x, kWhere));
  const std::int64_t pixels = x.shape()[2] * x.shape()[3];
  kernels::QWindowParams params;
  params.divide = true;
  const QTensor y = window_means(x, {{0, static_cast<std::int32_t>(x.shape()[2])}},
                                 {{0, static_cast<std::int32_t>(x.shape()[3])}},
                                 {static_cast<float>(pixels)}, params);
  if (keepdim) return y;
  return QTensor::of_storage(y.storage().reshaped({x.shape()[0], x.shape()[1]}), y.grid(),
                             MemoryFormat::kContiguous);
}

Result<QTensor> interpolate(const QTensor& x, std::array<std::int64_t, 2> size,
                            InterpolateMode mode, bool align_corners) {
  constexpr std::string_view kWhere = "interpolate";
  OCTAVO_CHECK_OK(check_image(x, kWhere));
  const Shape& shape = x.shape();
  const Shape out_shape{shape[0], shape[1], size[0], size[1]};
  if (size[0] < 1 || size[1] < 1 || !out_shape.checked_elements()) {
    return nn_error(Code::kInvalidOption, text("size is ", size[0], " x ", size[1], "."), kWhere,
                    "Give at least 1 x 1.");
  }
  if (align_corners && mode == InterpolateMode::kNearest) {
    return nn_error(Code::kInvalidOption,
                    "align_corners option can only be set with the interpolating modes.", kWhere,
                    "Use bilinear.");
  }
  const auto in_h = static_cast<int>(shape[2]);
  const auto in_w = static_cast<int>(shape[3]);
  const auto out_h = static_cast<int>(size[0]);
  const auto out_w = static_cast<int>(size[1]);
  const float scale_h = static_cast<float>(out_h) / static_cast<float>(in_h);
  const float scale_w = static_cast<float>(out_w) / static_cast<float>(in_w);
  if (mode == InterpolateMode::kNearest) {
    const auto nearest = [](int in, int out, float scale) {
      return kernels::nearest_indices(in, out, scale, kernels::Coordinates::kAsymmetric,
                                      kernels::NearestMode::kFloor);
    };
    const auto rows = nearest(in_h, out_h, scale_h);
    const auto columns = nearest(in_w, out_w, scale_w);
    return each_image(x, out_h, out_w, [&]<class Code>(const Code* in, Code* out) {
      kernels::resize_nearest(reinterpret_cast<const std::byte*>(in),
                              reinterpret_cast<std::byte*>(out), static_cast<std::size_t>(shape[1]),
                              in_w, rows, columns, 0, out_h);
    });
  }
  const auto linear = [align_corners](int in, int out, float scale) {
    return kernels::linear_taps(
        in, out, scale,
        align_corners ? kernels::Coordinates::kAlignCorners : kernels::Coordinates::kHalfPixel);
  };
  const auto rows = linear(in_h, out_h, scale_h);
  const auto columns = linear(in_w, out_w, scale_w);
  // On codes as floats: the weights sum to 1, so the zero point passes through.
  const kernels::ResizeGeometry geometry{in_h, in_w, static_cast<int>(shape[1]), rows, columns};
  const auto run = kernels::best_row(kernels::resize_kernels(), {}).linear_f32;
  const auto in_pixels = static_cast<std::size_t>(shape[1] * shape[2] * shape[3]);
  std::vector<float> reals(in_pixels);
  std::vector<float> resized(static_cast<std::size_t>(shape[1] * size[0] * size[1]));
  const kernels::Grid units{1.0F, static_cast<std::int32_t>(x.grid().zero_points[0])};
  return each_image(x, out_h, out_w, [&]<class Code>(const Code* in, Code* out) {
    for (std::size_t i = 0; i < reals.size(); ++i)
      reals[i] = kernels::dequantize_value<Code>(in[i], units);
    run(reals.data(), resized.data(), geometry, 0, out_h);
    for (std::size_t i = 0; i < resized.size(); ++i)
      out[i] = kernels::quantize_torch_value<Code>(resized[i], units);
  });
}

Result<QTensor> flatten(const QTensor& x, std::int64_t start_dim) {
  const auto start = normalize_axis(start_dim, x.shape().rank());
  if (!start || is_per_channel(x.qscheme())) {
    return nn_error(Code::kShapeMismatch,
                    start ? "Flatten is only currently supported with per tensor quantization."
                          : text("Dimension out of range: start_dim = ", start_dim, " of ",
                                 x.shape().to_string(), "."),
                    "flatten", "");
  }
  std::vector<std::int64_t> dims(x.shape().begin(), x.shape().begin() + *start);
  dims.push_back(std::accumulate(x.shape().begin() + *start, x.shape().end(), std::int64_t{1},
                                 [](std::int64_t a, std::int64_t b) { return a * b; }));
  return QTensor::of_storage(x.int_repr().reshaped(Shape(std::move(dims))), x.grid(),
                             MemoryFormat::kContiguous);
}

}  // namespace octavo::nn::functional
