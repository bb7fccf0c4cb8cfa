#include "nn/functional_float.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "base/text.h"
#include "kernels/fbatchnorm/fbatchnorm.h"
#include "kernels/fconv/fconv.h"
#include "kernels/felementwise/binary.h"
#include "kernels/felementwise/broadcast.h"
#include "kernels/felementwise/unary.h"
#include "kernels/fpool/fpool.h"
#include "kernels/softmax/softmax.h"
#include "nn/checks.h"
#include "nn/conv_window.h"
#include "nn/observer.h"
#include "nn/pool_window.h"
#include "nn/qtensor.h"
#include "nn/runs.h"

namespace octavo::nn::functional {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

Error shape_error(std::string_view where, std::string what, std::string hint) {
  return Error{Code::kShapeMismatch, std::move(what), std::string(where), std::move(hint)};
}

Status check_rank(const Tensor& x, int rank, std::string_view where) {
  OCTAVO_CHECK_OK(check_float(x, where));
  if (x.shape().rank() == rank) return ok_status();
  return shape_error(where, text("expected ", rank, "D input (got ", x.shape().rank(), "D input)"),
                     rank == 4 ? "Give [N, C, H, W]." : "");
}

Status check_vector(const Tensor& x, std::int64_t length, std::string_view name,
                    std::string_view where) {
  OCTAVO_CHECK_OK(check_float(x, where));
  if (x.shape() == Shape{length}) return ok_status();
  return shape_error(
      where, text(name, " should contain ", length, " elements not ", x.shape().to_string()),
      text("Give a ", name, " of shape [", length, "]."));
}

// body(output index, input index, weight index) for every product of the convolution.
template <class Body>
void for_each_product(const ConvWindow& w, const Conv2dOptions& options, Body body) {
  for (std::int64_t n = 0; n < w.batch; ++n)
    for (std::int64_t o = 0; o < w.out_channels; ++o)
      for (std::int64_t i = 0; i < w.group_in; ++i) {
        const std::int64_t c = o / w.group_out * w.group_in + i;
        for (std::int64_t ky = 0; ky < w.kernel_h; ++ky)
          for (std::int64_t kx = 0; kx < w.kernel_w; ++kx) {
            const std::int64_t tap = ((o * w.group_in + i) * w.kernel_h + ky) * w.kernel_w + kx;
            for (std::int64_t oy = 0; oy < w.out_h; ++oy) {
              const std::int64_t y =
                  oy * options.stride[0] - options.padding[0] + ky * options.dilation[0];
              if (y < 0 || y >= w.height) continue;
              for (std::int64_t ox = 0; ox < w.out_w; ++ox) {
                const std::int64_t x =
                    ox * options.stride[1] - options.padding[1] + kx * options.dilation[1];
                if (x < 0 || x >= w.width) continue;
                body(((n * w.out_channels + o) * w.out_h + oy) * w.out_w + ox,
                     ((n * w.channels + c) * w.height + y) * w.width + x, tap);
              }
            }
          }
      }
}

Tensor rounded(const std::vector<double>& sums, const Shape& shape) {
  Tensor out = Tensor::make(DType::kFloat32, shape);
  std::ranges::transform(sums, out.mutable_span<float>().begin(),
                         [](double sum) { return static_cast<float>(sum); });
  return out;
}

const kernels::FConvKernel& fconv_kernel() {
  return kernels::best_row(kernels::fconv_kernels(), {});
}

const kernels::FPoolKernel& fpool_kernel() {
  return kernels::best_row(kernels::fpool_kernels(), {});
}
// A pooling of x [N, C, H, W] to one pixel; the rest is the caller's.
kernels::PoolGeometry geometry_of(const Tensor& x) {
  kernels::PoolGeometry geometry;
  geometry.batch = static_cast<int>(x.shape()[0]);
  geometry.channels = static_cast<int>(x.shape()[1]);
  geometry.in_h = static_cast<int>(x.shape()[2]);
  geometry.in_w = static_cast<int>(x.shape()[3]);
  return geometry;
}

std::vector<float> floats_of(const std::optional<Tensor>& tensor) {
  if (!tensor) return {};
  const auto values = tensor->span<float>();
  return {values.begin(), values.end()};
}

Tensor unary(const Tensor& x, kernels::Unary op, const kernels::UnaryParams& params) {
  Tensor out = Tensor::make(DType::kFloat32, x.shape());
  kernels::unary_kernel(op, {}).run(x.span<float>().data(), out.mutable_span<float>().data(),
                                    static_cast<std::size_t>(x.elements()), params);
  return out;
}

Result<Tensor> clamp_backward(const Tensor& grad_out, const Tensor& x, float hi,
                              std::string_view where) {
  OCTAVO_CHECK_OK(check_float(grad_out, where));
  OCTAVO_CHECK_OK(check_float(x, where));
  if (grad_out.shape() != x.shape())
    return shape_error(where, "grad_out and x differ in shape", "Give the gradient of the output.");
  Tensor out = Tensor::make(DType::kFloat32, x.shape());
  const auto in = x.span<float>();
  const auto grad = grad_out.span<float>();
  auto to = out.mutable_span<float>();
  for (std::size_t i = 0; i < in.size(); ++i) to[i] = in[i] > 0 && in[i] < hi ? grad[i] : 0.0F;
  return out;
}

Result<Tensor> binary(const Tensor& a, const Tensor& b, kernels::Binary op,
                      std::string_view where) {
  OCTAVO_CHECK_OK(check_float(a, where));
  OCTAVO_CHECK_OK(check_float(b, where));
  const auto shape = broadcast_shape(a.shape(), b.shape());
  if (!shape || !shape->checked_elements()) {
    return shape_error(where,
                       text("The size of tensor a ", a.shape().to_string(),
                            " must match the size of tensor b ", b.shape().to_string()),
                       "Aligned at the end, axes are equal or 1.");
  }
  Tensor out = Tensor::make(DType::kFloat32, *shape);
  const kernels::BroadcastPlan plan =
      kernels::make_broadcast_of_shapes(shape->dims(), a.shape().dims(), b.shape().dims());
  kernels::run_broadcast(plan, a.span<float>().data(), b.span<float>().data(),
                         out.mutable_span<float>().data(), 0, plan.outer,
                         kernels::binary_kernel(op, {}).run);
  return out;
}

}  // namespace

Result<Tensor> conv2d(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias,
                      const Conv2dOptions& options) {
  OCTAVO_CHECK_OK(check_rank(x, 4, "conv2d"));
  OCTAVO_CHECK_OK(check_float(weight, "conv2d"));
  OCTAVO_TRY(const ConvWindow w, conv_window(x.shape(), weight.shape(), options));
  if (bias) OCTAVO_CHECK_OK(check_vector(*bias, w.out_channels, "bias", "conv2d"));
  const std::vector<std::int32_t> offsets = w.tap_offsets(options);
  const std::vector<float> biases = floats_of(bias);
  const kernels::FConvSpec spec{static_cast<int>(w.group_out), static_cast<int>(offsets.size()),
                                static_cast<int>(w.group_in)};
  std::vector<kernels::FConvPacked> groups;
  for (std::int64_t g = 0; g < options.groups; ++g) {
    const std::span<const float> own =
        bias ? std::span(biases).subspan(static_cast<std::size_t>(g * w.group_out),
                                         static_cast<std::size_t>(w.group_out))
             : std::span<const float>();
    groups.push_back(fconv_kernel().pack(spec, w.taps_first(weight.span<float>(), g), own));
  }

  const Tensor image = reorder(x, MemoryFormat::kContiguous, MemoryFormat::kChannelsLast);
  // As the bytes of [N, H', W', O]; reordered at the end.
  Tensor out = Tensor::make(DType::kFloat32, w.out_shape());
  const kernels::PadGeometry border = w.border(options, sizeof(float));
  const std::int64_t rows = w.padded_height(options);
  Tensor bordered = Tensor::make(DType::kFloat32, Shape{rows, w.padded_width(options), w.channels});
  for (std::int64_t n = 0; n < w.batch; ++n) {
    kernels::copy_padded_rows(image.data() + n * w.height * w.width * border.pixel_bytes, border,
                              -options.padding[0], rows, 0, bordered.mutable_data());
    for (std::int64_t g = 0; g < options.groups; ++g) {
      kernels::FConvCall call;
      call.x = bordered.span<float>().data() + g * w.group_in;
      call.pixel_stride = options.stride[1] * w.channels;
      call.row_stride = options.stride[0] * w.padded_width(options) * w.channels;
      call.width = w.out_w;
      call.pixels = w.out_h * w.out_w;
      call.segment_offset = offsets.data();
      call.out = out.mutable_span<float>().data() + n * w.out_h * w.out_w * w.out_channels +
                 g * w.group_out;
      call.out_stride = w.out_channels;
      call.lo = -kInfinity;
      call.hi = kInfinity;
      fconv_kernel().run(groups[static_cast<std::size_t>(g)], call);
    }
  }
  return reorder(out, MemoryFormat::kChannelsLast, MemoryFormat::kContiguous);
}

namespace {
struct Rows {
  std::int64_t rows, in, out;
};
Result<Rows> rows_of(const Tensor& x, const Tensor& weight) {
  OCTAVO_CHECK_OK(check_float(x, "linear"));
  OCTAVO_CHECK_OK(check_rank(weight, 2, "linear"));
  const int rank = x.shape().rank();
  if (rank < 1 || x.shape()[rank - 1] != weight.shape()[1]) {
    return shape_error("linear",
                       text("mat1 and mat2 shapes cannot be multiplied: ", x.shape().to_string(),
                            " and weight ", weight.shape().to_string()),
                       "The last axis of the input has in_features elements.");
  }
  const std::int64_t in = weight.shape()[1];
  return Rows{in == 0 ? 0 : x.elements() / in, in, weight.shape()[0]};
}
}  // namespace

Result<Tensor> linear(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias) {
  OCTAVO_TRY(const Rows size, rows_of(x, weight));
  if (bias) OCTAVO_CHECK_OK(check_vector(*bias, size.out, "bias", "linear"));
  Shape shape = x.shape();
  shape[shape.rank() - 1] = size.out;
  Tensor out = Tensor::make(DType::kFloat32, shape);
  const std::int32_t offset = 0;
  const kernels::FConvPacked packed =
      fconv_kernel().pack({static_cast<int>(size.out), 1, static_cast<int>(size.in)},
                          weight.span<float>(), floats_of(bias));
  kernels::FConvCall call;
  call.x = x.span<float>().data();
  call.pixel_stride = size.in;
  call.width = std::max<std::int64_t>(1, size.rows);
  call.pixels = size.rows;
  call.segment_offset = &offset;
  call.out = out.mutable_span<float>().data();
  call.out_stride = size.out;
  call.lo = -kInfinity;
  call.hi = kInfinity;
  fconv_kernel().run(packed, call);
  return out;
}

Result<LayerGradients> conv2d_backward(const Tensor& grad_out, const Tensor& x,
                                       const Tensor& weight, const Conv2dOptions& options) {
  OCTAVO_CHECK_OK(check_rank(x, 4, "conv2d_backward"));
  OCTAVO_CHECK_OK(check_float(weight, "conv2d_backward"));
  OCTAVO_CHECK_OK(check_float(grad_out, "conv2d_backward"));
  OCTAVO_TRY(const ConvWindow w, conv_window(x.shape(), weight.shape(), options));
  if (grad_out.shape() != w.out_shape())
    return shape_error("conv2d_backward", "grad_out has another shape than the output",
                       "Give the gradient of the output.");
  const auto grad = grad_out.span<float>();
  std::vector<double> dx(static_cast<std::size_t>(x.elements()));
  std::vector<double> dw(static_cast<std::size_t>(weight.elements()));
  std::vector<double> db(static_cast<std::size_t>(w.out_channels));
  for_each_product(w, options, [&](std::int64_t out, std::int64_t in, std::int64_t tap) {
    const auto g = static_cast<double>(grad[static_cast<std::size_t>(out)]);
    dx[static_cast<std::size_t>(in)] +=
        g * static_cast<double>(weight.span<float>()[static_cast<std::size_t>(tap)]);
    dw[static_cast<std::size_t>(tap)] +=
        g * static_cast<double>(x.span<float>()[static_cast<std::size_t>(in)]);
  });
  const Runs runs = runs_along(grad_out.shape(), 1);
  for_each_run(runs, [&](std::size_t c, std::size_t at) {
    for (std::size_t i = 0; i < runs.inner; ++i) db[c] += static_cast<double>(grad[at + i]);
  });
  return LayerGradients{rounded(dx, x.shape()), rounded(dw, weight.shape()),
                        rounded(db, Shape{w.out_channels})};
}

Result<LayerGradients> linear_backward(const Tensor& grad_out, const Tensor& x,
                                       const Tensor& weight) {
  OCTAVO_TRY(const Rows size, rows_of(x, weight));
  OCTAVO_CHECK_OK(check_float(grad_out, "linear_backward"));
  Shape shape = x.shape();
  shape[shape.rank() - 1] = size.out;
  if (grad_out.shape() != shape)
    return shape_error("linear_backward", "grad_out has another shape than the output",
                       "Give the gradient of the output.");
  std::vector<double> dx(static_cast<std::size_t>(x.elements()));
  std::vector<double> dw(static_cast<std::size_t>(weight.elements()));
  std::vector<double> db(static_cast<std::size_t>(size.out));
  for (std::int64_t r = 0; r < size.rows; ++r) {
    for (std::int64_t o = 0; o < size.out; ++o) {
      const auto g =
          static_cast<double>(grad_out.span<float>()[static_cast<std::size_t>(r * size.out + o)]);
      db[static_cast<std::size_t>(o)] += g;
      for (std::int64_t i = 0; i < size.in; ++i) {
        const auto from = static_cast<std::size_t>(r * size.in + i);
        const auto tap = static_cast<std::size_t>(o * size.in + i);
        dx[from] += g * static_cast<double>(weight.span<float>()[tap]);
        dw[tap] += g * static_cast<double>(x.span<float>()[from]);
      }
    }
  }
  return LayerGradients{rounded(dx, x.shape()), rounded(dw, weight.shape()),
                        rounded(db, Shape{size.out})};
}

namespace {
// x [N, C, ...] as runs of a channel, with every parameter [C].
Result<Runs> channels_of(const Tensor& x, std::initializer_list<const Tensor*> parameters,
                         std::string_view where) {
  OCTAVO_CHECK_OK(check_float(x, where));
  if (x.shape().rank() < 2)
    return shape_error(where, text("expected at least 2D input (got ", x.shape().rank(), "D)"),
                       "Give [N, C, ...].");
  for (const Tensor* parameter : parameters)
    OCTAVO_CHECK_OK(check_vector(*parameter, x.shape()[1], "parameter", where));
  return runs_along(x.shape(), 1);
}
}  // namespace

Result<Tensor> batch_norm(const Tensor& x, const Tensor& mean, const Tensor& var,
                          const Tensor& weight, const Tensor& bias, double eps) {
  OCTAVO_TRY(const Runs runs, channels_of(x, {&mean, &var, &weight, &bias}, "batch_norm"));
  const kernels::ChannelAffine affine =
      kernels::fold_batch_norm(weight.span<float>(), bias.span<float>(), mean.span<float>(),
                               var.span<float>(), static_cast<float>(eps));
  const kernels::FBatchNormKernel& kernel = kernels::best_row(kernels::fbatchnorm_kernels(), {});
  Tensor out = Tensor::make(DType::kFloat32, x.shape());
  for_each_run(runs, [&](std::size_t c, std::size_t at) {
    kernel.plane(x.span<float>().data() + at, out.mutable_span<float>().data() + at, runs.inner,
                 affine.a[c], affine.b[c]);
  });
  return out;
}

Result<BatchStatistics> batch_statistics(const Tensor& x) {
  OCTAVO_TRY(const Runs runs, channels_of(x, {}, "batch_norm"));
  const std::size_t count = runs.outer * runs.inner;
  if (count < 2) {
    return shape_error("batch_norm",
                       text("Expected more than 1 value per channel when training, got input size ",
                            x.shape().to_string()),
                       "Give larger batches, or call eval().");
  }
  const auto channels = static_cast<std::int64_t>(runs.channels);
  std::vector<double> sums(runs.channels), squares(runs.channels);
  const auto in = x.span<float>();
  for_each_run(runs, [&](std::size_t c, std::size_t at) {
    for (std::size_t i = 0; i < runs.inner; ++i) sums[c] += static_cast<double>(in[at + i]);
  });
  for (double& sum : sums) sum /= static_cast<double>(count);
  for_each_run(runs, [&](std::size_t c, std::size_t at) {
    for (std::size_t i = 0; i < runs.inner; ++i) {
      const double off = static_cast<double>(in[at + i]) - sums[c];
      squares[c] += off * off;
    }
  });
  for (double& square : squares) square /= static_cast<double>(count);
  return BatchStatistics{rounded(sums, Shape{channels}), rounded(squares, Shape{channels}),
                         static_cast<std::int64_t>(count)};
}

Result<LayerGradients> batch_norm_backward(const Tensor& grad_out, const Tensor& x,
                                           const Tensor& mean, const Tensor& var,
                                           const Tensor& weight, double eps, bool from_batch) {
  OCTAVO_TRY(const Runs runs, channels_of(x, {&mean, &var, &weight}, "batch_norm_backward"));
  OCTAVO_CHECK_OK(check_float(grad_out, "batch_norm_backward"));
  if (grad_out.shape() != x.shape())
    return shape_error("batch_norm_backward", "grad_out has another shape than the output",
                       "Give the gradient of the output.");
  const auto in = x.span<float>();
  const auto grad = grad_out.span<float>();
  const auto at_channel = [](const Tensor& tensor, std::size_t c) {
    return static_cast<double>(tensor.span<float>()[c]);
  };
  const auto inverse = [&](std::size_t c) { return 1.0 / std::sqrt(at_channel(var, c) + eps); };
  std::vector<double> sum_grad(runs.channels), sum_grad_hat(runs.channels);
  for_each_run(runs, [&](std::size_t c, std::size_t at) {
    for (std::size_t i = at; i < at + runs.inner; ++i) {
      const double hat = (static_cast<double>(in[i]) - at_channel(mean, c)) * inverse(c);
      sum_grad[c] += static_cast<double>(grad[i]);
      sum_grad_hat[c] += static_cast<double>(grad[i]) * hat;
    }
  });
  Tensor dx = Tensor::make(DType::kFloat32, x.shape());
  const double count = from_batch ? static_cast<double>(runs.outer * runs.inner) : kInfinity;
  for_each_run(runs, [&](std::size_t c, std::size_t at) {
    const double scale = at_channel(weight, c) * inverse(c);
    for (std::size_t i = at; i < at + runs.inner; ++i) {
      const double hat = (static_cast<double>(in[i]) - at_channel(mean, c)) * inverse(c);
      const double centered =
          static_cast<double>(grad[i]) - (sum_grad[c] + hat * sum_grad_hat[c]) / count;
      dx.mutable_span<float>()[i] = static_cast<float>(scale * centered);
    }
  });
  const Shape channels{static_cast<std::int64_t>(runs.channels)};
  return LayerGradients{dx, rounded(sum_grad_hat, channels), rounded(sum_grad, channels)};
}

Result<Tensor> relu(const Tensor& x) {
  OCTAVO_CHECK_OK(check_float(x, "relu"));
  return unary(x, kernels::Unary::kRelu, {});
}
Result<Tensor> relu6(const Tensor& x) {
  OCTAVO_CHECK_OK(check_float(x, "relu6"));
  return unary(x, kernels::Unary::kClip, {0.0F, 6.0F});
}
Result<Tensor> relu_backward(const Tensor& grad_out, const Tensor& x) {
  return clamp_backward(grad_out, x, kInfinity, "relu_backward");
}
Result<Tensor> relu6_backward(const Tensor& grad_out, const Tensor& x) {
  return clamp_backward(grad_out, x, 6.0F, "relu6_backward");
}

Result<Tensor> adaptive_avg_pool2d(const Tensor& x, std::array<std::int64_t, 2> output_size) {
  OCTAVO_CHECK_OK(check_rank(x, 4, "adaptive_avg_pool2d"));
  const Shape shape{x.shape()[0], x.shape()[1], output_size[0], output_size[1]};
  if (output_size[0] < 1 || output_size[1] < 1 || !shape.checked_elements()) {
    return Error{Code::kInvalidOption,
                 text("output_size (", output_size[0], ", ", output_size[1], ") is not positive."),
                 "adaptive_avg_pool2d", "Give two positive numbers."};
  }
  const auto first = [](int i, int size, int out) { return i * size / out; };
  const auto last = [](int i, int size, int out) { return ((i + 1) * size + out - 1) / out; };
  kernels::PoolGeometry window = geometry_of(x);
  const int out_h = static_cast<int>(output_size[0]);
  const int out_w = static_cast<int>(output_size[1]);
  const Tensor image = reorder(x, MemoryFormat::kContiguous, MemoryFormat::kChannelsLast);
  // As the bytes of [N, H', W', C], reordered at the end.
  Tensor out = Tensor::make(DType::kFloat32, shape);
  std::vector<float> pixel(static_cast<std::size_t>(window.batch * window.channels));
  for (int y = 0; y < out_h; ++y) {
    for (int column = 0; column < out_w; ++column) {
      // Windows of many sizes: each a pooling to one pixel whose window begins inside the image.
      window.pad_top = -first(y, window.in_h, out_h);
      window.pad_left = -first(column, window.in_w, out_w);
      window.kernel_h = last(y, window.in_h, out_h) + window.pad_top;
      window.kernel_w = last(column, window.in_w, out_w) + window.pad_left;
      fpool_kernel().average(image.span<float>().data(), pixel.data(), window, false, 0,
                             window.rows());
      for (int n = 0; n < window.batch; ++n) {
        std::copy_n(pixel.begin() + n * window.channels, window.channels,
                    out.mutable_span<float>().begin() +
                        ((n * out_h + y) * out_w + column) * window.channels);
      }
    }
  }
  return reorder(out, MemoryFormat::kChannelsLast, MemoryFormat::kContiguous);
}

Result<Tensor> max_pool2d(const Tensor& x, const Pool2d& pool) {
  OCTAVO_CHECK_OK(check_rank(x, 4, "max_pool2d"));
  OCTAVO_TRY(const PoolAxis h, pool_axis(x.shape(), 2, pool, true, "max_pool2d"));
  OCTAVO_TRY(const PoolAxis w, pool_axis(x.shape(), 3, pool, true, "max_pool2d"));
  kernels::PoolGeometry window = geometry_of(x);
  const auto small = [](std::int64_t value) { return static_cast<int>(value); };
  window.kernel_h = small(h.kernel), window.kernel_w = small(w.kernel);
  window.stride_h = small(h.stride), window.stride_w = small(w.stride);
  window.dilation_h = small(h.dilation), window.dilation_w = small(w.dilation);
  window.pad_top = window.pad_bottom = small(h.padding);
  window.pad_left = window.pad_right = small(w.padding);
  window.out_h = small(h.out), window.out_w = small(w.out);
  const Tensor image = reorder(x, MemoryFormat::kContiguous, MemoryFormat::kChannelsLast);
  Tensor out = Tensor::make(DType::kFloat32, {x.shape()[0], x.shape()[1], h.out, w.out});
  fpool_kernel().max(image.span<float>().data(), out.mutable_span<float>().data(), window, 0,
                     window.rows());
  return reorder(out, MemoryFormat::kChannelsLast, MemoryFormat::kContiguous);
}

Result<Tensor> avg_pool2d(const Tensor& x, const Pool2d& pool) {
  OCTAVO_CHECK_OK(check_rank(x, 4, "avg_pool2d"));
  OCTAVO_TRY(const PoolAxis h, pool_axis(x.shape(), 2, pool, false, "avg_pool2d"));
  OCTAVO_TRY(const PoolAxis w, pool_axis(x.shape(), 3, pool, false, "avg_pool2d"));
  if (pool.divisor_override && *pool.divisor_override == 0)
    return Error{Code::kInvalidOption, "divisor must be not zero.", "avg_pool2d", ""};
  std::vector<std::int64_t> padded_rows, padded_columns;
  const auto rows = pool_spans(h, padded_rows);
  const auto columns = pool_spans(w, padded_columns);
  Tensor out = Tensor::make(DType::kFloat32, {x.shape()[0], x.shape()[1], h.out, w.out});
  const float* plane = x.span<float>().data();
  float* y = out.mutable_span<float>().data();
  for (std::int64_t n = 0; n < x.shape()[0] * x.shape()[1]; ++n, plane += h.in * w.in) {
    for (std::size_t r = 0; r < rows.size(); ++r) {
      for (std::size_t c = 0; c < columns.size(); ++c) {
        const std::int64_t divisor = pool.divisor_override ? *pool.divisor_override
                                     : pool.count_include_pad
                                         ? padded_rows[r] * padded_columns[c]
                                         : length(rows[r]) * length(columns[c]);
        float sum = 0;
        for (std::int64_t i = rows[r].first; i < rows[r].last; ++i)
          for (std::int64_t j = columns[c].first; j < columns[c].last; ++j)
            sum += plane[i * w.in + j];
        // A window of padding alone, which ceil_mode can make, has the mean 0.
        *y++ = divisor == 0 ? 0.0F : sum / static_cast<float>(divisor);
      }
    }
  }
  return out;
}

Result<Tensor> flatten(const Tensor& x, std::int64_t start_dim) {
  const std::optional<int> start = normalize_axis(start_dim, x.shape().rank());
  if (!start)
    return shape_error("flatten",
                       text("Dimension out of range: ", start_dim, " for ", x.shape().to_string()),
                       "Give an axis of the tensor.");
  Shape shape;
  std::int64_t rest = 1;
  for (int axis = 0; axis < x.shape().rank(); ++axis) {
    if (axis < *start) {
      shape.dims().push_back(x.shape()[axis]);
    } else {
      rest *= x.shape()[axis];
    }
  }
  shape.dims().push_back(rest);
  return x.reshaped(shape);
}

Result<Tensor> add(const Tensor& a, const Tensor& b) {
  return binary(a, b, kernels::Binary::kAdd, "add");
}
Result<Tensor> mul(const Tensor& a, const Tensor& b) {
  return binary(a, b, kernels::Binary::kMul, "mul");
}

namespace {
// A tensor of x's shape with one value everywhere.
Tensor like(const Tensor& x, double value) {
  Tensor out = Tensor::make(DType::kFloat32, x.shape());
  std::ranges::fill(out.mutable_span<float>(), static_cast<float>(value));
  return out;
}
}  // namespace

Result<Tensor> add_scalar(const Tensor& x, double c) {
  return binary(x, like(x, c), kernels::Binary::kAdd, "add_scalar");
}
Result<Tensor> mul_scalar(const Tensor& x, double c) {
  return binary(x, like(x, c), kernels::Binary::kMul, "mul_scalar");
}

namespace {
// f of each number, in double.
template <class Function>
Result<Tensor> each(const Tensor& x, std::string_view where, Function f) {
  OCTAVO_CHECK_OK(check_float(x, where));
  Tensor out = Tensor::make(DType::kFloat32, x.shape());
  std::ranges::transform(x.span<float>(), out.mutable_span<float>().begin(), [&](float value) {
    return static_cast<float>(f(static_cast<double>(value)));
  });
  return out;
}
}  // namespace

Result<Tensor> elu(const Tensor& x, double alpha) {
  return each(x, "elu", [alpha](double v) { return v > 0 ? v : alpha * std::expm1(v); });
}
Result<Tensor> sigmoid(const Tensor& x) {
  return each(x, "sigmoid", [](double v) { return 1.0 / (1.0 + std::exp(-v)); });
}

Result<Tensor> softmax(const Tensor& x, std::int64_t dim) {
  OCTAVO_CHECK_OK(check_float(x, "softmax"));
  const std::optional<int> axis = normalize_axis(dim, x.shape().rank());
  if (!axis) {
    return Error{Code::kInvalidOption,
                 text("Dimension out of range: ", dim, " for ", x.shape().to_string(), "."),
                 "softmax", "Give an axis of the tensor."};
  }
  const Runs runs = runs_along(x.shape(), *axis);
  Tensor out = Tensor::make(DType::kFloat32, x.shape());
  if (x.elements() == 0) return out;
  kernels::best_row(kernels::softmax_kernels(), {})
      .softmax(x.span<float>().data(), out.mutable_span<float>().data(), runs.outer, runs.channels,
               runs.inner);
  return out;
}

Result<Tensor> cat(std::span<const Tensor> parts, std::int64_t dim) {
  if (parts.empty())
    return shape_error("cat", "expected a non-empty list of Tensors", "Give one tensor or more.");
  const std::optional<int> axis = normalize_axis(dim, parts.front().shape().rank());
  if (!axis)
    return shape_error("cat", text("Dimension out of range: ", dim),
                       "Give an axis of the tensors.");
  Shape shape = parts.front().shape();
  shape[*axis] = 0;
  for (const Tensor& part : parts) {
    OCTAVO_CHECK_OK(check_float(part, "cat"));
    Shape expected = parts.front().shape();
    if (part.shape().rank() == expected.rank()) expected[*axis] = part.shape()[*axis];
    if (part.shape() != expected) {
      return shape_error(
          "cat",
          text("Sizes of tensors must match except in dimension ", *axis, ". Expected ",
               expected.to_string(), " but got ", part.shape().to_string()),
          "Give tensors that differ in that axis only.");
    }
    shape[*axis] += part.shape()[*axis];
  }
  if (!shape.checked_elements()) {
    return Error{Code::kLimitExceeded, text("The result ", shape.to_string(), " is too large."),
                 "cat", text("A tensor has at most ", kMaxElements, " elements.")};
  }
  Tensor out = Tensor::make(DType::kFloat32, shape);
  const Runs all = runs_along(shape, *axis);
  std::size_t first = 0;
  for (const Tensor& part : parts) {
    const Runs own = runs_along(part.shape(), *axis);
    const std::size_t run = own.channels * own.inner;
    for (std::size_t o = 0; o < own.outer; ++o) {
      std::ranges::copy(part.span<float>().subspan(o * run, run),
                        out.mutable_span<float>().begin() +
                            static_cast<std::ptrdiff_t>(o * all.channels * all.inner + first));
    }
    first += run;
  }
  return out;
}

}  // namespace octavo::nn::functional
