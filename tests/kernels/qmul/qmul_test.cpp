#include "kernels/qmul/qmul.h"

#include <doctest/doctest.h>

#include "support/buffers.h"
#include "support/golden.h"

namespace octavo::kernels {
namespace {

template <class Code>
void rows_agree(const QMulParams& params) {
  std::vector<Code> a;
  std::vector<Code> b;
  test::all_pairs(a, b);
  std::vector<Code> expected(a.size());
  qmul_kernels().front().run<Code>()(a.data(), b.data(), expected.data(), a.size(), params);
  for (const QMulKernel& kernel : qmul_kernels()) {
    CAPTURE(kernel.name);
    std::vector<Code> out(a.size());
    kernel.run<Code>()(a.data(), b.data(), out.data(), a.size(), params);
    CHECK(out == expected);
    for (const std::size_t n : test::kAwkwardSizes) {
      test::Guarded<Code> part(n);
      kernel.run<Code>()(a.data() + 1000, b.data() + 1000, part.data(), n, params);
      CHECK(part.values() == std::vector<Code>(expected.begin() + 1000,
                                               expected.begin() + 1000 + static_cast<int>(n)));
      CHECK(part.intact());
    }
    // In place.
    std::vector<Code> same = b;
    kernel.run<Code>()(a.data(), same.data(), same.data(), a.size(), params);
    CHECK(same == expected);
  }
}

TEST_CASE("qmul: every row equals the reference for every pair of codes") {
  rows_agree<std::uint8_t>(make_qmul_params({0.021F, 120}, {0.034F, 90}, {0.09F, 111}, 0, 255));
  rows_agree<std::uint8_t>(make_qmul_params({0.3F, 255}, {0.04F, 0}, {1.5F, 17}, 17, 200));
  rows_agree<std::int8_t>(make_qmul_params({0.021F, -8}, {0.034F, -38}, {0.09F, -17}, -17, 127));
  // A ratio so steep that products leave the range of the rounding trick.
  rows_agree<std::uint8_t>(make_qmul_params({100.0F, 3}, {2.0F, 100}, {0.1F, 50}, 0, 255));
  rows_agree<std::int8_t>(make_qmul_params({1e20F, 3}, {1e20F, 10}, {1e-20F, 50}, -128, 127));
  QMulParams moved = make_qmul_params({0.021F, 120}, {0.034F, 90}, {0.09F, 111}, 5, 250);
  moved.moved = 128;
  rows_agree<std::uint8_t>(moved);
}

// The codes of one byte form in the other one.
template <class To, class From>
std::vector<To> in_form(const std::vector<From>& codes) {
  constexpr int kShift = std::numeric_limits<To>::min() - std::numeric_limits<From>::min();
  std::vector<To> out;
  for (const From code : codes) out.push_back(static_cast<To>(code + kShift));
  return out;
}

// In the file's byte form, and in another that a session may take.
template <class Code, class Form>
void check_case(const test::GoldenGroup& group, const test::GoldenCase& c) {
  const auto grid = [&](const char* scale, const char* zero) {
    return Grid{static_cast<float>(c.number(scale)), static_cast<std::int32_t>(c.integer(zero))};
  };
  constexpr int kShift = std::numeric_limits<Form>::min() - std::numeric_limits<Code>::min();
  const auto moved = [](Grid from) { return Grid{from.scale, from.zero_point + kShift}; };
  QMulParams params =
      make_qmul_params(moved(grid("a_scale", "a_zp")), moved(grid("b_scale", "b_zp")),
                       moved(grid("y_scale", "y_zp")), std::numeric_limits<Form>::min(),
                       std::numeric_limits<Form>::max());
  params.moved = kShift;
  const std::vector<Form> a = in_form<Form>(group.get<Code>(c, "a"));
  const std::vector<Form> b = in_form<Form>(group.get<Code>(c, "b"));
  for (const QMulKernel& kernel : qmul_kernels()) {
    CAPTURE(kernel.name);
    std::vector<Form> out(a.size());
    kernel.run<Form>()(a.data(), b.data(), out.data(), a.size(), params);
    CHECK(out == in_form<Form>(group.get<Code>(c, "y")));
  }
}

TEST_CASE("qmul: every row gives ONNX Runtime's QLinearMul") {
  const test::GoldenGroup group = test::load_golden("onnx_ops");
  int checked = 0;
  for (const test::GoldenCase& c : group.cases) {
    if (c.str("kind") != "QLinearMul") continue;
    CAPTURE(c.name);
    if (c.tensors.at("y").dtype == "u8") {
      check_case<std::uint8_t, std::uint8_t>(group, c);
      check_case<std::uint8_t, std::int8_t>(group, c);
    } else {
      check_case<std::int8_t, std::int8_t>(group, c);
      check_case<std::int8_t, std::uint8_t>(group, c);
    }
    ++checked;
  }
  CHECK(checked == 4);
}

}  // namespace
}  // namespace octavo::kernels
