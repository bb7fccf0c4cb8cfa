// Files that are damaged on purpose, through the whole way from bytes to a result.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include "quantize/model.h"
#include "support/onnx_builder.h"

#if defined(__SANITIZE_ADDRESS__)
#define OCTAVO_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define OCTAVO_ASAN 1
#endif
#endif
#ifdef OCTAVO_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace octavo::test {

// Loads, makes a session and runs it on zeros. True where whatever goes wrong is an error with a
// text that is not an internal one; a crash is for the sanitizers to explain.
inline bool survives_in_memory(std::shared_ptr<const std::byte> bytes, std::size_t size) {
  const auto explained = [](const Error& error) {
    return !error.what.empty() && error.code != Code::kInternal;
  };
  const auto model = quantize::Model::load(std::move(bytes), size);
  if (!model.ok()) return explained(model.error());
  runtime::SessionOptions options;
  options.memory_limit = std::size_t{256} << 20;
  auto session = quantize::create_session(*model, {}, options);
  if (!session.ok()) return explained(session.error());
  std::int64_t macs = 0;
  for (const runtime::StepInfo& step : session->steps()) macs += step.macs;
  if (macs > 10'000'000) return true;  // a dimension has grown: right, but slow
  for (std::size_t i = 0; i < session->graph().inputs.size(); ++i)
    std::memset(session->input(i).data(), 0, session->input(i).size());
  session->run();
  return session->status().ok() || explained(session->status().error());
}

// Too large for a 32-bit memory is an answer too: the bindings turn it into OUT_OF_MEMORY.
inline bool survives(std::shared_ptr<const std::byte> bytes, std::size_t size) {
  try {
    return survives_in_memory(std::move(bytes), size);
  } catch (const std::bad_alloc&) {
    return true;
  }
}

struct DamageCount {
  std::int64_t tried = 0;
  std::int64_t wrong = 0;

  void add(std::shared_ptr<const std::byte> bytes, std::size_t size) {
    ++tried;
    wrong += survives(std::move(bytes), size) ? 0 : 1;
  }
};

// AddressSanitizer sees a read of these bytes from now on, or no longer.
inline void forbid([[maybe_unused]] const std::byte* p, [[maybe_unused]] std::size_t size) {
#ifdef OCTAVO_ASAN
  ASAN_POISON_MEMORY_REGION(p, size);
#endif
}
inline void allow([[maybe_unused]] const std::byte* p, [[maybe_unused]] std::size_t size) {
#ifdef OCTAVO_ASAN
  ASAN_UNPOISON_MEMORY_REGION(p, size);
#endif
}

// Every file that is the start of `whole`, its length a multiple of `stride`. Nothing is copied, so
// that large files can be tried too: a byte more is forbidden each time.
inline DamageCount truncations(const std::string& whole, std::size_t stride = 1) {
  DamageCount count;
  const std::shared_ptr<const std::byte> bytes = exact_bytes(whole);
  for (std::size_t n = whole.size(); n-- > 0;) {
    forbid(bytes.get() + n, std::min<std::size_t>(8, whole.size() - n));  // a unit of its shadow
    if (n % stride == 0) count.add(bytes, n);
  }
  allow(bytes.get(), whole.size());
  return count;
}

// Every file that differs from `whole` in the byte at `first`, `first + stride`, ...
inline DamageCount byte_changes(const std::string& whole, std::size_t first = 0,
                                std::size_t stride = 1) {
  DamageCount count;
  std::string damaged = whole;
  for (std::size_t at = first; at < whole.size(); at += stride) {
    for (int change = 1; change < 256; ++change) {
      damaged[at] = static_cast<char>(static_cast<unsigned char>(whole[at]) ^ change);
      count.add(exact_bytes(damaged), damaged.size());
    }
    damaged[at] = whole[at];
  }
  return count;
}

}  // namespace octavo::test
