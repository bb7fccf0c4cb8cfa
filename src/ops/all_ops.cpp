// The operator table: one line an op, in alphabetical order.
#include "ops/op.h"

namespace octavo::ops {

// Each is defined in the file of its op or family.
extern const OpDef kCast;
extern const OpDef kConcat;
extern const OpDef kConstantOfShape;
extern const OpDef kDepthToSpace;
extern const OpDef kEqual;
extern const OpDef kExpand;
extern const OpDef kFlatten;
extern const OpDef kGather;
extern const OpDef kGreater;
extern const OpDef kIdentity;
extern const OpDef kLess;
extern const OpDef kPad;
extern const OpDef kRange;
extern const OpDef kReshape;
extern const OpDef kResize;
extern const OpDef kShape;
extern const OpDef kSlice;
extern const OpDef kSpaceToDepth;
extern const OpDef kSplit;
extern const OpDef kSqueeze;
extern const OpDef kTile;
extern const OpDef kToChannelsLast;
extern const OpDef kToRowMajor;
extern const OpDef kTranspose;
extern const OpDef kUnsqueeze;
extern const OpDef kWhere;

std::span<const OpDef> all_ops() {
  static const OpDef ops[] = {
      kCast,
      kConcat,
      kConstantOfShape,
      kDepthToSpace,
      kEqual,
      kExpand,
      kFlatten,
      kGather,
      kGreater,
      kIdentity,
      kLess,
      kPad,
      kRange,
      kReshape,
      kResize,
      kShape,
      kSlice,
      kSpaceToDepth,
      kSplit,
      kSqueeze,
      kTile,
      kToChannelsLast,
      kToRowMajor,
      kTranspose,
      kUnsqueeze,
      kWhere,
  };
  return ops;
}

}  // namespace octavo::ops
