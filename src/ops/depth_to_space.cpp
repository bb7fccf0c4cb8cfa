// DepthToSpace and SpaceToDepth: blocks of channels to blocks of pixels and back.
//
//   DepthToSpace DCR: out[n, c, h*b + y, w*b + x] = in[n, (y*b + x)*C' + c, h, w]     C' = C / b^2
//   DepthToSpace CRD: out[n, c, h*b + y, w*b + x] = in[n, c*b^2 + y*b + x, h, w]
//   SpaceToDepth:     the inverse of DCR
#include "base/text.h"
#include "ops/move.h"

namespace octavo::ops {

namespace {
constexpr AttrDef kDepthAttrs[] = {{"blocksize", AttrType::kInt}, {"mode", AttrType::kString}};
constexpr AttrDef kSpaceAttrs[] = {{"blocksize", AttrType::kInt}};
constexpr std::int64_t kMaxBlock = 4096;

Result<std::int64_t> block_size(const InferContext& context) {
  const std::int64_t block = context.attrs().get_int("blocksize", 0);
  if (block < 1 || block > kMaxBlock)
    return context.error(block < 1 ? Code::kInvalidModel : Code::kLimitExceeded,
                         text("blocksize = ", block, " is out of range."),
                         text("Use 1 to ", kMaxBlock, "."));
  return block;
}

Error bad_rank(const InferContext& context, const Shape& shape) {
  return context.error(Code::kShapeMismatch,
                       text("The input has shape ", shape.to_string(), ", not four dimensions."));
}

// dim / by, unknown for an unknown one; an error when it does not divide.
Result<std::int64_t> divide(const InferContext& context, std::int64_t dim, std::int64_t by) {
  if (dim < 0) return kUnknownDim;
  if (dim % by != 0)
    return context.error(Code::kShapeMismatch, text(dim, " is no multiple of ", by, "."));
  return dim / by;
}

std::int64_t times(std::int64_t dim, std::int64_t by) { return dim < 0 ? kUnknownDim : dim * by; }

Status infer_depth_to_space(InferContext& context) {
  OCTAVO_TRY(const Shape in, context.shape(0));
  OCTAVO_TRY(const std::int64_t block, block_size(context));
  if (in.rank() != 4) return bad_rank(context, in);
  const std::string mode = context.attrs().get_string("mode", "DCR");
  if (mode != "DCR" && mode != "CRD") {
    return context.error(Code::kUnsupportedAttribute, text("mode = '", mode, "' is not supported."),
                         "Use DCR or CRD.");
  }
  OCTAVO_TRY(const std::int64_t channels, divide(context, in[1], block * block));
  return set_output_checked(context, 0, context.input(0).dtype,
                            Shape{in[0], channels, times(in[2], block), times(in[3], block)});
}

Status infer_space_to_depth(InferContext& context) {
  OCTAVO_TRY(const Shape in, context.shape(0));
  OCTAVO_TRY(const std::int64_t block, block_size(context));
  if (in.rank() != 4) return bad_rank(context, in);
  OCTAVO_TRY(const std::int64_t height, divide(context, in[2], block));
  OCTAVO_TRY(const std::int64_t width, divide(context, in[3], block));
  return set_output_checked(context, 0, context.input(0).dtype,
                            Shape{in[0], times(in[1], block * block), height, width});
}

// Strides along [n, y, x, c, h, w] of the deep tensor (C channels) and of the wide one.
struct Views {
  std::vector<std::int64_t> dims, deep, wide;
};

Views make_views(const Value& deep, const Value& wide, std::int64_t block, bool crd) {
  const std::vector<std::int64_t> d = strides_of(deep), w = strides_of(wide);
  const std::int64_t channels = (*wide.shape)[1];
  const std::int64_t per_block = crd ? 1 : channels;  // deep channels between neighbours in x
  const std::int64_t per_channel = crd ? block * block : 1;  // and between wide channels
  return {{(*deep.shape)[0], block, block, channels, (*deep.shape)[2], (*deep.shape)[3]},
          {d[0], d[1] * per_block * block, d[1] * per_block, d[1] * per_channel, d[2], d[3]},
          {w[0], w[2], w[3], w[1], w[2] * block, w[3] * block}};
}

Result<Step> prepare_depth_to_space(const PrepareContext& context) {
  OCTAVO_CHECK_OK(check_same_grid(context));
  Views views =
      make_views(context.input(0), context.output(), context.attrs().get_int("blocksize", 1),
                 context.attrs().get_string("mode", "DCR") == "CRD");
  return move_step(context, "copy/depth-to-space", dtype_size(context.input(0).dtype),
                   {{.dims = std::move(views.dims),
                     .from_strides = std::move(views.deep),
                     .to_strides = std::move(views.wide),
                     .table = {}}});
}

Result<Step> prepare_space_to_depth(const PrepareContext& context) {
  OCTAVO_CHECK_OK(check_same_grid(context));
  Views views = make_views(context.output(), context.input(0),
                           context.attrs().get_int("blocksize", 1), false);
  return move_step(context, "copy/space-to-depth", dtype_size(context.input(0).dtype),
                   {{.dims = std::move(views.dims),
                     .from_strides = std::move(views.wide),
                     .to_strides = std::move(views.deep),
                     .table = {}}});
}
}  // namespace

extern const OpDef kDepthToSpace;
const OpDef kDepthToSpace{"DepthToSpace",
                          "",
                          13,
                          1,
                          1,
                          1,
                          1,
                          kDepthAttrs,
                          LayoutRule::kFollow,
                          QuantRule::kSameGrid,
                          infer_depth_to_space,
                          prepare_depth_to_space};

extern const OpDef kSpaceToDepth;
const OpDef kSpaceToDepth{"SpaceToDepth",
                          "",
                          13,
                          1,
                          1,
                          1,
                          1,
                          kSpaceAttrs,
                          LayoutRule::kFollow,
                          QuantRule::kSameGrid,
                          infer_space_to_depth,
                          prepare_space_to_depth};

}  // namespace octavo::ops
