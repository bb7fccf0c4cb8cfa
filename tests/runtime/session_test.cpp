#include "runtime/session.h"

#include <doctest/doctest.h>

#include <cstring>
#include <map>

#include "support/buffers.h"
#include "support/graph_builder.h"

namespace octavo::runtime {
namespace {

using test::GraphBuilder;
using Bytes = std::vector<std::byte>;

Session make(const Graph& graph, const SessionOptions& options = {}) {
  auto session = Session::create(graph, options);
  REQUIRE_MESSAGE(session.ok(), session.error().message());
  return std::move(session).value();
}

Code code_of(const Graph& graph, const SessionOptions& options = {}) {
  const auto session = Session::create(graph, options);
  REQUIRE_FALSE(session.ok());
  return session.error().code;
}

void write(Session& session, std::size_t i, const std::vector<float>& values) {
  REQUIRE(session.input(i).size() == values.size() * sizeof(float));
  if (!values.empty()) std::memcpy(session.input(i).data(), values.data(), session.input(i).size());
}

std::vector<float> floats(std::span<const std::byte> bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

void write_random(Session& session, std::uint32_t seed) {
  for (std::size_t i = 0; i < session.graph().inputs.size(); ++i) {
    write(session, i,
          test::random_floats(session.input(i).size() / sizeof(float),
                              seed + static_cast<std::uint32_t>(i), -2, 2));
  }
}

std::vector<Bytes> outputs(const Session& session) {
  std::vector<Bytes> all;
  for (std::size_t i = 0; i < session.graph().outputs.size(); ++i)
    all.emplace_back(session.output(i).begin(), session.output(i).end());
  return all;
}

// A graph of ops that copy, alias, and may work in place, all on tensors of 1 x 4 x 6 (and reshapes
// of it).
Graph random_graph(std::uint32_t seed) {
  test::Random random(seed);
  GraphBuilder b;
  std::vector<ValueId> pool{
      b.input("x", {1, 4, 6}), b.input("y", {1, 4, 6}),
      b.constant(Tensor::of<float>({1, 4, 6}, test::random_floats(24, seed, -1, 1)))};
  const auto any = [&] {
    return pool[static_cast<std::size_t>(random.range(0, static_cast<int>(pool.size()) - 1))];
  };
  const std::vector<std::int64_t> swap{0, 2, 1};
  for (int i = 0; i < 30; ++i) {
    switch (random.range(0, 6)) {
      case 0:
        pool.push_back(b.node("Relu", {any()}));
        break;
      case 1:
        pool.push_back(b.node("Add", {any(), any()}));
        break;
      case 2:
        pool.push_back(b.node("Identity", {any()}));
        break;
      case 3: {  // a free view and back, with a true copy between
        const ValueId flat = b.node("Reshape", {any(), b.ints({1, 6, 4})});
        pool.push_back(b.node("Transpose", {flat}, {{"perm", swap}}));
        break;
      }
      case 4: {
        const auto halves = b.nodes("Split", {any()}, 2, {{"axis", std::int64_t{2}}});
        pool.push_back(b.node("Concat", {halves[1], halves[0]}, {{"axis", std::int64_t{2}}}));
        break;
      }
      case 5:
        pool.push_back(b.node("Mul", {any(), any()}));
        break;
      default: {  // both a view and the tensor itself are read after the view was made
        const ValueId x = any();
        const ValueId view = b.node("Reshape", {x, b.ints({1, 4, 6})});
        pool.push_back(b.node("Add", {view, x}));
        break;
      }
    }
  }
  for (int i = 0; i < 3; ++i) b.output(any());
  return b.graph;
}

TEST_CASE("a small graph computes what it says") {
  GraphBuilder b;
  const ValueId x = b.input("x", {1, 2, 2});
  const ValueId sum = b.node("Add", {x, b.constant(Tensor::of<float>({2}, {10, 20}))});
  b.output(b.node("Concat", {sum, x}, {{"axis", std::int64_t{1}}}));
  Session session = make(b.graph);
  write(session, 0, {1, 2, 3, 4});
  session.run();
  CHECK(floats(session.output(0)) == std::vector<float>{11, 22, 13, 24, 1, 2, 3, 4});
  CHECK(session.steps().size() == 2);
  CHECK(session.steps()[1].op == "Concat");
  CHECK(session.steps()[1].kernel == "concat/copy");
}

TEST_CASE(
    "planned memory gives what separate memory gives, for every value and every number of "
    "threads") {
  for (std::uint32_t seed = 0; seed < 40; ++seed) {
    const Graph graph = random_graph(seed);
    Session apart = make(graph, {.keep_values = true});
    write_random(apart, seed);
    apart.run();
    const std::vector<Bytes> expected = outputs(apart);
    for (const int threads : {1, 2, 3, 4}) {
      ThreadPool pool(threads);
      Session planned = make(graph, {.pool = &pool});
      CHECK(planned.arena_bytes() >= planned.lower_bound_bytes());
      CHECK(planned.arena_bytes() <= apart.arena_bytes());
      write_random(planned, seed);
      bool all_equal = true;
      planned.on_step([&](NodeId node, std::span<const std::byte* const> out) {
        const Node& made = graph.node(node);
        for (std::size_t i = 0; i < made.outputs.size(); ++i) {
          const auto kept = apart.value(made.outputs[i]);
          all_equal = all_equal && std::memcmp(out[i], kept.data(), kept.size()) == 0;
        }
      });
      planned.run();
      CHECK(all_equal);
      CHECK(outputs(planned) == expected);
      planned.on_step(nullptr);
      write_random(planned, seed);
      planned.run();
      CHECK(outputs(planned) == expected);
    }
  }
}

TEST_CASE("steps large enough to be shared give the same bytes on any number of threads") {
  GraphBuilder b;
  ValueId x = b.input("x", {1, 8, 61, 67});
  const ValueId weights = b.constant(
      Tensor::of<float>({8, 8, 3, 3}, test::random_floats(std::size_t{8} * 8 * 3 * 3, 1, -1, 1)));
  for (int i = 0; i < 3; ++i) {
    const ValueId made = b.node("Conv", {x, weights},
                                {{"kernel_shape", std::vector<std::int64_t>{3, 3}},
                                 {"pads", std::vector<std::int64_t>{1, 1, 1, 1}}});
    x = b.node("Add", {b.node("Relu", {made}), x});
  }
  b.output(b.node("Softmax", {b.node("GlobalAveragePool", {x})}, {{"axis", std::int64_t{1}}}));
  b.output(x);
  // One row: shared by columns.
  constexpr std::int64_t kIn = 8 * 61 * 67;
  constexpr std::int64_t kOut = 203;
  const ValueId dense = b.constant(
      Tensor::of<float>({kIn, kOut}, test::random_floats(std::size_t{kIn * kOut}, 2, -1, 1)));
  b.output(b.node("MatMul", {b.node("Reshape", {x, b.ints({1, kIn})}), dense}));
  std::vector<Bytes> expected;
  for (const int threads : {1, 2, 3, 4}) {
    ThreadPool pool(threads);
    Session session = make(b.graph, {.pool = &pool});
    for (std::uint32_t round = 0; round < 20; ++round) {
      write_random(session, 5);
      if (round % 2 == 0) {
        session.run();
      } else {
        while (session.run_some(3)) {
        }
      }
      if (expected.empty()) expected = outputs(session);
      CHECK(outputs(session) == expected);
    }
  }
}

// A convolution with many weights to 5 x 7 pixels of 203 channels: one call of a kernel, and no
// multiple of its tile.
Graph many_weights_graph(DType dtype, std::int64_t kernel) {
  GraphBuilder b;
  const std::int64_t depth = kernel == 1 ? 1100 : 120;
  const bool codes = dtype == DType::kUint8;
  const QuantParams grid = QuantParams::per_tensor(0.05F, 120);
  const ValueId x = b.input("x", {1, depth, kernel == 1 ? 5 : 9, kernel == 1 ? 7 : 13}, dtype);
  if (codes) b.graph.value(x).quant = grid;
  const auto last = [&](ValueId id) {
    b.graph.value(id).layout = Layout::kChannelsLast;
    if (codes) b.graph.value(id).quant = grid;
    return id;
  };
  const auto count = static_cast<std::size_t>(203 * depth * kernel * kernel);
  const Shape shape{203, depth, kernel, kernel};
  const ValueId w =
      codes ? b.constant(Tensor::of<std::int8_t>(shape, test::random_codes<std::int8_t>(count, 4)))
            : b.constant(Tensor::of<float>(shape, test::random_floats(count, 4, -1, 1)));
  if (codes) b.graph.value(w).quant = QuantParams::per_tensor(0.003F, 0);
  const std::int64_t pad = kernel / 2;
  const std::int64_t stride = kernel == 1 ? 1 : 2;
  const ValueId conv = last(b.node("Conv", {last(b.node("ToChannelsLast", {x}, {}, "octavo")), w},
                                   {{"kernel_shape", std::vector<std::int64_t>{kernel, kernel}},
                                    {"strides", std::vector<std::int64_t>{stride, stride}},
                                    {"pads", std::vector<std::int64_t>{pad, pad, pad, pad}}}));
  const ValueId out = b.node("ToRowMajor", {conv}, {}, "octavo");
  if (codes) b.graph.value(out).quant = grid;
  b.output(out);
  return b.graph;
}

TEST_CASE("many weights and few pixels, shared by channels, give the same bytes on all threads") {
  for (const DType dtype : {DType::kFloat32, DType::kUint8}) {
    for (const std::int64_t kernel : {1, 3}) {
      CAPTURE(kernel);
      const Graph graph = many_weights_graph(dtype, kernel);
      const auto run = [&](Session& session) {
        const auto count = session.input(0).size();
        if (dtype == DType::kUint8) {
          const auto codes = test::random_codes<std::uint8_t>(count, 8);
          std::memcpy(session.input(0).data(), codes.data(), count);
        } else {
          write_random(session, 8);
        }
        session.run();
        return outputs(session);
      };
      Session scalar =
          make(graph, {.policy = {.level = simd::Level::kScalar, .fused_floats = false}});
      const std::vector<Bytes> expected = run(scalar);
      for (const int threads : {1, 2, 3, 4}) {
        ThreadPool pool(threads);
        Session session = make(graph, {.policy = {.fused_floats = false}, .pool = &pool});
        CHECK(run(session) == expected);
      }
    }
  }
}

// Two convolutions of codes, one of them read by the concatenation alone, the codes of the input
// beside them; `same_grid`: all on the concatenation's.
Graph parts_graph(bool same_grid) {
  GraphBuilder b;
  const QuantParams grid = QuantParams::per_tensor(0.05F, 120);
  const auto last = [&](ValueId id, const QuantParams& quant) {
    b.graph.value(id).layout = Layout::kChannelsLast;
    b.graph.value(id).quant = quant;
    return id;
  };
  const ValueId x = b.input("x", {2, 12, 9, 7}, DType::kUint8);
  b.graph.value(x).quant = grid;
  const ValueId inside = last(b.node("ToChannelsLast", {x}, {}, "octavo"), grid);
  const auto conv = [&](std::int64_t channels, std::int64_t kernel, std::uint32_t seed,
                        const QuantParams& quant) {
    const auto weights = test::random_codes<std::int8_t>(
        static_cast<std::size_t>(channels * 12 * kernel * kernel), seed);
    const ValueId w = b.constant(Tensor::of<std::int8_t>({channels, 12, kernel, kernel}, weights));
    b.graph.value(w).quant = QuantParams::per_tensor(0.003F, 0);
    const std::int64_t pad = kernel / 2;
    return last(b.node("Conv", {inside, w},
                       {{"kernel_shape", std::vector<std::int64_t>{kernel, kernel}},
                        {"pads", std::vector<std::int64_t>{pad, pad, pad, pad}}}),
                quant);
  };
  const ValueId one = conv(10, 1, 3, grid);
  const ValueId three = conv(21, 3, 4, same_grid ? grid : QuantParams::per_tensor(0.07F, 100));
  const ValueId all =
      last(b.node("Concat", {one, inside, three}, {{"axis", std::int64_t{1}}}), grid);
  const ValueId out = b.node("ToRowMajor", {all}, {}, "octavo");
  b.graph.value(out).quant = grid;
  b.output(out);
  return b.graph;
}

TEST_CASE("what only a concatenation reads is made in its memory, and gives the same bytes") {
  for (const bool same_grid : {true, false}) {
    const Graph graph = parts_graph(same_grid);
    const auto codes = test::random_codes<std::uint8_t>(std::size_t{2} * 12 * 9 * 7, 8);
    const auto run = [&](Session& session) {
      std::memcpy(session.input(0).data(), codes.data(), codes.size());
      session.run();
      return outputs(session);
    };
    Session apart = make(graph, {.keep_values = true});
    const std::vector<Bytes> expected = run(apart);
    for (const int threads : {1, 3}) {
      ThreadPool pool(threads);
      Session planned = make(graph, {.pool = &pool});
      CHECK(run(planned) == expected);
      int parts = 0;
      planned.on_step([&](NodeId, std::span<const std::byte* const> out) {
        parts += out[0] == nullptr ? 1 : 0;
      });
      CHECK(run(planned) == expected);
      CHECK(parts == (same_grid ? 2 : 1));
      // Besides the input's own memory, only the concatenation and what is copied beside it.
      CHECK(planned.arena_bytes() < apart.arena_bytes());
    }
  }
}

TEST_CASE("a chain of in-place and alias steps lives in one buffer") {
  GraphBuilder b;
  ValueId x = b.input("x", {1, 1000});
  for (int i = 0; i < 5; ++i) x = b.node("Reshape", {b.node("Relu", {x}), b.ints({1, 1000})});
  b.output(x);
  Session session = make(b.graph);
  CHECK(session.arena_bytes() == 4032);  // 1000 floats, rounded up to 64 bytes
  CHECK(session.lower_bound_bytes() == 4032);
  Session kept = make(b.graph, {.keep_values = true});
  CHECK(kept.arena_bytes() == 6 * 4032);
  std::vector<float> values = test::random_floats(1000, 1, -1, 1);
  write(session, 0, values);
  session.run();
  for (float& value : values) value = std::max(value, 0.0F);
  CHECK(floats(session.output(0)) == values);
}

TEST_CASE("run_some makes the steps of run, a few at a time") {
  const Graph graph = random_graph(7);
  Session whole = make(graph), parts = make(graph);
  for (int round = 0; round < 2; ++round) {
    write_random(whole, 3);
    write_random(parts, 3);
    whole.run();
    int calls = 1;
    while (parts.run_some(7)) ++calls;
    CHECK(calls == (static_cast<int>(graph.nodes.size()) + 6) / 7);
    CHECK(outputs(whole) == outputs(parts));
  }
}

TEST_CASE("a profiled run gives the same results and a time for each step") {
  Session session = make(random_graph(9));
  write_random(session, 1);
  session.run();
  const std::vector<Bytes> expected = outputs(session);
  write_random(session, 1);
  session.run_profiled();
  CHECK(outputs(session) == expected);
  double total = 0;
  for (const StepInfo& step : session.steps()) {
    CHECK(step.milliseconds >= 0);
    total += step.milliseconds;
  }
  CHECK(total > 0);
}

TEST_CASE("outputs may be inputs, constants, views of constants, or named twice") {
  GraphBuilder b;
  const ValueId x = b.input("x", {2});
  const ValueId c = b.constant(Tensor::of<float>({2}, {5, 6}));
  const ValueId view = b.node("Identity", {c});
  const ValueId sum = b.node("Add", {x, view});
  for (const ValueId id : {x, c, view, sum, sum}) b.output(id);
  Session session = make(b.graph);
  write(session, 0, {1, 2});
  session.run();
  CHECK(floats(session.output(0)) == std::vector<float>{1, 2});
  CHECK(floats(session.output(1)) == std::vector<float>{5, 6});
  CHECK(floats(session.output(2)) == std::vector<float>{5, 6});
  CHECK(floats(session.output(3)) == std::vector<float>{6, 8});
  CHECK(floats(session.output(4)) == std::vector<float>{6, 8});
}

TEST_CASE("values are readable where they last: constants, borders, or all when kept") {
  GraphBuilder b;
  const ValueId x = b.input("x", {2});
  const ValueId c = b.constant(Tensor::of<float>({2}, {5, 6}));
  const ValueId middle = b.node("Add", {x, c});
  b.output(b.node("Mul", {middle, c}));
  Session planned = make(b.graph);
  CHECK(planned.value(middle).empty());
  CHECK(floats(planned.value(c)) == std::vector<float>{5, 6});
  CHECK(planned.value(x).size() == 8);
  Session kept = make(b.graph, {.keep_values = true});
  write(kept, 0, {1, 2});
  kept.run();
  CHECK(floats(kept.value(middle)) == std::vector<float>{6, 8});
  CHECK(floats(kept.value(x)) == std::vector<float>{1, 2});
}

TEST_CASE("a session lets go of the weights that it has packed, and of the file that they lie in") {
  const auto file = std::make_shared<std::vector<float>>(std::vector<float>{1, 2, 3, 4, 5, 6});
  const auto bytes = reinterpret_cast<const std::byte*>(file->data());
  const auto view = [&](Shape shape, std::size_t at) {
    return Tensor::view(DType::kFloat32, std::move(shape), {file, bytes + at * sizeof(float)});
  };
  GraphBuilder b;
  const ValueId w = b.constant(view({2, 2}, 0));
  const ValueId c = b.constant(view({2}, 4));
  b.output(b.node("Add", {b.node("Gemm", {b.input("x", {1, 2}), w}), c}));
  const auto result = [](Session& session) {
    write(session, 0, {1, 10});
    session.run();
    return floats(session.output(0));
  };
  Session kept = make(b.graph, {.keep_values = true});
  CHECK(floats(kept.value(w)) == std::vector<float>{1, 2, 3, 4});
  CHECK(result(kept) == std::vector<float>{36, 48});
  const long users = file.use_count();
  Session session = make(b.graph);
  CHECK(file.use_count() == users);
  CHECK(session.value(w).empty());
  CHECK(floats(session.value(c)) == std::vector<float>{5, 6});
  CHECK(result(session) == std::vector<float>{36, 48});
}

TEST_CASE("tensors without elements pass through") {
  GraphBuilder b;
  const ValueId x = b.input("x", {0, 3});
  const ValueId relu = b.node("Relu", {x});
  const ValueId joined = b.node("Concat", {relu, b.constant(Tensor::of<float>({1, 3}, {1, 2, 3}))},
                                {{"axis", std::int64_t{0}}});
  b.output(joined);
  b.output(relu);
  Session session = make(b.graph);
  CHECK(session.input(0).empty());
  session.run();
  CHECK(floats(session.output(0)) == std::vector<float>{1, 2, 3});
  CHECK(session.output(1).empty());
}

TEST_CASE("an input that nobody reads can still be written") {
  GraphBuilder b;
  b.input("unused", {100});
  const ValueId x = b.input("x", {100});
  b.output(b.node("Relu", {x}));
  Session session = make(b.graph);
  const std::vector<float> values(100, 3);
  write(session, 1, values);
  write(session, 0, std::vector<float>(100, -1));
  session.run();
  CHECK(floats(session.output(0)) == values);
}

TEST_CASE("a memory limit is checked before the memory is taken, and the error tells the need") {
  GraphBuilder b;
  b.output(b.node("Identity", {b.node("Relu", {b.input("x", {1 << 20})})}));
  CHECK(code_of(b.graph, {.memory_limit = 1 << 20}) == Code::kLimitExceeded);
  const auto session = Session::create(b.graph, {.memory_limit = 1 << 20});
  CHECK(session.error().what.find("4194304 for activations") != std::string::npos);
  CHECK(Session::create(b.graph, {.memory_limit = 5 << 20}).ok());
  // Far beyond any machine: refused by the limit, not by the allocator.
  GraphBuilder huge;
  huge.output(huge.node(
      "Concat",
      {huge.input("x", {std::int64_t{1} << 27}), huge.input("y", {std::int64_t{1} << 27})},
      {{"axis", std::int64_t{0}}}));
  CHECK(code_of(huge.graph, {.memory_limit = std::size_t{1} << 30}) == Code::kLimitExceeded);
}

TEST_CASE("graphs that break the contract are refused, not run") {
  GraphBuilder b;
  const ValueId x = b.input("x", {1, 2, 3});
  const ValueId y = b.node("Relu", {x});
  b.output(y);
  Graph graph = b.graph;
  graph.value(x).shape = Shape{1, kUnknownDim, 3};
  CHECK(code_of(graph) == Code::kDynamicDimension);
  graph = b.graph;
  graph.value(y).shape.reset();
  CHECK(code_of(graph) == Code::kDynamicDimension);
  graph = b.graph;
  graph.value(y).layout = Layout::kChannelsLast;
  CHECK(code_of(graph) == Code::kInternal);
  graph = b.graph;
  graph.inputs.clear();
  CHECK(code_of(graph) == Code::kMissingInitializer);
  graph = b.graph;
  graph.nodes.push_back(graph.nodes[0]);
  CHECK(code_of(graph) == Code::kInvalidModel);
  graph = b.graph;
  graph.nodes[0].op = "NoSuchOp";
  CHECK(code_of(graph) == Code::kUnsupportedOp);
}

// Boxes of one class whose scores are 0.5, 0.9 and 0.1.
struct Suppression {
  GraphBuilder b;
  ValueId boxes = b.input("boxes", {1, 3, 4});
  ValueId scores = b.constant(Tensor::of<float>({1, 1, 3}, {0.5F, 0.9F, 0.1F}));
  ValueId selected =
      b.node("NonMaxSuppression", {boxes, scores, b.constant(Tensor::scalar(std::int64_t{3})),
                                   b.constant(Tensor::scalar(0.5F))});
};
const std::vector<float> kTwoApart{0, 0, 1, 1, 0, 0, 1, 1, 5, 5, 6, 6};
const std::vector<float> kThreeApart{0, 0, 1, 1, 2, 2, 3, 3, 5, 5, 6, 6};
const std::vector<float> kOne{0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1};

void run(Session& session, bool in_pieces) {
  if (!in_pieces) return session.run();
  while (session.run_some(1)) {
  }
}

TEST_CASE("a counted output has the rows of its run, and no step may read it") {
  Suppression made;
  made.b.output(made.selected);
  for (const bool in_pieces : {false, true}) {
    Session session = make(made.b.graph);
    CHECK(*session.graph().value(made.selected).shape == Shape{kUnknownDim, 3});
    CHECK(session.output(0).empty());
    const auto rows = [&](const std::vector<float>& corners) {
      write(session, 0, corners);
      run(session, in_pieces);
      CHECK(session.output(0).size() ==
            static_cast<std::size_t>(session.graph().value(made.selected).shape->elements()) * 8);
      return (*session.graph().value(made.selected).shape)[0];
    };
    CHECK(rows(kTwoApart) == 2);
    CHECK(rows(kThreeApart) == 3);
    CHECK(rows(kOne) == 1);
  }
  made.b.output(made.b.node("Cast", {made.selected}, {{"to", std::int64_t{1}}}));
  CHECK(code_of(made.b.graph) == Code::kDynamicDimension);
}

int plans = 0;
Result<Session> plan_numbers(Graph graph, const SessionOptions& options, int depth) {
  ++plans;
  CHECK(depth == 7);
  CHECK(options.memory_limit > 0);
  CHECK(options.memory_limit < 1'000'000);
  const Shape& shape = *graph.value(graph.inputs[0]).shape;
  if (shape[0] == 1) return Error{Code::kOutOfMemory, "No room for one.", "", "", {}};
  graph.value(graph.outputs[0]).shape = shape;
  return Session::create(std::move(graph), {});
}

TEST_CASE("a tail is planned for what has come out, once a size") {
  Suppression made;
  made.b.output(made.selected);
  const std::string selected = made.b.graph.value(made.selected).name;
  GraphBuilder t;
  const ValueId rows = t.input(selected, {kUnknownDim, 3}, DType::kInt64);
  t.input("boxes", {1, 3, 4});
  const ValueId numbers = t.node("Cast", {rows}, {{"to", std::int64_t{1}}});
  t.graph.value(numbers).name = "numbers";
  t.output(numbers);
  for (const bool in_pieces : {false, true}) {
    plans = 0;
    Result<Session> created = Session::create(
        made.b.graph, {.memory_limit = 1'000'000},
        std::make_unique<Tail>(Tail{t.graph, {}, {"numbers", selected}, &plan_numbers, 7}));
    REQUIRE(created.ok());
    Session session = std::move(*created);
    const auto result = [&](const std::vector<float>& corners) {
      write(session, 0, corners);
      run(session, in_pieces);
      return floats(session.output(0));
    };
    REQUIRE(session.graph().outputs.size() == 2);
    CHECK(session.output(0).empty());
    CHECK(result(kTwoApart) == std::vector<float>{0, 0, 1, 0, 0, 2});
    CHECK(*session.graph().value(session.graph().outputs[0]).shape == Shape{2, 3});
    CHECK(session.output(1).size() == 2 * 3 * 8);
    CHECK(result(kTwoApart) == std::vector<float>{0, 0, 1, 0, 0, 2});
    CHECK(plans == 1);
    CHECK(result(kThreeApart) == std::vector<float>{0, 0, 1, 0, 0, 0, 0, 0, 2});
    CHECK(plans == 2);
    CHECK(session.status().ok());
    CHECK(result(kOne).empty());
    REQUIRE(!session.status().ok());
    CHECK(session.status().error().code == Code::kOutOfMemory);
    CHECK(result(kTwoApart) == std::vector<float>{0, 0, 1, 0, 0, 2});
    CHECK(session.status().ok());
    // A run that is given up is begun anew by what is written.
    write(session, 0, kThreeApart);
    session.run_some(1);
    CHECK(result(kThreeApart).size() == 9);
  }
}

TEST_CASE("a run whose indices lie outside has no results, and the next one has") {
  GraphBuilder b;
  const ValueId where = b.node("ArgMax", {b.input("x", {1, 4})}, {{"axis", std::int64_t{1}}});
  b.output(b.node("Gather", {b.input("table", {3}), where}));
  Session session = make(b.graph);
  const auto run = [&](const std::vector<float>& x) {
    write(session, 0, x);
    write(session, 1, {5, 6, 7});
    while (session.run_some(1)) {
    }
  };
  run({0, 0, 0, 1});
  REQUIRE(!session.status().ok());
  CHECK(session.status().error().what == "Index 3 is outside of an axis of 3.");
  CHECK(session.status().error().where == "node 'n_Gather' (Gather)");
  run({0, 0, 1, 0});
  CHECK(session.status().ok());
  CHECK(floats(session.output(0)) == std::vector<float>{7});
}

TEST_CASE("a session can be moved") {
  GraphBuilder b;
  b.output(b.node("Relu", {b.input("x", {2})}));
  Session first = make(b.graph);
  write(first, 0, {-1, 2});
  Session second = std::move(first);
  second.run();
  CHECK(floats(second.output(0)) == std::vector<float>{0, 2});
}

}  // namespace
}  // namespace octavo::runtime
