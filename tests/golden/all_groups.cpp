#include <array>

#include "golden/groups.h"

namespace octavo::golden {

namespace {
constexpr std::array kGroups{
    Group{"batchnorm", &run_batchnorm},
    Group{"fakequant", &run_fakequant},
    Group{"observers", &run_observers},
    Group{"ops", &run_ops},
    Group{"quantize", &run_quantize},
};
}  // namespace

std::span<const Group> all_groups() { return kGroups; }

}  // namespace octavo::golden
