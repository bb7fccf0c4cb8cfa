// ConvInteger and MatMulInteger on the int8 kernels give what the plain loop gives, which is the
// specification.
#include <doctest/doctest.h>

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "ops/op.h"
#include "simd/engine_class.h"
#include "support/op_runner.h"
#include "support/take.h"

namespace octavo {
namespace {

using test::constant;
using test::Operand;
using test::OpRun;
using test::run_op;
using test::take;

using Ints = std::vector<std::int64_t>;

Tensor codes(DType dtype, Shape shape, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_int_distribution<int> byte(0, 255);
  Tensor tensor = Tensor::make(dtype, std::move(shape));
  for (std::size_t i = 0; i < tensor.bytes(); ++i)
    tensor.mutable_data()[i] = static_cast<std::byte>(byte(random));
  return tensor;
}

std::vector<kernels::Policy> policies() {
  using simd::EngineClass;
  std::vector<kernels::Policy> list{{EngineClass::kNone, simd::Level::kScalar},
                                    {EngineClass::kNone, simd::Level::kSimd128},
                                    {simd::probe_engine_class(), simd::Level::kBest}};
  if (simd::probe_engine_class() == EngineClass::kNone) {  // natively: models
    for (const EngineClass engine :
         {EngineClass::kUsdot, EngineClass::kSdot, EngineClass::kMaddubs})
      list.push_back({engine, simd::Level::kBest});
  }
  return list;
}

// Constant weights and zero points of them take the kernels, those that are fed the plain loop.
void check(const Node& node, const Tensor& x, const Tensor& w, const std::optional<Tensor>& zero_x,
           const std::optional<Tensor>& zero_w, std::string_view plain, Layout layout) {
  const auto fed = [](const std::optional<Tensor>& tensor) {
    return tensor ? std::optional(Operand{*tensor}) : std::nullopt;
  };
  const auto fixed = [](const std::optional<Tensor>& tensor) {
    return tensor ? std::optional(constant(*tensor)) : std::nullopt;
  };
  std::string kernel;
  OpRun how;
  how.kernel = &kernel;
  const Tensor expected = take(run_op(node, {fed(x), fed(w), fed(zero_x), fed(zero_w)}, how))[0];
  CHECK(kernel == plain);
  how.layout = layout;
  for (const kernels::Policy& policy : policies()) {
    how.policy = policy;
    CAPTURE(simd::engine_class_name(policy.engine));
    for (const bool known : {false, true}) {
      const auto zero = known ? fixed(zero_x) : fed(zero_x);
      const Tensor y = take(run_op(node, {fed(x), fixed(w), zero, fixed(zero_w)}, how))[0];
      CHECK(kernel != plain);
      REQUIRE(y.shape() == expected.shape());
      CHECK(to_int64s(y) == to_int64s(expected));
    }
  }
}

TEST_CASE("ConvInteger on kernels equals the plain loop, whatever the window and the zero points") {
  struct Case {
    Shape x, w;
    Ints strides, pads, dilations;
    std::int64_t group;
  };
  const std::vector<Case> cases{
      {{2, 3, 7, 6}, {8, 3, 3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}, 1},
      {{1, 16, 9, 10}, {17, 16, 3, 3}, {1, 1}, {1, 0, 2, 1}, {1, 1}, 1},
      {{1, 4, 6, 6}, {8, 2, 3, 2}, {2, 1}, {2, 1, 0, 3}, {1, 2}, 2},
      {{1, 6, 5, 5}, {6, 1, 3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}, 6},
      {{1, 40, 3, 3}, {5, 40, 1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}, 1},
      {{1, 2, 2, 2}, {3, 2, 5, 5}, {1, 1}, {4, 4, 4, 4}, {1, 1}, 1},
      {{2, 3, 9}, {4, 3, 3}, {2}, {1, 1}, {1}, 1},
  };
  unsigned seed = 1;
  for (const Case& c : cases) {
    for (const DType data : {DType::kUint8, DType::kInt8}) {
      for (const DType weight : {DType::kUint8, DType::kInt8}) {
        CAPTURE(c.x.to_string());
        CAPTURE(c.w.to_string());
        ++seed;
        Node node;
        node.op = "ConvInteger";
        node.attrs.set("strides", c.strides);
        node.attrs.set("pads", c.pads);
        node.attrs.set("dilations", c.dilations);
        node.attrs.set("group", c.group);
        const Tensor x = codes(data, c.x, seed);
        const Tensor w = codes(weight, c.w, seed + 100);
        const Tensor zero_x = codes(data, {}, seed + 200);
        check(node, x, w, zero_x, codes(weight, {c.w[0]}, seed + 300), "conv/integer",
              Layout::kChannelsLast);
        check(node, x, w, zero_x, std::nullopt, "conv/integer", Layout::kChannelsLast);
        check(node, x, w, std::nullopt, codes(weight, {}, seed), "conv/integer",
              Layout::kChannelsLast);
      }
    }
  }
}

TEST_CASE("MatMulInteger on kernels equals the plain loop, whatever the zero points") {
  unsigned seed = 7;
  Node node;
  node.op = "MatMulInteger";
  for (const Shape& a : {Shape{5, 37}, Shape{2, 3, 16}, Shape{1, 1}, Shape{3, 200}}) {
    for (const DType data : {DType::kUint8, DType::kInt8}) {
      for (const DType weight : {DType::kUint8, DType::kInt8}) {
        for (const std::int64_t n : {1, 8, 19}) {
          CAPTURE(a.to_string());
          CAPTURE(n);
          ++seed;
          const std::int64_t k = a[a.rank() - 1];
          const Tensor x = codes(data, a, seed);
          const Tensor w = codes(weight, {k, n}, seed + 100);
          check(node, x, w, codes(data, {a[a.rank() - 2]}, seed), codes(weight, {n}, seed + 1),
                "matmul/integer", Layout::kRowMajor);
          check(node, x, w, codes(data, {}, seed), std::nullopt, "matmul/integer",
                Layout::kRowMajor);
          check(node, x, w, std::nullopt, std::nullopt, "matmul/integer", Layout::kRowMajor);
        }
      }
    }
  }
}

}  // namespace
}  // namespace octavo
