// Files that are not what they seem, through the whole way from bytes to a result.
#include <doctest/doctest.h>

#include <string>

#include "quantize/model.h"
#include "support/damage.h"
#include "support/files.h"
#include "support/onnx_builder.h"

namespace octavo::quantize {
namespace {

std::string sample(const std::string& name) {
  const auto file =
      test::read_file(std::string(OCTAVO_SOURCE_DIR) + "/tests/data/golden/onnx/" + name + ".onnx");
  REQUIRE(file);
  return {file->begin(), file->end()};
}

TEST_CASE("damaged files: a network cut off anywhere gives an error or a session") {
  for (const char* name : {"float", "qoperator_qint8"}) {
    CAPTURE(name);
    const std::string whole = sample(name);
    const test::DamageCount count = test::truncations(whole);
    CHECK(count.tried == static_cast<std::int64_t>(whole.size()));
    CHECK(count.wrong == 0);
  }
  for (const char* name : {"qdq_qint8", "qdq_quint8", "qoperator_quint8"}) {
    CAPTURE(name);
    CHECK(test::truncations(sample(name), 11).wrong == 0);
  }
}

// All bytes and all lengths of the samples: `npm run fuzz -- --target damage`.
TEST_CASE("damaged files: any byte of a network changed gives an error or a session") {
  const std::string small = test::small_file().bytes();
  const test::DamageCount count = test::byte_changes(small);
  CHECK(count.tried == 255 * static_cast<std::int64_t>(small.size()));
  CHECK(count.wrong == 0);
  for (const char* name : {"float", "qdq_quint8", "qoperator_qint8"}) {
    CAPTURE(name);
    CHECK(test::byte_changes(sample(name), 0, 331).wrong == 0);
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
        Code::kLimitExceeded);
  CHECK(code_of({test::ints_attr("pads", {1 << 23, 1 << 23, 1 << 23, 1 << 23})}, {1, 1, 4, 4}) ==
        Code::kLimitExceeded);
  CHECK(code_of({test::ints_attr("strides", {0, 0})}, {1, 1, 4, 4}) == Code::kUnsupportedAttribute);
  CHECK(code_of({test::int_attr("group", 0)}, {1, 1, 4, 4}) == Code::kShapeMismatch);
  CHECK(code_of({}, {1, 1, 2, 2}) == Code::kShapeMismatch);
  CHECK(code_of({}, {1, 1, 1 << 30, 1 << 30}) == Code::kLimitExceeded);
  CHECK(code_of({test::ints_attr("kernel_shape", {1 << 20, 1 << 20}),
                 test::ints_attr("dilations", {1 << 20, 1 << 20})},
                {1, 1, 4, 4}, "MaxPool") == Code::kLimitExceeded);
}

}  // namespace
}  // namespace octavo::quantize
