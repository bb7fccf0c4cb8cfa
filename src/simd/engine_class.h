// What the relaxed dot products of this machine compute. Their results may differ between engines
// (the relaxed-SIMD proposal leaves operand 2's sign and the saturation of pair sums open), never
// within one.
#pragma once

#include <cstdint>
#include <string_view>

namespace octavo::simd {

// Which instruction sets rows are written for, weakest first.
enum class Level : std::uint8_t { kScalar, kSimd128, kRelaxed, kBest = kRelaxed };

enum class EngineClass : std::uint8_t {
  kNone,     // no relaxed SIMD, or one whose sums are none of the below: use SIMD128 rows
  kSdot,     // signed x signed, exact
  kUsdot,    // signed x unsigned, exact
  kMaddubs,  // signed x unsigned, pair sums saturate to 16 bits
  kWrap,     // signed x signed, pair sums wrap to 16 bits
};

// "SDOT", "USDOT", "MADDUBS", "WRAP", "none"
std::string_view engine_class_name(EngineClass engine_class);
// "scalar", "simd128", "relaxed"
std::string_view level_name(Level level);

// sums[i] += sum over j < 4 of a[4i + j] * b[4i + j], i < 4, in the manner of some engine.
using DotFn = void (*)(const std::int8_t* a, const std::uint8_t* b, std::int32_t* sums);
// The class whose answers to known vectors are those of `dot`; kNone where no class has them.
EngineClass classify_engine(DotFn dot);

// The class of this build's relaxed dot product. kNone where there is none.
EngineClass probe_engine_class();

}  // namespace octavo::simd
