// Gemm and MatMul.
//
// With a constant right side they are a convolution of one tap over rows (kernels/qconv,
// kernels/fconv). A right side that the network computes is multiplied by a plain loop: networks
// that do that (attention) are not what Octavo is for.
#include <algorithm>
#include <array>
#include <limits>

#include "base/text.h"
#include "kernels/fconv/fconv.h"
#include "kernels/qconv/qconv.h"
#include "ops/activation.h"
#include "ops/element.h"
#include "ops/matrix.h"
#include "ops/move.h"

namespace octavo::ops {

namespace {

constexpr std::int64_t kRowsOfBlock = 64;
// A few rows are cut into columns: whole tiles of all kernels, and enough bytes of weights to be
// read in a stream.
constexpr std::int64_t kColumnsOfBlock = 80;

bool is_gemm(const Node& node) { return node.op == "Gemm"; }
bool transposes(const Node& node, std::string_view which) {
  return node.attrs.get_int(which, 0) != 0;
}

Status infer_gemm(InferContext& context) {
  OCTAVO_TRY(const Shape a, context.shape(0));
  OCTAVO_TRY(const Shape b, context.shape(1));
  const auto mismatch = [&] {
    return context.error(
        Code::kShapeMismatch,
        text("Matrices of shapes ", a.to_string(), " and ", b.to_string(),
             " cannot be multiplied (transA = ", context.attrs().get_int("transA", 0),
             ", transB = ", context.attrs().get_int("transB", 0), ")."),
        "Flatten the input to two axes before it.");
  };
  if (a.rank() != 2 || b.rank() != 2) return mismatch();
  const int ta = transposes(context.node(), "transA") ? 1 : 0;
  const int tb = transposes(context.node(), "transB") ? 1 : 0;
  const std::int64_t depth_a = a[1 - ta];
  const std::int64_t depth_b = b[tb];
  if (depth_a >= 0 && depth_b >= 0 && depth_a != depth_b) return mismatch();
  Shape out{a[ta], b[1 - tb]};
  if (context.has_input(2)) {
    OCTAVO_TRY(const Shape c, context.shape(2));
    const std::optional<Shape> both = broadcast_shapes(out, c);
    if (!both || both->rank() != 2 || (out.known() && c.known() && *both != out)) {
      return context.error(
          Code::kShapeMismatch,
          text("C of shape ", c.to_string(), " does not fit the product ", out.to_string(), "."));
    }
  }
  return set_output_checked(context, 0, context.input(0).dtype, std::move(out));
}

Status infer_matmul(InferContext& context) {
  OCTAVO_TRY(Shape a, context.shape(0));
  OCTAVO_TRY(Shape b, context.shape(1));
  const auto mismatch = [&] {
    return context.error(Code::kShapeMismatch,
                         text("Matrices of shapes ", context.input(0).shape->to_string(), " and ",
                              context.input(1).shape->to_string(), " cannot be multiplied."));
  };
  if (a.rank() == 0 || b.rank() == 0) return mismatch();
  const bool row = a.rank() == 1;
  const bool column = b.rank() == 1;
  if (row) a.dims().insert(a.dims().begin(), 1);
  if (column) b.dims().push_back(1);
  const std::int64_t m = a[a.rank() - 2];
  const std::int64_t n = b[b.rank() - 1];
  const std::int64_t ka = a[a.rank() - 1];
  const std::int64_t kb = b[b.rank() - 2];
  if (ka >= 0 && kb >= 0 && ka != kb) return mismatch();
  a.dims().resize(a.dims().size() - 2);
  b.dims().resize(b.dims().size() - 2);
  std::optional<Shape> out = broadcast_shapes(a, b);
  if (!out) return mismatch();
  if (!row) out->dims().push_back(m);
  if (!column) out->dims().push_back(n);
  return set_output_checked(context, 0, context.input(0).dtype, std::move(*out));
}

// The product with a constant right side: rows of length k times [k][n].
struct RightSide {
  std::int64_t rows = 0, k = 0, n = 0;
  bool transposed = false;  // stored as [n][k]
};

// The blocks of a product: of rows, or, where there are no more of them than one block's, of
// columns, each with its own packed weights.
struct Cut {
  std::int64_t rows, n, columns;

  explicit Cut(const RightSide& right)
      : rows(right.rows),
        n(right.n),
        columns(rows > kRowsOfBlock ? n : std::min(n, kColumnsOfBlock)) {}
  int blocks() const {
    return static_cast<int>((rows + kRowsOfBlock - 1) / kRowsOfBlock *
                            ((n + columns - 1) / columns));
  }
  // Calls `body` with the first column and the number of columns of each packed part.
  template <class Body>
  void each_part(Body body) const {
    for (std::int64_t from = 0; from < n; from += columns) body(from, std::min(columns, n - from));
  }
  // Calls `body` with a part, its first column, the first row and the number of rows.
  template <class Body>
  void each_call(int first, int last, Body body) const {
    if (columns == n) {
      const std::int64_t from = first * kRowsOfBlock;
      body(std::size_t{0}, std::int64_t{0}, from, std::min(last * kRowsOfBlock, rows) - from);
      return;
    }
    for (int block = first; block < last; ++block)
      body(static_cast<std::size_t>(block), block * columns, std::int64_t{0}, rows);
  }
};

std::optional<RightSide> right_side(const PrepareContext& context) {
  if (context.constant(1) == nullptr) return std::nullopt;
  const Shape& a = context.in_shape(0);
  const Shape& b = context.in_shape(1);
  if (b.rank() != 2 || a.rank() < 1) return std::nullopt;
  RightSide right;
  right.transposed = is_gemm(context.node()) && transposes(context.node(), "transB");
  right.k = b[right.transposed ? 1 : 0];
  right.n = b[right.transposed ? 0 : 1];
  right.rows = right.k == 0 ? 0 : a.elements() / right.k;
  if (is_gemm(context.node()) && transposes(context.node(), "transA")) return std::nullopt;
  if (right.k == 0 || right.n == 0 || right.k > std::numeric_limits<int>::max() / 8)
    return std::nullopt;
  return right;
}

template <class T>
std::vector<T> rows_of_weights(std::span<const T> b, const RightSide& right) {
  if (right.transposed) return {b.begin(), b.end()};
  std::vector<T> out(b.size());
  constexpr std::int64_t kColumns = 16;  // read together: they share a cache line
  for (std::int64_t first = 0; first < right.n; first += kColumns) {
    const std::int64_t last = std::min(first + kColumns, right.n);
    for (std::int64_t k = 0; k < right.k; ++k) {
      for (std::int64_t n = first; n < last; ++n)
        out[static_cast<std::size_t>(n * right.k + k)] =
            b[static_cast<std::size_t>(k * right.n + n)];
    }
  }
  return out;
}

// Gemm's C as one number an output channel; nothing where it is something else.
std::optional<std::vector<float>> bias_vector(const PrepareContext& context, std::int64_t n) {
  if (!context.has_input(2)) return std::vector<float>{};
  const Tensor* c = context.constant(2);
  if (c == nullptr || c->dtype() != DType::kFloat32) return std::nullopt;
  const Shape& shape = c->shape();
  const bool scalar = c->elements() == 1;
  if (!scalar && !(c->elements() == n && shape.rank() >= 1 && shape[shape.rank() - 1] == n))
    return std::nullopt;
  const float beta = context.attrs().get_float("beta", 1.0F);
  std::vector<float> bias;
  for (std::int64_t i = 0; i < n; ++i)
    bias.push_back(beta * c->span<float>()[scalar ? 0 : static_cast<std::size_t>(i)]);
  return bias;
}

constexpr std::int32_t kRowStart[] = {0, 0, 0};  // a segment for each of IntegerWeights::parts

Result<Step> prepare_rows(const PrepareContext& context, const RightSide& right,
                          std::span<const float> bias) {
  const kernels::FConvKernel& kernel =
      kernels::best_row(kernels::fconv_kernels(), context.policy());
  const float alpha = is_gemm(context.node()) ? context.attrs().get_float("alpha", 1.0F) : 1.0F;
  std::span<const float> weights = context.constant(1)->span<float>();
  std::vector<float> moved;
  if (!right.transposed || alpha != 1.0F) {
    moved = rows_of_weights(weights, right);
    for (float& w : moved) w *= alpha;
    weights = moved;
  }
  const RealBounds bounds = real_bounds(context.attrs());
  const Cut cut(right);
  Step step;
  step.kernel = kernel.name;
  step.macs = right.rows * right.n * right.k;
  step.blocks = cut.blocks();
  step.holds_constants = true;
  std::vector<std::shared_ptr<const kernels::FConvPacked>> packed;
  cut.each_part([&](std::int64_t from, std::int64_t columns) {
    const auto at = static_cast<std::size_t>(from);
    const auto count = static_cast<std::size_t>(columns);
    const auto k = static_cast<std::size_t>(right.k);
    packed.push_back(
        context.hold(kernel.pack({static_cast<int>(columns), 1, static_cast<int>(right.k)},
                                 weights.subspan(at * k, count * k),
                                 bias.empty() ? bias : bias.subspan(at, count)),
                     step));
    step.packed_bytes += packed.back()->bytes();
  });
  step.run = [packed = std::move(packed), run = kernel.run, right, bounds, cut](
                 const StepArgs& args, int first, int last) {
    cut.each_call(first, last,
                  [&](std::size_t part, std::int64_t column, std::int64_t row, std::int64_t rows) {
                    kernels::FConvCall call;
                    call.x = reinterpret_cast<const float*>(args.in[0]) + row * right.k;
                    call.pixel_stride = right.k;
                    call.pixels = rows;
                    call.width = std::max<std::int64_t>(1, rows);
                    call.segment_offset = kRowStart;
                    call.out = reinterpret_cast<float*>(args.out[0]) + row * right.n + column;
                    call.out_stride = right.n;
                    call.lo = bounds.lo;
                    call.hi = bounds.hi;
                    run(*packed[part], call);
                  });
  };
  return step;
}

Result<Step> prepare_codes(const PrepareContext& context) {
  const Value& x = context.input(0);
  OCTAVO_CHECK_OK(check_codes(context, x));
  const std::optional<RightSide> right = right_side(context);
  if (!right) {
    return context.error(
        Code::kUnsupportedAttribute,
        "On codes its right side has to be a constant matrix, its left side not transposed.");
  }
  if (context.has_input(2) && context.attrs().get_float("beta", 1.0F) != 1.0F) {
    return context.error(Code::kUnsupportedAttribute, "On codes its beta has to be 1.");
  }
  OCTAVO_TRY(IntegerWeights weights, integer_weights(context, 1, right->n));
  OCTAVO_TRY(const std::vector<std::int32_t> bias, integer_bias(context, 2, right->n));
  OCTAVO_TRY(const std::vector<float> scale,
             output_scales(context, weights, right->n, context.attrs().get_float("alpha", 1.0F)));
  const bool x_signed = x.dtype == DType::kInt8;
  const auto segments = static_cast<int>(weights.parts.size());
  for (std::size_t i = 0; i < weights.parts.size() && !right->transposed; ++i)
    weights.replace(i, rows_of_weights(weights.parts[i], *right));
  const std::span<const std::int8_t> rows = weights.joined_rows(right->k);
  const kernels::QConvSpec spec{static_cast<int>(right->n), segments, static_cast<int>(right->k),
                                x_signed, x.quant->zero_point[0]};
  const kernels::QConvKernel& kernel = kernels::choose_qconv(context.policy(), spec, rows);
  const Cut cut(*right);
  Step step;
  step.kernel = kernel.name;
  step.macs = right->rows * right->n * right->k;
  step.blocks = cut.blocks();
  step.holds_constants = true;
  std::vector<std::shared_ptr<const kernels::QConvPacked>> packed;
  cut.each_part([&](std::int64_t from, std::int64_t columns) {
    const auto at = static_cast<std::size_t>(from);
    const auto count = static_cast<std::size_t>(columns);
    const std::size_t of_row = rows.size() / static_cast<std::size_t>(right->n);
    kernels::QConvSpec part = spec;
    part.channels = static_cast<int>(columns);
    packed.push_back(context.hold(kernel.pack(part, rows.subspan(at * of_row, count * of_row),
                                              bias.empty() ? std::span<const std::int32_t>{}
                                                           : std::span(bias).subspan(at, count),
                                              std::span(scale).subspan(at, count)),
                                  step));
    step.scratch_bytes = std::max(step.scratch_bytes, packed.back()->scratch_bytes);
    step.packed_bytes += packed.back()->bytes();
  });
  step.run = [packed = std::move(packed), run = kernel.run, right = *right, cut,
              form = output_form(context)](const StepArgs& args, int first, int last) {
    cut.each_call(first, last,
                  [&](std::size_t part, std::int64_t column, std::int64_t row, std::int64_t count) {
                    kernels::QConvCall call;
                    call.x = args.in[0] + row * right.k;
                    call.pixel_stride = right.k;
                    call.pixels = count;
                    call.width = std::max<std::int64_t>(1, count);
                    call.segment_offset = kRowStart;
                    call.out = args.out[0] + (row * right.n + column) * form.element_bytes;
                    call.out_stride = right.n;
                    call.output = form.output;
                    call.zero_y = form.zero;
                    call.lo = form.lo;
                    call.hi = form.hi;
                    call.scratch = args.scratch;
                    run(*packed[part], call);
                  });
  };
  return step;
}

// out[m][n] = alpha * sum_k a[m][k] b[k][n] + beta * c[m][n], in the order of k, with any strides.
struct PlainProduct {
  std::int64_t m, n, k, a_row, a_column, b_row, b_column;
};

// The result in row i, column j, before alpha.
float multiply(const PlainProduct& p, std::int64_t i, std::int64_t j, const float* a,
               const float* b) {
  float sum = 0;
  for (std::int64_t k = 0; k < p.k; ++k)
    sum += a[i * p.a_row + k * p.a_column] * b[k * p.b_row + j * p.b_column];
  return sum;
}

Result<Step> prepare_plain_gemm(const PrepareContext& context) {
  const Shape& a = context.in_shape(0);
  const Shape& b = context.in_shape(1);
  const bool ta = transposes(context.node(), "transA");
  const bool tb = transposes(context.node(), "transB");
  const PlainProduct p{a[ta ? 1 : 0], b[tb ? 0 : 1], a[ta ? 0 : 1], ta ? 1 : a[1],
                       ta ? a[1] : 1, tb ? 1 : b[1], tb ? b[1] : 1};
  const float alpha = context.attrs().get_float("alpha", 1.0F);
  const float beta = context.attrs().get_float("beta", 1.0F);
  const RealBounds bounds = real_bounds(context.attrs());
  std::vector<std::int64_t> c_strides{0, 0};
  const bool has_c = context.has_input(2);
  if (has_c) c_strides = broadcast_strides(context.input(2), context.out_shape());
  Step step;
  step.kernel = "gemm/plain";
  step.macs = p.m * p.n * p.k;
  step.rounds = step.macs;
  const LoopBlocks blocks(p.m * p.n, p.k);
  step.blocks = blocks.blocks();
  step.run = [p, alpha, beta, has_c, c_strides, bounds, blocks](const StepArgs& args, int first,
                                                                int last) {
    auto* out = reinterpret_cast<float*>(args.out[0]);
    const auto* c = has_c ? reinterpret_cast<const float*>(args.in[2]) : nullptr;
    for (std::int64_t at = blocks.begin(first); at < blocks.begin(last); ++at) {
      const std::int64_t i = at / p.n;
      const std::int64_t j = at % p.n;
      float y = alpha * multiply(p, i, j, reinterpret_cast<const float*>(args.in[0]),
                                 reinterpret_cast<const float*>(args.in[1]));
      if (c != nullptr) y += beta * c[i * c_strides[0] + j * c_strides[1]];
      out[at] = y < bounds.lo ? bounds.lo : bounds.hi < y ? bounds.hi : y;
    }
  };
  return step;
}

Result<Step> prepare_plain_matmul(const PrepareContext& context) {
  Shape a = context.in_shape(0);
  Shape b = context.in_shape(1);
  if (a.rank() == 1) a.dims().insert(a.dims().begin(), 1);
  if (b.rank() == 1) b.dims().push_back(1);
  const std::int64_t k = a[a.rank() - 1];
  const PlainProduct p{a[a.rank() - 2], b[b.rank() - 1], k, k, 1, b[b.rank() - 1], 1};
  // The batch axes, broadcast; each operand's matrices are dense, so its strides count in matrices.
  Value a_batch;
  Value b_batch;
  a_batch.shape = Shape(std::vector<std::int64_t>(a.dims().begin(), a.dims().end() - 2));
  b_batch.shape = Shape(std::vector<std::int64_t>(b.dims().begin(), b.dims().end() - 2));
  const std::optional<Shape> batch = broadcast_shapes(*a_batch.shape, *b_batch.shape);
  if (!batch) return context.error(Code::kShapeMismatch, "The batch axes do not fit.");
  const auto a_strides = broadcast_strides(a_batch, *batch);
  const auto b_strides = broadcast_strides(b_batch, *batch);
  Step step;
  step.kernel = "matmul/plain";
  step.macs = batch->elements() * p.m * p.n * p.k;
  step.rounds = step.macs;
  const LoopBlocks blocks(batch->elements() * p.m * p.n, p.k);
  step.blocks = blocks.blocks();
  step.run = [p, dims = batch->dims(), a_strides, b_strides, blocks](const StepArgs& args,
                                                                     int first, int last) {
    for (std::int64_t at = blocks.begin(first); at < blocks.begin(last); ++at) {
      const std::int64_t row = at / p.n;
      std::int64_t rest = row / p.m;
      std::int64_t a_at = 0;
      std::int64_t b_at = 0;
      for (std::size_t d = dims.size(); d-- > 0;) {
        a_at += rest % dims[d] * a_strides[d];
        b_at += rest % dims[d] * b_strides[d];
        rest /= dims[d];
      }
      reinterpret_cast<float*>(args.out[0])[at] = multiply(
          p, row % p.m, at % p.n, reinterpret_cast<const float*>(args.in[0]) + a_at * p.m * p.k,
          reinterpret_cast<const float*>(args.in[1]) + b_at * p.k * p.n);
    }
  };
  return step;
}

Result<Step> prepare_product(const PrepareContext& context) {
  if (is_quantized_code(context.input(0).dtype)) return prepare_codes(context);
  for (std::size_t i = 0; i < context.input_count(); ++i) {
    if (context.has_input(i) && context.input(i).dtype != DType::kFloat32)
      return needs_dtype(context, context.input(i));
  }
  const bool gemm = is_gemm(context.node());
  if (const std::optional<RightSide> right = right_side(context)) {
    const std::optional<std::vector<float>> bias =
        gemm ? bias_vector(context, right->n) : std::vector<float>{};
    if (bias) return prepare_rows(context, *right, *bias);
  }
  return gemm ? prepare_plain_gemm(context) : prepare_plain_matmul(context);
}

bool constant_matrix(const Graph& graph, const Node& node) {
  const Value& b = graph.value(node.input(1));
  return b.is_constant() && b.shape && b.shape->rank() == 2;
}

bool gemm_int8(const Graph& graph, const Node& node) {
  if (!constant_matrix(graph, node) || transposes(node, "transA")) return false;
  if (node.attrs.get_float("alpha", 1.0F) != 1.0F || node.attrs.get_float("beta", 1.0F) != 1.0F)
    return false;
  if (node.input(2) == kNoValue) return true;
  const Value& c = graph.value(node.input(2));
  const std::int64_t n = (*graph.value(node.input(1)).shape)[transposes(node, "transB") ? 0 : 1];
  return c.is_constant() && c.shape && c.shape->elements() == n && c.shape->rank() >= 1 &&
         (*c.shape)[c.shape->rank() - 1] == n;
}

bool matmul_int8(const Graph& graph, const Node& node) { return constant_matrix(graph, node); }

constexpr AttrDef kGemmAttrs[] = {{"alpha", AttrType::kFloat}, {"beta", AttrType::kFloat},
                                  {"transA", AttrType::kInt},  {"transB", AttrType::kInt},
                                  kActivationAttrs[0],         kActivationAttrs[1],
                                  kActivationAttrs[2]};

constexpr std::array kDefs{
    OpDef{"Gemm", "", 13, 2, 3, 1, 1, kGemmAttrs, LayoutRule::kRowMajor, QuantRule::kCompute,
          infer_gemm, prepare_product, gemm_int8, "int8 with a constant right side"},
    OpDef{"MatMul",
          "",
          13,
          2,
          2,
          1,
          1,
          {},
          LayoutRule::kRowMajor,
          QuantRule::kCompute,
          infer_matmul,
          prepare_product,
          matmul_int8,
          "int8 with a constant right side"},
};

}  // namespace

extern const std::span<const OpDef> kProducts;
const std::span<const OpDef> kProducts = kDefs;

}  // namespace octavo::ops
