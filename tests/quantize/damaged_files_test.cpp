// Files that are not what they seem, through the whole way from bytes to a result.
#include <doctest/doctest.h>

#include <cstring>
#include <new>

#include "quantize/model.h"
#include "support/files.h"
#include "support/onnx_builder.h"

namespace octavo::quantize {
namespace {

// Loads, makes a session and runs it on zeros. Whatever goes wrong is an error with a text.
bool survives_in_memory(const std::string& bytes) {
  const auto model = Model::load(test::exact_bytes(bytes), bytes.size());
  if (!model.ok()) return !model.error().what.empty();
  runtime::SessionOptions options;
  options.memory_limit = std::size_t{256} << 20;
  auto session = create_session(*model, {}, options);
  if (!session.ok()) return !session.error().what.empty();
  std::int64_t macs = 0;
  for (const runtime::StepInfo& step : session->steps()) macs += step.macs;
  if (macs > 10'000'000) return true;  // a dimension has grown: right, but slow
  for (std::size_t i = 0; i < session->graph().inputs.size(); ++i)
    std::memset(session->input(i).data(), 0, session->input(i).size());
  session->run();
  return true;
}

// Too large for a 32-bit memory is an answer too: the bindings turn it into OUT_OF_MEMORY.
bool survives(const std::string& bytes) {
  try {
    return survives_in_memory(bytes);
  } catch (const std::bad_alloc&) {
    return true;
  }
}

TEST_CASE(
    "damaged files: any byte of a network changed gives an error or a session, never a crash") {
  for (const char* name : {"float", "qdq_quint8", "qoperator_qint8"}) {
    CAPTURE(name);
    const auto file = test::read_file(std::string(OCTAVO_SOURCE_DIR) + "/tests/data/golden/onnx/" +
                                      name + ".onnx");
    REQUIRE(file);
    const std::string whole(file->begin(), file->end());
    int wrong = 0;
    for (std::size_t at = 0; at < whole.size(); at += 3) {
      for (const int change : {0x01, 0x04, 0x40, 0x80, 0xFF}) {
        std::string damaged = whole;
        damaged[at] = static_cast<char>(static_cast<unsigned char>(damaged[at]) ^ change);
        wrong += survives(damaged) ? 0 : 1;
      }
    }
    for (std::size_t n = 0; n < whole.size(); n += 7) wrong += survives(whole.substr(0, n)) ? 0 : 1;
    CHECK(wrong == 0);
  }
}

TEST_CASE("damaged files: sizes that ask for the impossible are refused") {
  const auto code_of = [](const std::vector<std::string>& attrs,
                          const std::vector<std::int64_t>& input, const std::string& op = "Conv") {
    test::OnnxFile file = test::small_file();
    file.nodes = {test::node_bytes(
        op, op == "Conv" ? std::vector<std::string>{"x", "w"} : std::vector<std::string>{"x"},
        {"y"}, attrs)};
    file.inputs = {test::value_info("x", 1, input)};
    file.outputs = {test::value_info("y", 1, {})};
    const std::string bytes = file.bytes();
    const auto model = Model::load(test::exact_bytes(bytes), bytes.size());
    if (!model.ok()) return model.error().code;
    const auto session = create_session(*model, {}, {});
    REQUIRE_FALSE(session.ok());
    return session.error().code;
  };
  constexpr std::int64_t kHuge = std::int64_t{1} << 62;
  CHECK(code_of({test::ints_attr("pads", {kHuge, kHuge, kHuge, kHuge})}, {1, 1, 4, 4}) ==
        Code::kUnsupportedAttribute);
  CHECK(code_of({test::ints_attr("pads", {1 << 23, 1 << 23, 1 << 23, 1 << 23})}, {1, 1, 4, 4}) ==
        Code::kLimitExceeded);
  CHECK(code_of({test::ints_attr("strides", {0, 0})}, {1, 1, 4, 4}) == Code::kUnsupportedAttribute);
  CHECK(code_of({test::int_attr("group", 0)}, {1, 1, 4, 4}) == Code::kShapeMismatch);
  CHECK(code_of({}, {1, 1, 2, 2}) == Code::kShapeMismatch);
  CHECK(code_of({}, {1, 1, 1 << 30, 1 << 30}) == Code::kLimitExceeded);
  CHECK(code_of({test::ints_attr("kernel_shape", {1 << 20, 1 << 20}),
                 test::ints_attr("dilations", {1 << 20, 1 << 20})},
                {1, 1, 4, 4}, "MaxPool") == Code::kUnsupportedAttribute);
}

}  // namespace
}  // namespace octavo::quantize
