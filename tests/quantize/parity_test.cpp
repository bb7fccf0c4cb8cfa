// The same bytes on every level, engine class and build: the numbers in tests/data/parity.txt,
// which the JS and the browser tests hold too.
#include <doctest/doctest.h>

#include <cstring>
#include <fstream>
#include <map>
#include <sstream>

#include "quantize/job.h"
#include "simd/isa.h"
#include "support/files.h"

using namespace octavo;

namespace {

constexpr std::size_t kPixels = 28 * 28;

// Pixel i of synthetic digit `seed`: a byte of a hash, as k / 256, exact in f32.
float pixel(std::uint32_t i, std::uint32_t seed) {
  std::uint32_t h = i * 2654435761U + seed;
  h ^= h >> 15;
  h *= 2246822519U;
  h ^= h >> 13;
  return static_cast<float>(h & 255U) / 256.0F;
}

std::vector<float> digit(std::uint32_t seed) {
  std::vector<float> out(kPixels);
  for (std::uint32_t i = 0; i < kPixels; ++i) out[i] = pixel(i, seed);
  return out;
}

class Fnv1a {
 public:
  void add(std::span<const std::byte> bytes) {
    for (const std::byte byte : bytes)
      hash_ = (hash_ ^ static_cast<std::uint64_t>(byte)) * 0x100000001B3ULL;
  }
  std::string hex() const {
    char text[17];
    std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash_));
    return text;
  }

 private:
  std::uint64_t hash_ = 0xCBF29CE484222325ULL;
};

std::map<std::string, std::string> expected() {
  std::ifstream in(std::string(OCTAVO_SOURCE_DIR) + "/tests/data/parity.txt");
  std::map<std::string, std::string> out;
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string key, value;
    if (line.starts_with("#") || !(words >> key >> value)) continue;
    out[key] = value;
  }
  return out;
}

struct Made {
  std::string file, logits;
};

Made make(const kernels::Policy& policy) {
  const auto bytes = test::read_file(std::string(OCTAVO_SOURCE_DIR) +
                                     "/web/public/samples/digits_mobilenet_bn.onnx");
  REQUIRE(bytes.has_value());
  const auto model = quantize::Model::load(test::shared_bytes(*bytes), bytes->size());
  REQUIRE(model.ok());
  auto job = quantize::QuantizeJob::create(*model, R"({"evaluateSamples": 1})", policy);
  REQUIRE(job.ok());
  for (std::uint32_t seed = 1; seed <= 10; ++seed) {
    const std::vector<float> image = digit(seed);
    std::memcpy(job->input(0).data(), image.data(), image.size() * sizeof(float));
    REQUIRE(job->begin_sample().ok());
    while (!job->sample_finished()) REQUIRE(job->step().ok());
  }
  REQUIRE(job->end_samples().ok());
  for (;;) {
    const auto progress = job->step();
    REQUIRE(progress.ok());
    if (progress->stage == "done") break;
  }
  const quantize::Model int8 = job->take_model();
  Fnv1a file;
  const auto exported = int8.to_onnx({});
  REQUIRE(exported.ok());
  file.add(*exported);
  runtime::SessionOptions options;
  options.policy = policy;
  auto session = quantize::create_session(int8, {}, options);
  REQUIRE(session.ok());
  Fnv1a logits;
  for (std::uint32_t seed = 101; seed <= 110; ++seed) {
    const std::vector<float> image = digit(seed);
    std::memcpy(session->input(0).data(), image.data(), image.size() * sizeof(float));
    session->run();
    logits.add(session->output(0));
  }
  return {file.hex(), logits.hex()};
}

}  // namespace

TEST_CASE(
    "every level and engine class makes the file and the logits that tests/data/parity.txt names") {
  using simd::EngineClass;
  using simd::Level;
  std::vector<kernels::Policy> policies{{EngineClass::kNone, Level::kScalar},
                                        {EngineClass::kNone, Level::kSimd128},
                                        {simd::probe_engine_class(), Level::kBest}};
  // Natively the relaxed rows run on models of the engine classes.
  if constexpr (simd::kHasRelaxedModels) {
    for (const EngineClass c :
         {EngineClass::kSdot, EngineClass::kUsdot, EngineClass::kMaddubs, EngineClass::kWrap})
      policies.push_back({c, Level::kBest});
  }
  const auto wanted = expected();
  for (const kernels::Policy& policy : policies) {
    CAPTURE(simd::engine_class_name(policy.engine));
    CAPTURE(simd::level_name(policy.level));
    const Made made = make(policy);
    CHECK(made.file == wanted.at("file"));
    CHECK(made.logits == wanted.at("logits"));
  }
}
