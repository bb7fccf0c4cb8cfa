#include <array>

#include "calib/observer.h"

namespace octavo::calib {

namespace {
constexpr std::array kObservers{
    ObserverDef{"minmax", "The smallest and the largest value seen.", &make_min_max},
    ObserverDef{"movingAverage",
                "Smallest and largest value of each batch, exponentially averaged (PyTorch).",
                &make_moving_average},
    ObserverDef{"histogram",
                "The part of a 2048-bin histogram with the least squared error (PyTorch).",
                &make_histogram},
    ObserverDef{"percentile",
                "The range that leaves out the rarest values, half of them at each end.",
                &make_percentile},
    ObserverDef{"mse", "The range with the least error of rounding and clipping.", &make_mse},
    ObserverDef{"entropy",
                "The range whose levels tell most of the distribution (ONNX Runtime, TensorRT).",
                &make_entropy},
    ObserverDef{"auto", "For each tensor what errs least: mse, percentile or minmax.", &make_auto},
};
}  // namespace

std::span<const ObserverDef> all_observers() { return kObservers; }

const ObserverDef* find_observer(std::string_view name) {
  for (const ObserverDef& row : kObservers) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

}  // namespace octavo::calib
