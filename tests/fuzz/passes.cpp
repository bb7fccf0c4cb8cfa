// Import, shape inference and passes; what loads has a summary and is exported to a file that
// loads.
#include "fuzz/fuzz.h"
#include "graph/verify.h"
#include "quantize/model.h"

using namespace octavo;

std::span<const ops::OpDef> fuzz::mutator_ops() { return ops::all_ops(); }

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto model =
      quantize::Model::load(fuzz::exact_bytes(data, size), size, {}, onnx::Unaligned::kMove);
  if (!model.ok()) {
    fuzz::check_error(model.error());
    return 0;
  }
  fuzz::check(verify(model->graph()).ok(), "a normalized graph is well formed");
  fuzz::check(!model->summary_json().empty(), "a model has a summary");
  const auto file = model->to_onnx({});
  if (!file.ok()) {
    fuzz::check_error(file.error());
    return 0;
  }
  const auto again =
      quantize::Model::load(fuzz::exact_bytes(file->data(), file->size()), file->size());
  if (!again.ok()) std::fprintf(stderr, "%s\n", again.error().message().c_str());
  fuzz::check(again.ok(), "an exported file loads");
  return 0;
}
