// What the fuzz targets share. A target checks properties; one that does not hold ends the program,
// and libFuzzer keeps the input.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>

#include "base/result.h"
#include "ops/op.h"

namespace octavo::fuzz {

// The operators whose names and attributes the mutator writes; each target of whole models says
// which.
std::span<const ops::OpDef> mutator_ops();

inline void check(bool holds, std::string_view property) {
  if (holds) return;
  std::fprintf(stderr, "This does not hold: %.*s\n", static_cast<int>(property.size()),
               property.data());
  std::abort();
}

// Bad input is an error that explains itself, and never called a defect of ours.
inline void check_error(const Error& error) {
  if (error.code == Code::kInternal) std::fprintf(stderr, "%s\n", error.message().c_str());
  check(error.code != Code::kInternal, "no input is an internal error");
  check(!error.what.empty(), "an error says what is wrong");
}

// Exactly as many bytes, so that AddressSanitizer sees a read behind the last.
inline std::shared_ptr<const std::byte> exact_bytes(const void* data, std::size_t size) {
  auto* copy = new std::byte[size];
  if (size > 0) std::memcpy(copy, data, size);
  return {copy, [](const std::byte* p) { delete[] p; }};
}

}  // namespace octavo::fuzz
