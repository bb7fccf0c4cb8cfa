// Networks that go on behind results whose size the data of a run decide.
#include "passes/tail.h"

#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <vector>

#include "quantize/compare.h"
#include "support/networks.h"

namespace octavo::quantize {
namespace {

using test::GraphBuilder;
using test::random_values;
using test::take;

using Ints = std::vector<std::int64_t>;

constexpr std::int64_t kBoxes = 16;

std::vector<std::pair<std::string, Attr>> axis(std::int64_t at) { return {{"axis", at}}; }

// A detector of one class as exporters write them: a convolution, boxes and scores of each pixel,
// the chosen ones gathered, the best two of these with their scores.
struct Detector {
  test::RandomNetwork b{3};
  ValueId boxes, scores, selected, chosen, best;

  Detector() {
    ValueId y = b.node("Relu", {b.conv(b.input("image", Shape{1, 3, 4, 4}), 3, 8, 3)});
    boxes = b.node("Reshape", {b.node("Transpose", {b.conv(y, 8, 4, 1)},
                                      {{"perm", std::vector<std::int64_t>{0, 2, 3, 1}}}),
                               b.ints({1, kBoxes, 4})});
    scores = b.node("Sigmoid", {b.node("Reshape", {b.conv(y, 8, 1, 1), b.ints({1, 1, kBoxes})})});
    selected = b.node("NonMaxSuppression",
                      {boxes, scores, b.ints({kBoxes}), b.constant(Tensor::scalar(0.3F)),
                       b.constant(Tensor::scalar(0.55F))});
    const ValueId place =
        b.node("Squeeze",
               {b.node("Slice", {selected, b.ints({2}), b.ints({3}), b.ints({1})}), b.ints({1})});
    chosen = b.node("Squeeze", {b.node("Gather", {boxes, place}, axis(1)), b.ints({0})});
    const ValueId score =
        b.node("Reshape", {b.node("Gather", {scores, place}, axis(2)), b.ints({-1})});
    // As many as there are, and no more than two.
    const ValueId count = b.node("Min", {b.node("Shape", {score}), b.ints({2})});
    best = b.nodes("TopK", {score, count}, 2)[0];
    for (const ValueId id : {chosen, best, boxes}) b.output(id);
    const char* names[] = {"chosen", "best", "boxes"};
    for (std::size_t i = 0; i < 3; ++i) b.graph.value(b.graph.outputs[i]).name = names[i];
  }
  Model model() const { return Model::from_graph(b.graph); }
};

std::vector<float> output(const runtime::Session& session, std::size_t i) {
  return read_real(session, session.graph().outputs[i]);
}

TEST_CASE("what follows NonMaxSuppression runs with as many boxes as there are") {
  const Detector detector;
  GraphBuilder whole = detector.b;
  whole.output(detector.selected);
  whole.output(detector.scores);
  runtime::Session session = take(create_session(Model::from_graph(whole.graph), {}, {}));
  CHECK(session.output(0).empty());
  std::vector<std::int64_t> counts;
  for (unsigned seed = 1; seed <= 12; ++seed) {
    test::run(session, random_values(3 * 4 * 4, seed));
    REQUIRE(session.status().ok());
    const auto bytes = session.output(3);
    Ints selected(bytes.size() / sizeof(std::int64_t));
    if (!selected.empty()) std::memcpy(selected.data(), bytes.data(), bytes.size());
    const auto rows = static_cast<std::int64_t>(selected.size() / 3);
    counts.push_back(rows);
    const auto shape = [&](std::size_t i) {
      return *session.graph().value(session.graph().outputs[i]).shape;
    };
    CHECK(shape(0) == Shape{rows, 4});
    CHECK(shape(1) == Shape{std::min<std::int64_t>(rows, 2)});
    CHECK(shape(2) == Shape{1, kBoxes, 4});
    const std::vector<float> boxes = output(session, 2);
    const std::vector<float> scores = output(session, 4);
    std::vector<float> chosen;
    std::vector<float> best;
    for (std::size_t row = 0; row < selected.size() / 3; ++row) {
      const auto box = static_cast<std::size_t>(selected[row * 3 + 2]);
      chosen.insert(chosen.end(), boxes.begin() + static_cast<std::ptrdiff_t>(box * 4),
                    boxes.begin() + static_cast<std::ptrdiff_t>(box * 4 + 4));
      if (row < 2) best.push_back(scores[box]);
    }
    CHECK(output(session, 0) == chosen);
    CHECK(output(session, 1) == best);
  }
  // Some of the pictures have another number of boxes, or this shows little.
  CHECK(*std::max_element(counts.begin(), counts.end()) >
        *std::min_element(counts.begin(), counts.end()));
}

TEST_CASE("a detector is quantized as far as its sizes are known, and stays whole") {
  const Detector detector;
  const Model model = detector.model();
  QuantizeJob job = test::quantized(model, "{}");
  const Model int8 = job.take_model();
  CHECK(int8.graph().outputs.size() == 3);
  runtime::Session session = take(create_session(int8, {}, {}));
  const std::vector<float> x = random_values(3 * 4 * 4, 1);
  test::run(session, x);
  REQUIRE(session.status().ok());
  const std::vector<float> chosen = output(session, 0);
  CHECK(!chosen.empty());
  // Each chosen box is one of the boxes.
  const std::vector<float> boxes = output(session, 2);
  for (std::size_t i = 0; i < chosen.size(); i += 4) {
    bool found = false;
    for (std::size_t k = 0; k < boxes.size(); k += 4)
      found = found || std::equal(boxes.begin() + static_cast<std::ptrdiff_t>(k),
                                  boxes.begin() + static_cast<std::ptrdiff_t>(k + 4),
                                  chosen.begin() + static_cast<std::ptrdiff_t>(i));
    CHECK(found);
  }
  // The file gives the same.
  const std::vector<std::byte> file = take(int8.to_onnx({}));
  auto bytes =
      std::shared_ptr<std::byte>(new std::byte[file.size()], std::default_delete<std::byte[]>());
  std::memcpy(bytes.get(), file.data(), file.size());
  runtime::Session again =
      take(create_session(take(Model::load(std::move(bytes), file.size())), {}, {}));
  test::run(again, x);
  for (std::size_t i = 0; i < 3; ++i) CHECK(output(again, i) == output(session, i));

  const std::string report = job.report_json();
  CHECK(report.find(passes::kTailReason) != std::string::npos);
  CHECK(model.summary_json().find(passes::kTailReason) != std::string::npos);
  // What it is compared by is known beforehand.
  Comparison comparison = take(Comparison::create(model, int8, "{}", {}));
  test::set_input(comparison.input(0), x);
  CHECK(comparison.run_sample(-1).ok());
  const Graph& compared = comparison.graph();
  REQUIRE(compared.outputs.size() == 3);  // boxes, what has been selected, scores
  CHECK(compared.value(compared.outputs[0]).name == "boxes");
}

TEST_CASE("a few numbers that the network computes may be a shape") {
  GraphBuilder b;
  const ValueId x = b.input("x", {6});
  const ValueId rows = b.input("rows", {1}, DType::kInt64);
  const ValueId sizes = b.node("Concat", {rows, b.ints({-1})}, axis(0));
  b.output(b.node("Reshape", {x, sizes}));
  runtime::Session session = take(create_session(Model::from_graph(b.graph), {}, {}));
  for (const std::int64_t n : {2, 3, 6, 2}) {
    test::set_input(session.input(0), {1, 2, 3, 4, 5, 6});
    std::memcpy(session.input(1).data(), &n, sizeof n);
    session.run();
    REQUIRE(session.status().ok());
    CHECK(*session.graph().value(session.graph().outputs[0]).shape == Shape{n, 6 / n});
    CHECK(output(session, 0) == std::vector<float>{1, 2, 3, 4, 5, 6});
  }
  const std::int64_t four = 4;
  std::memcpy(session.input(1).data(), &four, sizeof four);
  session.run();
  REQUIRE(!session.status().ok());
  CHECK(session.status().error().where.find("Reshape") != std::string::npos);
  CHECK(session.output(0).empty());
}

// The elements of a list that are not zero.
ValueId without_zeros(GraphBuilder& b, ValueId list) {
  return b.node("Gather", {list, b.node("Squeeze", {b.node("NonZero", {list}), b.ints({0})})});
}

TEST_CASE("tails follow each other") {
  GraphBuilder b;
  const ValueId x = b.input("x", {2, 3});
  const ValueId places = b.node("Transpose", {b.node("NonZero", {x})});
  const ValueId values = b.node("GatherND", {x, places});
  const ValueId large =
      without_zeros(b, b.node("Relu", {b.node("Sub", {values, b.constant(Tensor::scalar(2.0F))})}));
  b.output(large);
  b.output(b.node("Mul", {large, b.constant(Tensor::scalar(2.0F))}));
  runtime::Session session = take(create_session(Model::from_graph(b.graph), {}, {}));
  CHECK(test::run(session, {0, 1, 3, 4, 0, 5}) == std::vector<float>{1, 2, 3});
  CHECK(output(session, 1) == std::vector<float>{2, 4, 6});
  CHECK(test::run(session, {0, 1, 0, 0, 0, 5}) == std::vector<float>{3});
  CHECK(test::run(session, {0, 0, 0, 0, 0, 0}).empty());
  CHECK(session.status().ok());
  CHECK(*session.graph().value(session.graph().outputs[1]).shape == Shape{0});
}

TEST_CASE("a chain of tails that never ends is refused, not planned") {
  GraphBuilder b;
  ValueId y = b.input("x", {4});
  for (int i = 0; i < 40; ++i) y = without_zeros(b, y);
  b.output(y);
  runtime::Session session = take(create_session(Model::from_graph(b.graph), {}, {}));
  CHECK(test::run(session, {1, 2, 3, 4}).empty());
  REQUIRE(!session.status().ok());
  CHECK(session.status().error().code == Code::kLimitExceeded);
}

TEST_CASE("a tail keeps to the memory limit") {
  GraphBuilder b;
  const ValueId x = b.input("x", {64});
  const ValueId places = b.node("NonZero", {x});
  const ValueId column = b.node("Transpose", {places});
  b.output(
      b.node("Cast", {b.node("Expand", {column, b.ints({1, 4096})})}, {{"to", std::int64_t{1}}}));
  runtime::SessionOptions options;
  options.memory_limit = 1 << 20;
  runtime::Session session = take(create_session(Model::from_graph(b.graph), {}, options));
  std::vector<float> values(64, 0.0F);
  values[5] = 1;
  CHECK(test::run(session, values) == std::vector<float>(4096, 5.0F));
  CHECK(test::run(session, std::vector<float>(64, 1.0F)).empty());
  REQUIRE(!session.status().ok());
  CHECK(session.status().error().code == Code::kLimitExceeded);
}

TEST_CASE("NonZero of a constant is a constant") {
  GraphBuilder b;
  const ValueId ones = b.constant(Tensor::of<float>({3}, {1, 0, 1}));
  const ValueId places = b.node("NonZero", {ones});
  b.output(b.node("Gather", {b.input("x", {3}), places}));
  Graph graph = b.graph;
  take(passes::fix_shapes(graph, {}));
  CHECK(!passes::cut_tail(graph).has_value());
  runtime::Session session = take(create_session(Model::from_graph(b.graph), {}, {}));
  CHECK(test::run(session, {7, 8, 9}) == std::vector<float>{7, 9});
}

}  // namespace
}  // namespace octavo::quantize
