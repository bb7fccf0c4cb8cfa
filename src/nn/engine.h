// How the quantized modules compute: which of torch's engines they equal, and which kernels they
// take.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "kernels/policy.h"

namespace octavo::nn {

// torch.backends.quantized.engine. The two round convolution, linear and average pooling
// differently: seldom, and then by one code (functional.h gives the formulas). Every other function
// is the same in both.
enum class QEngine : std::uint8_t { kOnednn, kQnnpack };
std::string_view qengine_name(QEngine engine);  // "onednn", "qnnpack"
// Those names, and "x86" and "fbgemm", which follow onednn's formula here: FBGEMM itself rounds as
// qnnpack does, but torch's x86 engine takes onednn where the machine has VNNI.
std::optional<QEngine> qengine_from_name(std::string_view name);

struct Backend {
  QEngine engine = QEngine::kOnednn;
  kernels::Policy policy;
};

}  // namespace octavo::nn
