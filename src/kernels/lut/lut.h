// lut: any function of one 8-bit code, as a table of 256 results.
//
//   out[i] = table[in[i]]
//
// Codes are taken as bytes: an int8 code q stands at index (uint8_t)q. Any n >= 0; out may be in.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/quantize/quantize.h"
#include "kernels/rows.h"

namespace octavo::kernels {

using Table256 = std::array<std::uint8_t, 256>;

using LutFn = void (*)(const std::uint8_t* in, std::uint8_t* out, std::size_t n,
                       const std::uint8_t* table);

struct LutKernel {
  std::string_view name;
  simd::Level level;
  LutFn run;
};

std::span<const LutKernel> lut_kernels();  // weakest first: front() is the reference

// table[q] = quantize(f(dequantize(q))), with ONNX's formulas (quantize/quantize.h): what ONNX
// Runtime computes for a QLinear form of f. f: float -> float; called 256 times.
template <class Code, class Function>
Table256 build_table(Function&& f, Grid in, Grid out) {
  Table256 table;
  for (int i = 0; i < 256; ++i) {
    const auto code = static_cast<Code>(static_cast<std::uint8_t>(i));
    table[static_cast<std::size_t>(i)] =
        static_cast<std::uint8_t>(quantize_value<Code>(f(dequantize_value<Code>(code, in)), out));
  }
  return table;
}

// Codes of one grid to codes of another (inputs of Concat): build_table of the identity. The
// identity table when the grids are the same.
template <class Code>
Table256 requantize_table(Grid in, Grid out) {
  return build_table<Code>([](float x) { return x; }, in, out);
}

// codes clamped to [lo, hi] after another table; for a fused Relu or Clip.
template <class Code>
Table256 clamp_table(const Table256& table, std::int32_t lo, std::int32_t hi) {
  Table256 out = table;
  for (std::uint8_t& entry : out) {
    const std::int32_t code = static_cast<Code>(entry);
    entry = static_cast<std::uint8_t>(code < lo ? lo : code > hi ? hi : code);
  }
  return out;
}

// table[q] = q everywhere: the caller may copy instead.
bool is_identity(const Table256& table);

}  // namespace octavo::kernels
