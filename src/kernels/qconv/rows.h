// The vector rows of qconv's table, a family a file, weakest first.
#pragma once

#include <span>

#include "kernels/qconv/qconv.h"

namespace octavo::kernels {

std::span<const QConvKernel> qconv_dot16_rows();   // dot16.cpp
std::span<const QConvKernel> qconv_direct_rows();  // direct.cpp; none without relaxed SIMD

}  // namespace octavo::kernels
