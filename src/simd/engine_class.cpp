#include "simd/engine_class.h"

#include <algorithm>
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
    Vector{{3, -5, 7, 11},
           {2, 4, 6, 100}},  // plain small values: every conforming engine gives 1128
};
constexpr std::int32_t kAccumulator = 1000;
struct Answer {
  EngineClass engine_class;
  std::array<std::int32_t, 5> sums;
};
constexpr std::array kAnswers{
    Answer{EngineClass::kSdot, {-128, 65536, 256, -508, 1128}},
    Answer{EngineClass::kUsdot, {128, -65536, -65280, 129540, 1128}},
    Answer{EngineClass::kMaddubs, {128, -65536, -32768, 65534, 1128}},
    // -128 * -128 twice is 32768: one more than 16 bits hold.
    Answer{EngineClass::kWrap, {-128, -65536, 256, -508, 1128}},
};

// One group of four products, the same in all lanes; 0 (no class's answer) where lanes differ.
std::int32_t answer_to(const Vector& vector, DotFn dot) {
  std::int8_t a[16];
  std::uint8_t b[16];
  for (std::size_t i = 0; i < 16; ++i) {
    a[i] = vector.a[i % 4];
    b[i] = vector.b[i % 4];
  }
  std::int32_t sums[4] = {kAccumulator, kAccumulator, kAccumulator, kAccumulator};
  dot(a, b, sums);
  if (sums[1] != sums[0] || sums[2] != sums[0] || sums[3] != sums[0]) return 0;
  return sums[0] - kAccumulator;
}

[[maybe_unused]] void machine_dot(const std::int8_t* a, const std::uint8_t* b, std::int32_t* sums) {
  // volatile: the compiler must not fold what the machine is asked for.
  volatile std::int8_t volatile_a[16];
  volatile std::uint8_t volatile_b[16];
  std::int8_t signed_bytes[16];
  std::uint8_t bytes[16];
  for (std::size_t i = 0; i < 16; ++i) {
    volatile_a[i] = a[i];
    volatile_b[i] = b[i];
    signed_bytes[i] = volatile_a[i];
    bytes[i] = volatile_b[i];
  }
  v128_t w;
  v128_t x;
  v128_t acc;
  std::memcpy(&w, signed_bytes, 16);
  std::memcpy(&x, bytes, 16);
  std::memcpy(&acc, sums, 16);
  acc = relaxed_dot<EngineClass::kSdot>(w, x, acc);
  std::memcpy(sums, &acc, 16);
}

// The 16-bit form is an instruction of its own, and rows for MADDUBS are written with it.
[[maybe_unused]] bool machine_pairs_saturate() {
  for (const Vector& vector : kVectors) {
    volatile std::int8_t volatile_a[16];
    volatile std::uint8_t volatile_b[16];
    std::int8_t a[16];
    std::uint8_t b[16];
    std::int16_t expected[8];
    for (std::size_t i = 0; i < 16; ++i) {
      volatile_a[i] = vector.a[i % 4];
      volatile_b[i] = vector.b[i % 4];
      a[i] = volatile_a[i];
      b[i] = volatile_b[i];
    }
    for (std::size_t i = 0; i < 8; ++i) {
      const int sum = a[2 * i] * b[2 * i] + a[2 * i + 1] * b[2 * i + 1];
      expected[i] = static_cast<std::int16_t>(std::clamp(sum, -32768, 32767));
    }
    v128_t w;
    v128_t x;
    std::memcpy(&w, a, 16);
    std::memcpy(&x, b, 16);
    const v128_t sums = relaxed_pair_dot<EngineClass::kMaddubs>(w, x);
    if (std::memcmp(&sums, expected, 16) != 0) return false;
  }
  return true;
}

}  // namespace

EngineClass classify_engine(DotFn dot) {
  std::array<std::int32_t, kVectors.size()> sums{};
  for (std::size_t i = 0; i < sums.size(); ++i) sums[i] = answer_to(kVectors[i], dot);
  for (const Answer& answer : kAnswers) {
    if (answer.sums == sums) return answer.engine_class;
  }
  return EngineClass::kNone;
}

EngineClass probe_engine_class() {
  if constexpr (!kHasRelaxed) return EngineClass::kNone;
  const EngineClass found = classify_engine(&machine_dot);
  if (found == EngineClass::kMaddubs && !machine_pairs_saturate()) return EngineClass::kNone;
  return found;
}

}  // namespace octavo::simd
