// NonMaxSuppression: of each class of each image the boxes with the highest scores, without those
// that cover a better one too much; a row [image, class, box] each.
//
//   boxes [n, count, 4] of two opposite corners y, x, y, x, or (center_point_box = 1) of centre and
//   size x, y, width, height; scores [n, classes, count]
//   optional: the most boxes of a class (0 where absent), the largest share of two boxes' union
//   that their intersection may take (iou_threshold, 0), the score that a box has to exceed
//
// Of equal scores the lower index comes first. Areas are taken in f32 in ONNX Runtime's order. How
// many rows there are, a run alone knows (Value::counted).
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/sort.h"
#include "ops/element.h"

namespace octavo::ops {

namespace {
constexpr AttrDef kAttrs[] = {{"center_point_box", AttrType::kInt}};

struct Span {
  float lo, hi;
};
Span span_of(float a, float b, bool centred) {
  if (centred) return {a - b / 2, a + b / 2};
  return a < b ? Span{a, b} : Span{b, a};
}

// Whether the intersection of two boxes is more than `most` of their union.
bool covers(const float* a, const float* b, bool centred, float most) {
  // Along each axis: two corners lie two apart, as centre and size do.
  float shared = 1;
  float of_a = 1;
  float of_b = 1;
  for (const std::size_t axis : {std::size_t{1}, std::size_t{0}}) {
    const std::size_t k = centred ? 1 - axis : axis;
    const Span p = span_of(a[k], a[k + 2], centred);
    const Span q = span_of(b[k], b[k + 2], centred);
    const float length = std::min(p.hi, q.hi) - std::max(p.lo, q.lo);
    if (!(length > 0)) return false;
    shared *= length;
    of_a *= p.hi - p.lo;
    of_b *= q.hi - q.lo;
  }
  const float all = of_a + of_b - shared;
  if (shared <= 0 || of_a <= 0 || of_b <= 0 || all <= 0) return false;
  return shared / all > most;
}

// What a run knows between two blocks.
struct State {
  std::int64_t row = 0, begin = 0;  // the next row, and the first one of the class
  std::int64_t open = 0;            // candidates in the heap
};

// What boxes are ordered by: a NaN is lower than all, so that there is an order.
float rank_of(float score) {
  return std::isnan(score) ? -std::numeric_limits<float>::infinity() : score;
}

Status infer(InferContext& context) {
  OCTAVO_TRY(const Shape boxes, context.shape(0));
  OCTAVO_TRY(const Shape scores, context.shape(1));
  const auto fits = [](std::int64_t a, std::int64_t b) { return a < 0 || b < 0 || a == b; };
  if (boxes.rank() != 3 || scores.rank() != 3 || !fits(boxes[2], 4) || !fits(boxes[0], scores[0]) ||
      !fits(boxes[1], scores[2]) || context.input(0).dtype != DType::kFloat32 ||
      context.input(1).dtype != DType::kFloat32) {
    return context.error(Code::kShapeMismatch, "Its boxes and scores do not go together.",
                         "Give boxes [n, count, 4] and scores [n, classes, count] in float32.");
  }
  for (std::size_t i = 2; i < 5; ++i)
    OCTAVO_CHECK_OK(one_number(context, i, i == 2 ? DType::kInt64 : DType::kFloat32));
  std::int64_t most = scores[2];
  if (!context.has_input(2)) {
    most = 0;
  } else if (const Tensor* constant = context.constant(2)) {
    const std::int64_t given = std::max<std::int64_t>(constant->span<std::int64_t>()[0], 0);
    if (most >= 0) most = std::min(most, given);
  }
  const bool known = most >= 0 && scores[0] >= 0 && scores[1] >= 0;
  const std::int64_t rows = known ? scores[0] * scores[1] * most : kUnknownDim;
  return set_counted(context, DType::kInt64, Shape{kUnknownDim, 3}, rows);
}

Result<Step> prepare(const PrepareContext& context) {
  const Shape& scores = context.in_shape(1);
  const auto rows = std::make_shared<std::int64_t>(0);
  const std::int64_t classes = scores[1];
  const std::int64_t count = scores[2];
  const std::int64_t groups = count == 0 ? 0 : scores[0] * classes;
  const std::int64_t most_rows = *context.output().counted;
  // Of each class its candidates go into a heap, one by one, and leave it, the best first: each is
  // compared with those that have been kept.
  constexpr std::int64_t kRoundsOfHeap = 16;
  const std::int64_t rounds_of_box = kRoundsOfHeap + most_rows / std::max<std::int64_t>(groups, 1);
  const LoopBlocks blocks(groups * 2 * count, rounds_of_box);
  Step step;
  step.kernel = "non_max_suppression";
  step.count = rows;
  step.ordered = true;
  step.rounds = groups * 2 * count * rounds_of_box;
  step.blocks = std::max(blocks.blocks(), 1);  // `count` is said even of no boxes
  step.scratch_bytes = sizeof(State) + static_cast<std::size_t>(count) * sizeof(std::int32_t);
  step.run = [=, centred = context.attrs().get_int("center_point_box", 0) != 0](
                 const StepArgs& args, int first, int last) {
    const auto most = number_or<std::int64_t>(args, 2, 0);
    const float most_shared = number_or(args, 3, 0.0F);
    const bool every = args.in.size() < 5 || args.in[4] == nullptr;
    const float least = number_or(args, 4, 0.0F);
    auto* out = reinterpret_cast<std::int64_t*>(args.out[0]);
    auto& state = *reinterpret_cast<State*>(args.scratch);
    auto* heap = reinterpret_cast<std::int32_t*>(args.scratch + sizeof(State));
    if (first == 0) state = {};
    const std::int64_t end = blocks.begin(last);
    for (std::int64_t at = blocks.begin(first); at < end; ++at) {
      const std::int64_t group = at / (2 * count);
      const std::int64_t i = at % (2 * count);
      const float* score = reinterpret_cast<const float*>(args.in[1]) + group * count;
      const float* box = reinterpret_cast<const float*>(args.in[0]) + group / classes * count * 4;
      const auto before = [score](std::int32_t a, std::int32_t b) {
        const float p = rank_of(score[a]);
        const float q = rank_of(score[b]);
        return p != q ? p > q : a < b;
      };
      if (i == 0) {
        state.open = 0;
        state.begin = state.row;
      }
      if (i < count) {
        if (!every && !(score[i] > least)) continue;
        heap_push(heap, state.open++, static_cast<std::int32_t>(i), before);
        continue;
      }
      if (state.open == 0 || state.row - state.begin >= most || state.row >= most_rows) continue;
      const std::int32_t best = heap_pop(heap, state.open--, before);
      const auto covered_by = [&](std::int64_t row) {
        return covers(box + 4 * best, box + 4 * out[row * 3 + 2], centred, most_shared);
      };
      std::int64_t row = state.begin;
      while (row < state.row && !covered_by(row)) ++row;
      if (row < state.row) continue;
      out[row * 3] = group / classes;
      out[row * 3 + 1] = group % classes;
      out[row * 3 + 2] = best;
      ++state.row;
    }
    *rows = state.row;
  };
  return step;
}
}  // namespace

extern const OpDef kNonMaxSuppression;
const OpDef kNonMaxSuppression{"NonMaxSuppression",
                               "",
                               11,
                               2,
                               5,
                               1,
                               1,
                               kAttrs,
                               LayoutRule::kRowMajor,
                               QuantRule::kFloat,
                               infer,
                               prepare,
                               nullptr,
                               "what follows is planned when it has run"};

}  // namespace octavo::ops
