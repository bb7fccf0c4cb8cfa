// Parts of the C++ library that only make messages which nobody would see, replaced by nothing: the
// library's are 46 and 4 KB of WebAssembly.
#include <cstddef>
#include <cstdlib>

// The C++ runtime demangles the type of an exception that nobody catches; outcome.h catches all.
extern "C" char* __cxa_demangle(const char* /*mangled*/, char* /*buffer*/, std::size_t* /*length*/,
                                int* status) {
  if (status != nullptr)
    *status = -1;  // "memory could not be allocated": callers print the mangled name
  return nullptr;
}

// What it says before it ends the program, with printf. JavaScript learns of the end as
// ENGINE_FAILED.
extern "C" [[noreturn]] void abort_message(const char* /*format*/, ...) { std::abort(); }
