// Windows over any number of spatial axes and in any layout, place by place: for convolutions and
// pools that have no kernel of their own (three axes, indices, integer results).
#pragma once

#include <cstdint>
#include <vector>

#include "ops/window.h"

namespace octavo::ops {

// A tap of a window: its number in row-major order and the input's element, relative to the image's
// first of a channel.
struct Tap {
  std::int64_t number, offset;
};

class WindowNd {
 public:
  WindowNd(std::vector<WindowAxis> axes, const Value& in, const Value& out);

  std::int64_t places() const { return places_; }  // of one image
  std::int64_t taps() const { return taps_; }      // of one window
  // Where place `i` (row-major) lies in the output, relative to a channel's first.
  std::int64_t output_offset(std::int64_t i) const;
  // Writes the taps of place `i` that lie inside the image; how many. `list` holds taps().
  std::int64_t inside(std::int64_t i, Tap* list) const;
  // How many taps of place `i` lie inside the image and its padding.
  std::int64_t inside_padding(std::int64_t i) const;
  // The place of an element of the input (relative, as in Tap) in row-major order, or with the
  // first axis innermost.
  std::int64_t index_of(std::int64_t offset, bool first_innermost) const;

 private:
  template <class Visit>
  void each_tap(std::int64_t i, Visit&& visit) const;

  std::vector<WindowAxis> axes_;
  std::vector<std::int64_t> in_strides_, out_strides_;  // of the spatial axes
  std::int64_t places_ = 1, taps_ = 1;
};

}  // namespace octavo::ops
