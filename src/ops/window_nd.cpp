#include "ops/window_nd.h"

#include "ops/move.h"

namespace octavo::ops {

WindowNd::WindowNd(std::vector<WindowAxis> axes, const Value& in, const Value& out)
    : axes_(std::move(axes)) {
  const std::vector<std::int64_t> from = strides_of(in);
  const std::vector<std::int64_t> to = strides_of(out);
  in_strides_.assign(from.begin() + 2, from.end());
  out_strides_.assign(to.begin() + 2, to.end());
  for (const WindowAxis& axis : axes_) {
    places_ *= axis.out;
    taps_ *= axis.kernel;
  }
}

std::int64_t WindowNd::output_offset(std::int64_t i) const {
  std::int64_t offset = 0;
  for (std::size_t d = axes_.size(); d-- > 0;) {
    offset += i % axes_[d].out * out_strides_[d];
    i /= axes_[d].out;
  }
  return offset;
}

// visit(tap, offset, in the image, in image or padding)
template <class Visit>
void WindowNd::each_tap(std::int64_t i, Visit&& visit) const {
  for (std::int64_t t = 0; t < taps_; ++t) {
    std::int64_t place = i;
    std::int64_t tap = t;
    std::int64_t offset = 0;
    bool in_image = true;
    bool in_padding = true;
    for (std::size_t d = axes_.size(); d-- > 0;) {
      const WindowAxis& a = axes_[d];
      const std::int64_t at = place % a.out * a.stride - a.pad_begin + tap % a.kernel * a.dilation;
      place /= a.out;
      tap /= a.kernel;
      in_image = in_image && at >= 0 && at < a.in;
      in_padding = in_padding && at < a.in + a.pad_end;
      offset += at * in_strides_[d];
    }
    visit(t, offset, in_image, in_padding);
  }
}

std::int64_t WindowNd::inside(std::int64_t i, Tap* list) const {
  std::int64_t count = 0;
  each_tap(i, [&](std::int64_t number, std::int64_t offset, bool in_image, bool) {
    if (in_image) list[count++] = {number, offset};
  });
  return count;
}

std::int64_t WindowNd::inside_padding(std::int64_t i) const {
  std::int64_t count = 0;
  each_tap(i,
           [&](std::int64_t, std::int64_t, bool, bool in_padding) { count += in_padding ? 1 : 0; });
  return count;
}

std::int64_t WindowNd::index_of(std::int64_t offset, bool first_innermost) const {
  std::int64_t index = 0;
  std::int64_t size = 1;
  // Spatial strides fall from the first axis to the last in every layout.
  for (std::size_t d = 0; d < axes_.size(); ++d) {
    const std::int64_t at = offset / in_strides_[d];
    offset -= at * in_strides_[d];
    index = first_innermost ? index + at * size : index * axes_[d].in + at;
    size *= axes_[d].in;
  }
  return index;
}

}  // namespace octavo::ops
