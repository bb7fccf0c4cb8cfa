// Errors as data: Result<T> holds a value or an Error that says what is wrong, where, and what
// would work.
//
// Nothing below the bindings throws for bad input; std::bad_alloc is the one exception that
// travels, and the bindings turn it into OUT_OF_MEMORY.
#pragma once

#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/error_codes.h"

namespace octavo {

struct Error {
  Code code = Code::kInternal;
  std::string what;   // one sentence: what is wrong, with the values
  std::string where;  // "node 'conv1' (Conv)", "input 'image'", "byte 1234", or empty
  std::string hint;   // what would work, or empty
  std::vector<Error> all =
      {};  // every finding of the same kind when there is more than one, this one first

  // "where: what hint", for logs and tests.
  std::string message() const;
};

// Makes one error of several findings (never empty): the first, carrying all of them.
Error combine(std::vector<Error> findings);

template <class T = std::monostate>
class [[nodiscard]] Result {
 public:
  Result(T value)
      : state_(std::in_place_index<0>, std::move(value)) {
  }  // NOLINT(google-explicit-constructor): `return value;` is the point
  Result(Error error)
      : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT(google-explicit-constructor)

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  // The value; the caller has checked ok().
  T& value() & { return *std::get_if<0>(&state_); }
  const T& value() const& { return *std::get_if<0>(&state_); }
  T&& value() && { return std::move(*std::get_if<0>(&state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  // The error; the caller has checked !ok().
  Error& error() & { return *std::get_if<1>(&state_); }
  const Error& error() const& { return *std::get_if<1>(&state_); }
  Error&& error() && { return std::move(*std::get_if<1>(&state_)); }

 private:
  std::variant<T, Error> state_;
};

using Status = Result<std::monostate>;
inline Status ok_status() { return std::monostate{}; }

// OCTAVO_TRY(auto x, f());  x is f()'s value, or the enclosing function returns f()'s error.
#define OCTAVO_CONCAT_(a, b) a##b
#define OCTAVO_CONCAT(a, b) OCTAVO_CONCAT_(a, b)
#define OCTAVO_TRY(declaration, expression) \
  OCTAVO_TRY_IMPL(declaration, expression, OCTAVO_CONCAT(octavo_result_, __LINE__))
#define OCTAVO_TRY_IMPL(declaration, expression, result) \
  auto result = (expression);                            \
  if (!result.ok()) return std::move(result).error();    \
  declaration = std::move(result).value()
// OCTAVO_CHECK_OK(f());  the same for a Status.
#define OCTAVO_CHECK_OK(expression)                             \
  do {                                                          \
    if (auto octavo_status = (expression); !octavo_status.ok()) \
      return std::move(octavo_status).error();                  \
  } while (false)

}  // namespace octavo
