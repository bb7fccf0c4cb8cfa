// How much memory things take: what a file may cost at most, and what a limit promises.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <new>
#include <string>

#include "quantize/allocations.h"
#include "quantize/model.h"
#include "support/files.h"
#include "support/networks.h"
#include "support/onnx_builder.h"

namespace octavo::quantize {
namespace {

std::string file_of(const Model& model) {
  const auto file = test::take(model.to_onnx({}));
  return {reinterpret_cast<const char*>(file.data()), file.size()};
}

// A node and what it makes have names, lists and attributes, whose size does not depend on that of
// their tensors. Many small nodes are the dearest file.
constexpr std::size_t kBytesOfNode = 6 * 1024;
constexpr std::size_t kBytesOfAny = 16 * 1024;  // an error's text, tables that are made once

struct Cost {
  std::size_t bytes = 0, plan = 0;
  bool loaded = false, ran = false;

  // `file` bytes, with at most so many nodes; `largest`: bytes of the largest weight as floats,
  // which are for a moment in the order of the file, in the order of sums, and packed.
  bool within(std::size_t file, std::size_t nodes, std::size_t largest = 0) const {
    return bytes <= 2 * (file + plan) + largest + nodes * kBytesOfNode + kBytesOfAny;
  }
};

// Of loading a file, making a session and running it, the copy of the file included.
Cost cost_of(const std::string& file) {
  Cost cost;
  const auto work = [&] {
    const auto model = Model::load(test::exact_bytes(file), file.size());
    if (!model.ok()) return;
    cost.loaded = true;
    runtime::SessionOptions options;
    options.memory_limit = std::size_t{256} << 20;
    auto session = create_session(*model, {}, options);
    if (!session.ok()) return;
    cost.plan = session->arena_bytes() + session->weight_bytes();
    std::int64_t macs = 0;
    for (const runtime::StepInfo& step : session->steps()) macs += step.macs;
    if (macs > 100'000'000) return;  // a dimension has grown: right, but slow
    session->run();
    cost.ran = true;
  };
  cost.bytes = test::bytes_of([&] {
    try {
      work();
    } catch (const std::bad_alloc&) {  // more than a 32-bit memory has: nothing was taken
    }
  });
  return cost;
}

// Weights are nearly all of it.
Graph wide_network() {
  test::RandomNetwork b(2);
  ValueId x = b.input("x", Shape{1, 64, 4, 4});
  for (int i = 0; i < 3; ++i) x = b.node("Relu", {b.conv(x, 64, 64, 3)});
  x = b.node("Flatten", {b.conv(x, 64, 256, 1)});
  b.output(b.node("Gemm", {x, b.floats(Shape{4096, 128}, 0.1F)}));
  return b.graph;
}

TEST_CASE("memory: a file and its session take less than twice the file and the plan") {
  const auto check = [](const Graph& graph, std::size_t largest) {
    const Model model = Model::from_graph(graph);
    const std::string plain = file_of(model);
    const std::string int8 = file_of(test::quantized(model, "{}").take_model());
    for (const std::string& file : {plain, int8}) {
      const Cost cost = cost_of(file);
      CAPTURE(file.size());
      CAPTURE(cost.bytes);
      CAPTURE(cost.plan);
      CHECK(cost.ran);
      // Quantize and DequantizeLinear, and the parts that a file writes by themselves.
      CHECK(cost.within(file.size(), 6 * graph.nodes.size(), largest));
    }
  };
  SUBCASE("small layers") { check(test::mixed_network(3), 0); }
  SUBCASE("large layers") { check(wide_network(), 4096 * 128 * sizeof(float)); }
}

TEST_CASE("memory: a damaged file takes no more than a whole one may") {
  for (const char* name : {"float", "qdq_quint8", "qoperator_qint8"}) {
    CAPTURE(name);
    const auto read = test::read_file(std::string(OCTAVO_SOURCE_DIR) + "/tests/data/golden/onnx/" +
                                      name + ".onnx");
    REQUIRE(read);
    const std::string whole(read->begin(), read->end());
    constexpr std::size_t kNodes = 40;
    std::size_t loaded = 0, refused = 0, too_much = 0;
    const auto add = [&](const std::string& file) {
      const Cost cost = cost_of(file);
      ++(cost.loaded ? loaded : refused);
      if (cost.within(file.size(), kNodes)) return;
      ++too_much;
      CAPTURE(cost.bytes);
      CAPTURE(cost.plan);
      CHECK(cost.within(file.size(), kNodes));
    };
    for (std::size_t n = 0; n < whole.size(); n += 7) add(whole.substr(0, n));
    for (std::size_t at = 0; at < whole.size(); at += 5) {
      for (const int change : {0x01, 0x40, 0x80, 0xFF}) {
        std::string damaged = whole;
        damaged[at] = static_cast<char>(static_cast<unsigned char>(whole[at]) ^ change);
        add(damaged);
      }
    }
    CHECK(loaded > 10);
    CHECK(refused > 10);
    CHECK(too_much == 0);
  }
}

TEST_CASE("memory: a file of nothing but small nodes costs what its nodes may") {
  constexpr std::size_t kNodes = 20'000;
  test::OnnxFile file = test::small_file();
  file.nodes.clear();
  for (std::size_t i = 0; i < kNodes; ++i)
    file.nodes.push_back(
        test::node_bytes("Relu", {i == 0 ? "x" : std::to_string(i)}, {std::to_string(i + 1)}, {}));
  file.initializers.clear();
  file.inputs = {test::value_info("x", 1, {1, 4})};
  file.outputs = {test::value_info(std::to_string(kNodes), 1, {})};
  const std::string bytes = file.bytes();
  const Cost cost = cost_of(bytes);
  CAPTURE(cost.bytes);
  CHECK(cost.ran);
  CHECK(cost.within(bytes.size(), kNodes));
}

TEST_CASE("memory: fitting keeps a value of each sample, not the windows that weights meet") {
  constexpr std::int64_t kChannels = 64;
  constexpr std::int64_t kSize = 16;
  constexpr std::size_t kSamples = 32;
  test::RandomNetwork b(4);
  ValueId x = b.input("x", Shape{1, 4, kSize, kSize});
  x = b.node("Relu", {b.conv(x, 4, kChannels, 1)});
  for (int i = 0; i < 3; ++i) x = b.node("Relu", {b.conv(x, kChannels, kChannels, 3, kChannels)});
  b.output(b.conv(x, kChannels, 4, 1));
  const Model model = Model::from_graph(b.graph);
  const std::size_t bytes = test::bytes_of([&] { test::quantized(model, "{}", kSamples); });
  // The kept samples; a byte for each element of a value, and of the one that is being made.
  const std::size_t values = kSamples * kSize * kSize * (4 * sizeof(float) + kChannels);
  constexpr std::size_t kMegabyte = 1 << 20;  // sessions, a block of windows
  CAPTURE(bytes);
  CHECK(bytes <= values + 3 * kMegabyte);
  // As floats the windows of one layer would be several times that.
  CHECK(kSamples * 192 * 9 * kChannels * sizeof(float) > 3 * (values + 3 * kMegabyte));
}

// The number behind `word` in a text; 0 where there is none.
std::size_t number_behind(const std::string& text, const std::string& word) {
  const std::size_t at = text.find(word);
  return at == std::string::npos ? 0 : std::strtoul(text.c_str() + at + word.size(), nullptr, 10);
}

TEST_CASE("memory: a job keeps its limit, and what it says that it needs is enough to go on") {
  const Model model = Model::from_graph(test::mixed_network(3, 8));
  const std::size_t without = test::bytes_of([&] { test::quantized(model, "{}", 8); });
  std::size_t limit = 1;
  int raised = 0;
  for (; raised < 50; ++raised) {
    Error error;
    const std::size_t bytes = test::bytes_of([&] {
      const std::string options = R"({"memoryLimit": )" + std::to_string(limit) + "}";
      auto job = QuantizeJob::create(model, options, {});
      const auto feed = [&]() -> Status {
        for (unsigned i = 0; i < 8; ++i) {
          test::set_input(job->input(0),
                          test::random_values(job->input(0).size() / sizeof(float), 100 + i));
          OCTAVO_CHECK_OK(job->begin_sample());
          while (!job->sample_finished()) OCTAVO_CHECK_OK(job->step());
        }
        OCTAVO_CHECK_OK(job->end_samples());
        for (std::string_view stage; stage != "done";) {
          OCTAVO_TRY(const Progress progress, job->step());
          stage = progress.stage;
        }
        return ok_status();
      };
      if (!job.ok()) {
        error = job.error();
      } else if (const Status done = feed(); !done.ok()) {
        error = done.error();
      }
    });
    CAPTURE(error.what);
    // What is no session, sample or fit (graphs, observers, the report) does not count: it is there
    // without a limit as well.
    CHECK(bytes <= limit + without);
    if (error.what.empty()) break;
    REQUIRE(error.code == Code::kLimitExceeded);
    CHECK(error.hint.find("memory") != std::string::npos);
    const std::size_t needs =
        std::max(number_behind(error.what, "needs "), number_behind(error.what, "takes "));
    REQUIRE(needs > 0);
    const std::size_t enough = needs + number_behind(error.what, "the job holds ");
    REQUIRE(enough > limit);
    limit = enough;
  }
  CHECK(raised > 3);  // sessions, samples, fitting, evaluation
  CHECK(raised < 50);
}

}  // namespace
}  // namespace octavo::quantize
