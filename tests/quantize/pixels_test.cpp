// octavo::Pixels and its passes.
#include "passes/pixels.h"

#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/quantize/quantize.h"
#include "runtime/session.h"
#include "support/buffers.h"
#include "support/graph_builder.h"

namespace octavo::passes {
namespace {

const PixelMapping kRgb{
    {0, 1, 2},
    {1.0 / 255, 0, 0.485, 0.229, 1.0 / 255, 0, 0.456, 0.224, 1.0 / 255, 0, 0.406, 0.225}};
const PixelMapping kGrey{{}, {2.0 / 255, -1, 0, 1}};

float formula(const PixelMapping& mapping, std::size_t c, const std::uint8_t* rgba) {
  const double byte = mapping.source.empty() ? 0.299 * rgba[0] + 0.587 * rgba[1] + 0.114 * rgba[2]
                                             : rgba[mapping.source[c]];
  const double* n = mapping.normalization.data() + 4 * c;
  return static_cast<float>((byte * n[0] + n[1] - n[2]) / n[3]);
}

std::vector<std::byte> run(Graph graph, const std::vector<std::uint8_t>& pixels, int threads) {
  runtime::ThreadPool pool(threads);
  auto session = runtime::Session::create(std::move(graph), {.pool = &pool});
  REQUIRE(session.ok());
  REQUIRE(session->input(0).size() == pixels.size());
  std::memcpy(session->input(0).data(), pixels.data(), pixels.size());
  session->run();
  const auto out = session->output(0);
  return {out.begin(), out.end()};
}

TEST_CASE("pixels: floats and codes are the formula's, in either order, on any threads") {
  const auto pixels = test::random_codes<std::uint8_t>(std::size_t{2} * 5 * 7 * 4, 3);
  for (const PixelMapping& mapping : {kRgb, kGrey}) {
    const std::size_t channels = mapping.source.empty() ? 1 : 3;
    const auto depth = static_cast<std::int64_t>(channels);
    for (const bool second : {true, false}) {
      for (const bool codes : {false, true}) {
        CAPTURE(second);
        CAPTURE(codes);
        test::GraphBuilder b;
        const ValueId x = b.input("x", second ? Shape{2, depth, 5, 7} : Shape{2, 5, 7, depth});
        const QuantParams grid = QuantParams::per_tensor(0.02F, 117);
        ValueId y = x;
        if (codes) {
          y = b.node("QuantizeLinear", {x, b.constant(Tensor::of<float>({}, {0.02F})),
                                        b.constant(Tensor::of<std::uint8_t>({}, {117}))});
          b.graph.value(y).quant = grid;
        } else {
          y = b.node("Relu", {x});
        }
        b.output(y);
        REQUIRE(take_pixels(b.graph, mapping).ok());
        CHECK(b.graph.value(b.graph.inputs[0]).name == "x");
        REQUIRE(fuse_pixels(b.graph).ok());
        CHECK(b.graph.nodes.size() == (codes ? 1 : 2));
        for (const int threads : {1, 3}) {
          const std::vector<std::byte> out = run(b.graph, pixels, threads);
          std::size_t at = 0;
          bool equal = true;
          // The output in memory order.
          for (std::size_t image = 0; image < 2; ++image) {
            for (std::size_t i = 0; i < 35 * channels; ++i, ++at) {
              const std::size_t pixel = second ? i % 35 : i / channels;
              const std::size_t c = second ? i / 35 : i % channels;
              const float value = formula(mapping, c, pixels.data() + (image * 35 + pixel) * 4);
              if (codes) {
                equal = equal && static_cast<std::uint8_t>(out[at]) ==
                                     kernels::quantize_value<std::uint8_t>(value, {0.02F, 117});
              } else {
                float got = 0;
                std::memcpy(&got, out.data() + at * sizeof(float), sizeof(float));
                equal = equal && got == std::fmax(value, 0.0F);
              }
            }
          }
          CHECK(equal);
          CHECK(at * (codes ? 1 : sizeof(float)) == out.size());
        }
      }
    }
  }
}

TEST_CASE("pixels: what others read, too, stays") {
  test::GraphBuilder b;
  const ValueId x = b.input("x", {1, 3, 4, 4});
  const ValueId y = b.node("QuantizeLinear", {x, b.constant(Tensor::of<float>({}, {0.02F})),
                                              b.constant(Tensor::of<std::uint8_t>({}, {0}))});
  b.graph.value(y).quant = QuantParams::per_tensor(0.02F, 0);
  b.output(y);
  b.output(b.node("Relu", {x}));
  REQUIRE(take_pixels(b.graph, kRgb).ok());
  CHECK(*fuse_pixels(b.graph) == 0);
  CHECK(b.graph.nodes.size() == 3);
}

TEST_CASE("pixels: nodes of a file whose attributes make no sense are refused") {
  const Tensor one = Tensor::of<double>({1, 4}, {1, 0, 0, 1});
  const auto refused = [](std::vector<std::int64_t> source, const Tensor& normalization,
                          std::int64_t axis, Shape shape, DType dtype) {
    test::GraphBuilder b;
    const ValueId x = b.input("x", std::move(shape), dtype);
    b.output(
        b.node("Pixels", {x},
               {{"source", std::move(source)}, {"normalization", normalization}, {"axis", axis}},
               "octavo"));
    return !runtime::Session::create(b.graph, {}).ok();
  };
  CHECK(!refused({3}, one, 1, {1, 2, 2, 4}, DType::kUint8));
  CHECK(!refused({}, one, 3, {1, 2, 2, 4}, DType::kUint8));
  CHECK(refused({4}, one, 1, {1, 2, 2, 4}, DType::kUint8));
  CHECK(refused({-1}, one, 1, {1, 2, 2, 4}, DType::kUint8));
  CHECK(refused({0, 1}, one, 1, {1, 2, 2, 4}, DType::kUint8));
  CHECK(refused({0, 0, 0, 0, 0}, Tensor::of<double>({5, 4}, std::vector<double>(20, 1.0)), 1,
                {1, 2, 2, 4}, DType::kUint8));
  CHECK(refused({0}, Tensor::of<float>({1, 4}, {1, 0, 0, 1}), 1, {1, 2, 2, 4}, DType::kUint8));
  CHECK(refused({0}, one, 2, {1, 2, 2, 4}, DType::kUint8));
  CHECK(refused({0}, one, 1, {1, 2, 2, 3}, DType::kUint8));
  CHECK(refused({0}, one, 1, {1, 2, 4}, DType::kUint8));
  CHECK(refused({0}, one, 1, {1, 2, 2, 4}, DType::kFloat32));
}

}  // namespace
}  // namespace octavo::passes
