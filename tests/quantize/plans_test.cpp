// One model at several input shapes: each result is a fresh session's, byte for byte.
#include "quantize/plans.h"

#include <doctest/doctest.h>

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ops/shared_weights.h"
#include "runtime/thread_pool.h"
#include "support/networks.h"

namespace octavo::quantize {
namespace {

using test::random_values;
using test::take;

passes::InputShapes image(const Shape& shape) {
  passes::InputShapes shapes;
  shapes.by_name.emplace("image", shape);
  return shapes;
}

// Convolutions (dense, depthwise, transposed), a Reshape by the sizes that come in, and a matrix
// whose rows are pixels: all of it works at any batch and size.
Model open_model(unsigned seed = 5) {
  test::RandomNetwork b(seed);
  const ValueId x = b.input("image", Shape{kUnknownDim, 3, kUnknownDim, kUnknownDim});
  b.graph.value(x).dim_names = {"N", "", "H", "W"};
  ValueId y = b.node("Relu", {b.conv(x, 3, 32, 3)});
  y = b.node("Relu", {b.conv(y, 32, 32, 3)});
  y = b.clip6(b.conv(y, 32, 32, 3, 32));
  const ValueId sizes = b.node("Shape", {y});
  const ValueId batch = b.node("Gather", {sizes, b.ints({0})}, {{"axis", std::int64_t{0}}});
  const ValueId flat =
      b.node("Concat", {batch, b.ints({32}), b.ints({-1})}, {{"axis", std::int64_t{0}}});
  const ValueId rows = b.node("Transpose", {b.node("Reshape", {y, flat})},
                              {{"perm", std::vector<std::int64_t>{0, 2, 1}}});
  b.output(b.node("MatMul", {rows, b.floats(Shape{32, 8}, 0.2F)}));
  b.graph.value(b.graph.outputs[0]).name = "pixels";
  return Model::from_graph(b.graph);
}

Model quantized(const Model& model) {
  return test::quantized(model, R"({"inputShapes": {"image": [1, 3, 12, 12]}})").take_model();
}

std::vector<std::byte> run(runtime::Session& session, unsigned seed) {
  const Shape& shape = *session.graph().value(session.graph().inputs[0]).shape;
  test::run(session, random_values(static_cast<std::size_t>(shape.elements()), seed));
  const auto bytes = session.output(0);
  return {bytes.begin(), bytes.end()};
}

TEST_CASE(
    "a model with open sizes is planned anew for another shape, and gives what a fresh one does") {
  const Model floats = open_model();
  runtime::ThreadPool two(2);
  for (const Model& model : {floats, quantized(floats)}) {
    for (runtime::ThreadPool* pool : {static_cast<runtime::ThreadPool*>(nullptr), &two}) {
      runtime::SessionOptions options;
      options.pool = pool;
      Plans plans = take(Plans::create(model, image(Shape{1, 3, 12, 12}), options));
      unsigned seed = 1;
      for (const Shape& shape :
           {Shape{1, 3, 12, 12}, Shape{3, 3, 12, 12}, Shape{1, 3, 40, 24}, Shape{1, 3, 12, 12},
            Shape{2, 3, 5, 7}, Shape{1, 3, 1, 1}, Shape{1, 3, 31, 9}, Shape{3, 3, 12, 12}}) {
        INFO(shape.to_string());
        REQUIRE(plans.plan_for(image(shape)).ok());
        runtime::Session fresh = take(create_session(model, image(shape), options));
        ++seed;
        const std::vector<std::byte> expected = run(fresh, seed);
        CHECK(expected.size() == static_cast<std::size_t>(shape.elements() / 3 * 8 * 4));
        CHECK(run(plans.session(), seed) == expected);
        CHECK(plans.session().steps().size() == fresh.steps().size());
      }
      CHECK(plans.count() == 4);
    }
  }
}

TEST_CASE("without shapes the first plan is made for those of the first run") {
  const Model model = open_model();
  Plans plans = take(Plans::create(model, {}, {}));
  CHECK(plans.count() == 0);
  CHECK(plans.graph().value(plans.graph().inputs[0]).shape ==
        Shape{kUnknownDim, 3, kUnknownDim, kUnknownDim});
  const Status wrong = plans.plan_for(image(Shape{1, 4, 6, 6}));
  REQUIRE(!wrong.ok());
  CHECK(wrong.error().code == Code::kShapeMismatch);
  CHECK(plans.count() == 0);
  for (const Shape& shape : {Shape{2, 3, 9, 7}, Shape{1, 3, 12, 12}}) {
    REQUIRE(plans.plan_for(image(shape)).ok());
    runtime::Session fresh = take(create_session(model, image(shape), {}));
    CHECK(run(plans.session(), 3) == run(fresh, 3));
    CHECK(plans.graph().value(plans.graph().inputs[0]).shape == shape);
  }
  CHECK(plans.count() == 2);
  // One that keeps its first shapes needs them.
  const auto fixed = Plans::create(model, {}, {}, nullptr, true);
  REQUIRE(!fixed.ok());
  CHECK(fixed.error().code == Code::kDynamicDimension);
}

TEST_CASE("plans hold packed weights once, and let them go with the last of them") {
  const Model model = quantized(open_model());
  runtime::SessionOptions options;
  options.weights = std::make_shared<ops::SharedWeights>();
  std::optional<runtime::Session> one =
      take(create_session(model, image(Shape{1, 3, 12, 12}), options));
  const std::size_t held = options.weights->bytes();
  // All but the depthwise layer's, which knows the image, and tables.
  CHECK(held > one->weight_bytes() / 4 * 3);
  CHECK(held <= one->weight_bytes());
  std::optional<runtime::Session> two =
      take(create_session(model, image(Shape{2, 3, 12, 12}), options));
  CHECK(two->weight_bytes() == one->weight_bytes());
  CHECK(options.weights->bytes() == held);
  one.reset();
  CHECK(options.weights->bytes() == held);
  two.reset();
  CHECK(options.weights->bytes() == 0);
}

TEST_CASE("a shape that the network cannot have leaves the session as it was") {
  // The Gemm wants 32 * 6 * 6 inputs.
  test::RandomNetwork b(3);
  const ValueId x = b.input("image", Shape{kUnknownDim, 3, kUnknownDim, kUnknownDim});
  const ValueId y = b.node("Flatten", {b.node("Relu", {b.conv(x, 3, 8, 3)})});
  b.output(b.node("Gemm", {y, b.floats(Shape{8 * 6 * 6, 4}, 0.1F)}));
  const Model model = Model::from_graph(b.graph);
  Plans plans = take(Plans::create(model, image(Shape{1, 3, 6, 6}), {}));
  const std::vector<std::byte> before = run(plans.session(), 7);
  const Status wrong = plans.plan_for(image(Shape{1, 3, 7, 6}));
  REQUIRE(!wrong.ok());
  CHECK(wrong.error().code == Code::kShapeMismatch);
  CHECK(wrong.error().where.find("Gemm") != std::string::npos);
  const Status fixed = plans.plan_for(image(Shape{1, 4, 6, 6}));
  REQUIRE(!fixed.ok());
  CHECK(fixed.error().what.find("[?, 3, ?, ?]") != std::string::npos);
  CHECK(run(plans.session(), 7) == before);
  REQUIRE(plans.plan_for(image(Shape{5, 3, 6, 6})).ok());
  CHECK(run(plans.session(), 7).size() == 5 * 4 * sizeof(float));
}

TEST_CASE("the memory limit is the new plan's, and old plans go for it") {
  const Model model = open_model();
  const auto bytes_of = [&](const Shape& shape) {
    const runtime::Session session = take(create_session(model, image(shape), {}));
    return session.own_bytes();
  };
  const Shape small{1, 3, 12, 12};
  const Shape middle{1, 3, 16, 16};
  const Shape large{1, 3, 64, 64};
  runtime::SessionOptions options;
  options.memory_limit = bytes_of(middle) + 4096;
  REQUIRE(bytes_of(small) < options.memory_limit);
  REQUIRE(bytes_of(large) > options.memory_limit);
  Plans plans = take(Plans::create(model, image(small), options));
  const std::vector<std::byte> before = run(plans.session(), 3);
  const Status refused = plans.plan_for(image(large));
  REQUIRE(!refused.ok());
  CHECK(refused.error().code == Code::kLimitExceeded);
  CHECK(run(plans.session(), 3) == before);
  REQUIRE(plans.plan_for(image(middle)).ok());
  CHECK(plans.count() == 1);
  REQUIRE(plans.plan_for(image(small)).ok());
  CHECK(run(plans.session(), 3) == before);
}

TEST_CASE("a model whose sizes are fixed, or a session that is, has one plan") {
  test::RandomNetwork b(3);
  b.output(b.conv(b.input("image", Shape{1, 3, 6, 6}), 3, 8, 3));
  const Model fixed_model = Model::from_graph(b.graph);
  Plans plans = take(Plans::create(fixed_model, {}, {}));
  CHECK(plans.plan_for(image(Shape{1, 3, 6, 6})).ok());
  Status refused = plans.plan_for(image(Shape{2, 3, 6, 6}));
  REQUIRE(!refused.ok());
  CHECK(refused.error().code == Code::kShapeMismatch);
  CHECK(refused.error().hint.find("[1, 3, 6, 6]") != std::string::npos);

  Plans fixed = take(Plans::create(open_model(), image(Shape{1, 3, 6, 6}), {}, nullptr, true));
  CHECK(!fixed.plan_for(image(Shape{2, 3, 6, 6})).ok());
}

}  // namespace
}  // namespace octavo::quantize
