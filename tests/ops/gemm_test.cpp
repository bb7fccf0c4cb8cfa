// Gemm and MatMul on floats and on codes against plain loops, and against ONNX Runtime's
// QLinearMatMul.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "support/buffers.h"
#include "support/golden.h"
#include "support/op_runner.h"

namespace octavo::test {
namespace {

std::vector<kernels::Policy> policies() {
  std::vector<kernels::Policy> list{{simd::EngineClass::kNone, simd::Level::kScalar},
                                    {simd::EngineClass::kNone, simd::Level::kSimd128}};
  list.push_back({simd::probe_engine_class(), simd::Level::kBest});
  if (simd::probe_engine_class() == simd::EngineClass::kNone) {  // natively: models
    list.push_back({simd::EngineClass::kUsdot, simd::Level::kBest});
    list.push_back({simd::EngineClass::kSdot, simd::Level::kBest});
  }
  return list;
}

Tensor floats(Shape shape, std::uint32_t seed) {
  const auto n = static_cast<std::size_t>(shape.elements());
  return Tensor::of(std::move(shape), random_floats(n, seed, -1.0F, 1.0F));
}

// out[m][n] = sum of a(m, k) * b(k, n), as doubles.
template <class A, class B>
std::vector<double> product(std::int64_t m, std::int64_t n, std::int64_t k, A a, B b) {
  std::vector<double> out;
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (std::int64_t d = 0; d < k; ++d)
        sum += static_cast<double>(a(i, d)) * static_cast<double>(b(d, j));
      out.push_back(sum);
    }
  }
  return out;
}

void check_close(const Tensor& y, const std::vector<double>& expected) {
  REQUIRE(y.elements() == std::ssize(expected));
  int wrong = 0;
  for (std::size_t i = 0; i < expected.size(); ++i)
    wrong += std::abs(static_cast<double>(y.span<float>()[i]) - expected[i]) > 1e-4 ? 1 : 0;
  CHECK(wrong == 0);
}

TEST_CASE("Gemm is alpha * A * B + beta * C with every transposition and every C") {
  constexpr std::int64_t kM = 70, kN = 11, kK = 19;
  for (const bool ta : {false, true}) {
    for (const bool tb : {false, true}) {
      for (const bool constant_b : {true, false}) {
        for (const Shape& c_shape :
             {Shape{kN}, Shape{1, kN}, Shape{kM, 1}, Shape{kM, kN}, Shape{1}, Shape{}}) {
          for (const bool constant_c : {true, false}) {
            CAPTURE(ta);
            CAPTURE(tb);
            CAPTURE(constant_b);
            CAPTURE(c_shape.to_string());
            CAPTURE(constant_c);
            const Tensor a = floats(ta ? Shape{kK, kM} : Shape{kM, kK}, 1);
            const Tensor b = floats(tb ? Shape{kN, kK} : Shape{kK, kN}, 2);
            const Tensor c = floats(c_shape, 3);
            std::vector<double> expected = product(
                kM, kN, kK,
                [&](std::int64_t i, std::int64_t k) {
                  return a.span<float>()[static_cast<std::size_t>(ta ? k * kM + i : i * kK + k)];
                },
                [&](std::int64_t k, std::int64_t j) {
                  return b.span<float>()[static_cast<std::size_t>(tb ? j * kK + k : k * kN + j)];
                });
            for (std::int64_t i = 0; i < kM; ++i) {
              for (std::int64_t j = 0; j < kN; ++j) {
                const std::int64_t row = c_shape.rank() == 2 && c_shape[0] == kM ? i : 0;
                const std::int64_t columns = c_shape.rank() == 0 ? 1 : c_shape[c_shape.rank() - 1];
                double& y = expected[static_cast<std::size_t>(i * kN + j)];
                y = 1.5 * y + 0.5 * static_cast<double>(c.span<float>()[static_cast<std::size_t>(
                                        row * columns + (columns == 1 ? 0 : j))]);
                y = std::clamp(y, -2.0, 3.0);
              }
            }
            const Node node = make_node("Gemm", {{"transA", std::int64_t{ta}},
                                                 {"transB", std::int64_t{tb}},
                                                 {"alpha", 1.5F},
                                                 {"beta", 0.5F},
                                                 {"octavo_activation", std::string("Clip")},
                                                 {"octavo_min", -2.0F},
                                                 {"octavo_max", 3.0F}});
            for (const kernels::Policy& policy : policies()) {
              const auto out =
                  run_op(node, {Operand{a}, Operand{b, constant_b}, Operand{c, constant_c}},
                         {.policy = policy});
              REQUIRE_MESSAGE(out.ok(), (out.ok() ? "" : out.error().message()));
              CHECK((*out)[0].shape() == Shape{kM, kN});
              check_close((*out)[0], expected);
            }
          }
        }
      }
    }
  }
}

TEST_CASE("MatMul multiplies the last two axes and broadcasts the others") {
  struct Row {
    Shape a, b, out;
  };
  for (const Row& row :
       {Row{{5, 7}, {7, 9}, {5, 9}}, Row{{2, 3, 5, 7}, {7, 9}, {2, 3, 5, 9}},
        Row{{3, 5, 7}, {3, 7, 9}, {3, 5, 9}}, Row{{2, 1, 5, 7}, {3, 7, 9}, {2, 3, 5, 9}},
        Row{{7}, {7, 9}, {9}}, Row{{5, 7}, {7}, {5}}, Row{{7}, {7}, {}},
        Row{{2, 5, 7}, {7}, {2, 5}}, Row{{7}, {2, 7, 9}, {2, 9}}, Row{{0, 7}, {7, 9}, {0, 9}},
        Row{{3, 0}, {0, 4}, {3, 4}}}) {
    CAPTURE(row.a.to_string());
    CAPTURE(row.b.to_string());
    const Tensor a = floats(row.a, 4);
    const Tensor b = floats(row.b, 5);
    Shape a2 = row.a.rank() == 1 ? Shape{1, row.a[0]} : row.a;
    Shape b2 = row.b.rank() == 1 ? Shape{row.b[0], 1} : row.b;
    const std::int64_t m = a2[a2.rank() - 2];
    const std::int64_t k = a2[a2.rank() - 1];
    const std::int64_t n = b2[b2.rank() - 1];
    Shape batch(std::vector<std::int64_t>(row.out.begin(), row.out.end()));
    batch.dims().resize(static_cast<std::size_t>(std::max(a2.rank(), b2.rank()) - 2));
    std::vector<double> expected;
    each_index(batch, [&](const std::vector<std::int64_t>& index) {
      const auto start = [&](const Shape& of) {  // of this batch's matrix, counted in matrices
        std::int64_t at = 0;
        for (int d = 0; d < of.rank() - 2; ++d)
          at = at * of[d] +
               (of[d] == 1 ? 0
                           : index[static_cast<std::size_t>(d + batch.rank() - (of.rank() - 2))]);
        return at;
      };
      const auto part = product(
          m, n, k,
          [&](std::int64_t i, std::int64_t d) {
            return a.span<float>()[static_cast<std::size_t>((start(a2) * m + i) * k + d)];
          },
          [&](std::int64_t d, std::int64_t j) {
            return b.span<float>()[static_cast<std::size_t>((start(b2) * k + d) * n + j)];
          });
      expected.insert(expected.end(), part.begin(), part.end());
    });
    for (const bool constant_b : {true, false}) {
      const auto out = run_op(make_node("MatMul"), {Operand{a}, Operand{b, constant_b}});
      REQUIRE_MESSAGE(out.ok(), (out.ok() ? "" : out.error().message()));
      CHECK((*out)[0].shape() == row.out);
      check_close((*out)[0], expected);
    }
  }
}

template <class Code>
void check_codes(bool gemm, std::int64_t m, std::int64_t n, std::int64_t k, bool uint8_weights) {
  CAPTURE(m);
  CAPTURE(n);
  CAPTURE(k);
  const QuantParams x_grid = QuantParams::per_tensor(0.02F, std::is_signed_v<Code> ? -5 : 120);
  const QuantParams y_grid = QuantParams::per_tensor(0.04F, std::is_signed_v<Code> ? 7 : 99);
  const auto count = static_cast<std::size_t>(n);
  QuantParams w_grid{random_floats(count, 6, 0.003F, 0.02F), std::vector<std::int32_t>(count, 0),
                     gemm ? 0 : 1};
  if (uint8_weights) {
    for (std::size_t i = 0; i < count; ++i)
      w_grid.zero_point[i] = static_cast<std::int32_t>(i * 37 % 256);
  }
  const Tensor x = Tensor::of(Shape{m, k}, random_codes<Code>(static_cast<std::size_t>(m * k), 7));
  const Shape w_shape = gemm ? Shape{n, k} : Shape{k, n};
  const auto weights = static_cast<std::size_t>(n * k);
  const Tensor w = uint8_weights ? Tensor::of(w_shape, random_codes<std::uint8_t>(weights, 8))
                                 : Tensor::of(w_shape, random_codes<std::int8_t>(weights, 8));
  const std::vector<std::int64_t> codes = to_int64s(w);
  Random random(9);
  std::vector<std::int32_t> bias(count);
  for (std::int32_t& b : bias) b = random.range(-3000, 3000);
  std::vector<Code> expected;
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      const auto column = static_cast<std::size_t>(j);
      std::int64_t acc = gemm ? bias[column] : 0;
      for (std::int64_t d = 0; d < k; ++d) {
        acc += (x.span<Code>()[static_cast<std::size_t>(i * k + d)] - x_grid.zero_point[0]) *
               (codes[static_cast<std::size_t>(gemm ? j * k + d : d * n + j)] -
                w_grid.zero_point[column]);
      }
      const float alpha = gemm ? 0.5F : 1.0F;
      const float scale = alpha * x_grid.scale[0] * w_grid.scale[column] / y_grid.scale[0];
      const double code = std::nearbyint(static_cast<double>(static_cast<float>(acc) * scale)) +
                          y_grid.zero_point[0];
      expected.push_back(
          static_cast<Code>(std::clamp(code, static_cast<double>(std::numeric_limits<Code>::min()),
                                       static_cast<double>(std::numeric_limits<Code>::max()))));
    }
  }
  Operand weight = constant(w);
  weight.quant = w_grid;
  const Node node = gemm ? make_node("Gemm", {{"transB", std::int64_t{1}}, {"alpha", 0.5F}})
                         : make_node("MatMul");
  std::vector<std::optional<Operand>> operands{Operand{x, false, x_grid}, weight};
  if (gemm) operands.emplace_back(constant(Tensor::of(Shape{n}, bias)));
  for (const kernels::Policy& policy : policies()) {
    CAPTURE(simd::level_name(policy.level));
    const auto out = run_op(node, operands, {.out_quant = y_grid, .policy = policy});
    REQUIRE_MESSAGE(out.ok(), (out.ok() ? "" : out.error().message()));
    CHECK(same((*out)[0], Tensor::of(Shape{m, n}, expected)));
  }
}

TEST_CASE("Gemm and MatMul on codes are exact, whatever the zero points of the weight") {
  for (const bool gemm : {true, false}) {
    for (const bool uint8_weights : {false, true}) {
      for (const std::int64_t m : {1, 6, 65, 130}) {
        check_codes<std::uint8_t>(gemm, m, 17, 33, uint8_weights);
        check_codes<std::int8_t>(gemm, m, 9, 64, uint8_weights);
      }
      check_codes<std::uint8_t>(gemm, 3, 1, 1, uint8_weights);
    }
  }
}

TEST_CASE("MatMul on codes gives ONNX Runtime's QLinearMatMul") {
  const GoldenGroup group = load_golden("onnx_ops");
  int checked = 0;
  for (const GoldenCase& c : group.cases) {
    if (c.str("kind") != "QLinearMatMul") continue;
    CAPTURE(c.name);
    const auto grid = [&](const std::string& of) {
      return QuantParams::per_tensor(static_cast<float>(c.number(of + "_scale")),
                                     static_cast<std::int32_t>(c.integer(of + "_zp")));
    };
    Operand b =
        constant(Tensor::of(Shape(c.tensors.at("b").shape), group.get<std::int8_t>(c, "b")));
    b.quant = grid("b");
    const Operand a{Tensor::of(Shape(c.tensors.at("a").shape), group.get<std::uint8_t>(c, "a")),
                    false, grid("a")};
    for (const kernels::Policy& policy : policies()) {
      const auto out =
          run_op(make_node("MatMul"), {a, b}, {.out_quant = grid("y"), .policy = policy});
      REQUIRE_MESSAGE(out.ok(), (out.ok() ? "" : out.error().message()));
      CHECK(same((*out)[0],
                 Tensor::of(Shape(c.tensors.at("y").shape), group.get<std::uint8_t>(c, "y"))));
    }
    ++checked;
  }
  CHECK(checked == 2);
}

TEST_CASE("products refuse what does not fit or has no integer form") {
  const auto code_of = [](const std::string& op,
                          const std::vector<std::optional<Operand>>& operands,
                          std::vector<std::pair<std::string, Attr>> attrs = {}) {
    const auto out = run_op(make_node(op, std::move(attrs)), operands,
                            {.out_quant = QuantParams::per_tensor(0.1F, 0)});
    REQUIRE_FALSE(out.ok());
    return out.error().code;
  };
  const auto f = [](Shape shape) {
    return Operand{Tensor::make(DType::kFloat32, std::move(shape))};
  };
  CHECK(code_of("Gemm", {f({3, 4}), f({5, 6})}) == Code::kShapeMismatch);
  CHECK(code_of("Gemm", {f({1, 3, 4}), f({4, 6})}) == Code::kShapeMismatch);
  CHECK(code_of("Gemm", {f({3, 4}), f({4, 6}), f({5})}) == Code::kShapeMismatch);
  CHECK(code_of("Gemm", {f({3, 4}), f({4, 6}), f({2, 3, 6})}) == Code::kShapeMismatch);
  CHECK(code_of("MatMul", {f({3, 4}), f({5, 6})}) == Code::kShapeMismatch);
  CHECK(code_of("MatMul", {f({}), f({5, 6})}) == Code::kShapeMismatch);
  CHECK(code_of("MatMul", {f({2, 3, 4}), f({3, 4, 5})}) == Code::kShapeMismatch);
  CHECK(code_of("MatMul", {f({3, 4}), Operand{Tensor::make(DType::kInt32, {4, 5})}}) ==
        Code::kUnsupportedDtype);
  const Operand codes{Tensor::make(DType::kUint8, {3, 4}), false, QuantParams::per_tensor(0.1F, 0)};
  Operand weight = constant(Tensor::make(DType::kInt8, {4, 5}));
  weight.quant = QuantParams::per_tensor(0.1F, 0);
  CHECK(code_of("MatMul", {codes, codes}) == Code::kShapeMismatch);
  CHECK(code_of("Gemm", {codes, codes}, {{"transB", std::int64_t{1}}}) ==
        Code::kUnsupportedAttribute);  // computed
  CHECK(code_of("Gemm", {Operand{Tensor::make(DType::kUint8, {4, 3}), false, codes.quant}, weight},
                {{"transA", std::int64_t{1}}}) == Code::kUnsupportedAttribute);
  CHECK(code_of("Gemm", {codes, weight, constant(Tensor::make(DType::kInt32, {5}))},
                {{"beta", 2.0F}}) == Code::kUnsupportedAttribute);
  CHECK(code_of("Gemm", {codes, weight, constant(Tensor::make(DType::kFloat32, {5}))}) ==
        Code::kUnsupportedDtype);
}

}  // namespace
}  // namespace octavo::test
