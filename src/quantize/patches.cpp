#include "quantize/patches.h"

#include <cmath>

#include "passes/qdq.h"

namespace octavo::quantize {

std::optional<Patches> Patches::of(const Graph& graph, const Node& node) {
  if (!node.domain.empty() || node.input(1) == kNoValue) return std::nullopt;
  const Value& x = graph.value(node.inputs[0]);
  const Value& w = graph.value(node.inputs[1]);
  if (!w.is_constant() || !x.shape || !x.shape->known()) return std::nullopt;
  const bool codes = is_quantized_code(x.dtype) && x.quant && x.quant->is_per_tensor();
  if (x.is_constant() || (x.dtype != DType::kFloat32 && !codes)) return std::nullopt;
  const Shape& shape = w.constant->shape();
  Patches out;
  if (node.op == "Conv") {
    if (shape.rank() != x.shape->rank()) return std::nullopt;
    const std::vector<std::int64_t> kernel(shape.dims().begin() + 2, shape.dims().end());
    const auto axes = ops::resolve_window(node, *x.shape, kernel, false);
    const auto both = axes.ok() ? ops::as_2d(*axes) : std::nullopt;
    if (!both || x.layout != Layout::kChannelsLast) return std::nullopt;
    out.h_ = (*both)[0];
    out.w_ = (*both)[1];
    out.taps_ = static_cast<std::size_t>(out.h_.kernel * out.w_.kernel);
    out.batch_ = (*x.shape)[0];
    out.channels_ = static_cast<std::size_t>((*x.shape)[1]);
    out.groups_ = static_cast<std::size_t>(node.attrs.get_int("group", 1));
    out.outputs_ = static_cast<std::size_t>(shape[0]);
    out.positions_ = out.batch_ * out.h_.out * out.w_.out;
  } else if (node.op == "Gemm" || node.op == "MatMul") {
    if (shape.rank() != 2 || node.attrs.get_int("transA", 0) != 0) return std::nullopt;
    const int axis = passes::weight_channel_axis(node, 2);
    out.outputs_ = static_cast<std::size_t>(shape[axis]);
    out.channels_ = static_cast<std::size_t>(shape[1 - axis]);
    out.transposed_ = axis == 1;
    out.positions_ = x.shape->elements() / static_cast<std::int64_t>(out.channels_);
    out.batch_ = out.positions_;
  } else {
    return std::nullopt;
  }
  if (out.positions_ < 1 || out.outputs_ < 1) return std::nullopt;
  return out;
}

void Patches::append_places(std::size_t sample, std::vector<std::ptrdiff_t>& places) const {
  const std::size_t count = sampled();
  // Evenly apart, from a start that differs from sample to sample (multiples of the golden ratio).
  const double golden = static_cast<double>(sample) * 0.6180339887498949;
  const double start = positions_ > kMost ? golden - std::floor(golden) : 0.0;
  const double step = static_cast<double>(positions_) / static_cast<double>(count);
  for (std::size_t i = 0; i < count; ++i) {
    const auto position = static_cast<std::int64_t>((static_cast<double>(i) + start) * step);
    const std::int64_t pixels = h_.out * w_.out;
    const std::int64_t n = position / pixels;
    const std::int64_t oy = position % pixels / w_.out;
    const std::int64_t ox = position % w_.out;
    for (std::int64_t ky = 0; ky < h_.kernel; ++ky) {
      for (std::int64_t kx = 0; kx < w_.kernel; ++kx) {
        const std::int64_t y = oy * h_.stride - h_.pad_begin + ky * h_.dilation;
        const std::int64_t x = ox * w_.stride - w_.pad_begin + kx * w_.dilation;
        const bool outside = y < 0 || y >= h_.in || x < 0 || x >= w_.in;
        const std::int64_t pixel = (n * h_.in + y) * w_.in + x;
        places.push_back(outside ? kOutside
                                 : static_cast<std::ptrdiff_t>(pixel) *
                                       static_cast<std::ptrdiff_t>(channels_));
      }
    }
  }
}

}  // namespace octavo::quantize
