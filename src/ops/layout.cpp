// octavo::ToChannelsLast and octavo::ToRowMajor: the same tensor in the other memory order.
//
// Only the layout pass makes these nodes; logical shape, dtype and codes stay what they are.
#include "ops/move.h"

namespace octavo::ops {

namespace {
Status infer(InferContext& context) {
  OCTAVO_TRY(Shape shape, context.shape(0));
  context.set_output(0, context.input(0).dtype, std::move(shape));
  return ok_status();
}

Result<Step> prepare(const PrepareContext& context) {
  OCTAVO_CHECK_OK(check_same_grid(context));
  const Value& in = context.input(0);
  const Value& out = context.output();
  if (in.layout == out.layout || same_order(*in.shape, Layout::kChannelsLast))
    return alias_step(context);
  Move move;
  move.dims = in.shape->dims();
  move.from_strides = strides_of(in);
  move.to_strides = strides_of(out);
  const std::string_view kernel =
      out.layout == Layout::kChannelsLast ? "copy/to-channels-last" : "copy/to-row-major";
  return move_step(context, kernel, dtype_size(in.dtype), {std::move(move)});
}
}  // namespace

extern const OpDef kToChannelsLast;
const OpDef kToChannelsLast{
    "ToChannelsLast",     "octavo", 1,      1, 1, 1, 1, {}, LayoutRule::kChannelsLast,
    QuantRule::kSameGrid, infer,    prepare};

extern const OpDef kToRowMajor;
const OpDef kToRowMajor{
    "ToRowMajor",         "octavo", 1,      1, 1, 1, 1, {}, LayoutRule::kAnyToRowMajor,
    QuantRule::kSameGrid, infer,    prepare};

}  // namespace octavo::ops
