#include "kernels/qbatchnorm/qbatchnorm.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "support/buffers.h"
#include "support/golden.h"

namespace octavo::kernels {
namespace {

using Bytes = std::vector<std::uint8_t>;

struct Shape {
  std::size_t images, channels, plane;
};

Bytes to_channels_last(const Bytes& in, const Shape& s) {
  Bytes out(in.size());
  for (std::size_t n = 0; n < s.images; ++n) {
    for (std::size_t c = 0; c < s.channels; ++c) {
      for (std::size_t i = 0; i < s.plane; ++i) {
        out[(n * s.plane + i) * s.channels + c] = in[(n * s.channels + c) * s.plane + i];
      }
    }
  }
  return out;
}

std::optional<PackedQBatchNorm> pack(const QBatchNormKernel& kernel, const QBatchNormSpec& spec) {
  return kernel.pack(spec, qbatchnorm_tables(spec));
}

// Runs a row on row-major bytes, whichever order it works in, into another buffer and in place.
Bytes run_packed(const QBatchNormKernel& kernel, const PackedQBatchNorm& packed, const Bytes& in,
                 const Shape& shape) {
  const bool planes = kernel.order == ChannelOrder::kPlanes;
  const Bytes source = planes ? in : to_channels_last(in, shape);
  const std::size_t count = shape.images * (planes ? shape.channels : shape.plane);
  test::Guarded<std::uint8_t> out(in.size());
  kernel.run(source.data(), out.data(), count, shape.plane, 0, packed);
  CHECK(out.intact());
  test::Guarded<std::uint8_t> same(in.size());
  std::copy(source.begin(), source.end(), same.data());
  kernel.run(same.data(), same.data(), count, shape.plane, 0, packed);
  CHECK(same.intact());
  CHECK(same.values() == out.values());
  if (planes) return out.values();
  // Back: the same walk with the roles of channels and plane swapped.
  return to_channels_last(out.values(), {shape.images, shape.plane, shape.channels});
}

// Nothing when the row cannot take this layer.
std::optional<Bytes> run_row(const QBatchNormKernel& kernel, const QBatchNormSpec& spec,
                             const Bytes& in, const Shape& shape) {
  const auto packed = pack(kernel, spec);
  if (!packed) return std::nullopt;
  return run_packed(kernel, *packed, in, shape);
}

QBatchNormSpec random_spec(std::size_t channels, CodeType code, bool relu, std::uint32_t seed) {
  QBatchNormSpec spec;
  spec.code = code;
  spec.alpha = test::random_floats(channels, seed, -0.99F, 0.99F);
  spec.beta = test::random_floats(channels, seed + 1, -90.0F, 90.0F);
  spec.zero_in = code == CodeType::kInt8 ? -11 : 117;
  spec.zero_out = code == CodeType::kInt8 ? 9 : 137;
  spec.relu = relu;
  return spec;
}

Bytes all_codes() {
  Bytes codes(256);
  for (std::size_t i = 0; i < 256; ++i) codes[i] = static_cast<std::uint8_t>(i);
  return codes;
}

TEST_CASE("qbatchnorm: every row equals the formula, for any number of channels and pixels") {
  for (const CodeType code : {CodeType::kUint8, CodeType::kInt8}) {
    for (const std::size_t channels : {1UL, 3UL, 8UL, 15UL, 16UL, 17UL, 32UL, 40UL, 96UL}) {
      const QBatchNormSpec spec = random_spec(channels, code, channels % 2 == 0, 5);
      for (const QBatchNormKernel& kernel : qbatchnorm_kernels()) {
        CAPTURE(kernel.name);
        const auto packed = pack(kernel, spec);
        REQUIRE(packed.has_value());
        for (const std::size_t plane : {0UL, 1UL, 2UL, 15UL, 16UL, 17UL, 31UL, 33UL, 200UL}) {
          const Shape shape{2, channels, plane};
          const Bytes in = test::random_codes<std::uint8_t>(2 * channels * plane, 3);
          const Bytes want = *run_row(qbatchnorm_kernels().front(), spec, in, shape);
          CHECK(run_packed(kernel, *packed, in, shape) == want);
        }
      }
    }
  }
}

TEST_CASE("qbatchnorm: extreme constants saturate alike in every row that takes them") {
  QBatchNormSpec layer = random_spec(10, CodeType::kUint8, false, 9);
  layer.alpha = {1e30F, -1e30F, 3e38F, 0.0F, -0.0F, 1e-40F, 300.0F, -700.0F, 31.9F, 1.0F};
  layer.beta = {0.0F, 1e30F, -3e38F, 1e9F, -1e9F, 0.5F, 12.0F, 100.25F, -2000.0F, 0.0F};
  std::vector<QBatchNormSpec> specs = {layer};
  for (std::size_t c = 0; c < layer.alpha.size(); ++c) {
    for (const CodeType code : {CodeType::kUint8, CodeType::kInt8}) {
      QBatchNormSpec one = random_spec(1, code, c % 2 == 0, 9);
      one.alpha = {layer.alpha[c]};
      one.beta = {layer.beta[c]};
      specs.push_back(one);
    }
  }
  for (const QBatchNormSpec& spec : specs) {
    const Shape shape{1, spec.alpha.size(), 256};
    Bytes in;
    for (std::size_t c = 0; c < shape.channels; ++c) {
      for (const std::uint8_t code : all_codes()) in.push_back(code);
    }
    int rows = 0;
    for (const QBatchNormKernel& kernel : qbatchnorm_kernels()) {
      CAPTURE(kernel.name);
      const auto out = run_row(kernel, spec, in, shape);
      if (!out) continue;
      ++rows;
      CHECK(*out == qbatchnorm_tables(spec));
    }
    CHECK(rows >= 4);
  }
}

TEST_CASE("qbatchnorm: a row that cannot equal the formula refuses the layer") {
  // Half-way results of round constants alternate between up and down, as no sum and shift does;
  // a separate product may round to the tie that the fused one misses.
  int refused_by_dot = 0;
  int refused_by_float = 0;
  int refused_by_nibble = 0;
  int on_tables = 0;
  for (int hundredth = 20; hundredth < 180; ++hundredth) {
    QBatchNormSpec spec = random_spec(1, CodeType::kUint8, false, 1);
    spec.alpha = {static_cast<float>(hundredth) * 0.01F};
    spec.beta = {static_cast<float>(hundredth % 60) * 0.5F - 16.0F};
    for (const QBatchNormKernel& kernel : qbatchnorm_kernels()) {
      if (pack(kernel, spec)) continue;
      refused_by_dot += kernel.name == "qbatchnorm/dot-nhwc";
      refused_by_float += kernel.name == "qbatchnorm/float-nhwc";
      refused_by_nibble += kernel.name == "qbatchnorm/nibble-nchw";
    }
    for (const ChannelOrder order : {ChannelOrder::kPlanes, ChannelOrder::kChannelsLast}) {
      const QBatchNormPlan plan = QBatchNormPlan::make(spec, order, {});
      on_tables += plan.kernel().find("table") != std::string_view::npos;
      Bytes out(256);
      if (order == ChannelOrder::kPlanes) {
        plan.run_planes(all_codes().data(), out.data(), 256, 0, 1);
      } else {
        plan.run_pixels(all_codes().data(), out.data(), 0, 256);
      }
      CHECK(out == qbatchnorm_tables(spec));
    }
  }
  CHECK(refused_by_dot > 0);
  CHECK(refused_by_float > 0);
  CHECK(refused_by_nibble > 0);
  CHECK(on_tables > 0);
}

TEST_CASE("qbatchnorm: a plan of tables gives these tables, whatever they are") {
  constexpr std::size_t kChannels = 19;
  test::Random random(5);
  for (const CodeType code : {CodeType::kUint8, CodeType::kInt8}) {
    QBatchNormSpec spec = random_spec(kChannels, code, false, 3);
    const Bytes lines = qbatchnorm_tables(spec);
    Bytes bent = lines;  // one channel is no line
    for (std::size_t q = 0; q < 256; ++q)
      bent[4 * 256 + q] = static_cast<std::uint8_t>(random.range(0, 255));
    for (const Bytes& tables : {lines, bent}) {
      for (const bool knows_slopes : {true, false}) {
        if (!knows_slopes) std::ranges::fill(spec.alpha, 0.0F);
        for (const simd::Level level : {simd::Level::kScalar, simd::Level::kBest}) {
          const Policy policy{simd::EngineClass::kNone, level};
          const auto planes =
              QBatchNormPlan::of_tables(spec, tables, ChannelOrder::kPlanes, policy);
          const auto pixels =
              QBatchNormPlan::of_tables(spec, tables, ChannelOrder::kChannelsLast, policy);
          for (std::size_t q = 0; q < 256; ++q) {
            const Bytes in(kChannels, static_cast<std::uint8_t>(q));
            Bytes by_planes(kChannels);
            Bytes by_pixels(kChannels);
            planes.run_planes(in.data(), by_planes.data(), 1, 0, kChannels);
            pixels.run_pixels(in.data(), by_pixels.data(), 0, 1);
            CHECK(by_planes == by_pixels);
            for (std::size_t c = 0; c < kChannels; ++c) CHECK(by_planes[c] == tables[c * 256 + q]);
          }
        }
      }
    }
  }
}

// How many of `n` random channels of slopes between lo and hi (in magnitude) take each form.
struct Forms {
  int nibble = 0, dot = 0, floats = 0, table = 0;
};
Forms forms_of(ChannelOrder order, float lo, float hi, std::size_t n) {
  test::Random random(77);
  Forms forms;
  for (std::size_t i = 0; i < n; ++i) {
    QBatchNormSpec spec = random_spec(1, i % 2 == 0 ? CodeType::kUint8 : CodeType::kInt8,
                                      i % 3 == 0, static_cast<std::uint32_t>(i));
    // Evenly in the logarithm; the offset puts some input code at some output code.
    const float slope = lo * std::pow(hi / lo, random.uniform(0, 1));
    spec.alpha = {random.range(0, 1) == 0 ? slope : -slope};
    spec.beta = {random.uniform(-60, 60) - spec.alpha[0] * static_cast<float>(random.range(0, 60))};
    const QBatchNormPlan plan = QBatchNormPlan::make(spec, order, {});
    const auto is = [&](std::string_view form) {
      return plan.kernel_of(0).find(form) != std::string_view::npos;
    };
    forms.nibble += is("nibble");
    forms.dot += is("dot");
    forms.floats += is("float");
    forms.table += is("table");
    Bytes out = all_codes();
    if (order == ChannelOrder::kPlanes) {
      plan.run_planes(out.data(), out.data(), 256, 0, 1);
    } else {
      plan.run_pixels(out.data(), out.data(), 0, 256);
    }
    CHECK(out == qbatchnorm_tables(spec));
  }
  MESSAGE("slopes " << lo << " to " << hi << ": nibble " << forms.nibble << ", dot " << forms.dot
                    << ", float " << forms.floats << ", table " << forms.table);
  return forms;
}

TEST_CASE("qbatchnorm: random channels take the fast forms") {
  constexpr int kChannels = 400;
  const auto planes = [](float lo, float hi) {
    return forms_of(ChannelOrder::kPlanes, lo, hi, kChannels);
  };
  const auto pixels = [](float lo, float hi) {
    return forms_of(ChannelOrder::kChannelsLast, lo, hi, kChannels);
  };
  CHECK(planes(1e-6F, 0.01F).nibble == kChannels);
  CHECK(planes(0.01F, 0.999F).nibble == kChannels);
  const Forms steep = planes(1.001F, 2.0F);
  CHECK(steep.nibble + steep.dot == kChannels);
  const Forms steeper = planes(2.0F, 1e6F);
  CHECK(steeper.nibble + steeper.dot == kChannels);
  CHECK(pixels(1e-6F, 0.01F).dot == kChannels);
  CHECK(pixels(0.01F, 0.999F).dot == kChannels);
  CHECK(pixels(1.001F, 2.0F).dot == kChannels);
  CHECK(pixels(2.0F, 1e6F).dot == kChannels);
}

TEST_CASE("qbatchnorm: each channel of planes takes its own form, and a plan names the commonest") {
  QBatchNormSpec spec = random_spec(5, CodeType::kUint8, false, 3);
  // A steep channel that swizzles cannot do: about one in six is.
  const auto form = [](float alpha) {
    QBatchNormSpec one = random_spec(1, CodeType::kUint8, false, 3);
    one.alpha = {alpha};
    return QBatchNormPlan::make(one, ChannelOrder::kPlanes, {}).kernel();
  };
  test::Random random(5);
  do {
    spec.alpha[1] = random.uniform(1.1F, 1.9F);
    spec.beta[1] = random_spec(1, CodeType::kUint8, false, 3).beta[0];
  } while (form(spec.alpha[1]) != "qbatchnorm/dot-nchw");
  const QBatchNormPlan plan =
      QBatchNormPlan::make(spec, ChannelOrder::kPlanes, {.level = simd::Level::kSimd128});
  CHECK(plan.kernel() == "qbatchnorm/nibble-nchw");
  CHECK(plan.kernel_of(0) == "qbatchnorm/nibble-nchw");
  CHECK(plan.kernel_of(1) == "qbatchnorm/dot-nchw");
  const Bytes in = test::random_codes<std::uint8_t>(2 * 5 * 35, 8);
  Bytes out(in.size());
  plan.run_planes(in.data(), out.data(), 35, 0, 10);
  CHECK(out == *run_row(qbatchnorm_kernels().front(), spec, in, {2, 5, 35}));
}

TEST_CASE("qbatchnorm: a layer of no channels runs") {
  const QBatchNormSpec spec = random_spec(0, CodeType::kUint8, false, 3);
  for (const ChannelOrder order : {ChannelOrder::kPlanes, ChannelOrder::kChannelsLast}) {
    const QBatchNormPlan plan = QBatchNormPlan::make(spec, order, {});
    plan.run_planes(nullptr, nullptr, 9, 0, 0);
    if (order == ChannelOrder::kChannelsLast) plan.run_pixels(nullptr, nullptr, 0, 9);
    CHECK(!plan.kernel().empty());
  }
}

TEST_CASE("qbatchnorm: a plan gives the same bytes whole and in pieces") {
  const QBatchNormSpec spec = random_spec(20, CodeType::kUint8, true, 1);
  const Bytes in = test::random_codes<std::uint8_t>(3 * 20 * 35, 8);
  for (const simd::Level level : {simd::Level::kScalar, simd::Level::kSimd128}) {
    Bytes whole(in.size());
    Bytes pieces(in.size());
    const QBatchNormPlan pixels =
        QBatchNormPlan::make(spec, ChannelOrder::kChannelsLast, {.level = level});
    pixels.run_pixels(in.data(), whole.data(), 0, 105);
    for (std::size_t first = 0; first < 105; first += 21)
      pixels.run_pixels(in.data(), pieces.data(), first, first + 21);
    CHECK(whole == pieces);
    const QBatchNormPlan planes =
        QBatchNormPlan::make(spec, ChannelOrder::kPlanes, {.level = level});
    planes.run_planes(in.data(), whole.data(), 35, 0, 60);
    for (std::size_t first = 0; first < 60; first += 12)
      planes.run_planes(in.data(), pieces.data(), 35, first, first + 12);
    CHECK(whole == pieces);
  }
}

// ---- golden vectors of PyTorch ----

std::uint32_t hash_byte(std::uint32_t i, std::uint32_t seed) {
  std::uint32_t h = i * 2654435761U + seed;
  h ^= h >> 15;
  h *= 2246822519U;
  h ^= h >> 13;
  return h & 255;
}

struct GoldenLayer {
  QBatchNormSpec spec;
  FusedBatchNorm fused;
  Shape shape;
  Bytes in;
};

GoldenLayer read_layer(const test::GoldenGroup& group, const test::GoldenCase& c) {
  GoldenLayer layer;
  const std::vector<float> weight = group.get<float>(c, "weight");
  const std::vector<float> bias = group.get<float>(c, "bias");
  const std::vector<float> mean = group.get<float>(c, "mean");
  const std::vector<float> var = group.get<float>(c, "var");
  layer.fused = fuse_batch_norm_params({weight, bias, mean, var, c.number("eps")},
                                       c.number("in_scale"), c.number("out_scale"));
  layer.spec.code = c.str("dtype") == "qint8" ? CodeType::kInt8 : CodeType::kUint8;
  layer.spec.alpha = layer.fused.alpha;
  layer.spec.beta = layer.fused.beta;
  layer.spec.zero_in = static_cast<std::int32_t>(c.integer("in_zp"));
  layer.spec.zero_out = static_cast<std::int32_t>(c.integer("out_zp"));
  layer.spec.relu = c.integer("relu") != 0;
  std::vector<std::int64_t> dims;
  if (c.has("x")) {
    dims = c.tensors.at("x").shape;
    layer.in = group.get<std::uint8_t>(c, "x");
  } else {
    for (const double dim : c.list("shape")) dims.push_back(static_cast<std::int64_t>(dim));
  }
  layer.shape = {static_cast<std::size_t>(dims[0]), static_cast<std::size_t>(dims[1]), 1};
  for (std::size_t d = 2; d < dims.size(); ++d)
    layer.shape.plane *= static_cast<std::size_t>(dims[d]);
  if (!c.has("x")) {
    layer.in.resize(layer.shape.images * layer.shape.channels * layer.shape.plane);
    const auto seed = static_cast<std::uint32_t>(c.integer("x_seed"));
    for (std::size_t i = 0; i < layer.in.size(); ++i) {
      layer.in[i] = static_cast<std::uint8_t>(hash_byte(static_cast<std::uint32_t>(i), seed));
    }
  }
  return layer;
}

TEST_CASE("qbatchnorm: every row that takes a layer gives PyTorch's golden codes") {
  const test::GoldenGroup group = test::load_golden("batchnorm");
  REQUIRE(group.cases.size() == 99);
  for (const test::GoldenCase& c : group.cases) {
    CAPTURE(c.name);
    const GoldenLayer layer = read_layer(group, c);
    if (c.has("alpha")) {
      CHECK(test::same_bits(layer.fused.alpha, group.get<float>(c, "alpha")));
      CHECK(test::same_bits(layer.fused.beta, group.get<float>(c, "beta")));
    }
    int rows = 0;
    for (const QBatchNormKernel& kernel : qbatchnorm_kernels()) {
      CAPTURE(kernel.name);
      const auto out = run_row(kernel, layer.spec, layer.in, layer.shape);
      if (!out) continue;
      ++rows;
      if (c.has("y")) {
        CHECK(*out == group.get<std::uint8_t>(c, "y"));
        continue;
      }
      std::uint64_t checksum = 0;
      for (std::size_t i = 0; i < out->size(); ++i) {
        checksum += (*out)[i] * (i * 0x9E3779B97F4A7C15ULL + 1);
      }
      CHECK(std::to_string(checksum) == c.str("y_checksum"));
    }
    CHECK(rows >= 4);  // formula and table, in both orders, always
  }
}

}  // namespace
}  // namespace octavo::kernels
