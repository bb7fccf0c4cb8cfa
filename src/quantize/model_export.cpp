// Model -> ONNX file. By itself, like model_summary.cpp: a program that only runs models links
// neither.
#include "onnx/export.h"
#include "passes/expand_for_export.h"
#include "quantize/json.h"
#include "quantize/model.h"
#include "quantize/options.h"

namespace octavo::quantize {

namespace {

constexpr std::string_view kBatchNormForms[] = {"depthwise", "batchnorm", "muladd"};
constexpr std::string_view kFormats[] = {"qdq", "qoperator"};

passes::BatchNormForm batch_norm_form(std::string_view name) {
  if (name == "batchnorm") return passes::BatchNormForm::kBatchNorm;
  if (name == "muladd") return passes::BatchNormForm::kMulAdd;
  return passes::BatchNormForm::kDepthwise;
}

}  // namespace

Result<ExportOptions> parse_export_options(std::string_view json) {
  OCTAVO_TRY(const Json parsed, parse_options(json));
  const OptionReader options(parsed, "");
  constexpr std::string_view kKeys[] = {"opset", "batchNorm", "format"};
  OCTAVO_CHECK_OK(options.check(kKeys));
  ExportOptions out;
  OCTAVO_CHECK_OK(options.read("opset", out.opset, 13, 21));
  OCTAVO_CHECK_OK(options.read("batchNorm", out.batch_norm, kBatchNormForms));
  OCTAVO_CHECK_OK(options.read("format", out.format, kFormats));
  return out;
}

Result<std::vector<std::byte>> Model::to_onnx(const ExportOptions& options) const {
  Graph graph = graph_;
  OCTAVO_CHECK_OK(passes::expand_for_export(
      graph, {options.opset, batch_norm_form(options.batch_norm), options.format == "qoperator"}));
  onnx::ExportInfo info;
  info.opset = graph.opset;
  info.producer_version = OCTAVO_VERSION;
  info.metadata["octavo.export"] =
      dump({{"format", options.format}, {"batchNorm", options.batch_norm}, {"opset", graph.opset}});
  return onnx::export_model(graph, info);
}

}  // namespace octavo::quantize
