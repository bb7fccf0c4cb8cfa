#include "kernels/lut/lut.h"

#include <doctest/doctest.h>

#include <numeric>

#include "kernels/felementwise/unary.h"
#include "support/buffers.h"
#include "support/golden.h"

namespace octavo::kernels {
namespace {

TEST_CASE("lut: every row looks each code up, also in place") {
  const std::vector<std::uint8_t> table = test::random_codes<std::uint8_t>(256, 3);
  for (const LutKernel& kernel : lut_kernels()) {
    CAPTURE(kernel.name);
    for (const std::size_t n : test::kAwkwardSizes) {
      const std::vector<std::uint8_t> in = test::random_codes<std::uint8_t>(n, 5);
      std::vector<std::uint8_t> expected(n);
      for (std::size_t i = 0; i < n; ++i) expected[i] = table[in[i]];
      test::Guarded<std::uint8_t> out(n);
      kernel.run(in.data(), out.data(), n, table.data());
      CHECK(out.values() == expected);
      CHECK(out.intact());
      std::vector<std::uint8_t> same = in;
      kernel.run(same.data(), same.data(), n, table.data());
      CHECK(same == expected);
    }
  }
}

TEST_CASE("lut: the same grid on both sides gives the identity") {
  CHECK(is_identity(requantize_table<std::uint8_t>({0.1F, 3}, {0.1F, 3})));
  CHECK(is_identity(requantize_table<std::int8_t>({0.03F, -7}, {0.03F, -7})));
  CHECK(!is_identity(requantize_table<std::uint8_t>({0.1F, 3}, {0.1F, 4})));
}

TEST_CASE("lut: a clamped table stays within its bounds") {
  const Table256 table =
      clamp_table<std::int8_t>(requantize_table<std::int8_t>({0.1F, 3}, {0.1F, 3}), -5, 60);
  CHECK(static_cast<std::int8_t>(table[static_cast<std::uint8_t>(-100)]) == -5);
  CHECK(static_cast<std::int8_t>(table[20]) == 20);
  CHECK(static_cast<std::int8_t>(table[100]) == 60);
}

template <class Code>
std::vector<Code> look_up(const Table256& table, const std::vector<Code>& codes) {
  std::vector<Code> out;
  for (const Code code : codes)
    out.push_back(static_cast<Code>(table[static_cast<std::uint8_t>(code)]));
  return out;
}

template <class Code>
void check_case(const test::GoldenGroup& group, const test::GoldenCase& c) {
  const auto grid = [&](const std::string& tensor) {
    return Grid{static_cast<float>(c.number(tensor + "_scale")),
                static_cast<std::int32_t>(c.integer(tensor + "_zp"))};
  };
  const std::string kind = c.str("kind");
  if (kind == "QLinearConcat") {
    const std::vector<Code> a =
        look_up(requantize_table<Code>(grid("a"), grid("y")), group.get<Code>(c, "a"));
    const std::vector<Code> b =
        look_up(requantize_table<Code>(grid("b"), grid("y")), group.get<Code>(c, "b"));
    std::vector<Code> both = a;  // one image, joined along the channels: one after the other
    both.insert(both.end(), b.begin(), b.end());
    CHECK(both == group.get<Code>(c, "y"));
    return;
  }
  const Unary op = kind == "QLinearSigmoid" ? Unary::kSigmoid : Unary::kLeakyRelu;
  const UnaryParams params{op == Unary::kLeakyRelu ? static_cast<float>(c.number("alpha")) : 0.0F,
                           0.0F};
  const Table256 table =
      build_table<Code>([&](float x) { return unary_value(op, x, params); }, grid("x"), grid("y"));
  CHECK(look_up(table, group.get<Code>(c, "x")) == group.get<Code>(c, "y"));
}

TEST_CASE("lut: tables give ONNX Runtime's QLinearSigmoid, QLinearLeakyRelu and QLinearConcat") {
  const test::GoldenGroup group = test::load_golden("onnx_ops");
  int checked = 0;
  for (const test::GoldenCase& c : group.cases) {
    const std::string kind = c.str("kind");
    if (kind != "QLinearSigmoid" && kind != "QLinearLeakyRelu" && kind != "QLinearConcat") continue;
    CAPTURE(c.name);
    if (c.tensors.at("y").dtype == "u8") {
      check_case<std::uint8_t>(group, c);
    } else {
      check_case<std::int8_t>(group, c);
    }
    ++checked;
  }
  CHECK(checked == 6);
}

}  // namespace
}  // namespace octavo::kernels
