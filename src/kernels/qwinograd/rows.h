// The vector rows of qwinograd's table.
#pragma once

#include <span>

#include "kernels/qwinograd/qwinograd.h"

namespace octavo::kernels {

std::span<const QWinogradKernel> qwinograd_tile_rows();  // tiles.cpp

}  // namespace octavo::kernels
