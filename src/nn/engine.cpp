#include "nn/engine.h"

namespace octavo::nn {

std::string_view qengine_name(QEngine engine) {
  return engine == QEngine::kQnnpack ? "qnnpack" : "onednn";
}

std::optional<QEngine> qengine_from_name(std::string_view name) {
  if (name == "onednn" || name == "x86" || name == "fbgemm") return QEngine::kOnednn;
  if (name == "qnnpack") return QEngine::kQnnpack;
  return std::nullopt;
}

}  // namespace octavo::nn
