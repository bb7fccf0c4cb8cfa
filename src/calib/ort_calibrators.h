// ONNX Runtime's calibrators (1.21, onnxruntime.quantization): the ranges that its quantize_static
// finds, for who wants the same numbers.
//
// They look at all values of a tensor at once, as ONNX Runtime's collectors do in one collect_data:
// not streaming, unlike the observers of observer.h. Histograms are numpy's: edges are
// lo + i * ((hi - lo) / bins) in f32, bin i holds edge[i] <= v < edge[i + 1], the last one both its
// ends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace octavo::calib {

struct OrtRange {
  double lo = 0, hi = 0;
};

// MinMaxCalibrater. `moving_average`: the mean of the batches' ends; `symmetric`: both ends as far
// as the farther one. Batches are not empty.
OrtRange ort_min_max(std::span<const std::vector<float>> batches, bool symmetric,
                     bool moving_average);

// PercentileCalibrater, symmetric as quantize_static makes it: the edge of |v| below which
// `percentile` per cent lie, cut to the smallest and the largest value.
OrtRange ort_percentile(std::span<const float> values, double percentile, int bins);

// EntropyCalibrater: of the ranges of 2i + 1 bins around zero, i from quantized_bins / 2 to bins /
// 2, the one whose distribution is nearest (Kullback-Leibler) to itself on `quantized_bins` bins,
// cut to the smallest and the largest value. After Migacz, "8-bit Inference with TensorRT" (2017).
OrtRange ort_entropy(std::span<const float> values, int bins, int quantized_bins);

// Its search: of the counts around zero the bins [first, last) that it keeps.
std::pair<std::size_t, std::size_t> least_divergence(const std::vector<std::int64_t>& counts,
                                                     int quantized_bins);

// DistributionCalibrater, scenario "same": the span of its histogram.
OrtRange ort_distribution(std::span<const float> values);

}  // namespace octavo::calib
