// Every error code, each with its one-line meaning. The same table makes the names in JS, the docs
// and a test.
#pragma once

#include <span>
#include <string_view>

namespace octavo {

enum class Code {
  kInvalidModel,
  kTruncatedModel,
  kUnsupportedOp,
  kUnsupportedAttribute,
  kUnsupportedOpset,
  kUnsupportedDtype,
  kMissingInitializer,
  kExternalData,
  kShapeMismatch,
  kNonFiniteWeight,
  kDynamicDimension,
  kSampleShape,
  kSampleDtype,
  kSampleMissing,
  kNoSamples,
  kNonFiniteSample,
  kInvalidOption,
  kInvalidState,
  kLimitExceeded,
  kOutOfMemory,
  kInternal,
};

struct CodeInfo {
  Code code;
  std::string_view name;     // as OctavoError.code shows it
  std::string_view meaning;  // one line for the docs
};

std::span<const CodeInfo> all_codes();
std::string_view code_name(Code code);

}  // namespace octavo
