#include "base/error_codes.h"

#include <array>

namespace octavo {

namespace {
constexpr std::array kCodes{
    CodeInfo{Code::kInvalidModel, "INVALID_MODEL",
             "The bytes are not an ONNX model, or the graph is not a valid one."},
    CodeInfo{Code::kTruncatedModel, "TRUNCATED_MODEL", "The model ends in the middle of a field."},
    CodeInfo{Code::kUnsupportedOp, "UNSUPPORTED_OP",
             "One or more nodes use an operator that Octavo does not run."},
    CodeInfo{Code::kUnsupportedAttribute, "UNSUPPORTED_ATTRIBUTE",
             "An operator is supported, this attribute or value of it is not."},
    CodeInfo{Code::kUnsupportedOpset, "UNSUPPORTED_OPSET",
             "The model's opset is older or newer than Octavo reads."},
    CodeInfo{Code::kUnsupportedDtype, "UNSUPPORTED_DTYPE",
             "A tensor has a data type that is not supported there."},
    CodeInfo{Code::kMissingInitializer, "MISSING_INITIALIZER",
             "A node reads a tensor that nothing in the model makes."},
    CodeInfo{Code::kExternalData, "EXTERNAL_DATA",
             "Weights are stored in another file that was not given."},
    CodeInfo{
        Code::kShapeMismatch, "SHAPE_MISMATCH",
        "Shapes of a node's inputs or attributes do not fit together, or an index lies outside."},
    CodeInfo{Code::kNonFiniteWeight, "NON_FINITE_WEIGHT", "A weight is NaN or infinite."},
    CodeInfo{Code::kDynamicDimension, "DYNAMIC_DIMENSION",
             "A dimension has no number and was not given one."},
    CodeInfo{Code::kSampleShape, "SAMPLE_SHAPE",
             "A sample or feed has another shape than the model's input."},
    CodeInfo{Code::kSampleDtype, "SAMPLE_DTYPE",
             "A sample or feed has another data type than the model's input."},
    CodeInfo{Code::kSampleMissing, "SAMPLE_MISSING",
             "A sample or feed lacks an input of the model or names one it does not have."},
    CodeInfo{Code::kNoSamples, "NO_SAMPLES", "Calibration or comparison got no samples."},
    CodeInfo{Code::kNonFiniteSample, "NON_FINITE_SAMPLE",
             "A sample makes a NaN or infinite value."},
    CodeInfo{Code::kInvalidOption, "INVALID_OPTION", "An option has a value that is not allowed."},
    CodeInfo{Code::kInvalidState, "INVALID_STATE",
             "The call does not fit the state of the object."},
    CodeInfo{Code::kLimitExceeded, "LIMIT_EXCEEDED",
             "A size in the model is above the stated limits."},
    CodeInfo{Code::kOutOfMemory, "OUT_OF_MEMORY", "There is not enough memory for the work."},
    CodeInfo{Code::kInternal, "INTERNAL", "A defect in Octavo: please report it with the model."},
};

constexpr bool in_order() {
  for (std::size_t i = 0; i < kCodes.size(); ++i) {
    if (static_cast<std::size_t>(kCodes[i].code) != i) return false;
  }
  return static_cast<std::size_t>(Code::kInternal) + 1 == kCodes.size();
}
static_assert(in_order());
}  // namespace

std::span<const CodeInfo> all_codes() { return kCodes; }
std::string_view code_name(Code code) { return kCodes[static_cast<std::size_t>(code)].name; }

}  // namespace octavo
