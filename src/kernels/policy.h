// Which rows of the kernel tables a session may use.
#pragma once

#include "simd/engine_class.h"

namespace octavo::kernels {

struct Policy {
  // How this machine's relaxed dot products behave, found by probing at load (simd/engine_class.h).
  simd::EngineClass engine = simd::EngineClass::kNone;
  // The strongest instruction set to take; tests and `{ isa }` lower it.
  simd::Level level = simd::Level::kBest;
  // Float products may be added with one rounding instead of two where the machine has it: faster,
  // and a little different from machine to machine. For float networks only.
  bool fused_floats = false;
};

}  // namespace octavo::kernels
