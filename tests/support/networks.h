// Networks with random weights and the ways to run them, for tests of the facade.
#pragma once

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "passes/passes.h"
#include "passes/pipelines.h"
#include "quantize/job.h"
#include "quantize/measure.h"
#include "quantize/model.h"
#include "support/graph_builder.h"
#include "support/take.h"

namespace octavo::test {

class RandomNetwork : public GraphBuilder {
 public:
  explicit RandomNetwork(unsigned seed) : random_(seed) {}

  ValueId floats(Shape shape, float spread) {
    std::normal_distribution<float> normal(0, spread);
    std::vector<float> values(static_cast<std::size_t>(shape.elements()));
    for (float& value : values) value = normal(random_);
    return constant(Tensor::of<float>(std::move(shape), values));
  }
  ValueId positive(Shape shape) {
    std::uniform_real_distribution<float> uniform(0.5F, 2.0F);
    std::vector<float> values(static_cast<std::size_t>(shape.elements()));
    for (float& value : values) value = uniform(random_);
    return constant(Tensor::of<float>(std::move(shape), values));
  }
  ValueId batch_norm(ValueId x, std::int64_t channels) {
    const Shape c{channels};
    return node("BatchNormalization",
                {x, floats(c, 1), floats(c, 0.3F), floats(c, 0.3F), positive(c)});
  }
  ValueId conv(ValueId x, std::int64_t in, std::int64_t out, std::int64_t kernel,
               std::int64_t group = 1) {
    const Shape shape{out, in / group, kernel, kernel};
    const float spread = 1.0F / static_cast<float>(kernel * (in / group));
    const std::int64_t pad = kernel / 2;
    return node("Conv", {x, floats(shape, spread), floats(Shape{out}, 0.1F)},
                {{"group", group}, {"pads", std::vector<std::int64_t>{pad, pad, pad, pad}}});
  }
  ValueId clip6(ValueId x) {
    return node("Clip", {x, constant(Tensor::scalar(0.0F)), constant(Tensor::scalar(6.0F))});
  }

 private:
  std::mt19937 random_;
};

// What the sample networks are made of: a BatchNormalization on the input, folded ones, depthwise,
// a residual sum with a BatchNormalization and a Relu behind it, Concat, MaxPool, Sigmoid * x,
// pooling and a Gemm.
inline Graph mixed_network(unsigned seed, std::int64_t batch = 1) {
  RandomNetwork b(seed);
  const ValueId x = b.input("image", Shape{batch, 3, 12, 12});
  ValueId y = b.batch_norm(x, 3);
  y = b.clip6(b.batch_norm(b.conv(y, 3, 8, 3), 8));
  const ValueId before = y;
  y = b.clip6(b.batch_norm(b.conv(y, 8, 8, 3, 8), 8));
  y = b.node("Add", {before, b.conv(y, 8, 8, 1)});
  y = b.node("Relu", {b.batch_norm(y, 8)});
  y = b.node("MaxPool", {y},
             {{"kernel_shape", std::vector<std::int64_t>{2, 2}},
              {"strides", std::vector<std::int64_t>{2, 2}}});
  const ValueId branch = b.conv(y, 8, 4, 1);
  y = b.node("Concat", {y, branch}, {{"axis", std::int64_t{1}}});
  y = b.node("Mul", {y, b.node("Sigmoid", {y})});
  y = b.node("GlobalAveragePool", {y});
  y = b.node("Flatten", {y});
  y = b.node("Gemm", {y, b.floats(Shape{5, 12}, 0.4F), b.floats(Shape{5}, 0.1F)},
             {{"transB", std::int64_t{1}}});
  b.output(y);
  b.graph.value(y).name = "logits";
  b.graph.name = "mixed";
  return b.graph;
}

struct HighBiases {
  bool relu = true;
  std::int64_t pad = 0;   // of the layer that reads
  bool exported = false;  // the tensor is an output too
  float apart = 100;      // the channels' distance
};

// Eight channels, channel c around (c + 1) * apart, and a layer that reads what varies.
inline Graph high_biases(const HighBiases& kind) {
  RandomNetwork b(4);
  const ValueId x = b.input("image", Shape{1, 3, 8, 8});
  std::vector<float> biases;
  for (int c = 0; c < 8; ++c) biases.push_back(kind.apart * static_cast<float>(c + 1));
  ValueId y = b.node(
      "Conv", {x, b.floats(Shape{8, 3, 1, 1}, 1), b.constant(Tensor::of<float>(Shape{8}, biases))});
  if (kind.relu) y = b.node("Relu", {y});
  // Each row sums up to 0 times the biases' means, so that what varies is the answer.
  const Tensor random = *b.graph.value(b.floats(Shape{6, 8, 1, 1}, 0.5F)).constant;
  std::vector<float> weights(random.span<float>().begin(), random.span<float>().end());
  for (std::size_t row = 0; row < 6; ++row) {
    float sum = 0;
    for (std::size_t c = 1; c < 8; ++c) sum += weights[row * 8 + c] * static_cast<float>(c + 1);
    weights[row * 8] = -sum;
  }
  const ValueId z = b.node("Conv", {y, b.constant(Tensor::of<float>(Shape{6, 8, 1, 1}, weights))},
                           {{"pads", std::vector<std::int64_t>(4, kind.pad)}});
  b.output(z);
  if (kind.exported) b.output(y);
  return b.graph;
}

// A residual block whose inner channels are scaled by powers of two from 1 to 2^skew, up in the
// convolution that makes them and down in the one that reads them.
inline Graph skewed_network(int skew, bool clip = false) {
  constexpr std::int64_t kChannels = 16;
  RandomNetwork b(5);
  const auto scaled = [&](ValueId x, bool rows) {
    const Shape shape{kChannels, kChannels, 3, 3};
    std::vector<float> w = to_floats(*b.graph.value(b.floats(shape, 0.1F)).constant);
    for (std::size_t i = 0; i < w.size(); ++i) {
      const auto c = static_cast<int>(rows ? i / (9 * kChannels) : i / 9 % kChannels);
      w[i] = std::ldexp(w[i], (rows ? 1 : -1) * (c * skew / static_cast<int>(kChannels)));
    }
    return b.node("Conv", {x, b.constant(Tensor::of<float>(shape, w))},
                  {{"pads", std::vector<std::int64_t>{1, 1, 1, 1}}});
  };
  const ValueId x = b.input("image", Shape{1, 3, 8, 8});
  const ValueId stem = b.node("Relu", {b.conv(x, 3, kChannels, 3)});
  const ValueId inner = scaled(stem, true);
  const ValueId active = clip ? b.clip6(inner) : b.node("Relu", {inner});
  ValueId y = b.node("Relu", {b.node("Add", {stem, scaled(active, false)})});
  y = b.node("Flatten", {b.node("GlobalAveragePool", {y})});
  y = b.node("Gemm", {y, b.floats(Shape{5, kChannels}, 0.4F)}, {{"transB", std::int64_t{1}}});
  b.output(y);
  Graph graph = b.graph;
  passes::PassContext context;
  take(passes::optimize_float(graph, context));
  return graph;
}

inline std::vector<float> random_values(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(n);
  for (float& value : values) value = normal(random);
  return values;
}

inline void set_input(std::span<std::byte> to, const std::vector<float>& values) {
  REQUIRE(to.size() == values.size() * sizeof(float));
  std::memcpy(to.data(), values.data(), to.size());
}

// Output i of one run on `input`.
inline std::vector<float> run(runtime::Session& session, const std::vector<float>& input,
                              std::size_t output = 0) {
  set_input(session.input(0), input);
  session.run();
  return quantize::read_real(session, session.graph().outputs[output]);
}

// The graph as it is, DequantizeLinear and QuantizeLinear computed in float: nothing lowered.
inline runtime::Session unlowered_session(Graph graph, bool keep_values) {
  take(passes::fix_shapes(graph, {}));
  passes::PassContext context;
  take(passes::fold_dequantize(graph, context));
  take(passes::assign_layouts(graph, context));
  runtime::SessionOptions options;
  options.keep_values = keep_values;
  return take(runtime::Session::create(std::move(graph), options));
}

inline void finish(quantize::QuantizeJob& job) {
  for (std::string_view stage; stage != "done";) stage = take(job.step()).stage;
}

// A job that has seen `samples` random inputs and is done.
inline quantize::QuantizeJob quantized(const quantize::Model& model, const std::string& options,
                                       int samples = 6) {
  quantize::QuantizeJob job = take(quantize::QuantizeJob::create(model, options, {}));
  for (int i = 0; i < samples; ++i) {
    set_input(job.input(0),
              random_values(job.input(0).size() / sizeof(float), 100 + static_cast<unsigned>(i)));
    take(job.begin_sample());
    while (!job.sample_finished()) take(job.step());
  }
  take(job.end_samples());
  finish(job);
  return job;
}

}  // namespace octavo::test
