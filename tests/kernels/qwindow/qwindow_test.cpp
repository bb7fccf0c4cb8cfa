#include "kernels/qwindow/qwindow.h"

#include <doctest/doctest.h>

#include <cmath>

#include "support/buffers.h"

namespace octavo::kernels {
namespace {

constexpr std::int32_t kHeight = 5, kWidth = 4;
const std::vector<WindowSpan> kRows{{0, 2}, {1, 5}, {4, 5}};
const std::vector<WindowSpan> kColumns{{0, 1}, {0, 4}};

std::vector<float> factors_of(bool divide) {
  std::vector<float> factors;
  for (const WindowSpan& r : kRows) {
    for (const WindowSpan& c : kColumns) {
      const auto n = static_cast<float>((r.last - r.first) * (c.last - c.first));
      factors.push_back(divide ? n : 1.0F / n);
    }
  }
  return factors;
}

template <class Code>
std::vector<Code> run(QWindowFn<Code> fn, const std::vector<Code>& in, std::size_t channels,
                      const QWindowParams& params) {
  const std::vector<float> factors = factors_of(params.divide);
  test::Guarded<Code> out(kRows.size() * kColumns.size() * channels);
  fn(in.data(), out.data(),
     {kWidth, static_cast<std::int64_t>(channels), kRows, kColumns, factors.data()}, params);
  CHECK(out.intact());
  return out.values();
}

TEST_CASE("qwindow: every row equals the reference") {
  for (const QWindowKernel& kernel : qwindow_kernels()) {
    CAPTURE(kernel.name);
    for (const std::size_t channels : test::kAwkwardSizes) {
      for (const QWindowParams& p :
           {QWindowParams{100, 0, 100, false, 0, 255}, QWindowParams{100, 100, 0, false, 0, 255},
            QWindowParams{0, 0, 0, true, 30, 200}}) {
        const auto in = test::random_codes<std::uint8_t>(kHeight * kWidth * channels, 3);
        CHECK(run(kernel.u8, in, channels, p) ==
              run(qwindow_kernels().front().u8, in, channels, p));
      }
      const QWindowParams p{-9, 0, -9, false, -128, 127};
      const auto in = test::random_codes<std::int8_t>(kHeight * kWidth * channels, 4);
      CHECK(run(kernel.s8, in, channels, p) == run(qwindow_kernels().front().s8, in, channels, p));
    }
  }
}

TEST_CASE("qwindow: the zero point added before or after rounding decides ties") {
  std::vector<std::uint8_t> in(kHeight * kWidth, 0);
  in[0] = 1;  // rows 0..2, column 0: sum 1 of 2 pixels
  const auto at = [&](const QWindowParams& p) {
    return run(qwindow_kernels().front().u8, in, 1, p)[0];
  };
  CHECK(at({0, 0, 1, false, 0, 255}) == 1);  // rint(0.5) + 1
  CHECK(at({0, 1, 0, false, 0, 255}) == 2);  // rint(1.5)
  CHECK(at({0, 0, 0, true, 0, 255}) == 0);
}

}  // namespace
}  // namespace octavo::kernels
