// Files that are damaged on purpose, through the whole way from bytes to a result.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <utility>

#include "quantize/model.h"
#include "simd/engine_class.h"
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

// Numbers that mean something in every data type: floats around 0, small integers, any codes.
inline void fill_input(const Value& value, std::span<std::byte> bytes) {
  const std::size_t size = dtype_size(value.dtype);
  if (bytes.empty()) return;
  std::memset(bytes.data(), 0, bytes.size());
  for (std::size_t i = 0; i + size <= bytes.size(); i += size) {
    const auto random = static_cast<std::uint32_t>(i / size) * 2654435761U >> 24;
    if (value.dtype == DType::kFloat32) {
      const float number = (static_cast<float>(random) - 128) / 64;
      std::memcpy(&bytes[i], &number, sizeof number);
    } else {
      bytes[i] =
          static_cast<std::byte>(size == 1 && value.dtype != DType::kBool ? random : random & 1);
    }
  }
}

// Bit for bit; one NaN is as good as another.
inline bool same_output(const runtime::Session& a, const runtime::Session& b, std::size_t i) {
  const Value& value = a.graph().value(a.graph().outputs[i]);
  const auto x = a.output(i);
  const auto y = b.output(i);
  if (x.size() != y.size() || value.shape != b.graph().value(b.graph().outputs[i]).shape)
    return false;
  if (value.dtype != DType::kFloat32)
    return x.empty() || std::memcmp(x.data(), y.data(), x.size()) == 0;
  for (std::size_t at = 0; at < x.size(); at += sizeof(float)) {
    float p, q;
    std::memcpy(&p, &x[at], sizeof p);
    std::memcpy(&q, &y[at], sizeof q);
    if (std::memcmp(&p, &q, sizeof p) != 0 && !(std::isnan(p) && std::isnan(q))) return false;
  }
  return true;
}

inline void run_filled(runtime::Session& session) {
  for (std::size_t i = 0; i < session.graph().inputs.size(); ++i)
    fill_input(session.graph().value(session.graph().inputs[i]), session.input(i));
  session.run();
}

// Loads, makes a session and runs it, and again with the scalar rows, which are the specification.
// True where both give the same, or whatever goes wrong is an error with a text that is not an
// internal one; a crash is for the sanitizers to explain.
inline bool survives_in_memory(std::shared_ptr<const std::byte> bytes, std::size_t size) {
  const auto explained = [](const Error& error) {
    return !error.what.empty() && error.code != Code::kInternal;
  };
  const auto model = quantize::Model::load(std::move(bytes), size);
  if (!model.ok()) return explained(model.error());
  runtime::SessionOptions options;
  options.memory_limit = std::size_t{256} << 20;
  options.policy.engine = simd::probe_engine_class();
  auto session = quantize::create_session(*model, {}, options);
  if (!session.ok()) return explained(session.error());
  std::int64_t macs = 0;
  for (const runtime::StepInfo& step : session->steps()) macs += step.macs;
  if (macs > 10'000'000) return true;  // a dimension has grown: right, but slow
  run_filled(*session);
  runtime::SessionOptions plain = options;
  plain.policy = {.engine = simd::EngineClass::kNone, .level = simd::Level::kScalar};
  auto reference = quantize::create_session(*model, {}, plain);
  if (!reference.ok()) return reference.error().code == Code::kLimitExceeded;
  run_filled(*reference);
  if (!session->status().ok()) {
    return explained(session->status().error()) && !reference->status().ok() &&
           session->status().error().code == reference->status().error().code;
  }
  if (!reference->status().ok()) return false;
  for (std::size_t i = 0; i < session->graph().outputs.size(); ++i) {
    if (!same_output(*session, *reference, i)) return false;
  }
  return true;
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
