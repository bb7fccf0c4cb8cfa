#include "kernels/quantize/quantize.h"

#include <doctest/doctest.h>

#include <limits>

#include "support/buffers.h"
#include "support/golden.h"

namespace octavo::kernels {
namespace {

using test::Guarded;
using test::random_codes;
using test::random_floats;

// Values of every kind: ordinary, ties, beyond the range, not finite.
std::vector<float> hard_floats(std::size_t n, float scale) {
  std::vector<float> values = random_floats(n, 7, -200 * scale, 200 * scale);
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> special = {0.0F,
                                      -0.0F,
                                      0.5F * scale,
                                      -0.5F * scale,
                                      1.5F * scale,
                                      2.5F * scale,
                                      1e30F,
                                      -1e30F,
                                      infinity,
                                      -infinity,
                                      std::numeric_limits<float>::quiet_NaN(),
                                      1e-40F};
  for (std::size_t i = 0; i < n; i += 3) values[i] = special[i / 3 % special.size()];
  return values;
}

template <class Code>
void rows_agree(QuantizeFn<Code> QuantizeKernel::*quantize) {
  for (const QuantizeKernel& kernel : quantize_kernels()) {
    CAPTURE(kernel.name);
    for (const std::size_t n : test::kAwkwardSizes) {
      for (const Grid grid : {Grid{0.1F, 3}, Grid{0.02F, 127}, Grid{3e-7F, 0}, Grid{1e-40F, 5}}) {
        const std::vector<float> in = hard_floats(n, grid.scale);
        Guarded<Code> out(n);
        std::vector<Code> expected(n);
        (kernel.*quantize)(in.data(), out.data(), n, grid);
        (quantize_kernels().front().*quantize)(in.data(), expected.data(), n, grid);
        CHECK(out.values() == expected);
        CHECK(out.intact());
      }
    }
  }
}

template <class Code>
void dequantize_rows_agree(DequantizeFn<Code> QuantizeKernel::*dequantize) {
  for (const QuantizeKernel& kernel : quantize_kernels()) {
    CAPTURE(kernel.name);
    for (const std::size_t n : test::kAwkwardSizes) {
      std::vector<Code> in = random_codes<Code>(n, 11);
      if constexpr (sizeof(Code) == 4) {
        for (std::size_t i = 0; i < n; ++i) in[i] = static_cast<Code>(in[i] * 31);
      }
      Guarded<float> out(n);
      std::vector<float> expected(n);
      const Grid grid{0.0173F, 7};
      (kernel.*dequantize)(in.data(), out.data(), n, grid);
      (quantize_kernels().front().*dequantize)(in.data(), expected.data(), n, grid);
      CHECK(test::same_bits(out.values(), expected));
      CHECK(out.intact());
    }
  }
}

TEST_CASE("quantize: every row equals the reference") {
  rows_agree<std::uint8_t>(&QuantizeKernel::quantize_u8);
  rows_agree<std::int8_t>(&QuantizeKernel::quantize_s8);
  rows_agree<std::uint8_t>(&QuantizeKernel::quantize_torch_u8);
  rows_agree<std::int8_t>(&QuantizeKernel::quantize_torch_s8);
}

TEST_CASE("dequantize: every row equals the reference") {
  dequantize_rows_agree<std::uint8_t>(&QuantizeKernel::dequantize_u8);
  dequantize_rows_agree<std::int8_t>(&QuantizeKernel::dequantize_s8);
  dequantize_rows_agree<std::int32_t>(&QuantizeKernel::dequantize_s32);
}

TEST_CASE("quantize: ONNX maps NaN to the lowest code and saturates infinities") {
  const float infinity = std::numeric_limits<float>::infinity();
  const Grid grid{0.1F, 10};
  CHECK(quantize_value<std::uint8_t>(std::numeric_limits<float>::quiet_NaN(), grid) == 0);
  CHECK(quantize_value<std::uint8_t>(infinity, grid) == 255);
  CHECK(quantize_value<std::int8_t>(-infinity, grid) == -128);
  CHECK(quantize_value<std::int8_t>(infinity, grid) == 127);
}

template <class Code>
void check_torch_case(const test::GoldenGroup& group, const test::GoldenCase& c,
                      const QuantizeKernel& kernel, QuantizeFn<Code> quantize) {
  const std::vector<float> x = group.get<float>(c, "x");
  const std::vector<Code> q = group.get<Code>(c, "q");
  std::vector<Code> codes(x.size());
  std::vector<float> reals(x.size());
  if (c.str("kind") == "per_channel") {
    const std::vector<std::int64_t>& shape = c.tensors.at("x").shape;
    const auto axis = static_cast<std::size_t>(c.integer("axis"));
    std::size_t outer = 1;
    std::size_t inner = 1;
    for (std::size_t d = 0; d < shape.size(); ++d) {
      if (d < axis) outer *= static_cast<std::size_t>(shape[d]);
      if (d > axis) inner *= static_cast<std::size_t>(shape[d]);
    }
    const std::vector<double> scales = group.get<double>(c, "scales");
    const std::vector<float> floats(scales.begin(), scales.end());
    const std::vector<std::int32_t> zeros = group.get<std::int32_t>(c, "zero_points");
    quantize_torch_per_channel<Code>(kernel, x.data(), codes.data(), outer, scales.size(), inner,
                                     floats, zeros);
    dequantize_torch_per_channel<Code>(codes.data(), reals.data(), outer, scales.size(), inner,
                                       scales, zeros);
  } else {
    const Grid grid{static_cast<float>(c.number("scale")),
                    static_cast<std::int32_t>(c.integer("zero_point"))};
    quantize(x.data(), codes.data(), x.size(), grid);
    kernel.dequantize<Code>()(codes.data(), reals.data(), x.size(), grid);
  }
  CHECK(codes == q);
  if (c.has("dq")) CHECK(test::same_bits(reals, group.get<float>(c, "dq")));
}

TEST_CASE("quantize: every row gives PyTorch's golden codes") {
  const test::GoldenGroup group = test::load_golden("quantize");
  REQUIRE(!group.cases.empty());
  for (const QuantizeKernel& kernel : quantize_kernels()) {
    for (const test::GoldenCase& c : group.cases) {
      CAPTURE(kernel.name);
      CAPTURE(c.name);
      const std::string dtype = c.tensors.at("q").dtype;
      if (dtype == "i32") {
        const Grid grid{static_cast<float>(c.number("scale")),
                        static_cast<std::int32_t>(c.integer("zero_point"))};
        std::vector<std::int32_t> codes;
        for (const float x : group.get<float>(c, "x"))
          codes.push_back(quantize_torch_value<std::int32_t>(x, grid));
        CHECK(codes == group.get<std::int32_t>(c, "q"));
        std::vector<float> reals(codes.size());
        kernel.dequantize_s32(codes.data(), reals.data(), codes.size(), grid);
        CHECK(test::same_bits(reals, group.get<float>(c, "dq")));
      } else if (dtype == "u8") {
        check_torch_case<std::uint8_t>(group, c, kernel, kernel.quantize_torch_u8);
      } else {
        check_torch_case<std::int8_t>(group, c, kernel, kernel.quantize_torch_s8);
      }
    }
  }
}

template <class Code>
void check_onnx_case(const test::GoldenGroup& group, const test::GoldenCase& c,
                     const QuantizeKernel& kernel) {
  const std::vector<float> x = group.get<float>(c, "x");
  std::vector<Code> codes(x.size());
  std::vector<float> reals(x.size());
  if (c.has("scales")) {
    const std::vector<std::int64_t>& shape = c.tensors.at("x").shape;
    const std::vector<float> scales = group.get<float>(c, "scales");
    const std::vector<Code> zeros = group.get<Code>(c, "zero_points");
    const std::vector<std::int32_t> zero_points(zeros.begin(), zeros.end());
    const auto outer = static_cast<std::size_t>(shape[0]);
    const std::size_t inner = x.size() / outer / scales.size();
    quantize_per_channel<Code>(kernel, x.data(), codes.data(), outer, scales.size(), inner, scales,
                               zero_points);
    dequantize_per_channel<Code>(kernel, codes.data(), reals.data(), outer, scales.size(), inner,
                                 scales, zero_points);
  } else {
    const Grid grid{static_cast<float>(c.number("scale")),
                    static_cast<std::int32_t>(c.integer("zero_point"))};
    kernel.quantize<Code>()(x.data(), codes.data(), x.size(), grid);
    kernel.dequantize<Code>()(codes.data(), reals.data(), x.size(), grid);
  }
  CHECK(codes == group.get<Code>(c, "y"));
  CHECK(test::same_bits(reals, group.get<float>(c, "dq")));
}

TEST_CASE("quantize: every row gives ONNX Runtime's golden codes") {
  const test::GoldenGroup group = test::load_golden("onnx_ops");
  int checked = 0;
  for (const QuantizeKernel& kernel : quantize_kernels()) {
    for (const test::GoldenCase& c : group.cases) {
      if (c.name.rfind("quantizelinear", 0) != 0) continue;
      CAPTURE(kernel.name);
      CAPTURE(c.name);
      if (c.tensors.at("y").dtype == "u8") {
        check_onnx_case<std::uint8_t>(group, c, kernel);
      } else {
        check_onnx_case<std::int8_t>(group, c, kernel);
      }
      ++checked;
    }
  }
  CHECK(checked == 11 * static_cast<int>(quantize_kernels().size()));
}

}  // namespace
}  // namespace octavo::kernels
