// Saved calibrations: going on, merging parts, and what is refused.
#include "quantize/calibration_state.h"

#include <doctest/doctest.h>

#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "support/networks.h"

namespace octavo::quantize {
namespace {

using test::take;

using Bytes = std::vector<std::byte>;

class Worker {
 public:
  explicit Worker(const Graph& graph, const std::string& options = "{}")
      : job_(take(QuantizeJob::create(Model::from_graph(graph), options, {}))) {}

  Worker& see(unsigned first, unsigned last) {
    for (unsigned i = first; i < last; ++i) {
      test::set_input(job_.input(0),
                      test::random_values(job_.input(0).size() / sizeof(float), 100 + i));
      take(job_.begin_sample());
      settle();
    }
    return *this;
  }
  Worker& load(const Bytes& state) {
    take(job_.load_calibration(state));
    settle();
    return *this;
  }
  // The error of loading, at once or on the way.
  Error refused(const Bytes& state) {
    if (Status status = job_.load_calibration(state); !status.ok()) return status.error();
    while (!job_.sample_finished()) {
      if (auto progress = job_.step(); !progress.ok()) return progress.error();
    }
    FAIL("it was loaded");
    return {};
  }
  Bytes save(bool basis = false) { return take(job_.save_calibration(basis)); }
  Bytes file() {
    take(job_.end_samples());
    test::finish(job_);
    return take(job_.take_model().to_onnx({}));
  }
  QuantizeJob& job() { return job_; }

 private:
  void settle() {
    while (!job_.sample_finished()) take(job_.step());
  }
  QuantizeJob job_;
};

struct Case {
  const char* what;
  Graph graph;
};
std::vector<Case> cases() {
  return {{"mixed", test::mixed_network(3)},
          {"equalized", test::skewed_network(12)},
          {"absorbed", test::high_biases({})}};
}

TEST_CASE("a calibration that is saved and loaded goes on as if it had never stopped") {
  for (const Case& c : cases()) {
    CAPTURE(c.what);
    const Bytes whole = Worker(c.graph).see(0, 45).file();
    for (const unsigned stop : {5U, 31U, 32U, 40U}) {
      CAPTURE(stop);
      const Bytes state = Worker(c.graph).see(0, stop).save();
      CHECK(Worker(c.graph).load(state).see(stop, 45).file() == whole);
    }
  }
}

TEST_CASE("two workers' states merge to what one would have found") {
  for (const char* observer : {"mse", "minmax", "percentile", "entropy", "auto"}) {
    CAPTURE(observer);
    const std::string options =
        R"({"activation": {"observer": ")" + std::string(observer) + R"("}})";
    const Graph graph = test::mixed_network(3);
    const Bytes whole = Worker(graph, options).see(0, 60).file();
    for (const unsigned cut : {6U, 31U, 40U}) {
      CAPTURE(cut);
      const Bytes first = Worker(graph, options).see(0, cut).save();
      const Bytes second = Worker(graph, options).see(cut, 60).save();
      CHECK(Worker(graph, options).load(first).load(second).file() == whole);
    }
  }
}

TEST_CASE("where channels are changed, workers that start from one basis merge") {
  for (const Graph& graph : {test::skewed_network(12), test::high_biases({})}) {
    const Bytes whole = Worker(graph).see(0, 60).file();
    Worker first(graph);
    const Bytes basis = first.see(0, 32).save(true);
    const Bytes second = Worker(graph).load(basis).see(40, 60).save();
    CHECK(first.see(32, 40).load(second).file() == whole);
    // Few enough samples are all kept, and need none.
    const Bytes few = Worker(graph).see(20, 32).save();
    CHECK(Worker(graph).see(0, 20).load(few).file() == Worker(graph).see(0, 32).file());
    // So many that a part of them was observed before and a part after it.
    const std::string more = R"({"evaluateSamples": 40})";
    const Bytes half = Worker(graph, more).see(20, 40).save();
    CHECK(Worker(graph, more).see(0, 20).load(half).file() ==
          Worker(graph, more).see(0, 40).file());
    // Otherwise what the second has observed is of another network than the merged one.
    CHECK(Worker(graph).see(0, 10).refused(Worker(graph).see(10, 41).save()).code ==
          Code::kInvalidState);
    CHECK(Worker(graph).see(0, 32).refused(Worker(graph).see(10, 30).save()).code ==
          Code::kInvalidState);
    CHECK(Worker(graph).see(5, 40).refused(second).what.find("another calibration") !=
          std::string::npos);
  }
}

TEST_CASE("states of other models and options, damaged ones, and calls out of turn are refused") {
  const Graph graph = test::mixed_network(3);
  const Bytes state = Worker(graph).see(0, 4).save();
  CHECK(Worker(test::mixed_network(4)).refused(state).code == Code::kInvalidState);
  CHECK(Worker(test::skewed_network(12)).refused(state).code == Code::kInvalidState);
  CHECK(Worker(graph, R"({"activation": {"observer": "minmax"}})").refused(state).code ==
        Code::kInvalidState);
  CHECK(Worker(graph, R"({"activation": {"observer": "percentile"}})").refused(state).code ==
        Code::kInvalidState);
  for (std::size_t size = 0; size < state.size(); size += 1 + size / 5)
    CHECK_FALSE(read_state(std::span(state).first(size)).ok());
  Bytes longer = state;
  longer.push_back(std::byte{0});
  CHECK_FALSE(read_state(longer).ok());

  Worker worker(graph);
  CHECK(worker.job().save_calibration(true).error().what.find("32") != std::string::npos);
  test::set_input(worker.job().input(0), test::random_values(3 * 12 * 12, 1));
  take(worker.job().begin_sample());
  CHECK(worker.job().save_calibration(false).error().code == Code::kInvalidState);
  CHECK(worker.job().load_calibration(state).error().code == Code::kInvalidState);
  CHECK(Worker(graph).see(0, 3).job().kept_sample(2).size() == 3 * 12 * 12 * sizeof(float));
  CHECK(Worker(graph).see(0, 3).job().kept_sample(3).empty());
}

TEST_CASE("a kept sample that is not finite is refused, as when it comes by itself") {
  const Graph graph = test::mixed_network(3);
  CalibrationState state = take(read_state(Worker(graph).see(0, 4).save()));
  for (const float wrong :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    CAPTURE(wrong);
    CalibrationState damaged = state;
    std::memcpy(damaged.kept[1][0].data(), &wrong, sizeof wrong);
    CHECK(Worker(graph).refused(write_state(damaged)).code == Code::kNonFiniteSample);
  }
}

}  // namespace
}  // namespace octavo::quantize
