// A row-major tensor seen from one of its axes: [outer][channels][inner].
#pragma once

#include <cstddef>

#include "tensor/shape.h"

namespace octavo::nn {

struct Runs {
  std::size_t outer = 1, channels = 1, inner = 1;
};

// 0 <= axis < rank.
inline Runs runs_along(const Shape& shape, int axis) {
  Runs runs;
  for (int d = 0; d < shape.rank(); ++d) {
    (d < axis    ? runs.outer
     : d == axis ? runs.channels
                 : runs.inner) *= static_cast<std::size_t>(shape[d]);
  }
  return runs;
}

// body(channel, offset of a run of `inner` elements) for every channel of every outer index.
template <class Body>
void for_each_run(const Runs& runs, Body body) {
  for (std::size_t o = 0; o < runs.outer; ++o) {
    for (std::size_t c = 0; c < runs.channels; ++c) body(c, (o * runs.channels + c) * runs.inner);
  }
}

}  // namespace octavo::nn
