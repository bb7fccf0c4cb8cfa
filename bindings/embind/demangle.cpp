// The C++ runtime demangles the type of an exception that nobody catches, for a message nobody
// would see: outcome.h catches all. This definition takes the place of the library's, which is 46
// KB of WebAssembly.
#include <cstddef>

extern "C" char* __cxa_demangle(const char* /*mangled*/, char* /*buffer*/, std::size_t* /*length*/,
                                int* status) {
  if (status != nullptr)
    *status = -1;  // "memory could not be allocated": callers print the mangled name
  return nullptr;
}
