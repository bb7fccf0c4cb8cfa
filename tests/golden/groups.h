// What each group of golden vectors is run by; a file a group.
#pragma once

#include "golden/golden.h"

namespace octavo::golden {

void run_batchnorm(Case& c);    // batchnorm.cpp
void run_e2e(Case& c);          // e2e.cpp
void run_fakequant(Case& c);    // fakequant.cpp
void run_observers(Case& c);    // observers.cpp
void run_onnx_models(Case& c);  // onnx_models.cpp
void run_onnx_ops(Case& c);     // onnx_ops.cpp
void run_ops(Case& c);          // ops.cpp
void run_ort_calib(Case& c);    // ort_calib.cpp
void run_quantize(Case& c);     // quantize.cpp

}  // namespace octavo::golden
