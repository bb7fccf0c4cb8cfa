// Transpose: the axes in another order. Free where the memory order stays the same.
#include <algorithm>

#include "base/text.h"
#include "ops/move.h"

namespace octavo::ops {

namespace {
constexpr AttrDef kAttrs[] = {{"perm", AttrType::kInts}};

// perm, by default the reversal; nothing when it is not a permutation of the axes.
std::optional<std::vector<int>> permutation(const Attrs& attrs, int rank) {
  std::vector<int> perm(static_cast<std::size_t>(rank));
  if (!attrs.has("perm")) {
    for (int i = 0; i < rank; ++i) perm[static_cast<std::size_t>(i)] = rank - 1 - i;
    return perm;
  }
  const std::vector<std::int64_t> given = attrs.get_ints("perm");
  if (given.size() != perm.size()) return std::nullopt;
  std::vector<bool> seen(perm.size(), false);
  for (std::size_t i = 0; i < perm.size(); ++i) {
    if (given[i] < 0 || given[i] >= rank || seen[static_cast<std::size_t>(given[i])])
      return std::nullopt;
    seen[static_cast<std::size_t>(given[i])] = true;
    perm[i] = static_cast<int>(given[i]);
  }
  return perm;
}

Status infer(InferContext& context) {
  OCTAVO_TRY(const Shape in, context.shape(0));
  const auto perm = permutation(context.attrs(), in.rank());
  if (!perm) {
    return context.error(Code::kInvalidModel,
                         text("perm = [", join(context.attrs().get_ints("perm"), ", "),
                              "] is no permutation of the ", in.rank(), " axes."));
  }
  Shape out = in;
  for (int i = 0; i < in.rank(); ++i) out[i] = in[(*perm)[static_cast<std::size_t>(i)]];
  context.set_output(0, context.input(0).dtype, std::move(out));
  return ok_status();
}

Result<Step> prepare(const PrepareContext& context) {
  OCTAVO_CHECK_OK(check_same_grid(context));
  const Value& in = context.input(0);
  const auto perm = permutation(context.attrs(), in.shape->rank());
  if (!perm) return context.error(Code::kInvalidModel, "perm is no permutation.");
  const std::vector<std::int64_t> strides = strides_of(in);
  Move move;
  move.dims = context.out_shape().dims();
  for (const int axis : *perm) move.from_strides.push_back(strides[static_cast<std::size_t>(axis)]);
  move.to_strides = strides_of(context.output());
  bool same = true;
  for (std::size_t i = 0; i < move.dims.size(); ++i) {
    same = same && (move.dims[i] == 1 || move.from_strides[i] == move.to_strides[i]);
  }
  if (same || context.out_shape().elements() == 0) return alias_step(context);
  return move_step(context, "copy/transpose", dtype_size(in.dtype), {std::move(move)});
}
}  // namespace

extern const OpDef kTranspose;
const OpDef kTranspose{
    "Transpose",          "",    13,     1, 1, 1, 1, kAttrs, LayoutRule::kAnyToRowMajor,
    QuantRule::kSameGrid, infer, prepare};

}  // namespace octavo::ops
