// In a file of its own: a compiler that inlines only one half of new and delete takes them for a
// mismatch.
#include "quantize/allocations.h"

#include <malloc.h>

#include <algorithm>
#include <cstdlib>
#include <new>

namespace octavo::test {
long allocations = 0;
long failing = 0;
long live = 0;
std::size_t live_bytes = 0;
std::size_t most_bytes = 0;
}  // namespace octavo::test

namespace {
void* allocate(std::size_t size, std::size_t alignment) {
  using namespace octavo::test;
  if (size >= kLarge && ++allocations == failing) throw std::bad_alloc{};
  // aligned_alloc wants a multiple of the alignment, and some zero bytes are a null pointer.
  void* p = std::aligned_alloc(alignment, (size + alignment) / alignment * alignment);
  if (p == nullptr) throw std::bad_alloc{};
  ++live;
  live_bytes += malloc_usable_size(p);
  most_bytes = std::max(most_bytes, live_bytes);
  return p;
}

void release(void* p) {
  if (p != nullptr) {
    --octavo::test::live;
    octavo::test::live_bytes -= malloc_usable_size(p);
  }
  std::free(p);
}
}  // namespace

void* operator new(std::size_t size) { return allocate(size, alignof(std::max_align_t)); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  try {
    return allocate(size, alignof(std::max_align_t));
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void operator delete(void* p, const std::nothrow_t&) noexcept { release(p); }
void operator delete(void* p) noexcept { release(p); }
void operator delete(void* p, std::size_t) noexcept { release(p); }
void operator delete(void* p, std::align_val_t) noexcept { release(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { release(p); }
