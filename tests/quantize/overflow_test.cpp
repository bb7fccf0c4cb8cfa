// Shapes that no memory holds: products past 2^31 and past 2^63, negative and empty ones. Each is
// an error that names the node, and nothing is taken for it.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "quantize/model.h"
#include "support/onnx_builder.h"

namespace octavo::quantize {
namespace {

using test::int_attr, test::ints_attr;

std::string text_attr(const std::string& name, const std::string& value) {
  return test::message([&](test::pbf_writer& w) {
    w.add_string(1, name);
    w.add_string(4, value);
    w.add_enum(20, 3);
  });
}
// Further inputs of a node: constants by these names.
std::string integers(const std::string& name, const std::vector<std::int64_t>& values) {
  return test::raw_tensor(name, {static_cast<std::int64_t>(values.size())}, 7, values);
}
std::string floats(const std::string& name, const std::vector<std::int64_t>& dims,
                   std::vector<float> values = {}) {
  std::int64_t elements = 1;
  for (const std::int64_t dim : dims) elements *= dim;
  values.resize(static_cast<std::size_t>(elements), values.empty() ? 1.0F : values.back());
  return test::raw_tensor(name, dims, 1, values);
}

struct Case {
  std::string what, op;
  std::vector<std::int64_t> x;
  std::vector<std::string> inputs, attrs, constants;
  Code code;
};

constexpr std::int64_t kMega = std::int64_t{1} << 20;
constexpr std::int64_t kGiga = std::int64_t{1} << 30;
constexpr std::int64_t kHuge = std::int64_t{1} << 62;

const std::vector<std::int64_t> kImage{1, 1, 4, 4};
const std::vector<std::int64_t> kHalfLimit{1, 1, 1 << 14, 1 << 13};

std::vector<Case> cases() {
  const std::string w = floats("w", {1, 1, 3, 3});
  return {
      {"padded",
       "Conv",
       kImage,
       {"x", "w"},
       {ints_attr("pads", {1 << 23, 1 << 23, 1 << 23, 1 << 23})},
       {w},
       Code::kLimitExceeded},
      {"smaller than its kernel", "Conv", {1, 1, 2, 2}, {"x", "w"}, {}, {w}, Code::kShapeMismatch},
      {"smaller than its window",
       "MaxPool",
       kImage,
       {"x"},
       {ints_attr("kernel_shape", {5, 5})},
       {},
       Code::kShapeMismatch},
      {"spread",
       "ConvTranspose",
       kImage,
       {"x", "w"},
       {ints_attr("strides", {kMega, kMega})},
       {w},
       Code::kLimitExceeded},
      {"joined",
       "Concat",
       kHalfLimit,
       {"x", "x", "x"},
       {int_attr("axis", 1)},
       {},
       Code::kLimitExceeded},
      {"expanded",
       "Expand",
       {1},
       {"x", "s"},
       {},
       {integers("s", {1 << 15, 1 << 15})},
       Code::kLimitExceeded},
      {"expanded to a product of 2^64",
       "Expand",
       {1},
       {"x", "s"},
       {},
       {integers("s", {4 * kGiga, 4 * kGiga})},
       Code::kLimitExceeded},
      {"expanded to a negative size",
       "Expand",
       {1},
       {"x", "s"},
       {},
       {integers("s", {-4})},
       Code::kShapeMismatch},
      {"tiled",
       "Tile",
       {1, 1},
       {"x", "s"},
       {},
       {integers("s", {kMega, kMega})},
       Code::kLimitExceeded},
      {"tiled beyond all numbers",
       "Tile",
       {4, 4},
       {"x", "s"},
       {},
       {integers("s", {kHuge, kHuge})},
       Code::kLimitExceeded},
      {"tiled less than never",
       "Tile",
       {4, 4},
       {"x", "s"},
       {},
       {integers("s", {1, -1})},
       Code::kInvalidModel},
      {"as deep as no tensor",
       "OneHot",
       {4},
       {"x", "s", "v"},
       {},
       {integers("s", {kGiga}), floats("v", {2})},
       Code::kLimitExceeded},
      {"with a depth that is none",
       "OneHot",
       {4},
       {"x", "s", "v"},
       {},
       {integers("s", {-1}), floats("v", {2})},
       Code::kInvalidModel},
      {"in endless steps",
       "Conv",
       kImage,
       {"x", "w"},
       {ints_attr("strides", {kHuge, kHuge})},
       {w},
       Code::kLimitExceeded},
      {"in steps of nothing",
       "Conv",
       kImage,
       {"x", "w"},
       {ints_attr("strides", {0, 1})},
       {w},
       Code::kUnsupportedAttribute},
      {"spread endlessly",
       "Conv",
       kImage,
       {"x", "w"},
       {ints_attr("dilations", {16 * kMega, 16 * kMega})},
       {w},
       Code::kLimitExceeded},
      {"padded endlessly",
       "AveragePool",
       kImage,
       {"x"},
       {ints_attr("kernel_shape", {3, 3}), ints_attr("pads", {0, 0, 0, kHuge})},
       {},
       Code::kLimitExceeded},
      {"with more taps than a number counts",
       "AveragePool",
       kImage,
       {"x"},
       {ints_attr("kernel_shape", {16 * kMega, 16 * kMega}),
        ints_attr("pads", {8 * kMega, 8 * kMega, 8 * kMega, 8 * kMega})},
       {},
       Code::kLimitExceeded},
      {"spread beyond all numbers",
       "ConvTranspose",
       kImage,
       {"x", "w"},
       {ints_attr("strides", {kHuge, 1})},
       {w},
       Code::kLimitExceeded},
      {"in blocks beyond all numbers",
       "DepthToSpace",
       kImage,
       {"x"},
       {int_attr("blocksize", kHuge)},
       {},
       Code::kLimitExceeded},
      {"with more dimensions than a tensor has",
       "Unsqueeze",
       kImage,
       {"x", "s"},
       {},
       {integers("s", {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12})},
       Code::kLimitExceeded},
      {"reshaped to more dimensions than a tensor has",
       "Reshape",
       kImage,
       {"x", "s"},
       {},
       {integers("s", {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 16})},
       Code::kLimitExceeded},
      {"expanded to more dimensions than a tensor has",
       "Expand",
       {1},
       {"x", "s"},
       {},
       {integers("s", std::vector<std::int64_t>(17, 1))},
       Code::kLimitExceeded},
      {"enlarged",
       "Resize",
       kImage,
       {"x", "", "s"},
       {},
       {floats("s", {4}, {1, 1, 1e6F})},
       Code::kLimitExceeded},
      {"padded before and after",
       "Pad",
       kImage,
       {"x", "s"},
       {},
       {integers("s", {0, 0, 1 << 27, 1 << 27, 0, 0, 0, 0})},
       Code::kLimitExceeded},
      {"cut to less than nothing",
       "Pad",
       kImage,
       {"x", "s"},
       {},
       {integers("s", {0, 0, -3, -3, 0, 0, -3, -3})},
       Code::kShapeMismatch},
      {"reshaped to more",
       "Reshape",
       kImage,
       {"x", "s"},
       {},
       {integers("s", {kMega, kMega})},
       Code::kShapeMismatch},
      {"reshaped to a product of 2^64",
       "Reshape",
       kImage,
       {"x", "s"},
       {},
       {integers("s", {4 * kGiga, 4 * kGiga})},
       Code::kShapeMismatch},
      {"reshaped to a negative size",
       "Reshape",
       kImage,
       {"x", "s"},
       {},
       {integers("s", {-2, -8})},
       Code::kInvalidModel},
      {"reshaped to two open sizes",
       "Reshape",
       kImage,
       {"x", "s"},
       {},
       {integers("s", {-1, -1})},
       Code::kInvalidModel},
      {"reshaped with a zero past its rank",
       "Reshape",
       kImage,
       {"x", "s"},
       {},
       {integers("s", {0, 0, 0, 0, 0})},
       Code::kShapeMismatch},
      {"an outer product",
       "MatMul",
       {1 << 16, 1},
       {"x", "w"},
       {},
       {floats("w", {1, 1 << 16})},
       Code::kLimitExceeded},
      {"broadcast",
       "Add",
       {kMega, 1},
       {"x", "w"},
       {},
       {floats("w", {1, 1 << 10})},
       Code::kLimitExceeded},
      {"gathered",
       "Gather",
       {4, kMega},
       {"x", "s"},
       {},
       {integers("s", std::vector<std::int64_t>(1 << 10, 0))},
       Code::kLimitExceeded},
      {"an outer product by name",
       "Einsum",
       {1 << 15},
       {"x", "w"},
       {text_attr("equation", "i,j->ij")},
       {floats("w", {1 << 15})},
       Code::kLimitExceeded},
      {"split into negative parts",
       "Split",
       kImage,
       {"x", "s"},
       {int_attr("axis", 2)},
       {integers("s", {-4, 8})},
       Code::kShapeMismatch},
  };
}

Error error_of(const Case& one) {
  test::OnnxFile file;
  file.nodes = {test::node_bytes(one.op, one.inputs, {"y"}, one.attrs, "large")};
  file.initializers = one.constants;
  file.inputs = {test::value_info("x", 1, one.x)};
  file.outputs = {test::value_info("y", 1, {})};
  const std::string bytes = file.bytes();
  const auto model = Model::load(test::exact_bytes(bytes), bytes.size());
  if (!model.ok()) return model.error();
  const auto session = create_session(*model, {}, {});
  if (!session.ok()) return session.error();
  return {Code::kInternal, "It was accepted.", "", "", {}};
}

TEST_CASE("overflowing shapes: each is an error with the node's name") {
  for (const Case& one : cases()) {
    const Error error = error_of(one);
    CAPTURE(one.op);
    CAPTURE(one.what);
    CAPTURE(error.message());
    CHECK(error.code == one.code);
    CHECK(error.where.find("'large'") != std::string::npos);
  }
}

TEST_CASE("overflowing shapes: of inputs, with where they stand") {
  for (const std::vector<std::int64_t>& dims : std::vector<std::vector<std::int64_t>>{
           {kGiga, 4}, {1 << 15, 1 << 15}, {4 * kGiga, 4 * kGiga}, {kHuge, 4}}) {
    const Error error = error_of({"", "Relu", dims, {"x"}, {}, {}, Code::kLimitExceeded});
    CAPTURE(error.message());
    CHECK(error.code == Code::kLimitExceeded);
    CHECK((error.where.find("inputs") != std::string::npos ||
           error.where.find("'large'") != std::string::npos));
  }
}

}  // namespace
}  // namespace octavo::quantize
