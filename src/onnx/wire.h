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

namespace octavo::onnx {

// The reader of a message. protozero 1.7.1 compares a field's length as a signed number of the
// pointer's width: in a 32-bit memory a length of 2 GiB and more passes as negative, and the reader
// would walk out of the file. Here it is compared before protozero sees it.
class Reader : private protozero::pbf_reader {
 public:
  using pbf_reader::data, pbf_reader::next, pbf_reader::tag, pbf_reader::wire_type;
  using pbf_reader::get_double, pbf_reader::get_float, pbf_reader::get_int32, pbf_reader::get_int64;

  explicit Reader(protozero::data_view bytes) : pbf_reader(bytes) {}

  protozero::data_view get_view() {
    check_length();
    return pbf_reader::get_view();
  }
  Reader get_message() { return Reader{get_view()}; }
  void skip() {
    check_length();
    pbf_reader::skip();
  }

 private:
  void check_length() const {
    if (wire_type() != protozero::pbf_wire_type::length_delimited) return;
    const char* at = data().data();
    const char* const end = at + data().size();
    // The same cut to 32 bits that protozero makes.
    const auto length = static_cast<protozero::pbf_length_type>(protozero::decode_varint(&at, end));
    if (static_cast<std::size_t>(end - at) < length) throw protozero::end_of_buffer_exception{};
  }
};

}  // namespace octavo::onnx
