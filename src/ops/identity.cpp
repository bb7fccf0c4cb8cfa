// Identity: out = in.
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
  // A constant is row-major whatever the rest is.
  Move move;
  move.dims = in.shape->dims();
  move.from_strides = strides_of(in);
  move.to_strides = strides_of(out);
  return move_step(context, "copy", dtype_size(in.dtype), {std::move(move)});
}
}  // namespace

extern const OpDef kIdentity;
const OpDef kIdentity{"Identity",           "",    16,     1, 1, 1, 1, {}, LayoutRule::kFollow,
                      QuantRule::kSameGrid, infer, prepare};

}  // namespace octavo::ops
