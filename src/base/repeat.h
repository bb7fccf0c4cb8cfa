// One parameter for all channels, as one for each.
#pragma once

#include <cstddef>
#include <vector>

namespace octavo {

// Makes `n` of a single value. (values.assign(n, values[0]) would read what it has freed: assign
// takes no element of its own vector.)
template <class T>
void repeat_single(std::vector<T>& values, std::size_t n) {
  if (values.size() == 1) values.resize(n, T(values.front()));
}

}  // namespace octavo
