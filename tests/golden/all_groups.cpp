#include <array>

#include "golden/groups.h"

namespace octavo::golden {

namespace {
constexpr std::array kGroups{
    Group{"batchnorm", &run_batchnorm},
    Group{"e2e", &run_e2e},
    Group{"fakequant", &run_fakequant},
    Group{"observers", &run_observers},
    Group{"onnx_models", &run_onnx_models},
    Group{"onnx_ops", &run_onnx_ops},
    Group{"ops", &run_ops},
    Group{"ort_calib", &run_ort_calib},
    Group{"quantize", &run_quantize},
};
}  // namespace

std::span<const Group> all_groups() { return kGroups; }

}  // namespace octavo::golden
