// What every binding returns: { ok: true, value } or { ok: false, error: { code, what, where, hint,
// all } }.
//
// JavaScript throws, C++ does not: an exception through C++ frames would run no destructors.
#pragma once

#include <emscripten/val.h>

#include <exception>
#include <new>
#include <string>
#include <utility>

#include "base/result.h"

namespace octavo::bindings {

inline emscripten::val error_object(const Error& error) {
  using emscripten::val;
  val object = val::object();
  object.set("code", std::string(code_name(error.code)));
  object.set("what", error.what);
  object.set("where", error.where);
  object.set("hint", error.hint);
  val all = val::array();
  for (const Error& one : error.all) all.call<void>("push", error_object(one));
  object.set("all", all);
  return object;
}

inline emscripten::val failure(const Error& error) {
  emscripten::val object = emscripten::val::object();
  object.set("ok", false);
  object.set("error", error_object(error));
  return object;
}

inline emscripten::val success(emscripten::val value) {
  emscripten::val object = emscripten::val::object();
  object.set("ok", true);
  object.set("value", std::move(value));
  return object;
}

// work() gives a Result<emscripten::val>. Running out of memory is an error like any other.
template <class Work>
emscripten::val outcome(Work&& work) {
  try {
    Result<emscripten::val> result = work();
    return result.ok() ? success(std::move(result).value()) : failure(result.error());
  } catch (const std::bad_alloc&) {
    return failure({Code::kOutOfMemory, "There is not enough memory for this.", "",
                    "Close other models and sessions, or use a smaller input."});
  } catch (const std::exception& problem) {
    return failure({Code::kInternal, std::string("Octavo failed: ") + problem.what(), "",
                    "Please report it with the model."});
  }
}

}  // namespace octavo::bindings
