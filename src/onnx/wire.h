// Protozero's reader, with its assertions (a field of another wire type than the schema says)
// thrown as its exceptions: files are not trusted, in no kind of build.
#pragma once

#include <protozero/exception.hpp>

#ifdef protozero_assert
#error "protozero has been included without onnx/wire.h"
#endif
#define protozero_assert(condition)                                      \
  if (!(condition)) throw ::protozero::unknown_pbf_wire_type_exception { \
    }

#include <protozero/pbf_reader.hpp>
