// The whole native path on real networks: import, quantize, run both, and how far they are apart.
//
// OCTAVO_PICTURES sets how many test pictures each network gets (default 200); the line that is
// printed is the result.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "quantize/job.h"
#include "quantize/measure.h"
#include "quantize/model.h"
#include "support/files.h"

namespace octavo::quantize {
namespace {

enum class Pictures { kDigits, kDigits255, kCifar, kCifarOwn, kCifar255, kNoise };

struct Network {
  const char* file;
  Pictures pictures;
  double least_sqnr;   // dB of the first output
  const char* shapes;  // inputShapes as JSON
};

constexpr Network kNetworks[] = {
    {"own/digits_mobilenet_bn.onnx", Pictures::kDigits, 30, "{}"},
    {"own/mobilenetv2_cifar10_bn.onnx", Pictures::kCifarOwn, 30, "{}"},
    {"own/densenet_tiny_cifar10_bn.onnx", Pictures::kCifarOwn, 25, "{}"},
    {"models/resnet20_cifar10_bn.onnx", Pictures::kCifar, 25, "{}"},
    {"models/mlperf_resnet8_cifar10_bn.onnx", Pictures::kCifar255, 20, "{}"},
    {"models/mnist_cntk_op7.onnx", Pictures::kDigits255, 30, "{}"},
    {"models/vww_mobilenetv1_025_96_bn.onnx", Pictures::kNoise, 15, "{}"},
    {"models/squeezenet11_fp32.onnx", Pictures::kNoise, 10, "{}"},
    {"models/mobilenetv2_deq.onnx", Pictures::kNoise, 10, "{}"},
    {"models/version-RFB-320.onnx", Pictures::kNoise, 10, "{}"},
    {"models/yunet_n_320.onnx", Pictures::kNoise, 10, "{}"},
    {"models/ch_ppocr_mobile_v2.0_cls_infer.onnx", Pictures::kNoise, 10,
     R"({"x": [1, 3, 48, 192]})"},
};

struct Sample {
  std::vector<float> values;
  std::int64_t label = -1;
};

std::vector<Sample> digits(const std::string& file, std::size_t count, float scale) {
  std::vector<Sample> out;
  const auto bytes = test::read_gzip(test::shared_path(file));
  for (std::size_t at = 0; bytes && at + 785 <= bytes->size() && out.size() < count; at += 785) {
    Sample sample{std::vector<float>(784), (*bytes)[at]};
    for (std::size_t i = 0; i < 784; ++i)
      sample.values[i] = static_cast<float>((*bytes)[at + 1 + i]) * scale;
    out.push_back(std::move(sample));
  }
  return out;
}

std::vector<Sample> cifar(const std::string& file, std::size_t count, Pictures kind) {
  const float mean_of[3] = {.485F, .456F, .406F};
  const float std_of[3] = {.229F, .224F, .225F};
  const float own_mean[3] = {.4914F, .4822F, .4465F};
  const float own_std[3] = {.2470F, .2435F, .2616F};
  std::vector<Sample> out;
  const auto bytes = test::read_gzip(test::shared_path(file));
  for (std::size_t at = 0; bytes && at + 3073 <= bytes->size() && out.size() < count; at += 3073) {
    Sample sample{std::vector<float>(3072), (*bytes)[at]};
    for (std::size_t i = 0; i < 3072; ++i) {
      const auto byte = static_cast<float>((*bytes)[at + 1 + i]);
      const std::size_t c = i / 1024;
      sample.values[i] = kind == Pictures::kCifar255   ? byte
                         : kind == Pictures::kCifarOwn ? (byte / 255 - own_mean[c]) / own_std[c]
                                                       : (byte / 255 - mean_of[c]) / std_of[c];
    }
    out.push_back(std::move(sample));
  }
  return out;
}

// Smooth blobs of changing size and place: no pictures, but not white noise either.
std::vector<Sample> blobs(const Shape& shape, std::size_t count, unsigned seed) {
  std::vector<Sample> out;
  const std::int64_t height = shape[2];
  const std::int64_t width = shape[3];
  for (std::size_t n = 0; n < count; ++n) {
    Sample sample;
    for (std::int64_t c = 0; c < shape[1]; ++c) {
      const double phase =
          static_cast<double>((n + 1) * (static_cast<std::size_t>(c) + 2) * seed % 97) / 7;
      for (std::int64_t y = 0; y < height; ++y) {
        for (std::int64_t x = 0; x < width; ++x) {
          const double v =
              std::sin(phase + static_cast<double>(x) * (3.0 + static_cast<double>(n % 5)) /
                                   static_cast<double>(width)) *
              std::cos(phase - static_cast<double>(y) * (2.0 + static_cast<double>(n % 7)) /
                                   static_cast<double>(height));
          sample.values.push_back(static_cast<float>(v));
        }
      }
    }
    out.push_back(std::move(sample));
  }
  return out;
}

std::vector<Sample> pictures_for(const Network& network, const Shape& shape, bool calibration,
                                 std::size_t count) {
  const char* mnist =
      calibration ? "pictures/mnist_train_calib_500.bin.gz" : "pictures/mnist_t10k_0-4999.bin.gz";
  const char* cifar10 = calibration ? "pictures/cifar10_jpeg_train_calib_200.bin.gz"
                                    : "pictures/cifar10_jpeg_test_1000.bin.gz";
  switch (network.pictures) {
    case Pictures::kDigits:
      return digits(mnist, count, 1.0F / 255);
    case Pictures::kDigits255:
      return digits(mnist, count, 1.0F);
    case Pictures::kCifar:
    case Pictures::kCifarOwn:
    case Pictures::kCifar255:
      return cifar(cifar10, count, network.pictures);
    case Pictures::kNoise:
      break;
  }
  return blobs(shape, std::min<std::size_t>(count, 8), calibration ? 3 : 5);
}

void write(std::span<std::byte> to, const Sample& sample) {
  REQUIRE(to.size() == sample.values.size() * sizeof(float));
  std::memcpy(to.data(), sample.values.data(), to.size());
}

std::size_t picture_count() {
  const char* text = std::getenv("OCTAVO_PICTURES");
  return text != nullptr ? static_cast<std::size_t>(std::atoi(text)) : 200;
}

TEST_CASE("real networks: int8 answers like float, and the exported file gives the same integers") {
  for (const Network& network : kNetworks) {
    const std::string name = network.file;  // doctest prints the address of a const char*
    CAPTURE(name);
    const auto file = test::read_file(test::shared_path(name));
    if (!file) {
      MESSAGE("skipped: ", name, " is not there");
      continue;
    }
    const auto model = Model::load(test::shared_bytes(*file), file->size());
    REQUIRE_MESSAGE(model.ok(), (model.ok() ? std::string() : model.error().message()));
    const std::string options =
        std::string(R"({"inputShapes": )") + network.shapes + R"(, "evaluateSamples": 4})";
    auto job = QuantizeJob::create(*model, options, {});
    REQUIRE_MESSAGE(job.ok(), (job.ok() ? std::string() : job.error().message()));
    const Shape shape = *job->graph().value(job->graph().inputs[0]).shape;
    const auto calibration = pictures_for(network, shape, true, 200);
    const auto test_pictures = pictures_for(network, shape, false, picture_count());
    if (calibration.empty() || test_pictures.empty()) {
      MESSAGE("skipped: the pictures for ", name, " are not there");
      continue;
    }
    for (const Sample& sample : calibration) {
      write(job->input(0), sample);
      REQUIRE(job->begin_sample().ok());
      while (!job->sample_finished()) REQUIRE(job->step().ok());
    }
    REQUIRE(job->end_samples().ok());
    for (std::string_view stage; stage != "done";) {
      const auto progress = job->step();
      REQUIRE_MESSAGE(progress.ok(), (progress.ok() ? std::string() : progress.error().message()));
      stage = progress->stage;
    }
    const auto report = nlohmann::json::parse(job->report_json());
    const Model int8 = job->take_model();

    passes::InputShapes shapes;
    shapes.by_name[job->graph().value(job->graph().inputs[0]).name] = shape;
    auto float_session = create_session(*model, shapes, {});
    auto int8_session = create_session(int8, shapes, {});
    const auto bytes = int8.to_onnx({});
    REQUIRE_MESSAGE(bytes.ok(), (bytes.ok() ? std::string() : bytes.error().message()));
    const std::vector<char> exported(reinterpret_cast<const char*>(bytes->data()),
                                     reinterpret_cast<const char*>(bytes->data()) + bytes->size());
    const auto again = Model::load(test::shared_bytes(exported), exported.size());
    REQUIRE_MESSAGE(again.ok(), (again.ok() ? std::string() : again.error().message()));
    auto again_session = create_session(*again, shapes, {});
    REQUIRE(float_session.ok());
    REQUIRE_MESSAGE(int8_session.ok(),
                    (int8_session.ok() ? std::string() : int8_session.error().message()));
    REQUIRE_MESSAGE(again_session.ok(),
                    (again_session.ok() ? std::string() : again_session.error().message()));

    std::int64_t float_hits = 0, int8_hits = 0, labelled = 0, rows = 0, equal = 0, different = 0,
                 elements = 0;
    ErrorSums sums;
    for (const Sample& sample : test_pictures) {
      for (runtime::Session* session : {&*float_session, &*int8_session, &*again_session}) {
        write(session->input(0), sample);
        session->run();
      }
      const auto a = read_real(*float_session, float_session->graph().outputs[0]);
      const auto b = read_real(*int8_session, int8_session->graph().outputs[0]);
      const auto c = read_real(*again_session, again_session->graph().outputs[0]);
      sums.add(a, b);
      REQUIRE(b.size() == c.size());
      for (std::size_t i = 0; i < b.size(); ++i) different += b[i] != c[i] ? 1 : 0;
      elements += static_cast<std::int64_t>(b.size());
      const Shape& out = *float_session->graph().value(float_session->graph().outputs[0]).shape;
      const auto top_a = top1_rows(a, out);
      const auto top_b = top1_rows(b, out);
      for (std::size_t row = 0; row < top_a.size(); ++row) {
        ++rows;
        equal += top_a[row] == top_b[row] ? 1 : 0;
      }
      if (sample.label >= 0 && top_a.size() == 1) {
        ++labelled;
        float_hits += top_a[0] == sample.label ? 1 : 0;
        int8_hits += top_b[0] == sample.label ? 1 : 0;
      }
    }
    int int8_nodes = 0, float_nodes = 0;
    for (const auto& node : report["nodes"]) {
      int8_nodes += node["fate"] == "int8" ? 1 : 0;
      float_nodes += node["fate"] == "float" ? 1 : 0;
    }
    const double sqnr = sums.sqnr().value_or(200);
    std::cout << network.file << ": top-1 ";
    if (labelled > 0) {
      std::cout << 100.0 * static_cast<double>(float_hits) / static_cast<double>(labelled) << " -> "
                << 100.0 * static_cast<double>(int8_hits) / static_cast<double>(labelled)
                << " % of " << labelled;
    } else {
      std::cout << "-";
    }
    std::cout << ", agreement "
              << (rows > 0 ? 100.0 * static_cast<double>(equal) / static_cast<double>(rows) : 0)
              << " %, SQNR " << sqnr << " dB, " << report["latency"]["floatMs"].get<double>()
              << " -> " << report["latency"]["int8Ms"].get<double>() << " ms, " << int8_nodes
              << " int8 / " << float_nodes << " float nodes, re-imported: " << different << " of "
              << elements << " differ\n";
    CHECK(sqnr >= network.least_sqnr);
    CHECK(static_cast<double>(different) <= 0.001 * static_cast<double>(elements));
    if (labelled >= 100) CHECK(std::abs(float_hits - int8_hits) <= labelled / 100 + 1);
  }
}

}  // namespace
}  // namespace octavo::quantize
