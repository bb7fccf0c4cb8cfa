// The project's golden vectors, a doctest case a group.
#include "golden/golden.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>

namespace octavo::golden {
namespace {

const std::string kFolder = std::string(OCTAVO_SOURCE_DIR) + "/tests/data/golden";

void check_group(const std::string& group) {
  const Tally tally = run_group(kFolder, group);
  CAPTURE(to_line(group, tally));
  CHECK(tally.passed());
  CHECK(tally.cases > 0);
}

TEST_CASE("golden: batchnorm equals PyTorch") { check_group("batchnorm"); }
TEST_CASE("golden: e2e equals PyTorch, node by node") { check_group("e2e"); }
TEST_CASE("golden: fakequant equals PyTorch") { check_group("fakequant"); }
TEST_CASE("golden: observers equals PyTorch") { check_group("observers"); }
TEST_CASE("golden: onnx_models equals ONNX Runtime") { check_group("onnx_models"); }
TEST_CASE("golden: onnx_ops equals ONNX Runtime") { check_group("onnx_ops"); }
TEST_CASE("golden: ops equals PyTorch") { check_group("ops"); }
TEST_CASE("golden: ort_calib equals ONNX Runtime") { check_group("ort_calib"); }
TEST_CASE("golden: quantize equals PyTorch") { check_group("quantize"); }

TEST_CASE("golden: a second set, of other shapes, ranks and options, has no mismatch") {
  const std::string folder = std::string(OCTAVO_SOURCE_DIR) + "/build/second-set";
  if (!std::filesystem::exists(folder)) {
    MESSAGE("skipped: make it with node tests/golden/second-set.mjs build/second-set");
    return;
  }
  const std::vector<std::string> groups = groups_in(folder);
  CHECK(groups.size() > 0);
  for (const std::string& group : groups) {
    const Tally tally = run_group(folder, group);
    CAPTURE(to_line(group, tally));
    CHECK(tally.passed());
  }
}

TEST_CASE("golden: every group of the folder has a row, and every row a group") {
  std::vector<std::string> names;
  for (const Group& group : all_groups()) names.emplace_back(group.name);
  CHECK(std::ranges::is_sorted(names));
  CHECK(groups_in(kFolder) == names);
}

TEST_CASE("golden: what is not understood is a failure") {
  CHECK_FALSE(run_group(kFolder, "nothing").passed());
  test::GoldenGroup group;
  group.bytes.resize(4);
  test::GoldenCase record;
  record.name = "case";
  record.attrs["kind"] = "per_tensor";
  record.attrs["surprise"] = "1";
  record.tensors["y"] = {"u8", 0, 4, {4}};
  record.tensors["far"] = {"u8", 2, 4, {4}};
  Case c(group, record, kFolder);
  CHECK(c.str("kind") == "per_tensor");
  c.expect<std::uint8_t>("y", std::vector<std::uint8_t>{0, 0, 1, 0});
  CHECK_THROWS(c.tensor("far"));
  CHECK_THROWS(c.tensor("x"));
  CHECK_THROWS(c.values<float>("y"));
  const Tally tally = c.finish();
  CHECK(tally.compared == 4);
  CHECK(tally.mismatches == 1);
  CHECK(tally.problems.size() == 2);  // y differs, surprise was not read
}

TEST_CASE("golden: an empty tensor is compared, and numbers to the last bit") {
  test::GoldenGroup group;
  test::GoldenCase record;
  record.name = "case";
  record.attrs["one"] = "2";
  record.attrs["two"] = "2 3 1";
  record.tensors["y"] = {"f32", 0, 0, {2, 0}};
  Case c(group, record, kFolder);
  CHECK(c.each("one", 2) == std::vector<std::int64_t>{2, 2});
  CHECK(c.each("two", 2) == std::vector<std::int64_t>{3, 1});
  CHECK_THROWS(c.each("two", 4));
  Case untouched(group, record, kFolder);
  untouched.ignore(untouched.keys());
  CHECK_FALSE(untouched.finish().passed());  // nothing was compared
  c.expect("y", Tensor::make(DType::kFloat32, {2, 0}));
  CHECK(c.finish().passed());
  c.expect_equal("a scale", 0.1, 0.1 + 1e-9);
  c.expect("y", Tensor::make(DType::kFloat32, {0, 2}));
  const Tally tally = c.finish();
  CHECK(tally.mismatches == 1);
  CHECK(tally.problems.size() == 2);  // the scale and the shape
}

}  // namespace
}  // namespace octavo::golden
