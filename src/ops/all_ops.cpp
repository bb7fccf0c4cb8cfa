// The table of all operators. A new one: its file, its declaration here, its entry below.
#include <algorithm>
#include <vector>

#include "base/sort.h"
#include "ops/op.h"

namespace octavo::ops {

// One op a file.
extern const OpDef kBatchNormalization;
extern const OpDef kCast;
extern const OpDef kConcat;
extern const OpDef kConstantOfShape;
extern const OpDef kConv;
extern const OpDef kConvTranspose;
extern const OpDef kCumSum;
extern const OpDef kDepthToSpace;
extern const OpDef kEinsum;
extern const OpDef kExpand;
extern const OpDef kFlatten;
extern const OpDef kGather;
extern const OpDef kGatherElements;
extern const OpDef kGatherND;
extern const OpDef kGridSample;
extern const OpDef kIdentity;
extern const OpDef kNonMaxSuppression;
extern const OpDef kNonZero;
extern const OpDef kOneHot;
extern const OpDef kPad;
extern const OpDef kPixels;
extern const OpDef kRange;
extern const OpDef kReshape;
extern const OpDef kResize;
extern const OpDef kScatterElements;
extern const OpDef kScatterND;
extern const OpDef kShape;
extern const OpDef kSize;
extern const OpDef kSlice;
extern const OpDef kSpaceToDepth;
extern const OpDef kSplit;
extern const OpDef kSqueeze;
extern const OpDef kTile;
extern const OpDef kToChannelsLast;
extern const OpDef kToRowMajor;
extern const OpDef kTranspose;
extern const OpDef kTrilu;
extern const OpDef kUnsqueeze;
extern const OpDef kWhere;

// Families that differ in a formula.
extern const std::span<const OpDef> kActivations;
extern const std::span<const OpDef> kBinaries;
extern const std::span<const OpDef> kComparisons;
extern const std::span<const OpDef> kIntegerProducts;
extern const std::span<const OpDef> kNormalizations;
extern const std::span<const OpDef> kPools;
extern const std::span<const OpDef> kProducts;
extern const std::span<const OpDef> kQuantizers;
extern const std::span<const OpDef> kRecurrents;
extern const std::span<const OpDef> kReductions;
extern const std::span<const OpDef> kSelections;
extern const std::span<const OpDef> kSoftmaxes;

std::span<const OpDef> all_ops() {
  static const std::vector<OpDef> ops = [] {
    std::vector<OpDef> all{
        kBatchNormalization,
        kCast,
        kConcat,
        kConstantOfShape,
        kConv,
        kConvTranspose,
        kCumSum,
        kDepthToSpace,
        kEinsum,
        kExpand,
        kFlatten,
        kGather,
        kGatherElements,
        kGatherND,
        kGridSample,
        kIdentity,
        kNonMaxSuppression,
        kNonZero,
        kOneHot,
        kPad,
        kPixels,
        kRange,
        kReshape,
        kResize,
        kScatterElements,
        kScatterND,
        kShape,
        kSize,
        kSlice,
        kSpaceToDepth,
        kSplit,
        kSqueeze,
        kTile,
        kToChannelsLast,
        kToRowMajor,
        kTranspose,
        kTrilu,
        kUnsqueeze,
        kWhere,
    };
    for (const std::span<const OpDef> family :
         {kActivations, kBinaries, kComparisons, kIntegerProducts, kNormalizations, kPools,
          kProducts, kQuantizers, kRecurrents, kReductions, kSelections, kSoftmaxes}) {
      all.insert(all.end(), family.begin(), family.end());
    }
    std::vector<OpDef> sorted;
    for (const std::size_t i : sorted_indices(
             all.size(), [&](std::size_t a, std::size_t b) { return all[a].name < all[b].name; }))
      sorted.push_back(all[i]);
    return sorted;
  }();
  return ops;
}

}  // namespace octavo::ops
