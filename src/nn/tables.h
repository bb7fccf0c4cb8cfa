// Functions of one code as tables of 256 entries (kernels/lut).
#pragma once

#include <utility>

#include "kernels/lut/lut.h"
#include "nn/checks.h"

namespace octavo::nn {

// entry(code) for every code of `dtype`; what it returns is a code of it.
template <class Entry>
kernels::Table256 table_of(ScalarType dtype, Entry entry) {
  kernels::Table256 table;
  for_code(dtype, [&]<class Code>(Code) {
    for (int i = 0; i < 256; ++i) {
      table[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(
          static_cast<Code>(entry(static_cast<Code>(static_cast<std::uint8_t>(i)))));
    }
  });
  return table;
}

// The codes of x through a table, on another grid.
inline QTensor remap(const QTensor& x, const kernels::Table256& table, QGrid grid) {
  Tensor codes = Tensor::make(x.storage().dtype(), x.shape());
  kernels::best_row(kernels::lut_kernels(), {})
      .run(reinterpret_cast<const std::uint8_t*>(x.storage().data()),
           reinterpret_cast<std::uint8_t*>(codes.mutable_data()), codes.bytes(), table.data());
  return x.with(std::move(codes), std::move(grid));
}

}  // namespace octavo::nn
