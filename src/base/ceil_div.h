// Division that rounds up.
#pragma once

#include <cstdint>

namespace octavo {

// How many pieces of `b` make up `a`: a >= 0, b > 0.
constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

}  // namespace octavo
