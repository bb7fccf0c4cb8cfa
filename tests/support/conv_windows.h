// Windows over a flat buffer for the tests of convolution kernels: where pixels and segments lie,
// as the calls say it.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/policy.h"
#include "simd/isa.h"

namespace octavo::test {

struct Windows {
  std::int64_t pixels, width, pixel_stride, row_stride;
  std::vector<std::int32_t> offsets;
  std::size_t elements;  // that the windows cover, without slack

  std::size_t at(std::int64_t m, std::size_t segment, std::int64_t k) const {
    return static_cast<std::size_t>(m / width * row_stride + m % width * pixel_stride +
                                    offsets[segment] + k);
  }
};

// Rows of 4 pixels that overlap and segments that lie apart, out of order.
inline Windows make_windows(std::int64_t pixels, int segments, int length) {
  Windows w{pixels, 4, 3, 29, {}, 0};
  for (int s = 0; s < segments; ++s) w.offsets.push_back((s * 7 + 3) % segments * (length + 2));
  w.elements = static_cast<std::size_t>((pixels / w.width) * w.row_stride +
                                        w.width * w.pixel_stride + segments * (length + 2));
  return w;
}

// Whether this machine computes what a row for `engine` expects: natively all do, on models.
inline bool runs_here(simd::EngineClass engine) {
  return engine == simd::EngineClass::kNone || !simd::kHasRelaxed ||
         engine == simd::probe_engine_class();
}

}  // namespace octavo::test
