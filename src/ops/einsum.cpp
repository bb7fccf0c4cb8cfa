// Einsum: sums of products over named axes, in float.
//
//   "bij,bjk->bik" is a batch of matrix products; "..." stands for axes that are broadcast.
//
// The loop walks the named axes as they are: right for any equation, fast for none. MatMul is the
// fast one.
#include <algorithm>
#include <cctype>
#include <memory>

#include "base/text.h"
#include "ops/activation.h"
#include "ops/element.h"

namespace octavo::ops {

namespace {
constexpr AttrDef kAttrs[] = {{"equation", AttrType::kString}};

// Labels of an axis: letters, and for the axes of "..." the numbers 1, 2, ... counted from the
// last.
using Labels = std::vector<char>;

struct Equation {
  std::vector<Labels> inputs;
  Labels output;
  std::string wrong;  // what is wrong with it, empty where nothing is
};

// `ranks` of the inputs say how many axes each "..." stands for.
Equation parse(std::string_view given, const std::vector<int>& ranks) {
  Equation e;
  std::string terms;
  for (const char c : given) {
    if (c != ' ') terms.push_back(c);
  }
  const std::size_t arrow = terms.find("->");
  const std::string left = terms.substr(0, arrow);
  int dots = 0;  // the most axes that a "..." stands for
  const auto read = [&](std::string_view term, int rank) {
    Labels labels;
    const std::size_t at = term.find("...");
    const auto letters = static_cast<int>(term.size()) - (at == std::string_view::npos ? 0 : 3);
    for (std::size_t i = 0; i < term.size(); ++i) {
      if (i == at) {
        const int count = rank < 0 ? dots : rank - letters;
        if (count < 0 || count > 16) e.wrong = "A term has more letters than its input has axes.";
        for (int k = std::min(count, 16); k > 0; --k) labels.push_back(static_cast<char>(k));
        dots = std::max(dots, count);
        i += 2;
      } else if (std::isalpha(static_cast<unsigned char>(term[i])) != 0) {
        labels.push_back(term[i]);
      } else {
        e.wrong = text("'", std::string(1, term[i]), "' is no letter.");
      }
    }
    if (rank >= 0 && static_cast<int>(labels.size()) != rank)
      e.wrong = text("A term names ", labels.size(), " axes, its input has ", rank, ".");
    return labels;
  };
  std::size_t from = 0;
  for (std::size_t i = 0;; ++i) {
    const std::size_t comma = left.find(',', from);
    if (i >= ranks.size()) {
      e.wrong = text("There are more terms than the ", ranks.size(), " inputs.");
      return e;
    }
    e.inputs.push_back(read(std::string_view(left).substr(from, comma - from), ranks[i]));
    if (comma == std::string::npos) break;
    from = comma + 1;
  }
  if (e.inputs.size() != ranks.size()) {
    e.wrong = text("There are ", e.inputs.size(), " terms for ", ranks.size(), " inputs.");
  } else if (arrow != std::string::npos) {
    e.output = read(std::string_view(terms).substr(arrow + 2), -1);
  } else {
    // Without an arrow: the axes of "...", then the letters that stand once, in alphabetical order.
    std::string all;
    for (const Labels& labels : e.inputs) all.append(labels.begin(), labels.end());
    for (int k = dots; k > 0; --k) e.output.push_back(static_cast<char>(k));
    for (char c = 'A'; c <= 'z'; ++c) {
      if (std::count(all.begin(), all.end(), c) == 1) e.output.push_back(c);
    }
  }
  return e;
}

// The size of each label; 1 may meet anything only where "..." is broadcast.
struct Sizes {
  std::vector<std::pair<char, std::int64_t>> of;
  std::int64_t* find(char label) {
    for (auto& [c, size] : of) {
      if (c == label) return &size;
    }
    return nullptr;
  }
};

Result<std::pair<Equation, Sizes>> resolve(const Node& node, const std::vector<Shape>& shapes) {
  std::vector<int> ranks;
  for (const Shape& shape : shapes) ranks.push_back(shape.rank());
  const std::string given = node.attrs.get_string("equation", "");
  Equation e = parse(given, ranks);
  Sizes sizes;
  for (std::size_t i = 0; e.wrong.empty() && i < shapes.size(); ++i) {
    for (int d = 0; d < ranks[i]; ++d) {
      const char label = e.inputs[i][static_cast<std::size_t>(d)];
      std::int64_t* known = sizes.find(label);
      if (known == nullptr) {
        sizes.of.emplace_back(label, shapes[i][d]);
      } else if (*known == 1 || *known < 0) {
        *known = shapes[i][d];
      } else if (shapes[i][d] != *known && shapes[i][d] != 1 && shapes[i][d] >= 0) {
        e.wrong =
            text("An axis is ", *known, " long in one input and ", shapes[i][d], " in another.");
      }
    }
  }
  for (const char label : e.output) {
    if (e.wrong.empty() && sizes.find(label) == nullptr)
      e.wrong = "Its result has an axis that no input has.";
    if (e.wrong.empty() && std::count(e.output.begin(), e.output.end(), label) > 1)
      e.wrong = "Its result names an axis twice.";
  }
  if (!e.wrong.empty()) {
    return Error{Code::kInvalidModel,
                 text("equation = '", given, "': ", e.wrong),
                 describe(node),
                 "Write terms of letters, e.g. 'bij,bjk->bik'.",
                 {}};
  }
  return std::pair{std::move(e), std::move(sizes)};
}

Status infer(InferContext& context) {
  std::vector<Shape> shapes;
  for (std::size_t i = 0; i < context.input_count(); ++i) {
    OCTAVO_TRY(Shape shape, context.shape(i));
    shapes.push_back(std::move(shape));
  }
  OCTAVO_TRY(auto resolved, resolve(context.node(), shapes));
  Shape out;
  for (const char label : resolved.first.output) out.dims().push_back(*resolved.second.find(label));
  return set_output_checked(context, 0, context.input(0).dtype, std::move(out));
}

// Of a result: more take hours, and numbers of products have to stay countable.
constexpr std::int64_t kMostTerms = std::int64_t{1} << 34;
// Sums of more terms are cut, one after the other; of those products the blocks have to stay
// countable.
constexpr std::int64_t kLongSum = std::int64_t{1} << 20;
constexpr std::int64_t kMostOfLongSums = std::int64_t{1} << 48;

struct Plan {
  // Of the output, then those that are summed over; a stride of each input along each.
  std::vector<std::int64_t> dims;
  std::vector<std::vector<std::int64_t>> strides;  // [input][dimension]
  std::size_t output_dims = 0;
  std::int64_t outputs = 1, terms = 1;

  // Where the sum at output `o` begins. `index` holds a number for each dimension and each input.
  void begin(std::int64_t o, std::int64_t* index) const {
    const std::size_t inputs = strides.size();
    std::int64_t* at = index + dims.size();
    std::fill_n(index, dims.size() + inputs, 0);
    for (std::size_t d = output_dims; d-- > 0; o /= dims[d]) {
      for (std::size_t i = 0; i < inputs; ++i) at[i] += o % dims[d] * strides[i][d];
    }
  }
  // `all` and the next `count` terms, which are in row-major order.
  double add(const StepArgs& args, double all, std::int64_t count, std::int64_t* index) const {
    const std::size_t inputs = strides.size();
    std::int64_t* at = index + dims.size();
    for (std::int64_t t = 0; t < count; ++t) {
      double product = 1;
      for (std::size_t i = 0; i < inputs; ++i)
        product *= static_cast<double>(reinterpret_cast<const float*>(args.in[i])[at[i]]);
      all += product;
      for (std::size_t d = dims.size(); d-- > output_dims;) {
        const bool wraps = ++index[d] == dims[d];
        for (std::size_t i = 0; i < inputs; ++i)
          at[i] += wraps ? strides[i][d] * (1 - dims[d]) : strides[i][d];
        if (!wraps) break;
        index[d] = 0;
      }
    }
    return all;
  }
};

Result<Step> prepare(const PrepareContext& context) {
  std::vector<Shape> shapes;
  for (std::size_t i = 0; i < context.input_count(); ++i) {
    if (context.input(i).dtype != DType::kFloat32) return needs_dtype(context, context.input(i));
    shapes.push_back(context.in_shape(i));
  }
  OCTAVO_TRY(auto resolved, resolve(context.node(), shapes));
  auto& [equation, sizes] = resolved;
  const auto made = std::make_shared<Plan>();
  Plan& plan = *made;
  std::vector<char> order = equation.output;
  plan.output_dims = order.size();
  for (const auto& [label, size] : sizes.of) {
    if (std::find(order.begin(), order.end(), label) == order.end()) order.push_back(label);
  }
  for (std::size_t d = 0; d < order.size(); ++d) {
    plan.dims.push_back(*sizes.find(order[d]));
    std::int64_t& count = d < equation.output.size() ? plan.outputs : plan.terms;
    if (plan.dims.back() > 0 && count > kMostTerms / plan.dims.back())
      return context.error(Code::kLimitExceeded, "One of its results sums more than 2^34 products.",
                           "Sum over fewer axes at once.");
    count *= plan.dims.back();
  }
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    const std::vector<std::int64_t> own = strides_of(context.input(i));
    std::vector<std::int64_t> strides(order.size(), 0);
    for (std::size_t k = 0; k < own.size(); ++k) {
      const auto d = static_cast<std::size_t>(
          std::find(order.begin(), order.end(), equation.inputs[i][k]) - order.begin());
      // A letter that stands twice in a term walks the diagonal.
      if (shapes[i][static_cast<int>(k)] != 1) strides[d] += own[k];
    }
    plan.strides.push_back(std::move(strides));
  }
  Step step;
  step.kernel = "einsum";
  step.macs = plan.outputs * plan.terms;
  step.rounds = step.macs;
  // A sum so far, the index of its next term, and where that lies in each input.
  step.scratch_bytes = sizeof(double) + (plan.dims.size() + shapes.size()) * sizeof(std::int64_t);
  if (plan.terms > kLongSum) {
    if (step.macs > kMostOfLongSums)
      return context.error(Code::kLimitExceeded, "It takes more than 2^48 products.",
                           "Sum over fewer axes at once.");
    const std::int64_t pieces = (plan.terms + kLongSum - 1) / kLongSum;
    step.ordered = true;
    step.blocks = static_cast<int>(plan.outputs * pieces);
    step.run = [made, pieces](const StepArgs& args, int first, int last) {
      auto& sum = *reinterpret_cast<double*>(args.scratch);
      auto* index = reinterpret_cast<std::int64_t*>(args.scratch + sizeof(double));
      for (int block = first; block < last; ++block) {
        const std::int64_t o = block / pieces;
        const std::int64_t piece = block % pieces;
        if (piece == 0) {
          sum = 0;
          made->begin(o, index);
        }
        sum = made->add(args, sum, std::min(kLongSum, made->terms - piece * kLongSum), index);
        if (piece == pieces - 1) reinterpret_cast<float*>(args.out[0])[o] = static_cast<float>(sum);
      }
    };
    return step;
  }
  const LoopBlocks blocks(plan.outputs, plan.terms);
  step.blocks = blocks.blocks();
  step.run = [made, blocks](const StepArgs& args, int first, int last) {
    auto* index = reinterpret_cast<std::int64_t*>(args.scratch);
    for (std::int64_t o = blocks.begin(first); o < blocks.begin(last); ++o) {
      made->begin(o, index);
      reinterpret_cast<float*>(args.out[0])[o] =
          static_cast<float>(made->add(args, 0, made->terms, index));
    }
  };
  return step;
}
}  // namespace

extern const OpDef kEinsum;
const OpDef kEinsum{"Einsum",          "",    12,     1, -1, 1, 1, kAttrs, LayoutRule::kRowMajor,
                    QuantRule::kFloat, infer, prepare};

}  // namespace octavo::ops
