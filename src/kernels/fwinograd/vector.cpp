// fwinograd on four channels at a time.
#include "kernels/fwinograd/tiles.h"
#include "simd/isa.h"

namespace octavo::kernels::fwinograd {

namespace {

struct Four {
  static constexpr int kLanes = 4;
  v128_t v;
  static Four load(const float* p) { return {wasm_v128_load(p)}; }
  static Four all(float x) { return {wasm_f32x4_splat(x)}; }
  void store(float* p) const { wasm_v128_store(p, v); }
  Four clamped(Four lo, Four hi) const { return {wasm_f32x4_pmin(wasm_f32x4_pmax(v, lo.v), hi.v)}; }
  friend Four operator+(Four a, Four b) { return {wasm_f32x4_add(a.v, b.v)}; }
  friend Four operator-(Four a, Four b) { return {wasm_f32x4_sub(a.v, b.v)}; }
  friend Four operator*(float a, Four b) { return {wasm_f32x4_mul(wasm_f32x4_splat(a), b.v)}; }
};

}  // namespace

void run_by_fours(const FWinogradPacked& packed, const FWinogradCall& call) {
  run_tiles<Four>(packed, call);
}

}  // namespace octavo::kernels::fwinograd
