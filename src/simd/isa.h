// The only feature #ifs of the tree: what vector instructions this build has.
//
// SIMD128 is there always: as WebAssembly instructions, or natively through SIMDe, so that
// sanitizers see the real kernels. The relaxed dot products are instructions in the relaxed module;
// natively they are scalar models of each engine class (relaxed.h), for tests only.
#pragma once

#if defined(__wasm_simd128__)
#include <wasm_simd128.h>
#else
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/wasm/simd128.h>
#endif

#include "simd/engine_class.h"

namespace octavo::simd {

#if defined(__wasm_relaxed_simd__)
inline constexpr bool kHasRelaxed = true;  // as instructions
inline constexpr bool kHasRelaxedModels = false;
#elif defined(__wasm__)
inline constexpr bool kHasRelaxed = false;
inline constexpr bool kHasRelaxedModels = false;
#else
inline constexpr bool kHasRelaxed = false;
inline constexpr bool kHasRelaxedModels = true;
#endif
// Whether rows for relaxed SIMD are in the tables of this build.
inline constexpr bool kHasRelaxedRows = kHasRelaxed || kHasRelaxedModels;

// The same vector, from memory: LLVM would build a constant anew at every use, in a loop too (V8
// then loads it each time: 28 against 45 GMAC/s).
inline v128_t from_memory(v128_t constant) {
#if defined(__wasm__)
  const volatile v128_t slot = constant;
  return slot;
#else
  return constant;
#endif
}

// a * b modulo 2^32, in 32-bit lanes; what stands for the instruction natively multiplies ints,
// which may not overflow.
inline v128_t mul_i32x4(v128_t a, v128_t b) {
#if defined(__wasm__)
  return wasm_i32x4_mul(a, b);
#else
  std::uint32_t factors[8];
  wasm_v128_store(factors, a);
  wasm_v128_store(factors + 4, b);
  for (int i = 0; i < 4; ++i) factors[i] *= factors[4 + i];
  return wasm_v128_load(factors);
#endif
}

}  // namespace octavo::simd
