// The allocations of this test program, one of which may be made to fail.
#pragma once

#include <cstddef>

namespace octavo::test {

// A smaller one always succeeds: nlohmann::json allocates a little in its destructor, where an
// exception ends the program.
// nlohmann's json leaks its strings when a vector of its own cannot grow; those are smaller.
inline constexpr std::size_t kLarge = 1024;
extern long allocations;  // how many large ones there have been
extern long failing;      // the number of the large one that throws std::bad_alloc; 0: none
extern long live;         // how many of any size are not freed yet

// Bytes of all that is not freed yet, and the most that they have been.
extern std::size_t live_bytes;
extern std::size_t most_bytes;

// The most bytes that `work` has at one time beyond what there was before.
template <class Work>
std::size_t bytes_of(Work work) {
  const std::size_t before = live_bytes;
  most_bytes = before;
  work();
  return most_bytes - before;
}

}  // namespace octavo::test
