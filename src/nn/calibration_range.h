// ONNX Runtime's calibrators by their names (calib/ort_calibrators.h has the rules): the range that
// its quantize_static would give a tensor.
#pragma once

#include <span>
#include <string_view>

#include "base/result.h"
#include "calib/ort_calibrators.h"
#include "tensor/tensor.h"

namespace octavo::nn {

// Each method reads its own; the defaults are ONNX Runtime's.
struct CalibrationOptions {
  bool symmetric = false;       // MinMax
  bool moving_average = false;  // MinMax: the mean of the batches' ends
  double percentile = 99.999;   // Percentile: (0, 100]
  int bins = 0;                 // Entropy, Percentile; 0: 128 and 2048
  int quantized_bins = 128;     // Entropy: 2 to bins
};

// `method`: "MinMax", "Entropy", "Percentile" or "Distribution". `batches`: float32, finite, any
// shapes, empty ones count for nothing; at least one value. Errors: INVALID_OPTION,
// UNSUPPORTED_DTYPE, NON_FINITE_SAMPLE, NO_SAMPLES.
Result<calib::OrtRange> calibration_range(std::string_view method, std::span<const Tensor> batches,
                                          const CalibrationOptions& options = {});

}  // namespace octavo::nn
