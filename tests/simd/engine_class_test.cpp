#include "simd/engine_class.h"

#include <doctest/doctest.h>

#include <array>

#include "simd/relaxed.h"
#include "support/buffers.h"

namespace octavo::simd {
namespace {

// The four classes in plain integers, written apart from simd/relaxed.h.
std::int64_t pair_sum(EngineClass engine, const std::int8_t* a, const std::uint8_t* b) {
  const bool takes_unsigned = engine == EngineClass::kUsdot || engine == EngineClass::kMaddubs;
  std::int64_t sum = 0;
  for (int i = 0; i < 2; ++i) sum += a[i] * (takes_unsigned || b[i] < 128 ? b[i] : b[i] - 256);
  if (engine == EngineClass::kMaddubs) return sum > 32767 ? 32767 : sum < -32768 ? -32768 : sum;
  if (engine == EngineClass::kWrap)
    return sum > 32767 ? sum - 65536 : sum < -32768 ? sum + 65536 : sum;
  return sum;
}
std::int32_t expected_lane(EngineClass engine, const std::int8_t* a, const std::uint8_t* b,
                           std::int32_t acc) {
  const std::int64_t sum = pair_sum(engine, a, b) + pair_sum(engine, a + 2, b + 2);
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(acc) +
                                   static_cast<std::uint32_t>(sum));
}

template <EngineClass kClass>
void dot_of(const std::int8_t* a, const std::uint8_t* b, std::int32_t* sums) {
  v128_t w;
  v128_t x;
  v128_t acc;
  std::memcpy(&w, a, 16);
  std::memcpy(&x, b, 16);
  std::memcpy(&acc, sums, 16);
  acc = relaxed_dot<kClass>(w, x, acc);
  std::memcpy(sums, &acc, 16);
}

template <EngineClass kClass>
bool dot_is_exact_by_its_class() {
  test::Random random(static_cast<std::uint32_t>(kClass));
  constexpr std::array<std::int8_t, 4> kSteep{-128, 127, -127, 0};
  for (int round = 0; round < 2000; ++round) {
    std::int8_t a[16];
    std::uint8_t b[16];
    std::int32_t acc[4];
    for (std::size_t i = 0; i < 16; ++i) {
      a[i] =
          round % 2 == 0 ? static_cast<std::int8_t>(random.bits() >> 8) : kSteep[random.bits() % 4];
      b[i] = round % 3 == 0   ? 255
             : round % 3 == 1 ? 128
                              : static_cast<std::uint8_t>(random.bits() >> 8);
    }
    for (std::int32_t& lane : acc) lane = static_cast<std::int32_t>(random.bits());
    std::int32_t sums[4];
    std::memcpy(sums, acc, sizeof sums);
    dot_of<kClass>(a, b, sums);
    for (int lane = 0; lane < 4; ++lane) {
      if (sums[lane] != expected_lane(kClass, a + 4 * lane, b + 4 * lane, acc[lane])) return false;
    }
  }
  return true;
}

TEST_CASE("engine class: every class computes what its name says, accumulating modulo 2^32") {
  if constexpr (kHasRelaxed) {
    switch (probe_engine_class()) {  // the instruction is of one class only
      case EngineClass::kSdot:
        CHECK(dot_is_exact_by_its_class<EngineClass::kSdot>());
        break;
      case EngineClass::kUsdot:
        CHECK(dot_is_exact_by_its_class<EngineClass::kUsdot>());
        break;
      case EngineClass::kMaddubs:
        CHECK(dot_is_exact_by_its_class<EngineClass::kMaddubs>());
        break;
      case EngineClass::kWrap:
        CHECK(dot_is_exact_by_its_class<EngineClass::kWrap>());
        break;
      case EngineClass::kNone:
        FAIL("this machine's relaxed dot product is of no known class");
        break;
    }
  } else if constexpr (kHasRelaxedModels) {
    CHECK(dot_is_exact_by_its_class<EngineClass::kSdot>());
    CHECK(dot_is_exact_by_its_class<EngineClass::kUsdot>());
    CHECK(dot_is_exact_by_its_class<EngineClass::kMaddubs>());
    CHECK(dot_is_exact_by_its_class<EngineClass::kWrap>());
  }
}

template <EngineClass kClass>
void plain_dot(const std::int8_t* a, const std::uint8_t* b, std::int32_t* sums) {
  for (int lane = 0; lane < 4; ++lane)
    sums[lane] = expected_lane(kClass, a + 4 * lane, b + 4 * lane, sums[lane]);
}

TEST_CASE("engine class: known vectors tell the four classes apart") {
  CHECK(classify_engine(&plain_dot<EngineClass::kSdot>) == EngineClass::kSdot);
  CHECK(classify_engine(&plain_dot<EngineClass::kUsdot>) == EngineClass::kUsdot);
  CHECK(classify_engine(&plain_dot<EngineClass::kMaddubs>) == EngineClass::kMaddubs);
  CHECK(classify_engine(&plain_dot<EngineClass::kWrap>) == EngineClass::kWrap);
}

TEST_CASE("engine class: an engine with wrong sums is of no class") {
  // V8 11.3 doubled every sum.
  CHECK(classify_engine([](const std::int8_t* a, const std::uint8_t* b, std::int32_t* sums) {
          std::int32_t before[4];
          std::memcpy(before, sums, sizeof before);
          plain_dot<EngineClass::kUsdot>(a, b, sums);
          for (int i = 0; i < 4; ++i) sums[i] += sums[i] - before[i];
        }) == EngineClass::kNone);
  CHECK(classify_engine([](const std::int8_t*, const std::uint8_t*, std::int32_t*) {}) ==
        EngineClass::kNone);
  // Right in all lanes but one.
  CHECK(classify_engine([](const std::int8_t* a, const std::uint8_t* b, std::int32_t* sums) {
          plain_dot<EngineClass::kSdot>(a, b, sums);
          sums[3] += 1;
        }) == EngineClass::kNone);
  // The accumulator is lost.
  CHECK(classify_engine([](const std::int8_t* a, const std::uint8_t* b, std::int32_t* sums) {
          std::fill_n(sums, 4, 0);
          plain_dot<EngineClass::kSdot>(a, b, sums);
        }) == EngineClass::kNone);
}

TEST_CASE("engine class: a build without relaxed instructions probes none") {
  CHECK((probe_engine_class() == EngineClass::kNone) == !kHasRelaxed);
}

TEST_CASE("engine class: classes and levels have their names") {
  CHECK(engine_class_name(EngineClass::kNone) == "none");
  CHECK(engine_class_name(EngineClass::kSdot) == "SDOT");
  CHECK(engine_class_name(EngineClass::kUsdot) == "USDOT");
  CHECK(engine_class_name(EngineClass::kMaddubs) == "MADDUBS");
  CHECK(engine_class_name(EngineClass::kWrap) == "WRAP");
  CHECK(level_name(Level::kScalar) == "scalar");
  CHECK(level_name(Level::kSimd128) == "simd128");
  CHECK(level_name(Level::kRelaxed) == "relaxed");
}

}  // namespace
}  // namespace octavo::simd
