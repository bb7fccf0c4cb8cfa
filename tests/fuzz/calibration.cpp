// Saved calibrations: bytes that write_state() did not make are refused and leave the job as it
// was said to be; others are as good as the samples that they stand for.
#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "fuzz/fuzz.h"
#include "quantize/calibration_state.h"
#include "quantize/job.h"
#include "support/graph_builder.h"

using namespace octavo;

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace {
Graph network() {
  test::GraphBuilder b;
  const auto weights = [](Shape shape) {
    std::vector<float> values(static_cast<std::size_t>(shape.elements()));
    for (std::size_t i = 0; i < values.size(); ++i)
      values[i] = 0.25F * static_cast<float>(i % 5) - 0.4F;
    return Tensor::of<float>(std::move(shape), values);
  };
  const ValueId x = b.input("image", Shape{1, 1, 4, 4});
  const ValueId conv = b.node("Conv", {x, b.constant(weights(Shape{2, 1, 3, 3}))});
  b.output(b.node("Relu", {conv}));
  return b.graph;
}

constexpr std::array kObservers{"mse",       "minmax",  "percentile",
                                "histogram", "entropy", "movingAverage"};

quantize::QuantizeJob job_of(std::uint8_t number) {
  static const quantize::Model model = quantize::Model::from_graph(network());
  const std::string options = std::string(R"({"activation":{"numBins":64,"observer":")") +
                              kObservers[number % kObservers.size()] + R"("}})";
  auto job = quantize::QuantizeJob::create(model, options, {});
  fuzz::check(job.ok(), "the network can be quantized");
  return std::move(*job);
}

Status settle(quantize::QuantizeJob& job) {
  while (!job.sample_finished()) {
    OCTAVO_TRY([[maybe_unused]] const auto progress, job.step());
  }
  return ok_status();
}

Status see_one(quantize::QuantizeJob& job) {
  std::array<float, 16> values{};
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i) - 7;
  const std::span<std::byte> input = job.input(0);
  fuzz::check(input.size() == sizeof values, "the input is 4 x 4 floats");
  std::memcpy(input.data(), values.data(), sizeof values);
  OCTAVO_CHECK_OK(job.begin_sample());
  return settle(job);
}

Status load_and_finish(quantize::QuantizeJob& job, std::span<const std::byte> state) {
  OCTAVO_CHECK_OK(job.load_calibration(state));
  OCTAVO_CHECK_OK(settle(job));
  OCTAVO_CHECK_OK(see_one(job));
  OCTAVO_TRY(const auto saved, job.save_calibration(false));
  fuzz::check(quantize::read_state(saved).ok(), "what is saved can be read");
  OCTAVO_CHECK_OK(job.end_samples());
  for (std::string_view stage; stage != "done";) {
    OCTAVO_TRY(const auto progress, job.step());
    stage = progress.stage;
  }
  fuzz::check(!job.report_json().empty(), "a job has a report");
  return ok_status();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto bytes = fuzz::exact_bytes(data + 1, size - 1);
  const std::span<const std::byte> state{bytes.get(), size - 1};
  const auto read = quantize::read_state(state);
  if (read.ok()) {
    const std::vector<std::byte> again = quantize::write_state(*read);
    fuzz::check(std::ranges::equal(again, state), "what can be read is what is written");
  } else {
    fuzz::check_error(read.error());
  }
  quantize::QuantizeJob job = job_of(data[0]);
  const Status done = load_and_finish(job, state);
  if (!done.ok()) fuzz::check_error(done.error());
  fuzz::check(read.ok() || !done.ok(), "a job loads what can be read");
  return 0;
}

// Starts from calibrations that are right: random bytes would hardly ever spell one.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t max_size, unsigned seed) {
  if (size < 8 || seed % 64 == 0) {
    const auto number = static_cast<std::uint8_t>(seed / 64);
    quantize::QuantizeJob job = job_of(number);
    fuzz::check(see_one(job).ok(), "the sample is a good one");
    const auto state = job.save_calibration(false);
    fuzz::check(state.ok(), "a calibration can be saved");
    if (state->size() + 1 <= max_size) {
      data[0] = number;
      std::memcpy(data + 1, state->data(), state->size());
      return state->size() + 1;
    }
  }
  // Most changes stay in their place: one that moves what follows ends at the first count.
  if (seed % 4 != 0) {
    const std::size_t at = seed / 4 % size;
    LLVMFuzzerMutate(data + at, std::min<std::size_t>(size - at, 1 + seed % 8), size - at);
    return size;
  }
  return LLVMFuzzerMutate(data, size, max_size);
}
