#include "passes/pass.h"

#include <array>

#include "passes/passes.h"

namespace octavo::passes {

namespace {
constexpr std::array kPasses{
    Pass{"eliminate_identity", "Removes nodes that hand their input on: Identity, Dropout.",
         &eliminate_identity},
    Pass{"eliminate_dead", "Removes nodes whose results nobody reads.", &eliminate_dead},
    Pass{"fold_batch_norm", "BatchNormalization into the Conv or Gemm before it.",
         &fold_batch_norm},
    Pass{"fold_scale",
         "Constants per channel into the Conv, Gemm or BatchNormalization before them.",
         &fold_scale},
    Pass{"fold_transpose", "Transpose of a dequantized matrix into the Gemm or MatMul behind it.",
         &fold_transpose},
    Pass{"fold_into_codes",
         "Constants per channel into the scales of the codes of the weight before them.",
         &fold_into_codes},
    Pass{"clip_codes", "Clip of codes into Clip of real numbers.", &clip_codes},
    Pass{"split_batch_norm", "BatchNormalization of a Concat into one of each part.",
         &split_batch_norm},
    Pass{"fuse_activation", "Relu or Clip into the node before it.", &fuse_activation},
    Pass{"lower_to_int8", "Nodes between DequantizeLinear and QuantizeLinear onto codes.",
         &lower_to_int8},
    Pass{"fold_dequantize", "Constants behind a DequantizeLinear, for nodes that stay float.",
         &fold_dequantize},
    Pass{"assign_layouts", "Memory layouts, with explicit conversions.", &assign_layouts},
};
}  // namespace

std::span<const Pass> all_passes() { return kPasses; }

const Pass* find_pass(std::string_view name) {
  for (const Pass& row : kPasses) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

}  // namespace octavo::passes
