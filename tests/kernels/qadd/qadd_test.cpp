#include "kernels/qadd/qadd.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "support/buffers.h"
#include "support/golden.h"

namespace octavo::kernels {
namespace {

template <class Code>
void rows_agree(const QAddParams& params) {
  std::vector<Code> a;
  std::vector<Code> b;
  test::all_pairs(a, b);
  std::vector<Code> expected(a.size());
  qadd_kernels().front().run<Code>()(a.data(), b.data(), expected.data(), a.size(), params);
  for (const QAddKernel& kernel : qadd_kernels()) {
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

TEST_CASE("qadd: every row equals the reference for every pair of codes") {
  rows_agree<std::uint8_t>(make_qadd_params({0.021F, 120}, {0.034F, 90}, {0.05F, 111}, 0, 255));
  rows_agree<std::uint8_t>(make_qadd_params({0.3F, 255}, {0.0004F, 0}, {0.01F, 17}, 17, 200));
  rows_agree<std::int8_t>(make_qadd_params({0.021F, -8}, {0.034F, -38}, {0.05F, -17}, -17, 127));
  // Ratios so steep that sums leave the range of the rounding trick.
  rows_agree<std::uint8_t>(make_qadd_params({1.0F, 3}, {2.0F, 100}, {1e-6F, 50}, 0, 255));
  rows_agree<std::int8_t>(make_qsub_params({1e30F, 3}, {1e30F, 10}, {1e-30F, 50}, -128, 127));
}

TEST_CASE("qadd: every row equals the reference in units, for every pair of codes") {
  const auto agree = [](auto code, const QAddParams& params) {
    for (int attempt = 0; attempt < kUnitAttempts; ++attempt) {
      const std::optional<QAddParams> units = in_units(params, attempt);
      REQUIRE(units);
      CHECK(units->form == QAddForm::kUnits);
      rows_agree<decltype(code)>(*units);
    }
  };
  agree(std::uint8_t{}, make_qadd_params({0.021F, 120}, {0.034F, 90}, {0.05F, 111}, 0, 255));
  agree(std::uint8_t{}, make_qadd_params({0.3F, 255}, {0.0004F, 0}, {0.01F, 17}, 17, 200));
  agree(std::int8_t{}, make_qadd_params({0.021F, -8}, {0.034F, -38}, {0.05F, -17}, -17, 127));
  agree(std::int8_t{}, make_qsub_params({0.02F, 3}, {0.05F, 10}, {0.04F, 50}, -128, 127));
}

TEST_CASE("qadd: every row equals the reference with one rounding, for every pair of codes") {
  if (!rows_compute_fused_forms()) {
    MESSAGE("skipped: relaxed_madd of this machine rounds twice");
    return;
  }
  const auto agree = [](auto code, const QAddParams& params) {
    using Code = decltype(code);
    for (int attempt = 0; attempt < kOneRoundingAttempts; ++attempt) {
      const auto form = with_one_rounding(params, std::numeric_limits<Code>::min(), attempt);
      REQUIRE(form);
      rows_agree<Code>(*form);
    }
  };
  agree(std::uint8_t{}, make_qadd_params({0.021F, 120}, {0.034F, 90}, {0.05F, 111}, 0, 255));
  agree(std::uint8_t{}, make_qadd_params({0.3F, 255}, {0.0004F, 0}, {0.01F, 17}, 17, 200));
  agree(std::int8_t{}, make_qadd_params({0.021F, -8}, {0.034F, -38}, {0.05F, -17}, -17, 127));
  agree(std::int8_t{}, make_qsub_params({0.02F, 3}, {0.05F, 10}, {0.04F, 50}, -128, 127));
}

TEST_CASE("qadd: one rounding gives the sums' codes, ties to even") {
  if (!rows_compute_fused_forms()) {
    MESSAGE("skipped: relaxed_madd of this machine rounds twice");
    return;
  }
  const auto halves =
      with_one_rounding(make_qadd_params({0.5F, 0}, {0.5F, 0}, {1.0F, 0}, -128, 127), -128);
  REQUIRE(halves);
  const std::array<std::int8_t, 6> a{3, 4, -3, -4, -128, 127};
  const std::array<std::int8_t, 6> b{2, 3, -2, -3, -128, 127};
  for (const QAddKernel& kernel : qadd_kernels()) {
    CAPTURE(kernel.name);
    std::array<std::int8_t, 6> out{};
    kernel.s8(a.data(), b.data(), out.data(), 6, *halves);
    CHECK(out == std::array<std::int8_t, 6>{2, 4, -2, -4, -128, 127});
  }
  // Where no tie is near, whatever the scales are.
  const QAddParams any = make_qadd_params({0.021F, 120}, {0.034F, 90}, {0.05F, 111}, 0, 255);
  const auto form = with_one_rounding(any, 0);
  REQUIRE(form);
  for (int x = 0; x < 256; ++x) {
    for (int y = 0; y < 256; ++y) {
      const double sum = 111 + ((x - 120) * 0.021 + (y - 90) * 0.034) / 0.05;
      if (std::fabs(sum - std::floor(sum) - 0.5) < 1e-4) continue;
      const auto a_code = static_cast<std::uint8_t>(x);
      const auto b_code = static_cast<std::uint8_t>(y);
      std::uint8_t code = 0;
      qadd_kernels().front().u8(&a_code, &b_code, &code, 1, *form);
      const double expected = std::clamp(std::nearbyint(sum), 0.0, 255.0);
      REQUIRE(static_cast<double>(code) == expected);
    }
  }
}

TEST_CASE("qadd: every row equals the reference with fused products, for every pair of codes") {
  if (!rows_compute_fused_forms()) {
    MESSAGE("skipped: relaxed_madd of this machine rounds twice");
    return;
  }
  const auto agree = [](auto code, Grid a, Grid b, Grid out, std::int32_t lo, std::int32_t hi) {
    using Code = decltype(code);
    rows_agree<Code>(make_fused_qadd_params(a, b, out, lo, hi, std::numeric_limits<Code>::min()));
  };
  agree(std::uint8_t{}, {0.021F, 120}, {0.034F, 90}, {0.05F, 111}, 0, 255);
  agree(std::uint8_t{}, {0.3F, 255}, {0.0004F, 0}, {0.01F, 17}, 17, 200);
  agree(std::int8_t{}, {0.021F, -8}, {0.034F, -38}, {0.05F, -17}, -17, 127);
  // Ratios so steep that sums leave the range of the rounding trick.
  agree(std::uint8_t{}, {1.0F, 3}, {2.0F, 100}, {1e-6F, 50}, 0, 255);
  agree(std::int8_t{}, {1e30F, 3}, {-1e30F, 10}, {1e-30F, 50}, -128, 127);
  // A tie goes to the even code, counted from the lowest.
  const QAddParams halves =
      make_fused_qadd_params({0.5F, 0}, {0.5F, 0}, {1.0F, 0}, -128, 127, -128);
  const std::array<std::int8_t, 4> a{3, 5, -3, 127};
  const std::array<std::int8_t, 4> b{2, 2, -2, 127};
  std::array<std::int8_t, 4> out{};
  qadd_kernels().front().s8(a.data(), b.data(), out.data(), 4, halves);
  CHECK(out == std::array<std::int8_t, 4>{2, 4, -2, 127});
}

TEST_CASE("qadd: units keep the ratios") {
  for (const float a : {0.02F, 0.021F, 0.03F, 0.05F}) {
    const QAddParams params = make_qadd_params({a, 0}, {0.03F, 0}, {0.04F, 0}, 0, 255);
    for (int attempt = 0; attempt < kUnitAttempts; ++attempt) {
      const std::optional<QAddParams> units = in_units(params, attempt);
      REQUIRE(units);
      const double unit = units->unit;
      CHECK(unit * units->times_a == doctest::Approx(params.ratio_a).epsilon(1e-7));
      CHECK(unit * units->times_b == doctest::Approx(params.ratio_b).epsilon(1e-7));
    }
  }
  // The same sums, as no tie is near.
  const QAddParams params = make_qadd_params({0.5F, 10}, {0.25F, 20}, {1.0F, 100}, 0, 255);
  const std::optional<QAddParams> units = in_units(params);
  REQUIRE(units);
  const std::uint8_t a = 30;  // 10.0
  const std::uint8_t b = 36;  // 4.0
  std::uint8_t out = 0;
  qadd_kernels().front().u8(&a, &b, &out, 1, *units);
  CHECK(out == 114);
  // Sums that leave the range of the rounding trick have no such form, nor have infinities.
  CHECK_FALSE(in_units(make_qadd_params({1.0F, 3}, {2.0F, 100}, {1e-6F, 50}, 0, 255)));
  CHECK_FALSE(in_units(make_qsub_params({1e30F, 3}, {1e30F, 10}, {1e-30F, 50}, -128, 127)));
  CHECK_FALSE(in_units(make_qadd_params({1.0F, 3}, {1.0F, 10}, {1e-45F, 50}, 0, 255)));
  CHECK_FALSE(in_units(make_qadd_params({1e-45F, 3}, {1e-45F, 10}, {1e30F, 50}, 0, 255)));
}

TEST_CASE("qadd: a difference is the sum with the second scale negated") {
  const QAddParams params = make_qsub_params({0.5F, 10}, {0.25F, 20}, {1.0F, 100}, 0, 255);
  const std::uint8_t a = 30;  // 10.0
  const std::uint8_t b = 36;  // 4.0
  std::uint8_t out = 0;
  qadd_kernels().front().u8(&a, &b, &out, 1, params);
  CHECK(out == 106);
}

template <class Code>
void check_case(const test::GoldenGroup& group, const test::GoldenCase& c) {
  const auto grid = [&](const char* scale, const char* zero) {
    return Grid{static_cast<float>(c.number(scale)), static_cast<std::int32_t>(c.integer(zero))};
  };
  const QAddParams params =
      make_qadd_params(grid("a_scale", "a_zp"), grid("b_scale", "b_zp"), grid("y_scale", "y_zp"),
                       std::numeric_limits<Code>::min(), std::numeric_limits<Code>::max());
  const std::vector<Code> a = group.get<Code>(c, "a");
  const std::vector<Code> b = group.get<Code>(c, "b");
  for (const QAddKernel& kernel : qadd_kernels()) {
    CAPTURE(kernel.name);
    std::vector<Code> out(a.size());
    kernel.run<Code>()(a.data(), b.data(), out.data(), a.size(), params);
    CHECK(out == group.get<Code>(c, "y"));
  }
}

TEST_CASE("qadd: every row gives ONNX Runtime's QLinearAdd") {
  const test::GoldenGroup group = test::load_golden("onnx_ops");
  int checked = 0;
  for (const test::GoldenCase& c : group.cases) {
    if (c.str("kind") != "QLinearAdd") continue;
    CAPTURE(c.name);
    if (c.tensors.at("y").dtype == "u8") {
      check_case<std::uint8_t>(group, c);
    } else {
      check_case<std::int8_t>(group, c);
    }
    ++checked;
  }
  CHECK(checked == 4);
}

}  // namespace
}  // namespace octavo::kernels
