#include "simd/engine_class.h"

#include <array>
#include <cstring>

#include "simd/isa.h"
#include "simd/relaxed.h"

namespace octavo::simd {

std::string_view engine_class_name(EngineClass engine_class) {
  constexpr std::array<std::string_view, 5> kNames{"none", "SDOT", "USDOT", "MADDUBS", "WRAP"};
  return kNames[static_cast<std::size_t>(engine_class)];
}

std::string_view level_name(Level level) {
  constexpr std::array<std::string_view, 3> kNames{"scalar", "simd128", "relaxed"};
  return kNames[static_cast<std::size_t>(level)];
}

namespace {

// Four products a lane: a (signed operand) times b, with b's top bit set in all but the last row.
struct Vector {
  std::array<std::int8_t, 4> a;
  std::array<std::uint8_t, 4> b;
};
constexpr std::array kVectors{
    Vector{{1, 0, 0, 0}, {0x80, 0, 0, 0}},
    Vector{{-128, -128, -128, -128}, {0x80, 0x80, 0x80, 0x80}},
    Vector{{-128, -128, 0, 0}, {0xFF, 0xFF, 0, 0}},
    Vector{{127, 127, 127, 127}, {0xFF, 0xFF, 0xFF, 0xFF}},
    Vector{{3, -5, 7, 11}, {2, 4, 6, 100}},  // plain small values: every conforming engine gives 1128
};
constexpr std::int32_t kAccumulator = 1000;
struct Answer {
  EngineClass engine_class;
  std::array<std::int32_t, 5> sums;
};
// Where both SDOT and WRAP fit (wrapping shows in no sum of the first four), row 5 of the probe decides.
constexpr std::array kAnswers{
    Answer{EngineClass::kSdot, {-128, 65536, 256, -508, 1128}},
    Answer{EngineClass::kUsdot, {128, -65536, -65280, 129540, 1128}},
    Answer{EngineClass::kMaddubs, {128, -65536, -32768, 65534, 1128}},
};
// -128 * -128 twice is 32768: one more than 16 bits hold.
constexpr Vector kWrapVector{{-128, -128, 0, 0}, {0x80, 0x80, 0, 0}};

std::int32_t machine_dot(const Vector& vector) {
  // volatile: the compiler must not fold what the machine is asked for.
  volatile std::int8_t a[16] = {};
  volatile std::uint8_t b[16] = {};
  for (std::size_t i = 0; i < 16; ++i) {
    a[i] = vector.a[i % 4];
    b[i] = vector.b[i % 4];
  }
  std::int8_t signed_bytes[16];
  std::uint8_t bytes[16];
  for (std::size_t i = 0; i < 16; ++i) {
    signed_bytes[i] = a[i];
    bytes[i] = b[i];
  }
  v128_t w;
  v128_t x;
  std::memcpy(&w, signed_bytes, 16);
  std::memcpy(&x, bytes, 16);
  const v128_t sums = relaxed_dot<EngineClass::kSdot>(w, x, wasm_i32x4_splat(kAccumulator));
  std::int32_t lanes[4];
  std::memcpy(lanes, &sums, 16);
  if (lanes[1] != lanes[0] || lanes[2] != lanes[0] || lanes[3] != lanes[0]) return 0;
  return lanes[0] - kAccumulator;
}

}  // namespace

EngineClass probe_engine_class() {
  if constexpr (!kHasRelaxed) return EngineClass::kNone;
  std::array<std::int32_t, kVectors.size()> sums{};
  for (std::size_t i = 0; i < sums.size(); ++i) sums[i] = machine_dot(kVectors[i]);
  for (const Answer& answer : kAnswers) {
    if (answer.sums != sums) continue;
    if (answer.engine_class != EngineClass::kSdot) return answer.engine_class;
    const std::int32_t pair = machine_dot(kWrapVector);
    if (pair == 32768) return EngineClass::kSdot;
    if (pair == -32768) return EngineClass::kWrap;
  }
  return EngineClass::kNone;
}

}  // namespace octavo::simd
