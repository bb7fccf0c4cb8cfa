// The value of a Result, in a test.
#pragma once

#include <doctest/doctest.h>

#include <utility>

#include "base/result.h"

namespace octavo::test {

// Leaves a test with the error's text where a Result holds one.
template <class T>
T take(Result<T> result) {
  if (!result.ok()) FAIL(result.error().message());
  return std::move(result).value();
}
inline void take(Status status) {
  if (!status.ok()) FAIL(status.error().message());
}

}  // namespace octavo::test
