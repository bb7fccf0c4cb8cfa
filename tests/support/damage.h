// Files that are damaged on purpose, through the whole way from bytes to a result.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#include "quantize/model.h"
#include "support/onnx_builder.h"

namespace octavo::test {

// Loads, makes a session and runs it on zeros. True where whatever goes wrong is an error with a
// text that is not an internal one; a crash is for the sanitizers to explain.
inline bool survives_in_memory(const std::string& bytes) {
  const auto explained = [](const Error& error) {
    return !error.what.empty() && error.code != Code::kInternal;
  };
  const auto model = quantize::Model::load(exact_bytes(bytes), bytes.size());
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
  return true;
}

// Too large for a 32-bit memory is an answer too: the bindings turn it into OUT_OF_MEMORY.
inline bool survives(const std::string& bytes) {
  try {
    return survives_in_memory(bytes);
  } catch (const std::bad_alloc&) {
    return true;
  }
}

struct DamageCount {
  std::int64_t tried = 0;
  std::int64_t wrong = 0;

  void add(const std::string& bytes) {
    ++tried;
    wrong += survives(bytes) ? 0 : 1;
  }
};

// Every file that is the start of `whole`, its length a multiple of `stride`.
inline DamageCount truncations(const std::string& whole, std::size_t stride = 1) {
  DamageCount count;
  for (std::size_t n = 0; n < whole.size(); n += stride) count.add(whole.substr(0, n));
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
      count.add(damaged);
    }
    damaged[at] = whole[at];
  }
  return count;
}

}  // namespace octavo::test
