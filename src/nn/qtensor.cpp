#include "nn/qtensor.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>
#include <numeric>
#include <span>

#include "base/text.h"
#include "kernels/copy/copy.h"
#include "kernels/quantize/quantize.h"

namespace octavo::nn {

namespace {

struct ScalarTypeRow {
  ScalarType type;
  std::string_view name;
  DType codes;
  std::int64_t lowest, highest;
};
constexpr std::array kScalarTypes{
    ScalarTypeRow{ScalarType::kQuint8, "quint8", DType::kUint8, 0, 255},
    ScalarTypeRow{ScalarType::kQint8, "qint8", DType::kInt8, -128, 127},
    ScalarTypeRow{ScalarType::kQint32, "qint32", DType::kInt32,
                  std::numeric_limits<std::int32_t>::min(),
                  std::numeric_limits<std::int32_t>::max()},
};
const ScalarTypeRow& row_of(ScalarType type) {
  return kScalarTypes[static_cast<std::size_t>(type)];
}
const ScalarTypeRow* row_of_codes(DType dtype) {
  const auto row = std::ranges::find(kScalarTypes, dtype, &ScalarTypeRow::codes);
  return row == kScalarTypes.end() ? nullptr : &*row;
}

constexpr std::array<std::string_view, 4> kSchemes{"per_tensor_affine", "per_channel_affine",
                                                   "per_tensor_symmetric", "per_channel_symmetric"};

const kernels::QuantizeKernel& quantize_kernel() {
  return kernels::best_row(kernels::quantize_kernels(), {});
}

Layout layout_of(MemoryFormat format) {
  return format == MemoryFormat::kChannelsLast ? Layout::kChannelsLast : Layout::kRowMajor;
}

kernels::Grid grid_at(const QGrid& grid, std::size_t channel) {
  return {static_cast<float>(grid.scales[channel]),
          static_cast<std::int32_t>(grid.zero_points[channel])};
}

// The tensor as [outer][channels][inner] in memory order, for a per-channel grid.
struct Runs {
  std::size_t outer = 1, channels = 1, inner = 1;
};
Runs runs_of(const Shape& shape, int axis, MemoryFormat format) {
  const std::vector<std::int64_t> dims = physical_dims(shape, layout_of(format));
  const auto at = static_cast<std::size_t>(physical_axis(axis, shape.rank(), layout_of(format)));
  Runs runs;
  for (std::size_t d = 0; d < dims.size(); ++d) {
    (d < at    ? runs.outer
     : d == at ? runs.channels
               : runs.inner) *= static_cast<std::size_t>(dims[d]);
  }
  return runs;
}

template <class Code>
void quantize_run(const float* in, Code* out, std::size_t n, kernels::Grid grid) {
  if constexpr (std::is_same_v<Code, std::uint8_t>) {
    quantize_kernel().quantize_torch_u8(in, out, n, grid);
  } else if constexpr (std::is_same_v<Code, std::int8_t>) {
    quantize_kernel().quantize_torch_s8(in, out, n, grid);
  } else {
    for (std::size_t i = 0; i < n; ++i)
      out[i] = kernels::quantize_torch_value<std::int32_t>(in[i], grid);
  }
}

template <class Code>
Tensor quantize_codes(const Tensor& x, const QGrid& grid) {
  Tensor codes = Tensor::make(dtype_of<Code>(), x.shape());
  const float* in = x.span<float>().data();
  Code* out = codes.mutable_span<Code>().data();
  if (!grid.axis) {
    quantize_run<Code>(in, out, x.span<float>().size(), grid_at(grid, 0));
    return codes;
  }
  const Runs runs = runs_of(x.shape(), *grid.axis, MemoryFormat::kContiguous);
  for (std::size_t run = 0; run < runs.outer * runs.channels; ++run) {
    quantize_run<Code>(in + run * runs.inner, out + run * runs.inner, runs.inner,
                       grid_at(grid, run % runs.channels));
  }
  return codes;
}

// code - zero_point, which may leave the range of int32 for qint32.
template <class Code>
std::int64_t centred(Code code, std::int64_t zero_point) {
  return static_cast<std::int64_t>(code) - zero_point;
}

template <class Code>
void dequantize_codes(const Tensor& codes, const QGrid& grid, MemoryFormat format, Tensor& reals) {
  const std::span<const Code> in = codes.span<Code>();
  float* out = reals.mutable_span<float>().data();
  if (!grid.axis) {
    const kernels::Grid whole = grid_at(grid, 0);
    if constexpr (sizeof(Code) == 1) {
      quantize_kernel().dequantize<Code>()(in.data(), out, in.size(), whole);
    } else {
      for (std::size_t i = 0; i < in.size(); ++i)
        out[i] = whole.scale * static_cast<float>(centred(in[i], grid.zero_points[0]));
    }
    return;
  }
  const Runs runs = runs_of(codes.shape(), *grid.axis, format);
  for (std::size_t run = 0; run < runs.outer * runs.channels; ++run) {
    const std::size_t channel = run % runs.channels;
    for (std::size_t i = run * runs.inner; i < (run + 1) * runs.inner; ++i) {
      out[i] = static_cast<float>(static_cast<double>(centred(in[i], grid.zero_points[channel])) *
                                  grid.scales[channel]);
    }
  }
}

Error wrong_scheme(std::string_view expected, QScheme got) {
  return Error{Code::kInvalidOption,
               text("Expected quantizer->qscheme() == ", expected, " to be true, but got ",
                    qscheme_name(got), "."),
               "",
               is_per_channel(got) ? "Ask q_per_channel_scales(), q_per_channel_zero_points() and "
                                     "q_per_channel_axis() of a per-channel tensor."
                                   : "Ask q_scale() and q_zero_point() of a per-tensor tensor."};
}

// Numbers as torch prints them: all alike, with as many columns as the widest needs.
class NumberStyle {
 public:
  explicit NumberStyle(const std::vector<float>& values) {
    double largest = 0;
    double smallest = std::numeric_limits<double>::infinity();
    for (const float value : values) {
      if (!std::isfinite(value)) continue;
      integers_ = integers_ && std::nearbyint(value) == value;
      const double magnitude = std::fabs(static_cast<double>(value));
      largest = std::max(largest, magnitude);
      if (magnitude != 0) smallest = std::min(smallest, magnitude);
    }
    scientific_ = largest > 1e8 || (!integers_ && (largest > 1000 * smallest || smallest < 1e-4));
    for (const float value : values) width_ = std::max(width_, format(value).size());
  }
  std::string operator()(float value) const {
    const std::string digits = format(value);
    return std::string(width_ - digits.size(), ' ') + digits;
  }

 private:
  std::string format(float value) const {
    char buffer[64];
    const char* style = scientific_ ? "%.4e" : integers_ ? "%.0f." : "%.4f";
    if (!std::isfinite(value)) style = "%f";
    std::snprintf(buffer, sizeof buffer, style, static_cast<double>(value));
    return buffer;
  }

  bool integers_ = true, scientific_ = false;
  std::size_t width_ = 0;
};

constexpr std::int64_t kPrintedElements = 1000;  // torch's threshold, edgeitems and linewidth
constexpr std::int64_t kEdgeItems = 3;
constexpr std::size_t kLineWidth = 80;

// Walks the printed indices of one dimension: all of them, or the first and last three around
// "...".
template <class Body>
void for_printed(std::int64_t dim, bool summarize, Body body) {
  for (std::int64_t i = 0; i < dim; ++i) {
    if (summarize && dim > 2 * kEdgeItems && i == kEdgeItems) {
      body(std::int64_t{-1});
      i = dim - kEdgeItems;
    }
    body(i);
  }
}

struct Printer {
  const Shape& shape;
  std::span<const float> values;
  bool summarize;

  void collect(int axis, std::int64_t at, std::vector<float>& out) const {
    if (axis == shape.rank()) {
      out.push_back(values[static_cast<std::size_t>(at)]);
      return;
    }
    for_printed(shape[axis], summarize, [&](std::int64_t i) {
      if (i >= 0) collect(axis + 1, at * shape[axis] + i, out);
    });
  }

  std::string print(int axis, std::int64_t at, std::size_t indent, const NumberStyle& style) const {
    if (axis == shape.rank()) return style(values[static_cast<std::size_t>(at)]);
    const bool innermost = axis + 1 == shape.rank();
    std::string out = "[";
    std::size_t column = indent + 1;
    bool first = true;
    for_printed(shape[axis], summarize, [&](std::int64_t i) {
      const std::string item =
          i < 0 ? "..." : print(axis + 1, at * shape[axis] + i, indent + 1, style);
      const bool wraps = innermost && column + item.size() + 2 > kLineWidth;
      if (!first) {
        out += innermost
                   ? (wraps ? ",\n" : ", ")
                   : "," + std::string(static_cast<std::size_t>(shape.rank() - axis - 1), '\n');
        if (!innermost || wraps) {
          out += std::string(indent + 1, ' ');
          column = indent + 1;
        }
      }
      first = false;
      out += item;
      column += item.size() + 2;
    });
    return out + "]";
  }
};

}  // namespace

std::string_view scalar_type_name(ScalarType type) { return row_of(type).name; }
std::optional<ScalarType> scalar_type_from_name(std::string_view name) {
  for (const ScalarTypeRow& row : kScalarTypes) {
    if (row.name == name) return row.type;
  }
  return std::nullopt;
}
DType code_dtype(ScalarType type) { return row_of(type).codes; }
std::int64_t quant_min_of(ScalarType type) { return row_of(type).lowest; }
std::int64_t quant_max_of(ScalarType type) { return row_of(type).highest; }
std::string torch_name(ScalarType type) { return text("torch.", scalar_type_name(type)); }

std::string_view qscheme_name(QScheme scheme) { return kSchemes[static_cast<std::size_t>(scheme)]; }
std::optional<QScheme> qscheme_from_name(std::string_view name) {
  for (std::size_t i = 0; i < kSchemes.size(); ++i) {
    if (kSchemes[i] == name) return static_cast<QScheme>(i);
  }
  return std::nullopt;
}

std::string_view memory_format_name(MemoryFormat format) {
  return format == MemoryFormat::kChannelsLast ? "channels_last" : "contiguous_format";
}

QGrid QGrid::per_tensor(double scale, std::int64_t zero_point) {
  return {{scale}, {zero_point}, std::nullopt, QScheme::kPerTensorAffine};
}
QGrid QGrid::per_channel(std::vector<double> scales, std::vector<std::int64_t> zero_points,
                         int axis) {
  return {std::move(scales), std::move(zero_points), axis, QScheme::kPerChannelAffine};
}

Result<double> QTensor::q_scale() const {
  if (is_per_channel(qscheme())) return wrong_scheme("per_tensor_affine", qscheme());
  return grid_.scales[0];
}
Result<std::int64_t> QTensor::q_zero_point() const {
  if (is_per_channel(qscheme())) return wrong_scheme("per_tensor_affine", qscheme());
  return grid_.zero_points[0];
}
Result<std::vector<double>> QTensor::q_per_channel_scales() const {
  if (!is_per_channel(qscheme())) return wrong_scheme("per_channel_affine", qscheme());
  return grid_.scales;
}
Result<std::vector<std::int64_t>> QTensor::q_per_channel_zero_points() const {
  if (!is_per_channel(qscheme())) return wrong_scheme("per_channel_affine", qscheme());
  return grid_.zero_points;
}
Result<std::int64_t> QTensor::q_per_channel_axis() const {
  if (!is_per_channel(qscheme())) return wrong_scheme("per_channel_affine", qscheme());
  return static_cast<std::int64_t>(*grid_.axis);
}

Tensor reorder(const Tensor& tensor, MemoryFormat from, MemoryFormat to) {
  if (from == to || tensor.shape().rank() < 3) return tensor;
  Tensor out = Tensor::make(tensor.dtype(), tensor.shape());
  if (tensor.elements() == 0) return out;
  kernels::copy_strided(tensor.data(), out.mutable_data(), tensor.shape().dims(),
                        strides_of(tensor.shape(), layout_of(from)),
                        strides_of(tensor.shape(), layout_of(to)), dtype_size(tensor.dtype()));
  return out;
}

Tensor QTensor::int_repr() const { return reorder(storage_, order_, MemoryFormat::kContiguous); }

Tensor QTensor::dequantize() const {
  Tensor reals = Tensor::make(DType::kFloat32, shape());
  switch (dtype_) {
    case ScalarType::kQuint8:
      dequantize_codes<std::uint8_t>(storage_, grid_, order_, reals);
      break;
    case ScalarType::kQint8:
      dequantize_codes<std::int8_t>(storage_, grid_, order_, reals);
      break;
    case ScalarType::kQint32:
      dequantize_codes<std::int32_t>(storage_, grid_, order_, reals);
      break;
  }
  return reorder(reals, order_, MemoryFormat::kContiguous);
}

QTensor QTensor::contiguous(MemoryFormat format) const {
  QTensor out = *this;
  out.storage_ = reorder(storage_, order_, format);
  out.order_ = format;
  out.format_ = format;
  return out;
}

std::string QTensor::to_string() const {
  const Tensor reals = dequantize();
  const Printer printer{shape(), reals.span<float>(), numel() > kPrintedElements};
  std::vector<float> printed;
  printer.collect(0, 0, printed);
  constexpr std::string_view kIndent = "       ";  // below what follows "tensor("
  std::string out =
      text("tensor(", printer.print(0, 0, kIndent.size(), NumberStyle(printed)), ", size=(",
           join(shape(), ", "), shape().rank() == 1 ? ",)" : ")", ", dtype=", torch_name(dtype_),
           ",\n", kIndent, "quantization_scheme=torch.", qscheme_name(qscheme()));
  if (grid_.axis) {
    out += text(", scale=[", join(grid_.scales, ", "), "],\n", kIndent, "zero_point=[",
                join(grid_.zero_points, ", "), "], axis=", *grid_.axis);
  } else {
    out += text(", scale=", grid_.scales[0], ", zero_point=", grid_.zero_points[0]);
  }
  return out + ")";
}

QTensor QTensor::of_storage(Tensor codes, QGrid grid, MemoryFormat order, MemoryFormat format) {
  QTensor out;
  const ScalarTypeRow* row = row_of_codes(codes.dtype());
  out.dtype_ = row == nullptr ? ScalarType::kQuint8 : row->type;
  out.storage_ = std::move(codes);
  out.grid_ = std::move(grid);
  out.order_ = order;
  out.format_ = format;
  return out;
}

Status check_grid(const QGrid& grid, ScalarType dtype, const Shape& shape, std::string_view where) {
  const auto error = [where](std::string what, std::string hint) {
    return Error{Code::kInvalidOption, std::move(what), std::string(where), std::move(hint)};
  };
  if (grid.axis.has_value() != is_per_channel(grid.scheme)) {
    return error(text("qscheme ", qscheme_name(grid.scheme),
                      grid.axis ? " takes no axis." : " needs an axis."),
                 "Give an axis for the per-channel schemes only.");
  }
  std::size_t wanted = 1;
  if (grid.axis) {
    if (*grid.axis < 0 || *grid.axis >= shape.rank()) {
      return error(text("Channel axis out of range in per channel affine quantization. Got: ",
                        *grid.axis, "Expected: [0, ", shape.rank(), ")."),
                   text("The tensor has shape ", shape.to_string(), "."));
    }
    wanted = static_cast<std::size_t>(shape[*grid.axis]);
  }
  if (grid.scales.size() != grid.zero_points.size() || grid.scales.size() != wanted) {
    return error(text("length of scales must equal to channel: ", grid.scales.size(), " scales, ",
                      grid.zero_points.size(), " zero points, ", wanted, " channels."),
                 "Give one scale and one zero point for each channel.");
  }
  for (std::size_t i = 0; i < grid.scales.size(); ++i) {
    const std::string of = grid.axis ? text(" of channel ", i) : std::string();
    const auto single = static_cast<float>(grid.scales[i]);
    if (!(single > 0) || !std::isfinite(single)) {
      return error(text("scale ", grid.scales[i], of, " is not a positive float32 number."),
                   "Scales lie between 1.4e-45 and 3.4e38.");
    }
    const std::int64_t zero = grid.zero_points[i];
    const std::int64_t lowest = quant_min_of(dtype);
    const std::int64_t highest = quant_max_of(dtype);
    if (zero < lowest || zero > highest) {
      return error(text("zero_point ", zero, of,
                        zero > highest ? " is above upper bound." : " is below lower bound."),
                   text("Zero points of ", torch_name(dtype), " lie between ", lowest, " and ",
                        highest, "."));
    }
    const std::int64_t middle = dtype == ScalarType::kQuint8 ? 128 : 0;
    if (is_symmetric(grid.scheme) && zero != middle) {
      return error(text("zero_point ", zero, of, " does not fit ", qscheme_name(grid.scheme), "."),
                   text("A symmetric ", torch_name(dtype), " tensor has zero point ", middle, "."));
    }
  }
  return ok_status();
}

Result<QTensor> quantize(const Tensor& x, const QGrid& grid, ScalarType dtype) {
  const std::string_view where = grid.axis ? "quantize_per_channel" : "quantize_per_tensor";
  if (x.dtype() != DType::kFloat32) {
    return Error{Code::kUnsupportedDtype,
                 text("Quantize only works on Float Tensor, got ", dtype_name(x.dtype()), "."),
                 std::string(where), "Give a float32 tensor."};
  }
  OCTAVO_CHECK_OK(check_grid(grid, dtype, x.shape(), where));
  const Tensor codes = dtype == ScalarType::kQuint8  ? quantize_codes<std::uint8_t>(x, grid)
                       : dtype == ScalarType::kQint8 ? quantize_codes<std::int8_t>(x, grid)
                                                     : quantize_codes<std::int32_t>(x, grid);
  return QTensor::of_storage(codes, grid, MemoryFormat::kContiguous);
}

Result<QTensor> quantize_per_tensor(const Tensor& x, double scale, std::int64_t zero_point,
                                    ScalarType dtype) {
  return quantize(x, QGrid::per_tensor(scale, zero_point), dtype);
}

Result<QTensor> quantize_per_channel(const Tensor& x, const std::vector<double>& scales,
                                     const std::vector<std::int64_t>& zero_points,
                                     std::int64_t axis, ScalarType dtype) {
  const int wrapped = normalize_axis(axis, x.shape().rank()).value_or(static_cast<int>(axis));
  return quantize(x, QGrid::per_channel(scales, zero_points, wrapped), dtype);
}

Result<QTensor> make_quantized_tensor(const Tensor& codes, const QGrid& grid) {
  const ScalarTypeRow* row = row_of_codes(codes.dtype());
  if (row == nullptr) {
    return Error{Code::kUnsupportedDtype,
                 text("Codes of a quantized tensor cannot be ", dtype_name(codes.dtype()), "."),
                 "make_quantized_tensor", "Give uint8 (quint8), int8 (qint8) or int32 (qint32)."};
  }
  OCTAVO_CHECK_OK(check_grid(grid, row->type, codes.shape(), "make_quantized_tensor"));
  return QTensor::of_storage(codes, grid, MemoryFormat::kContiguous);
}

}  // namespace octavo::nn
