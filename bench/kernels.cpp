// Speed of every row of the kernel tables, one line a row and shape: GMAC/s of products, GB/s (read
// + written) of the rest.
//
//   bench_kernels [filter]             only rows whose name contains the filter
//   node bench_kernels.js [filter]     the same in wasm
//
// Best of many slices, after a warm-up that is counted in calls, so that a just-in-time compiler
// has come to its last tier. Slices are short: on a busy machine some of them run undisturbed.
// Products are given in percent of a ceiling of this run: the same instructions on operands that
// lie packed in the first-level cache, without requantization.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/copy/transpose.h"
#include "kernels/fakequant/fakequant.h"
#include "kernels/fbatchnorm/fbatchnorm.h"
#include "kernels/fconv/fconv.h"
#include "kernels/fdwconv/fdwconv.h"
#include "kernels/felementwise/binary.h"
#include "kernels/felementwise/unary.h"
#include "kernels/fpool/fpool.h"
#include "kernels/fwinograd/fwinograd.h"
#include "kernels/lut/lut.h"
#include "kernels/qadd/qadd.h"
#include "kernels/qbatchnorm/qbatchnorm.h"
#include "kernels/qbinary/qbinary.h"
#include "kernels/qconv/qconv.h"
#include "kernels/qdwconv/qdwconv.h"
#include "kernels/qmul/qmul.h"
#include "kernels/qpool/qpool.h"
#include "kernels/qrequantize/qrequantize.h"
#include "kernels/quantize/quantize.h"
#include "kernels/qwindow/qwindow.h"
#include "kernels/qwinograd/qwinograd.h"
#include "kernels/resize/coordinates.h"
#include "kernels/resize/resize.h"
#include "kernels/softmax/softmax.h"
#include "simd/isa.h"
#include "simd/relaxed.h"

namespace octavo::kernels {
namespace {

std::string_view filter;

template <class Body>
double best_seconds(Body body) {
  using Clock = std::chrono::steady_clock;
  const auto once = [&body](int calls) {
    const auto start = Clock::now();
    for (int i = 0; i < calls; ++i) body();
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  once(3);
  int calls = 1;
  while (once(calls) < 3e-4) calls *= 2;
  double best = 1e9;
  for (double spent = 0; spent < 0.2;) {
    const double slice = once(calls);
    spent += slice;
    best = std::min(best, slice / calls);
  }
  return best;
}

template <class Body>
void report(std::string_view row, const char* shape, double work, const char* unit, Body body,
            double ceiling = 0) {
  if (row.find(filter) == std::string_view::npos) return;
  const double speed = work / best_seconds(body) * 1e-9;
  std::printf("%-28.*s %-24s %8.2f %s", static_cast<int>(row.size()), row.data(), shape, speed,
              unit);
  if (ceiling > 0) std::printf(" %5.1f %%", speed / ceiling * 100);
  std::printf("\n");
  std::fflush(stdout);
}

// ---- ceilings: kRows x 2 vectors of sums over kDepth steps of packed operands ----

constexpr int kDepth = 64;
struct Operands {
  std::int8_t w[kDepth * 64];
  std::int8_t x[kDepth * 64];
  v128_t sums[2 * 8];
};

template <int kRows, class Step>
[[gnu::noinline]] void ceiling_loop(Operands& o, Step step) {
  v128_t acc[kRows][2];
  for (int r = 0; r < kRows; ++r) acc[r][0] = acc[r][1] = wasm_f32x4_splat(0.0F);
  const std::int8_t* w = o.w;
  const std::int8_t* x = o.x;
  const v128_t ones = simd::from_memory(wasm_i16x8_splat(1));
  for (int g = 0; g < kDepth; ++g, w += 32, x += 4 * kRows) {
    const v128_t w0 = wasm_v128_load(w);
    const v128_t w1 = wasm_v128_load(w + 16);
    for (int r = 0; r < kRows; ++r) {
      const v128_t a = wasm_v128_load32_splat(x + 4 * r);
      acc[r][0] = step(w0, a, acc[r][0], ones);
      acc[r][1] = step(w1, a, acc[r][1], ones);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    o.sums[2 * r] = acc[r][0];
    o.sums[2 * r + 1] = acc[r][1];
  }
}

template <int kRows, class Step>
double ceiling(const char* name, int macs_of_lane, Step step) {
  auto o = std::make_unique<Operands>();  // zeros: no denormal floats
  const double macs = kRows * 2.0 * 4 * macs_of_lane * kDepth;
  const double speed = macs / best_seconds([&] { ceiling_loop<kRows>(*o, step); }) * 1e-9;
  std::printf("%-28s %-24s %8.2f GMAC/s\n", "ceiling", name, speed);
  return speed;
}

double dot16_ceiling, dot_ceiling, pair_ceiling, plain_ceiling, madd_ceiling;

void bench_ceilings() {
  dot16_ceiling = ceiling<6>("i32x4.dot_i16x8", 2, [](v128_t w, v128_t x, v128_t acc, v128_t) {
    return wasm_i32x4_add(acc, wasm_i32x4_dot_i16x8(w, x));
  });
  plain_ceiling = ceiling<5>("f32 mul, add", 1, [](v128_t w, v128_t x, v128_t acc, v128_t) {
    return wasm_f32x4_add(acc, wasm_f32x4_mul(w, x));
  });
  if constexpr (!simd::kHasRelaxed) return;
  dot_ceiling = ceiling<6>("i32x4.relaxed_dot", 4, [](v128_t w, v128_t x, v128_t acc, v128_t) {
    return simd::relaxed_dot<simd::EngineClass::kUsdot>(w, x, acc);
  });
  pair_ceiling =
      ceiling<4>("i16x8.relaxed_dot, ones", 4, [](v128_t w, v128_t x, v128_t acc, v128_t ones) {
        const v128_t pairs = simd::relaxed_pair_dot<simd::EngineClass::kMaddubs>(w, x);
        return wasm_i32x4_add(acc, wasm_i32x4_dot_i16x8(pairs, ones));
      });
  madd_ceiling = ceiling<6>("f32 relaxed_madd", 1, [](v128_t w, v128_t x, v128_t acc, v128_t) {
    return simd::relaxed_madd(w, x, acc);
  });
}

template <class T>
std::vector<T> pattern(std::size_t n, int modulus, int offset) {
  std::vector<T> values(n);
  std::uint32_t state = 1;
  for (T& value : values) {
    state = state * 1664525U + 1013904223U;
    value = static_cast<T>(static_cast<int>((state >> 8) % static_cast<std::uint32_t>(modulus)) +
                           offset);
  }
  return values;
}

// A convolution over an image with its border: kernel * kernel taps.
struct Shape {
  const char* name;
  int size, in, out, kernel, stride = 1;  // size of the output
  int in_size() const { return (size - 1) * stride + kernel; }
  double macs() const { return static_cast<double>(size) * size * in * out * kernel * kernel; }
  std::size_t in_elements() const {
    return static_cast<std::size_t>(in_size() * in_size() * in + 64);
  }
  std::size_t out_elements() const { return static_cast<std::size_t>(size * size * out); }
  std::vector<std::int32_t> segments() const {
    std::vector<std::int32_t> offsets;
    for (int i = 0; i < kernel; ++i) offsets.push_back(i * in_size() * in);
    return offsets;
  }
  // The same for rows that take an image without its border.
  DwWindow window() const {
    const std::int64_t border = kernel / 2;
    const std::int64_t inside = std::int64_t{size} * stride;
    return {inside, inside, size, kernel, kernel, stride, stride, 1, 1, border, border};
  }
  std::vector<std::int32_t> taps() const {
    std::vector<std::int32_t> offsets;
    for (int i = 0; i < kernel * kernel; ++i)
      offsets.push_back((i / kernel * in_size() + i % kernel) * in);
    return offsets;
  }
};
constexpr Shape kProducts[] = {
    {"1x1 64->256@56", 56, 64, 256, 1},     {"1x1 256->64@56", 56, 256, 64, 1},
    {"1x1 512->512@14", 14, 512, 512, 1},   {"3x3 64->64@56", 56, 64, 64, 3},
    {"3x3 256->256@14", 14, 256, 256, 3},   {"3x3 s2 3->32@112", 112, 3, 32, 3, 2},
    {"7x7 s2 3->64@112", 112, 3, 64, 7, 2}, {"FC 1280->1000", 1, 1280, 1000, 1},
    {"1x1 16->96@112", 112, 16, 96, 1}};
constexpr Shape kDepthwise[] = {{"dw 3x3 32@112", 112, 32, 32, 3},
                                {"dw 3x3 s2 144@28", 28, 144, 144, 3, 2},
                                {"dw 3x3 576@14", 14, 576, 576, 3},
                                {"dw 5x5 72@28", 28, 72, 72, 5},
                                {"dw 5x5 s2 72@28", 28, 72, 72, 5, 2}};

// The call of a shape: one output row after the other in one block of pixels.
template <class Call>
void place(Call& call, const Shape& s) {
  call.pixel_stride = s.stride * s.in;
  call.row_stride = static_cast<std::int64_t>(s.stride) * s.in_size() * s.in;
  call.width = s.size;
  call.pixels = static_cast<std::int64_t>(s.size) * s.size;
  call.out_stride = s.out;
}

// What another machine would run.
bool is_elsewhere(simd::EngineClass engine) {
  return engine != simd::EngineClass::kNone && engine != simd::probe_engine_class();
}

double ceiling_of(const QConvKernel& kernel) {
  if (kernel.engine == simd::EngineClass::kMaddubs) return pair_ceiling;
  return kernel.engine == simd::EngineClass::kNone ? dot16_ceiling : dot_ceiling;
}

void bench_qconv() {
  for (const QConvKernel& kernel : qconv_kernels()) {
    if (is_elsewhere(kernel.engine)) continue;
    // Residuals, pairs and quads of 16 bits; other rows take all weights alike.
    const bool picky = kernel.engine == simd::EngineClass::kMaddubs;
    const std::vector<int> ranges = picky ? std::vector{127, 64, 32} : std::vector{127};
    for (const int range : ranges) {
      for (const Shape& s : kProducts) {
        const auto x = pattern<std::uint8_t>(s.in_elements(), 256, 0);
        const auto weights = pattern<std::int8_t>(
            static_cast<std::size_t>(s.out * s.in * s.kernel * s.kernel), 2 * range + 1, -range);
        const std::vector<std::int32_t> bias(static_cast<std::size_t>(s.out), 100);
        const std::vector<float> scale(static_cast<std::size_t>(s.out), 0.001F);
        const auto offsets = s.segments();
        const QConvPacked packed = kernel.pack(
            {s.out, s.kernel, s.kernel * s.in, kernel.x_signed, 7}, weights, bias, scale);
        std::vector<std::uint8_t> out(s.out_elements());
        std::vector<std::max_align_t> scratch(packed.scratch_bytes / sizeof(std::max_align_t) + 1);
        QConvCall call;
        place(call, s);
        call.x = reinterpret_cast<const std::byte*>(x.data());
        call.segment_offset = offsets.data();
        call.out = reinterpret_cast<std::byte*>(out.data());
        call.output = kernel.x_signed ? QConvOutput::kInt8 : QConvOutput::kUint8;
        call.lo = kernel.x_signed ? -128 : 0;
        call.hi = kernel.x_signed ? 127 : 255;
        call.scratch = reinterpret_cast<std::byte*>(scratch.data());
        std::string name(kernel.name);
        if (picky) name += range == 127 ? " full" : range == 64 ? " pairs" : " quads";
        report(
            name, s.name, s.macs(), "GMAC/s", [&] { kernel.run(packed, call); },
            ceiling_of(kernel));
      }
    }
  }
}

// GMAC/s of the sums that they stand for, so that they compare with qconv's.
void bench_qwinograd() {
  constexpr Shape kImages[] = {{"3x3 64->64@56", 56, 64, 64, 3},
                               {"3x3 128->128@28", 28, 128, 128, 3},
                               {"3x3 256->256@14", 14, 256, 256, 3},
                               {"3x3 512->512@7", 7, 512, 512, 3}};
  for (const QWinogradKernel& kernel : qwinograd_kernels()) {
    for (const Shape& s : kImages) {
      const auto x = pattern<std::uint8_t>(s.in_elements(), 256, 0);
      const auto weights =
          pattern<std::int8_t>(static_cast<std::size_t>(s.out * s.in * 9), 101, -50);
      const std::vector<std::int32_t> bias(static_cast<std::size_t>(s.out), 100);
      const std::vector<float> scale(static_cast<std::size_t>(s.out), 0.001F);
      const QWinogradPacked packed =
          kernel.pack({s.out, s.in, kernel.x_signed, 7, s.size, s.size, s.size, s.size, 1, 1},
                      weights, bias, scale);
      std::vector<std::uint8_t> out(s.out_elements());
      std::vector<std::max_align_t> scratch(packed.scratch_bytes / sizeof(std::max_align_t) + 1);
      QWinogradCall call;
      call.x = reinterpret_cast<const std::byte*>(x.data());
      call.out = reinterpret_cast<std::byte*>(out.data());
      call.last_channel = s.out;
      call.output = kernel.x_signed ? QConvOutput::kInt8 : QConvOutput::kUint8;
      call.lo = kernel.x_signed ? -128 : 0;
      call.hi = kernel.x_signed ? 127 : 255;
      call.scratch = reinterpret_cast<std::byte*>(scratch.data());
      const std::int64_t tiles = packed.spec.tiles_of_image();
      const std::int64_t of_call = winograd_tiles(packed.spec);
      report(kernel.name, s.name, s.macs(), "GMAC/s", [&] {
        for (std::int64_t tile = 0; tile < tiles; tile += of_call) {
          call.first_tile = tile;
          call.last_tile = std::min(tile + of_call, tiles);
          kernel.run(packed, call);
        }
      });
    }
  }
}

void bench_fconv() {
  for (const FConvKernel& kernel : fconv_kernels()) {
    for (const Shape& s : kProducts) {
      const auto x = pattern<float>(s.in_elements(), 256, -128);
      const auto weights =
          pattern<float>(static_cast<std::size_t>(s.out * s.in * s.kernel * s.kernel), 255, -127);
      const auto offsets = s.segments();
      const FConvPacked packed = kernel.pack({s.out, s.kernel, s.kernel * s.in}, weights, {});
      std::vector<float> out(s.out_elements());
      FConvCall call;
      place(call, s);
      call.x = x.data();
      call.segment_offset = offsets.data();
      call.out = out.data();
      call.lo = 0;
      call.hi = std::numeric_limits<float>::infinity();
      report(
          kernel.name, s.name, s.macs(), "GMAC/s", [&] { kernel.run(packed, call); },
          plain_ceiling);
    }
  }
}

constexpr Shape kWinograd[] = {{"3x3 64->64@56", 56, 64, 64, 3},
                               {"3x3 128->128@28", 28, 128, 128, 3},
                               {"3x3 256->256@14", 14, 256, 256, 3},
                               {"3x3 512->512@7", 7, 512, 512, 3},
                               {"3x3 16->16@32", 32, 16, 16, 3}};

// As a direct convolution's products, to be compared with fconv's.
void bench_fwinograd() {
  for (const FWinogradKernel& kernel : fwinograd_kernels()) {
    for (const Shape& s : kWinograd) {
      const auto x = pattern<float>(s.in_elements(), 256, -128);
      const auto weights = pattern<float>(static_cast<std::size_t>(s.out * s.in * 9), 255, -127);
      const FWinogradPacked packed =
          kernel.pack({s.in, s.out, 1, s.size, s.size, s.size, s.size, 1, 1}, weights, {});
      std::vector<float> out(s.out_elements());
      std::vector<float> scratch(packed.scratch_floats());
      const FWinogradCall call{x.data(),
                               out.data(),
                               0,
                               packed.pieces(),
                               scratch.data(),
                               0,
                               std::numeric_limits<float>::infinity()};
      report(
          kernel.name, s.name, s.macs(), "GMAC/s", [&] { kernel.run(packed, call); },
          plain_ceiling);
    }
  }
}

void bench_depthwise() {
  for (const Shape& s : kDepthwise) {
    const auto channels = static_cast<std::size_t>(s.in);
    const int taps = s.kernel * s.kernel;
    const auto outputs = static_cast<double>(s.out_elements());
    const auto offsets = s.taps();
    for (const QDwConvKernel& kernel : qdwconv_kernels()) {
      const bool x_signed = kernel.engine == simd::EngineClass::kSdot;
      const DwWindow window = s.window();
      const QDwConvSpec spec{s.in, taps, x_signed, 7, window};
      if (!kernel.fits(spec) || is_elsewhere(kernel.engine)) continue;
      const auto x = pattern<std::uint8_t>(s.in_elements(), 256, 0);
      const auto weights =
          pattern<std::int8_t>(channels * static_cast<std::size_t>(taps), 161, -80);
      const std::vector<std::int32_t> bias(channels, 100);
      const std::vector<float> scale(channels, 0.01F);
      const QDwConvPacked packed = kernel.pack(spec, weights, bias, scale);
      std::vector<std::uint8_t> out(s.out_elements());
      QDwConvCall call;
      place(call, s);
      call.x = reinterpret_cast<const std::byte*>(x.data());
      call.tap_offset = offsets.data();
      call.out = reinterpret_cast<std::byte*>(out.data());
      if (x_signed) call.lo = -128, call.hi = 127;
      if (kernel.run_image != nullptr) {
        const QDwConvImage image{call.x, call.out, 0, s.size, call.zero_y, call.lo, call.hi};
        report(kernel.name, s.name, outputs, "Gout/s", [&] { kernel.run_image(packed, image); });
        continue;
      }
      report(kernel.name, s.name, outputs, "Gout/s", [&] { kernel.run(packed, call); });
    }
    for (const FDwConvKernel& kernel : fdwconv_kernels()) {
      const auto x = pattern<float>(s.in_elements(), 256, -128);
      const auto weights = pattern<float>(channels * static_cast<std::size_t>(taps), 255, -127);
      const FDwConvPacked packed = pack_fdwconv(s.in, taps, weights, {});
      std::vector<float> out(s.out_elements());
      FDwConvCall call;
      place(call, s);
      call.x = x.data();
      call.tap_offset = offsets.data();
      call.out = out.data();
      call.lo = 0;
      call.hi = std::numeric_limits<float>::infinity();
      report(kernel.name, s.name, outputs, "Gout/s", [&] { kernel.run(packed, call); });
    }
    for (const FDwConvWalker& walker : fdwconv_walkers()) {
      if (!walker.fits(s.window(), s.in)) continue;
      const auto x = pattern<float>(s.in_elements(), 256, -128);
      const auto weights = pattern<float>(channels * static_cast<std::size_t>(taps), 255, -127);
      const FDwConvWalk packed = walker.pack(s.window(), s.in, weights, {});
      std::vector<float> out(s.out_elements());
      const FDwConvImage image{x.data(), out.data(), 0,
                               s.size,   0,          std::numeric_limits<float>::infinity()};
      report(walker.name, s.name, outputs, "Gout/s", [&] { walker.run(packed, image); });
    }
  }
}

constexpr std::size_t kElements = 200704;  // 64 channels at 56 x 56

void bench_codes() {
  const auto a = pattern<std::uint8_t>(kElements, 256, 0);
  const auto b = pattern<std::uint8_t>(kElements, 251, 0);
  std::vector<std::uint8_t> out(kElements);
  const Grid grid{0.02F, 120};
  for (const QAddKernel& kernel : qadd_kernels()) {
    const QAddParams params = make_qadd_params(grid, {0.03F, 90}, {0.04F, 111}, 0, 255);
    const QAddParams units = in_units(params).value_or(params);
    report(kernel.name, "64@56", 3.0 * kElements, "GB/s",
           [&] { kernel.u8(a.data(), b.data(), out.data(), kElements, params); });
    report(kernel.name, "64@56 in units", 3.0 * kElements, "GB/s",
           [&] { kernel.u8(a.data(), b.data(), out.data(), kElements, units); });
    if (kernel.level != simd::Level::kRelaxed) continue;
    const QAddParams one_rounding = with_one_rounding(params, 0).value_or(params);
    report(kernel.name, "64@56 with one rounding", 3.0 * kElements, "GB/s",
           [&] { kernel.u8(a.data(), b.data(), out.data(), kElements, one_rounding); });
    const QAddParams fused = make_fused_qadd_params(grid, {0.03F, 90}, {0.04F, 111}, 0, 255, 0);
    report(kernel.name, "64@56 with fused products", 3.0 * kElements, "GB/s",
           [&] { kernel.u8(a.data(), b.data(), out.data(), kElements, fused); });
  }
  for (const QMulKernel& kernel : qmul_kernels()) {
    const QMulParams params = make_qmul_params(grid, {0.03F, 90}, {0.04F, 111}, 0, 255);
    report(kernel.name, "64@56", 3.0 * kElements, "GB/s",
           [&] { kernel.u8(a.data(), b.data(), out.data(), kElements, params); });
  }
  for (const LutKernel& kernel : lut_kernels()) {
    const Table256 table =
        build_table<std::uint8_t>([](float x) { return x > 0 ? x : 0.1F * x; }, grid, grid);
    report(kernel.name, "64@56", 2.0 * kElements, "GB/s",
           [&] { kernel.run(a.data(), out.data(), kElements, table.data()); });
  }
  QBatchNormSpec spec;
  spec.code = CodeType::kUint8;
  // No round numbers: with those, many codes lie exactly between two results, which is not the
  // rule.
  for (const int thousandth : pattern<int>(64, 800, 190)) {
    spec.alpha.push_back(static_cast<float>(thousandth) * 0.00100007F);
    spec.beta.push_back(static_cast<float>(thousandth % 60) * 1.0007F - 30.0F);
  }
  spec.zero_in = 120;
  spec.zero_out = 111;
  const std::vector<std::uint8_t> tables = qbatchnorm_tables(spec);
  for (const QBatchNormKernel& kernel : qbatchnorm_kernels()) {
    const auto packed = kernel.pack(spec, tables);
    if (!packed) continue;
    const bool planes = kernel.order == ChannelOrder::kPlanes;
    report(kernel.name, planes ? "64@56 planes" : "64@56 channels-last", 2.0 * kElements, "GB/s",
           [&] {
             kernel.run(a.data(), out.data(), planes ? 64 : 3136, planes ? 3136 : 1, 0, *packed);
           });
  }
}

void bench_floats() {
  const auto a = pattern<float>(kElements, 8, -4);
  const auto b = pattern<float>(kElements, 7, 1);
  std::vector<float> out(kElements);
  std::vector<std::uint8_t> codes(kElements);
  for (const BinaryKernel& kernel : binary_kernels()) {
    report(kernel.name, "64@56", 12.0 * kElements, "GB/s",
           [&] { kernel.run(a.data(), b.data(), out.data(), kElements); });
  }
  for (const UnaryKernel& kernel : unary_kernels()) {
    report(kernel.name, "64@56", 8.0 * kElements, "GB/s", [&] {
      kernel.run(b.data(), out.data(), kElements, {0.2F, 0.5F});
    });
  }
  const std::vector<float> scale(64, 0.5F);
  for (const FBatchNormKernel& kernel : fbatchnorm_kernels()) {
    report(kernel.name, "64@56 channels-last", 8.0 * kElements, "GB/s", [&] {
      kernel.channels_last(a.data(), out.data(), 3136, 64, scale.data(), scale.data());
    });
  }
  const Grid grid{0.02F, 120};
  for (const QuantizeKernel& kernel : quantize_kernels()) {
    report(kernel.name, "quantize 64@56", 5.0 * kElements, "GB/s",
           [&] { kernel.quantize<std::uint8_t>()(a.data(), codes.data(), kElements, grid); });
    report(kernel.name, "dequantize 64@56", 5.0 * kElements, "GB/s",
           [&] { kernel.dequantize<std::uint8_t>()(codes.data(), out.data(), kElements, grid); });
  }
  const FakeQuantGrid codes_of_uint8{0.02F, 120, 0, 255};
  for (const FakeQuantKernel& kernel : fakequant_kernels()) {
    report(kernel.name, "forward 64@56", 9.0 * kElements, "GB/s",
           [&] { kernel.forward(a.data(), out.data(), codes.data(), kElements, codes_of_uint8); });
    report(kernel.name, "backward 64@56", 9.0 * kElements, "GB/s",
           [&] { kernel.backward(a.data(), codes.data(), out.data(), kElements); });
  }
}

// GB/s of pools: every input and every output once, though windows overlap.
void bench_pools() {
  PoolGeometry max;  // ResNet's
  max.in_h = max.in_w = 112;
  max.channels = 64;
  max.kernel_h = max.kernel_w = 3;
  max.stride_h = max.stride_w = 2;
  max.pad_bottom = max.pad_right = 1;
  max.out_h = max.out_w = 56;
  PoolGeometry average = max;  // DenseNet's
  average.kernel_h = average.kernel_w = 2;
  average.pad_bottom = average.pad_right = 0;
  constexpr std::size_t kIn = 64 * 112 * 112;
  constexpr std::size_t kGlobalPixels = 49;
  constexpr std::size_t kGlobalChannels = 1280;
  constexpr double kGlobal = kGlobalChannels * (kGlobalPixels + 1.0);
  const auto codes = pattern<std::uint8_t>(kIn, 256, 0);
  std::vector<std::uint8_t> out(kElements);
  const Grid grid{0.02F, 120};
  for (const QPoolKernel& kernel : qpool_kernels()) {
    report(kernel.name, "max 3x3 s2 64@112", kIn + kElements, "GB/s",
           [&] { kernel.u8.max(codes.data(), out.data(), max, 0, max.rows()); });
    const QAveragePoolParams params{grid, {0.03F, 90}, false, 0, 255};
    report(kernel.name, "average 2x2 s2 64@112", kIn + kElements, "GB/s", [&] {
      kernel.u8.average(codes.data(), out.data(), average, params, 0, average.rows());
    });
    const QGlobalAverageParams global =
        make_qglobal_average_params(grid, {0.03F, 90}, kGlobalPixels, 0, 255);
    report(kernel.name, "global 1280@7", kGlobal, "GB/s", [&] {
      kernel.u8.global_average(codes.data(), out.data(), kGlobalPixels, kGlobalChannels, global);
    });
  }
  const auto floats = pattern<float>(kIn, 256, -128);
  std::vector<float> float_out(kElements);
  for (const FPoolKernel& kernel : fpool_kernels()) {
    report(kernel.name, "max 3x3 s2 64@112", 4.0 * (kIn + kElements), "GB/s",
           [&] { kernel.max(floats.data(), float_out.data(), max, 0, max.rows()); });
    report(kernel.name, "average 2x2 s2 64@112", 4.0 * (kIn + kElements), "GB/s", [&] {
      kernel.average(floats.data(), float_out.data(), average, false, 0, average.rows());
    });
    report(kernel.name, "global 1280@7", 4 * kGlobal, "GB/s", [&] {
      kernel.global_average(floats.data(), float_out.data(), kGlobalPixels, kGlobalChannels);
    });
  }
}

void bench_layouts() {
  constexpr int kChannels = 64;
  constexpr int kSide = 56;
  constexpr int kPixels = kSide * kSide;
  const auto floats = pattern<float>(kElements, 256, -128);
  const auto codes = pattern<std::uint8_t>(kElements, 256, 0);
  std::vector<float> float_out(4 * kElements);
  std::vector<std::uint8_t> out(4 * kElements);
  const auto bytes = [](auto& values) { return reinterpret_cast<std::byte*>(values.data()); };
  const auto const_bytes = [](const auto& values) {
    return reinterpret_cast<const std::byte*>(values.data());
  };
  for (const TransposeKernel& kernel : transpose_kernels()) {
    report(kernel.name, "codes 64@56", 2.0 * kElements, "GB/s", [&] {
      kernel.bytes1(const_bytes(codes), bytes(out), kChannels, kPixels, kPixels, kChannels);
    });
    report(kernel.name, "floats 64@56", 8.0 * kElements, "GB/s", [&] {
      kernel.bytes4(const_bytes(floats), bytes(float_out), kChannels, kPixels, kPixels, kChannels);
    });
  }
  const std::vector<LinearTap> taps = linear_taps(kSide, 2 * kSide, 2, Coordinates::kHalfPixel);
  const ResizeGeometry geometry{kSide, kSide, kChannels, taps, taps};
  for (const ResizeKernel& kernel : resize_kernels()) {
    report(kernel.name, "floats 64@56 to 112", 20.0 * kElements, "GB/s",
           [&] { kernel.linear_f32(floats.data(), float_out.data(), geometry, 0, 2 * kSide); });
  }
  const auto logits = pattern<float>(1000 * 8, 16, -8);
  for (const SoftmaxKernel& kernel : softmax_kernels()) {
    report(kernel.name, "8 x 1000", 8.0 * 8 * 1000, "GB/s",
           [&] { kernel.softmax(logits.data(), float_out.data(), 8, 1000, 1); });
    report(kernel.name, "1000 x 8, first axis", 8.0 * 8 * 1000, "GB/s",
           [&] { kernel.softmax(logits.data(), float_out.data(), 1, 1000, 8); });
  }
}

// The forms that round as PyTorch does.
void bench_torch() {
  const auto a = pattern<std::uint8_t>(kElements, 256, 0);
  const auto b = pattern<std::uint8_t>(kElements, 251, 0);
  std::vector<std::uint8_t> out(kElements);
  const Grid grid{0.02F, 120};
  for (const QBinaryKernel& kernel : qbinary_kernels()) {
    const QBinaryParams add = make_torch_add_params(grid, {0.03F, 90}, {0.04F, 111}, 0, 255);
    report(kernel.name, "add 64@56", 3.0 * kElements, "GB/s",
           [&] { kernel.add_u8(a.data(), b.data(), out.data(), kElements, add); });
    const QBinaryParams mul = make_torch_mul_params(grid, {0.03F, 90}, {0.04F, 111}, 0, 255);
    report(kernel.name, "mul 64@56", 3.0 * kElements, "GB/s",
           [&] { kernel.mul_u8(a.data(), b.data(), out.data(), kElements, mul); });
  }
  const auto sums = pattern<std::int32_t>(kElements, 20000, -10000);
  const std::vector<float> scale(64, 0.0004F);
  const std::vector<float> bias(64, 0.1F);
  const QRequantizeParams params{scale.data(), bias.data(), 50.0F, 120, 0, 255};
  for (const QRequantizeKernel& kernel : qrequantize_kernels()) {
    report(kernel.name, "64@56", 5.0 * kElements, "GB/s",
           [&] { kernel.u8(sums.data(), out.data(), kElements / 64, 64, params); });
  }
  std::vector<WindowSpan> halves;
  for (int i = 0; i < 28; ++i) halves.push_back({2 * i, 2 * i + 2});
  const std::vector<float> factors(halves.size() * halves.size(), 0.25F);
  const QWindowGeometry geometry{56, 64, halves, halves, factors.data()};
  for (const QWindowKernel& kernel : qwindow_kernels()) {
    report(kernel.name, "2x2 64@56", 1.25 * kElements, "GB/s", [&] {
      kernel.u8(a.data(), out.data(), geometry, {120, 0, 120, false, 0, 255});
    });
  }
}

}  // namespace

void bench_all(std::string_view wanted) {
  filter = wanted;
  const std::string_view engine = simd::engine_class_name(simd::probe_engine_class());
  std::printf("engine class: %.*s\n", static_cast<int>(engine.size()), engine.data());
  bench_ceilings();
  bench_qconv();
  bench_qwinograd();
  bench_fconv();
  bench_fwinograd();
  bench_depthwise();
  bench_codes();
  bench_floats();
  bench_pools();
  bench_layouts();
  bench_torch();
}

}  // namespace octavo::kernels

int main(int argc, char** argv) {
  octavo::kernels::bench_all(argc > 1 ? argv[1] : "");
  return 0;
}
