// batchnorm: quantized::batch_norm1d, 2d, 3d and their relu forms, in both memory formats.
//
// y_nofma is what torch's builds without AVX give; Octavo follows the fused multiply-add of the
// others, so y is what counts and y_nofma is only looked at to say that it differs.
#include "golden/groups.h"
#include "golden/hash.h"
#include "golden/quantized_case.h"
#include "kernels/qbatchnorm/qbatchnorm.h"
#include "nn/quantized/batch_norm.h"

namespace octavo::golden {

namespace {

template <class Module>
nn::QTensor run(const nn::BatchNormParameters& bn, const nn::QTensor& x, Case& c) {
  return Case::take(
      Case::take(Module::from_float(bn, c.number("out_scale"), c.integer("out_zp"))).forward(x));
}

nn::QTensor forward(const nn::BatchNormParameters& bn, const nn::QTensor& x, bool relu, Case& c) {
  using namespace nn::quantized;
  switch (x.shape().rank()) {
    case 2:
    case 3:
      return relu ? run<BNReLU1d>(bn, x, c) : run<BatchNorm1d>(bn, x, c);
    case 4:
      return relu ? run<BNReLU2d>(bn, x, c) : run<BatchNorm2d>(bn, x, c);
    case 5:
      return relu ? run<BNReLU3d>(bn, x, c) : run<BatchNorm3d>(bn, x, c);
    default:
      break;
  }
  throw std::runtime_error("a shape of rank " + std::to_string(x.shape().rank()) +
                           " is not understood");
}

void expect_hashed(Case& c, const Tensor& codes) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(codes.data());
  std::uint64_t checksum = 0;
  std::vector<std::int32_t> counts(256);
  for (std::uint64_t i = 0; i < static_cast<std::uint64_t>(codes.elements()); ++i) {
    checksum += bytes[i] * (i * 0x9E3779B97F4A7C15ULL + 1);
    ++counts[bytes[i]];
  }
  c.expect_equal("y_checksum", std::to_string(checksum), c.str("y_checksum"));
  c.expect<std::int32_t>("y_count", counts);
  c.expect("y_head", head_of(codes, c.shape("y_head")));
}

}  // namespace

void run_batchnorm(Case& c) {
  const std::string kind = c.str("kind");
  // Labels of how the numbers were made, and the count of codes that the multiply-add decides.
  const bool hashed = kind == "big_hashed";
  // Those, and torch's float layer for reference.
  c.ignore({"fma_sensitive", "note", "y_float"});
  const nn::ScalarType type = scalar_type(c);
  const bool relu = c.flag("relu");
  nn::BatchNormParameters bn;
  bn.weight = c.tensor("weight");
  bn.bias = c.tensor("bias");
  bn.running_mean = c.tensor("mean");
  bn.running_var = c.tensor("var");
  bn.eps = c.number("eps");
  const double in_scale = c.number("in_scale");
  if (c.has("alpha")) {
    const auto weight = c.values<float>("weight");
    const auto bias = c.values<float>("bias");
    const auto mean = c.values<float>("mean");
    const auto var = c.values<float>("var");
    const kernels::FusedBatchNorm fused = kernels::fuse_batch_norm_params(
        {weight, bias, mean, var, bn.eps}, in_scale, c.number("out_scale"));
    c.expect<float>("alpha", fused.alpha);
    c.expect<float>("beta", fused.beta);
  }
  Tensor codes;
  if (hashed) {
    if (type == nn::ScalarType::kQint32) throw std::runtime_error("hashed codes are bytes");
    std::vector<std::int64_t> dims;
    for (const double dim : c.list("shape")) dims.push_back(static_cast<std::int64_t>(dim));
    codes = hashed_codes(nn::code_dtype(type), Shape(dims),
                         static_cast<std::uint32_t>(c.integer("x_seed")));
    c.expect("x_head", head_of(codes, c.shape("x_head")));
  } else {
    codes = c.tensor("x");
  }
  const nn::QTensor x = Case::take(
      nn::make_quantized_tensor(codes, nn::QGrid::per_tensor(in_scale, c.integer("in_zp"))));
  if (c.has("xf")) {  // a whole module: QuantStub, BatchNorm2d, DeQuantStub
    const nn::QTensor quantized = Case::take(nn::quantize(c.tensor("xf"), x.grid(), type));
    expect_codes(c, "x", quantized);
    c.expect("y_dq", forward(bn, quantized, relu, c).dequantize());
  }
  for (const auto format : {nn::MemoryFormat::kContiguous, nn::MemoryFormat::kChannelsLast}) {
    const nn::QTensor y = forward(bn, x.contiguous(format), relu, c);
    if (hashed) {
      expect_hashed(c, y.int_repr());
    } else {
      expect_codes(c, "y", y);
    }
  }
  if (c.has("y_nofma")) {
    if (std::memcmp(c.tensor("y").data(), c.tensor("y_nofma").data(), c.tensor("y").bytes()) == 0)
      c.problem("y_nofma is y");
  }
}

}  // namespace octavo::golden
