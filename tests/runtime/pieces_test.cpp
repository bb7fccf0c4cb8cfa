// Nodes that take long are run in pieces: what an abort waits for.

#include <doctest/doctest.h>

#include <cstring>
#include <functional>

#include "runtime/session.h"
#include "support/buffers.h"
#include "support/graph_builder.h"

namespace octavo::runtime {
namespace {

using test::GraphBuilder;

constexpr DType kU8 = DType::kUint8;

Tensor random_weights(const Shape& shape, std::uint32_t seed) {
  const auto count = static_cast<std::size_t>(shape.elements());
  return Tensor::of<std::uint8_t>(shape, test::random_codes<std::uint8_t>(count, seed));
}

struct Row {
  const char* name;
  int least_pieces;  // of the whole run, each some ten milliseconds at most
  std::function<ValueId(GraphBuilder&)> make;
};

// Each takes about a tenth of a second or more.
const std::vector<Row>& rows() {
  static const std::vector<Row> all{
      {"MaxPool with a large window", 8,
       [](GraphBuilder& b) {
         return b.node("MaxPool", {b.input("x", {1, 1, 150, 2400})},
                       {{"kernel_shape", std::vector<std::int64_t>{150, 1200}}});
       }},
      {"AveragePool with a large window", 8,
       [](GraphBuilder& b) {
         return b.node("AveragePool", {b.input("x", {1, 1, 150, 2400})},
                       {{"kernel_shape", std::vector<std::int64_t>{150, 1200}},
                        {"pads", std::vector<std::int64_t>{0, 3, 0, 7}},
                        {"count_include_pad", std::int64_t{1}}});
       }},
      {"MaxPool with places", 8,
       [](GraphBuilder& b) {
         return b.nodes("MaxPool", {b.input("x", {2, 3, 100, 100})}, 2,
                        {{"kernel_shape", std::vector<std::int64_t>{60, 60}}})[1];
       }},
      {"LSTM of a long sequence", 8,
       [](GraphBuilder& b) {
         return b.nodes(
             "LSTM",
             {b.input("x", {2000, 1, 8}), b.input("w", {2, 256, 8}), b.input("r", {2, 256, 64})}, 2,
             {{"direction", std::string("bidirectional")}})[0];
       }},
      {"GRU of many sequences", 8,
       [](GraphBuilder& b) {
         return b.nodes(
             "GRU",
             {b.input("x", {20, 200, 8}), b.input("w", {1, 192, 8}), b.input("r", {1, 192, 64})},
             2)[1];
       }},
      {"TopK", 8,
       [](GraphBuilder& b) {
         return b.nodes("TopK", {b.input("x", {2, 300'000}), b.ints({300'000})}, 2)[1];
       }},
      {"NonMaxSuppression", 8,
       [](GraphBuilder& b) {
         return b.node("NonMaxSuppression", {b.input("boxes", {1, 4000, 4}),
                                             b.input("scores", {1, 2, 4000}), b.ints({4000})});
       }},
      {"cubic Resize", 8,
       [](GraphBuilder& b) {
         return b.node(
             "Resize",
             {b.input("x", {1, 2, 500, 500}), kNoValue, kNoValue, b.ints({1, 2, 1100, 1100})},
             {{"mode", std::string("cubic")}});
       }},
      {"CumSum", 4,
       [](GraphBuilder& b) {
         return b.node("CumSum", {b.input("x", {3, 3'000'000}), b.ints({1})});
       }},
      {"Einsum with one result", 8,
       [](GraphBuilder& b) {
         return b.node("Einsum", {b.input("a", {5000}), b.input("b", {5000})},
                       {{"equation", std::string("i,j->")}});
       }},
      {"MatMul with few results", 8,
       [](GraphBuilder& b) {
         return b.node("MatMul", {b.input("a", {1, 5000}), b.input("b", {5000, 4000})});
       }},
      {"MatMulInteger with few results", 8,
       [](GraphBuilder& b) {
         return b.node("MatMulInteger",
                       {b.input("a", {1, 5000}, kU8), b.input("b", {5000, 4000}, kU8)});
       }},
      {"MatMulInteger on kernels", 3,
       [](GraphBuilder& b) {
         return b.node("MatMulInteger",
                       {b.input("a", {1500, 1000}, kU8),
                        b.constant(random_weights({1000, 1000}, 4)), b.input("zero", {}, kU8)});
       }},
      {"ConvInteger on kernels", 3,
       [](GraphBuilder& b) {
         const ValueId x =
             b.node("ToChannelsLast", {b.input("x", {1, 64, 96, 96}, kU8)}, {}, "octavo");
         b.graph.value(x).layout = Layout::kChannelsLast;
         const ValueId y =
             b.node("ConvInteger",
                    {x, b.constant(random_weights({256, 64, 3, 3}, 5)), b.input("zero", {}, kU8)},
                    {{"pads", std::vector<std::int64_t>{1, 1, 1, 1}}});
         b.graph.value(y).layout = Layout::kChannelsLast;
         return b.node("ToRowMajor", {y}, {}, "octavo");
       }},
  };
  return all;
}

void write_inputs(Session& session) {
  for (std::size_t i = 0; i < session.graph().inputs.size(); ++i) {
    const std::span<std::byte> to = session.input(i);
    if (session.graph().value(session.graph().inputs[i]).dtype == kU8) {
      const auto codes = test::random_codes<std::uint8_t>(to.size(), static_cast<std::uint32_t>(i));
      std::memcpy(to.data(), codes.data(), to.size());
    } else {
      const auto floats = test::random_floats(to.size() / sizeof(float),
                                              static_cast<std::uint32_t>(i) + 1, 0.0F, 1.0F);
      std::memcpy(to.data(), floats.data(), to.size());
    }
  }
}

Session make(const Graph& graph, ThreadPool* pool) {
  SessionOptions options;
  options.pool = pool;
  auto session = Session::create(graph, options);
  REQUIRE_MESSAGE(session.ok(), session.error().message());
  return std::move(session).value();
}

std::vector<std::byte> result(const Session& session) {
  return {session.output(0).begin(), session.output(0).end()};
}

TEST_CASE("a node that takes long is run in pieces, with the result of one piece") {
  ThreadPool two(2);
  for (const Row& row : rows()) {
    CAPTURE(row.name);
    GraphBuilder b;
    b.output(row.make(b));
    Session whole = make(b.graph, nullptr);
    write_inputs(whole);
    whole.run();
    for (ThreadPool* pool : {static_cast<ThreadPool*>(nullptr), &two}) {
      Session parts = make(b.graph, pool);
      // Given up half way, then begun anew.
      write_inputs(parts);
      for (int i = 0; i < row.least_pieces / 2; ++i) CHECK(parts.run_some(1));
      write_inputs(parts);
      int pieces = 1;
      while (parts.run_some(1)) ++pieces;
      CHECK(pieces >= row.least_pieces);
      CHECK(result(parts) == result(whole));
    }
  }
}

}  // namespace
}  // namespace octavo::runtime
