// Every row of the int8 BatchNorm, the float BatchNorm and a plain copy as functions of a
// WebAssembly module, for bench/batchnorm.mjs: it times them in a browser beside other runtimes.
#include <emscripten.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/fbatchnorm/fbatchnorm.h"
#include "kernels/qbatchnorm/qbatchnorm.h"
#include "kernels/rows.h"

namespace {

using namespace octavo::kernels;

struct Layer {
  std::size_t channels = 0, pixels = 0;
  QBatchNormSpec spec;
  std::vector<std::uint8_t> in, out;
  std::vector<float> real_in, real_out;
  struct Row {
    std::string name;
    const QBatchNormKernel* kernel = nullptr;
    PackedQBatchNorm packed;
  };
  std::vector<Row> rows;
};
Layer layer;

double uniform(std::uint32_t& state) {
  state = state * 1664525U + 1013904223U;
  return static_cast<double>(state >> 8) / 16777216.0;
}

}  // namespace

extern "C" {

// A layer with random channels whose slopes lie between 0.2 and 0.99; returns how many rows there
// are.
EMSCRIPTEN_KEEPALIVE int bn_setup(int channels, int pixels) {
  layer = {};
  layer.channels = static_cast<std::size_t>(channels);
  layer.pixels = static_cast<std::size_t>(pixels);
  std::uint32_t state = 99;
  layer.spec.zero_in = 121;
  layer.spec.zero_out = 117;
  for (int c = 0; c < channels; ++c) {
    const double slope = (0.2 + 0.79 * uniform(state)) * (uniform(state) < 0.2 ? -1 : 1);
    layer.spec.alpha.push_back(static_cast<float>(slope));
    layer.spec.beta.push_back(static_cast<float>((uniform(state) - 0.5) * 60));
  }
  const std::size_t n = layer.channels * layer.pixels;
  layer.in.resize(n);
  layer.out.resize(n);
  layer.real_in.assign(n, 0.5F);
  layer.real_out.resize(n);
  for (std::uint8_t& code : layer.in) code = static_cast<std::uint8_t>(uniform(state) * 256);
  layer.rows.push_back({"copy", nullptr, {}});
  layer.rows.push_back({"float-nhwc", nullptr, {}});
  const std::vector<std::uint8_t> tables = qbatchnorm_tables(layer.spec);
  for (const QBatchNormKernel& kernel : qbatchnorm_kernels()) {
    if (auto packed = kernel.pack(layer.spec, tables))
      layer.rows.push_back({std::string(kernel.name), &kernel, *std::move(packed)});
  }
  return static_cast<int>(layer.rows.size());
}

EMSCRIPTEN_KEEPALIVE const char* bn_name(int row) {
  return layer.rows[static_cast<std::size_t>(row)].name.c_str();
}

EMSCRIPTEN_KEEPALIVE void bn_run(int index, int calls) {
  const Layer::Row& row = layer.rows[static_cast<std::size_t>(index)];
  for (int i = 0; i < calls; ++i) {
    if (row.name == "copy") {
      std::memcpy(layer.out.data(), layer.in.data(), layer.in.size());
    } else if (row.kernel == nullptr) {
      best_row(fbatchnorm_kernels(), {})
          .channels_last(layer.real_in.data(), layer.real_out.data(), layer.pixels, layer.channels,
                         layer.spec.alpha.data(), layer.spec.beta.data());
    } else if (row.kernel->order == ChannelOrder::kPlanes) {
      row.kernel->run(layer.in.data(), layer.out.data(), layer.channels, layer.pixels, 0,
                      row.packed);
    } else {
      row.kernel->run(layer.in.data(), layer.out.data(), layer.pixels, 0, 0, row.packed);
    }
  }
}

}  // extern "C"
