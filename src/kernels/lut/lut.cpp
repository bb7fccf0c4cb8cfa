#include "kernels/lut/lut.h"

namespace octavo::kernels {

namespace {

// A table of 256 bytes lies in four cache lines: one load a code. Chains of sixteen swizzles were
// no faster on x86 without the relaxed swizzle, so there is one row.
void lut_scalar(const std::uint8_t* in, std::uint8_t* out, std::size_t n,
                const std::uint8_t* table) {
  for (std::size_t i = 0; i < n; ++i) out[i] = table[in[i]];
}

constexpr auto kKernels =
    std::to_array<LutKernel>({{"lut/scalar", simd::Level::kScalar, &lut_scalar}});

}  // namespace

std::span<const LutKernel> lut_kernels() { return kKernels; }

bool is_identity(const Table256& table) {
  for (std::size_t i = 0; i < table.size(); ++i) {
    if (table[i] != i) return false;
  }
  return true;
}

}  // namespace octavo::kernels
