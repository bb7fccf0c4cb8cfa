// A limit of every list of errors.
#pragma once

#include <cstddef>

namespace octavo {

// A damaged file may have something wrong in each of its nodes. combine() keeps so many findings:
// more help nobody and take time and memory.
inline constexpr std::size_t kMaxFindings = 1000;

}  // namespace octavo
