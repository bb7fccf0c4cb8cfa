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
  Step step;
  step.kernel = "non_max_suppression";
  step.count = rows;
  step.scratch_bytes = static_cast<std::size_t>(scores[2]) * sizeof(std::int32_t);
  step.run = [rows, images = scores[0], classes = scores[1], count = scores[2],
              most_rows = *context.output().counted,
              centred = context.attrs().get_int("center_point_box", 0) != 0](const StepArgs& args,
                                                                             int, int) {
    const auto most = number_or<std::int64_t>(args, 2, 0);
    const float most_shared = number_or(args, 3, 0.0F);
    const bool every = args.in.size() < 5 || args.in[4] == nullptr;
    const float least = number_or(args, 4, 0.0F);
    auto* out = reinterpret_cast<std::int64_t*>(args.out[0]);
    auto* open = reinterpret_cast<std::int32_t*>(args.scratch);  // candidates, by their number
    std::int64_t row = 0;
    for (std::int64_t group = 0; group < images * classes; ++group) {
      const float* score = reinterpret_cast<const float*>(args.in[1]) + group * count;
      const float* box = reinterpret_cast<const float*>(args.in[0]) + group / classes * count * 4;
      std::int32_t* end = open;
      for (std::int64_t i = 0; i < count; ++i) {
        if (every || score[i] > least) *end++ = static_cast<std::int32_t>(i);
      }
      for (std::int64_t kept = 0; end != open && kept < most && row < most_rows; ++kept, ++row) {
        std::int32_t best = *open;
        for (const std::int32_t* i = open; i != end; ++i)
          best = score[*i] > score[best] ? *i : best;
        out[row * 3] = group / classes;
        out[row * 3 + 1] = group % classes;
        out[row * 3 + 2] = best;
        std::int32_t* left = open;
        for (const std::int32_t* i = open; i != end; ++i) {
          if (*i != best && !covers(box + 4 * *i, box + 4 * best, centred, most_shared))
            *left++ = *i;
        }
        end = left;
      }
    }
    *rows = row;
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
