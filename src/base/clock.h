// Time that only goes on.
#pragma once

#include <ctime>

namespace octavo {

// Milliseconds from some moment on. Not std::chrono::steady_clock, which throws where there is no
// clock: its texts, with printf, would be downloaded with every page.
inline double milliseconds_now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return 1e3 * static_cast<double>(now.tv_sec) + 1e-6 * static_cast<double>(now.tv_nsec);
}

}  // namespace octavo
