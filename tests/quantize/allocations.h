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

}  // namespace octavo::test
