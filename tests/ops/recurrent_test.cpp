// LSTM, GRU and RNN: what onnxruntime-node cannot show (tools/operator-cases.mjs has the rest).
#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "support/op_runner.h"
#include "support/take.h"

namespace octavo {
namespace {

using test::Operand;
using test::OpRun;
using test::run_op;
using test::take;

Tensor noise(Shape shape, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-1, 1);
  Tensor tensor = Tensor::make(DType::kFloat32, std::move(shape));
  for (float& value : tensor.mutable_span<float>()) value = uniform(random);
  return tensor;
}

// Axes 0 and 1 swapped.
Tensor swapped(const Tensor& tensor) {
  const Shape& shape = tensor.shape();
  std::vector<std::int64_t> dims = shape.dims();
  std::swap(dims[0], dims[1]);
  Tensor out = Tensor::make(DType::kFloat32, Shape(dims));
  const std::int64_t inner = shape.elements() / (shape[0] * shape[1]);
  for (std::int64_t i = 0; i < shape[0]; ++i) {
    for (std::int64_t j = 0; j < shape[1]; ++j) {
      for (std::int64_t k = 0; k < inner; ++k) {
        out.mutable_span<float>()[static_cast<std::size_t>((j * shape[0] + i) * inner + k)] =
            tensor.span<float>()[static_cast<std::size_t>((i * shape[1] + j) * inner + k)];
      }
    }
  }
  return out;
}

TEST_CASE("recurrent operators give the same with the batch as the first axis") {
  for (const auto& [op, gates, states] :
       {std::tuple{"LSTM", 4, 2}, std::tuple{"GRU", 3, 1}, std::tuple{"RNN", 1, 1}}) {
    CAPTURE(op);
    Node node;
    node.op = op;
    node.attrs.set("direction", std::string("bidirectional"));
    const Tensor x = noise({6, 3, 5}, 1);
    std::vector<std::optional<Operand>> in{Operand{x}, Operand{noise({2, gates * 4, 5}, 2)},
                                           Operand{noise({2, gates * 4, 4}, 3)},
                                           Operand{noise({2, 8 * gates}, 4)}, std::nullopt};
    std::vector<Tensor> starts;
    for (int i = 0; i < states; ++i)
      starts.push_back(noise({2, 3, 4}, 5 + static_cast<unsigned>(i)));
    for (const Tensor& start : starts) in.emplace_back(Operand{start});
    OpRun how;
    how.outputs = static_cast<std::size_t>(states) + 1;
    const std::vector<Tensor> plain = take(run_op(node, in, how));
    node.attrs.set("layout", std::int64_t{1});
    in[0] = Operand{swapped(x)};
    for (std::size_t i = 0; i < starts.size(); ++i) in[5 + i] = Operand{swapped(starts[i])};
    const std::vector<Tensor> batch_first = take(run_op(node, in, how));
    // Y is [sequence, directions, batch, units] and [batch, sequence, directions, units].
    REQUIRE(plain[0].shape() == Shape{6, 2, 3, 4});
    REQUIRE(batch_first[0].shape() == Shape{3, 6, 2, 4});
    for (std::size_t t = 0; t < 6; ++t) {
      for (std::size_t n = 0; n < 3; ++n) {
        for (std::size_t d = 0; d < 2; ++d) {
          for (std::size_t j = 0; j < 4; ++j)
            CHECK(plain[0].span<float>()[((t * 2 + d) * 3 + n) * 4 + j] ==
                  batch_first[0].span<float>()[((n * 6 + t) * 2 + d) * 4 + j]);
        }
      }
    }
    for (std::size_t i = 1; i < plain.size(); ++i) {
      const Tensor again = swapped(batch_first[i]);
      CHECK(std::equal(plain[i].span<float>().begin(), plain[i].span<float>().end(),
                       again.span<float>().begin()));
    }
  }
}

TEST_CASE("what a recurrent operator cannot do is said with what it can") {
  const std::vector<std::optional<Operand>> in{
      Operand{noise({2, 1, 3}, 1)}, Operand{noise({1, 4, 3}, 2)}, Operand{noise({1, 4, 4}, 3)}};
  Node node;
  node.op = "RNN";
  node.attrs.set("activations", std::vector<std::string>{"Softsign"});
  const auto unknown = run_op(node, in);
  REQUIRE(!unknown.ok());
  CHECK(unknown.error().code == Code::kUnsupportedAttribute);
  CHECK(unknown.error().hint.find("Sigmoid, Tanh or Relu") != std::string::npos);
  node.attrs.set("activations", std::vector<std::string>{"Tanh", "Tanh"});
  CHECK(run_op(node, in).error().code == Code::kInvalidModel);
  node.attrs.set("activations", std::vector<std::string>{"Tanh"});
  node.attrs.set("direction", std::string("sideways"));
  CHECK(run_op(node, in).error().code == Code::kInvalidModel);
  node.attrs.set("direction", std::string("bidirectional"));
  const auto one_direction = run_op(node, in);
  REQUIRE(!one_direction.ok());
  CHECK(one_direction.error().code == Code::kShapeMismatch);
  CHECK(one_direction.error().where.find("RNN") != std::string::npos);
}

}  // namespace
}  // namespace octavo
