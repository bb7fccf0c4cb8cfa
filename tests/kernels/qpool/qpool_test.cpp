#include "kernels/qpool/qpool.h"

#include <doctest/doctest.h>

#include <cmath>

#include "support/buffers.h"
#include "support/golden.h"
#include "support/pool_geometries.h"

namespace octavo::kernels {
namespace {

std::size_t in_size(const PoolGeometry& g) {
  return static_cast<std::size_t>(g.batch * g.in_h * g.in_w * g.channels);
}
std::size_t out_size(const PoolGeometry& g) {
  return static_cast<std::size_t>(g.rows() * g.out_w * g.channels);
}

// The definition, walked tap by tap without any of the kernels' helpers.
template <class Code, class Reduce>
std::vector<Code> pool_by_definition(const std::vector<Code>& in, const PoolGeometry& g,
                                     Reduce reduce) {
  std::vector<Code> out;
  for (int n = 0; n < g.batch; ++n) {
    for (int y = 0; y < g.out_h; ++y) {
      for (int x = 0; x < g.out_w; ++x) {
        for (int c = 0; c < g.channels; ++c) {
          std::vector<Code> window;
          int padded = 0;
          for (int i = 0; i < g.kernel_h; ++i) {
            for (int j = 0; j < g.kernel_w; ++j) {
              const int iy = y * g.stride_h - g.pad_top + i * g.dilation_h;
              const int ix = x * g.stride_w - g.pad_left + j * g.dilation_w;
              if (iy < g.in_h + g.pad_bottom && ix < g.in_w + g.pad_right) ++padded;
              if (iy < 0 || iy >= g.in_h || ix < 0 || ix >= g.in_w) continue;
              window.push_back(
                  in[static_cast<std::size_t>(((n * g.in_h + iy) * g.in_w + ix) * g.channels + c)]);
            }
          }
          out.push_back(reduce(window, padded));
        }
      }
    }
  }
  return out;
}

template <class Code>
void check_max() {
  for (const PoolGeometry& g : test::pool_geometries({1, 3, 8, 15, 16, 17, 24, 40, 64, 145})) {
    const std::vector<Code> in = test::random_codes<Code>(in_size(g), 4);
    const std::vector<Code> expected =
        pool_by_definition(in, g, [](const std::vector<Code>& window, int) {
          Code best = std::numeric_limits<Code>::min();
          for (const Code code : window) best = std::max(best, code);
          return best;
        });
    for (const QPoolKernel& kernel : qpool_kernels()) {
      CAPTURE(kernel.name);
      CAPTURE(g.channels);
      test::Guarded<Code> out(out_size(g));
      kernel.fns<Code>().max(in.data(), out.data(), g, 0, 1);
      kernel.fns<Code>().max(in.data(), out.data(), g, 1, g.rows());
      CHECK(out.values() == expected);
      CHECK(out.intact());
    }
  }
}

TEST_CASE("qpool: every row takes the maximum of each window") {
  check_max<std::uint8_t>();
  check_max<std::int8_t>();
}

template <class Code>
void check_average(bool count_include_pad, std::int32_t shift, std::int32_t moved = 0) {
  const QAveragePoolParams params{{0.03F, 117 - shift}, {0.02F, 130 - shift},
                                  count_include_pad,    std::numeric_limits<Code>::min(),
                                  250 - shift,          moved};
  for (const PoolGeometry& g : test::pool_geometries({1, 3, 8, 15, 16, 17, 24, 40})) {
    const std::vector<Code> in = test::random_codes<Code>(in_size(g), 4);
    const std::vector<Code> expected =
        pool_by_definition(in, g, [&](const std::vector<Code>& window, int padded) {
          float sum = 0.0F;
          for (const Code code : window) sum += dequantize_value<Code>(code, params.in);
          const float mean =
              sum /
              static_cast<float>(count_include_pad ? padded : static_cast<int>(window.size()));
          const auto zero = static_cast<float>(params.out.zero_point - moved);
          const auto code =
              static_cast<std::int32_t>(std::nearbyint(mean / params.out.scale + zero));
          return static_cast<Code>(std::clamp(code + moved, params.lo, params.hi));
        });
    for (const QPoolKernel& kernel : qpool_kernels()) {
      CAPTURE(kernel.name);
      CAPTURE(g.channels);
      test::Guarded<Code> out(out_size(g));
      kernel.fns<Code>().average(in.data(), out.data(), g, params, 0, g.rows());
      CHECK(out.values() == expected);
      CHECK(out.intact());
    }
  }
}

TEST_CASE("qpool: every row averages each window") {
  check_average<std::uint8_t>(false, 0);
  check_average<std::uint8_t>(true, 0);
  check_average<std::int8_t>(false, 128);
  check_average<std::int8_t>(true, 128);
  check_average<std::uint8_t>(false, 0, 128);
  check_average<std::int8_t>(false, 128, -128);
}

template <class Code>
void check_global(std::int32_t shift) {
  for (const std::size_t channels : {1UL, 15UL, 16UL, 17UL, 40UL}) {
    for (const std::size_t pixels : {1UL, 2UL, 49UL, 127UL, 128UL, 129UL, 1000UL}) {
      const std::vector<Code> in = test::random_codes<Code>(pixels * channels, 12);
      const QGlobalAverageParams params = make_qglobal_average_params(
          {0.03F, 117 - shift}, {0.001F, 130 - shift}, pixels, 5 - shift, 255 - shift);
      std::vector<Code> expected;
      for (std::size_t c = 0; c < channels; ++c) {
        std::int32_t sum = 0;
        for (std::size_t i = 0; i < pixels; ++i) sum += in[i * channels + c] - params.zero_in;
        const auto rounded =
            static_cast<std::int32_t>(std::nearbyint(static_cast<float>(sum) * params.scale));
        expected.push_back(
            static_cast<Code>(std::clamp(rounded + params.zero_out, params.lo, params.hi)));
      }
      for (const QPoolKernel& kernel : qpool_kernels()) {
        CAPTURE(kernel.name);
        test::Guarded<Code> out(channels);
        kernel.fns<Code>().global_average(in.data(), out.data(), pixels, channels, params);
        CHECK(out.values() == expected);
        CHECK(out.intact());
      }
    }
  }
}

TEST_CASE("qpool: every row averages whole images") {
  check_global<std::uint8_t>(0);
  check_global<std::int8_t>(128);
}

template <class Code>
std::vector<Code> to_channels_last(const std::vector<Code>& in,
                                   const std::vector<std::int64_t>& shape) {
  std::vector<Code> out;
  const auto at = [&](std::int64_t n, std::int64_t c, std::int64_t i) {
    return in[static_cast<std::size_t>((n * shape[1] + c) * shape[2] * shape[3] + i)];
  };
  for (std::int64_t n = 0; n < shape[0]; ++n) {
    for (std::int64_t i = 0; i < shape[2] * shape[3]; ++i) {
      for (std::int64_t c = 0; c < shape[1]; ++c) out.push_back(at(n, c, i));
    }
  }
  return out;
}

PoolGeometry golden_geometry(const test::GoldenCase& c) {
  const auto& in = c.tensors.at("x").shape;
  const auto& out = c.tensors.at("y").shape;
  const auto of = [&](const char* key) { return static_cast<int>(c.integer(key)); };
  PoolGeometry g;
  g.batch = static_cast<int>(in[0]);
  g.channels = static_cast<int>(in[1]);
  g.in_h = static_cast<int>(in[2]);
  g.in_w = static_cast<int>(in[3]);
  g.out_h = static_cast<int>(out[2]);
  g.out_w = static_cast<int>(out[3]);
  g.kernel_h = g.kernel_w = of("k");
  g.stride_h = g.stride_w = of("stride");
  g.pad_top = g.pad_left = g.pad_bottom = g.pad_right = of("pad");
  return g;
}

template <class Code>
void check_case(const test::GoldenGroup& group, const test::GoldenCase& c) {
  const auto grid = [&](const std::string& tensor) {
    return Grid{static_cast<float>(c.number(tensor + "_scale")),
                static_cast<std::int32_t>(c.integer(tensor + "_zp"))};
  };
  const std::vector<Code> in = to_channels_last(group.get<Code>(c, "x"), c.tensors.at("x").shape);
  const std::vector<Code> expected =
      to_channels_last(group.get<Code>(c, "y"), c.tensors.at("y").shape);
  constexpr std::int32_t kLo = std::numeric_limits<Code>::min();
  constexpr std::int32_t kHi = std::numeric_limits<Code>::max();
  for (const QPoolKernel& kernel : qpool_kernels()) {
    CAPTURE(kernel.name);
    std::vector<Code> out(expected.size());
    if (c.str("kind") == "maxpool") {
      const PoolGeometry g = golden_geometry(c);
      kernel.fns<Code>().max(in.data(), out.data(), g, 0, g.rows());
    } else if (c.str("kind") == "QLinearAveragePool") {
      const PoolGeometry g = golden_geometry(c);
      const bool include = c.integer("count_include_pad") != 0;
      kernel.fns<Code>().average(in.data(), out.data(), g,
                                 {grid("x"), grid("y"), include, kLo, kHi}, 0, g.rows());
    } else {
      const std::size_t pixels = in.size() / out.size();
      kernel.fns<Code>().global_average(
          in.data(), out.data(), pixels, out.size(),
          make_qglobal_average_params(grid("x"), grid("y"), pixels, kLo, kHi));
    }
    CHECK(out == expected);
  }
}

TEST_CASE("qpool: every row gives the golden codes of PyTorch (max) and ONNX Runtime (averages)") {
  int checked = 0;
  for (const char* name : {"ops", "onnx_ops"}) {
    const test::GoldenGroup group = test::load_golden(name);
    for (const test::GoldenCase& c : group.cases) {
      const std::string kind = c.str("kind");
      if (kind != "maxpool" && kind != "QLinearAveragePool" && kind != "QLinearGlobalAveragePool")
        continue;
      CAPTURE(c.name);
      if (c.tensors.at("y").dtype == "u8") {
        check_case<std::uint8_t>(group, c);
      } else {
        check_case<std::int8_t>(group, c);
      }
      ++checked;
    }
  }
  CHECK(checked == 12);
}

}  // namespace
}  // namespace octavo::kernels
